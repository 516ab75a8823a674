//! What an agent is handed next: which messages, as one prompt.

use std::collections::VecDeque;

use jiff::tz::TimeZone;

use crate::{
    group::GroupFolder,
    message::{Seq, StoredMessage, Wakes},
    prompt::{self, Skipped},
    run::Handed,
    store::{Store, StoreError},
    time::Timestamp,
};

/// Bounds of one prompt.
#[derive(Debug, Clone, Copy)]
pub struct PromptLimits {
    /// The most messages from the first that wakes on; what is beyond comes as the next follow-up, nothing is passed over
    /// (fault F7).
    pub messages: usize,
    /// The most messages of context before the first that wakes; older ones are counted in the prompt and not shown
    /// (fault F25).
    pub context: usize,
    /// The most bytes of the whole prompt, as the agent reads it. Context gives way first, then what waits for the next
    /// prompt. A message that is larger by itself is cut, and says so.
    pub bytes: usize,
}

impl Default for PromptLimits {
    fn default() -> Self {
        Self { messages: 10, context: 50, bytes: 256 * 1024 }
    }
}

/// Messages that are handed to an agent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) handed: Handed,
    pub(super) text: String,
    /// How many messages it has from the first that wakes on.
    pub(super) messages: usize,
}

/// How many messages are read from the store at a time. A message has up to a mebibyte, and a backlog any number of them.
const PAGE: u32 = 32;

/// What of a prompt's bytes one message of context may take: a quarter.
const CONTEXT_SHARE: usize = 4;

/// The next batch beyond `after`; `None` when nothing that wakes waits there.
pub(super) async fn next_batch(
    store: &dyn Store,
    group: &GroupFolder,
    after: Seq,
    limits: PromptLimits,
    zone: &TimeZone,
) -> Result<Option<Batch>, StoreError> {
    let mut filling = Filling::new(limits, zone);
    let mut after = after;
    loop {
        let page = store.messages_after(group, after, PAGE).await?;
        let last_page = page.len() < PAGE as usize;
        for message in page {
            after = message.seq;
            if filling.take(&message) == Full::Yes {
                return Ok(filling.batch());
            }
        }
        if last_page {
            return Ok(filling.batch());
        }
    }
}

/// Whether more can be taken.
#[derive(PartialEq, Eq)]
enum Full {
    Yes,
    No,
}

/// A prompt while it is put together. Holds no more than the prompt will have.
struct Filling<'a> {
    limits: PromptLimits,
    zone: &'a TimeZone,
    context: VecDeque<(Timestamp, String)>,
    chosen: Vec<String>,
    /// Of both, formatted.
    bytes: usize,
    skipped: Option<Skipped>,
    first: Option<Seq>,
    last: Option<(Seq, Timestamp)>,
}

impl<'a> Filling<'a> {
    fn new(limits: PromptLimits, zone: &'a TimeZone) -> Self {
        Self {
            limits,
            zone,
            context: VecDeque::new(),
            chosen: Vec::new(),
            bytes: prompt::FRAME_BYTES,
            skipped: None,
            first: None,
            last: None,
        }
    }

    fn take(&mut self, stored: &StoredMessage) -> Full {
        let room = self.limits.bytes.saturating_sub(prompt::FRAME_BYTES);
        let at = stored.message.sent_at;
        if self.chosen.is_empty() && stored.wakes == Wakes::No {
            let text = prompt::format_message(&stored.message, self.zone, room / CONTEXT_SHARE);
            self.bytes += text.len();
            self.context.push_back((at, text));
            self.first.get_or_insert(stored.seq);
            self.make_room(self.limits.context);
            return Full::No;
        }
        let text = prompt::format_message(&stored.message, self.zone, room);
        if !self.chosen.is_empty() && self.bytes + text.len() > self.limits.bytes {
            return Full::Yes;
        }
        self.first.get_or_insert(stored.seq);
        self.last = Some((stored.seq, at));
        self.bytes += text.len();
        self.chosen.push(text);
        self.make_room(self.limits.context);
        if self.chosen.len() >= self.limits.messages.max(1) { Full::Yes } else { Full::No }
    }

    /// Drops context, the oldest first, and counts it.
    fn make_room(&mut self, most: usize) {
        while self.context.len() > most || self.bytes > self.limits.bytes {
            let Some((at, text)) = self.context.pop_front() else { return };
            self.bytes -= text.len();
            let skipped = self.skipped.get_or_insert(Skipped { count: 0, from: at, to: at });
            skipped.count += 1;
            skipped.to = at;
        }
    }

    fn batch(self) -> Option<Batch> {
        let (last, at) = self.last?;
        let handed = Handed { first: self.first?, last };
        let messages = self.chosen.len();
        let texts = self.context.into_iter().map(|(_, text)| text).chain(self.chosen);
        let text = prompt::frame(texts, self.zone, at, self.skipped.as_ref());
        Some(Batch { handed, text, messages })
    }
}
