//! Looks into a database without writing a byte: for `nanoclaw doctor`, also while a host works with it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nanoclaw_core::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    store::StoreError,
    time::Timestamp,
};
use sqlx::SqliteConnection;
use tokio::time::timeout;

use super::{failure::Problem, open, rows};

/// What is in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The number of its newest migration; 0: none yet.
    pub schema: i64,
    /// What SQLite's `quick_check` found wrong, five things at most; `None`: it was not asked, or not done within its limit.
    pub wrong: Option<Vec<String>>,
    /// The installation's id, once there is one.
    pub install: Option<String>,
    /// The latest moment that is written down in it as past.
    pub latest: Option<Timestamp>,
    /// The registered groups.
    pub groups: Vec<GroupFolder>,
    /// The runs that are not over.
    pub open_runs: Vec<RunId>,
}

/// Looks into the database at `path`; checks its structure for no longer than `limit`, or not at all. `None`: there is none, or nothing
/// in it.
///
/// # Errors
/// As [`SqliteStore::open`](super::SqliteStore::open), and nothing is changed. Of one that is damaged [`is_damaged`] says so.
pub async fn inspect(path: &Path, limit: Option<Duration>) -> Result<Option<Inspected>, StoreError> {
    let looked = async {
        let Some(mut connection) = open::to_look(path).await? else { return Ok(None) };
        let mut looked = look(&mut connection, path).await?;
        if let (Some(inside), Some(limit)) = (&mut looked, limit) {
            // Last of all: what takes too long goes on in its thread, and nothing else can be asked there then.
            match timeout(limit, quick_check(&mut connection)).await {
                Ok(found) => inside.wrong = Some(found?),
                Err(_) => return Ok(looked),
            }
        }
        // Whatever it says, nothing was written.
        let _ = sqlx::Connection::close(connection).await;
        Ok(looked)
    };
    looked.await.map_err(|problem: Problem| problem.explain(ACTION, path))
}

const ACTION: &str = "look into the database";

/// Whether the database file itself is at fault, so that nothing but another one in its place helps.
#[must_use]
pub fn is_damaged(error: &StoreError) -> bool {
    let StoreError::Failed { reason, .. } = error else { return false };
    [super::failure::DAMAGED, super::failure::NO_DATABASE].iter().any(|words| reason.contains(words))
}

/// The file and the two that SQLite keeps beside it, whether they are there or not.
#[must_use]
pub fn files_of(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

async fn look(connection: &mut SqliteConnection, path: &Path) -> Result<Option<Inspected>, Problem> {
    open::look(connection, path).await?;
    let schema = open::schema_of(connection).await?;
    if schema == 0 {
        return Ok(None);
    }
    let wrong = None;
    if schema < open::newest_known() {
        // Of what an older version wrote only so much is known.
        return Ok(Some(Inspected {
            schema,
            wrong,
            install: None,
            latest: None,
            groups: Vec::new(),
            open_runs: Vec::new(),
        }));
    }
    let install = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'install_id'");
    let install = install.fetch_optional(&mut *connection).await?;
    let latest: Option<i64> = sqlx::query_scalar(LATEST).fetch_one(&mut *connection).await?;
    let folders: Vec<String> =
        sqlx::query_scalar("SELECT folder FROM groups ORDER BY place").fetch_all(&mut *connection).await?;
    let open = sqlx::query("SELECT group_folder, number FROM runs WHERE ended_at_ms IS NULL ORDER BY place");
    let open_runs = open.fetch_all(&mut *connection).await?;
    Ok(Some(Inspected {
        schema,
        wrong,
        install,
        latest: latest.map(Timestamp::from_ms),
        groups: folders.into_iter().map(GroupFolder::try_from).collect::<Result<_, _>>()?,
        open_runs: open_runs
            .iter()
            .map(|row| {
                Ok(RunId { group: rows::id(row, "group_folder")?, number: RunNumber(rows::number(row, "number")?) })
            })
            .collect::<Result<_, Problem>>()?,
    }))
}

/// By the last rows alone: a history may be long. What is said to be sent is the service's clock and not ours.
const LATEST: &str = "SELECT MAX(at) FROM (
        SELECT (SELECT accepted_at_ms FROM messages ORDER BY seq DESC LIMIT 1) AS at
        UNION ALL SELECT (SELECT posted_at_ms FROM outbox ORDER BY id DESC LIMIT 1)
        UNION ALL SELECT (SELECT started_at_ms FROM runs ORDER BY place DESC LIMIT 1)
        UNION ALL SELECT (SELECT added_at_ms FROM groups ORDER BY place DESC LIMIT 1))";

async fn quick_check(connection: &mut SqliteConnection) -> Result<Vec<String>, Problem> {
    // A pragma takes no parameters: what is bound is taken for the name of a table.
    let said = sqlx::query_scalar::<_, String>("PRAGMA quick_check(5)").fetch_all(connection).await?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}
