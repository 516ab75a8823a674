//! How fast a stream's events leave the fake.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// What each event waits for.
#[derive(Clone)]
pub(super) enum Pace {
    /// Nothing.
    AtOnce,
    /// This long.
    Delayed(Duration),
    /// A release by [`Steps`].
    Stepped(Arc<Semaphore>),
}

impl Pace {
    pub(super) async fn wait(&self) {
        match self {
            Self::AtOnce => {}
            Self::Delayed(delay) => tokio::time::sleep(*delay).await,
            Self::Stepped(permits) => {
                // An error means that the handle is gone: events flow freely.
                if let Ok(permit) = permits.acquire().await {
                    permit.forget();
                }
            }
        }
    }
}

/// Releases the events of streams one by one. Dropping it lets them all go.
pub struct Steps(Arc<Semaphore>);

impl Steps {
    pub(super) fn new() -> (Self, Pace) {
        let permits = Arc::new(Semaphore::new(0));
        (Self(Arc::clone(&permits)), Pace::Stepped(permits))
    }

    /// Lets `events` more events go.
    pub fn release(&self, events: usize) {
        self.0.add_permits(events);
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.0.close();
    }
}
