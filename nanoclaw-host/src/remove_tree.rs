//! Removes a folder with everything in it, whatever an agent has built there.
//!
//! The usual way descends folder by folder and keeps each open: ten thousand folders within each other take all files that
//! this process may open, and with them every other group's. Here each folder found is moved up under the top and emptied
//! there, so that two are open at any time. No link is followed.

use std::{ffi::CStr, io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{AtFlags, CWD, Mode},
    io::Errno,
};

use crate::held_folder::{names, open_folder};

/// Removes the folder at `tree` and everything in it. A link in its place is refused. That it is not there is fine.
///
/// # Errors
/// The system's, and then some of it is left.
pub(crate) fn remove_tree(tree: &Path) -> io::Result<()> {
    let top = match open_folder(CWD, tree) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0_u64;
    // Each round empties the folders that the last one found, into this one.
    loop {
        let mut folders = Vec::new();
        for name in names(&top, usize::MAX)? {
            if !unlink(&top, &name)? {
                folders.push(name);
            }
        }
        if folders.is_empty() {
            return Ok(rustix::fs::unlinkat(CWD, tree, AtFlags::REMOVEDIR)?);
        }
        for name in folders {
            empty_into(&top, &name, &mut moved)?;
        }
    }
}

/// Removes the files of `top`'s folder `name`, moves its folders into `top`, and removes it.
fn empty_into(top: &OwnedFd, name: &CStr, moved: &mut u64) -> io::Result<()> {
    let folder = match open_folder(top, name) {
        // Its mode keeps us out, and it is ours to change. Nothing but a folder is not unlinked before.
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(top, name, Mode::RWXU, AtFlags::empty())?;
            open_folder(top, name)?
        }
        other => other?,
    };
    let _ = rustix::fs::fchmod(&folder, Mode::RWXU);
    for entry in names(&folder, usize::MAX)? {
        if !unlink(&folder, &entry)? {
            // To move a folder its own entry `..` is written.
            let _ = rustix::fs::chmodat(&folder, &*entry, Mode::RWXU, AtFlags::empty());
            loop {
                *moved += 1;
                let place = format!(".moved-{moved}");
                let flags = rustix::fs::RenameFlags::NOREPLACE;
                match rustix::fs::renameat_with(&folder, &*entry, top, place, flags) {
                    Ok(()) => break,
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
    }
    Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Removes a file; `false` when it is a folder.
fn unlink(folder: &OwnedFd, name: &CStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_tree_is_removed_however_deep_it_is_and_whatever_its_modes_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("tree"), folder.path().join("outside"));
        std::fs::create_dir_all(tree.join("a/b")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        for name in ["link", "a/link", "a/b/link"] {
            symlink(&outside, tree.join(name)).unwrap();
        }
        std::fs::create_dir(tree.join(".moved-1")).unwrap();
        std::fs::write(tree.join(".moved-1/file"), "").unwrap();
        std::fs::create_dir_all(tree.join("shut/within")).unwrap();
        for name in ["shut/within", "shut"] {
            std::fs::set_permissions(tree.join(name), std::fs::Permissions::from_mode(0o000)).unwrap();
        }
        let mut at = open_folder(CWD, &tree).unwrap();
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_folder(&at, "d").unwrap();
        }
        drop(at);
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
        remove_tree(&tree).unwrap();
        symlink(&outside, &tree).unwrap();
        assert!(remove_tree(&tree).is_err());
        assert!(outside.join("kept").exists());
    }
}
