//! Opens what a request points to, once, and says what that is.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nanoclaw_core::{
    mounts::{Found, Kind, Refusal},
    protocol::mounts::FileId,
};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2},
    io::Errno,
};

use super::table::MountTable;

/// Something of the host that is held open. Nothing can be read through it; as long as it lives no other file or folder has
/// its [`id`](Self::id).
#[derive(Debug)]
pub struct Opened {
    /// What it is and where.
    pub found: Found,
    /// The kernel's numbers for it.
    pub id: FileId,
    handle: Arc<OwnedFd>,
}

impl Opened {
    /// The handle by which it is held, for whoever mounts from it.
    #[must_use]
    pub fn handle(&self) -> Arc<OwnedFd> {
        self.handle.clone()
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// The path that is meant: absolute, with `~` for `user_home`. With no `user_home`, `~` is left as a part of the path.
///
/// # Errors
/// What is wrong with it.
pub fn expand(written: &str, user_home: Option<&Path>) -> Result<PathBuf, &'static str> {
    if written.contains(char::is_control) {
        return Err("it has a control character in it");
    }
    match written.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = user_home.unwrap_or_else(|| Path::new("/~"));
            Ok(home.join(rest.trim_start_matches('/')))
        }
        Some(_) => Err("of the paths with ~ only ~ itself and ~/... are understood"),
        None if written.starts_with('/') => Ok(PathBuf::from(written)),
        None => Err("it must begin with / or ~/"),
    }
}

/// Opens the path as it was written, following links: what is judged is where they lead.
///
/// # Errors
/// [`Refusal::BadPath`] and [`Refusal::NotThere`].
pub(super) fn open(written: &str, user_home: Option<&Path>, table: &MountTable) -> Result<Opened, Refusal> {
    if written.starts_with('~') && user_home.is_none() {
        return Err(Refusal::BadPath { why: "HOME is not set, so nobody knows what ~ is" });
    }
    let path = expand(written, user_home).map_err(|why| Refusal::BadPath { why })?;
    let not_there = |error: Errno| Refusal::NotThere { reason: std::io::Error::from(error).to_string() };
    let (handle, id, kind) = hold(&path, ResolveFlags::NO_MAGICLINKS).map_err(not_there)?;
    // The kernel's word for what is held, whatever happened to the links meanwhile.
    let real = rustix::fs::readlinkat(CWD, by_number(&handle), Vec::new()).map_err(not_there)?;
    let Ok(real) = real.into_string() else {
        return Err(Refusal::BadPath { why: "its real path is not UTF-8" });
    };
    if real.contains(char::is_control) {
        return Err(Refusal::BadPath { why: "its real path has a control character in it" });
    }
    let real = PathBuf::from(real);
    // That path must lead here without any link, now; it does not if what is held was removed or moved.
    match hold(&real, ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS) {
        Ok((_, again, _)) if again == id => {}
        _ => return Err(Refusal::NotThere { reason: "it changed while it was looked at".to_owned() }),
    }
    let mut places: Vec<_> = table.place_of(handle.as_fd(), &real).into_iter().collect();
    places.extend(table.below(&real));
    Ok(Opened { found: Found { path: real, kind, places }, id, handle: Arc::new(handle) })
}

fn hold(path: &Path, resolve: ResolveFlags) -> Result<(OwnedFd, FileId, Kind), Errno> {
    // A path handle: opening a FIFO or a device in its place does nothing to it.
    let handle = openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    let found = fstat(&handle)?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => Kind::Folder,
        FileType::RegularFile => Kind::File,
        _ => Kind::Other,
    };
    Ok((handle, FileId { device: found.st_dev, inode: found.st_ino }, kind))
}

/// The path by which this process reaches what it holds.
pub(super) fn by_number(handle: impl AsFd) -> PathBuf {
    use std::os::fd::AsRawFd as _;
    PathBuf::from(format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd()))
}
