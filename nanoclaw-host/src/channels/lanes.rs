//! What is done with what a service says, in lanes: one thing of a chat after the other, so that their order is kept, and chats
//! apart from each other, so that a large file in one holds up no other.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, FutureExt as _},
    stream::FuturesUnordered,
};

use crate::panics::caught;

/// The most things of one lane that wait, for a service that says again what is not taken.
#[cfg(feature = "web-client")]
pub(super) const MOST_WAITING: usize = 256;
/// How long what was begun may take at the end.
const LONGEST_END: Duration = Duration::from_secs(10);

/// What is to be done with one thing; an error is why it could not be stored.
pub(super) type Work<'a> = BoxFuture<'a, Result<(), String>>;

/// The lanes of one session. `T` is by which the session knows each thing.
pub(super) struct Lanes<'a, T> {
    /// What waits in a lane of which something is being done.
    waiting: HashMap<String, VecDeque<(T, Work<'a>)>>,
    running: FuturesUnordered<BoxFuture<'a, Done<T>>>,
    most_waiting: usize,
    /// How many are not done.
    count: usize,
}

struct Done<T> {
    lane: String,
    ticket: T,
    outcome: Result<(), NotDone>,
}

enum NotDone {
    /// The host could not store it: nothing can be stored just now.
    NotStored(String),
    /// A fault of ours, with this one thing.
    Fault,
}

impl<'a, T: Send + 'a> Lanes<'a, T> {
    /// In each lane up to `most_waiting` things wait.
    pub(super) fn of(most_waiting: usize) -> Self {
        Self { waiting: HashMap::new(), running: FuturesUnordered::new(), most_waiting, count: 0 }
    }

    /// How many things are not done, in all lanes.
    #[cfg_attr(not(feature = "telegram"), expect(dead_code, reason = "not every service looks at all lanes"))]
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Has `work` done after what came before it in the same lane. `false`: too much waits there, and it is not taken.
    pub(super) fn put(&mut self, lane: String, ticket: T, work: Work<'a>) -> bool {
        match self.waiting.get_mut(&lane) {
            Some(queue) if queue.len() < self.most_waiting => queue.push_back((ticket, work)),
            Some(_) => return false,
            None => {
                self.waiting.insert(lane.clone(), VecDeque::new());
                self.begin(lane, ticket, work);
            }
        }
        self.count += 1;
        true
    }

    /// Waits for the next thing that is done. Can be dropped and called again. What met a fault of ours is never told to be
    /// done, and what comes after it is.
    ///
    /// # Errors
    /// Why nothing can be stored just now; the session is over then. What waits behind that which was not stored is not begun:
    /// stored without it, it would look as if all before it had come.
    pub(super) async fn done(&mut self) -> Result<T, String> {
        loop {
            let Some(Done { lane, ticket, outcome }) = self.running.next().await else {
                // Until something is put in, which begins with dropping this.
                return std::future::pending().await;
            };
            self.count -= 1;
            if let Err(NotDone::NotStored(reason)) = outcome {
                return Err(reason);
            }
            match self.waiting.get_mut(&lane).and_then(VecDeque::pop_front) {
                Some((ticket, work)) => self.begin(lane, ticket, work),
                None => drop(self.waiting.remove(&lane)),
            }
            if outcome.is_ok() {
                return Ok(ticket);
            }
        }
    }

    /// Sees what was begun to its end: a commit is not left in the middle. Returns what is done then; what waits is dropped.
    pub(super) async fn end(mut self) -> Vec<T> {
        let mut ended = Vec::new();
        let rest = async {
            while let Some(Done { ticket, outcome, .. }) = self.running.next().await {
                ended.extend(outcome.is_ok().then_some(ticket));
            }
        };
        if tokio::time::timeout(LONGEST_END, rest).await.is_err() {
            tracing::warn!("what was said last is not taken in; it will be said again");
        }
        ended
    }

    fn begin(&self, lane: String, ticket: T, work: Work<'a>) {
        let work = async move {
            let outcome = match caught(work).await {
                Ok(done) => done.map_err(NotDone::NotStored),
                Err(panicked) => {
                    tracing::error!(error = %panicked, "a message could not be taken in");
                    Err(NotDone::Fault)
                }
            };
            Done { lane, ticket, outcome }
        };
        self.running.push(work.boxed());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_lane_keeps_its_order_and_holds_up_no_other() {
        let (order, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let work = |name: &'static str, waits: bool| {
            let (order, gate) = (order.clone(), gate.clone());
            async move {
                if waits {
                    gate.acquire().await.unwrap().forget();
                }
                order.lock().unwrap().push(name);
                Ok(())
            }
            .boxed()
        };
        let mut lanes = Lanes::of(9);
        assert!(lanes.put("one".into(), 1, work("first", true)));
        assert!(lanes.put("one".into(), 2, work("second", false)));
        assert!(lanes.put("two".into(), 3, work("other", false)));
        assert_eq!(lanes.len(), 3);
        assert_eq!(lanes.done().await, Ok(3));
        gate.add_permits(1);
        assert_eq!((lanes.done().await, lanes.done().await), (Ok(1), Ok(2)));
        assert_eq!((lanes.len(), lanes.waiting.len()), (0, 0));
        assert_eq!(*order.lock().unwrap(), ["other", "first", "second"]);
    }

    #[tokio::test]
    async fn a_fault_is_never_told_as_done_and_what_follows_is() {
        let mut lanes = Lanes::of(9);
        lanes.put("one".into(), 1, async { panic!("a fault") }.boxed());
        lanes.put("one".into(), 2, async { Ok(()) }.boxed());
        lanes.put("two".into(), 3, async { Err("the disk is full".to_owned()) }.boxed());
        let told = [lanes.done().await, lanes.done().await];
        assert!(told.contains(&Ok(2)) && told.contains(&Err("the disk is full".to_owned())), "{told:?}");
    }

    #[tokio::test]
    async fn what_waits_behind_something_that_could_not_be_stored_is_not_begun() {
        let mut lanes = Lanes::of(9);
        lanes.put("one".into(), 1, async { Err("the disk is full".to_owned()) }.boxed());
        lanes.put("one".into(), 2, async { Ok(()) }.boxed());
        assert_eq!(lanes.done().await, Err("the disk is full".to_owned()));
        assert!(lanes.end().await.is_empty());
    }

    #[tokio::test]
    async fn what_is_too_much_for_a_lane_is_not_taken() {
        let mut lanes = Lanes::of(3);
        let taken = (0..9).filter(|n| lanes.put("one".into(), *n, std::future::pending().boxed())).count();
        assert_eq!(taken, 4, "one is begun, and three wait");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_begun_is_seen_to_its_end_within_a_limit() {
        let mut lanes = Lanes::of(3);
        lanes.put("one".into(), 1, async { Ok(()) }.boxed());
        lanes.put("one".into(), 2, async { Ok(()) }.boxed());
        lanes.put("two".into(), 3, async { Err("the disk is full".to_owned()) }.boxed());
        lanes.put("three".into(), 4, std::future::pending().boxed());
        assert_eq!(lanes.end().await, [1], "neither what waited, nor what failed, nor what does not end");
    }
}
