//! Everything that can wake the orchestrator's loop, and everything it can decide to do.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    group::GroupFolder,
    message::Seq,
    run::{RunEnding, RunId, RunKind, RunNumber, TaskId, Trouble},
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
        /// Its run that outlived an earlier host and goes on, the one with the number `last_run`.
        adopted: Option<Adopted>,
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
    /// What waits of a task need not be done any more.
    TaskDropped {
        /// Whose.
        group: GroupFolder,
        /// Which.
        task: TaskId,
        /// Whether a run that is at it is ended as well.
        ends: bool,
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
    /// A group was last used in an earlier host's time.
    UsedBefore {
        /// Which.
        group: GroupFolder,
        /// How long ago.
        ago: Duration,
    },
    /// Messages were given up, with a notice in the outbox.
    GaveUp {
        /// Whose.
        group: GroupFolder,
        /// Up to which message.
        through: Seq,
    },
    /// The conversation of a group's chat was ended: its live run answers what it has and gets no more.
    SessionEnded {
        /// Whose.
        group: GroupFolder,
    },
    /// What was worked on for a group's chat was stopped: the messages are given up, and the run is closed in the store.
    WorkStopped {
        /// Whose.
        group: GroupFolder,
        /// Up to which message.
        through: Seq,
        /// The run; `None` when none was open.
        run: Option<RunNumber>,
    },
    /// Somebody thinks that it works now: groups that wait for the end of a trouble, or for their next try, are tried at
    /// once.
    TryNow {
        /// Which group; `None` means all.
        group: Option<GroupFolder>,
    },
    /// So many containers live, or may, that are of no run that a group here has: each takes a slot until it is gone.
    LeftOver {
        /// How many; replaces what was said before.
        containers: usize,
    },
    /// The host is to end: start nothing more.
    Shutdown {
        /// What is to become of the containers that run.
        containers: AtShutdown,
    },
    /// Time has passed; nothing else.
    Tick,
}

/// A run that outlived the host which started it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// What it was started for.
    pub kind: RunKind,
    /// Up to which message the agent has what it is to answer.
    pub handed: Seq,
    /// Up to which message it has answered.
    pub answered: Seq,
    /// Whether it is to end once it has answered what it has.
    pub last_turn: bool,
}

/// What becomes of running containers when the host ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtShutdown {
    /// They go on; the next host adopts them.
    Leave,
    /// They are stopped; what they had not answered is pending.
    Stop,
}

/// How patient to be with a group's containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTimes {
    /// How long a container rests before it is asked to end.
    pub idle: Duration,
    /// How long an agent that gives no sign of life may say nothing while it owes an answer.
    pub run: Duration,
    /// How long an agent may take for one answer, whatever signs it gives.
    pub turn: Duration,
}

impl Default for GroupTimes {
    /// Half an hour for the first two (numbers: NanoClaw v1), four hours for one answer.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            run: Duration::from_secs(30 * 60),
            turn: Duration::from_secs(4 * 60 * 60),
        }
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
    /// Nothing more was handed over: as much as fits one prompt lies in the agent's mailbox. Worth another try when the
    /// agent has said something.
    Full,
    /// All messages up to this one are answered; reply and cursor are committed.
    Answered {
        /// Up to which message.
        through: Seq,
    },
    /// The agent said something else; it is alive.
    Progress,
    /// The agent has said what came of its task. It may go on for what it left in the background.
    TaskDone,
    /// The agent gives signs of life by itself, and the worker ends the run when they stop: from now on its silence is work.
    /// Said once.
    Beats,
    /// Nothing is wanted of the container any more but that it goes, which takes a while.
    Ending,
    /// The container that was started ahead waits for its prompt. May be said again.
    StandsBy {
        /// The bytes of memory that it takes; `None` when nobody knows.
        memory_bytes: Option<u64>,
    },
    /// The container that was started ahead is gone, or dead, and its run is closed: nothing was handed to it, whatever it was
    /// told to do.
    Unused {
        /// Whether it failed by itself: it did not start, or did not go on waiting.
        failed: bool,
    },
    /// The host ends, and the container goes on without it.
    Detached,
    /// The container is gone, or dead and of no use to anybody, and the run is closed.
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
        /// How much to hand over.
        prompt: PromptSize,
    },
    /// Open a run and start its container, which waits for its prompt. It holds a slot until its worker says
    /// [`RunWord::Unused`], or [`RunWord::Ended`] once it was used.
    StandBy {
        /// Its group and number.
        run: RunId,
    },
    /// Use the container that was started ahead, or is being started: given once at most, and never after a stop.
    Begin {
        /// Which run.
        run: RunId,
        /// How much to hand over.
        prompt: PromptSize,
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
    /// Let go of the container and end the worker; answered with [`RunWord::Detached`].
    Detach {
        /// Which run.
        run: RunId,
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
    /// A group waits for the end of a trouble.
    Paused {
        /// The run that met it.
        run: RunId,
        /// What has to be mended.
        trouble: Trouble,
        /// How the run ended.
        reason: String,
        /// The delay until it is tried again by itself.
        retry_in: Duration,
        /// Who is to be told that was not told before.
        tell: Tell,
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

/// How much of what waits is handed to a run at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptSize {
    /// As much as the limits allow.
    Full,
    /// One message that wakes at a time, each answered before the next, since runs with more have failed: what fails is
    /// found, the rest is not set aside with it.
    Single,
}

/// Who is to be told of a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tell {
    /// Nobody: all know of it.
    Nobody,
    /// The group's chat: others have the same trouble, and the owner knows of it.
    Chat,
    /// The group's chat and the owner, in the main chat.
    ChatAndOwner,
}

/// Why a container is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// No progress for too long.
    TimedOut,
    /// The host ends, or the group was removed or frozen.
    Wanted,
    /// Somebody in the chat stopped what is worked on: what it says from now on is late.
    Commanded,
}

/// Where a group stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupStatus {
    /// Which.
    pub group: GroupFolder,
    /// The word for its state: idle, waiting, starting, busy, resting, stopping, backing off, paused, frozen, detached,
    /// preparing and standby (its container is started ahead, and waits), and held (back, until the runtime tells whether its run of an earlier host goes on).
    pub state: &'static str,
    /// Its live run.
    pub run: Option<RunNumber>,
    /// Since when it is in this state.
    pub since: Instant,
    /// How many runs failed in a row.
    pub failures: u32,
    /// What it waits for to be mended, with the state paused.
    pub trouble: Option<Trouble>,
    /// When its state changes by itself: the next try, the end of its rest, the end of an agent's time.
    pub deadline: Option<Instant>,
    /// How many tasks wait.
    pub tasks: usize,
}
