//! Writing: a file appears whole, under its final name, and durably. Removing.

use std::{
    fs::File,
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
    path::Arg,
};

use super::{Folder, MailboxError, folder::is_temporary};
use crate::time::Timestamp;

/// Whether a file must still be there after a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    /// It and its name are on the disk when the write returns.
    Durable,
    /// It matters only as long as both sides live.
    Fleeting,
}

/// How many names are listed at a time when a folder is emptied.
const CLEAR_BATCH: usize = 4096;
/// How often it is listed, and how many names are looked at each time: somebody may go on filling it.
const CLEAR_ROUNDS: usize = 16;
const LOOKED_AT: usize = 16 * CLEAR_BATCH;

/// Under which `name` is written before it has its name.
fn temporary_name(name: &str) -> String {
    format!(".{name}.tmp")
}

impl Folder {
    /// Writes `bytes` as `name`: temporary name, fsync, rename, fsync of the folder. Replaces what has that name, be it a
    /// link (fault F48). The file is readable for everyone (0644), because a container's user may be another than the
    /// host's; the folder is what keeps others out.
    ///
    /// # Errors
    /// [`MailboxError::BadName`] for a name with a `/`, or one that a reader would take for a temporary name. Otherwise the
    /// system's; nothing has that name then that did not have it before.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), MailboxError> {
        self.write_file(name, bytes, Durability::Durable)
    }

    /// Like [`Folder::write`] without both fsyncs: whole, but not durable. For what means nothing after a power cut, such as
    /// a follow-up, whose container would be gone too.
    ///
    /// # Errors
    /// Those of [`Folder::write`].
    pub fn write_fleeting(&self, name: &str, bytes: &[u8]) -> Result<(), MailboxError> {
        self.write_file(name, bytes, Durability::Fleeting)
    }

    /// Writes `bytes` where readers pass over it, to be given the name `name` by [`Folder::publish`]. So what is in the file
    /// can be noted elsewhere between the two, and a crash between them leaves a trace. Not durable, as
    /// [`Folder::write_fleeting`].
    ///
    /// # Errors
    /// Those of [`Folder::write`]; nothing is staged then.
    pub fn stage(&self, name: &str, bytes: &[u8]) -> Result<(), MailboxError> {
        self.check_name(name)?;
        let temporary = temporary_name(name);
        self.write_temporary(&temporary, bytes, Durability::Fleeting).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&self.handle, &temporary, AtFlags::empty());
        })
    }

    /// Gives the staged file `name` its name; `false` when none is staged.
    ///
    /// # Errors
    /// Those of [`Folder::write`].
    pub fn publish(&self, name: &str) -> Result<bool, MailboxError> {
        self.check_name(name)?;
        match rustix::fs::renameat(&self.handle, temporary_name(name), &self.handle, name) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(self.error("give its name to", name, errno)),
        }
    }

    /// The names for which a file is staged, or was being written when its writer died; in no order.
    pub fn staged(&self) -> Result<Vec<String>, MailboxError> {
        let mut staged = Vec::new();
        self.each_name(LOOKED_AT, |name| {
            if let Ok(name) = name.to_str()
                && let Some(name) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".tmp"))
                && staged.len() < CLEAR_BATCH
            {
                staged.push(name.to_owned());
            }
        })?;
        Ok(staged)
    }

    /// Removes what is staged for `name`; that nothing is, is fine.
    pub fn unstage(&self, name: &str) -> Result<(), MailboxError> {
        self.remove(&temporary_name(name))
    }

    /// Removes `name`; that it is not there is fine. A folder that is not empty gets a name that readers pass over, so that
    /// it is not met again and again.
    pub fn remove(&self, name: &str) -> Result<(), MailboxError> {
        self.check_plain(name)?;
        self.remove_any(name)
    }

    /// Removes every name that is not temporary, and returns how many. For a folder to which nobody else writes just now.
    ///
    /// # Errors
    /// The system's, or when somebody fills it as fast as it is emptied.
    pub fn clear(&self) -> Result<usize, MailboxError> {
        let mut removed = 0;
        for _ in 0..CLEAR_ROUNDS {
            // Listing and removing take turns, because what a listing shows is undefined while names go.
            let mut names = Vec::new();
            self.each_name(LOOKED_AT, |name| {
                if names.len() < CLEAR_BATCH && !is_temporary(name.as_bytes()) {
                    names.push(name);
                }
            })?;
            if names.is_empty() {
                return Ok(removed);
            }
            removed += names.len();
            for name in names {
                self.remove_any(&*name)?;
            }
        }
        let endless = std::io::Error::other("somebody fills it meanwhile, or there are too many files");
        Err(MailboxError::io("empty the folder", &self.path, endless))
    }

    fn write_file(&self, name: &str, bytes: &[u8], durability: Durability) -> Result<(), MailboxError> {
        self.check_name(name)?;
        let temporary = temporary_name(name);
        let result = self.write_temporary(&temporary, bytes, durability).and_then(|()| {
            rustix::fs::renameat(&self.handle, &temporary, &self.handle, name)
                .map_err(|errno| self.error("give its name to", name, errno))
        });
        if let Err(error) = result {
            // A full disk is not helped by a leftover. What went wrong first is what is told.
            let _ = rustix::fs::unlinkat(&self.handle, &temporary, AtFlags::empty());
            return Err(error);
        }
        #[cfg(feature = "testing")]
        super::in_process::changed(&self.path);
        if durability == Durability::Durable {
            rustix::fs::fsync(&self.handle).map_err(|errno| MailboxError::io("sync the folder", &self.path, errno))?;
        }
        Ok(())
    }

    /// Refuses what is no name for a file that readers are to see.
    fn check_name(&self, name: &str) -> Result<(), MailboxError> {
        self.check_plain(name)?;
        if is_temporary(name.as_bytes()) {
            return Err(self.bad_name(name, "starts with . or ends with .tmp, as temporary names do"));
        }
        Ok(())
    }

    fn write_temporary(&self, name: &str, bytes: &[u8], durability: Durability) -> Result<(), MailboxError> {
        // A crash between creating and renaming leaves the name taken, and an agent can put anything there.
        self.remove_any(name)?;
        let mode = Mode::from_raw_mode(0o644);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle =
            rustix::fs::openat(&self.handle, name, flags, mode).map_err(|errno| self.error("create", name, errno))?;
        // Whatever the umask: the other side must be able to read it.
        rustix::fs::fchmod(&handle, mode).map_err(|errno| self.error("set the mode of", name, errno))?;
        let mut file = File::from(handle);
        let path = || self.path.join(name);
        file.write_all(bytes).map_err(|error| MailboxError::io("write", &path(), error))?;
        if durability == Durability::Durable {
            file.sync_all().map_err(|error| MailboxError::io("sync", &path(), error))?;
        }
        Ok(())
    }

    /// Removes what has this name, or gives it one under which nobody looks for it.
    pub(super) fn remove_any<Name: Arg + Copy>(&self, name: Name) -> Result<(), MailboxError> {
        let shown = || name.to_string_lossy().into_owned();
        let mut tried = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
        if let Err(Errno::ACCESS) = tried {
            self.make_ours();
            tried = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
        }
        match tried {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => self.remove_folder(name),
            Err(errno) => Err(self.error("remove", &shown(), errno)),
        }
    }

    fn remove_folder<Name: Arg + Copy>(&self, name: Name) -> Result<(), MailboxError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let shown = || name.to_string_lossy().into_owned();
        match rustix::fs::unlinkat(&self.handle, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(self.error("remove the folder", &shown(), errno)),
        }
        // It is not emptied: it can be as deep and as large as the disk. A name that an agent can foresee it could take.
        let aside = format!(".refused-{}-{}", Timestamp::now().as_ms(), COUNT.fetch_add(1, Ordering::Relaxed));
        match rustix::fs::renameat(&self.handle, name, &self.handle, aside) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(self.error("put aside the folder", &shown(), errno)),
        }
    }
}
