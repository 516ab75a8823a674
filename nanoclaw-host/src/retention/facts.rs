//! What was found when somebody looked what could go. Plain values.

use std::{collections::BTreeMap, path::PathBuf};

use nanoclaw_core::{
    group::GroupFolder,
    message::Seq,
    run::{Handed, RunNumber},
    time::Timestamp,
};

/// Everything that is decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// When it was looked.
    pub at: Timestamp,
    /// The groups that are registered.
    pub groups: BTreeMap<GroupFolder, GroupFact>,
    /// Folders that the configuration has a table for.
    pub configured: Vec<GroupFolder>,
    /// The last run of each folder that ever had one and is no group now.
    pub last_runs: BTreeMap<GroupFolder, LastRun>,
    /// Logs of runs.
    pub logs: Vec<RunLog>,
    /// What the host keeps for folders that are no group now, but logs.
    pub kept_for: Vec<KeptFor>,
    /// Files that came with messages, in the folders of groups that are registered.
    pub attachments: Vec<Attachment>,
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupFact {
    /// Messages up to here are answered or given up.
    pub answered_through: Seq,
    /// Messages that were set aside and may be tried again.
    pub set_aside: Vec<Handed>,
    /// Its run that is not over.
    pub open_run: Option<RunNumber>,
}

/// The last run of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRun {
    /// When it was over; `None`: it is not.
    pub ended_at: Option<Timestamp>,
    /// Since when the folder is no group any more; `None`: nobody knows of that.
    pub removed_at: Option<Timestamp>,
}

/// The log of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunLog {
    /// The folder that it is in.
    pub group: GroupFolder,
    /// Of which run; `None` when its name is none that the host gives.
    pub run: Option<RunNumber>,
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to.
    pub changed: Timestamp,
}

/// A folder that the host keeps for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptFor {
    /// For which.
    pub group: GroupFolder,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, as far as it was counted.
    pub bytes: u64,
}

/// A file that came with a message, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// In which group's folder.
    pub group: GroupFolder,
    /// Its name in the folder for such files.
    pub name: String,
    /// The message; `None` when its name is none that the host gives.
    pub message: Option<Seq>,
    /// Its length.
    pub bytes: u64,
    /// When it was last written to.
    pub changed: Timestamp,
}
