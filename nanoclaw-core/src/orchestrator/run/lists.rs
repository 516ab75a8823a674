//! Keeps the [lists](crate::protocol::lists) in the mailbox of a live run: written before its agent is asked anything, and
//! whenever what its group may see has changed. A list that cannot be written costs the run nothing.

use std::time::Duration;

use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{files::off_the_loop, live::Live};
use crate::{
    group::{Group, GroupRole},
    mailbox::MailboxError,
    orchestrator::lists::{Changed, Lists},
    pace::Pace,
    protocol::lists::{GROUPS_FILE, TASKS_FILE, of_groups, of_tasks},
    store::StoreError,
    time::Timestamp,
};

/// How often lists are written: so often at once, and then once a second, however much changes.
const AT_ONCE: u32 = 10;
const EVERY: Duration = Duration::from_secs(1);
/// The most tasks that are looked at.
const MOST_TASKS: u32 = 1000;

/// What a run's worker knows of its lists.
pub(super) struct KeptLists {
    changes: Receiver<Changed>,
    /// What lies in the mailbox is not what it would be now.
    stale: bool,
    pace: Pace,
}

impl KeptLists {
    pub(super) fn new(lists: &Lists) -> Self {
        Self { changes: lists.hear(), stale: true, pace: Pace::new(AT_ONCE, EVERY) }
    }

    /// Waits until the lists are to be written anew. Nothing is lost when it is dropped.
    pub(super) async fn outdated(&mut self, group: &Group) {
        while !self.stale {
            match self.changes.recv().await {
                Ok(changed) => self.stale = concerns(group, &changed),
                Err(RecvError::Lagged(_)) => self.stale = true,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
        if let Some(at) = self.pace.wait() {
            tokio::time::sleep_until(at).await;
        }
    }

    /// Whether they are to be written now; they count as written then.
    fn take(&mut self, group: &Group) -> bool {
        use tokio::sync::broadcast::error::TryRecvError::{Closed, Empty, Lagged};
        loop {
            match self.changes.try_recv() {
                Ok(changed) => self.stale |= concerns(group, &changed),
                Err(Lagged(_)) => self.stale = true,
                Err(Empty | Closed) => break,
            }
        }
        std::mem::take(&mut self.stale)
    }
}

/// Whether a group may see what has changed.
fn concerns(group: &Group, changed: &Changed) -> bool {
    let main = group.role == GroupRole::Main;
    match changed {
        Changed::Tasks(of) => main || *of == group.folder,
        Changed::Groups => main,
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
}

impl Live<'_> {
    /// Writes the lists, unless they are as they should be.
    pub(super) async fn write_lists(&mut self) {
        if !self.lists.take(self.group) {
            return;
        }
        self.lists.pace.spend(1);
        if let Err(error) = self.try_write_lists().await {
            self.complain("cannot write the lists of tasks and groups", "", &error.to_string());
        }
    }

    async fn try_write_lists(&mut self) -> Result<(), Trouble> {
        let (context, main) = (self.context, self.group.role == GroupRole::Main);
        let tasks = match &context.agenda {
            Some(agenda) => agenda.tasks.standing((!main).then_some(&self.group.folder), MOST_TASKS).await?,
            None => Vec::new(),
        };
        // Which others there are is the owner's to know.
        let chats = if main { context.store.chats().await? } else { Vec::new() };
        let registered = if main { context.registrar.directory.chats() } else { Vec::new() };
        let folders = self.folders.clone();
        off_the_loop(move || {
            folders.top.write_fleeting(TASKS_FILE, &of_tasks(&tasks))?;
            folders.top.write_fleeting(GROUPS_FILE, &of_groups(&chats, &registered, Timestamp::now()))
        })
        .await?;
        Ok(())
    }
}
