//! What a store can tell of itself and of what was done: for health, for figures, and for `nanoclaw stats`.

use async_trait::async_trait;
use nanoclaw_core::{chat::ChatId, group::GroupFolder, store::StoreError, time::Timestamp};

use super::sqlite::Written;
use crate::metrics::Histogram;

/// Told by a store beside [`Store`](nanoclaw_core::store::Store).
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// How writing goes. Looks at nothing that could take time.
    fn writing(&self) -> Writing;

    /// How long commits took.
    fn commit_seconds(&self) -> &Histogram;

    /// Writes something that nobody needs, to learn whether anything can be written.
    async fn try_writing(&self) -> Result<(), StoreError>;

    /// The message that waits longest to be sent, of each chat that has one, and how many wait there.
    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError>;

    /// Bytes that the database takes on the disk, its log included.
    fn size_bytes(&self) -> u64;

    /// What each group's runs came to on each of these days, which follow on each other: by group, by day; of one group when it is
    /// given. A run counts on the day on which it began, and one that is not over up to `now`. Days without runs are left out.
    async fn days(
        &self,
        group: Option<&GroupFolder>,
        days: &[Day],
        now: Timestamp,
    ) -> Result<Vec<DayOfGroup>, StoreError>;

    /// The folders that were groups once, and since when they are none.
    async fn removed_groups(&self) -> Result<Vec<(GroupFolder, Timestamp)>, StoreError>;

    /// How many records could be forgotten: of runs that ended before `runs`, with their turns and blocks, and of tasks' due times that
    /// were done before `firings`; `None`: none of them. Not what something still needs, nor the newest of each group and task.
    async fn old_rows(&self, runs: Option<Timestamp>, firings: Option<Timestamp>) -> Result<OldRows, StoreError>;

    /// Forgets at most so many of each, the oldest first; says how many it were.
    async fn forget_old_rows(
        &self,
        runs: Option<Timestamp>,
        firings: Option<Timestamp>,
        most: u32,
    ) -> Result<u64, StoreError>;
}

/// Records that could be forgotten. Bytes are about as many as their texts have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OldRows {
    /// Runs.
    pub runs: u64,
    /// What they take.
    pub runs_bytes: u64,
    /// Due times of tasks.
    pub firings: u64,
    /// What they take.
    pub firings_bytes: u64,
}

/// How writing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writing {
    /// How much was written.
    pub written: Written,
    /// Writes and commits that failed because the file could not be written.
    pub failures: u64,
    /// When something was last committed; `None`: nothing was.
    pub last_commit: Option<Timestamp>,
    /// Why what was written last could not be; `None` when it could.
    pub failing: Option<String>,
    /// How long the commit is under way that has not ended.
    pub committing_for: Option<std::time::Duration>,
}

/// Messages that wait to be sent to one chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldestWaiting {
    /// Where to.
    pub chat: ChatId,
    /// Since when the first of them waits.
    pub since: Timestamp,
    /// Why its last try failed; `None` when there was none.
    pub last_error: Option<String>,
    /// How many there are.
    pub count: u64,
}

/// A day: from its first moment to that of the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day {
    /// The first moment that belongs to it.
    pub from: Timestamp,
    /// The first that does not.
    pub to: Timestamp,
}

/// What a group's runs of one day came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayOfGroup {
    /// Whose.
    pub group: GroupFolder,
    /// Its place among the days that were asked for.
    pub day: usize,
    /// Runs that began.
    pub runs: u64,
    /// Those of them that ended in a failure.
    pub failed: u64,
    /// Milliseconds that their containers lived.
    pub container_ms: u64,
    /// Turns that were answered.
    pub answered: u64,
    /// Messages that the group's people wrote.
    pub messages: u64,
    /// Due times of tasks that were done or failed.
    pub firings: u64,
    /// What the model cost for those, in millionths of a dollar; `None`: no agent told.
    pub task_cost_micros: Option<i64>,
}
