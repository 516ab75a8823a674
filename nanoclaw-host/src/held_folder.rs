//! Folders that are held open and worked in by handle, for trees in which an agent writes: no link is followed, and nothing is
//! done by a path that could lead elsewhere a moment later.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Dir, Mode, OFlags},
    io::Errno,
    path::Arg,
};

/// Opens the folder `name` of `parent`.
///
/// # Errors
/// The system's; `LOOP` or `NOTDIR` when a link has that name.
pub(crate) fn open_folder(parent: impl AsFd, name: impl Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// The names that lie in `folder`, `most` of them at the most, in no order.
///
/// # Errors
/// The system's.
pub(crate) fn names(folder: &OwnedFd, most: usize) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    // Two more, because `.` and `..` are among them.
    for entry in Dir::read_from(folder)?.take(most.saturating_add(2)) {
        let name = entry?.file_name().to_owned();
        if !matches!(name.as_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}
