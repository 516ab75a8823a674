//! What the host and its helper process say to each other, as JSON over the control socket. Both ends are the same program
//! file, so there is no version in it.
//!
//! Host to helper: one [`Plan`], then end of stream; the container's standard input travels beside the first byte. Helper to
//! host: [`Word`]s, one a line. The stream ends when the command was executed, because the socket is close-on-exec.

use std::{collections::BTreeMap, path::PathBuf};

use nanoclaw_core::runtime::{Mount, RunAs};
use serde::{Deserialize, Serialize};

/// How a container is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Isolation {
    /// Namespaces and a root of its own, no capability, Landlock, seccomp.
    Namespaces,
    /// The same walls; the namespaces and the root are made by bubblewrap, which may be allowed to where we are not.
    Bubblewrap,
    /// Landlock and seccomp in the host's own file tree; guest paths are host paths; no sockets.
    Landlock,
    /// An ordinary child process.
    Nothing,
}

impl Isolation {
    /// Whether a container has a file tree, processes and a network of its own.
    pub(super) fn own_world(self) -> bool {
        matches!(self, Self::Namespaces | Self::Bubblewrap)
    }
}

/// Everything the helper needs to know.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    /// How the container is held.
    pub(super) isolation: Isolation,
    /// The bubblewrap program, where it is what holds.
    pub(super) bubblewrap: Option<PathBuf>,
    /// Whether capabilities must first be had from a user namespace: the host is not root.
    pub(super) user_namespace: bool,
    /// What to do inside.
    pub(super) task: Task,
    /// The whole environment.
    pub(super) env: BTreeMap<String, String>,
    /// Working directory as seen inside; made when nothing is there.
    pub(super) workdir: String,
    /// What the root is made of.
    pub(super) root: Root,
    /// What it sees of the host, in this order.
    pub(super) mounts: Vec<Mount>,
    /// Bytes of its private `/tmp`.
    pub(super) tmp_bytes: u64,
    /// The user it runs as.
    pub(super) user: RunAs,
    /// The `cgroup.procs` files to enter. Empty: none.
    pub(super) cgroups: Vec<PathBuf>,
    /// `RLIMIT_NPROC`, the helper's own processes in the container's user namespace included; `None` leaves it alone.
    pub(super) processes: Option<u64>,
}

/// What the root is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Root {
    /// The host's own programs, read-only.
    Host,
    /// An unpacked root folder, read-only.
    Folder(PathBuf),
}

/// What to do inside.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// Execute this program with these arguments.
    Command(Vec<String>),
    /// Say what is in force, and end.
    Report,
}

/// What the helper says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Everything is in force; the next thing is the command itself.
    Launching,
    /// The answer to [`Task::Report`].
    Report(Report),
    /// It did not come to it.
    Refused(Refusal),
}

/// Why a container was not started.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// The command could not be executed.
    Command(String),
    /// This mount's source cannot be used, or has no place inside.
    Mount(PathBuf, String),
    /// A step of the confinement failed: which, and what the kernel or bubblewrap said.
    Step(String, String),
}

/// What is in force, as seen from inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    /// The effective capabilities, hexadecimal.
    pub(super) effective_capabilities: String,
    /// The capabilities that could ever be gained again, hexadecimal.
    pub(super) bounding_capabilities: String,
    /// No program can gain a privilege by being executed.
    pub(super) no_new_privileges: bool,
    /// A system call filter is in force.
    pub(super) seccomp: bool,
    /// The process's own number; 1 in a process namespace.
    pub(super) pid: i32,
    /// User and group.
    pub(super) user: RunAs,
    /// Names of all network interfaces.
    pub(super) interfaces: Vec<String>,
    /// A byte went over loopback.
    pub(super) loopback: bool,
    /// Any internet socket could be made.
    pub(super) internet_sockets: bool,
    /// A file could be made in the root folder.
    pub(super) root_writable: bool,
    /// What Landlock said.
    pub(super) landlock: String,
    /// How many threads could be started, up to [`PROBE_THREADS`], beside the first.
    pub(super) threads: u64,
}

/// How many threads a report tries to start.
pub(super) const PROBE_THREADS: u64 = 12;
