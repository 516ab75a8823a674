//! Sends what lies in the outbox: in order within a chat, chats independent of each other, each row until it is sent or
//! cannot be.
//!
//! One loop knows which chats have a worker; a worker empties its chat's rows and ends. Who puts a row into the outbox
//! nudges the loop; a nudge carries nothing, so one that is lost costs time and never a message. What is done with one row
//! is in [`row`].
//!
//! # What a crash costs
//!
//! Sending and recording that it was sent are two steps, and a host can die between them. What is known afterwards, and what
//! is done, depends on the channel's [`Repeat`](crate::channel::Repeat):
//!
//! | the host dies | `Deduplicated` | `LookedUp` | `Shown` |
//! | --- | --- | --- | --- |
//! | before it begins | pending: sent | pending: sent | pending: sent |
//! | after it noted that it begins, before the send | (notes nothing) | sending: looked up, not found, sent | sending: in doubt |
//! | after the send, before the record | pending: sent again, shown once | sending: looked up, found, recorded | sending: in doubt |
//! | after the record | sent | sent | sent |
//!
//! So the note that a send begins is a commit of its own, which costs time, and it is made only where something follows from
//! it: where sending again is harmless, a row that is pending is simply sent again. *In doubt* means that it was sent or was
//! not, and that nobody can tell; [`WhenUnknown`] says what is done: send it again, or mark it as unknown and ask the owner.
//!
//! The same holds while the host lives and a send ends with [`SendError::Unknown`](crate::channel::SendError::Unknown), or
//! with no word in time. What a try led to is recorded until the store takes it: a full disk makes no message be sent twice.
//!
//! # Word that comes late
//!
//! A channel may say what became of a send when nobody waits for it any more: after the time-out, or on its next connection,
//! also to the next host ([`LateWords`]). It is acted on by the chat's own worker, between two tries, never during one. So a
//! row is never tried while it is settled, and a word meets the row either as a try has left it or as the next one finds it:
//!
//! | the row is | it was sent | it was not sent |
//! | --- | --- | --- |
//! | pending | sent; the next try does not happen | as it is: it is tried anyway |
//! | sending: to be looked up, or in doubt after a crash | sent | pending, or failed |
//! | unknown: the owner is asked | sent | pending, or failed |
//! | sent, failed, dropped | as it is | as it is |
//!
//! A word that comes *during* a try of its row waits for the end of that try, which may show the message again in a channel
//! that is `Shown`, as any try after a doubt may; but there a row in doubt is tried again only where that was chosen or asked
//! for by a person. The others show no key twice. Whatever the try leads to, a row that is sent is not tried again.
//!
//! Words wait in memory. A host that dies before it has acted on one leaves the row as it was.

mod late;
mod nudges;
mod row;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::late::HeardLate;
use self::row::{Attempt, Next, Stopped, persist};
pub(super) use self::{
    late::{LateWord, LateWords},
    nudges::Nudges,
};
use super::{alerts::Alerts, channels::Channels, retry::Delays};
use crate::{
    chat::ChatId,
    delivery::OutboxId,
    store::{Store, StoredDelivery},
    time::Timestamp,
};

/// The numbers that sending goes by.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySettings {
    /// How long a channel may take to send one message.
    pub send_timeout: Duration,
    /// The longest delay between two tries, unless the service asks for a longer one.
    pub max_delay: Duration,
    /// How often one message is tried before it is given up. A channel that is not connected does not count.
    pub max_attempts: u32,
    /// What is done with a message that may have been shown where nobody can tell.
    pub when_unknown: WhenUnknown,
}

impl Default for DeliverySettings {
    /// A minute, five minutes, and 30 tries: about two hours of a service that answers with errors; in doubt, ask.
    fn default() -> Self {
        Self {
            send_timeout: Duration::from_secs(60),
            max_delay: Duration::from_secs(300),
            max_attempts: 30,
            when_unknown: WhenUnknown::Ask,
        }
    }
}

/// What is done with a message that was sent, or was not, where nobody can tell and sending it again would show it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnknown {
    /// Send it again: rather twice than not at all.
    SendAgain,
    /// Mark it as unknown, go on with the next, and tell the owner how to decide: rather not at all than twice.
    #[default]
    Ask,
}

pub(super) struct Deliverer {
    pub(super) store: Arc<dyn Store>,
    pub(super) channels: Channels,
    pub(super) nudges: Nudges,
    pub(super) late: LateWords,
    pub(super) alerts: Alerts,
    pub(super) settings: DeliverySettings,
}

/// How a chat's worker ended.
enum Emptied {
    /// Nothing is left to send, or the host ends.
    Yes,
    /// No channel is there for it; it waits for one.
    Parked,
}

/// A chat that has a worker.
struct Busy {
    chat: ChatId,
    /// Nudged since the worker was last started.
    nudged: bool,
    /// Makes the worker look again when it waits for the next try.
    wake: Arc<Notify>,
}

/// A row whose time has not come, by a clock that does not jump.
struct Wait {
    id: OutboxId,
    not_before: Timestamp,
    until: Instant,
}

impl Deliverer {
    /// Delivers until `stop` is cancelled; then sends what is due and can be sent, waits for no second try, and returns.
    pub(super) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut workers: JoinSet<Emptied> = JoinSet::new();
        let mut busy: HashMap<Id, Busy> = HashMap::new();
        let mut worker_of: BTreeMap<ChatId, Id> = BTreeMap::new();
        let mut parked: BTreeSet<ChatId> = BTreeSet::new();
        loop {
            let (chats, retry) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = workers.join_next_with_id() => {
                    let (id, emptied) = match ended {
                        Ok((id, emptied)) => (id, emptied),
                        Err(error) => {
                            tracing::error!(%error, "a delivery worker failed; its chat is tried at the next message");
                            (error.id(), Emptied::Parked)
                        }
                    };
                    let Some(Busy { chat, nudged, .. }) = busy.remove(&id) else { continue };
                    worker_of.remove(&chat);
                    if nudged {
                        this.nudges.chat(&chat);
                    }
                    if matches!(emptied, Emptied::Parked) {
                        parked.insert(chat);
                    }
                    continue;
                }
                nudge = this.nudges.next() => nudge,
            };
            let mut wanted = chats;
            if retry {
                wanted.append(&mut parked);
                // A worker that is just now finding its channel gone parks after this: it must look once more.
                // In the order of their chats, so that the same history happens twice.
                for id in worker_of.values() {
                    busy.get_mut(id).into_iter().for_each(Busy::nudge);
                }
            }
            for chat in wanted {
                parked.remove(&chat);
                if let Some(busy) = worker_of.get(&chat).and_then(|id| busy.get_mut(id)) {
                    busy.nudge();
                    continue;
                }
                let wake = Arc::new(Notify::new());
                let worker = workers.spawn(this.clone().empty(chat.clone(), wake.clone(), stop.clone()));
                worker_of.insert(chat.clone(), worker.id());
                busy.insert(worker.id(), Busy { chat, nudged: false, wake });
            }
        }
        // What was nudged last, and chats whose workers had looked before.
        let (mut last, _) = this.nudges.take();
        last.extend(busy.into_values().filter(|busy| busy.nudged).map(|busy| busy.chat));
        while workers.join_next().await.is_some() {}
        for chat in last {
            workers.spawn(this.clone().empty(chat, Arc::default(), stop.clone()));
        }
        while workers.join_next().await.is_some() {}
    }

    /// Sends what is to be sent to `chat`, in order.
    async fn empty(self: Arc<Self>, chat: ChatId, wake: Arc<Notify>, stop: CancellationToken) -> Emptied {
        let mut store_delays = Delays::after(0, self.settings.max_delay, &chat);
        let mut wait: Option<Wait> = None;
        'look: loop {
            if self.settle_late(&chat, &stop).await.is_err() {
                return Emptied::Yes;
            }
            let rows = match self.store.pending_deliveries_of(&chat, 32).await {
                Ok(rows) if rows.is_empty() => return Emptied::Yes,
                Ok(rows) => rows,
                Err(error) => {
                    let delay = store_delays.next(None);
                    tracing::error!(%chat, %error, ?delay, "cannot read the outbox; trying again");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Emptied::Yes,
                        () = tokio::time::sleep(delay) => continue,
                    }
                }
            };
            for row in &rows {
                // What is due is sent even when the host ends.
                if let Some(until) = self.due(row, wait.take()) {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return Emptied::Yes,
                        () = wake.notified() => {
                            // A person may have decided about the row; otherwise it is waited for as before.
                            wait = Some(Wait { id: row.delivery.id, not_before: row.not_before, until });
                            continue 'look;
                        }
                        () = tokio::time::sleep_until(until) => {}
                    }
                    wait = Some(Wait { id: row.delivery.id, not_before: row.not_before, until });
                }
                if self.late.any(&chat) {
                    // It may be about this row.
                    continue 'look;
                }
                match (Attempt { of: &self, row, stop: &stop }).run().await {
                    Next::Row => {}
                    Next::Wait { not_before, until } => {
                        // Later rows of this chat must not overtake it.
                        wait = Some(Wait { id: row.delivery.id, not_before, until });
                        continue 'look;
                    }
                    Next::Parked => return Emptied::Parked,
                    Next::Stopped => return Emptied::Yes,
                }
            }
        }
    }

    /// Acts on what was said late of sends to `chat`. Only its worker does so, which tries none of its rows meanwhile.
    async fn settle_late(&self, chat: &ChatId, stop: &CancellationToken) -> Result<(), Stopped> {
        for (id, word) in self.late.take(chat) {
            let found = persist(&self.settings, stop, &id, || self.store.delivery_at(id)).await?;
            if let Some(row) = found {
                (Attempt { of: self, row: &row, stop }).settle(word).await?;
            }
        }
        Ok(())
    }

    /// When `row` may be tried; `None`: now. `wait` is what is known of the row that was waited for last.
    ///
    /// What is stored is wall time, and that clock may jump: it is believed no further than the longest delay, and only for
    /// a row that was tried before. A delay that began in this worker goes by a clock that does not jump.
    fn due(&self, row: &StoredDelivery, wait: Option<Wait>) -> Option<Instant> {
        if let Some(wait) = wait.filter(|wait| wait.id == row.delivery.id && wait.not_before == row.not_before) {
            return Some(wait.until);
        }
        let wait = row.not_before.since(Timestamp::now()).min(self.settings.max_delay);
        (row.delivery.attempts > 0 && !wait.is_zero()).then(|| Instant::now() + wait)
    }
}

impl Busy {
    fn nudge(&mut self) {
        self.nudged = true;
        self.wake.notify_one();
    }
}
