//! How much room there is on a disk.

use std::path::Path;

use super::facts::Disk;

/// How much room there is where `folder` is. Blocking: a disk that is gone may never answer.
///
/// # Errors
/// What the system said, with the folder.
pub(crate) fn room(folder: &Path) -> Result<Disk, String> {
    let found = rustix::fs::statvfs(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(Disk {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        total_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        free_files: (found.f_files > 0).then_some(found.f_favail),
    })
}
