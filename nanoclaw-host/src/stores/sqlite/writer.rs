//! The one connection that writes, and the commit that writes share which come at the same time.
//!
//! Each commit is synced to the disk, and that is what writing costs. So a write that finds others waiting does not commit: it lets them add
//! theirs to the same transaction, and whoever of them gets its turn again first commits for all.
//!
//! ```text
//! turn of A   BEGIN  a…                            (B and C wait for their turns, A queues up behind them)
//! turn of B          SAVEPOINT b… RELEASE
//! turn of C          SAVEPOINT c… ROLLBACK TO      (C failed: it is told so, and has changed nothing)
//! turn of A   COMMIT                               (A and B are told that they are stored)
//! ```
//!
//! Who begins a transaction needs no savepoint: when that fails, nobody else has written in it yet. Each statement is a way to the thread
//! that SQLite runs on and back, so a write is made of few.
//!
//! Nobody waits for company: a write that is alone has its second turn at once. What the port promises holds for each write by
//! itself: durable when it returns `Ok`, without a trace when it returns `Err`. A later write of the same transaction sees
//! what an earlier one did, and stands or falls with it.

use std::{
    ops::{Deref, DerefMut},
    path::Path,
    sync::{
        Arc, Mutex as StdMutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nanoclaw_core::{store::StoreError, time::Timestamp};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::Instant,
};

use super::failure::Problem;
use crate::{
    metrics::histogram::{Histogram, SHORT},
    stores::Writing,
};

/// The most writes of one transaction, so that the first of them is not kept waiting for ever.
const MOST_TOGETHER: u64 = 64;

/// How much was written since the store was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Writes that succeeded: calls of the store's port.
    pub writes: u64,
    /// Commits that they shared.
    pub commits: u64,
}

/// Hands out turns at the connection, in the order in which they are asked for.
#[derive(Debug)]
pub(super) struct Writer {
    turns: Arc<Mutex<Desk>>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    writes: AtomicU64,
    commits: AtomicU64,
    failures: AtomicU64,
    commit_seconds: Histogram,
    last: StdMutex<Last>,
}

/// What became of what was written last.
#[derive(Debug, Default)]
struct Last {
    commit: Option<Timestamp>,
    /// Why it could not be written; `None` since something could.
    failure: Option<String>,
    /// When the commit began that is under way.
    committing: Option<Instant>,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            writes: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            commit_seconds: Histogram::new(SHORT),
            last: StdMutex::default(),
        }
    }
}

impl Counts {
    fn last(&self) -> std::sync::MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, reason: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.last().failure = Some(reason.to_owned());
    }
}

/// What the one whose turn it is has before it.
#[derive(Debug)]
struct Desk {
    path: Arc<Path>,
    options: SqliteConnectOptions,
    /// `None` after a failure that may have left it in any state: the next turn makes a new one.
    connection: Option<SqliteConnection>,
    /// The transaction that is open, with what was done in it; `None` when none is.
    open: Option<Arc<Together>>,
    /// The write that is in the middle; still there at the next turn when whoever wrote was dropped.
    middle: Option<Middle>,
    counts: Arc<Counts>,
}

/// How a write that is in the middle is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Middle {
    /// With its transaction: it began that.
    Whole,
    /// Back to its savepoint: others wrote before it.
    Savepoint,
}

/// The writes of one transaction.
#[derive(Debug, Default)]
struct Together {
    /// How many succeeded.
    writes: AtomicU64,
    /// How it ended for all of them: the reason why nothing of it is stored, if it is not.
    outcome: OnceLock<Result<(), String>>,
}

impl Writer {
    /// Writes on `connection`, which is replaced by one with the same `options` when it fails.
    pub(super) fn new(path: Arc<Path>, connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        let counts = Arc::<Counts>::default();
        let desk =
            Desk { path, options, connection: Some(connection), open: None, middle: None, counts: counts.clone() };
        Self { turns: Arc::new(Mutex::new(desk)), counts }
    }

    /// Waits for a turn. What is then done with the [`Write`] counts when it is [finished](Write::finish).
    pub(super) async fn begin(&self, action: &'static str) -> Result<Write, StoreError> {
        let mut desk = self.turns.clone().lock_owned().await;
        match desk.begin().await {
            Ok(together) => Ok(Write { transaction: Transaction(desk), turns: self.turns.clone(), together, action }),
            Err(problem) => {
                let reason = desk.give_up(problem).await;
                Err(StoreError::Failed { action, reason })
            }
        }
    }

    /// How much was written.
    pub(super) fn written(&self) -> Written {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Written { writes: read(&self.counts.writes), commits: read(&self.counts.commits) }
    }

    /// How writing goes.
    pub(super) fn writing(&self) -> Writing {
        let last = self.counts.last();
        Writing {
            written: self.written(),
            failures: self.counts.failures.load(Ordering::Relaxed),
            last_commit: last.commit,
            failing: last.failure.clone(),
            committing_for: last.committing.map(|since| since.elapsed()),
        }
    }

    /// How long commits take.
    pub(super) fn commit_seconds(&self) -> &Histogram {
        &self.counts.commit_seconds
    }

    /// Closes the connection, after what is open is committed; the store is not used any more.
    pub(super) async fn close(&self) {
        let mut desk = self.turns.lock().await;
        if desk.open.is_some() {
            desk.commit().await;
        }
        if let Some(connection) = desk.connection.take() {
            // Whatever it says, it is closed, and all that was promised is in the file or in its log.
            let _ = connection.close().await;
        }
    }
}

/// A write whose turn it is. Dropping it undoes what was done.
pub(super) struct Write {
    /// Where it is written.
    pub(super) transaction: Transaction,
    turns: Arc<Mutex<Desk>>,
    together: Arc<Together>,
    action: &'static str,
}

/// The connection while it is one's turn, in a transaction.
pub(super) struct Transaction(OwnedMutexGuard<Desk>);

impl Deref for Transaction {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        self.0.connection.as_ref().expect("a turn begins with a connection, and only its end takes it away")
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        self.0.connection.as_mut().expect("a turn begins with a connection, and only its end takes it away")
    }
}

impl Write {
    /// Ends the turn: undoes what was done when it failed in the middle, else returns when it is committed.
    pub(super) async fn finish<T>(self, done: Result<T, Problem>) -> Result<T, StoreError> {
        let Self { transaction: Transaction(mut desk), turns, together, action } = self;
        let failed = |reason: String| StoreError::Failed { action, reason };
        let value = match done {
            Ok(value) => value,
            Err(problem) => {
                let path = desk.path.clone();
                let is_the_disks = problem.is_the_disks();
                desk.undo().await;
                let error = problem.explain(action, &path);
                if is_the_disks {
                    desk.counts.failed(&error.to_string());
                }
                return Err(error);
            }
        };
        if let Err(problem) = desk.keep(&together).await {
            return Err(failed(desk.give_up(problem).await));
        }
        let is_full = together.writes.load(Ordering::Relaxed) >= MOST_TOGETHER;
        // Whoever waits goes first, and adds to the same transaction.
        let kept_turn = is_full.then_some(desk);
        let for_all = together.clone();
        // Goes on when nobody waits for it any more: what was written must not be left without a commit, nor a commit half done.
        let committing = tokio::spawn(async move {
            let mut desk = match kept_turn {
                Some(desk) => desk,
                None => turns.lock_owned().await,
            };
            if for_all.outcome.get().is_none() {
                desk.commit().await;
            }
        });
        if let Err(error) = committing.await {
            return Err(failed(format!("the commit was not seen to its end: {error}")));
        }
        match together.outcome.get() {
            Some(Ok(())) => Ok(value),
            Some(Err(reason)) => Err(failed(reason.clone())),
            None => Err(failed("the commit was not seen to its end".to_owned())),
        }
    }
}

impl Desk {
    /// Begins a write, in the transaction that is open or in a new one.
    async fn begin(&mut self) -> Result<Arc<Together>, Problem> {
        self.undo().await;
        if self.connection.is_none() {
            self.connection = Some(self.options.connect().await?);
        }
        if let Some(together) = self.open.clone() {
            self.middle = Some(Middle::Savepoint);
            self.execute("SAVEPOINT one_write").await?;
            return Ok(together);
        }
        self.middle = Some(Middle::Whole);
        // A plain BEGIN that reads first and writes later fails at once with "database is locked" when another writer came in
        // between, whatever the busy timeout.
        self.execute("BEGIN IMMEDIATE").await?;
        Ok(self.open.insert(Arc::default()).clone())
    }

    /// Keeps what was written, for the commit.
    async fn keep(&mut self, together: &Together) -> Result<(), Problem> {
        if self.middle == Some(Middle::Savepoint) {
            self.execute("RELEASE one_write").await?;
        }
        self.middle = None;
        together.writes.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Undoes the write that is in the middle, if one is, and leaves what others wrote before it.
    async fn undo(&mut self) {
        let undone = match self.middle.take() {
            None => return,
            Some(Middle::Whole) => self.execute("ROLLBACK").await.map(|()| self.open = None),
            Some(Middle::Savepoint) => match self.execute("ROLLBACK TO one_write").await {
                Ok(()) => self.execute("RELEASE one_write").await,
                Err(problem) => Err(problem),
            },
        };
        if let Err(problem) = undone {
            // SQLite undoes a whole transaction by itself after some failures (a full disk), and then refuses this.
            self.give_up(problem).await;
        }
    }

    /// Commits what is open, and tells everybody who wrote in it.
    async fn commit(&mut self) {
        self.undo().await;
        let Some(together) = self.open.clone() else { return };
        let began = Instant::now();
        self.counts.last().committing = Some(began);
        let committed = self.execute("COMMIT").await;
        self.counts.last().committing = None;
        match committed {
            Ok(()) => {
                self.open = None;
                self.counts.commit_seconds.observe(began.elapsed());
                {
                    let mut last = self.counts.last();
                    (last.commit, last.failure) = (Some(Timestamp::now()), None);
                }
                self.counts.writes.fetch_add(together.writes.load(Ordering::Relaxed), Ordering::Relaxed);
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
                let _ = together.outcome.set(Ok(()));
            }
            Err(problem) => {
                self.give_up(problem).await;
            }
        }
    }

    /// Nothing of the open transaction is stored: everybody who wrote in it is told why, and the connection is replaced, which
    /// undoes whatever is left of it.
    async fn give_up(&mut self, problem: Problem) -> String {
        let reason = match problem.explain("write", &self.path) {
            StoreError::Failed { reason, .. } => reason,
            other => other.to_string(),
        };
        self.counts.failed(&reason);
        self.middle = None;
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
        if let Some(together) = self.open.take() {
            let _ = together.outcome.set(Err(reason.clone()));
        }
        reason
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), Problem> {
        let Some(connection) = &mut self.connection else {
            return Err(Problem::Refused("the database's connection is gone".to_owned()));
        };
        sqlx::query(statement).execute(connection).await?;
        Ok(())
    }
}
