//! One try to send one row of the outbox, and what follows from how it ended.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Deliverer, DeliverySettings, LateWord, WhenUnknown};
use crate::{
    channel::{Channel, ChannelCapabilities, Repeat, SendError},
    delivery::{DeliveryKey, NewDelivery, OutboxId, Sent},
    orchestrator::retry::Delays,
    steps::STEPS,
    store::{AfterTry, DeliveryState, StoreError, StoredDelivery},
    time::Timestamp,
};

/// One try to send one row.
pub(super) struct Attempt<'a> {
    pub(super) of: &'a Deliverer,
    pub(super) row: &'a StoredDelivery,
    pub(super) stop: &'a CancellationToken,
}

/// What a chat's worker does next.
pub(super) enum Next {
    /// The next row: this one is sent or given up.
    Row,
    /// This row again, at `until`, which is what `not_before` in the store means.
    Wait { not_before: Timestamp, until: Instant },
    /// Nothing, until a channel is there.
    Parked,
    /// Nothing: the host ends.
    Stopped,
}

/// The host ends, and the store has not taken what was to be recorded: the row is as it was before the try.
pub(super) struct Stopped;

/// How sure it is that a try came to nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Certainty {
    NotSent,
    MaybeSent,
}

impl Attempt<'_> {
    pub(super) async fn run(&self) -> Next {
        let Some(channel) = self.of.channels.of(&self.row.delivery.chat) else { return Next::Parked };
        self.try_on(&channel).await.unwrap_or(Next::Stopped)
    }

    /// Acts on what the channel says of the row when it is not being tried; see the table in [`super`].
    pub(super) async fn settle(&self, word: LateWord) -> Result<(), Stopped> {
        let (chat, key) = (&self.row.delivery.chat, &self.row.delivery.key);
        match (word, self.row.state) {
            (Ok(sent), DeliveryState::Pending | DeliveryState::Sending | DeliveryState::Unknown) => {
                tracing::info!(%chat, %key, "a message was sent, as is told now");
                self.sent(&sent).await?;
            }
            (Err(SendError::Permanent { reason }), DeliveryState::Sending | DeliveryState::Unknown) => {
                self.give_up(&reason, Certainty::NotSent).await?;
            }
            (Err(SendError::Retry { reason, after }), DeliveryState::Sending | DeliveryState::Unknown) => {
                self.again(&reason, after, Certainty::NotSent).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn try_on(&self, channel: &Arc<dyn Channel>) -> Result<Next, Stopped> {
        let (store, delivery) = (&self.of.store, &self.row.delivery);
        let ChannelCapabilities { repeat, files, .. } = channel.capabilities();
        if repeat != Repeat::Deduplicated
            && self.row.state == DeliveryState::Sending
            && let Some(next) = self.clear_up(channel, repeat).await?
        {
            return Ok(next);
        }
        if delivery.file.is_some() && !files {
            let reason = format!("the channel {} takes no files", channel.name());
            return self.give_up(&reason, Certainty::NotSent).await;
        }
        if repeat != Repeat::Deduplicated && self.row.state != DeliveryState::Sending {
            self.record(|| store.delivery_begun(delivery.id)).await?;
        }
        let (chat, key) = (&delivery.chat, &delivery.key);
        tracing::debug!(target: STEPS, %chat, %key, "handed to the channel");
        match self.in_time(channel, channel.send(delivery)).await {
            Ok(sent) => self.sent(&sent).await,
            Err(SendError::NotConnected { reason }) => {
                tracing::debug!(%chat, %key, %reason, "not connected; the message waits in the outbox");
                if repeat != Repeat::Deduplicated {
                    self.record(|| store.delivery_postponed(delivery.id)).await?;
                }
                Ok(Next::Parked)
            }
            Err(SendError::Permanent { reason }) => self.give_up(&reason, Certainty::NotSent).await,
            Err(SendError::Retry { reason, after }) => self.again(&reason, after, Certainty::NotSent).await,
            Err(SendError::Unknown { reason }) => match repeat {
                Repeat::LookedUp => self.look_up_later(&reason, None).await,
                Repeat::Shown if self.asks() => self.give_up(&reason, Certainty::MaybeSent).await,
                Repeat::Deduplicated | Repeat::Shown => self.again(&reason, None, Certainty::MaybeSent).await,
            },
        }
    }

    /// Finds out what became of a row whose sending began and of whose end nothing is known. `None`: it is to be sent.
    async fn clear_up(&self, channel: &Arc<dyn Channel>, repeat: Repeat) -> Result<Option<Next>, Stopped> {
        let delivery = &self.row.delivery;
        let (chat, key) = (&delivery.chat, &delivery.key);
        let in_doubt = async |reason: &str| match self.asks() {
            true => self.give_up(reason, Certainty::MaybeSent).await.map(Some),
            false => {
                tracing::warn!(%chat, %key, %reason, "a message may have been shown before; sending it again");
                Ok(None)
            }
        };
        if repeat != Repeat::LookedUp {
            return in_doubt("the host ended while it was being sent").await;
        }
        match self.in_time(channel, channel.find(delivery)).await {
            Ok(Some(sent)) => {
                tracing::info!(%chat, %key, "a message turned out to have been sent");
                self.sent(&sent).await.map(Some)
            }
            Ok(None) => Ok(None),
            // The row stays as it is: it is looked up when the channel is there.
            Err(SendError::NotConnected { .. }) => Ok(Some(Next::Parked)),
            Err(SendError::Permanent { reason }) => in_doubt(&reason).await,
            Err(SendError::Retry { reason, after }) => self.look_up_later(&reason, after).await.map(Some),
            Err(SendError::Unknown { reason }) => self.look_up_later(&reason, None).await.map(Some),
        }
    }

    async fn in_time<T>(
        &self,
        channel: &Arc<dyn Channel>,
        asked: impl Future<Output = Result<T, SendError>>,
    ) -> Result<T, SendError> {
        let limit = self.of.settings.send_timeout + self.row.delivery.more_time();
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            Err(SendError::Unknown { reason: format!("{} did not answer within {limit:?}", channel.name()) })
        })
    }

    async fn sent(&self, sent: &Sent) -> Result<Next, Stopped> {
        let (id, at) = (self.row.delivery.id, Timestamp::now());
        tracing::debug!(target: STEPS, chat = %self.row.delivery.chat, key = %self.row.delivery.key, "sent");
        self.record(|| self.of.store.delivery_sent(id, sent, at)).await?;
        Ok(Next::Row)
    }

    /// Sends it again later, unless it was tried too often.
    async fn again(&self, reason: &str, after: Option<Duration>, certainty: Certainty) -> Result<Next, Stopped> {
        if self.is_last_try() {
            return self.give_up(reason, certainty).await;
        }
        self.wait(reason, after, AfterTry::TryAgain).await
    }

    /// Asks the channel later whether it was sent, unless that was tried too often.
    async fn look_up_later(&self, reason: &str, after: Option<Duration>) -> Result<Next, Stopped> {
        if self.is_last_try() {
            return self.give_up(reason, Certainty::MaybeSent).await;
        }
        self.wait(reason, after, AfterTry::LookUp).await
    }

    async fn wait(
        &self,
        reason: &str,
        after: Option<Duration>,
        then: fn(Timestamp) -> AfterTry,
    ) -> Result<Next, Stopped> {
        let delivery = &self.row.delivery;
        let (chat, key) = (&delivery.chat, &delivery.key);
        let delay = Delays::after(delivery.attempts, self.of.settings.max_delay, key).next(after);
        tracing::warn!(%chat, %key, %reason, ?delay, "could not send; trying again");
        let (at, until) = (Timestamp::now(), Instant::now() + delay);
        let not_before = at.plus(delay);
        self.record_failure(reason, &then(not_before), at).await?;
        Ok(Next::Wait { not_before, until })
    }

    /// Ends the tries, and tells the owner, once: the notice is posted in the transaction that changes the row.
    async fn give_up(&self, reason: &str, certainty: Certainty) -> Result<Next, Stopped> {
        let delivery = &self.row.delivery;
        let (chat, key, at) = (&delivery.chat, &delivery.key, Timestamp::now());
        match certainty {
            Certainty::NotSent => tracing::error!(%chat, %key, %reason, "a message is not sent; it is kept as failed"),
            Certainty::MaybeSent => {
                tracing::error!(%chat, %key, %reason, "nobody knows whether a message was sent; it is kept as unknown");
            }
        }
        let notice = self.notice(reason, certainty);
        let told = notice.as_ref().map(|notice| notice.chat.clone());
        let after = match certainty {
            Certainty::NotSent => AfterTry::GiveUp(notice),
            Certainty::MaybeSent => AfterTry::Ask(notice),
        };
        self.record_failure(reason, &after, at).await?;
        if let Some(told) = told {
            self.of.nudges.chat(&told);
        }
        Ok(Next::Row)
    }

    /// What the owner is told. Nothing about what was itself such a word: where it cannot go, no other can.
    fn notice(&self, reason: &str, certainty: Certainty) -> Option<NewDelivery> {
        let delivery = &self.row.delivery;
        if delivery.key.is_alert() {
            return None;
        }
        let (id, chat) = (delivery.id.0, &delivery.chat);
        let begins = delivery.begins();
        let text = match certainty {
            Certainty::NotSent => format!(
                "A message to {chat} could not be sent: {reason}. It begins: {begins:?}. It is kept: `nanoclaw outbox \
                 retry {id}` sends it, `nanoclaw outbox drop {id}` puts it aside."
            ),
            Certainty::MaybeSent => format!(
                "A message to {chat} may have been shown, or not: {reason}. It begins: {begins:?}. Please look: \
                 `nanoclaw outbox retry {id}` sends it again, `nanoclaw outbox drop {id}` leaves it as it is."
            ),
        };
        // After a person's decision, and after further tries, it is another one.
        let (decisions, attempts) = (self.row.decisions, delivery.attempts);
        self.of.alerts.for_owner(DeliveryKey::alert(format_args!("delivery/{id}/{decisions}/{attempts}")), text)
    }

    /// Whether a person is asked when nobody knows. A word to the owner is rather said twice than not at all.
    fn asks(&self) -> bool {
        self.of.settings.when_unknown == WhenUnknown::Ask && !self.row.delivery.key.is_alert()
    }

    fn is_last_try(&self) -> bool {
        // One that is unknown was counted when it became so.
        let this_try = u32::from(self.row.state != DeliveryState::Unknown);
        self.row.delivery.attempts + this_try >= self.of.settings.max_attempts
    }

    async fn record_failure(&self, reason: &str, after: &AfterTry, at: Timestamp) -> Result<(), Stopped> {
        let (store, id) = (&self.of.store, self.row.delivery.id);
        match self.row.state {
            DeliveryState::Unknown => self.record(|| store.delivery_not_sent(id, reason, after, at)).await,
            _ => self.record(|| store.delivery_failed(id, reason, after, at)).await,
        }
    }

    /// Records what is known, until the store takes it: what was sent must not be sent again because a disk was full.
    async fn record<F: Future<Output = Result<(), StoreError>>>(&self, record: impl Fn() -> F) -> Result<(), Stopped> {
        persist(&self.of.settings, self.stop, &self.row.delivery.id, record).await
    }
}

/// Asks the store about row `id` until it does what it is asked, or the host ends.
pub(super) async fn persist<T, F: Future<Output = Result<T, StoreError>>>(
    settings: &DeliverySettings,
    stop: &CancellationToken,
    id: &OutboxId,
    ask: impl Fn() -> F,
) -> Result<T, Stopped> {
    let mut delays = Delays::after(0, settings.max_delay, id);
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let delay = delays.next(None);
        tracing::error!(row = id.0, %error, ?delay, "cannot read or mark a message in the outbox; trying again");
        tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Stopped),
            () = tokio::time::sleep(delay) => {}
        }
    }
}
