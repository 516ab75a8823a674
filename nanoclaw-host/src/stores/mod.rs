//! Stores, and what can be told of one beyond what the orchestrator needs of it.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt},
    path::Path,
};

mod ledger;
pub mod sqlite;

pub use ledger::{Day, DayOfGroup, Ledger, OldRows, OldestWaiting, Writing};

/// Sees to it that there is a database file, and that nobody else can read it; SQLite gives its log and index the same mode.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let mode = file.metadata()?.permissions().mode();
    if mode & 0o077 != 0 {
        file.set_permissions(PermissionsExt::from_mode(mode & 0o700))?;
    }
    Ok(())
}
