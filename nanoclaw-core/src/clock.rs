//! The port to the wall clock: waiting until it shows a time.

use async_trait::async_trait;

use crate::time::Timestamp;

/// Waits for times of the day, which a machine's clock reaches early or late when somebody sets it, or the machine sleeps.
#[async_trait]
pub trait WallClock: Send + Sync + 'static {
    /// Returns when the clock shows `at`, or when it was set, whatever comes first; with `None` only when it was set. May
    /// return for no reason: who waits looks at the clock. Giving up waiting loses nothing.
    async fn until(&self, at: Option<Timestamp>);
}

/// A clock that nobody sets: it goes as tokio's does, paused or not.
#[derive(Debug, Clone, Copy, Default)]
pub struct SteadyClock;

#[async_trait]
impl WallClock for SteadyClock {
    async fn until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => tokio::time::sleep(at.since(Timestamp::now())).await,
            None => std::future::pending().await,
        }
    }
}
