//! The port to the house around a run: folders on disk, mounts, credentials' gateway, provider.
//!
//! The orchestrator says *that* a group's run is to start; the launcher knows what its container is made of.

use std::path::PathBuf;

use async_trait::async_trait;

use crate::{
    attachment::{NewFile, SpooledFile},
    group::{Group, GroupFolder},
    mailbox::GroupFile,
    orchestrator::{GroupTimes, PromptLimits},
    run::{Retry, RunId, RunKind},
    runtime::ContainerSpec,
};

/// Everything that is ready for one run.
pub struct Launch {
    /// The container to start.
    pub spec: ContainerSpec,
    /// The group's mailbox on the host; its folders exist and belong to the container's user.
    pub mailbox: PathBuf,
    /// Where the container's standard error and the lines between its blocks go. Never the prompt (fault F44).
    pub log: Box<dyn std::io::Write + Send>,
    /// Lives as long as the run: what it holds (a gateway's socket) ends when it is dropped.
    pub guard: Box<dyn Send + Sync>,
    /// What somebody should know about how the run is made: told to the owner, once for each key.
    pub notices: Vec<LaunchNotice>,
}

/// Something about a run that somebody should know and that does not keep it from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchNotice {
    /// The same for as long as the same is to be said: up to 128 bytes without control characters.
    pub key: String,
    /// The words.
    pub text: String,
}

/// What a run needs that goes on in a container of an earlier host.
pub struct Rejoined {
    /// The group's mailbox on the host.
    pub mailbox: PathBuf,
    /// As in [`Launch`]; goes on where the log ended.
    pub log: Box<dyn std::io::Write + Send>,
    /// As in [`Launch`].
    pub guard: Box<dyn Send + Sync>,
}

/// Why nothing could be made ready.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct LaunchError {
    /// What, where, and what to do.
    pub reason: String,
    /// Whether it can pass by itself.
    pub retry: Retry,
}

/// A copy of a file that is to be sent, in the host's spool.
pub struct KeptFile {
    /// The copy.
    pub file: SpooledFile,
    /// While it lives, the copy is not taken for one that nobody needs. Dropped when the row of the outbox that names the copy is
    /// there, or is not to be.
    pub guard: Box<dyn Send + Sync>,
}

/// What is configured for one group and the orchestrator must know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tuning {
    /// How patient to be with its containers.
    pub times: GroupTimes,
    /// Bounds of one prompt.
    pub prompt: PromptLimits,
}

/// Makes a run ready.
#[async_trait]
pub trait Launcher: Send + Sync + 'static {
    /// Where a group's mailbox is, whether it exists or not.
    fn mailbox(&self, group: &GroupFolder) -> PathBuf;

    /// Where a group's own folder is, which its agent works in, whether it exists or not.
    fn group_folder(&self, group: &GroupFolder) -> PathBuf;

    /// What is configured for a group.
    fn tuning(&self, group: &GroupFolder) -> Tuning;

    /// Creates the group's folders, opens its gateway, and says what the container is made of.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing is left open.
    async fn prepare(&self, group: &Group, run: &RunId, kind: &RunKind) -> Result<Launch, LaunchError>;

    /// All that [`prepare`](Self::prepare) would make a container of now, as a text that is another one when anything of it is
    /// another: a container that was started from the same is as good as a new one. Makes nothing.
    ///
    /// # Errors
    /// [`LaunchError`]: what `prepare` would refuse.
    async fn fingerprint(&self, group: &Group, run: &RunId, kind: &RunKind) -> Result<String, LaunchError>;

    /// What [`prepare`](Self::prepare) gives, for a container that exists already: opens the gateway again at the same place
    /// and goes on with the log. No folder is made, given away or emptied: there is an agent at work in them.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing is left open.
    async fn rejoin(&self, group: &Group, run: &RunId) -> Result<Rejoined, LaunchError>;

    /// Puts files that came with messages from the host's spool into a group's folder, each whole under its path, where the
    /// group's agent can read it. What the agent has put into a file's place is replaced, and no link is followed. The same
    /// file again changes nothing. Called only after [`prepare`](Self::prepare) or [`rejoin`](Self::rejoin) for a run of the
    /// group, and before a prompt that names the files.
    ///
    /// Returned is, for each file in order, why it is not there, as it follows "not fetched: "; `None` when it is there.
    async fn bring_files(&self, group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>>;

    /// Copies a file of a group's folder, as it was opened, into the host's spool, from which it is sent. When this returns, the
    /// copy is on the disk; its size and type are its own, since the agent may have changed the file meanwhile.
    ///
    /// # Errors
    /// Why there is no copy, as it follows "the file is not sent: "; nothing of it is left.
    async fn keep_file(&self, group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String>;
}
