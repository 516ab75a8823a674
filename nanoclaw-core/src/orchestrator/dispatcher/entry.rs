//! What the dispatcher keeps of one group.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::{
    group::GroupFolder,
    message::Seq,
    orchestrator::event::GroupTimes,
    run::{RunId, RunKind, RunNumber, TaskId, Trouble},
};

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) since: Instant,
    pub(super) deadline: Option<Instant>,
    pub(super) times: GroupTimes,
    pub(super) last_run: RunNumber,
    pub(super) newest: Seq,
    pub(super) handed: Seq,
    pub(super) answered: Seq,
    pub(super) tasks: VecDeque<TaskId>,
    /// Runs in a row that failed and count as tries.
    pub(super) failures: u32,
    /// Up to here messages are handed over one by one, since more of them together have failed.
    pub(super) careful_through: Seq,
    /// What keeps its runs from answering; until one has answered.
    pub(super) trouble: Option<Trouble>,
    /// Runs in a row that met it.
    pub(super) troubled: u32,
    /// Whether its chat was told of the trouble.
    pub(super) told: bool,
    /// An [`Action::Feed`](super::Action::Feed) was given and is not yet answered by
    /// [`RunWord::Handed`](super::RunWord::Handed).
    pub(super) feeding: bool,
    /// Its live agent has not yet taken what lies in its mailbox, and gets no more until it has said something.
    pub(super) full: bool,
    /// Its live agent gives signs of life by itself.
    pub(super) beats: bool,
    /// Its live run is a task's, and the task is done: it ends as soon as somebody writes.
    pub(super) task_done: bool,
    /// Its live run ends once it has answered what it has, since its conversation is over.
    pub(super) last_turn: bool,
    /// When the agent began to owe what it owes now.
    pub(super) turn_began: Instant,
    pub(super) frozen: bool,
    pub(super) removed: bool,
    /// What is known of it that decides about containers started ahead.
    pub(super) standby: StandbyHistory,
}

/// A group's part in what is started ahead.
#[derive(Debug, Default)]
pub(super) struct StandbyHistory {
    /// When it was last asked or answered something.
    pub(super) used_at: Option<Instant>,
    /// What its container took when it last stood by.
    pub(super) memory_bytes: Option<u64>,
    /// Containers in a row that failed before they were of use.
    pub(super) failures: u32,
    /// None is started before.
    pub(super) not_before: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Idle,
    Waiting,
    /// Its container is started ahead.
    Preparing,
    /// Its container waits for its prompt.
    Standby,
    Starting {
        kind: RunKind,
    },
    Busy {
        kind: RunKind,
    },
    Resting,
    Stopping {
        kind: RunKind,
    },
    BackingOff,
    /// Waits for the end of its trouble.
    Paused,
    Frozen,
    /// Its container goes on without this host, which ends.
    Detached,
}

impl State {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Standby => "standby",
            Self::Starting { .. } => "starting",
            Self::Busy { .. } => "busy",
            Self::Resting => "resting",
            Self::Stopping { .. } => "stopping",
            Self::BackingOff => "backing off",
            Self::Paused => "paused",
            Self::Frozen => "frozen",
            Self::Detached => "detached",
        }
    }

    pub(super) fn holds_container(&self) -> bool {
        match self {
            Self::Preparing
            | Self::Standby
            | Self::Starting { .. }
            | Self::Busy { .. }
            | Self::Resting
            | Self::Stopping { .. } => true,
            Self::Idle | Self::Waiting | Self::BackingOff | Self::Paused | Self::Frozen | Self::Detached => false,
        }
    }

    /// Whether it holds a container that nobody has asked anything.
    pub(super) fn stands_by(&self) -> bool {
        matches!(self, Self::Preparing | Self::Standby)
    }

    pub(super) fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping { .. })
    }

    /// What the live run is for; a resting container is the chat's.
    pub(super) fn kind(&self) -> RunKind {
        match self {
            Self::Starting { kind } | Self::Busy { kind } | Self::Stopping { kind } => kind.clone(),
            _ => RunKind::Chat,
        }
    }
}

impl Entry {
    pub(super) fn new(times: GroupTimes, last_run: RunNumber, now: Instant) -> Self {
        Self {
            state: State::Idle,
            since: now,
            deadline: None,
            times,
            last_run,
            newest: Seq::ZERO,
            handed: Seq::ZERO,
            answered: Seq::ZERO,
            tasks: VecDeque::new(),
            failures: 0,
            careful_through: Seq::ZERO,
            trouble: None,
            troubled: 0,
            told: false,
            feeding: false,
            full: false,
            beats: false,
            task_done: false,
            last_turn: false,
            turn_began: now,
            frozen: false,
            removed: false,
            standby: StandbyHistory::default(),
        }
    }

    /// Its latest run.
    pub(super) fn run(&self, group: &GroupFolder) -> RunId {
        RunId { group: group.clone(), number: self.last_run }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.tasks.is_empty() || self.newest > self.handed
    }

    /// Whether what it is handed next must be one message alone.
    pub(super) fn careful(&self) -> bool {
        self.answered < self.careful_through
    }

    pub(super) fn all_answered(&self) -> bool {
        self.answered >= self.handed && !self.feeding
    }

    /// Until when an agent that has just shown that it lives may go on. Signs of life make its silence work; nothing makes
    /// one answer longer than its limit.
    pub(super) fn busy_deadline(&self, now: Instant) -> Instant {
        let end_of_turn = self.turn_began + self.times.turn;
        if self.beats { end_of_turn } else { end_of_turn.min(now + self.times.run) }
    }
}
