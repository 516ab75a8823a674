//! What went wrong inside the store, and how it is told: what, where, and what to do.

use std::path::Path;

use nanoclaw_core::{InvalidId, group::GroupFolder, store::StoreError};

/// Why a method of the store could not do what it was asked.
#[derive(Debug)]
pub(super) enum Problem {
    /// The port has a name for it.
    Answer(StoreError),
    /// What was asked for makes no sense, or what is stored does not.
    Refused(String),
    /// The database failed.
    Database(sqlx::Error),
    /// The file cannot be used at all.
    File(std::io::Error),
}

impl Problem {
    pub(super) fn no_group(folder: &GroupFolder) -> Self {
        Self::Answer(StoreError::NoGroup { folder: folder.clone() })
    }

    /// Whether the next write may well meet the same, whatever is written: the file cannot be used, and not what was asked.
    pub(super) fn is_the_disks(&self) -> bool {
        let codes = [PERMISSION, BUSY, READ_ONLY, INPUT_OUTPUT, CORRUPT, FULL, CANNOT_OPEN, NOT_A_DATABASE];
        match self {
            Self::Answer(_) | Self::Refused(_) => false,
            Self::File(_) => true,
            Self::Database(error) => primary_code(error).is_none_or(|code| codes.contains(&code)),
        }
    }

    /// The error for whoever asked: `action` is what was tried, `path` where.
    pub(super) fn explain(self, action: &'static str, path: &Path) -> StoreError {
        let path = path.display();
        let reason = match self {
            Self::Answer(error) => return error,
            Self::Refused(reason) => reason,
            Self::File(error) => format!(
                "{path} cannot be used: {error}; make the file and its folder writable for the user that runs nanoclaw, \
                 or choose another home"
            ),
            Self::Database(error) => {
                let Some(code) = primary_code(&error) else {
                    return StoreError::Failed { action, reason: format!("{error} (in {path})") };
                };
                match code {
                    FULL => format!("the disk that holds {path} is full; free some space, the host goes on by itself"),
                    READ_ONLY | CANNOT_OPEN | PERMISSION => format!(
                        "{path} cannot be written ({error}); make the file and its folder writable for the user that runs \
                         nanoclaw, and the file system too"
                    ),
                    NOT_A_DATABASE => {
                        format!("{path} {NO_DATABASE}; move it away, or restore a backup to its place")
                    }
                    CORRUPT => format!(
                        "{path} {DAMAGED} ({error}); stop nanoclaw and restore a backup, or save what can be read with \
                         `sqlite3 {path} .recover`"
                    ),
                    INPUT_OUTPUT => {
                        format!("reading or writing {path} failed ({error}); see whether its disk is full or broken")
                    }
                    BUSY => format!("another program keeps {path} locked; end it (another nanoclaw? sqlite3?)"),
                    _ => format!("{error} (in {path})"),
                }
            }
        };
        StoreError::Failed { action, reason }
    }
}

/// What is said of a file that SQLite cannot make sense of.
pub(super) const NO_DATABASE: &str = "is no SQLite database";
/// What is said of a database with something wrong in it.
pub(super) const DAMAGED: &str = "is damaged";

// SQLite's primary result codes (source: https://www.sqlite.org/rescode.html).
const PERMISSION: u32 = 3;
const BUSY: u32 = 5;
const READ_ONLY: u32 = 8;
const INPUT_OUTPUT: u32 = 10;
const CORRUPT: u32 = 11;
const FULL: u32 = 13;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

/// SQLite's result code without the detail in the upper bits; `None` when the failure is not SQLite's.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::File(error)
    }
}

impl From<InvalidId> for Problem {
    fn from(error: InvalidId) -> Self {
        Self::Refused(format!("a stored {error}"))
    }
}
