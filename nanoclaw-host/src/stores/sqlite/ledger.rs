//! What the database can tell beyond the port: see [`Ledger`].

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use nanoclaw_core::{group::GroupFolder, run::RunEnding, store::StoreError, time::Timestamp};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};

use super::{SqliteStore, failure::Problem, groups, rows};
use crate::{
    metrics::Histogram,
    stores::{Day, DayOfGroup, Ledger, OldRows, OldestWaiting, Writing},
};

#[async_trait]
impl Ledger for SqliteStore {
    fn writing(&self) -> Writing {
        self.writer.writing()
    }

    fn commit_seconds(&self) -> &Histogram {
        self.writer.commit_seconds()
    }

    async fn try_writing(&self) -> Result<(), StoreError> {
        let mut write = self.begin("write").await?;
        let tried = sqlx::query(
            "INSERT INTO meta (key, value) VALUES ('tried_to_write_ms', $1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )
        .bind(Timestamp::now().as_ms().to_string())
        .execute(&mut *write.transaction)
        .await;
        write.finish(tried.map(drop).map_err(Problem::from)).await
    }

    async fn oldest_waiting(&self) -> Result<Vec<OldestWaiting>, StoreError> {
        self.told("read the outbox", oldest_waiting(&self.readers).await)
    }

    fn size_bytes(&self) -> u64 {
        let log = {
            let mut path = self.path.as_os_str().to_owned();
            path.push("-wal");
            path
        };
        let size = |path: &std::path::Path| std::fs::metadata(path).map_or(0, |found| found.len());
        size(&self.path) + size(log.as_ref())
    }

    async fn days(
        &self,
        group: Option<&GroupFolder>,
        days: &[Day],
        now: Timestamp,
    ) -> Result<Vec<DayOfGroup>, StoreError> {
        self.told("add up what was done", add_up(&self.readers, group, days, now).await)
    }

    async fn removed_groups(&self) -> Result<Vec<(GroupFolder, Timestamp)>, StoreError> {
        self.told("list removed groups", groups::removed(&self.readers).await)
    }

    async fn old_rows(&self, runs: Option<Timestamp>, firings: Option<Timestamp>) -> Result<OldRows, StoreError> {
        self.count_old_rows(runs, firings).await
    }

    async fn forget_old_rows(
        &self,
        runs: Option<Timestamp>,
        firings: Option<Timestamp>,
        most: u32,
    ) -> Result<u64, StoreError> {
        self.forget_rows(runs, firings, most).await
    }
}

/// Of each chat its first row that is to be sent. The condition has to be that of the index, word for word.
const OLDEST_WAITING: &str = "SELECT o.chat, o.posted_at_ms, o.last_error, w.waiting
     FROM (SELECT chat, MIN(id) AS first, COUNT(*) AS waiting FROM outbox
           WHERE state IN ('pending', 'sending') GROUP BY chat) w
     JOIN outbox o ON o.id = w.first";

async fn oldest_waiting(pool: &SqlitePool) -> Result<Vec<OldestWaiting>, Problem> {
    let found = sqlx::query(OLDEST_WAITING).fetch_all(pool).await?;
    found
        .iter()
        .map(|row| {
            Ok(OldestWaiting {
                chat: rows::id(row, "chat")?,
                since: rows::moment(row, "posted_at_ms")?,
                last_error: row.try_get("last_error")?,
                count: u64::try_from(row.try_get::<i64, _>("waiting")?).unwrap_or(0),
            })
        })
        .collect()
}

/// Runs that began from $1 on, and before $2; of group $3, or of all when that is NULL. With each, how many of its turns were
/// answered.
const RUNS_OF_DAYS: &str = "SELECT r.group_folder, r.started_at_ms AS at_ms, r.ended_at_ms, r.ending,
            (SELECT COUNT(*) FROM turns t WHERE t.group_folder = r.group_folder AND t.run_number = r.number
                                            AND t.state = 'answered') AS answered
     FROM runs r
     WHERE r.started_at_ms >= $1 AND r.started_at_ms < $2 AND ($3 IS NULL OR r.group_folder = $3)";
/// Messages of groups, in the same way.
const MESSAGES_OF_DAYS: &str = "SELECT g.folder AS group_folder, m.accepted_at_ms AS at_ms
     FROM messages m JOIN groups g ON g.chat = m.chat
     WHERE m.accepted_at_ms >= $1 AND m.accepted_at_ms < $2 AND ($3 IS NULL OR g.folder = $3)";
/// Due times of tasks that are over, in the same way.
const FIRINGS_OF_DAYS: &str = "SELECT t.group_folder, f.ended_at_ms AS at_ms, f.cost_micros
     FROM firings f JOIN tasks t ON t.id = f.task_id
     WHERE f.state IN ('done', 'failed')
       AND f.ended_at_ms >= $1 AND f.ended_at_ms < $2 AND ($3 IS NULL OR t.group_folder = $3)";

async fn add_up(
    pool: &SqlitePool,
    group: Option<&GroupFolder>,
    days: &[Day],
    now: Timestamp,
) -> Result<Vec<DayOfGroup>, Problem> {
    let mut sums = Sums { days, of: BTreeMap::new() };
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
    for query in [RUNS_OF_DAYS, MESSAGES_OF_DAYS, FIRINGS_OF_DAYS] {
        // Row by row: a month may have more of them than anybody wants in memory.
        let mut found = sqlx::query(query)
            .bind(first.from.as_ms())
            .bind(last.to.as_ms())
            .bind(group.map(GroupFolder::as_str))
            .fetch(pool);
        while let Some(row) = found.try_next().await? {
            let at = rows::moment(&row, "at_ms")?;
            let Some(sum) = sums.of(rows::id(&row, "group_folder")?, at) else { continue };
            match query {
                RUNS_OF_DAYS => add_run(sum, &row, at, now)?,
                MESSAGES_OF_DAYS => sum.messages += 1,
                _ => {
                    sum.firings += 1;
                    if let Some(cost) = row.try_get::<Option<i64>, _>("cost_micros")? {
                        sum.task_cost_micros = Some(sum.task_cost_micros.unwrap_or(0).saturating_add(cost));
                    }
                }
            }
        }
    }
    Ok(sums.of.into_values().collect())
}

fn add_run(sum: &mut DayOfGroup, row: &SqliteRow, began: Timestamp, now: Timestamp) -> Result<(), Problem> {
    let ended = rows::optional_moment(row, "ended_at_ms")?.unwrap_or(now);
    let ending: Option<String> = row.try_get("ending")?;
    sum.runs += 1;
    sum.failed += u64::from(ending.is_some_and(|word| !RunEnding::is_word_of_success(&word)));
    sum.container_ms += u64::try_from(ended.since(began).as_millis()).unwrap_or(u64::MAX);
    sum.answered += u64::try_from(row.try_get::<i64, _>("answered")?).unwrap_or(0);
    Ok(())
}

/// What was added up, by group and day.
struct Sums<'a> {
    days: &'a [Day],
    of: BTreeMap<(GroupFolder, usize), DayOfGroup>,
}

impl Sums<'_> {
    fn of(&mut self, group: GroupFolder, at: Timestamp) -> Option<&mut DayOfGroup> {
        let day = self.days.partition_point(|day| day.to <= at);
        if day >= self.days.len() {
            return None;
        }
        let new = DayOfGroup {
            group: group.clone(),
            day,
            runs: 0,
            failed: 0,
            container_ms: 0,
            answered: 0,
            messages: 0,
            firings: 0,
            task_cost_micros: None,
        };
        Some(self.of.entry((group, day)).or_insert(new))
    }
}
