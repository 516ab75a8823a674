//! Brings a file from the spool into a group's folder, in which an agent writes at this moment, perhaps with bad intent.
//!
//! Every step goes through the handle of a folder that was opened as one, so that no link leads anywhere. A file gets its name
//! by rename, when it is whole: what had that name before, a link for one, is replaced and never written through.

use std::{
    fs::File,
    io::{self, Read},
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt as _},
    path::Path,
};

use nanoclaw_core::attachment::{ATTACHMENTS_DIR, NewFile};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid},
    io::Errno,
};

use super::spool::inside;
use crate::held_folder::open_folder;

/// Puts `new` from the spool at `spool` into the group's folder `group`, owned by whoever owns that folder. The same file again
/// changes nothing. Blocks.
///
/// # Errors
/// Why it is not there, as it follows "not fetched: "; nothing half is left under its name.
pub fn bring(spool: &Path, group: &Path, new: &NewFile) -> Result<(), String> {
    let name = new.path.strip_prefix(ATTACHMENTS_DIR).and_then(|rest| rest.strip_prefix('/'));
    let name = name.filter(|name| !name.is_empty() && !name.contains('/')).ok_or("it has no name that can be used")?;
    let mut source = spooled(spool, new)?;
    let folder = attachments(group)?;
    if is_there(&folder, name, &mut source, new.file.bytes).unwrap_or(false) {
        return Ok(());
    }
    put(&folder, name, spool, new).map_err(|error| match error.raw_os_error() {
        Some(libc::EISDIR | libc::ENOTEMPTY | libc::EEXIST) => {
            format!("a folder stands where it was to go, {}", new.path)
        }
        _ => format!("it cannot be put into {ATTACHMENTS_DIR}/: {error}"),
    })
}

/// The file in the spool, whole.
fn spooled(spool: &Path, new: &NewFile) -> Result<File, String> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let path = inside(spool).join(new.file.spool.as_str());
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "it is not kept any more".to_owned(),
        _ => format!("it cannot be read: {error}"),
    })?;
    match file.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() == new.file.bytes => Ok(file),
        _ => Err("it is damaged".to_owned()),
    }
}

/// The folder of the group's folder into which files go, made if it is missing.
fn attachments(group: &Path) -> Result<OwnedFd, String> {
    let told = |errno: Errno| match errno {
        Errno::NOTDIR | Errno::LOOP => format!("something else stands in the place of the folder {ATTACHMENTS_DIR}/"),
        errno => format!("the folder {ATTACHMENTS_DIR}/ cannot be used: {}", io::Error::from(errno)),
    };
    let top = open_folder(CWD, group).map_err(told)?;
    match rustix::fs::mkdirat(&top, ATTACHMENTS_DIR, Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let folder = open_folder(&top, ATTACHMENTS_DIR).map_err(told)?;
            give(&top, &folder).map_err(told)?;
            Ok(folder)
        }
        Err(Errno::EXIST) => open_folder(&top, ATTACHMENTS_DIR).map_err(told),
        Err(errno) => Err(told(errno)),
    }
}

/// Whether `name` is a file of its own with exactly these bytes.
fn is_there(folder: &OwnedFd, name: &str, source: &mut File, bytes: u64) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let there = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    let metadata = there.metadata()?;
    if !metadata.is_file() || metadata.len() != bytes || std::os::unix::fs::MetadataExt::nlink(&metadata) != 1 {
        return Ok(false);
    }
    let (mut one, mut other) = (io::BufReader::new(source), io::BufReader::new(there.take(bytes)));
    let (mut ours, mut theirs) = ([0; 8192], [0; 8192]);
    loop {
        let read = one.read(&mut ours)?;
        if read == 0 {
            return Ok(true);
        }
        if other.read_exact(&mut theirs[..read]).is_err() || ours[..read] != theirs[..read] {
            return Ok(false);
        }
    }
}

fn put(folder: &OwnedFd, name: &str, spool: &Path, new: &NewFile) -> io::Result<()> {
    let temporary = format!(".{name}.tmp");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::openat(folder, &*temporary, flags, Mode::from_raw_mode(0o644));
    let made = match create() {
        // Left by a host that died, or put there by the agent: it is removed, never written to.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(folder, &*temporary, AtFlags::empty())?;
            create()?
        }
        made => made?,
    };
    let written = || -> io::Result<()> {
        let mut source = spooled(spool, new).map_err(io::Error::other)?;
        let mut file = File::from(made);
        io::copy(&mut source, &mut file)?;
        give(folder, &file)?;
        rustix::fs::renameat(folder, &*temporary, folder, name)?;
        Ok(())
    };
    written().inspect_err(|_| {
        let _ = rustix::fs::unlinkat(folder, &*temporary, AtFlags::empty());
    })
}

/// Makes the owner of `folder` the owner of `entry`, which we made, if this process is root.
fn give(folder: &OwnedFd, entry: impl std::os::fd::AsFd) -> Result<(), Errno> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = rustix::fs::fstat(folder)?;
    rustix::fs::fchown(entry, Some(Uid::from_raw(owner.st_uid)), Some(Gid::from_raw(owner.st_gid)))
}
