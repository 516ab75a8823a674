//! How a channel stands whose service has to be reached: said by the one who connects, read by whoever wants to know.

use std::sync::Arc;

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    time::Timestamp,
};
use tokio::sync::watch;

use super::{bridge::Claim, ports::Intake};

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelState {
    /// It has no credentials, and nobody said that it should: it is not used.
    Unused {
        /// What it would need.
        needs: String,
    },
    /// It is being connected.
    Connecting,
    /// What people write arrives.
    Connected {
        /// Since when.
        since: Timestamp,
    },
    /// The connection was lost, or cannot be made just now.
    Waiting {
        /// Why.
        reason: String,
        /// When it is tried again; `None`: that is not known.
        next_try: Option<Timestamp>,
    },
    /// It is not tried any more before the credentials change.
    Refused {
        /// Why.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The host ends.
    Ended,
}

impl ChannelState {
    /// Whether what people write arrives.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}

/// The one who says how a channel stands.
#[derive(Debug)]
pub(super) struct StatusKeeper {
    state: watch::Sender<ChannelState>,
    name: ChannelName,
}

impl StatusKeeper {
    /// Of a channel that stands so at first.
    pub(super) fn new(name: ChannelName, state: ChannelState) -> Self {
        Self { state: watch::Sender::new(state), name }
    }

    /// Says it, and logs what people should know.
    pub(super) fn set(&self, state: ChannelState) {
        let channel = &self.name;
        match &state {
            ChannelState::Unused { needs } => tracing::debug!(%channel, needs, "a channel is not used"),
            ChannelState::Connecting => tracing::debug!(%channel, "connecting"),
            ChannelState::Connected { .. } => tracing::info!(%channel, "connected"),
            ChannelState::Waiting { reason, next_try } => {
                tracing::warn!(%channel, reason, next_try = next_try.map(tracing::field::display), "not connected; trying again");
            }
            ChannelState::Refused { reason, remedy } => {
                tracing::error!(%channel, reason, remedy, "the channel cannot be used");
            }
            ChannelState::Ended => tracing::debug!(%channel, "ended"),
        }
        self.state.send_replace(state);
    }

    /// For those who want to know, of the channel that carries what `claim` says.
    pub(super) fn watch(&self, claim: Claim) -> ChannelWatch {
        ChannelWatch { name: self.name.clone(), claim, state: self.state.subscribe() }
    }
}

/// A channel that runs, for those who want to know how it stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChannelWatch {
    /// Its name.
    pub name: ChannelName,
    claim: Claim,
    state: watch::Receiver<ChannelState>,
}

impl ChannelWatch {
    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> ChannelState {
        self.state.borrow().clone()
    }

    /// Whether `chat` is one of its own.
    #[must_use]
    pub fn carries(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }

    /// Which chats are its own: prefixes and suffixes of their ids, comma-separated.
    #[must_use]
    pub fn chats(&self) -> String {
        self.claim.to_string()
    }

    /// What no bridge may have: its name and chats.
    #[must_use]
    pub fn reservation(&self) -> (ChannelName, Claim) {
        (self.name.clone(), self.claim.clone())
    }

    /// Has the owner told when the service refuses the channel, each time that it does. Ends when the channel has.
    pub(crate) async fn tell_of_refusals(self, intake: Arc<dyn Intake>) {
        // A channel outlives its last session, and with it the one who says how it stands.
        let decided = |state: &ChannelState| matches!(state, ChannelState::Refused { .. } | ChannelState::Ended);
        while let Some(ChannelState::Refused { reason, remedy }) = self.wait_for(decided).await {
            intake.refused(&self.name, &reason, &remedy, &|chat| self.carries(chat)).await;
            let told = ChannelState::Refused { reason, remedy };
            if self.wait_for(|state| *state != told).await.is_none() {
                return;
            }
        }
    }

    /// Waits until `wanted` holds of how it stands, and returns that; `None` when it never will.
    pub async fn wait_for(&self, wanted: impl Fn(&ChannelState) -> bool) -> Option<ChannelState> {
        self.state.clone().wait_for(|state| wanted(state)).await.ok().map(|state| state.clone())
    }
}
