//! Keeps the [lists](crate::protocol::lists) in the mailbox of a live run: written before its agent is asked anything, and
//! whenever what its group may see has changed. A list that cannot be written costs the run nothing.

use std::time::Duration;

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
};

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
    /// They are being written; one at most.
    writing: JoinSet<Result<(), Trouble>>,
}

impl KeptLists {
    pub(super) fn new(lists: &Lists) -> Self {
        Self { changes: lists.hear(), stale: true, pace: Pace::new(AT_ONCE, EVERY), writing: JoinSet::new() }
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
        self.lists_written().await;
        if self.begin_lists() {
            self.lists_written().await;
        }
    }

    /// Begins to write them, beside whatever else is done; whether that was necessary. None are being written already.
    pub(super) fn begin_lists(&mut self) -> bool {
        if !self.lists.take(self.group) {
            return false;
        }
        self.lists.pace.spend(1);
        let (context, group) = (self.context, self.group);
        let agenda = context.agenda.clone();
        let (store, directory, folders) =
            (context.store.clone(), context.registrar.directory.clone(), self.folders.clone());
        let (folder, main) = (group.folder.clone(), group.role == GroupRole::Main);
        self.lists.writing.spawn(async move {
            let tasks = match agenda {
                Some(agenda) => agenda.tasks.standing((!main).then_some(&folder), MOST_TASKS).await?,
                None => Vec::new(),
            };
            // Which others there are is the owner's to know.
            let chats = if main { store.chats().await? } else { Vec::new() };
            let registered = if main { directory.chats() } else { Vec::new() };
            off_the_loop(move || {
                folders.top.write_fleeting(TASKS_FILE, &of_tasks(&tasks))?;
                folders.top.write_fleeting(GROUPS_FILE, &of_groups(&chats, &registered, Timestamp::now()))
            })
            .await?;
            Ok(())
        });
        true
    }

    /// Waits until they are written.
    async fn lists_written(&mut self) {
        let Some(written) = self.lists.writing.join_next().await else { return };
        let problem = match written {
            Ok(Ok(())) => return,
            Ok(Err(trouble)) => trouble.to_string(),
            Err(fault) => fault.to_string(),
        };
        self.complain("cannot write the lists of tasks and groups", "", &problem);
    }
}
