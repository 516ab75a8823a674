//! The folders of a run's mailbox, and work on them off the loop.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    time::Instant,
};

use super::{complaints::in_short, live::Live};
use crate::mailbox::{Claimed, Folder, Limits, Mailbox, MailboxError};

pub(super) struct Folders {
    /// The root, which has the others in it.
    pub(super) top: Folder,
    pub(super) input: Folder,
    pub(super) output: Folder,
    pub(super) messages: Folder,
    pub(super) tasks: Folder,
    pub(super) answers: Folder,
    pub(super) alive: Folder,
}

impl Folders {
    pub(super) fn open(mailbox: &Mailbox) -> Result<Self, MailboxError> {
        Ok(Self {
            top: mailbox.top()?,
            input: mailbox.input()?,
            output: mailbox.output()?,
            messages: mailbox.messages()?,
            tasks: mailbox.tasks()?,
            answers: mailbox.answers()?,
            alive: mailbox.alive()?,
        })
    }
}

impl Live<'_> {
    pub(super) async fn with_folders<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Folders) -> Result<T, MailboxError> + Send + 'static,
    ) -> Result<T, MailboxError> {
        let (folders, begun) = (self.folders.clone(), Instant::now());
        let done = off_the_loop(move || work(&folders)).await;
        self.effort.spend_since(begun);
        done
    }

    pub(super) async fn claim(&mut self, which: fn(&Folders) -> &Folder, limits: Limits) -> Vec<Claimed> {
        match self.with_folders(move |folders| which(folders).claim(&limits)).await {
            Ok(claimed) => claimed,
            Err(error) => {
                self.complain("cannot look into the mailbox", "", &error.to_string());
                Vec::new()
            }
        }
    }

    /// Says in the log what the agent did that it should not have done, if it was not said often before.
    pub(super) fn complain(&mut self, what: &'static str, file: &str, reason: &str) {
        if let Some(unsaid) = self.complaints.one_more() {
            tracing::warn!(run = %self.id, file, reason = in_short(reason), unsaid, "{what}");
        }
    }

    pub(super) async fn remove(&mut self, which: fn(&Folders) -> &Folder, name: &str) {
        let name = name.to_owned();
        if let Err(error) = self.with_folders(move |folders| which(folders).remove(&name)).await {
            self.complain("cannot remove a file from the mailbox", "", &error.to_string());
        }
    }
}

/// Does file work where it holds up nobody. A runtime of one thread has nobody else to hold up: there it is done at once,
/// and things happen in the same order every time (the simulation relies on it).
pub(in crate::orchestrator) async fn off_the_loop<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
