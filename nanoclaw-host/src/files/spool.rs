//! The spool: where the bytes of a file wait for as long as a message needs them: one that came, from the moment it is accepted
//! until it is done with; one that goes, from before it is in the outbox until it is sent or dropped.
//!
//! The folders of the spool are the host's (0700); a channel puts files into `arriving/` and names them. Of such a file nothing
//! is believed: not its name, which may not lead elsewhere, not its size, and not its type.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName, SpooledFile},
    group::GroupFolder,
    mailbox::{TELLING_BYTES, media_type},
    protocol::requests::MOST_FILE_BYTES,
};
use rustix::fs::OFlags;

use crate::{config::show_size, random::random};

/// How much may come with messages, and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// The most bytes of one file that comes.
    pub file_bytes: u64,
    /// The most files of one message that comes.
    pub per_message: usize,
    /// The most bytes of all files in the spool that came.
    pub spool_bytes: u64,
    /// The most bytes of all files in the spool that one group sends.
    pub out_bytes: u64,
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

/// Why no copy of a file is kept that an agent sends, as it follows "the file is not sent: ".
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The group's part of the spool is full.
    #[error(
        "there is no room for it: the files of this group that are not sent yet may have {} together; `nanoclaw outbox list` \
         shows the owner what waits or has failed", show_size(*.0)
    )]
    NoRoom(u64),
    /// It changed while it was copied.
    #[error("it {0} while it was copied")]
    Changed(&'static str),
    /// This host could not do it just now.
    #[error("this host could not make a copy of it: {0}")]
    Host(#[from] io::Error),
}

/// A part of the spool, with a folder and a bound of its own.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// What came with messages: `in/`.
    Came,
    /// What this group sends: `out/<folder>/`.
    Of(&'a GroupFolder),
}

/// The spool of a home.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    limits: FileLimits,
    /// The bytes of files that are on their way into `in/`, so that two do not take the same room.
    coming: Mutex<u64>,
    /// Copies that are to be sent of which the store may not know yet.
    held: Mutex<BTreeSet<SpoolName>>,
}

impl Spool {
    /// The spool at `root` (`store/files`), whose folders are made where they are missing. What a host that died left half
    /// taken is removed.
    ///
    /// # Errors
    /// When the folders cannot be made or read.
    pub fn open(root: &Path, limits: FileLimits) -> io::Result<Self> {
        let spool = Self { root: root.to_owned(), limits, coming: Mutex::default(), held: Mutex::default() };
        for folder in [spool.arriving(), spool.folder(Part::Came), spool.out()] {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let parts = spool.sending_groups()?;
        for part in parts.iter().map(Part::Of).chain([Part::Came]) {
            for entry in fs::read_dir(spool.folder(part))? {
                let entry = entry?;
                if SpoolName::new(entry.file_name().to_string_lossy()).is_err()
                    && let Err(error) = fs::remove_file(entry.path())
                {
                    tracing::warn!(%error, path = ?entry.path(), "what does not belong into the spool cannot be removed");
                }
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
        let copied = self.copy(&source, Part::Came, &spool, most)?;
        if copied.bytes == 0 || copied.bytes > most {
            self.forget(Part::Came, &spool);
            return Err(if copied.bytes == 0 { refused("it is empty".to_owned()) } else { too_large() });
        }
        Ok(copied)
    }

    /// Takes a copy of a file that `group` sends, and holds it until [`let_go`](Self::let_go). When this returns, the copy is on
    /// the disk. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`NotKept`]; no copy is left.
    pub(super) fn keep(&self, group: &GroupFolder, source: &File) -> Result<SpooledFile, NotKept> {
        let (part, most) = (Part::Of(group), self.limits.out_bytes);
        DirBuilder::new().recursive(true).mode(0o700).create(self.folder(part))?;
        // One file of a group is copied at a time, since one run at a time decides about its requests.
        if self.used(part)?.saturating_add(source.metadata()?.len()) > most {
            return Err(NotKept::NoRoom(most));
        }
        let spool = random_name()?;
        self.held().insert(spool.clone());
        let copied = self.copy(source, part, &spool, MOST_FILE_BYTES).map_err(NotKept::Host).and_then(|copied| {
            match copied.bytes {
                0 => Err(NotKept::Changed("became empty")),
                bytes if bytes > MOST_FILE_BYTES => Err(NotKept::Changed("grew larger than what can be sent")),
                _ => Ok(copied),
            }
        });
        copied.inspect_err(|_| {
            self.forget(part, &spool);
            self.let_go(&spool);
        })
    }

    /// The message that names a copy is stored, or will not be.
    pub(super) fn let_go(&self, name: &SpoolName) {
        self.held().remove(name);
    }

    /// Where the copy of a file is that is sent.
    #[must_use]
    pub fn path_of(&self, file: &OutgoingFile) -> PathBuf {
        self.folder(Part::Of(&file.group)).join(file.spooled.spool.as_str())
    }

    /// The message of a file of `arriving/` is settled: the file goes.
    pub fn done_with(&self, name: &str) {
        if is_plain(name) {
            let _ = fs::remove_file(self.arriving().join(name));
        }
    }

    /// Removes a file that came from the spool; that it is not there is fine.
    pub fn forget_what_came(&self, name: &SpoolName) {
        self.forget(Part::Came, name);
    }

    pub(super) fn forget(&self, part: Part<'_>, name: &SpoolName) {
        if let Err(error) = fs::remove_file(self.folder(part).join(name.as_str()))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %name, "a file that nobody needs cannot be removed from the spool");
        }
    }

    /// What of the spool came with messages.
    pub(super) fn names(&self) -> io::Result<Vec<SpoolName>> {
        self.names_of(Part::Came)
    }

    /// The copies that are to be sent, but for those of which the store may not know yet, with their groups.
    pub(super) fn not_held(&self) -> io::Result<Vec<(GroupFolder, SpoolName)>> {
        let mut names = Vec::new();
        for group in self.sending_groups()? {
            names.extend(self.names_of(Part::Of(&group))?.into_iter().map(|name| (group.clone(), name)));
        }
        // Only now: what is let go before it is looked for is known to the store.
        let held = self.held();
        names.retain(|(_, name)| !held.contains(name));
        Ok(names)
    }

    fn names_of(&self, part: Part<'_>) -> io::Result<Vec<SpoolName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.folder(part))? {
            names.extend(SpoolName::new(entry?.file_name().to_string_lossy()).ok());
        }
        Ok(names)
    }

    /// The groups that ever sent a file.
    fn sending_groups(&self) -> io::Result<Vec<GroupFolder>> {
        let mut groups = Vec::new();
        for entry in fs::read_dir(self.out())? {
            groups.extend(GroupFolder::new(entry?.file_name().to_string_lossy()).ok());
        }
        Ok(groups)
    }

    fn out(&self) -> PathBuf {
        self.root.join("out")
    }

    fn folder(&self, part: Part<'_>) -> PathBuf {
        match part {
            Part::Came => inside(&self.root),
            Part::Of(group) => self.out().join(group.as_str()),
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeSet<SpoolName>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies up to a byte more than `most` of a file, from where it stands; the copy is whole and on the disk when it has its
    /// name. Nothing is left when that fails.
    fn copy(&self, source: &File, part: Part<'_>, spool: &SpoolName, most: u64) -> io::Result<SpooledFile> {
        let folder = self.folder(part);
        let (temporary, path) = (folder.join(format!(".{spool}.tmp")), folder.join(spool.as_str()));
        let copied = copy(source, &temporary, most).and_then(|copied| {
            fs::rename(&temporary, &path)?;
            File::open(&folder)?.sync_all()?;
            Ok(copied)
        });
        let Copied { bytes, media_type } = copied.inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
            self.forget(part, spool);
        })?;
        Ok(SpooledFile { spool: spool.clone(), media_type: media_type.to_owned(), bytes })
    }

    /// Room for a file of so many bytes, until it is in `in/` or given up; `None` when there is none.
    fn make_room(&self, bytes: u64) -> io::Result<Option<Room<'_>>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if self.used(Part::Came)?.saturating_add(*coming).saturating_add(bytes) > self.limits.spool_bytes {
            return Ok(None);
        }
        *coming += bytes;
        Ok(Some(Room { coming: &self.coming, bytes }))
    }

    fn used(&self, part: Part<'_>) -> io::Result<u64> {
        let sizes = fs::read_dir(self.folder(part))?.map(|entry| entry?.metadata().map(|metadata| metadata.len()));
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

/// The folder of a spool in which files wait that came.
pub(super) fn inside(root: &Path) -> PathBuf {
    root.join("in")
}

struct Copied {
    bytes: u64,
    media_type: &'static str,
}

/// Copies up to a byte more than `most`, and syncs the copy.
fn copy(source: &File, to: &Path, most: u64) -> io::Result<Copied> {
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
    SpoolName::new(format!("{:032x}", random()?)).map_err(io::Error::other)
}
