//! Whoever counts what the loop hears and decides.

use tokio::time::Instant;

use super::event::{Action, Event};

/// Hears all that the loop is told and all that it decides, in that order. Nothing depends on it; it must answer at once, since
/// the loop waits for it.
pub trait Observer: Send + Sync + 'static {
    /// The dispatcher is told this now.
    fn heard(&self, event: &Event, now: Instant);

    /// It decided this.
    fn decided(&self, action: &Action, now: Instant);
}
