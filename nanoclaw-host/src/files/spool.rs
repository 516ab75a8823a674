//! The spool: where the bytes of a file wait from the moment its message is accepted until the message is done with.
//!
//! The folders of the spool are the host's (0700); a channel puts files into `arriving/` and names them. Of such a file nothing
//! is believed: not its name, which may not lead elsewhere, not its size, and not its type.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nanoclaw_core::{
    attachment::{SpoolName, SpooledFile},
    mailbox::{TELLING_BYTES, media_type},
};
use rustix::fs::OFlags;

use crate::config::show_size;

/// How much may come with messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// The most bytes of one file.
    pub file_bytes: u64,
    /// The most files of one message.
    pub per_message: usize,
    /// The most bytes of all files in the spool.
    pub spool_bytes: u64,
}

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not to be had, now or later: the message goes on without it, and says why.
    #[error("{0}")]
    Refused(String),
    /// This host could not take it just now. The message is not to be acknowledged.
    #[error("a file that came with the message cannot be kept: {0}")]
    Host(#[from] io::Error),
}

/// The spool of a home.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    limits: FileLimits,
    /// The bytes of files that are on their way into `in/`, so that two do not take the same room.
    coming: Mutex<u64>,
}

impl Spool {
    /// The spool at `root` (`store/files`), whose folders are made where they are missing. What a host that died left half
    /// taken is removed.
    ///
    /// # Errors
    /// When the folders cannot be made or read.
    pub fn open(root: &Path, limits: FileLimits) -> io::Result<Self> {
        let spool = Self { root: root.to_owned(), limits, coming: Mutex::default() };
        for folder in [spool.arriving(), spool.inside()] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        for entry in fs::read_dir(spool.inside())? {
            let entry = entry?;
            if SpoolName::new(entry.file_name().to_string_lossy()).is_err()
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(%error, path = ?entry.path(), "what does not belong into the spool cannot be removed");
            }
        }
        Ok(spool)
    }

    /// How much may come with messages.
    #[must_use]
    pub fn limits(&self) -> FileLimits {
        self.limits
    }

    /// Where a channel puts its files.
    #[must_use]
    pub fn arriving(&self) -> PathBuf {
        self.root.join("arriving")
    }

    /// Takes a copy of the file `name` of `arriving/`, which stays: a message that is said again finds it. When this returns,
    /// the copy is on the disk. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`NotTaken`]; no copy is left.
    pub fn take(&self, name: &str) -> Result<SpooledFile, NotTaken> {
        let refused = |reason: String| NotTaken::Refused(reason);
        let most = self.limits.file_bytes;
        let too_large = || refused(format!("it is larger than {}, the most that is taken", show_size(most)));
        let source = self.open_arrived(name)?;
        if source.metadata()?.len() > most {
            return Err(too_large());
        }
        let Some(_room) = self.make_room(source.metadata()?.len())? else {
            return Err(refused(format!(
                "this host keeps {} of files for messages that are not answered yet, and there is no room for it",
                show_size(self.limits.spool_bytes)
            )));
        };
        let spool = random_name()?;
        let (temporary, path) = (self.inside().join(format!(".{spool}.tmp")), self.path(&spool));
        let taken = copy(source, &temporary, most).and_then(|copied| {
            fs::rename(&temporary, &path)?;
            File::open(self.inside())?.sync_all()?;
            Ok(copied)
        });
        match taken {
            Ok(Copied { bytes, .. }) if bytes > most => {
                self.forget(&spool);
                Err(too_large())
            }
            Ok(Copied { bytes: 0, .. }) => {
                self.forget(&spool);
                Err(refused("it is empty".to_owned()))
            }
            Ok(Copied { bytes, media_type }) => Ok(SpooledFile { spool, media_type: media_type.to_owned(), bytes }),
            Err(error) => {
                let _ = fs::remove_file(&temporary);
                self.forget(&spool);
                Err(error.into())
            }
        }
    }

    /// The message of a file of `arriving/` is settled: the file goes.
    pub fn done_with(&self, name: &str) {
        if is_plain(name) {
            let _ = fs::remove_file(self.arriving().join(name));
        }
    }

    /// Removes a file from the spool; that it is not there is fine.
    pub fn forget(&self, name: &SpoolName) {
        if let Err(error) = fs::remove_file(self.path(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %name, "a file that nobody needs cannot be removed from the spool");
        }
    }

    /// What lies in the spool.
    pub(super) fn names(&self) -> io::Result<Vec<SpoolName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.inside())? {
            names.extend(SpoolName::new(entry?.file_name().to_string_lossy()).ok());
        }
        Ok(names)
    }

    fn inside(&self) -> PathBuf {
        inside(&self.root)
    }

    fn path(&self, name: &SpoolName) -> PathBuf {
        self.inside().join(name.as_str())
    }

    /// Room for a file of so many bytes, until it is in `in/` or given up; `None` when there is none.
    fn make_room(&self, bytes: u64) -> io::Result<Option<Room<'_>>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if self.used()?.saturating_add(*coming).saturating_add(bytes) > self.limits.spool_bytes {
            return Ok(None);
        }
        *coming += bytes;
        Ok(Some(Room { coming: &self.coming, bytes }))
    }

    fn used(&self) -> io::Result<u64> {
        let sizes = fs::read_dir(self.inside())?.map(|entry| entry?.metadata().map(|metadata| metadata.len()));
        // One that goes meanwhile takes no room.
        Ok(sizes.filter_map(Result::ok).sum())
    }

    fn open_arrived(&self, name: &str) -> Result<File, NotTaken> {
        let refused = |reason: &str| NotTaken::Refused(format!("the channel names a file that {reason}"));
        if !is_plain(name) {
            return Err(refused("is no name of one file"));
        }
        // Without blocking, because opening a FIFO waits for its other end (fault F49).
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let opened =
            File::options().read(true).custom_flags(flags.bits().cast_signed()).open(self.arriving().join(name));
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refused("is not there")),
            Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(refused("is a link")),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Err(refused("is no regular file")),
            Err(error) => return Err(refused(&format!("cannot be opened ({error})"))),
        };
        if !file.metadata()?.is_file() {
            return Err(refused("is no regular file"));
        }
        Ok(file)
    }
}

struct Room<'a> {
    coming: &'a Mutex<u64>,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        *self.coming.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
    }
}

/// The folder of a spool in which files wait.
pub(super) fn inside(root: &Path) -> PathBuf {
    root.join("in")
}

struct Copied {
    bytes: u64,
    media_type: &'static str,
}

/// Copies up to a byte more than `most`, and syncs the copy.
fn copy(source: File, to: &Path, most: u64) -> io::Result<Copied> {
    let mut copy = File::options().read(true).write(true).create_new(true).mode(0o600).open(to)?;
    let bytes = io::copy(&mut source.take(most.saturating_add(1)), &mut copy)?;
    copy.sync_all()?;
    // Of the copy, which nobody changes any more.
    let mut beginning = vec![0; TELLING_BYTES];
    let read = copy.read_at(&mut beginning, 0)?;
    Ok(Copied { bytes, media_type: media_type(&beginning[..read]) })
}

fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains(['/', '\0'])
}

fn random_name() -> io::Result<SpoolName> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    SpoolName::new(format!("{:032x}", u128::from_le_bytes(bytes))).map_err(io::Error::other)
}
