//! What the host and its helper process say to each other, as JSON over the control socket. Both ends are the same program
//! file, so there is no version in it.
//!
//! ```text
//! host ──▶ helper   descriptors: the container's standard input, then what is held of its mounts, each batch beside a byte
//!                   of which the first says how many more there are; one Plan, a line
//! helper ──▶ host   a descriptor of the container's first process, beside an empty line; the word Ready
//! host ──▶ helper   a byte: what is in force was looked at from outside, go on
//! helper ──▶ host   the report, or nothing more
//! ```
//!
//! Instead of any of its words the helper can say [`Word::Refused`]. Its stream ends when the command was executed, because the
//! socket is close-on-exec. A host that goes away, or does not like what it sees, lets nothing go on: the socket closes.

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
    /// Which of `mounts` come as handles, by number, in the order in which the handles are sent.
    pub(super) held: Vec<usize>,
    /// The user it runs as.
    pub(super) user: RunAs,
    /// The `cgroup.procs` files to enter. Empty: none.
    pub(super) cgroups: Vec<PathBuf>,
    /// `RLIMIT_NPROC`, the helper's own processes in the container's user namespace included; `None` leaves it alone.
    pub(super) processes: Option<u64>,
    /// Steps that tests have left out.
    #[cfg(feature = "failpoints")]
    #[serde(default)]
    pub(super) faults: Vec<Fault>,
}

impl Plan {
    /// Whether a test wants this fault. In a program that people run there are none.
    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults().contains(&fault)
    }

    /// Whether a test wants any fault.
    pub(super) fn wants_faults(&self) -> bool {
        !self.faults().is_empty()
    }

    #[cfg(feature = "failpoints")]
    fn faults(&self) -> &[Fault] {
        &self.faults
    }

    #[cfg(not(feature = "failpoints"))]
    const fn faults(&self) -> &[Fault] {
        &[]
    }
}

/// What a helper can be made to get wrong by a test, in a build for tests, so that looking at its containers from outside is seen
/// to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "failpoints"), allow(unreachable_pub, reason = "nobody else can want one"))]
pub enum Fault {
    /// The container has the host's network.
    SharedNetwork,
    /// The container has the host's shared memory and queues.
    SharedIpc,
    /// The container has the host's name.
    SharedHostName,
    /// The container has the host's view of control groups.
    SharedCgroups,
    /// The container sees the host's processes.
    SharedProcesses,
    /// Capabilities are kept that are not in effect.
    Capabilities,
    /// Programs that are executed can gain privileges, and no system call is refused.
    NoFilters,
    /// One of the filters on system calls is left out.
    OneFilterLess,
    /// The user and groups of the host's process are kept.
    HostsUser,
    /// The host's groups are kept.
    HostsGroups,
    /// The root can be written to.
    WritableRoot,
    /// Mounts that are to be read can be written to.
    WritableMounts,
    /// Mounts and `/tmp` honour set-user-id programs, and programs in `/tmp` can be executed.
    PowerfulMounts,
    /// What is to be hidden in `/proc` is not.
    NothingHidden,
    /// `/etc` of the host is shown.
    OneMountMore,
    /// The last of the mounts is left out.
    OneMountLess,
    /// The source of each mount is the folder or file of the first.
    OtherSources,
    /// The container is in no control group of its own.
    NoGroups,
    /// The limits of its own that a process has are not set.
    NoProcessLimits,
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
    /// Everything is in force; the next thing is the command itself, as soon as the host says so.
    Ready,
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
