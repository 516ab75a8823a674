//! Backups of a home: one file with all that cannot be made again, taken while the service runs.
//!
//! The file is a gzip-compressed tar archive, which any `tar` can read:
//!
//! | entry | what |
//! | --- | --- |
//! | `nanoclaw-backup.json` | the first: what made it and when ([`Label`]) |
//! | `home/…` | files, folders and links of the home, in its places |
//! | `manifest.json` | the last: every file with its SHA-256 ([`Manifest`]); an archive without it was not finished |
//!
//! Databases are in it as SQLite's own copies (`VACUUM INTO`), each consistent in itself, whoever writes to it meanwhile. Of other files
//! that somebody changes meanwhile there is what was read. Left out is what belongs to running containers and sockets (`store/ipc`,
//! `store/gateway`), logs, and what is made anew at every start.
//!
//! [`create`](create::create) writes one, [`read`] reads one, [`restore`](restore::restore) makes a home of one.

pub mod create;
pub mod read;
pub mod restore;

use std::{
    io,
    path::{Path, PathBuf},
};

use nanoclaw_core::{store::StoreError, time::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{home::Home, stores::sqlite::newest_schema};

/// The form of archives that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
const LABEL: &str = "nanoclaw-backup.json";
const MANIFEST: &str = "manifest.json";
/// Under what the home's own files are.
const HOME: &str = "home";
/// The longest label; the manifest's length is the archive's own business.
const LONGEST_LABEL: u64 = 64 * 1024;

/// What is in a home besides the databases, and is kept: files, or folders with all that is in them.
const KEPT: [&str; 6] = ["nanoclaw.toml", "groups", "skills", "store/sessions", "store/overlays", "store/files"];
/// The databases: this one, and all of this folder.
const DATABASE: &str = "store/nanoclaw.db";
const LOGINS: &str = "store/auth";

/// Where backups of `home` are that nobody named another place for.
#[must_use]
pub fn folder_of(home: &Home) -> PathBuf {
    home.root().join("backups")
}

/// The newest backup in `folder` that is whole and that this program can restore. Reads up to three of them to their end. Blocking.
#[must_use]
pub fn last_good(folder: &Path) -> Option<(PathBuf, Label)> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut labelled: Vec<(PathBuf, Label)> =
        entries.filter_map(|entry| Some((entry.path(), read::label(&entry.path()).ok()?))).collect();
    labelled.retain(|(_, label)| label.schema <= newest_schema());
    labelled.sort_by_key(|(_, label)| std::cmp::Reverse(label.made_at_ms));
    labelled.into_iter().take(3).find(|(path, _)| read::verify(path).is_ok())
}

/// What made a backup, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// [`FORMAT`].
    pub format: u32,
    /// When it was begun.
    pub made_at_ms: Timestamp,
    /// The version of the program that made it.
    pub version: String,
    /// The schema of the database in it.
    pub schema: i64,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its place in the home, with `/` between folders.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// What the SHA-256 of it is, in hexadecimal digits.
    pub sha256: String,
}

/// Every file of a backup, in the order in which they are in it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// The files.
    pub files: Vec<KeptFile>,
}

/// Why a backup could not be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file of the home, or the backup, could not be read or written.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A database could not be copied.
    #[error("the database {path} cannot be copied")]
    Database {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// It is no backup of ours.
    #[error("{0} is not a backup that `nanoclaw backup create` made")]
    Foreign(PathBuf),
    /// It is one of ours, and something is wrong with it.
    #[error("the backup {path} is damaged: {what}")]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer program made it.
    #[error("the backup {path} was made by nanoclaw {version}, which is newer than this program")]
    Newer {
        /// The backup.
        path: PathBuf,
        /// The version that made it.
        version: String,
    },
    /// There is a home already where one is to be restored.
    #[error("there is a home at {0} already")]
    Used(PathBuf),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// What to do about it; `None`: what it says, says it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        match self {
            Self::Foreign(_) => Some("`nanoclaw backup list` shows those that there are"),
            Self::Damaged { .. } => {
                Some("take another one; `nanoclaw backup verify FILE` checks one without changing anything")
            }
            Self::Newer { .. } => Some("install that version or a newer one, and restore with it"),
            Self::Used(_) => {
                Some("--home DIR names another place; --force moves what is there aside first, and deletes nothing")
            }
            Self::File { .. } | Self::Database { .. } => {
                Some("the disk may be full or read-only; the user that runs nanoclaw must own the home")
            }
            Self::Store(_) => None,
        }
    }
}

/// The error for `path`.
fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}
