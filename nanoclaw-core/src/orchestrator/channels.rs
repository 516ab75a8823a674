//! The channels that are there now. They come and go while the host runs: a bridge is a channel for as long as it is
//! connected.

use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    channel::Channel,
    chat::{ChannelName, ChatId},
};

/// The channels. Cheap to clone; all clones are one list.
#[derive(Clone, Default)]
pub(super) struct Channels(Arc<RwLock<Vec<Arc<dyn Channel>>>>);

impl Channels {
    /// Adds a channel; one of the same name is replaced.
    pub(super) fn add(&self, channel: Arc<dyn Channel>) {
        let mut list = self.0.write().unwrap_or_else(PoisonError::into_inner);
        list.retain(|other| other.name() != channel.name());
        list.push(channel);
    }

    pub(super) fn remove(&self, name: &ChannelName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|channel| channel.name() != name);
    }

    pub(super) fn of(&self, chat: &ChatId) -> Option<Arc<dyn Channel>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().find(|channel| channel.owns(chat)).cloned()
    }
}
