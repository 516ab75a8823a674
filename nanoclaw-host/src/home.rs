//! A home: the folder that holds everything of one installation, and where in it each thing is.
//!
//! [`find`](Home::find) says which folder that is, [`HomeLock`] keeps a second process out, and [`initialise`] makes one.

mod find;
mod initialise;
mod lock;

use std::path::{Path, PathBuf};

pub use find::NoHome;
pub(crate) use initialise::is_first_memory;
pub use initialise::{InitError, Made, initialise, write_group_memory};
pub use lock::{HomeLock, LockError};

use nanoclaw_core::group::GroupFolder;

/// The folder of one installation. Nothing is touched by naming it; all paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

impl Home {
    /// The home at `root`, made absolute.
    ///
    /// # Errors
    /// When the current folder cannot be told and `root` is relative.
    pub fn at(root: &Path) -> std::io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `nanoclaw.toml`.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.root.join("nanoclaw.toml")
    }

    /// Run-time state: database, mailboxes, sessions, sockets, logs.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.store().join("nanoclaw.db")
    }

    /// What channels have to remember of their services; among it keys that are as good as passwords.
    #[must_use]
    pub fn auth(&self) -> PathBuf {
        self.store().join("auth")
    }

    /// Held by the one process that works on this home; holds its process id.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        self.store().join("host.lock")
    }

    /// The control socket of the running service.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        self.store().join("admin.sock")
    }

    /// The socket on which the service says how it is, in HTTP.
    #[must_use]
    pub fn health_socket(&self) -> PathBuf {
        self.store().join("health.sock")
    }

    /// The bridge channel's socket.
    #[must_use]
    pub fn bridge_socket(&self) -> PathBuf {
        self.store().join("bridge.sock")
    }

    /// The socket that terminals (`nanoclaw chat`) connect to.
    #[must_use]
    pub fn local_socket(&self) -> PathBuf {
        self.store().join("local.sock")
    }

    /// The log of the service and of `nanoclaw chat`.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.store().join("logs").join("nanoclaw.log")
    }

    /// The folder of a group's run logs.
    #[must_use]
    pub fn run_logs(&self, group: &GroupFolder) -> PathBuf {
        self.store().join("logs").join(group.as_str())
    }

    /// All groups' folders.
    #[must_use]
    pub fn groups(&self) -> PathBuf {
        self.root.join("groups")
    }

    /// A group's folder: its memory, and its agent's working directory.
    #[must_use]
    pub fn group(&self, group: &GroupFolder) -> PathBuf {
        self.groups().join(group.as_str())
    }

    /// The folder that all groups share.
    #[must_use]
    pub fn global(&self) -> PathBuf {
        self.groups().join("global")
    }

    /// The skills.
    #[must_use]
    pub fn skills(&self) -> PathBuf {
        self.root.join("skills")
    }

    /// Where skills are laid out for containers.
    #[must_use]
    pub fn skill_shelf(&self) -> PathBuf {
        self.store().join("skills")
    }

    /// Empty things that are mounted over what containers are not to see.
    #[must_use]
    pub fn covers(&self) -> PathBuf {
        self.store().join("covers")
    }

    /// The spool of files that came with messages.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.store().join("files")
    }

    /// A group's mailbox.
    #[must_use]
    pub fn mailbox(&self, group: &GroupFolder) -> PathBuf {
        self.store().join("ipc").join(group.as_str())
    }

    /// A group's session state (the agent's home).
    #[must_use]
    pub fn sessions(&self, group: &GroupFolder) -> PathBuf {
        self.store().join("sessions").join(group.as_str())
    }

    /// A group's overlay. Not below its [sessions](Self::sessions), where its agent can write whatever is decided about this.
    #[must_use]
    pub fn overlay(&self, group: &GroupFolder) -> PathBuf {
        self.store().join("overlays").join(group.as_str())
    }

    /// The folder in which a group's gateway socket lies.
    #[must_use]
    pub fn gateway(&self, group: &GroupFolder) -> PathBuf {
        self.store().join("gateway").join(group.as_str())
    }
}
