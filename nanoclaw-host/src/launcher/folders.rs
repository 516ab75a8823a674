//! Gives folders to the user inside the container, where that is another than the host's (fault F36).

use std::{
    io,
    os::unix::fs::{MetadataExt as _, lchown},
    path::Path,
};

use nanoclaw_core::runtime::RunAs;

/// Makes `user` the owner of everything under `tree` that root owns, if this process is root; links are given away
/// themselves, never what they point to. Files that belong to somebody else stay theirs.
///
/// A tree whose top has been given away is taken to be given away as a whole but for the entries right under it, because
/// those are what a host that is root adds later (a memory file, a mailbox's folder).
pub(super) fn hand_over(tree: &Path, user: RunAs) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let first_time = give(tree, user)?;
    for entry in std::fs::read_dir(tree)? {
        let entry = entry?;
        let given = give(&entry.path(), user)?;
        if (first_time || given) && entry.file_type()?.is_dir() {
            hand_over_all(&entry.path(), user)?;
        }
    }
    Ok(())
}

fn hand_over_all(tree: &Path, user: RunAs) -> io::Result<()> {
    for entry in std::fs::read_dir(tree)? {
        let entry = entry?;
        give(&entry.path(), user)?;
        if entry.file_type()?.is_dir() {
            hand_over_all(&entry.path(), user)?;
        }
    }
    Ok(())
}

/// Whether it was root's and no longer is.
fn give(path: &Path, user: RunAs) -> io::Result<bool> {
    let metadata = std::fs::symlink_metadata(path)?;
    if metadata.uid() != 0 {
        return Ok(false);
    }
    lchown(path, Some(user.uid), Some(user.gid))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: RunAs = RunAs { uid: 1234, gid: 1234 };

    fn owner(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().uid()
    }

    #[test]
    fn f36_what_root_made_belongs_to_the_containers_user() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("group");
        std::fs::create_dir_all(tree.join("notes/deep")).unwrap();
        std::fs::write(tree.join("notes/deep/a.md"), "").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
        hand_over(&tree, USER).unwrap();
        for path in ["", "notes", "notes/deep", "notes/deep/a.md", "link"] {
            assert_eq!(owner(&tree.join(path)), 1234, "{path:?}");
        }
        assert_eq!(std::fs::metadata("/etc/passwd").unwrap().uid(), 0, "a link's target stays");

        std::fs::write(tree.join("CLAUDE.md"), "").unwrap();
        hand_over(&tree, USER).unwrap();
        assert_eq!(owner(&tree.join("CLAUDE.md")), 1234);
    }
}
