//! Which chat is which group: read by everyone, written by the orchestrator alone after the store has agreed.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    chat::ChatId,
    group::{Group, GroupFolder, GroupRole},
};

/// The registered groups in memory. Cheap to clone; all clones are one directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory(Arc<RwLock<Maps>>);

#[derive(Debug, Default)]
struct Maps {
    by_chat: HashMap<ChatId, Arc<Group>>,
    by_folder: HashMap<GroupFolder, Arc<Group>>,
}

impl Directory {
    pub(super) fn insert(&self, group: Group) {
        let group = Arc::new(group);
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        maps.by_chat.insert(group.chat.clone(), group.clone());
        maps.by_folder.insert(group.folder.clone(), group);
    }

    pub(super) fn remove(&self, folder: &GroupFolder) -> Option<Arc<Group>> {
        let mut maps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let group = maps.by_folder.remove(folder)?;
        maps.by_chat.remove(&group.chat);
        Some(group)
    }

    pub(super) fn of_chat(&self, chat: &ChatId) -> Option<Arc<Group>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_chat.get(chat).cloned()
    }

    pub(super) fn get(&self, folder: &GroupFolder) -> Option<Arc<Group>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_folder.get(folder).cloned()
    }
    pub(super) fn chats(&self) -> Vec<ChatId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_chat.keys().cloned().collect()
    }

    /// The owner's group, when there is one.
    pub(super) fn main(&self) -> Option<Arc<Group>> {
        let maps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        maps.by_folder.values().find(|group| group.role == GroupRole::Main).cloned()
    }
}
