//! What an agent is handed next: which messages, as one prompt.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

use jiff::tz::TimeZone;

use crate::{
    attachment::{Fetched, NewFile},
    group::GroupFolder,
    launch::Launcher,
    message::{PlatformMessageId, Seq, StoredMessage, Wakes},
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
    /// The files that the text names.
    pub(super) files: Vec<NewFile>,
    /// The thread in which the last message that wakes was written, which is the one that is answered.
    pub(super) thread: Option<PlatformMessageId>,
}

/// Files that cannot be put where the agent finds them, and why: by message, and place among its attachments, from 1.
pub(super) type Missing = BTreeMap<(Seq, usize), String>;

/// Which messages are wanted, and how they are put together.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) group: &'a GroupFolder,
    /// Those beyond this one.
    pub(super) after: Seq,
    pub(super) limits: PromptLimits,
    pub(super) zone: &'a TimeZone,
}

/// How many messages are read from the store at a time. A message has up to a mebibyte, and a backlog any number of them.
const PAGE: u32 = 32;

/// What of a prompt's bytes one message of context may take: a quarter.
const CONTEXT_SHARE: usize = 4;

/// The next batch; `None` when nothing that wakes waits there. The text says of what is `missing` that it is not there.
pub(super) async fn next_batch(
    store: &dyn Store,
    wanted: Wanted<'_>,
    missing: &Missing,
) -> Result<Option<Batch>, StoreError> {
    let mut filling = Filling::new(wanted.limits, wanted.zone, missing);
    let mut after = wanted.after;
    loop {
        let page = store.messages_after(wanted.group, after, PAGE).await?;
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

/// Puts the files of a batch where the agent finds them. When one cannot be put there, the batch is made anew and says so.
/// Returned is the batch whose files all lie there; `None` when its messages wait no longer.
pub(super) async fn bring_files(
    launcher: &dyn Launcher,
    store: &dyn Store,
    wanted: Wanted<'_>,
    batch: Batch,
) -> Result<Option<Batch>, StoreError> {
    let mut missing = Missing::new();
    let mut batch = batch;
    // Each round adds to what is missing, and nothing that is missing is asked for again.
    while !batch.files.is_empty() {
        let refused = launcher.bring_files(wanted.group, &batch.files).await;
        let refused = batch.files.iter().zip(refused).filter_map(|(new, why)| Some(((new.seq, new.number), why?)));
        let known = missing.len();
        missing.extend(refused);
        if missing.len() == known {
            break;
        }
        match next_batch(store, wanted, &missing).await? {
            Some(anew) => batch = anew,
            None => return Ok(None),
        }
    }
    Ok(Some(batch))
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
    missing: &'a Missing,
    context: VecDeque<(Timestamp, Formatted)>,
    chosen: Vec<Formatted>,
    /// Of both, formatted.
    bytes: usize,
    skipped: Option<Skipped>,
    first: Option<Seq>,
    last: Option<(Seq, Timestamp)>,
    thread: Option<PlatformMessageId>,
}

/// A message as the prompt has it.
struct Formatted {
    text: String,
    files: Vec<NewFile>,
}

impl<'a> Filling<'a> {
    fn new(limits: PromptLimits, zone: &'a TimeZone, missing: &'a Missing) -> Self {
        Self {
            limits,
            zone,
            missing,
            context: VecDeque::new(),
            chosen: Vec::new(),
            bytes: prompt::FRAME_BYTES,
            skipped: None,
            first: None,
            last: None,
            thread: None,
        }
    }

    fn take(&mut self, stored: &StoredMessage) -> Full {
        let room = self.limits.bytes.saturating_sub(prompt::FRAME_BYTES);
        let at = stored.message.sent_at;
        if self.chosen.is_empty() && stored.wakes == Wakes::No {
            let formatted = self.format(stored, room / CONTEXT_SHARE);
            self.bytes += formatted.text.len();
            self.context.push_back((at, formatted));
            self.first.get_or_insert(stored.seq);
            self.make_room(self.limits.context);
            return Full::No;
        }
        let formatted = self.format(stored, room);
        if !self.chosen.is_empty() && self.bytes + formatted.text.len() > self.limits.bytes {
            return Full::Yes;
        }
        self.first.get_or_insert(stored.seq);
        self.last = Some((stored.seq, at));
        if stored.wakes == Wakes::Yes {
            self.thread = stored.message.thread.clone();
        }
        self.bytes += formatted.text.len();
        self.chosen.push(formatted);
        self.make_room(self.limits.context);
        if self.chosen.len() >= self.limits.messages.max(1) { Full::Yes } else { Full::No }
    }

    fn format(&self, stored: &StoredMessage, most: usize) -> Formatted {
        let mut stored = Cow::Borrowed(stored);
        let mut files = Vec::new();
        for place in 0..stored.message.attachments.len() {
            let number = place + 1;
            if let Some(reason) = self.missing.get(&(stored.seq, number)) {
                let reason = Some(reason.clone());
                stored.to_mut().message.attachments[place].fetched = Fetched::No { reason };
            }
            files.extend(stored.message.attachments[place].new_file(stored.seq, number));
        }
        Formatted { text: prompt::format_message(&stored, self.zone, most), files }
    }

    /// Drops context, the oldest first, and counts it.
    fn make_room(&mut self, most: usize) {
        while self.context.len() > most || self.bytes > self.limits.bytes {
            let Some((at, dropped)) = self.context.pop_front() else { return };
            self.bytes -= dropped.text.len();
            let skipped = self.skipped.get_or_insert(Skipped { count: 0, from: at, to: at });
            skipped.count += 1;
            skipped.to = at;
        }
    }

    fn batch(self) -> Option<Batch> {
        let (last, at) = self.last?;
        let handed = Handed { first: self.first?, last };
        let messages = self.chosen.len();
        let mut files = Vec::new();
        let formatted = self.context.into_iter().map(|(_, formatted)| formatted).chain(self.chosen);
        let texts = formatted.map(|Formatted { text, files: of_it }| {
            files.extend(of_it);
            text
        });
        let text = prompt::frame(texts, self.zone, at, self.skipped.as_ref());
        Some(Batch { handed, text, messages, files, thread: self.thread })
    }
}
