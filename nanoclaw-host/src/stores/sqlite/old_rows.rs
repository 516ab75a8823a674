//! Records that are old enough to be forgotten: of runs that are over, and of tasks' due times.
//!
//! Of each folder the newest run stays, since it has the number after which the next is counted, and of each task the newest
//! due time. Runs that something still names stay too: a due time that is not done, or messages that were set aside and may be tried
//! again. Messages are never forgotten, nor what was sent.

use nanoclaw_core::{store::StoreError, time::Timestamp};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{SqliteStore, failure::Problem};
use crate::stores::OldRows;

/// Runs that ended before $1 and are not needed. `NULL`: none did.
const OLD_RUNS: &str = "SELECT r.place, r.group_folder, r.number, LENGTH(COALESCE(r.detail, '')) AS bytes FROM runs r
     WHERE r.ended_at_ms < $1
       AND r.number < (SELECT MAX(n.number) FROM runs n WHERE n.group_folder = r.group_folder)
       AND NOT EXISTS (SELECT 1 FROM set_aside s WHERE s.state = 'kept'
                       AND s.group_folder = r.group_folder AND s.run_number = r.number)
       AND NOT EXISTS (SELECT 1 FROM firings f JOIN tasks t ON t.id = f.task_id
                       WHERE f.state IN ('waiting', 'running')
                         AND t.group_folder = r.group_folder AND f.run_number = r.number)";

/// Due times that were done before $1 and are not the last of their task.
const OLD_FIRINGS: &str =
    "SELECT f.id, LENGTH(COALESCE(f.text, '')) + LENGTH(COALESCE(f.remark, '')) AS bytes FROM firings f
     WHERE f.state NOT IN ('waiting', 'running') AND f.ended_at_ms < $1
       AND f.id < (SELECT MAX(n.id) FROM firings n WHERE n.task_id = f.task_id)";

/// About how much the rest of a run's row takes, with a turn and a block.
const RUN_BYTES: u64 = 300;
/// About how much the rest of a due time's row takes.
const FIRING_BYTES: u64 = 100;

async fn count(pool: &SqlitePool, runs: Option<Timestamp>, firings: Option<Timestamp>) -> Result<OldRows, Problem> {
    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
    let of_runs =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM ({OLD_RUNS})")))
            .bind(runs.map(Timestamp::as_ms))
            .fetch_one(pool)
            .await?;
    let of_firings =
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM ({OLD_FIRINGS})")))
            .bind(firings.map(Timestamp::as_ms))
            .fetch_one(pool)
            .await?;
    let (runs, firings) = (whole(of_runs.try_get(0)?), whole(of_firings.try_get(0)?));
    Ok(OldRows {
        runs,
        runs_bytes: whole(of_runs.try_get(1)?) + runs * RUN_BYTES,
        firings,
        firings_bytes: whole(of_firings.try_get(1)?) + firings * FIRING_BYTES,
    })
}

async fn forget(
    write: &mut SqliteConnection,
    runs: Option<Timestamp>,
    firings: Option<Timestamp>,
    most: u32,
) -> Result<u64, Problem> {
    let mut forgotten = 0;
    let old = sqlx::query(sqlx::AssertSqlSafe(format!("{OLD_RUNS} ORDER BY r.place LIMIT $2")))
        .bind(runs.map(Timestamp::as_ms))
        .bind(most)
        .fetch_all(&mut *write)
        .await?;
    for run in old {
        let (group, number): (String, i64) = (run.try_get("group_folder")?, run.try_get("number")?);
        for statement in [
            "DELETE FROM blocks WHERE group_folder = $1 AND run_number = $2",
            "DELETE FROM turns WHERE group_folder = $1 AND run_number = $2",
            "DELETE FROM runs WHERE group_folder = $1 AND number = $2",
        ] {
            sqlx::query(statement).bind(&group).bind(number).execute(&mut *write).await?;
        }
        forgotten += 1;
    }
    let statement = format!("DELETE FROM firings WHERE id IN (SELECT id FROM ({OLD_FIRINGS} ORDER BY f.id LIMIT $2))");
    let done = sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(firings.map(Timestamp::as_ms))
        .bind(most)
        .execute(write)
        .await?;
    Ok(forgotten + done.rows_affected())
}

impl SqliteStore {
    pub(super) async fn count_old_rows(
        &self,
        runs: Option<Timestamp>,
        firings: Option<Timestamp>,
    ) -> Result<OldRows, StoreError> {
        self.told("count old records", count(&self.readers, runs, firings).await)
    }

    pub(super) async fn forget_rows(
        &self,
        runs: Option<Timestamp>,
        firings: Option<Timestamp>,
        most: u32,
    ) -> Result<u64, StoreError> {
        let mut write = self.begin("forget old records").await?;
        let done = forget(&mut write.transaction, runs, firings, most).await;
        write.finish(done).await
    }
}
