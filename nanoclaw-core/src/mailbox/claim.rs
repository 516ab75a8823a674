//! Reading: in order, without trust.

use std::{collections::BinaryHeap, fs::File, io::Read};

use rustix::{
    fs::{FileType, Mode, OFlags},
    io::Errno,
};

use super::{Folder, MailboxError, folder::is_temporary, names::Names};

/// Upper bounds for what is read from a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one file.
    pub file_bytes: usize,
    /// The most names that are listed at a time.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 1024 * 1024, names: 1000 }
    }
}

/// How many names are looked at for each that may be listed: what a flood of names can cost in time.
const LOOKED_AT_PER_NAME: usize = 64;
/// Reading stops once this much was read: what a flood of large files can cost in memory, one file more.
const READ_AT_A_TIME_BYTES: usize = 8 * 1024 * 1024;

/// A file that was read. It is still there; [`Folder::remove`] it when what it asks for is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Its name in the folder.
    pub name: String,
    /// Its content, or why it was not read.
    pub content: Result<Vec<u8>, Refused>,
}

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A link, FIFO, socket, device or folder.
    #[error("it is not a regular file")]
    NotRegular,
    /// A file that has another name besides: it may be somebody else's, linked here to be read by who may read it.
    #[error("it has several names (hard links)")]
    SeveralNames,
    /// Larger than [`Limits::file_bytes`].
    #[error("it has more than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// It could not be opened or read.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the system said.
        reason: String,
    },
}

impl Folder {
    /// The files `*.json` that lie there, whole ones only, sorted by name, each read or refused. Temporary names (a leading
    /// `.`, or the end `.tmp`) and other names are passed over. At most [`Limits::names`], and about 8 MiB at a time; the
    /// rest comes next time, after these were removed.
    ///
    /// The order is that of all files there, unless there are more than 64 times [`Limits::names`].
    ///
    /// # Errors
    /// When the folder cannot be listed, or the host itself is short of something (open files, memory). Trouble with one
    /// file is [`Claimed::content`].
    pub fn claim(&self, limits: &Limits) -> Result<Vec<Claimed>, MailboxError> {
        let mut claimed = Vec::new();
        let mut read_bytes = 0;
        for name in self.first_names(limits.names)? {
            match self.read(&name, limits.file_bytes) {
                Ok(content) => {
                    read_bytes += content.as_ref().map_or(0, Vec::len);
                    claimed.push(Claimed { name, content });
                }
                // Its writer took it back.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(self.error("open", &name, errno)),
            }
            if read_bytes >= READ_AT_A_TIME_BYTES {
                break;
            }
        }
        Ok(claimed)
    }

    /// The content of the file `name`, of at most `limit` bytes; `None` when there is none, or nothing that is a file to
    /// read. For a file that may be anything or nothing, and is asked for again.
    ///
    /// # Errors
    /// [`MailboxError::BadName`], or when the host itself is short of something (open files, memory).
    pub(super) fn read_if_there(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, MailboxError> {
        self.check_plain(name)?;
        match self.read(name, limit) {
            Ok(content) => Ok(content.ok()),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.error("open", name, errno)),
        }
    }

    /// The first `most` names of files to read, sorted.
    fn first_names(&self, most: usize) -> Result<Vec<String>, MailboxError> {
        // The largest of the names kept is on top, and goes when a smaller one comes.
        let mut kept: BinaryHeap<String> = BinaryHeap::new();
        self.each_name(most.saturating_mul(LOOKED_AT_PER_NAME), |name| {
            let Ok(name) = name.into_string() else { return };
            if !name.ends_with(".json") || is_temporary(name.as_bytes()) {
                return;
            }
            kept.push(name);
            if kept.len() > most {
                kept.pop();
            }
        })?;
        Ok(kept.into_sorted_vec())
    }

    /// Reads one file, or says why not; the outer error is one that is not the file's.
    fn read(&self, name: &str, limit: usize) -> Result<Result<Vec<u8>, Refused>, Errno> {
        // Without blocking, because opening a FIFO waits for its other end (fault F49).
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let handle = match rustix::fs::openat(&self.handle, name, flags, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::LOOP | Errno::NXIO | Errno::NODEV) => return Ok(Err(Refused::NotRegular)),
            Err(errno @ (Errno::NOENT | Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(errno),
            Err(errno) => return Ok(Err(Refused::unreadable(errno))),
        };
        let stat = match rustix::fs::fstat(&handle) {
            Ok(stat) => stat,
            Err(errno) => return Ok(Err(Refused::unreadable(errno))),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Err(Refused::NotRegular));
        }
        match Names::of(&self.handle, name, &handle, &stat) {
            // Its writer took it back, or put another in its place.
            Names::Gone => return Err(Errno::NOENT),
            Names::Own => {}
            Names::Several => return Ok(Err(Refused::SeveralNames)),
        }
        let size = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if size > limit {
            return Ok(Err(Refused::TooLarge { limit }));
        }
        // It may grow while it is read, so the size is no bound.
        let mut content = Vec::with_capacity(size.saturating_add(1));
        let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        Ok(match File::from(handle).take(bound).read_to_end(&mut content) {
            Ok(read) if read > limit => Err(Refused::TooLarge { limit }),
            Ok(_) => Ok(content),
            Err(error) => Err(Refused::unreadable(error)),
        })
    }
}

impl Refused {
    fn unreadable(error: impl Into<std::io::Error>) -> Self {
        Self::Unreadable { reason: error.into().to_string() }
    }
}
