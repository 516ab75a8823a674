//! Which pieces of messages are out, where one message goes out in several: so that one that was half sent goes on where it
//! stopped.
//!
//! What is known here is known to this process alone. A service that can be asked tells the rest.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nanoclaw_core::delivery::DeliveryKey;
#[cfg(feature = "web-client")]
use nanoclaw_core::{channel::SendError, delivery::Sent, message::PlatformMessageId};

/// The most messages of which it is remembered.
const MOST_MESSAGES: usize = 1024;

/// The pieces of one message that are out, by their place from 0: the service's id of each.
pub(super) type Out = BTreeMap<usize, String>;

/// Which pieces of messages that are not wholly sent are out. Bounded: the oldest are forgotten.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    of: BTreeMap<DeliveryKey, Out>,
    oldest_first: VecDeque<DeliveryKey>,
}

impl Progress {
    /// What is known to be out of the message `key`; `None` when nothing is known of it.
    pub(super) fn of(&self, key: &DeliveryKey) -> Option<Out> {
        self.lock().of.get(key).cloned()
    }

    /// So much of it is out, as far as anybody can tell.
    pub(super) fn note(&self, key: &DeliveryKey, out: Out) {
        let mut known = self.lock();
        if known.of.insert(key.clone(), out).is_none() {
            known.oldest_first.push_back(key.clone());
            if known.oldest_first.len() > MOST_MESSAGES
                && let Some(oldest) = known.oldest_first.pop_front()
            {
                known.of.remove(&oldest);
            }
        }
    }

    /// It is wholly sent, or nothing is certain of it any more.
    pub(super) fn forget(&self, key: &DeliveryKey) {
        let mut known = self.lock();
        if known.of.remove(key).is_some() {
            known.oldest_first.retain(|other| other != key);
        }
    }

    /// Of a service that is asked what it has: a try ended in the middle, with so much out: it is remembered, unless nobody knows. Returns what is to be told of it.
    #[cfg(feature = "web-client")]
    pub(super) fn half_sent(&self, key: &DeliveryKey, out: Out, error: SendError) -> SendError {
        match error {
            SendError::Unknown { .. } => self.forget(key),
            _ if out.is_empty() => {}
            // The next host knows nothing of the pieces that are out, and of a message that waits for a connection it is not
            // told that it was tried: only one in doubt is looked up for certain.
            SendError::NotConnected { reason } => {
                self.note(key, out);
                return SendError::Unknown { reason };
            }
            _ => self.note(key, out),
        }
        error
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a message of which all pieces are out: it is known by its first.
#[cfg(feature = "web-client")]
pub(super) fn sent(out: &Out) -> Sent {
    Sent { platform_id: out.values().next().and_then(|id| PlatformMessageId::new(id).ok()) }
}

/// What it means for a message that it cannot be looked for, where the same trouble would mean `error` for one that is sent.
#[cfg(feature = "web-client")]
pub(super) fn not_looked_up(error: SendError) -> SendError {
    match error {
        // A question that was not answered is asked again.
        SendError::Unknown { reason } => SendError::Retry { reason, after: None },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> DeliveryKey {
        DeliveryKey::new(format!("reply/family/1/{number}")).unwrap()
    }

    #[test]
    fn what_is_out_is_known_until_all_is_and_memory_is_bounded() {
        let progress = Progress::default();
        assert_eq!(progress.of(&key(0)), None);
        progress.note(&key(0), Out::from([(0, "a".to_owned())]));
        progress.note(&key(0), Out::from([(0, "a".to_owned()), (1, "b".to_owned())]));
        assert_eq!(progress.of(&key(0)).unwrap().len(), 2);
        progress.forget(&key(0));
        assert_eq!(progress.of(&key(0)), None);
        for number in 0..2 * MOST_MESSAGES {
            progress.note(&key(number), Out::new());
        }
        assert_eq!((progress.of(&key(0)), progress.of(&key(MOST_MESSAGES))), (None, Some(Out::new())));
        assert_eq!(progress.lock().oldest_first.len(), MOST_MESSAGES);
    }
}
