//! Registers groups, whoever asks: a person by the handle or by a pairing code, the main group's agent by a request.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    control::Input,
    directory::Directory,
    event::Event,
    lists::{Changed, Lists},
};
use crate::{
    group::{Group, GroupFolder},
    launch::Launcher,
    message::Seq,
    run::RunNumber,
    store::{Store, StoreError},
};

/// Registers groups. Cheap to clone.
#[derive(Clone)]
pub(super) struct Registrar {
    pub(super) store: Arc<dyn Store>,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) directory: Directory,
    pub(super) lists: Lists,
    pub(super) events: mpsc::Sender<Input>,
}

impl Registrar {
    /// Registers a group; from now on its messages are stored and answered.
    ///
    /// # Errors
    /// The store's: the chat, the folder or the main role is taken.
    pub(super) async fn add(&self, group: Group) -> Result<(), StoreError> {
        // Asked first: were it to fail afterwards, the group would be registered and nobody would serve it.
        let last_run = self.last_run(&group.folder).await?;
        let group = match self.store.add_group(&group).await {
            Ok(()) => group,
            Err(error) => self.added_all_the_same(&group).await.ok_or(error)?,
        };
        self.serve(group, last_run).await;
        Ok(())
    }

    /// The number of the latest run that this folder ever had.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn last_run(&self, folder: &GroupFolder) -> Result<RunNumber, StoreError> {
        Ok(self.store.runs(Some(folder), 1).await?.first().map_or(RunNumber::ZERO, |run| run.id.number))
    }

    /// Serves a group that was registered a moment ago.
    pub(super) async fn serve(&self, group: Group, last_run: RunNumber) {
        self.directory.insert(group.clone());
        self.lists.say(Changed::Groups);
        let times = self.launcher.tuning(&group.folder).times;
        let event =
            Event::GroupAdded { group: group.folder, times, last_run, newest: Seq::ZERO, failures: 0, adopted: None };
        let _ = self.events.send(Input::Event(event)).await;
    }

    /// The group as it is stored when it is, and nobody serves it: a commit of which an error was told had happened all the
    /// same, perhaps that of an earlier try.
    async fn added_all_the_same(&self, group: &Group) -> Option<Group> {
        if self.directory.get(&group.folder).is_some() {
            return None;
        }
        let stored = self.store.groups().await.ok()?;
        stored.into_iter().find(|stored| stored.folder == group.folder && stored.chat == group.chat)
    }
}
