//! What has to be remembered of the linked account, in a database of its own: `store/auth/whatsapp.db`. Each write is on the disk before
//! it is answered, since WhatsApp's keys change with every message and a step that is forgotten cannot be taken again.
//!
//! The client library says what is kept and when (its traits are in `signal`, `app_sync`, `protocol`, `secrets` and `device`); nothing
//! here understands it. A commit is synced, which is what a write costs: writes that wait for the connection at the same time share one,
//! and what may be forgotten goes along with the next (`Store::write_later`). The file has a lock beside it, held while it is open: two processes with the same keys would ruin both.

mod app_sync;
mod device;
mod protocol;
mod secrets;
mod signal;
#[cfg(test)]
mod tests;

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};
use tokio::sync::oneshot;
use wacore::store::error::StoreError as LibraryError;

pub use self::device::{Account, Refused, peek};

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long the lock of a process that is about to end is waited for.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process uses it.
    #[error("another process uses {path} already{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// The database.
        path: PathBuf,
        /// The other process; `None` when it did not say.
        pid: Option<u32>,
    },
    /// The files could not be made or locked.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite says no.
    #[error("{path} cannot be used")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It has tables that this version does not know, or misses some.
    #[error("{path} is not of a form that this version knows")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: MigrateError,
    },
}

/// One statement with what is bound to it.
type Statement = sqlx::query::Query<'static, sqlx::Sqlite, SqliteArguments>;

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write").field("statements", &self.statements.len()).finish_non_exhaustive()
    }
}

type LibraryResult<T> = Result<T, LibraryError>;

fn statement(sql: &'static str) -> Statement {
    sqlx::query(sql)
}

/// The database, open and locked.
#[derive(Debug, Clone)]
pub struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    connection: tokio::sync::Mutex<SqliteConnection>,
    /// In the order in which they were asked for.
    waiting: Mutex<Vec<Write>>,
    /// How many transactions there were.
    commits: AtomicU64,
    lock: File,
}

/// Statements of which all are to be done, or none.
struct Write {
    statements: Vec<Statement>,
    /// How many rows they changed, when that is on the disk; `None`: nobody waits for it.
    done: Option<oneshot::Sender<Result<u64, Arc<sqlx::Error>>>>,
}

impl Store {
    /// Opens the database at `path`, and makes it and its folder when they are not there (0600, 0700).
    ///
    /// # Errors
    /// [`StoreError`]; `Held` when another process has it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let (here, runtime) = (path.to_owned(), tokio::runtime::Handle::current());
        // On a thread of its own, since migrations are no future that can be sent to another thread; and files may be slow.
        let opening = tokio::task::spawn_blocking(move || runtime.block_on(Self::open_here(&here)));
        let fault = |fault| StoreError::File { path: path.to_owned(), source: std::io::Error::other(fault) };
        opening.await.map_err(fault)?
    }

    async fn open_here(path: &Path) -> Result<Self, StoreError> {
        make_private(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
        let lock = lock(path)?;
        let database = |source| StoreError::Database { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(5))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(database)?;
        let migrated = MIGRATIONS.run(&mut connection).await;
        migrated.map_err(|source| StoreError::Form { path: path.to_owned(), source })?;
        let connection = tokio::sync::Mutex::new(connection);
        let (waiting, commits) = (Mutex::default(), AtomicU64::default());
        Ok(Self(Arc::new(Shared { path: path.to_owned(), connection, waiting, commits, lock })))
    }

    /// Does all of `statements`, or none; returns how many rows they changed. They are on the disk then.
    async fn write(&self, statements: Vec<Statement>) -> LibraryResult<u64> {
        if statements.is_empty() {
            return Ok(0);
        }
        let (done, ended) = oneshot::channel();
        self.0.waiting().push(Write { statements, done: Some(done) });
        self.settle().await?;
        let gone = |_| Arc::new(sqlx::Error::WorkerCrashed);
        ended.await.map_err(gone).flatten().map_err(|error| LibraryError::Database(Box::new(error)))
    }

    /// Has `statements` done with the next write, in the same transaction: for what costs nothing but some work when a crash forgets it.
    /// Who reads what they change [settles](Self::settle) it before.
    fn write_later(&self, statements: Vec<Statement>) {
        self.0.waiting().push(Write { statements, done: None });
    }

    /// Does what waits to be written. Who was before may have done it already.
    async fn settle(&self) -> LibraryResult<()> {
        self.apart(|shared| async move {
            let mut connection = shared.connection.lock().await;
            let writes = std::mem::take(&mut *shared.waiting());
            if !writes.is_empty() {
                shared.commits.fetch_add(1, Ordering::Relaxed);
                together(&mut connection, writes).await;
            }
            Ok(())
        })
        .await
    }

    /// The rows that a statement answers with.
    async fn rows(&self, statement: Statement) -> LibraryResult<Vec<SqliteRow>> {
        self.apart(|shared| async move { statement.fetch_all(&mut *shared.connection.lock().await).await }).await
    }

    /// The first value of the one row that a statement answers with, if there is one.
    async fn value<T>(&self, statement: Statement) -> LibraryResult<Option<T>>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.rows(statement).await?.first().map(|row| row.try_get(0).map_err(database)).transpose()
    }

    /// Does `work` whether or not whoever asked goes on to wait for it: one who pauses, with the connection in hand, would hold up
    /// all others.
    async fn apart<T, F>(&self, work: impl FnOnce(Arc<Shared>) -> F) -> LibraryResult<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
    {
        let done = tokio::spawn(work(self.0.clone())).await;
        done.unwrap_or_else(|fault| Err(sqlx::Error::Io(std::io::Error::other(fault)))).map_err(database)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Vec<Write>> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does all `writes` in one transaction, and tells those who wait how that ended: for all of them alike.
async fn together(connection: &mut SqliteConnection, writes: Vec<Write>) {
    let (statements, waiting): (Vec<_>, Vec<_>) =
        writes.into_iter().map(|write| (write.statements, write.done)).unzip();
    let written = async {
        let mut transaction = connection.begin().await?;
        let mut changed = Vec::with_capacity(statements.len());
        for statements in statements {
            let mut rows = 0;
            for statement in statements {
                rows += statement.execute(&mut *transaction).await?.rows_affected();
            }
            changed.push(rows);
        }
        transaction.commit().await?;
        Ok(changed)
    };
    let written: Result<Vec<u64>, Arc<sqlx::Error>> = written.await.map_err(Arc::new);
    for (place, done) in waiting.into_iter().enumerate() {
        let outcome = written.as_ref().map(|changed| changed[place]).map_err(Arc::clone);
        match done {
            // Whoever asked may be gone.
            Some(done) => drop(done.send(outcome)),
            None => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "what could wait is not written");
                }
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // So that nobody reads the id of a process that is gone. The file stays: deleting it would let two processes lock two files of
        // the same name.
        let _ = self.lock.set_len(0);
    }
}

fn make_private(path: &Path) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        keep_to_ourselves(&File::open(folder)?, 0o700)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    keep_to_ourselves(&file, 0o600)
}

/// Takes from others what they may do with `file`, if they may anything.
fn keep_to_ourselves(file: &File, mode: u32) -> std::io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The lock of the database at `path`. Not on the database itself, since closing a second descriptor of it would drop SQLite's own locks.
fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.with_extension("lock");
    let failed = |source| StoreError::File { path: lock_path.clone(), source };
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
    let mut lock = opened.map_err(failed)?;
    let give_up = Instant::now() + LEFT_OVER;
    loop {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let pid = holder(&mut lock);
        // Without an id, or with that of a process that is gone: its holder begins or ends just now.
        if pid.is_some_and(is_there) || Instant::now() >= give_up {
            return Err(StoreError::Held { path: path.to_owned(), pid });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(lock)
}

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The process that the lock names.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.rewind().and_then(|()| std::io::Read::by_ref(lock).take(32).read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

fn database(error: sqlx::Error) -> LibraryError {
    LibraryError::Database(Box::new(error))
}

/// A value of the library's as it is kept.
fn to_text(value: &impl serde::Serialize) -> LibraryResult<String> {
    serde_json::to_string(value).map_err(|error| LibraryError::Serialization(Box::new(error)))
}

/// A value as it was kept.
fn from_text<T: serde::de::DeserializeOwned>(text: &str) -> LibraryResult<T> {
    serde_json::from_str(text).map_err(|error| LibraryError::Serialization(Box::new(error)))
}

/// Seconds since 1970-01-01 UTC.
fn now() -> i64 {
    wacore::time::now_secs()
}
