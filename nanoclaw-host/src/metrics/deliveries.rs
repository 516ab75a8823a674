//! What became of the tries to send, by channel: counted where the deliverer hands a message to its channel.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, ChannelCapabilities, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, Sent},
    message::PlatformMessageId,
};
use tokio::time::Instant;

use super::{
    histogram::{Histogram, SHORT},
    text::{Kind, Page},
};

/// Channels that have figures of their own; bridges name themselves, and those beyond are counted together.
const MOST_CHANNELS: usize = 32;
/// What those are called.
const OTHERS: &str = "other";

/// How tries to send ended, by channel. Cheap to clone; clones share their counts.
#[derive(Debug, Clone, Default)]
pub struct Deliveries {
    channels: Arc<Mutex<BTreeMap<String, Arc<OfChannel>>>>,
}

#[derive(Debug)]
struct OfChannel {
    outcomes: [AtomicU64; OUTCOMES.len()],
    took: Histogram,
}

/// How a try can end, in the order of the counts.
const OUTCOMES: [&str; 5] = ["sent", "not_connected", "retry", "failed", "unknown"];

fn place_of(outcome: &Result<Sent, SendError>) -> usize {
    match outcome {
        Ok(_) => 0,
        Err(SendError::NotConnected { .. }) => 1,
        Err(SendError::Retry { .. }) => 2,
        Err(SendError::Permanent { .. }) => 3,
        Err(SendError::Unknown { .. }) => 4,
    }
}

impl Deliveries {
    /// `channel`, whose sends are counted.
    #[must_use]
    pub fn counting(&self, channel: Arc<dyn Channel>) -> Arc<dyn Channel> {
        let counts = self.of(channel.name().as_str());
        Arc::new(Counting { channel, counts })
    }

    /// Adds what was counted to `page`.
    pub fn write(&self, page: &mut Page) {
        let channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = "nanoclaw_deliveries_total";
        page.family(name, Kind::Counter, "Tries to send a message, by channel and how they ended.");
        for (channel, of) in &channels {
            for (outcome, count) in OUTCOMES.into_iter().zip(&of.outcomes) {
                let count = count.load(Ordering::Relaxed);
                page.sample(name, &[("channel", channel), ("outcome", outcome)], count);
            }
        }
        let name = "nanoclaw_delivery_seconds";
        page.family(name, Kind::Histogram, "How long a channel took to say what became of a message.");
        for (channel, of) in &channels {
            of.took.write(page, name, &[("channel", channel)]);
        }
    }

    fn of(&self, channel: &str) -> Arc<OfChannel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let full = channels.len() >= MOST_CHANNELS && !channels.contains_key(channel);
        let name = if full { OTHERS } else { channel };
        let new = || Arc::new(OfChannel { outcomes: Default::default(), took: Histogram::new(SHORT) });
        channels.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

/// A channel whose sends are counted.
struct Counting {
    channel: Arc<dyn Channel>,
    counts: Arc<OfChannel>,
}

#[async_trait]
impl Channel for Counting {
    fn name(&self) -> &ChannelName {
        self.channel.name()
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.channel.owns(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        self.channel.capabilities()
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let began = Instant::now();
        // One that is dropped took too long; the deliverer takes it for unknown.
        let mut cut_off = CutOff(Some(&self.counts));
        let outcome = self.channel.send(delivery).await;
        cut_off.0 = None;
        self.counts.note(place_of(&outcome));
        self.counts.took.observe(began.elapsed());
        outcome
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        self.channel.find(delivery).await
    }

    async fn set_typing(&self, chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) {
        self.channel.set_typing(chat, thread, typing).await;
    }
}

impl OfChannel {
    fn note(&self, place: usize) {
        self.outcomes[place].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a try that nobody waited for to its end.
struct CutOff<'a>(Option<&'a OfChannel>);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        if let Some(counts) = self.0 {
            counts.note(OUTCOMES.len() - 1);
        }
    }
}
