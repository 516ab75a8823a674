//! What the host checked of a container's mounts, told to process 1 so that it can see whether it got the same.
//!
//! A runtime mounts by path some time after the host has looked. Whoever can change the host's folders meanwhile could put
//! another one there. So the host says which file or folder it opened, by device and inode, and process 1
//! (`agent-runner init`, whatever the agent) compares before it starts its command. A file system that shows other numbers
//! inside than outside (one that is passed on to a virtual machine, say) is refused too, since nobody can tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The environment variable with [`CheckedMounts`] as JSON; absent: nothing is compared.
pub const CHECKED_MOUNTS: &str = "NANOCLAW_CHECKED_MOUNTS";

/// The code with which process 1 ends when a mount is not what the host checked; nothing was started then.
pub const MOUNT_CHANGED_CODE: u8 = 81;

/// What must be found at each place: absolute path inside, and what the host opened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckedMounts(pub BTreeMap<String, FileId>);

/// A file or folder, whatever its path: the kernel's numbers for it. No other has them as long as somebody holds it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl CheckedMounts {
    /// As it stands in the environment.
    #[must_use]
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers under texts can be JSON")
    }

    /// What `text` says.
    ///
    /// # Errors
    /// A text that is not what [`text`](Self::text) gives.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}
