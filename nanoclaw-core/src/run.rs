//! A run: one container's life for one group.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    group::GroupFolder,
    message::Seq,
    runtime::Exit,
    text_id::{plain_text, text_id},
};

text_id! {
    /// What a user scheduled. Up to 128 bytes without control characters.
    TaskId, "task id", |text| plain_text(text, 128)
}

/// The number (generation) of a run: rises within its group, is never reused, and fences late words of an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct RunNumber(pub u32);

impl RunNumber {
    /// Before every run.
    pub const ZERO: Self = Self(0);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for RunNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One run of one group; the key of everything a run leaves behind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RunId {
    /// Whose.
    pub group: GroupFolder,
    /// Which.
    pub number: RunNumber,
}

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.group, self.number)
    }
}

/// What a run was started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// The group's messages; follow-ups go to it while it lives.
    Chat,
    /// A scheduled task; it takes no follow-ups.
    Task(TaskId),
}

/// The place of a block in a run's output: the first block is 1. Counted by whoever reads the agent's standard output, so
/// that the block on the stream and the same block in the journal have the same number, whatever the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BlockNumber(pub u32);

/// A range of messages that was handed to a run as one prompt: first and last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handed {
    /// The first message in it.
    pub first: Seq,
    /// The last message in it; a turn is answered when its last message is.
    pub last: Seq,
}

/// Every way in which a run can end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunEnding {
    /// The container ended by itself or on request, and said nothing was wrong.
    Finished,
    /// It could not be started; nothing ran.
    NotStarted {
        /// What, where, and what to do.
        reason: String,
        /// Whether trying again could help without anyone changing anything.
        retry: Retry,
    },
    /// The agent reported a failure and ended.
    Failed {
        /// What it said.
        reason: String,
        /// Whether trying again could help without anyone changing anything.
        retry: Retry,
    },
    /// The container ended with something other than code 0.
    Crashed {
        /// How it ended.
        exit: Exit,
        /// The last of what it wrote to standard error; empty when it wrote nothing.
        last_words: String,
    },
    /// It was stopped because it made no progress for too long.
    TimedOut,
    /// Host shutdown, or its group was removed: stopped on purpose.
    Stopped,
    /// The host ended while it ran, and it could not go on without one: its messages are simply pending again.
    HostEnded,
    /// Nobody saw how it ended (the runtime went away), or what it said could not be kept.
    Lost {
        /// What is known.
        reason: String,
    },
}

/// Whether trying again could help, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Later, by itself; what fails again and again is set aside.
    Later,
    /// Never as it is: the same messages would fail the same way.
    Never,
    /// When the trouble is over. It is not the messages' fault, so they are kept however long that takes.
    WhenMended {
        /// What has to be mended.
        trouble: Trouble,
        /// The delay after which it is over, when somebody said so.
        after: Option<Duration>,
    },
}

/// What keeps runs from answering that is not the fault of what they were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trouble {
    /// No login for the model, or it is refused: a person has to act.
    Login,
    /// The plan's or key's quota is used up: time helps.
    Quota,
    /// The machine is not set up for this group's runs (an image, a mount, a program is missing): a person has to act.
    Setup,
    /// The runtime, the store or the model's service does not work just now: mostly passes by itself.
    Host,
    /// What the group's runs need is being made ready (its image is built or fetched): nobody has to act.
    Preparing,
}

impl Trouble {
    /// The word for it in tables and logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Quota => "quota",
            Self::Setup => "setup",
            Self::Host => "host",
            Self::Preparing => "preparing",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl RunEnding {
    /// The word under which tables and logs keep it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::NotStarted { .. } => "not_started",
            Self::Failed { .. } => "failed",
            Self::Crashed { .. } => "crashed",
            Self::TimedOut => "timed_out",
            Self::Stopped => "stopped",
            Self::HostEnded => "host_ended",
            Self::Lost { .. } => "lost",
        }
    }

    /// Whether a [word](Self::word) is that of a run in which nothing went wrong.
    #[must_use]
    pub fn is_word_of_success(word: &str) -> bool {
        [Self::Finished, Self::Stopped, Self::HostEnded].iter().any(|ending| ending.word() == word)
    }

    /// Whether what was handed to it and not answered should be tried again with a delay.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.retry().is_some()
    }

    /// Whether it counts as a try of the messages that it had: after enough of these they are set aside. Trouble that is not
    /// theirs does not count.
    #[must_use]
    pub fn counts_as_try(&self) -> bool {
        matches!(self.retry(), Some(Retry::Later | Retry::Never))
    }

    /// Whether and when what it had should be tried again; `None` when nothing went wrong.
    #[must_use]
    pub fn retry(&self) -> Option<Retry> {
        match self {
            Self::Finished | Self::Stopped | Self::HostEnded => None,
            Self::NotStarted { retry, .. } | Self::Failed { retry, .. } => Some(*retry),
            Self::Crashed { .. } | Self::TimedOut => Some(Retry::Later),
            Self::Lost { .. } => Some(Retry::WhenMended { trouble: Trouble::Host, after: None }),
        }
    }
}

impl std::fmt::Display for RunEnding {
    /// A lowercase sentence fragment that fits after "the run".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::NotStarted { reason, .. } => write!(f, "could not start: {reason}"),
            Self::Failed { reason, .. } => write!(f, "failed: {reason}"),
            Self::Crashed { exit, last_words } if last_words.is_empty() => write!(f, "ended with {exit}"),
            Self::Crashed { exit, last_words } => write!(f, "ended with {exit}: {last_words}"),
            Self::TimedOut => f.write_str("made no progress for too long and was stopped"),
            Self::Stopped => f.write_str("was stopped"),
            Self::HostEnded => f.write_str("ended with the host"),
            Self::Lost { reason } => write!(f, "was lost: {reason}"),
        }
    }
}
