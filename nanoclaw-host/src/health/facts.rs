//! What was found when somebody looked how the service stands. Plain values: nothing here looks at anything.

use std::time::Duration;

use nanoclaw_core::{chat::ChatId, group::GroupFolder, run::Trouble, time::Timestamp};

use crate::channels::status::ChannelState;

/// Everything that a verdict is made of.
#[derive(Debug, Clone)]
pub struct Facts {
    /// When it was looked.
    pub at: Timestamp,
    /// Whether the orchestrator's loop answered.
    pub dispatcher: Answer,
    /// How writing to the store goes.
    pub store: StoreFact,
    /// The file system that the store is on; or why that cannot be told.
    pub disk: Result<Disk, String>,
    /// Why the runtime cannot run anything now, and what to do; `None` while it answers.
    pub runtime: Option<RuntimeFact>,
    /// The channels that are used, in the order in which they are shown.
    pub channels: Vec<ChannelFact>,
    /// Groups whose chats no channel carries, by folder.
    pub without_channel: Vec<GroupFolder>,
    /// What waits to be sent; or why that cannot be read.
    pub outbox: Result<OutboxFact, String>,
    /// When the next task is due; `None`: none is. Or why that cannot be read.
    pub next_task_due: Result<Option<Timestamp>, String>,
    /// Groups that wait for the end of a trouble, and of which.
    pub troubled: Vec<(GroupFolder, Trouble)>,
    /// What is to be told of the age of the model's credential, and what to do.
    pub credential_age: Option<(String, &'static str)>,
    /// Why the credentials could not be read the last time.
    pub credentials_problem: Option<String>,
}

/// Whether somebody answered who was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// In time.
    Yes,
    /// Not within this.
    NotWithin(Duration),
    /// Never again.
    Ended,
}

/// How writing to the store goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreFact {
    /// When something was last committed by this process; `None`: nothing was.
    pub last_commit: Option<Timestamp>,
    /// Why what was written last could not be; `None` when it could, or when nothing was written.
    pub failing: Option<String>,
    /// How long a commit is under way that has not ended.
    pub committing_for: Option<Duration>,
}

/// How much room a file system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that an ordinary user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
    /// Files that may still be made; `None` where the file system does not count them.
    pub free_files: Option<u64>,
}

/// A runtime that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFact {
    /// What came back.
    pub reason: String,
    /// What to do.
    pub help: String,
    /// Since when, where somebody noted that.
    pub since: Option<Timestamp>,
}

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelFact {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: ChannelState,
    /// Since when it is not connected; `None` while it is.
    pub away_since: Option<Timestamp>,
}

/// What waits to be sent, and what was not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxFact {
    /// The message that waits longest, over all chats but those of terminals, for which people have to come.
    pub oldest: Option<Waiting>,
    /// Messages that were given up, or of which nobody knows whether they were sent. The count ends at a thousand.
    pub in_trouble: u32,
    /// Turns that were set aside after their last try. The count ends at a thousand.
    pub set_aside: u32,
}

/// A message that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where to.
    pub chat: ChatId,
    /// Since when.
    pub since: Timestamp,
    /// Why the last try failed; `None` when there was none.
    pub last_error: Option<String>,
}
