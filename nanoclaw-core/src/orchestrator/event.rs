//! Everything that can wake the orchestrator's loop, and everything it can decide to do.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    group::GroupFolder,
    message::Seq,
    run::{RunEnding, RunId, RunKind, RunNumber, TaskId},
};

/// What the dispatcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A group is there: found in the store at start, or registered now.
    GroupAdded {
        /// Which.
        group: GroupFolder,
        /// How patient to be with it.
        times: GroupTimes,
        /// The number of its latest run.
        last_run: RunNumber,
        /// The newest message that wakes and is not answered; [`Seq::ZERO`] when there is none.
        newest: Seq,
        /// How many of its runs failed in a row.
        failures: u32,
    },
    /// A group was unregistered.
    GroupRemoved {
        /// Which.
        group: GroupFolder,
    },
    /// A message that wakes was committed.
    MessageWaiting {
        /// Whose.
        group: GroupFolder,
        /// Its place in the inbox.
        seq: Seq,
    },
    /// A task is due.
    TaskDue {
        /// Whose.
        group: GroupFolder,
        /// Which.
        task: TaskId,
    },
    /// An operator stops the group until it is thawed.
    Freeze {
        /// Which.
        group: GroupFolder,
    },
    /// The group may run again.
    Thaw {
        /// Which.
        group: GroupFolder,
    },
    /// From a run's worker.
    Run {
        /// Which run; a word from any but the group's live run is ignored.
        run: RunId,
        /// What it says.
        word: RunWord,
    },
    /// Messages were given up, with a notice in the outbox.
    GaveUp {
        /// Whose.
        group: GroupFolder,
        /// Up to which message.
        through: Seq,
    },
    /// The host is to end: start nothing more, stop what runs.
    Shutdown,
    /// Time has passed; nothing else.
    Tick,
}

/// How patient to be with a group's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTimes {
    /// How long a container rests before it is asked to end.
    pub idle: Duration,
    /// How long an agent may say nothing while it owes an answer.
    pub run: Duration,
}

impl Default for GroupTimes {
    /// Half an hour each (numbers: NanoClaw v1).
    fn default() -> Self {
        Self { idle: Duration::from_secs(30 * 60), run: Duration::from_secs(30 * 60) }
    }
}

/// What a run's worker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunWord {
    /// The container runs and has its prompt.
    Started,
    /// All messages up to this one are in the agent's hands.
    Handed {
        /// Up to which message.
        through: Seq,
    },
    /// All messages up to this one are answered; reply and cursor are committed.
    Answered {
        /// Up to which message.
        through: Seq,
    },
    /// The agent said something else; it is alive.
    Progress,
    /// The container is gone and the run is closed.
    Ended {
        /// How.
        ending: RunEnding,
    },
}

/// What the dispatcher decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a run. It holds a slot until its worker says [`RunWord::Ended`].
    Start {
        /// Its group and number.
        run: RunId,
        /// What for.
        kind: RunKind,
    },
    /// Hand the live agent what is waiting; the worker answers with [`RunWord::Handed`].
    Feed {
        /// Which run.
        run: RunId,
    },
    /// Ask the agent to end once it has answered what lies in its mailbox.
    Close {
        /// Which run.
        run: RunId,
    },
    /// End the container now: ask, grace, kill.
    Stop {
        /// Which run.
        run: RunId,
        /// Why.
        why: StopReason,
    },
    /// Tell whoever watches that a run failed and when the next try is.
    ReportFailure {
        /// Whose.
        group: GroupFolder,
        /// How it ended.
        reason: String,
        /// The delay until the next try.
        retry_in: Duration,
    },
    /// Give up the messages up to `through`; answered with [`Event::GaveUp`].
    GiveUp {
        /// Whose.
        group: GroupFolder,
        /// Up to which message.
        through: Seq,
        /// Why.
        reason: String,
    },
}

/// Why a container is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// No progress for too long.
    TimedOut,
    /// The host ends, or the group was removed or frozen.
    Wanted,
}

/// Where a group stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupFolder,
    /// The word for its state: idle, waiting, starting, busy, resting, stopping, backing off, frozen.
    pub state: &'static str,
    /// Its live run.
    pub run: Option<RunNumber>,
    /// Since when it is in this state.
    pub since: Instant,
    /// How many runs failed in a row.
    pub failures: u32,
    /// How many tasks wait.
    pub tasks: usize,
}
