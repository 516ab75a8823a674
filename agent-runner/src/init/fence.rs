//! The fence: whether this run may go on, see [`nanoclaw_core::protocol::fence`].
//!
//! Read once before the command is started, since a container can start after its successor, and then whenever the mailbox
//! changes. What cannot be read says nothing: a run is not ended for the want of a file that most hosts never write.

use nanoclaw_core::{
    causes::with_causes,
    mailbox::{FolderWatch, Mailbox, Watcher},
    run::RunNumber,
};

use crate::log::say;

/// Looks at the fence for one run.
#[derive(Debug)]
pub(super) struct Fence {
    mailbox: Mailbox,
    run: RunNumber,
    watch: FolderWatch,
}

/// The run at hand, and the oldest one that may go on, which is a later one.
type Passed = (RunNumber, RunNumber);

impl Fence {
    /// Watches the mailbox; by the slow re-scan alone where the system tells of no changes.
    pub(super) fn watch(mailbox: Mailbox, run: RunNumber) -> Self {
        let (watch, without) = Watcher::watch_or_rescan(mailbox.root());
        if let Some(error) = without {
            say!("init: looking at the fence every few seconds only: {}", with_causes(&error));
        }
        Self { mailbox, run, watch }
    }

    /// Whether a later run has taken this one's place.
    pub(super) fn passed(&self) -> Option<Passed> {
        let oldest = self.mailbox.oldest_run().ok()??;
        (oldest > self.run).then_some((self.run, oldest))
    }

    /// Waits until a later run has taken this one's place; for ever where there is no run to speak of. Cancel-safe.
    pub(super) async fn passes(this: &mut Option<Self>) -> Passed {
        while let Some(fence) = this {
            fence.watch.changed().await;
            if let Some(passed) = fence.passed() {
                return passed;
            }
        }
        std::future::pending().await
    }
}
