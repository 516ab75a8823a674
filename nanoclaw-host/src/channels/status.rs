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

/// How a channel stands, and since when nothing arrives by it.
#[derive(Debug)]
struct Standing {
    state: ChannelState,
    away_since: Option<Timestamp>,
}

impl Standing {
    /// What follows on `before`: who tries again and again is away since the first time.
    fn after(before: Option<&Self>, state: ChannelState) -> Self {
        let away = || before.and_then(|before| before.away_since).unwrap_or_else(Timestamp::now);
        Self { away_since: (!state.is_connected()).then(away), state }
    }
}

/// The one who says how a channel stands.
#[derive(Debug)]
pub(super) struct StatusKeeper {
    standing: watch::Sender<Standing>,
    name: ChannelName,
}

impl StatusKeeper {
    /// Of a channel that stands so at first.
    pub(super) fn new(name: ChannelName, state: ChannelState) -> Self {
        Self { standing: watch::Sender::new(Standing::after(None, state)), name }
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
        self.standing.send_modify(|standing| *standing = Standing::after(Some(standing), state));
    }

    /// For those who want to know, of the channel that carries what `claim` says.
    pub(super) fn watch(&self, claim: Claim) -> ChannelWatch {
        ChannelWatch { name: self.name.clone(), claim, standing: self.standing.subscribe() }
    }
}

/// A channel that runs, for those who want to know how it stands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChannelWatch {
    /// Its name.
    pub name: ChannelName,
    claim: Claim,
    standing: watch::Receiver<Standing>,
}

impl ChannelWatch {
    /// How it stands now.
    #[must_use]
    pub fn state(&self) -> ChannelState {
        self.standing.borrow().state.clone()
    }

    /// Since when it is not connected; `None` while it is.
    #[must_use]
    pub fn away_since(&self) -> Option<Timestamp> {
        self.standing.borrow().away_since
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
        let mut standing = self.standing.clone();
        standing.wait_for(|standing| wanted(&standing.state)).await.ok().map(|standing| standing.state.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_away_since_the_first_of_its_vain_tries() {
        let at = Timestamp::from_ms;
        let waiting = || ChannelState::Waiting { reason: "refused".to_owned(), next_try: None };
        let lost = Standing { state: waiting(), away_since: Some(at(7)) };
        for state in [ChannelState::Connecting, waiting(), ChannelState::Ended] {
            assert_eq!(Standing::after(Some(&lost), state).away_since, Some(at(7)));
        }
        let found = Standing::after(Some(&lost), ChannelState::Connected { since: at(9) });
        assert_eq!(found.away_since, None);
        assert!(Standing::after(Some(&found), waiting()).away_since > Some(at(7)), "it is another time");
    }
}
