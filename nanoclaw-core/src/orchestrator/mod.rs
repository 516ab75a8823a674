//! Decides and acts: which group may run, what its agent is handed, what is committed, what is sent.

mod agenda;
mod alerts;
mod batch;
mod blocks;
mod channels;
mod commands;
mod control;
mod deliverer;
mod desk;
mod directory;
mod dispatcher;
mod doorkeeper;
mod event;
mod inbox;
mod lists;
mod main_loop;
mod observer;
mod pairings;
mod recovery;
mod registrar;
mod retry;
mod run;
mod scheduler;
mod telling;

pub use agenda::Agenda;
pub use batch::PromptLimits;
pub use control::{Orchestrator, Parts, Running, Scheduling, Settings, StartError};
pub use deliverer::{DeliverySettings, HeardLate, WhenUnknown};
pub use dispatcher::{DispatchSettings, Dispatcher, StandbySettings};
pub use event::{Action, Adopted, AtShutdown, Event, GroupStatus, GroupTimes, PromptSize, RunWord, StopReason, Tell};
pub use inbox::{Inbox, Receipt};
pub use observer::Observer;
pub use retry::Delays;
pub use run::RunSettings;

use std::time::Duration;

use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, OutboxId},
    group::GroupFolder,
    message::Seq,
    run::Trouble,
};

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
    /// The group waits for the end of a trouble that is not its messages' fault. Said when a run meets it, and again when
    /// another message comes meanwhile.
    Paused {
        /// Whose.
        group: GroupFolder,
        /// Where.
        chat: ChatId,
        /// What has to be mended.
        trouble: Trouble,
        /// How the run ended that met it.
        reason: String,
        /// When the next try is.
        retry_in: Duration,
        /// The key of the word to the chat that is on its way; `None` when there is none.
        told: Option<DeliveryKey>,
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
