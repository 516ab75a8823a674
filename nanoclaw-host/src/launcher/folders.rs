//! Gives folders to the user inside the container, where that is another than the host's (fault F36).
//!
//! This runs as root on trees in which an agent writes, perhaps at this moment. So nothing is done by path: every entry is
//! opened without following a link, looked at, and given away by the same handle. What has a second name may be somebody
//! else's file, and stays root's. Depth costs neither stack nor open files.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::OwnedFd,
    path::Path,
};

use nanoclaw_core::runtime::RunAs;
use rustix::{
    fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
};

use crate::held_folder::{names, open_folder};

/// How deep a tree is given away. What is deeper stays root's.
const DEEPEST: usize = 128;

/// How many entries right under the top are looked at before each start. A host makes about ten there; an agent can make
/// millions, and each is looked at before its next run.
const MOST_UNDER_TOP: usize = 20_000;

/// What a host adds to trees that it has given away: looked for by name where there are so many others that they could hide it.
const ADDED: [&CStr; 8] = [c"input", c"output", c"messages", c"tasks", c"answers", c"alive", c".claude", c"CLAUDE.md"];

/// Makes `user` the owner of everything under `tree` that root owns, if this process is root; links are given away
/// themselves, never what they point to. Files that belong to somebody else stay theirs, and so do files with several names,
/// devices and what is deeper than 128 folders. A link in the place of `tree` itself is refused.
///
/// A tree whose top has been given away is taken to be given away as a whole but for the entries right under it, because
/// those are what a host that is root adds later (a memory file, a mailbox's folder).
pub(super) fn hand_over(tree: &Path, user: RunAs) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() || user.uid == 0 {
        return Ok(());
    }
    let top = open_folder(CWD, tree)?;
    let first_time = give(&top, &rustix::fs::fstat(&top)?, user)?;
    let most = if first_time { usize::MAX } else { MOST_UNDER_TOP };
    let mut under_top = names(&top, most)?;
    if under_top.len() >= most {
        under_top.splice(..0, ADDED.map(CStr::to_owned));
    }
    for name in under_top {
        if let Some(Given::Folder { by_us }) = give_entry(&top, &name, user)?
            && (first_time || by_us)
        {
            hand_over_all(&top, name, user)?;
        }
    }
    Ok(())
}

/// The same for all that lies below the folder `name` of `top`.
fn hand_over_all(top: &OwnedFd, name: CString, user: RunAs) -> io::Result<()> {
    // Each as the names that lead to it. They are walked anew from the top, so that few files are open, and none through a
    // link that somebody has put there meanwhile.
    let mut folders = vec![vec![name]];
    while let Some(way) = folders.pop() {
        let Some(folder) = walk(top, &way)? else { continue };
        for name in names(&folder, usize::MAX)? {
            if let Some(Given::Folder { .. }) = give_entry(&folder, &name, user)?
                && way.len() < DEEPEST
            {
                folders.push([way.as_slice(), &[name]].concat());
            }
        }
    }
    Ok(())
}

/// What an entry is, and whether it was root's until now.
enum Given {
    Folder { by_us: bool },
    Other,
}

/// Gives one entry away, if it is root's. `None` when it is gone.
fn give_entry(folder: &OwnedFd, name: &CStr, user: RunAs) -> io::Result<Option<Given>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(entry) => entry,
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&entry)?;
    let by_us = give(&entry, &stat, user)?;
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Given::Folder { by_us },
        _ => Given::Other,
    }))
}

/// Whether it was root's and no longer is. `stat` is of `entry`, which is open, so that nothing comes between.
fn give(entry: &OwnedFd, stat: &Stat, user: RunAs) -> io::Result<bool> {
    let ours_to_give = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => true,
        // Who links somebody else's file into a tree that is given away must not get it by that.
        FileType::RegularFile | FileType::Symlink => stat.st_nlink == 1,
        _ => false,
    };
    if stat.st_uid != 0 || !ours_to_give {
        return Ok(false);
    }
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    rustix::fs::chownat(entry, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    Ok(true)
}

/// The folder to which these names lead; `None` when there is none any more.
fn walk(top: &OwnedFd, way: &[CString]) -> io::Result<Option<OwnedFd>> {
    let mut folder = None;
    for name in way {
        match open_folder(folder.as_ref().unwrap_or(top), &**name) {
            Ok(next) => folder = Some(next),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::{MetadataExt as _, lchown, symlink},
        path::PathBuf,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;

    const USER: RunAs = RunAs { uid: 1234, gid: 1234 };

    fn owner(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().uid()
    }

    /// A tree yet to be given away, and a place outside of it with a file of root's; `None` for an ordinary user, who can give
    /// nothing away.
    fn tree() -> Option<(tempfile::TempDir, PathBuf, PathBuf)> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (tree, outside) = (folder.path().join("group"), folder.path().join("outside"));
        std::fs::create_dir(&tree).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("shadow"), "root's own").unwrap();
        Some((folder, tree, outside))
    }

    #[test]
    fn f36_what_root_made_belongs_to_the_containers_user() {
        let Some((_folder, tree, outside)) = tree() else { return };
        std::fs::create_dir_all(tree.join("notes/deep")).unwrap();
        std::fs::write(tree.join("notes/deep/a.md"), "").unwrap();
        symlink(outside.join("shadow"), tree.join("link")).unwrap();
        hand_over(&tree, USER).unwrap();
        for path in ["", "notes", "notes/deep", "notes/deep/a.md", "link"] {
            assert_eq!(owner(&tree.join(path)), 1234, "{path:?}");
        }
        assert_eq!(owner(&outside.join("shadow")), 0, "a link's target stays");

        std::fs::write(tree.join("CLAUDE.md"), "").unwrap();
        hand_over(&tree, USER).unwrap();
        assert_eq!(owner(&tree.join("CLAUDE.md")), 1234);
    }

    #[test]
    fn a_file_of_roots_that_has_a_name_elsewhere_stays_roots() {
        let Some((_folder, tree, outside)) = tree() else { return };
        std::fs::create_dir(tree.join("notes")).unwrap();
        std::fs::hard_link(outside.join("shadow"), tree.join("mine")).unwrap();
        std::fs::hard_link(outside.join("shadow"), tree.join("notes/mine")).unwrap();
        hand_over(&tree, USER).unwrap();
        assert_eq!(owner(&outside.join("shadow")), 0);
        assert_eq!(owner(&tree.join("notes")), 1234);
        std::fs::hard_link(outside.join("shadow"), tree.join("again")).unwrap();
        hand_over(&tree, USER).unwrap();
        assert_eq!(owner(&outside.join("shadow")), 0);
    }

    #[test]
    fn a_link_in_the_trees_own_place_is_refused_and_what_is_no_file_is_left_alone() {
        let Some((folder, tree, outside)) = tree() else { return };
        symlink(&outside, folder.path().join("link")).unwrap();
        assert!(hand_over(&folder.path().join("link"), USER).is_err());
        assert_eq!(owner(&outside), 0);
        let fifo = tree.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, 0o600.into(), 0).unwrap();
        symlink(&outside, tree.join("notes")).unwrap();
        hand_over(&tree, USER).unwrap();
        assert_eq!((owner(&fifo), owner(&tree.join("notes")), owner(&outside.join("shadow"))), (0, 1234, 0));
    }

    #[test]
    fn a_tree_that_is_thousands_of_folders_deep_costs_neither_stack_nor_files() {
        let Some((_folder, tree, _)) = tree() else { return };
        let mut at = open_folder(CWD, &tree).unwrap();
        for _ in 0..2_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_folder(&at, "d").unwrap();
        }
        hand_over(&tree, USER).unwrap();
        assert_eq!(owner(&tree.join("d/d/d")), 1234);
        // Path by path it could not even be removed.
        crate::remove_tree::remove_tree(&tree).unwrap();
    }

    #[test]
    fn what_an_agent_swaps_while_its_tree_is_given_away_gains_it_nothing_outside() {
        let Some((_folder, tree, outside)) = tree() else { return };
        let done = AtomicBool::new(false);
        /// Ends what the other threads do, also when this one fails.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        for (name, target) in [("a", ""), ("b", ""), ("f", "shadow")] {
            symlink(outside.join(target), tree.join(format!("{name}-link"))).unwrap();
            if target.is_empty() {
                std::fs::create_dir(tree.join(name)).unwrap();
                std::fs::write(tree.join(name).join("shadow"), "bait").unwrap();
            } else {
                std::fs::write(tree.join(name), "bait").unwrap();
            }
        }
        std::thread::scope(|scope| {
            let (tree, outside, done) = (&tree, &outside, &done);
            let ends = Ends(done);
            // Folders and a file take turns with links to what is outside, under the same names.
            for name in ["a", "b", "f"] {
                scope.spawn(move || {
                    let (place, link) = (tree.join(name), tree.join(format!("{name}-link")));
                    for round in 0_u64.. {
                        if done.load(Ordering::Relaxed) {
                            break;
                        }
                        if round % 2 == 0 {
                            // As if root had made it just now. It is in its own place, since nobody else swaps it.
                            let _ = lchown(place.join("shadow"), Some(0), Some(0));
                            let _ = lchown(&place, Some(0), Some(0));
                        }
                        let exchange = rustix::fs::RenameFlags::EXCHANGE;
                        rustix::fs::renameat_with(CWD, &place, CWD, &link, exchange).unwrap();
                        std::thread::yield_now();
                    }
                });
            }
            for _ in 0..400 {
                // As a first time each, so that the walk goes deep.
                lchown(tree, Some(0), Some(0)).unwrap();
                // That something went away under the walk is no harm.
                let _ = hand_over(tree, USER);
                assert_eq!(owner(&outside.join("shadow")), 0);
                assert_eq!(owner(outside), 0);
            }
            drop(ends);
        });
        assert_eq!(std::fs::read_to_string(outside.join("shadow")).unwrap(), "root's own");
    }
}
