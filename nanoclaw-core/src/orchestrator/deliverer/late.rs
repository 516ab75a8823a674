//! Word on a send that comes when nobody waits for it any more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    channel::SendError,
    chat::ChatId,
    delivery::{OutboxId, Sent},
};

/// The most rows of which word may wait for their chats' workers.
const MAX_WAITING: usize = 1024;

/// What a channel found out about a row: it was sent, or it was not.
pub(in crate::orchestrator) type LateWord = Result<Sent, SendError>;

/// What became of a late word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeardLate {
    /// It is about a row that is not settled, and is acted on soon.
    Taken,
    /// It changes nothing: there is no such row, it is settled, or the word says nothing about it.
    Nothing,
    /// The row is not for a chat of the channel that spoke.
    NotYours,
}

/// Late words that wait for the workers of their chats. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub(in crate::orchestrator) struct LateWords(Arc<Mutex<BTreeMap<ChatId, BTreeMap<OutboxId, LateWord>>>>);

impl LateWords {
    /// Keeps a word for the worker of `chat`; the caller nudges it. That a row was sent counts for more than that it was
    /// not; otherwise the first word does. `false` when too many wait.
    pub(in crate::orchestrator) fn note(&self, chat: &ChatId, id: OutboxId, word: LateWord) -> bool {
        let mut waiting = self.lock();
        if waiting.values().map(BTreeMap::len).sum::<usize>() >= MAX_WAITING {
            return false;
        }
        let of_chat = waiting.entry(chat.clone()).or_default();
        if word.is_ok() || !of_chat.contains_key(&id) {
            of_chat.insert(id, word);
        }
        true
    }

    /// Whether any waits for `chat`.
    pub(super) fn any(&self, chat: &ChatId) -> bool {
        self.lock().contains_key(chat)
    }

    /// Takes what waits for `chat`, by row.
    pub(super) fn take(&self, chat: &ChatId) -> BTreeMap<OutboxId, LateWord> {
        self.lock().remove(chat).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ChatId, BTreeMap<OutboxId, LateWord>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
