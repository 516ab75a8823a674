//! One step of an import, and taking it.

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::{chat::ChatMetadata, secret::Secret, store::Store as _};

use super::{
    ImportError, at,
    trees::{self, Kind},
};
use crate::{
    config::{self, Environment, IfSet, Line},
    credentials,
    home::Home,
    operator_file,
    stores::sqlite::{Conversation, PastTask, SqliteStore},
};

/// One thing to be done. It is done whole or not at all, and not again when it was done before.
#[derive(Debug, Clone)]
pub enum Step {
    /// A tree of files is copied.
    Copy {
        /// Where it is.
        from: PathBuf,
        /// Where it is to be.
        to: PathBuf,
        /// What it is.
        kind: Kind,
    },
    /// A list of the operator's is copied.
    List {
        /// Where it is.
        from: PathBuf,
        /// Where it is to be.
        to: PathBuf,
    },
    /// Lines are put into the configuration.
    Settings(Vec<Line>),
    /// A secret is kept.
    Secret {
        /// Its name.
        name: String,
        /// It.
        secret: Secret,
    },
    /// Chats that were seen are noted.
    Chats(Vec<ChatMetadata>),
    /// A group is registered with what was said in it.
    Conversation(Box<Conversation>),
    /// A task is kept with what came of it.
    Task(Box<PastTask>),
}

/// What is imported into.
pub struct Destination<'a> {
    /// The home. Whoever takes steps holds its lock.
    pub home: &'a Home,
    /// Its store.
    pub store: &'a SqliteStore,
    /// Says where credentials are kept.
    pub environment: &'a dyn Environment,
}

impl Step {
    /// Takes the step.
    ///
    /// # Errors
    /// [`ImportError`]; then nothing of the step is done, and it can be taken again.
    pub async fn take(&self, into: &Destination<'_>) -> Result<(), ImportError> {
        match self {
            Self::Copy { from, to, kind } => trees::bring(from, to, *kind).map_err(at(from)),
            Self::List { from, to } => copy_list(from, to),
            Self::Settings(lines) => Ok(config::put_lines(&into.home.config_file(), lines, IfSet::Stays)?),
            Self::Secret { name, secret } => {
                credentials::set(into.environment, name, secret)?;
                Ok(())
            }
            Self::Chats(chats) => {
                for chat in chats {
                    into.store.note_chat(chat).await?;
                }
                Ok(())
            }
            Self::Conversation(conversation) => {
                into.store.take_over(conversation).await?;
                Ok(())
            }
            Self::Task(task) => {
                into.store.take_task_over(task).await?;
                Ok(())
            }
        }
    }

    /// What it does, in few words.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Copy { from, .. } => format!("copying {}", from.display()),
            Self::List { to, .. } => format!("copying {}", to.display()),
            Self::Settings(_) => "writing nanoclaw.toml".to_owned(),
            Self::Secret { name, .. } => format!("storing {name}"),
            Self::Chats(_) => "noting the chats".to_owned(),
            Self::Conversation(conversation) => format!("taking over {}", conversation.group.folder),
            Self::Task(task) => format!("scheduling a task of {}", task.task.group),
        }
    }
}

/// Copies a list, which nobody else can write from then on, unless there is one.
fn copy_list(from: &Path, to: &Path) -> Result<(), ImportError> {
    if fs::symlink_metadata(to).is_ok() {
        return Ok(());
    }
    let text = fs::read(from).map_err(at(from))?;
    let folder = to.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(at(folder))?;
    operator_file::replace(to, &text, 0o600).map_err(at(to))
}
