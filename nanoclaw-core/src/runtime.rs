//! The port to what runs containers: docker, podman, sandbox.
//!
//! The trait is about containers, not about commands. What an implementation must do is pinned by one public suite,
//! `testing::runtime_suite`, which runs against each of them.

pub mod hardening;
mod held;
pub mod inspected;
pub mod witness;

use std::{collections::BTreeMap, fmt, future::Future, path::PathBuf, pin::Pin, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, Shared};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

pub use hardening::{Deviation, HardeningProfile};
pub use held::HeldSources;

use crate::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    text_id::{plain_text, text_id},
};

text_id! {
    /// This installation of NanoClaw: made once per home, in every label, so that other installations' containers are
    /// never touched. Eight to 64 lower-case letters and digits.
    InstallId, "install id", |text| {
        if !(8..=64).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            return Err("must be 8 to 64 lower-case letters and digits");
        }
        Ok(())
    }
}

text_id! {
    /// The runtime's own name for a container. Opaque.
    ContainerId, "container id", |text| plain_text(text, 256)
}

text_id! {
    /// An image by name: `nanoclaw-agent:latest`, or what the sandbox takes for one (`host`, or a root folder's path).
    ImageRef, "image name", |text| plain_text(text, 1024)
}

/// Which runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Docker, by its Engine API.
    Docker,
    /// Podman, by its Docker-compatible API.
    Podman,
    /// The embedded sandbox: this program re-executed.
    Sandbox,
    /// A fake for tests.
    Fake,
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Sandbox => "sandbox",
            Self::Fake => "fake",
        })
    }
}

/// Whether a mount can be written to from inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// No.
    #[serde(rename = "ro")]
    ReadOnly,
    /// Yes.
    #[serde(rename = "rw")]
    ReadWrite,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadOnly => "ro",
            Self::ReadWrite => "rw",
        })
    }
}

/// A file or folder of the host, seen inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host; it exists before the container is created.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: String,
    /// Read-only or not.
    pub access: Access,
}

/// A word of the command or a value of the environment. No secret can be one:
///
/// ```compile_fail
/// use nanoclaw_core::{runtime::GuestValue, secret::Secret};
/// let value: GuestValue = Secret::new("sk-ant-1").into();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestValue {
    /// Taken as it is.
    Text(String),
    /// A path inside. A runtime without a mount table of its own hands the agent the host's path of the same file instead.
    Path(String),
}

impl GuestValue {
    /// The text, as seen in a container that has a mount table of its own.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Path(text) => text,
        }
    }

    /// The text as seen where guest paths are host paths: a path under a mount becomes the host's path of that file.
    #[must_use]
    pub fn on_host(&self, mounts: &[Mount]) -> String {
        let Self::Path(path) = self else { return self.as_str().to_owned() };
        let best = mounts
            .iter()
            .filter_map(|mount| {
                let rest = path.strip_prefix(mount.target.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then_some((mount, rest))
            })
            .max_by_key(|(mount, _)| mount.target.len());
        match best {
            Some((mount, rest)) => format!("{}{rest}", mount.source.display()),
            None => path.clone(),
        }
    }
}

impl From<&str> for GuestValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Upper bounds for one container. Where a runtime cannot enforce one of them, it refuses to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory, swap included.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Thousandths of a processor.
    pub milli_cpus: Option<u32>,
}

/// The user that a container runs as; never root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunAs {
    /// User id, not 0.
    pub uid: u32,
    /// Group id, not 0.
    pub gid: u32,
}

/// Whose container it is. These become the runtime's labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    /// Of which installation.
    pub install: InstallId,
    /// For which run of which group.
    pub run: RunId,
}

/// A container to be made. It cannot express privileged mode, a network, host namespaces, devices or a secret: what a spec
/// cannot say, no configuration can ask for. Always so: no network but loopback, all capabilities dropped,
/// no-new-privileges, a read-only root, a private `/tmp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Unique; `nanoclaw-<install>-<folder>-<run>`.
    pub name: String,
    /// What its root is made of.
    pub image: ImageRef,
    /// Program and arguments; replaces the image's own.
    pub command: Vec<GuestValue>,
    /// The whole environment beyond `PATH`; nothing of the host's is passed on.
    pub env: BTreeMap<String, GuestValue>,
    /// What it sees of the host, in this order.
    pub mounts: Vec<Mount>,
    /// What of these the host opened, checked and holds.
    pub held: HeldSources,
    /// Working directory inside.
    pub workdir: GuestValue,
    /// The user it runs as.
    pub user: RunAs,
    /// Its upper bounds.
    pub limits: Limits,
    /// Bytes of its private `/tmp`.
    pub tmp_bytes: u64,
    /// Whose it is.
    pub labels: Labels,
}

/// What a container wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// To standard output.
    Stdout(Bytes),
    /// To standard error.
    Stderr(Bytes),
}

/// How a container's first process ended.
///
/// Shells, inits and engines tell of a process that ended by signal *n* as of one that ended with the code 128 + *n*, and
/// most runtimes hear of a container's end through one of these. Nobody can tell the two apart then, so the port has one
/// rule for all: a code from 129 to 192 is the signal that it stands for, whoever said it. A shell that exits with 143, since
/// its last command was ended by TERM, ended by signal 15 as far as any caller can know. `Code` is thus 0 to 128 or above 192.
///
/// Rely on `Code(0)` for success and on `OutOfMemory` where the memory limit is in force; everything else is a failure, and
/// its number is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this code, 0 to 128 or 193 to 255.
    Code(i32),
    /// By this signal, or with the code that stands for it.
    Signal(i32),
    /// Killed because it went over its memory limit: it ended by KILL, which nobody sent through the port, and the kernel had
    /// killed a process of it for memory. That process need not have been the first one; an init whose command was killed ends
    /// with the code for it and so tells the same. A container that went on after such a loss and ended otherwise ended as it
    /// says.
    OutOfMemory,
    /// The runtime could not tell. Never taken for success.
    Unknown,
}

impl Exit {
    /// What an exit code says; the place where the rule about codes above 128 is.
    #[must_use]
    pub fn of_code(code: i32) -> Self {
        const BY_SIGNAL: i32 = 128;
        // Linux has signals 1 to 64.
        if (BY_SIGNAL + 1..=BY_SIGNAL + 64).contains(&code) { Self::Signal(code - BY_SIGNAL) } else { Self::Code(code) }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::Unknown => f.write_str("an unknown exit"),
        }
    }
}

/// Resolves when the container has ended; may be awaited by many and again.
pub type ExitWatch = Shared<BoxFuture<'static, Exit>>;

/// A container's standard input.
pub struct ContainerStdin(Pin<Box<dyn AsyncWrite + Send>>);

impl ContainerStdin {
    /// Takes the writing half that a runtime has.
    #[must_use]
    pub fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(writer))
    }

    /// Writes all of `bytes` and flushes.
    ///
    /// # Errors
    /// Whatever the pipe says, "broken pipe" when the container ended; `TimedOut` when it did not read within `limit`.
    pub async fn send(&mut self, bytes: &[u8], limit: Duration) -> std::io::Result<()> {
        let write = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        tokio::time::timeout(limit, write).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }

    /// Ends the input: the container reads end of file, while its output goes on.
    pub async fn close(mut self) {
        // An engine's connection is half-closed by shutdown, a child's pipe by being dropped: do both.
        let _ = self.0.shutdown().await;
    }
}

/// A started container with its streams.
pub struct Container {
    /// Its name at the runtime.
    pub id: ContainerId,
    /// Where its input goes.
    pub stdin: ContainerStdin,
    /// What it writes, in order within each stream, byte for byte. Ends at the latest 2 s after `exit` resolved.
    pub output: mpsc::Receiver<Output>,
    /// How it ended, once it has.
    pub exit: ExitWatch,
}

/// A container that an earlier host started, as far as it can be taken up again.
pub struct AdoptedContainer {
    /// How it ended, once it has.
    pub exit: ExitWatch,
    /// What it writes to standard error from about now on, as in [`Container::output`]; what it wrote before is lost. Nothing
    /// of its standard output, which is in its journal. Dropping it lets the container go on unheard. `None` when it cannot
    /// be heard.
    pub errors: Option<mpsc::Receiver<Output>>,
}

/// Makes an [`ExitWatch`] of a future.
pub fn exit_watch(exit: impl Future<Output = Exit> + Send + 'static) -> ExitWatch {
    use futures_util::FutureExt;
    exit.boxed().shared()
}

/// How a container came to its end when it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    /// It was not there (any more).
    Gone,
    /// It ended within the grace time.
    Ended,
    /// It did not and was killed.
    Killed,
}

/// A container as the runtime lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerSummary {
    /// Its name at the runtime.
    pub id: ContainerId,
    /// For which group, from its labels.
    pub group: GroupFolder,
    /// For which run, from its labels.
    pub number: RunNumber,
    /// Whether its first process lives.
    pub running: bool,
}

/// What a container uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ContainerStats {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What a runtime gives on this machine, found by starting something and looking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// One line for people: product, version, mode.
    pub description: String,
    /// Containers have a mount table of their own.
    pub own_mounts: bool,
    /// Containers have a network of their own, with loopback alone in it.
    pub own_network: bool,
    /// The memory limit is in force.
    pub memory_limit: bool,
    /// When the kernel ends a container because its memory is used up, that is told: [`Exit::OutOfMemory`]. Otherwise it
    /// looks like any other end by a signal.
    pub tells_out_of_memory: bool,
    /// The limit on processes is in force.
    pub pids_limit: bool,
    /// The limit on processor time is in force.
    pub cpu_limit: bool,
    /// Images can be chosen.
    pub images: bool,
    /// Containers go on when the host ends, however it ends, and the next host can [`adopt`](ContainerRuntime::adopt) them.
    pub outlive_host: bool,
    /// What an operator should know, a sentence each.
    pub remarks: Vec<String>,
}

/// What a runtime can say instead of doing what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// It cannot be used on this machine now.
    #[error("{runtime} is not available: {reason}; {remedy}")]
    Unavailable {
        /// Which runtime.
        runtime: RuntimeKind,
        /// What was tried and what came back.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The image is not there.
    #[error("there is no image {image}; build it with `nanoclaw image build`, or name another in nanoclaw.toml")]
    NoImage {
        /// Which.
        image: ImageRef,
    },
    /// The command could not be executed inside.
    #[error("the command {command:?} could not be started in the container: {reason}")]
    BadCommand {
        /// The program.
        command: String,
        /// What the kernel or engine said.
        reason: String,
    },
    /// A mount's source is missing or cannot be used.
    #[error("{path:?} cannot be mounted: {reason}")]
    BadMount {
        /// The path on the host.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Something the spec asks for would not be in force, so nothing was started.
    #[error("refused to start: {what} would not be in force; {remedy}")]
    NotEnforced {
        /// What is missing.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// There is no such container.
    #[error("there is no container {id}")]
    Gone {
        /// Which.
        id: ContainerId,
    },
    /// No answer in time.
    #[error("no answer while trying to {action}")]
    TimedOut {
        /// What was tried ("start the container").
        action: &'static str,
    },
    /// Anything else.
    #[error("failed to {action}: {reason}")]
    Other {
        /// What was tried ("start the container").
        action: &'static str,
        /// What came back.
        reason: String,
    },
}

impl RuntimeError {
    /// Whether it may be over without anybody changing anything about what was asked: the runtime starts, or recovers.
    #[must_use]
    pub fn passes_by_itself(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::TimedOut { .. } | Self::Gone { .. } | Self::Other { .. } => true,
            Self::NoImage { .. } | Self::BadCommand { .. } | Self::BadMount { .. } | Self::NotEnforced { .. } => false,
        }
    }
}

/// Runs containers.
///
/// Every method may be called at any time from any task. A runtime hands out no container that it would not list.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + 'static {
    /// Which runtime it is.
    fn kind(&self) -> RuntimeKind;

    /// Starts something for real and reads back what is in force.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] with the remedy.
    async fn probe(&self) -> Result<Capabilities, RuntimeError>;

    /// Makes sure that `image` is there.
    ///
    /// # Errors
    /// [`RuntimeError::NoImage`] when it is not and cannot be fetched.
    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError>;

    /// What `image` is made of now, in a word that changes when it does; `None` when this runtime has nothing that could
    /// change under a name.
    ///
    /// # Errors
    /// [`RuntimeError::NoImage`], or a failure of the runtime itself.
    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError>;

    /// Creates a container, attaches to it, registers the wait for its exit, and starts it, in this order, so that neither
    /// its first bytes nor its exit can be missed. Cleans up after itself when a step fails. The container removes itself
    /// when it has ended. Dropping the result leaves no process for ever, because its input ends; nothing else happens to it
    /// where containers outlive the host: what it writes then is dropped, and never holds it up.
    ///
    /// # Errors
    /// The typed reasons of [`RuntimeError`].
    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError>;

    /// Watches a container that an earlier host started, one that [`list`](Self::list) gave as running, and listens to its
    /// standard error if it can. What it says to its host comes by its mailbox. Nothing about the container changes.
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] when it has ended or is not there. A runtime whose containers cannot outlive the host knows none
    /// but its own, which it gives a watch on as well.
    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError>;

    /// Asks the container to end (TERM), waits for `grace`, then kills it. Returns when it has ended.
    ///
    /// # Errors
    /// Only when the runtime itself fails; an unknown id is [`StopOutcome::Gone`].
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError>;

    /// Kills and removes. Idempotent; returns when the container is gone from [`list`](Self::list).
    ///
    /// # Errors
    /// Only when the runtime itself fails.
    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError>;

    /// The containers of this installation, by label, in no order, ended ones that are not yet removed included.
    ///
    /// # Errors
    /// Only when the runtime itself fails.
    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError>;

    /// What a container uses now; `None` when the runtime does not know. Never invented.
    ///
    /// # Errors
    /// [`RuntimeError::Gone`], or a failure of the runtime itself.
    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError>;
}
