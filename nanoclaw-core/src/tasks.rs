//! Scheduled tasks: what they are, and the port to what keeps them.
//!
//! A task is due at times. Each due time is claimed in the store, once, before anything runs for it; the claim is a *firing*. A
//! firing waits until its group may run, is run, again if that fails, and has one outcome.
//!
//! ```text
//!   due ──claim──▶ waiting ──a run begins──▶ running ──▶ done
//!                   │  ▲                       │ │
//!                   │  └────── again, later ───┘ └──▶ failed
//!                   └──▶ skipped, cancelled
//! ```
//!
//! [`asked`] checks what is asked for, [`claim`] decides which times are made up for, [`verdict`] what a run that ended means.

pub mod asked;
pub mod claim;
pub mod verdict;

use std::time::Duration;

use async_trait::async_trait;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{
    delivery::{DeliveryKey, NewDelivery},
    group::GroupFolder,
    run::{RunId, RunNumber, TaskId},
    schedule::Schedule,
    store::{NewRun, StoreError},
    time::Timestamp,
};

/// The numbers that tasks go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskSettings {
    /// No task may be asked for that is due more often. Those that are there stay.
    pub shortest_interval: Duration,
    /// How many runs of a firing may fail before it is given up; at least one.
    pub tries: u32,
    /// After how many firings in a row that failed a task is put to rest; at least one.
    pub failures_before_rest: u32,
}

impl Default for TaskSettings {
    /// One minute, three runs, five firings.
    fn default() -> Self {
        Self { shortest_interval: Duration::from_secs(60), tries: 3, failures_before_rest: 5 }
    }
}

/// Which conversation a task's runs go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskContext {
    /// The group's own.
    #[default]
    Group,
    /// None: each run begins a new one, which nobody goes on with.
    Isolated,
    /// One of the task's own, which goes on from run to run.
    Own,
}

impl TaskContext {
    /// The word for it: `group`, `isolated` or `own`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Group => "group",
            Self::Isolated => "isolated",
            Self::Own => "own",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Group, Self::Isolated, Self::Own].into_iter().find(|context| context.word() == word)
    }
}

/// What is done about due times that passed while no host was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CatchUp {
    /// Nothing.
    Skip,
    /// The task runs once, for the latest of them.
    #[default]
    Once,
    /// It runs for each of them, the latest [`claim::MOST_CAUGHT_UP`] at most.
    All,
}

impl CatchUp {
    /// The word for it: `skip`, `once` or `all`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Skip, Self::Once, Self::All].into_iter().find(|policy| policy.word() == word)
    }
}

/// What is done when a task is due while an earlier firing of it waits or runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// That due time is recorded as skipped.
    #[default]
    Skip,
    /// It waits for its turn.
    Queue,
}

impl Overlap {
    /// The word for it: `skip` or `queue`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Skip, Self::Queue].into_iter().find(|policy| policy.word() == word)
    }
}

/// How a task is done, beside what and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskTerms {
    /// In which conversation.
    pub context: TaskContext,
    /// What becomes of times that were missed.
    pub catch_up: CatchUp,
    /// What becomes of times that come too early.
    pub overlap: Overlap,
    /// Whether its results are recorded and not sent to the chat.
    pub silent: bool,
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
    /// The zone in which that is meant; one that has a name.
    pub zone: TimeZone,
    /// When for the first time.
    pub first_due: Timestamp,
    /// How.
    pub terms: TaskTerms,
    /// What runs before the agent and decides whether it wakes.
    pub script: Option<String>,
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskStatus {
    /// It waits for its time, or is at work.
    Active,
    /// It rests until somebody resumes it.
    Paused,
    /// It was due for the last time.
    Completed,
    /// Somebody ended it. Only its record is left.
    Cancelled,
}

impl TaskStatus {
    /// The word for it: `active`, `paused`, `completed` or `cancelled`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Paused, Self::Completed, Self::Cancelled].into_iter().find(|status| status.word() == word)
    }
}

/// A task as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Who does it.
    pub group: GroupFolder,
    /// Who asked for it.
    pub created_by: GroupFolder,
    /// What the agent is told.
    pub prompt: String,
    /// When.
    pub schedule: Schedule,
    /// The zone in which that is meant.
    pub zone: TimeZone,
    /// From when an interval counts: the first due time of the schedule that it has now.
    pub anchor: Timestamp,
    /// How.
    pub terms: TaskTerms,
    /// What runs before.
    pub script: Option<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it rests, when the host put it to rest; a sentence.
    pub paused_why: Option<String>,
    /// When it is due next; `None` when it is not.
    pub next_due: Option<Timestamp>,
    /// How its last firings went.
    pub health: TaskHealth,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How the last firings of a task went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskHealth {
    /// How many failed in a row, the latest among them.
    pub failures: u32,
    /// The due time of the first that went wrong since one went well; people were told of that. `None`: the latest went well.
    pub wrong_since: Option<Timestamp>,
}

/// A change to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskChange {
    /// It rests. What waits is skipped; what runs goes on.
    Pause {
        /// Why, when the host does it by itself.
        why: Option<String>,
    },
    /// It goes on, due next at this time (fault F60). Its failures are forgotten.
    Resume {
        /// Which.
        next_due: Timestamp,
    },
    /// It ends for good, also a run of it that is at work; what is kept of its runs stays (fault F59).
    Cancel,
    /// What is `Some` takes the place of what was.
    Update(TaskUpdate),
}

/// What takes the place of what was.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskUpdate {
    /// What the agent is told.
    pub prompt: Option<String>,
    /// When, and for the first time when. A task that was completed is active again.
    pub schedule: Option<(Schedule, Timestamp)>,
    /// The zone in which that is meant; one that has a name. When local times move with it, they are in `schedule`.
    pub zone: Option<TimeZone>,
    /// What runs before; `Some(None)` is nothing any more.
    pub script: Option<Option<String>>,
    /// How.
    pub terms: Option<TaskTerms>,
}

impl TaskUpdate {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The number of a firing: rising, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiringId(pub i64);

/// Where a firing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FiringState {
    /// Its group has not come to it yet, or it is tried again later.
    Waiting,
    /// A run is at it.
    Running,
    /// It was done.
    Done,
    /// It was given up.
    Failed,
    /// It was left out.
    Skipped,
    /// It was ended with its task.
    Cancelled,
}

impl FiringState {
    /// The word for it: `waiting`, `running`, `done`, `failed`, `skipped` or `cancelled`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
        }
    }

    /// What the word stands for; `None`: nothing.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Running, Self::Done, Self::Failed, Self::Skipped, Self::Cancelled]
            .into_iter()
            .find(|state| state.word() == word)
    }

    /// Whether something is still to come of it.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// A due time of a task, claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firing {
    /// Its number.
    pub id: FiringId,
    /// Of which task.
    pub task: TaskId,
    /// For which time; for one that somebody asked for, the moment of that.
    pub due: Timestamp,
    /// Of what somebody asked for who wanted it now; `None` for a due time.
    pub key: Option<DeliveryKey>,
    /// Where it stands.
    pub state: FiringState,
    /// It is not begun before this.
    pub not_before: Timestamp,
    /// How many runs were begun for it.
    pub tries: u32,
    /// How many of those count against it ([`verdict::Verdict::Again`]).
    pub faults: u32,
    /// The number of the last of those runs.
    pub run: Option<RunNumber>,
    /// When the first began.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Whether the agent has said that it is done: it is not run again then.
    pub answered: bool,
    /// What the agent said, without what is internal; the beginning of it when that is long. `None` when it said nothing.
    pub text: Option<String>,
    /// What is to be known of it besides: why it failed or was skipped, for how many missed times it stands.
    pub remark: Option<String>,
    /// What its model cost, in millionths of a dollar, when the agent told.
    pub cost_micros: Option<i64>,
}

/// What a block says about the firing that its run is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringWord {
    /// What the agent said, for the record; `None`: nothing that is meant for people.
    pub text: Option<String>,
    /// What is to be known besides, such as that it was not woken.
    pub remark: Option<String>,
    /// What its model cost, in millionths of a dollar.
    pub cost_micros: Option<i64>,
}

/// How many firings of a task are kept, the latest ones; those that are open besides.
pub const MOST_KEPT: u32 = 1000;
/// The most bytes of what an agent said that a firing keeps.
pub const MOST_TEXT_BYTES: usize = 64 * 1024;

impl FiringWord {
    /// What `kept` becomes with what this says; both within [`MOST_TEXT_BYTES`].
    #[must_use]
    pub fn after(&self, kept: Option<String>) -> Option<String> {
        let mut text = match (kept, &self.text) {
            (kept, None) => return kept,
            (None, Some(said)) => said.clone(),
            (Some(kept), Some(said)) => format!("{kept}\n\n{said}"),
        };
        text.truncate(text.floor_char_boundary(MOST_TEXT_BYTES));
        Some(text)
    }
}

/// A due time to be claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFiring {
    /// For which time.
    pub due: Timestamp,
    /// [`Waiting`](FiringState::Waiting), or [`Skipped`](FiringState::Skipped).
    pub state: FiringState,
    /// What is to be known of it.
    pub remark: Option<String>,
}

/// The due times that are claimed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Of which task.
    pub task: TaskId,
    /// The due time that the task has now: if it is another by then, somebody else claimed it, and nothing changes.
    pub due: Timestamp,
    /// In the order of their times; none, to have it due at another time.
    pub firings: Vec<NewFiring>,
    /// What becomes of those that wait when an earlier firing of the task is open.
    pub overlap: Overlap,
    /// When it is due next; `None`: it was for the last time.
    pub next_due: Option<Timestamp>,
}

/// How a run left a firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiringEnd {
    /// Which.
    pub firing: FiringId,
    /// Where it stands now.
    pub state: FiringState,
    /// When it waits: until when.
    pub not_before: Option<Timestamp>,
    /// Whether this counts against it.
    pub fault: bool,
    /// What is to be known of it; `None` leaves what is kept.
    pub remark: Option<String>,
    /// How its task is now.
    pub health: TaskHealth,
    /// Its task is put to rest, for this reason.
    pub pause: Option<String>,
    /// What people are told, in the same transaction.
    pub notice: Option<NewDelivery>,
}

/// Keeps tasks and their firings. Each method is one transaction, as the store's are, and whoever implements this is the
/// [`Store`](crate::store::Store) too: [`commit_block`](crate::store::Store::commit_block) keeps what a
/// [block says](crate::store::BlockCommit::firing) about the firing.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    /// Keeps a task and returns its id; that of the one that is there when one of this key is.
    async fn add(&self, task: &NewTask, at: Timestamp) -> Result<TaskId, StoreError>;

    /// One task, whatever its status; `None` when there never was one.
    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError>;

    /// The tasks of one group, of all when `None`, in the order in which they were made; up to `limit`. Those that were
    /// cancelled are not among them.
    async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// The same of those that are active or rest.
    async fn standing(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Changes a task; the task as it is then. `None` when there is none, or it was cancelled: nothing changes then.
    async fn change(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError>;

    /// The earliest due time of an active task; `None` when none is due ever.
    async fn earliest_due(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The active tasks that are due by `now`, earliest first; up to `limit`.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError>;

    /// Claims due times of an active task, which is due at `next_due` from then on. The firings that wait now; `None` when
    /// the task is not active, or is due at another time by now: nothing changes then. A time that was claimed before is not
    /// claimed again.
    async fn claim(&self, claim: &Claim, at: Timestamp) -> Result<Option<Vec<Firing>>, StoreError>;

    /// Claims the moment `at` for a task that is not cancelled, as if it were due; `None` when there is none. Asked again under the same
    /// `key` it is the firing that there is, whatever has become of it.
    async fn fire_now(&self, id: &TaskId, key: &DeliveryKey, at: Timestamp) -> Result<Option<Firing>, StoreError>;

    /// All firings that wait, oldest first.
    async fn waiting(&self) -> Result<Vec<Firing>, StoreError>;

    /// What waits for a later time than `now` waits for `now`: the clock has been set back, so that time may be far away.
    async fn bring_forward(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Whether a firing of the task waits, be it for a later time.
    async fn has_waiting(&self, task: &TaskId) -> Result<bool, StoreError>;

    /// All firings at which a run is, or was when its host died; oldest first.
    async fn running(&self) -> Result<Vec<Firing>, StoreError>;

    /// Opens a run of a task, as [`Store::open_run`](crate::store::Store::open_run) does, which is at the oldest firing of that task whose
    /// time has come. `None` when there is none, a run is at another, the task is cancelled, or the run is none of a task: nothing is opened
    /// then.
    ///
    /// # Errors
    /// As `open_run`.
    async fn begin(&self, run: &NewRun) -> Result<Option<(Task, Firing)>, StoreError>;

    /// The running firing at which `run` is, with its task.
    async fn firing_of(&self, run: &RunId) -> Result<Option<(Task, Firing)>, StoreError>;

    /// A run is over that was at a firing. Changes nothing, and is `false`, when that is not running any more. A task that is
    /// not due again and has no open firing left is completed.
    async fn end(&self, end: &FiringEnd, at: Timestamp) -> Result<bool, StoreError>;

    /// The due time that was claimed last, of whichever task; `None` when none was ever.
    async fn last_claimed(&self) -> Result<Option<Timestamp>, StoreError>;

    /// The firings of a task, latest first; up to `limit`.
    async fn firings(&self, task: &TaskId, limit: u32) -> Result<Vec<Firing>, StoreError>;
}
