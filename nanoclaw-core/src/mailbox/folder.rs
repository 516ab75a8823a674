//! The folders of a mailbox, opened as folders and held.

use std::{
    ffi::CString,
    fs::DirBuilder,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
};

/// What can go wrong with a mailbox's folder.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// A folder or file operation failed.
    #[error("failed to {action} {path:?}: {source}")]
    Io {
        /// What was tried ("open the folder").
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name that no file of a mailbox can have.
    #[error("{name:?} is no name for a file of the mailbox folder {folder:?}: it {reason}")]
    BadName {
        /// The folder.
        folder: PathBuf,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl MailboxError {
    pub(super) fn io(action: &'static str, path: &Path, source: impl Into<std::io::Error>) -> Self {
        Self::Io { action, path: path.to_owned(), source: source.into() }
    }
}

/// The files of one group that its container shares: `input/`, `output/`, `messages/`, `tasks/`, `answers/`, `alive/` under
/// one root.
///
/// The container may write in the root too, so each folder is opened anew through the root, and never through a link.
#[derive(Debug, Clone)]
pub struct Mailbox {
    root: PathBuf,
}

/// How many names a folder may have when a run begins. A flood beyond that hides what comes after it, and would do so for every
/// run to come.
const MOST_NAMES: usize = 4096;

const INPUT: &str = "input";
const OUTPUT: &str = "output";
const MESSAGES: &str = "messages";
const TASKS: &str = "tasks";
const ANSWERS: &str = "answers";
const ALIVE: &str = "alive";

impl Mailbox {
    /// The mailbox at `root`; nothing is touched.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the root and the six folders where they are missing, for the owner alone (0700), and makes them usable again
    /// where an agent has spoilt them: what has a folder's name and is none is removed, and a folder that cannot be entered, or
    /// holds more than 4096 names, is put aside under a name that nobody reads. Idempotent; for a time when no run is in
    /// need of what lies there. A link is never followed.
    ///
    /// # Errors
    /// When the root is a link or no folder, or the system will not have it.
    pub fn create(&self) -> Result<(), MailboxError> {
        if let Some(parent) = self.root.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(|error| MailboxError::io("create the folder", parent, error))?;
        }
        make_folder(CWD, &self.root, &self.root)?;
        let root = match try_folder(CWD, &self.root) {
            Err(Errno::ACCESS) => {
                // What lies in the root is the agent's to replace, the root itself is not: so this is it.
                let _ = rustix::fs::chmod(&self.root, Mode::RWXU);
                Folder::open(&self.root)?
            }
            _ => Folder::open(&self.root)?,
        };
        root.make_ours();
        for name in [INPUT, OUTPUT, MESSAGES, TASKS, ANSWERS, ALIVE] {
            root.make_usable(name)?;
        }
        Ok(())
    }

    /// The root itself, for files that lie beside the folders: the [fence](crate::protocol::fence).
    pub fn top(&self) -> Result<Folder, MailboxError> {
        Folder::open(&self.root)
    }

    /// Follow-ups, host to agent.
    pub fn input(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(INPUT)
    }

    /// The journal, agent to host.
    pub fn output(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(OUTPUT)
    }

    /// Messages to send, agent to host.
    pub fn messages(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(MESSAGES)
    }

    /// Task requests, agent to host.
    pub fn tasks(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(TASKS)
    }

    /// Answers to requests, host to agent.
    pub fn answers(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(ANSWERS)
    }

    /// Signs of life, agent to host. Ours: a v1 host makes no such folder.
    pub fn alive(&self) -> Result<Folder, MailboxError> {
        self.top()?.folder(ALIVE)
    }
}

/// One folder, held open: everything in it is reached through the held handle, so that swapping the folder for a link
/// leads nowhere.
#[derive(Debug)]
pub struct Folder {
    pub(super) handle: OwnedFd,
    pub(super) path: PathBuf,
}

impl Folder {
    /// Opens a folder that exists; a link is refused.
    pub fn open(path: &Path) -> Result<Self, MailboxError> {
        open_folder(CWD, path, path.to_owned())
    }

    /// Where it was when it was opened; for messages and for watching.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `name` lies there, whatever it is.
    pub fn has(&self, name: &str) -> Result<bool, MailboxError> {
        self.check_plain(name)?;
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("look for", name, errno)),
        }
    }

    /// How `name` differs from what had that name before, whatever it is; `None` when nothing has it. What is in it is not
    /// read.
    pub fn mark(&self, name: &str) -> Result<Option<FileMark>, MailboxError> {
        self.check_plain(name)?;
        match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileMark {
                inode: stat.st_ino,
                changed: (i128::from(stat.st_ctime), i128::from(stat.st_ctime_nsec)),
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("look at", name, errno)),
        }
    }

    /// The folder `name` in this one; a link is refused.
    fn folder(&self, name: &str) -> Result<Self, MailboxError> {
        open_folder(self.handle.as_fd(), Path::new(name), self.path.join(name))
    }

    /// Makes sure that `name` is a folder of this one, that it can be worked in, and that it holds no flood.
    fn make_usable(&self, name: &str) -> Result<(), MailboxError> {
        let path = self.path.join(name);
        make_folder(self.handle.as_fd(), Path::new(name), &path)?;
        let trouble = match try_folder(self.handle.as_fd(), Path::new(name)) {
            Ok(handle) => {
                let folder = Self { handle, path: path.clone() };
                folder.make_ours();
                let mut names = 0;
                folder.each_name(MOST_NAMES + 3, |_| names += 1)?;
                if names <= MOST_NAMES {
                    return Ok(());
                }
                "it has too many names"
            }
            Err(Errno::NOTDIR | Errno::LOOP) => "it is no folder",
            Err(Errno::ACCESS) => "it cannot be entered",
            Err(errno) => return Err(MailboxError::io("open the folder", &path, errno)),
        };
        tracing::warn!(?path, "a folder of the mailbox is replaced: {trouble}");
        self.remove_any(name)?;
        make_folder(self.handle.as_fd(), Path::new(name), &path)?;
        self.folder(name).map(drop)
    }

    /// Takes back a mode that would keep its owner out. Where we are not the owner it stays, and so does the trouble.
    pub(super) fn make_ours(&self) {
        let mode = rustix::fs::fstat(&self.handle).map(|stat| Mode::from_raw_mode(stat.st_mode));
        if let Ok(mode) = mode
            && !mode.contains(Mode::RWXU)
        {
            let _ = rustix::fs::fchmod(&self.handle, mode | Mode::RWXU);
        }
    }

    /// Calls `each` with the names that lie there, in no order, until it has seen `most` of them.
    pub(super) fn each_name(&self, most: usize, mut each: impl FnMut(CString)) -> Result<(), MailboxError> {
        let failed = |errno| MailboxError::io("list the folder", &self.path, errno);
        let entries = Dir::read_from(&self.handle).map_err(failed)?;
        for entry in entries.take(most) {
            let name = entry.map_err(failed)?.file_name().to_owned();
            if !matches!(name.as_bytes(), b"." | b"..") {
                each(name);
            }
        }
        Ok(())
    }

    /// Refuses what is not the name of one file in this folder.
    pub(super) fn check_plain(&self, name: &str) -> Result<(), MailboxError> {
        let reason = match name {
            "" => "is empty",
            "." | ".." => "is a way to a folder",
            _ if name.contains('/') => "has a / in it",
            _ if name.contains('\0') => "has a NUL byte in it",
            _ => return Ok(()),
        };
        Err(self.bad_name(name, reason))
    }

    pub(super) fn bad_name(&self, name: &str, reason: &'static str) -> MailboxError {
        MailboxError::BadName { folder: self.path.clone(), name: name.to_owned(), reason }
    }

    pub(super) fn error(&self, action: &'static str, name: &str, errno: Errno) -> MailboxError {
        MailboxError::io(action, &self.path.join(name), errno)
    }
}

/// Tells a file from the one that had its name before. To be compared and nothing else: it is no time that a container could
/// not set, and its clock may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark {
    inode: u64,
    changed: (i128, i128),
}

/// Whether `name` is of a file that is still being written, or was left so by a crash.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    name.starts_with(b".") || name.ends_with(b".tmp")
}

fn open_folder(parent: impl AsFd, name: &Path, path: PathBuf) -> Result<Folder, MailboxError> {
    match try_folder(parent, name) {
        Ok(handle) => Ok(Folder { handle, path }),
        Err(errno) => Err(MailboxError::io("open the folder (a link is not followed)", &path, errno)),
    }
}

fn try_folder(parent: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn make_folder(parent: impl AsFd, name: &Path, path: &Path) -> Result<(), MailboxError> {
    match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(MailboxError::io("create the folder", path, errno)),
    }
}
