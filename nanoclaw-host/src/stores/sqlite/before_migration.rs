//! The copy of a database that is kept before a newer version changes its schema, for the way back.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sqlx::SqliteConnection;

use super::failure::Problem;

/// Where the copy of `database` with this schema is: beside it, with the schema's number before its ending.
pub(super) fn place(database: &Path, schema: i64) -> PathBuf {
    let stem = database.file_stem().unwrap_or_default().to_string_lossy();
    database.with_file_name(format!("{stem}.schema-{schema}.db"))
}

/// Keeps a copy of the database that `connection` has open, whole and on the disk when this returns. One that is there already, of the
/// same schema, is replaced: it is older.
///
/// # Errors
/// When it cannot be written; nothing half-written is left under its name.
pub(super) async fn keep(connection: &mut SqliteConnection, database: &Path, schema: i64) -> Result<PathBuf, Problem> {
    let place = place(database, schema);
    let unfinished = place.with_extension("db.unfinished");
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    // SQLite writes into an empty file that is there, and leaves its mode alone.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    let name = unfinished.to_str().ok_or_else(|| io::Error::other("its path is not UTF-8"))?;
    if let Err(error) = sqlx::query("VACUUM INTO ?").bind(name).execute(connection).await {
        // What is left of it is of no use, and a full disk is full.
        let _ = std::fs::remove_file(&unfinished);
        return Err(error.into());
    }
    file.sync_all()?;
    std::fs::rename(&unfinished, &place)?;
    if let Some(folder) = place.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(place)
}
