//! The sign of life: a file that is written anew every few seconds, so that the host can tell long work from a standstill.
//!
//! Written by the loop that serves the provider and by nobody else: where that loop stands still, the signs stop. Hence
//! nothing in it may block for more than a few seconds.

use nanoclaw_core::{
    causes::with_causes,
    mailbox::{Folder, Mailbox},
    protocol::alive::{BEAT_FILE, BEAT_INTERVAL},
};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::log::say;

/// Writes the signs.
pub(super) struct Beat {
    folder: Folder,
    ticks: Interval,
}

impl Beat {
    /// Gives the first sign at once, before the provider has anything to do. `None` where the host does not look for signs: one of v1 makes no folder for them.
    pub(super) fn start(mailbox: &Mailbox) -> Option<Self> {
        let folder = mailbox.alive().ok()?;
        let mut ticks = interval_at(Instant::now() + BEAT_INTERVAL, BEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let this = Self { folder, ticks };
        this.give();
        Some(this)
    }

    /// Gives signs for as long as it is polled; never returns. Cancel-safe.
    pub(super) async fn go_on(this: &mut Option<Self>) -> std::convert::Infallible {
        while let Some(beat) = this {
            beat.ticks.tick().await;
            beat.give();
        }
        std::future::pending().await
    }

    fn give(&self) {
        if let Err(error) = self.folder.write_fleeting(BEAT_FILE, b"") {
            // A full disk is no reason to stop working, and the next sign may be given again.
            say!("cannot give a sign of life: {}", with_causes(&error));
        }
    }
}
