//! Word that what agents may look up in their mailbox has changed: which tasks there are, and which groups. The workers of
//! live runs hear it and write what their group may see.

use tokio::sync::broadcast;

use crate::group::GroupFolder;

/// How many words may wait for a worker; one that missed some takes everything for changed.
const QUEUE: usize = 64;

/// What has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Changed {
    /// The tasks of this group.
    Tasks(GroupFolder),
    /// Which groups there are.
    Groups,
}

/// Passes the word on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lists(broadcast::Sender<Changed>);

impl Default for Lists {
    fn default() -> Self {
        Self(broadcast::Sender::new(QUEUE))
    }
}

impl Lists {
    pub(super) fn say(&self, changed: Changed) {
        // Nobody may be there to hear it.
        let _ = self.0.send(changed);
    }

    pub(super) fn hear(&self) -> broadcast::Receiver<Changed> {
        self.0.subscribe()
    }
}
