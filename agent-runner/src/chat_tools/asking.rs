//! Asking the host for something: a request file, and the answer file of the same name.

use std::time::Duration;

use nanoclaw_core::{
    causes::with_causes,
    mailbox::{Folder, FolderWatch, Mailbox, MailboxError, Watcher},
    protocol::requests::Answer,
    time::Timestamp,
};
use tokio::time::timeout;

use super::ChatTools;
use crate::{log::say, random::random_bytes};

/// How long the host may take. It tries as long to write an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Which folder of the mailbox a request belongs into.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tray {
    Messages,
    Tasks,
}

impl Tray {
    pub(super) fn open(self, mailbox: &Mailbox) -> Result<Folder, MailboxError> {
        match self {
            Self::Messages => mailbox.messages(),
            Self::Tasks => mailbox.tasks(),
        }
    }
}

/// What was heard of a request.
pub(super) enum Heard {
    Answer(Answer),
    /// No answer came in time.
    Nothing {
        /// Whether the host took the request away.
        taken: bool,
    },
}

impl ChatTools {
    /// Hands a request to the host and waits for its answer, which is in `answers`.
    pub(super) async fn asked(&self, tray: Tray, bytes: &[u8], answers: Folder) -> Result<Heard, MailboxError> {
        let name = file_name();
        // Watched before the request is there: the answer cannot come unseen.
        let mut watch = self.watch(&answers).await;
        let requests = tray.open(&self.mailbox)?;
        requests.write(&name, bytes)?;
        let answer = async {
            loop {
                watch.changed().await;
                if let Some(answer) = take(&answers, &name)? {
                    return Ok::<_, MailboxError>(answer);
                }
            }
        };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => Ok(Heard::Answer(answer)),
            // Asked it is, so this says nothing of what comes of it.
            Ok(Err(error)) => {
                say!("the answer {name} cannot be read: {}", with_causes(&error));
                Ok(Heard::Nothing { taken: requests.has(&name).is_ok_and(|there| !there) })
            }
            Err(_) => Ok(Heard::Nothing { taken: requests.has(&name).is_ok_and(|there| !there) }),
        }
    }

    async fn watch(&self, folder: &Folder) -> FolderWatch {
        let watcher = self.watcher.get_or_init(|| async { Watcher::new_or_rescan().0 }).await;
        watcher.watch(folder.path()).unwrap_or_else(|_| Watcher::watch_or_rescan(folder.path()).0)
    }
}

/// A name that no other request has, as v1's are: the time, so that their order is that of the requests, and six characters.
pub(super) fn file_name() -> String {
    const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let letters = random_bytes::<6>().map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    format!("{}-{}.json", Timestamp::now().as_ms(), String::from_iter(letters))
}

/// Reads and removes the answer `name`, if it is there. By its name alone: there may be any number of others.
fn take(answers: &Folder, name: &str) -> Result<Option<Answer>, MailboxError> {
    if !answers.has(name)? {
        return Ok(None);
    }
    let read = std::fs::read(answers.path().join(name)).map_err(|error| error.to_string());
    answers.remove(name)?;
    let answer = read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    Ok(Some(
        answer.unwrap_or_else(|error| Answer::Failed { reason: format!("the host's answer makes no sense: {error}") }),
    ))
}
