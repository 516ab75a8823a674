//! The port to what keeps scheduled tasks and makes them due.
//!
//! A host that has none does not schedule; whoever asks is told so.

use async_trait::async_trait;

use crate::{
    delivery::DeliveryKey, group::GroupFolder, run::TaskId, schedule::Schedule, store::StoreError, time::Timestamp,
};

/// Which conversation a task's runs go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskContext {
    /// The group's own.
    #[default]
    Group,
    /// One of the task's own.
    Isolated,
}

impl TaskContext {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Isolated => "isolated",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Group, Self::Isolated].into_iter().find(|context| context.word() == word)
    }
}

/// A task to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The request that it was asked for by. The same again is the same task.
    pub key: DeliveryKey,
    /// Who does it.
    pub group: GroupFolder,
    /// Who asked for it: the same group, or the main one.
    pub created_by: GroupFolder,
    /// What the agent is told; not empty.
    pub prompt: String,
    /// When.
    pub schedule: Schedule,
    /// When for the first time.
    pub first_due: Timestamp,
    /// In which conversation.
    pub context: TaskContext,
    /// What runs before the agent and decides whether it wakes.
    pub script: Option<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// It waits for its time, or is at work.
    Active,
    /// It rests until somebody resumes it.
    Paused,
    /// It was due for the last time.
    Completed,
}

impl TaskStatus {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
        }
    }
}

/// A task as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Who does it.
    pub group: GroupFolder,
    /// What the agent is told.
    pub prompt: String,
    /// When.
    pub schedule: Schedule,
    /// In which conversation.
    pub context: TaskContext,
    /// What runs before.
    pub script: Option<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// When it is due next; `None` when it is not.
    pub next_due: Option<Timestamp>,
}

/// A change to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskChange {
    /// It rests.
    Pause,
    /// It goes on; its next time is counted anew (fault F60).
    Resume,
    /// It ends for good, also a run of it that is at work; what is kept of its runs stays.
    Cancel,
    /// What is `Some` takes the place of what was.
    Update {
        /// What the agent is told.
        prompt: Option<String>,
        /// When, and for the first time when.
        schedule: Option<(Schedule, Timestamp)>,
        /// What runs before; `Some(None)` is nothing any more.
        script: Option<Option<String>>,
    },
}

/// Keeps tasks, and has them run when they are due. Each method is one transaction, as the store's are.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    /// Keeps a task and returns its id; that of the one that is there when one of this key is.
    async fn add(&self, task: &NewTask, at: Timestamp) -> Result<TaskId, StoreError>;

    /// One task; `None` when there is none, or it was cancelled.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError>;

    /// The tasks of one group, of all when `None`, in the order in which they were made; up to `limit`.
    async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Changes a task; the task as it is then, or was before it was cancelled. `None` when there is none. A change that was
    /// made before changes nothing.
    async fn change(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError>;
}
