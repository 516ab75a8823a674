//! Whether the mounts are what the host checked, see [`nanoclaw_core::protocol::mounts`].
//!
//! Looked at once, before the command exists: from then on nobody but the command can change what is mounted, and a mount
//! stays what it is whatever becomes of the path on the host.

use std::{ffi::OsStr, os::unix::fs::MetadataExt as _, path::Path};

use nanoclaw_core::protocol::mounts::{CHECKED_MOUNTS, CheckedMounts, FileId};

/// Compares every mount with what `checked`, the value of the variable, says of it.
///
/// # Errors
/// What is wrong with the first that differs, a sentence. A value that cannot be read is one too: the host had something to
/// check.
pub(super) fn compare(checked: Option<&OsStr>) -> Result<(), String> {
    let Some(checked) = checked else { return Ok(()) };
    let checked = checked.to_str().and_then(|text| CheckedMounts::parse(text).ok());
    let checked =
        checked.ok_or_else(|| format!("{CHECKED_MOUNTS} cannot be read, so the mounts cannot be compared"))?;
    checked.0.iter().try_for_each(|(target, expected)| compare_one(target, *expected))
}

fn compare_one(target: &str, expected: FileId) -> Result<(), String> {
    // Not following a link: what is mounted is never one.
    let found = std::fs::symlink_metadata(Path::new(target))
        .map_err(|error| format!("there should be a mount at {target}, and it cannot be looked at: {error}"))?;
    let found = FileId { device: found.dev(), inode: found.ino() };
    if found == expected {
        return Ok(());
    }
    let show = |id: FileId| format!("{}:{}", id.device, id.inode);
    Err(format!(
        "{target} is another file or folder ({}) than the one that the host checked ({}): it was replaced in between, or its \
         file system shows other numbers in containers; nothing was started",
        show(found),
        show(expected)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(path: &Path, inode_off_by: u64) -> String {
        let found = std::fs::symlink_metadata(path).unwrap();
        let id = FileId { device: found.dev(), inode: found.ino() + inode_off_by };
        CheckedMounts([(path.to_str().unwrap().to_owned(), id)].into()).text()
    }

    #[test]
    fn what_was_checked_passes_and_anything_else_is_told_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(compare(None), Ok(()));
        assert_eq!(compare(Some(checked(&path, 0).as_ref())), Ok(()));
        let told = compare(Some(checked(&path, 1).as_ref())).unwrap_err();
        assert!(told.contains(path.to_str().unwrap()) && told.contains("nothing was started"), "{told}");

        let before = checked(&path, 0);
        std::fs::rename(&path, folder.path().join("aside")).unwrap();
        assert!(compare(Some(before.as_ref())).is_err(), "it is gone");
        std::os::unix::fs::symlink(folder.path().join("aside"), &path).unwrap();
        assert!(compare(Some(before.as_ref())).is_err(), "a link to it is not it");
        for odd in ["", "nothing", "[]", "{\"/\":1}"] {
            assert!(compare(Some(odd.as_ref())).is_err(), "{odd:?}");
        }
    }
}
