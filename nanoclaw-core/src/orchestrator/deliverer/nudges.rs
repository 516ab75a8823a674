//! How others tell the deliverer that there is something to send.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use crate::chat::ChatId;

/// Nudges the deliverer. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::orchestrator) struct Nudges(Arc<NudgeState>);

#[derive(Default)]
struct NudgeState {
    chats: Mutex<BTreeSet<ChatId>>,
    retry_parked: Mutex<bool>,
    changed: Notify,
}

impl Nudges {
    /// There is something to send to `chat`, or what was to be sent has changed.
    pub(in crate::orchestrator) fn chat(&self, chat: &ChatId) {
        self.0.chats.lock().unwrap_or_else(PoisonError::into_inner).insert(chat.clone());
        self.0.changed.notify_one();
    }

    /// A channel is there (again): what waited for one is tried.
    pub(in crate::orchestrator) fn channel_connected(&self) {
        *self.0.retry_parked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
    }

    /// Which chats were nudged since the last call, and whether a channel connected.
    pub(in crate::orchestrator) fn take(&self) -> (BTreeSet<ChatId>, bool) {
        let chats = std::mem::take(&mut *self.0.chats.lock().unwrap_or_else(PoisonError::into_inner));
        let retry = std::mem::take(&mut *self.0.retry_parked.lock().unwrap_or_else(PoisonError::into_inner));
        (chats, retry)
    }

    /// The same; waits until there is something.
    pub(super) async fn next(&self) -> (BTreeSet<ChatId>, bool) {
        loop {
            let (chats, retry) = self.take();
            if retry || !chats.is_empty() {
                return (chats, retry);
            }
            self.0.changed.notified().await;
        }
    }
}
