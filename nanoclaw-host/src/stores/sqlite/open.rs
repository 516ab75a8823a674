//! How a database file is opened: looked at first, then made or brought to the newest schema.

use std::{path::Path, time::Duration};

use nanoclaw_core::store::StoreError;
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{before_migration, failure::Problem};
use crate::stores::make_private;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Reads wait for each other only when more than this many happen at once; each costs a thread and its page cache.
const READERS: u32 = 4;
/// The most that a reading connection keeps of what it has read: 512 KiB, in SQLite's words.
const READER_CACHE: &str = "-512";

/// Opens `path`: the connection that writes, with what makes another one like it, and the pool of the readers.
pub(super) async fn open(path: &Path) -> Result<(SqliteConnection, SqliteConnectOptions, SqlitePool), Problem> {
    look_before_writing(path).await?;
    make_private(path)?;

    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
        .disable_statement_logging();
    let writing = options.clone().journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
    let mut writer = writing.connect().await?;
    migrate(&mut writer, path).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        // Neither ages nor idles: connections stay, and no timer wakes an idle host.
        .max_lifetime(None)
        .idle_timeout(None)
        .test_before_acquire(false)
        // Two megabytes each otherwise, once a host has read much at its start; the system keeps the file's pages anyway.
        .connect_lazy_with(options.read_only(true).pragma("cache_size", READER_CACHE));
    Ok((writer, writing, readers))
}

/// Refuses, without writing a byte, what is not ours or is newer than this program.
async fn look_before_writing(path: &Path) -> Result<(), Problem> {
    let Some(mut connection) = to_look(path).await? else { return Ok(()) };
    let looked = look(&mut connection, path).await;
    connection.close().await?;
    looked
}

/// A connection to the database at `path` that cannot write; `None` when there is none, or an empty file.
pub(super) async fn to_look(path: &Path) -> Result<Option<SqliteConnection>, Problem> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
        // Opening a FIFO would wait for ever.
        Ok(found) if !found.is_file() => {
            return Err(Problem::File(std::io::Error::other("it is not a regular file")));
        }
        Ok(found) if found.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    // Where there is no log, the file is all there is, and reading it alone leaves no log behind.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let file_alone = !Path::new(&log).exists();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(file_alone);
    Ok(Some(options.disable_statement_logging().connect().await?))
}

/// Refuses what is not ours or is newer than this program.
pub(super) async fn look(connection: &mut SqliteConnection, path: &Path) -> Result<(), Problem> {
    let tables: Vec<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'").fetch_all(&mut *connection).await?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    // The table of migrations comes into being before the others: a host that died there left it alone.
    let ours = has("_sqlx_migrations") && (has("meta") || tables.len() == 1);
    if tables.is_empty() {
        return Ok(());
    }
    if !ours {
        return Err(Problem::Refused(format!(
            "{} is the database of another program; move it away, or choose another home",
            path.display()
        )));
    }
    let found = schema_of(connection).await?;
    if found > newest_known() {
        return Err(newer(path, found));
    }
    Ok(())
}

/// The schema that this program works with: the number of its newest migration.
#[must_use]
pub fn newest_known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// The schema that a database has; 0: none yet.
pub(super) async fn schema_of(connection: &mut SqliteConnection) -> Result<i64, Problem> {
    let migrated = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations')";
    if !sqlx::query_scalar::<_, bool>(migrated).fetch_one(&mut *connection).await? {
        return Ok(0);
    }
    let newest = "SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations";
    Ok(sqlx::query_scalar(newest).fetch_one(connection).await?)
}

/// Brings the schema to the newest, after a copy of what an older version left was kept.
async fn migrate(writer: &mut SqliteConnection, path: &Path) -> Result<(), Problem> {
    let found = schema_of(writer).await?;
    if 0 < found && found < newest_known() {
        let copy = before_migration::keep(writer, path, found).await?;
        tracing::info!(
            schema = found,
            newest = newest_known(),
            copy = %copy.display(),
            "the database is of an older version: a copy was kept, and its schema is changed now"
        );
    }
    match MIGRATIONS.run(writer).await {
        Ok(()) => Ok(()),
        Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(error.into()),
        // A newer version's migration that was still in the log only when the file was looked at.
        Err(MigrateError::VersionMissing(found)) if found > newest_known() => Err(newer(path, found)),
        Err(error) => Err(Problem::Refused(format!(
            "the schema of {} is not one that this version made ({error}); restore a backup",
            path.display()
        ))),
    }
}

fn newer(path: &Path, found: i64) -> Problem {
    Problem::Answer(StoreError::Newer { path: path.display().to_string(), found, known: newest_known() })
}
