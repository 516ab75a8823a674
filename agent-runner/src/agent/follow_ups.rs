//! Follow-ups: the mailbox's `input/`, where the host leaves more messages and the request to close.

use nanoclaw_core::{
    causes::with_causes,
    mailbox::{Claimed, Folder, FolderWatch, Limits, Mailbox, MailboxError, Watcher},
    message::Seq,
    protocol::input::{CLOSE_FILE, FileInPrompt, FollowUp},
};

use crate::log::say;

/// The folder, and the watch on it.
pub(crate) struct FollowUps {
    folder: Folder,
    watch: FolderWatch,
    limits: Limits,
}

/// What was taken from the folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The formatted messages, in the order of the files' names.
    pub(crate) texts: Vec<String>,
    /// The files that they name.
    pub(crate) files: Vec<FileInPrompt>,
    /// The newest message among them, where the host counts.
    pub(crate) last: Option<Seq>,
}

impl FollowUps {
    /// Opens and watches the folder.
    pub(crate) fn open(mailbox: &Mailbox) -> Result<Self, MailboxError> {
        let folder = mailbox.input()?;
        let (watch, without) = Watcher::watch_or_rescan(folder.path());
        if let Some(error) = without {
            say!("looking for follow-ups every few seconds only: {}", with_causes(&error));
        }
        // The host holds to its own bounds; a file that it wrote is not refused for its size.
        Ok(Self { folder, watch, limits: Limits { file_bytes: 64 * 1024 * 1024, ..Limits::default() } })
    }

    /// Waits until the folder should be looked at; for ever where there is none.
    pub(crate) async fn changed(this: &mut Option<Self>) {
        match this {
            Some(follow_ups) => follow_ups.watch.changed().await,
            None => std::future::pending().await,
        }
    }

    /// Takes all messages that lie there: reads and removes them. `handed` is the newest message that this run has been
    /// handed; a file that ends with it or before is left from an earlier run, whose messages came again in our prompt.
    pub(crate) fn take(&mut self, handed: Option<Seq>) -> Taken {
        let mut taken = Taken::default();
        // A look shows a bounded number of files; the rest shows when these are gone.
        while self.take_some(handed, &mut taken) {}
        taken
    }

    /// Takes what one look shows; whether any of it was taken.
    fn take_some(&mut self, handed: Option<Seq>, taken: &mut Taken) -> bool {
        let files = self.folder.claim(&self.limits).unwrap_or_else(|error| {
            say!("cannot look for follow-ups: {}", with_causes(&error));
            Vec::new()
        });
        let mut any = false;
        for Claimed { name, content } in files {
            let follow_up = match content {
                Ok(bytes) => serde_json::from_slice::<FollowUp>(&bytes).map_err(|error| error.to_string()),
                Err(refused) => Err(refused.to_string()),
            };
            // Removed before it is used: it must never be answered twice. What dies with us is pending with the host.
            if let Err(error) = self.folder.remove(&name) {
                say!("cannot take the follow-up {name:?}: {}", with_causes(&error));
                continue;
            }
            any = true;
            match follow_up {
                Ok(FollowUp::Message { last_seq, .. }) if last_seq.is_some() && last_seq <= handed.max(taken.last) => {
                    say!("the follow-up {name:?} was answered by an earlier run or is in this one's prompt; dropped");
                }
                Ok(FollowUp::Message { text, last_seq, files, .. }) => {
                    taken.texts.push(text);
                    taken.files.extend(files);
                    taken.last = taken.last.max(last_seq);
                }
                Err(reason) => say!("the follow-up {name:?} is no message and was removed: {reason}"),
            }
        }
        any
    }

    /// Waits until the host asks us to close, and honours that; for ever where there is no folder. Messages stay where they are.
    pub(crate) async fn close(this: &mut Option<Self>) {
        while !this.as_ref().is_some_and(Self::close_asked) {
            Self::changed(this).await;
        }
        this.iter().for_each(Self::forget_close);
    }

    /// Whether the host asks us to close.
    pub(crate) fn close_asked(&self) -> bool {
        self.folder.has(CLOSE_FILE).unwrap_or(false)
    }

    /// Removes the request to close, which is being honoured.
    pub(crate) fn forget_close(&self) {
        if let Err(error) = self.folder.remove(CLOSE_FILE) {
            say!("cannot remove the request to close: {}", with_causes(&error));
        }
    }

    /// Removes a request to close that an earlier run left.
    pub(crate) fn forget_old_close(&self) {
        if self.close_asked() {
            say!("removing a request to close that was meant for an earlier run");
            self.forget_close();
        }
    }
}
