//! Decides and acts: which group may run, what its agent is handed, what is committed, what is sent.

mod alerts;
mod batch;
mod blocks;
mod channels;
mod control;
mod deliverer;
mod directory;
mod dispatcher;
mod event;
mod inbox;
mod recovery;
mod retry;
mod run;

pub use batch::PromptLimits;
pub use control::{Orchestrator, Parts, Running, Settings, StartError};
pub use deliverer::{DeliverySettings, WhenUnknown};
pub use dispatcher::{DispatchSettings, Dispatcher};
pub use event::{Action, Adopted, AtShutdown, Event, GroupStatus, GroupTimes, PromptSize, RunWord, StopReason, Tell};
pub use inbox::{Inbox, Receipt};
pub use run::RunSettings;

use std::time::Duration;

use crate::{chat::ChatId, delivery::OutboxId, group::GroupFolder, message::Seq};

/// What happened, for whoever watches (the terminal, health); nothing depends on a notice being seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Every message of the chat up to `through` is answered.
    Answered {
        /// Whose.
        group: GroupFolder,
        /// Where.
        chat: ChatId,
        /// Up to which message.
        through: Seq,
        /// The last reply that belongs to it; `None` when the agent stayed silent.
        reply: Option<OutboxId>,
    },
    /// A run failed; what it had not answered is tried again.
    RunFailed {
        /// Whose.
        group: GroupFolder,
        /// Where.
        chat: ChatId,
        /// Why.
        reason: String,
        /// When the next try is.
        retry_in: Duration,
    },
    /// Messages were given up after the last try; the notice to the chat has this place in the outbox.
    GaveUp {
        /// Whose.
        group: GroupFolder,
        /// Where.
        chat: ChatId,
        /// Up to which message.
        through: Seq,
        /// Why.
        reason: String,
    },
}
