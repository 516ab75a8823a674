//! The folder of a group's socket: the host's own, whoever uses the socket in it.

use std::{
    fs::DirBuilder,
    io,
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use super::GatewayError;

/// The folder can be entered, not listed, and changed by its owner alone.
const FOLDER_MODE: u32 = 0o711;

/// Makes the folder if need be, and makes sure that it is ours: in another user's folder the socket could be replaced by a
/// link, and the host would change whatever that points to.
pub(super) fn open(dir: &Path) -> Result<OwnedFd, GatewayError> {
    let failed = |source: io::Error| GatewayError::Folder { path: dir.to_owned(), source };
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(dir).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
    let owner = rustix::fs::fstat(&folder).map_err(|errno| failed(errno.into()))?.st_uid;
    if owner != rustix::process::geteuid().as_raw() {
        return Err(GatewayError::ForeignFolder { path: dir.to_owned(), owner });
    }
    // The umask may have taken away what the container's user needs.
    rustix::fs::fchmod(&folder, Mode::from_raw_mode(FOLDER_MODE)).map_err(|errno| failed(errno.into()))?;
    Ok(folder)
}
