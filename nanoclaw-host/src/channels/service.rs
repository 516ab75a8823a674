//! Keeps the client of a chat service connected: one session after another, with growing delays when they fail, and none while
//! the service refuses the credentials.
//!
//! What a session is, only the channel knows. It ends with an [`Ending`], and what follows from that is the same for all.

use std::time::Duration;

use async_trait::async_trait;
use nanoclaw_core::{orchestrator::Delays, time::Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::status::{ChannelState, StatusKeeper};
use crate::{
    credentials::Changes,
    panics::{FAULT_PAUSE, caught},
};

/// What may make a service take us that would not, or that we did not use.
#[async_trait]
pub(super) trait Remedied: Send {
    /// Waits for it to be worth another try. Can be dropped and called again.
    async fn next(&mut self);
}

#[async_trait]
impl Remedied for Changes {
    async fn next(&mut self) {
        Changes::next(self).await;
    }
}

/// The longest delay between two tries to connect, unless the service asks for a longer one.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// A session that lasted so long was a good one: what comes after it is a first try.
const GOOD_SESSION: Duration = Duration::from_secs(30);

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// The host ends.
    Stopped,
    /// The service wants a new session in place of this one, now.
    #[cfg_attr(not(feature = "web-client"), expect(dead_code, reason = "not every service wants that"))]
    Renew,
    /// It was lost, or there was none.
    Lost {
        /// Why.
        reason: String,
        /// The delay that the service asked for.
        after: Option<Duration>,
    },
    /// The service will refuse the next session as well, until the credentials change.
    Refused {
        /// What it said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// There are no credentials, and nobody said that the channel should be used.
    Unused {
        /// What it would need.
        needs: String,
    },
}

/// A chat service whose client is part of the host.
#[async_trait]
pub(super) trait Service: Send + Sync + 'static {
    /// Connects and hands in what people write, until the session ends or `stop` is cancelled. Says when it is connected.
    async fn session(&self, stop: &CancellationToken) -> Ending;

    /// Who says how it stands.
    fn status(&self) -> &StatusKeeper;
}

/// Keeps `service` connected until `stop` is cancelled.
pub(super) async fn keep(service: &dyn Service, mut remedied: impl Remedied, stop: CancellationToken) {
    let status = service.status();
    let name = std::any::type_name_of_val(service);
    let mut delays = Delays::after(0, LONGEST_DELAY, &name);
    while !stop.is_cancelled() {
        status.set(ChannelState::Connecting);
        let began = Instant::now();
        let ending = caught(service.session(&stop)).await.unwrap_or_else(|panicked| {
            tracing::error!(error = %panicked, "a session of a channel failed");
            Ending::Lost { reason: panicked.to_string(), after: Some(FAULT_PAUSE) }
        });
        if began.elapsed() >= GOOD_SESSION {
            delays = Delays::after(0, LONGEST_DELAY, &name);
        }
        match ending {
            Ending::Stopped => break,
            // One that is renewed at once again and again would be a storm.
            Ending::Renew if began.elapsed() >= FAULT_PAUSE => {}
            Ending::Renew => pause(FAULT_PAUSE, &mut remedied, &stop).await,
            Ending::Lost { reason, after } => {
                let delay = delays.next(after);
                status.set(ChannelState::Waiting { reason, next_try: Some(Timestamp::now().plus(delay)) });
                pause(delay, &mut remedied, &stop).await;
            }
            Ending::Refused { reason, remedy } => {
                status.set(ChannelState::Refused { reason, remedy });
                wait_until_remedied(&mut remedied, &stop).await;
            }
            Ending::Unused { needs } => {
                status.set(ChannelState::Unused { needs });
                wait_until_remedied(&mut remedied, &stop).await;
            }
        }
    }
    status.set(ChannelState::Ended);
}

/// What may help is tried at once.
async fn pause(delay: Duration, remedied: &mut impl Remedied, stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(delay) => {}
        () = remedied.next() => {}
        () = stop.cancelled() => {}
    }
}

async fn wait_until_remedied(remedied: &mut impl Remedied, stop: &CancellationToken) {
    tokio::select! {
        () = remedied.next() => {}
        () = stop.cancelled() => {}
    }
}
