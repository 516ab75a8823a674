//! What an agent is handed next: which messages, as one prompt.

use std::collections::VecDeque;

use crate::{
    group::GroupFolder,
    message::{Seq, StoredMessage, Wakes},
    prompt,
    run::Handed,
    store::{Store, StoreError},
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
}

impl Default for PromptLimits {
    fn default() -> Self {
        Self { messages: 10, context: 50 }
    }
}

/// Messages that are handed to an agent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) handed: Handed,
    pub(super) text: String,
}

const PAGE: u32 = 256;

/// The next batch beyond `after`; `None` when nothing that wakes waits there.
pub(super) async fn next_batch(
    store: &dyn Store,
    group: &GroupFolder,
    after: Seq,
    limits: PromptLimits,
    zone: &jiff::tz::TimeZone,
) -> Result<Option<Batch>, StoreError> {
    let mut context: VecDeque<StoredMessage> = VecDeque::new();
    let mut chosen: Vec<StoredMessage> = Vec::new();
    let mut skipped = 0;
    let mut first = None;
    let mut after = after;
    'pages: loop {
        let page = store.messages_after(group, after, PAGE).await?;
        let last_page = page.len() < PAGE as usize;
        for message in page {
            after = message.seq;
            first.get_or_insert(message.seq);
            if chosen.is_empty() && message.wakes == Wakes::No {
                context.push_back(message);
                if context.len() > limits.context {
                    context.pop_front();
                    skipped += 1;
                }
                continue;
            }
            chosen.push(message);
            if chosen.len() >= limits.messages.max(1) {
                break 'pages;
            }
        }
        if last_page {
            break;
        }
    }
    let (Some(first), Some(last)) = (first, chosen.last()) else { return Ok(None) };
    let handed = Handed { first, last: last.seq };
    let mut messages = Vec::from(context);
    messages.append(&mut chosen);
    Ok(Some(Batch { handed, text: prompt::format_messages(&messages, zone, skipped) }))
}
