//! Whether a program is there, as the shell would find it.

use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt as _};

/// Whether one of the folders of `path`, a value of `PATH`, has a program of this name.
pub(crate) fn is_program_in(path: &OsStr, name: &str) -> bool {
    std::env::split_paths(path).any(|folder| {
        let found = fs::metadata(folder.join(name));
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    })
}
