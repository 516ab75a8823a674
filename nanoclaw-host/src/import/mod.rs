//! Moving in: what a folder of NanoClaw v1 has becomes part of a home.
//!
//! [`read`](read::read) reads the folder and changes nothing in it. [`Plan::of`] decides what becomes of everything that was found, and
//! touches nothing. Its [`Step`]s are taken one after another; each is done whole or not at all, and one that was done before
//! changes nothing. So an import that died is completed by the next, and one more changes nothing.
//!
//! | file | what it answers for |
//! | --- | --- |
//! | `v1` | what was found, as plain values |
//! | `read`, `database`, `trees` | finding it |
//! | `here` | what the home has already |
//! | `plan`, `tasks`, `settings` | what becomes of it |
//! | `words` | v1's names and words as ours |
//! | `view` | how a plan is shown |
//! | `step` | doing that |

mod database;
mod here;
mod plan;
pub mod read;
mod settings;
mod step;
mod tasks;
mod trees;
mod v1;
mod view;
mod words;

use std::{io, path::PathBuf};

use nanoclaw_core::store::StoreError;

pub use crate::config::Line;
pub use here::Here;
pub use plan::{Plan, Rules};
pub use step::{Destination, Step};
pub use trees::{Kind, Tree};
pub use v1::{Lists, Mail, V1, V1Chat, V1Group, V1Message, V1Quote, V1Run, V1Task};
pub use view::{GroupRow, ListRow, NamedRow, PlanView, State, TaskRow, Unmoved};

/// Why nothing, or not all, was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder is not one of NanoClaw v1.
    #[error("{path} is no folder of NanoClaw v1: {why}")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What was looked for and not found.
        why: &'static str,
    },
    /// It is one of NanoClaw v2.
    #[error("{0} is a folder of NanoClaw v2, which is another program with another database")]
    SecondVersion(PathBuf),
    /// Somebody works on it.
    #[error("{path} is in use: {who}")]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who, as far as it can be told.
        who: String,
    },
    /// Its database is not whole.
    #[error("the database {path} is damaged: {what}")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// Its database has not what every v1 that can be read has.
    #[error("the database {path} has no {what}: it is of another version of NanoClaw than 1.1 to 1.2")]
    Lacks {
        /// The database.
        path: PathBuf,
        /// The table or column.
        what: String,
    },
    /// A file could not be read or written.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The configuration would not be what is meant, or cannot be written.
    #[error(transparent)]
    Settings(#[from] crate::config::LinesError),
    /// The list of senders, or a secret, could not be kept.
    #[error(transparent)]
    Secret(#[from] crate::credentials::EditError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    /// What to do about it; `None`: what it says, says it.
    #[must_use]
    pub fn help(&self) -> Option<&'static str> {
        Some(match self {
            Self::Foreign { .. } => {
                "name the folder that NanoClaw v1 was run from: the one with store/messages.db, groups/ and data/"
            }
            Self::SecondVersion(_) => "a folder of v1 is what can be imported; its own `migrate-v2.sh` kept that one",
            Self::InUse { .. } => {
                "stop it first: `systemctl --user stop nanoclaw`, on macOS `launchctl unload \
                 ~/Library/LaunchAgents/com.nanoclaw.plist`, or end that process; then import again"
            }
            Self::Damaged { .. } => {
                "save what can be read of it with `sqlite3 messages.db .recover | sqlite3 saved.db`, put that in its place in a \
                 copy of the folder, and import the copy"
            }
            Self::Lacks { .. } => {
                "start the newest NanoClaw 1.2 on a copy of the folder once, which brings its database up to date, stop it, and \
                 import the copy"
            }
            Self::File { .. } => {
                "import as the user that ran NanoClaw v1, or as root; the disk may also be full. What was done stays, and the \
                 same command goes on from there"
            }
            Self::Settings(_) => "put them in by hand and import again: what stands there already is left as it is",
            Self::Secret(_) | Self::Store(_) => return None,
        })
    }
}

/// The error for `path`.
fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> ImportError {
    let path = path.to_owned();
    move |source| ImportError::File { path, source }
}
