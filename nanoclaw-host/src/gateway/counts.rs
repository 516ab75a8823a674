//! What each group used of the gateway since the host started. In memory alone: budgets that outlive the host are the
//! store's affair, not the gateway's.

use std::sync::atomic::{AtomicU64, Ordering};

use nanoclaw_core::group::GroupFolder;
use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// What a group used since the host started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupCounts {
    /// Which group.
    pub group: GroupFolder,
    /// Requests and tunnels, refused ones among them; the question whether the gateway is there does not count.
    pub requests: u64,
    /// Those that the gateway refused.
    pub refused: u64,
    /// Bytes of bodies and tunnels that the group sent.
    pub bytes_sent: u64,
    /// Bytes of bodies and tunnels that the group got.
    pub bytes_received: u64,
    /// Tokens of the model that were read, not from a cache.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Tokens that were read from a cache.
    pub cache_read_tokens: u64,
    /// Tokens that were written to a cache.
    pub cache_written_tokens: u64,
}

/// The counters behind [`GroupCounts`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cache_read_tokens: AtomicU64,
    cache_written_tokens: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn used(&self, usage: &Usage) {
        Self::add(&self.input_tokens, usage.input_tokens);
        Self::add(&self.output_tokens, usage.output_tokens);
        Self::add(&self.cache_read_tokens, usage.cache_read_input_tokens);
        Self::add(&self.cache_written_tokens, usage.cache_creation_input_tokens);
    }

    pub(super) fn of(&self, group: GroupFolder) -> GroupCounts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GroupCounts {
            group,
            requests: now(&self.requests),
            refused: now(&self.refused),
            bytes_sent: now(&self.sent),
            bytes_received: now(&self.received),
            input_tokens: now(&self.input_tokens),
            output_tokens: now(&self.output_tokens),
            cache_read_tokens: now(&self.cache_read_tokens),
            cache_written_tokens: now(&self.cache_written_tokens),
        }
    }
}
