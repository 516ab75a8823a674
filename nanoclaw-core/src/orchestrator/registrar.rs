//! Registers groups, whoever asks: a person by the handle, the main group's agent by a request.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{control::Input, directory::Directory, event::Event};
use crate::{
    group::Group,
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
    pub(super) events: mpsc::Sender<Input>,
}

impl Registrar {
    /// Registers a group; from now on its messages are stored and answered.
    ///
    /// # Errors
    /// The store's: the chat, the folder or the main role is taken.
    pub(super) async fn add(&self, group: Group) -> Result<(), StoreError> {
        // Asked first: were it to fail afterwards, the group would be registered and nobody would serve it.
        let last_run =
            self.store.runs(Some(&group.folder), 1).await?.first().map_or(RunNumber::ZERO, |run| run.id.number);
        let group = match self.store.add_group(&group).await {
            Ok(()) => group,
            Err(error) => self.added_all_the_same(&group).await.ok_or(error)?,
        };
        self.directory.insert(group.clone());
        let times = self.launcher.tuning(&group.folder).times;
        let event =
            Event::GroupAdded { group: group.folder, times, last_run, newest: Seq::ZERO, failures: 0, adopted: None };
        let _ = self.events.send(Input::Event(event)).await;
        Ok(())
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
