//! Sends what lies in the outbox: in order within a chat, chats independent of each other, each row until it is sent or
//! cannot be.
//!
//! One loop knows which chats have a worker; a worker empties its chat's rows and ends. Who puts a row into the outbox
//! nudges the loop; a nudge carries nothing, so one that is lost costs time and never a message.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{channels::Channels, retry::SendDelays};
use crate::{
    channel::SendError,
    chat::ChatId,
    delivery::OutboxId,
    store::{Store, StoreError, StoredDelivery},
    time::Timestamp,
};

/// The numbers that sending goes by.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySettings {
    /// How long a channel may take to send one message.
    pub send_timeout: Duration,
    /// The longest delay between two tries.
    pub max_delay: Duration,
    /// How often one message is tried before it is given up. A channel that is not connected does not count.
    pub max_attempts: u32,
}

impl Default for DeliverySettings {
    /// A minute, five minutes, and 30 tries: about two hours of a service that answers with errors.
    fn default() -> Self {
        Self { send_timeout: Duration::from_secs(60), max_delay: Duration::from_secs(300), max_attempts: 30 }
    }
}

/// How others tell the deliverer that there is something to send. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Nudges(Arc<NudgeState>);

#[derive(Default)]
struct NudgeState {
    chats: Mutex<BTreeSet<ChatId>>,
    retry_parked: Mutex<bool>,
    changed: Notify,
}

impl Nudges {
    /// There is something to send to `chat`.
    pub(super) fn chat(&self, chat: &ChatId) {
        self.0.chats.lock().unwrap_or_else(PoisonError::into_inner).insert(chat.clone());
        self.0.changed.notify_one();
    }

    /// A channel is there (again): what waited for one is tried.
    pub(super) fn channel_connected(&self) {
        *self.0.retry_parked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_one();
    }

    /// The chats that were nudged, and whether a channel came.
    fn take(&self) -> (BTreeSet<ChatId>, bool) {
        let chats = std::mem::take(&mut *self.0.chats.lock().unwrap_or_else(PoisonError::into_inner));
        let retry = std::mem::take(&mut *self.0.retry_parked.lock().unwrap_or_else(PoisonError::into_inner));
        (chats, retry)
    }

    async fn next(&self) -> (BTreeSet<ChatId>, bool) {
        loop {
            let (chats, retry) = self.take();
            if retry || !chats.is_empty() {
                return (chats, retry);
            }
            self.0.changed.notified().await;
        }
    }
}

pub(super) struct Deliverer {
    pub(super) store: Arc<dyn Store>,
    pub(super) channels: Channels,
    pub(super) nudges: Nudges,
    pub(super) settings: DeliverySettings,
}

/// How a chat's worker ended.
enum Emptied {
    /// Nothing is left to send.
    Yes,
    /// No channel is there for it; it waits for one.
    Parked,
}

impl Deliverer {
    /// Delivers until `stop` is cancelled; then sends what is due and can be sent, waits for no second try, and returns.
    pub(super) async fn run(self, stop: CancellationToken) {
        let this = Arc::new(self);
        let mut workers: JoinSet<(ChatId, Emptied)> = JoinSet::new();
        // Chats that have a worker, with whether they were nudged since it looked.
        let mut busy: HashMap<ChatId, bool> = HashMap::new();
        let mut parked: BTreeSet<ChatId> = BTreeSet::new();
        loop {
            let (chats, retry) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = workers.join_next() => {
                    match ended {
                        Ok((chat, emptied)) => {
                            if matches!(emptied, Emptied::Parked) {
                                parked.insert(chat.clone());
                            }
                            if busy.remove(&chat) == Some(true) {
                                this.nudges.chat(&chat);
                            }
                        }
                        Err(error) => tracing::error!(%error, "a delivery worker failed; its chat is tried at the next message"),
                    }
                    continue;
                }
                nudge = this.nudges.next() => nudge,
            };
            let retried = if retry {
                // A worker that is just now finding its channel gone parks after this: it must look once more.
                busy.values_mut().for_each(|nudged| *nudged = true);
                std::mem::take(&mut parked)
            } else {
                BTreeSet::new()
            };
            for chat in chats.into_iter().chain(retried) {
                parked.remove(&chat);
                match busy.get_mut(&chat) {
                    Some(nudged) => *nudged = true,
                    None => {
                        busy.insert(chat.clone(), false);
                        workers.spawn(this.clone().empty(chat, stop.clone()));
                    }
                }
            }
        }
        // What was nudged last, and chats whose workers had looked before.
        let (mut last, _) = this.nudges.take();
        last.extend(busy.into_iter().filter(|(_, nudged)| *nudged).map(|(chat, _)| chat));
        while workers.join_next().await.is_some() {}
        for chat in last {
            workers.spawn(this.clone().empty(chat, stop.clone()));
        }
        while workers.join_next().await.is_some() {}
    }

    async fn empty(self: Arc<Self>, chat: ChatId, stop: CancellationToken) -> (ChatId, Emptied) {
        let mut delays = SendDelays::after(0, self.settings.max_delay, &chat);
        let mut held = None;
        loop {
            let delay = match self.store.pending_deliveries_of(&chat, 32).await {
                Ok(rows) if rows.is_empty() => return (chat, Emptied::Yes),
                Ok(rows) => match self.send_all(&rows, &mut held, &stop).await {
                    Ok(Some(emptied)) => return (chat, emptied),
                    Ok(None) => continue,
                    Err(error) => self.store_failed(&chat, &error, &mut delays),
                },
                Err(error) => self.store_failed(&chat, &error, &mut delays),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return (chat, Emptied::Yes),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    /// How long a row of an earlier worker or host is still to wait. No longer than the longest delay between tries: what
    /// the store says is by a clock that may have been set back since (a day of waiting for a message of one minute).
    fn wait_as_stored(&self, row: &StoredDelivery) -> Duration {
        let wait = u64::try_from(row.not_before.as_ms().saturating_sub(Timestamp::now().as_ms())).unwrap_or(0);
        Duration::from_millis(wait).min(self.settings.max_delay)
    }

    fn store_failed(&self, chat: &ChatId, error: &StoreError, delays: &mut SendDelays) -> Duration {
        let delay = delays.next(None);
        tracing::error!(%chat, %error, ?delay, "cannot read or mark the outbox; trying again");
        delay
    }

    /// Sends `rows` in order. `None`: look for more. `held` is the row that is to wait, and until when.
    async fn send_all(
        &self,
        rows: &[StoredDelivery],
        held: &mut Option<(OutboxId, Instant)>,
        stop: &CancellationToken,
    ) -> Result<Option<Emptied>, StoreError> {
        for row in rows {
            let until = match *held {
                Some((id, until)) if id == row.delivery.id => until,
                _ => Instant::now() + self.wait_as_stored(row),
            };
            // What is due is sent even when the host ends.
            if until > Instant::now() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return Ok(Some(Emptied::Yes)),
                    () = tokio::time::sleep_until(until) => {}
                }
            }
            let delivery = &row.delivery;
            let Some(channel) = self.channels.of(&delivery.chat) else { return Ok(Some(Emptied::Parked)) };
            let sent = tokio::time::timeout(self.settings.send_timeout, channel.send(delivery)).await;
            let sent = sent.unwrap_or_else(|_| {
                let reason = format!("{} did not answer within {:?}", channel.name(), self.settings.send_timeout);
                Err(SendError::Retry { reason, after: None })
            });
            let (id, chat) = (delivery.id, &delivery.chat);
            match sent {
                Ok(sent) => self.store.delivery_sent(id, &sent, Timestamp::now()).await?,
                Err(SendError::NotConnected { reason }) => {
                    tracing::debug!(%chat, %reason, "not connected; the message waits in the outbox");
                    return Ok(Some(Emptied::Parked));
                }
                Err(SendError::Permanent { reason }) => {
                    tracing::error!(%chat, key = %delivery.key, %reason, "a message can never be sent; it is kept as failed");
                    self.store.delivery_failed(id, &reason, None).await?;
                }
                Err(SendError::Retry { reason, .. }) if delivery.attempts + 1 >= self.settings.max_attempts => {
                    tracing::error!(%chat, key = %delivery.key, %reason, "a message was tried too often; it is kept as failed");
                    self.store.delivery_failed(id, &reason, None).await?;
                }
                Err(SendError::Retry { reason, after }) => {
                    let delay =
                        SendDelays::after(delivery.attempts, self.settings.max_delay, &delivery.key).next(after);
                    tracing::warn!(%chat, key = %delivery.key, %reason, ?delay, "could not send; trying again");
                    *held = Some((id, Instant::now() + delay));
                    self.store.delivery_failed(id, &reason, Some(Timestamp::now().plus(delay))).await?;
                    // Later rows of this chat must not overtake it.
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}
