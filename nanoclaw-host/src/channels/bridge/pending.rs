//! Sends, and questions about sends, that wait for the bridge's word.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use nanoclaw_core::{
    channel::SendError,
    delivery::{DeliveryKey, Sent},
};
use tokio::sync::oneshot;

/// How many sends that were given up waiting for are remembered, in case word of them still comes.
const MAX_OVERDUE: usize = 1024;

/// What became of a send, or is known of one; `None`: the bridge knows that it was not sent.
pub(super) type Outcome = Result<Option<Sent>, SendError>;

/// The sends of one connection.
#[derive(Debug, Default)]
pub(super) struct Pending {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    waiting: HashMap<DeliveryKey, oneshot::Sender<Outcome>>,
    /// Keys that nobody waits for any more; with what came too late, so that the next try need not send again.
    overdue: VecDeque<(DeliveryKey, Option<Sent>)>,
}

/// How a send, or a question about one, begins.
#[derive(Debug)]
pub(super) enum Begin<'a> {
    /// The line has to go out, then the outcome comes here.
    Wait(Waiting<'a>),
    /// An earlier try turned out to have worked.
    AlreadySent(Sent),
    /// The same key is waited for already.
    Busy,
    /// The connection is gone.
    Closed,
}

/// What the word of a bridge met.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Somebody was waiting for it.
    InTime,
    /// It was given up; the next try will know.
    Late,
    /// No such send, or it was settled before.
    Unknown,
}

impl Pending {
    pub(super) fn begin(&self, key: &DeliveryKey) -> Begin<'_> {
        let mut state = self.lock();
        if state.closed {
            return Begin::Closed;
        }
        if state.waiting.contains_key(key) {
            return Begin::Busy;
        }
        if let Some(at) = state.overdue.iter().position(|(overdue, _)| overdue == key)
            && let Some((_, Some(sent))) = state.overdue.remove(at)
        {
            return Begin::AlreadySent(sent);
        }
        let (sender, outcome) = oneshot::channel();
        state.waiting.insert(key.clone(), sender);
        Begin::Wait(Waiting { pending: self, key: key.clone(), outcome })
    }

    pub(super) fn settle(&self, key: &DeliveryKey, outcome: Outcome) -> Settled {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.remove(key) {
            // A bridge that said that it failed may find that it did not.
            let failed = outcome.is_err();
            // Nobody there: the send was dropped at this moment. What came is kept as if it had come a moment later.
            let Err(outcome) = waiting.send(outcome) else {
                if failed {
                    state.remember(key.clone(), None);
                }
                return Settled::InTime;
            };
            state.remember(key.clone(), outcome.ok().flatten());
            return Settled::Late;
        }
        match state.overdue.iter_mut().find(|(overdue, _)| overdue == key) {
            Some((_, late)) => {
                if let Ok(Some(sent)) = outcome {
                    *late = Some(sent);
                }
                Settled::Late
            }
            None => Settled::Unknown,
        }
    }

    /// The connection is gone: every send that waits learns it, and later ones at once.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        // A dropped sender is how those that wait learn it.
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and each change is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self, key: DeliveryKey, late: Option<Sent>) {
        if self.overdue.len() == MAX_OVERDUE {
            self.overdue.pop_front();
        }
        self.overdue.push_back((key, late));
    }
}

/// One send that waits. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    pending: &'a Pending,
    key: DeliveryKey,
    outcome: oneshot::Receiver<Outcome>,
}

impl Waiting<'_> {
    /// What the bridge said; `None` when the connection is gone.
    pub(super) async fn outcome(&mut self) -> Option<Outcome> {
        (&mut self.outcome).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.pending.lock();
        if state.waiting.remove(&self.key).is_some() {
            state.remember(self.key.clone(), None);
        } else if let Ok(Ok(Some(sent))) = self.outcome.try_recv() {
            // The word came between the last look and now.
            state.remember(self.key.clone(), Some(sent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> DeliveryKey {
        DeliveryKey::new("reply/family/1/1").unwrap()
    }

    fn sent(id: &str) -> Sent {
        Sent { platform_id: Some(id.parse().unwrap()) }
    }

    #[tokio::test]
    async fn word_that_comes_late_saves_the_next_try() {
        let pending = Pending::default();
        let Begin::Wait(waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        drop(waiting);
        assert_eq!(pending.settle(&key(), Ok(Some(sent("7")))), Settled::Late);
        assert!(matches!(pending.begin(&key()), Begin::AlreadySent(late) if late == sent("7")));
        assert!(matches!(pending.begin(&key()), Begin::Wait(_)), "and only the next");
    }

    #[tokio::test]
    async fn word_that_nobody_fetched_saves_the_next_try() {
        let pending = Pending::default();
        let Begin::Wait(waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        assert_eq!(pending.settle(&key(), Ok(Some(sent("7")))), Settled::InTime);
        drop(waiting);
        assert!(matches!(pending.begin(&key()), Begin::AlreadySent(late) if late == sent("7")));
    }

    #[tokio::test]
    async fn a_late_failure_does_not_count() {
        let pending = Pending::default();
        drop(pending.begin(&key()));
        assert_eq!(pending.settle(&key(), Err(SendError::Permanent { reason: "x".to_owned() })), Settled::Late);
        assert!(matches!(pending.begin(&key()), Begin::Wait(_)));
    }

    #[tokio::test]
    async fn the_second_word_for_a_key_meets_nobody() {
        let pending = Pending::default();
        let Begin::Wait(mut waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        assert!(matches!(pending.begin(&key()), Begin::Busy));
        assert_eq!(pending.settle(&key(), Ok(Some(sent("7")))), Settled::InTime);
        assert_eq!(pending.settle(&key(), Ok(Some(sent("8")))), Settled::Unknown);
        assert!(matches!(waiting.outcome().await, Some(Ok(Some(first))) if first == sent("7")));
    }

    #[tokio::test]
    async fn closing_tells_all_that_wait_and_all_that_come() {
        let pending = Pending::default();
        let Begin::Wait(mut waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        pending.close();
        assert!(waiting.outcome().await.is_none());
        assert!(matches!(pending.begin(&key()), Begin::Closed));
    }

    #[tokio::test]
    async fn f20_a_failure_that_is_reported_after_the_word_that_it_was_sent_changes_nothing() {
        let pending = Pending::default();
        let Begin::Wait(mut waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        let retry = || Err(SendError::Retry { reason: "a timeout".to_owned(), after: None });
        assert_eq!(pending.settle(&key(), Ok(Some(sent("7")))), Settled::InTime);
        assert_eq!(pending.settle(&key(), retry()), Settled::Unknown);
        assert!(matches!(waiting.outcome().await, Some(Ok(Some(first))) if first == sent("7")));
    }

    #[tokio::test]
    async fn word_that_it_was_sent_after_all_saves_the_next_try() {
        let pending = Pending::default();
        let Begin::Wait(mut waiting) = pending.begin(&key()) else { panic!("the first send goes out") };
        pending.settle(&key(), Err(SendError::Retry { reason: "a timeout".to_owned(), after: None }));
        assert!(matches!(waiting.outcome().await, Some(Err(SendError::Retry { .. }))));
        drop(waiting);
        assert_eq!(pending.settle(&key(), Ok(Some(sent("7")))), Settled::Late);
        assert!(matches!(pending.begin(&key()), Begin::AlreadySent(late) if late == sent("7")));
    }

    #[test]
    fn memory_of_overdue_sends_is_bounded() {
        let pending = Pending::default();
        for number in 0..2 * MAX_OVERDUE {
            drop(pending.begin(&DeliveryKey::new(format!("key {number}")).unwrap()));
        }
        assert_eq!(pending.lock().overdue.len(), MAX_OVERDUE);
    }
}
