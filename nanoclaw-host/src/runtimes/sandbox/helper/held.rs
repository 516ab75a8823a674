//! Mounts whose sources the host opened, checked and holds: they are copied from the handle, so it does not matter what has
//! become of the path since.
//!
//! The kernel copies a mount only for who may change the mount namespace that it is in, and a handle is in the one in which it
//! was opened: the host's. Root may do so before it leaves that one. An ordinary user may not; but when a process gets a mount
//! namespace of its own, which is a copy of the one it was in, its current folder moves along. So a child goes to the folder by
//! its handle, gets a namespace, in which it may, copies the folder it stands in, and hands the copy back. A file cannot be
//! stood in; it is found again by the path that the kernel knows it by now, and compared.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
};

use rustix::{
    fs::{CWD, FileType, fstat},
    mount::{OpenTreeFlags, open_tree},
    process::{WaitOptions, fchdir, waitpid},
    thread::UnshareFlags,
};

use super::{
    At, handover,
    root::open_source,
    sys::{self, Forked},
};
use crate::runtimes::sandbox::plan::{Plan, Refusal};

/// How often a file is looked for whose path changes under the search.
const SEARCHES: usize = 64;

/// What the host holds of the plan's mounts, by their numbers.
pub(super) type Held = BTreeMap<usize, OwnedFd>;

/// Copies of what is held, private, hung nowhere, and without any attribute yet. To be made while this process is in the host's
/// mount namespace.
///
/// # Errors
/// [`Refusal::Mount`] about the first that cannot be copied.
pub(super) fn copies(plan: &Plan, held: &Held) -> Result<Held, Refusal> {
    let take = |source: &OwnedFd| if plan.user_namespace { copy_in_a_child(source) } else { copy(source) };
    held.iter().map(|(&number, source)| Ok((number, take(source).for_mount(&plan.mounts[number].source)?))).collect()
}

/// The path that leads to what is held, now.
///
/// # Errors
/// When none does: it was removed, or is moved about all the time.
pub(super) fn path_of(source: &OwnedFd) -> io::Result<PathBuf> {
    find(source).map(|(path, _)| path)
}

fn find(source: &OwnedFd) -> io::Result<(PathBuf, OwnedFd)> {
    let wanted = fstat(source)?;
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for _ in 0..SEARCHES {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", source.as_raw_fd()))?;
        match open_source(&path) {
            Ok((found, _)) => {
                let there = fstat(&found)?;
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino) {
                    return Ok((path, found));
                }
            }
            Err(error) => last = error,
        }
    }
    Err(io::Error::new(last.kind(), "it was removed since it was checked, or is being moved about"))
}

/// Copies the tree whose top is `source`, which is in this process's mount namespace.
fn copy(source: &OwnedFd) -> io::Result<OwnedFd> {
    private(open_tree(source, "", copying() | OpenTreeFlags::AT_EMPTY_PATH)?)
}

fn copying() -> OpenTreeFlags {
    OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE
}

/// Without this, what is hung into the copy would appear in the host's tree, and the other way round.
fn private(tree: OwnedFd) -> io::Result<OwnedFd> {
    sys::make_mounts_private(tree.as_fd())?;
    Ok(tree)
}

fn copy_in_a_child(source: &OwnedFd) -> io::Result<OwnedFd> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    match sys::fork()? {
        Forked::Child => {
            drop(ours);
            let given = copy_from_within(source).and_then(|tree| handover::send(&theirs, &[tree.as_fd()]));
            if let Err(error) = given {
                let _ = write!(theirs, " {error}");
            }
            std::process::exit(0)
        }
        Forked::Parent(child) => {
            drop(theirs);
            let tree = handover::receive(&ours).map(|mut given| given.pop());
            let mut reason = String::new();
            if matches!(tree, Ok(None)) {
                let _ = ours.read_to_string(&mut reason);
            }
            let _ = waitpid(Some(child), WaitOptions::empty());
            tree?.ok_or_else(|| match reason.as_str() {
                "" => io::Error::other("who was to copy it has ended"),
                reason => io::Error::other(reason.to_owned()),
            })
        }
    }
}

/// Enters a mount namespace of its own, from which there is no way back.
fn copy_from_within(source: &OwnedFd) -> io::Result<OwnedFd> {
    if FileType::from_raw_mode(fstat(source)?.st_mode) == FileType::Directory {
        fchdir(source)?;
        sys::unshare(UnshareFlags::NEWNS)?;
        private(open_tree(CWD, ".", copying())?)
    } else {
        sys::unshare(UnshareFlags::NEWNS)?;
        copy(&find(source)?.1)
    }
}
