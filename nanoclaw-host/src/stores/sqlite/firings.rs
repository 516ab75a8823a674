//! Due times that were claimed.

use std::time::Duration;

use nanoclaw_core::{
    delivery::DeliveryKey,
    group::GroupFolder,
    run::{RunId, RunKind, RunNumber, TaskId},
    store::{NewRun, StoreError},
    tasks::{
        Claim, Firing, FiringEnd, FiringId, FiringState, FiringWord, MOST_KEPT, NewFiring, NewTask, Overlap, Task,
        TaskChange, TaskHealth, Tasks,
    },
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    SqliteStore,
    failure::Problem,
    outbox,
    rows::{self, Word},
    runs, tasks,
};

/// What a firing says that was skipped, and one that somebody asked for.
const STILL_AT_IT: &str = "an earlier time of the task was not done yet";
const BY_HAND: &str = "asked for by hand";

async fn claim(write: &mut SqliteConnection, claim: &Claim, at: Timestamp) -> Result<Option<Vec<Firing>>, Problem> {
    let claimed: Option<bool> = sqlx::query_scalar(
        "UPDATE tasks SET next_due_ms = $1 WHERE id = $2 AND status = 'active' AND next_due_ms = $3
         RETURNING EXISTS (SELECT 1 FROM firings WHERE task_id = $2 AND state IN ('waiting', 'running'))",
    )
    .bind(claim.next_due.map(Timestamp::as_ms))
    .bind(claim.task.as_str())
    .bind(claim.due.as_ms())
    .fetch_optional(&mut *write)
    .await?;
    let Some(has_open) = claimed else { return Ok(None) };
    let busy = claim.overlap == Overlap::Skip && has_open;
    let mut waiting = Vec::new();
    for new in &claim.firings {
        let new = match busy && new.state == FiringState::Waiting {
            true => NewFiring { state: FiringState::Skipped, remark: Some(STILL_AT_IT.to_owned()), ..new.clone() },
            false => new.clone(),
        };
        let fired = fire(write, &claim.task, &new, at).await?;
        waiting.extend(fired.filter(|firing| firing.state == FiringState::Waiting));
    }
    if claim.next_due.is_none() {
        tasks::complete(write, &claim.task).await?;
    }
    sqlx::query(
        "DELETE FROM firings WHERE task_id = $1 AND state NOT IN ('waiting', 'running')
             AND id <= (SELECT id FROM firings WHERE task_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2)",
    )
    .bind(claim.task.as_str())
    .bind(MOST_KEPT)
    .execute(write)
    .await?;
    Ok(Some(waiting))
}

/// Claims one; `None` when that time was claimed before.
async fn fire(
    write: &mut SqliteConnection,
    task: &TaskId,
    new: &NewFiring,
    at: Timestamp,
) -> Result<Option<Firing>, Problem> {
    let row = sqlx::query(
        "INSERT INTO firings (task_id, due_ms, state, not_before_ms, remark, ended_at_ms) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (task_id, due_ms) DO NOTHING RETURNING *",
    )
    .bind(task.as_str())
    .bind(new.due.as_ms())
    .bind(Word::word(new.state))
    .bind(at.as_ms())
    .bind(new.remark.as_deref())
    .bind((!new.state.is_open()).then_some(at.as_ms()))
    .fetch_optional(write)
    .await?;
    row.as_ref().map(stored).transpose()
}

async fn fire_now(
    write: &mut SqliteConnection,
    id: &TaskId,
    key: &DeliveryKey,
    at: Timestamp,
) -> Result<Option<Firing>, Problem> {
    let known = sqlx::query("SELECT * FROM firings WHERE key = $1").bind(key.as_str());
    if let Some(row) = known.fetch_optional(&mut *write).await? {
        return stored(&row).map(Some);
    }
    let known = sqlx::query("SELECT 1 FROM tasks WHERE id = $1 AND status != 'cancelled'").bind(id.as_str());
    if known.fetch_optional(&mut *write).await?.is_none() {
        return Ok(None);
    }
    let mut new = NewFiring { due: at, state: FiringState::Waiting, remark: Some(BY_HAND.to_owned()) };
    loop {
        if let Some(firing) = fire(write, id, &new, at).await? {
            let keyed = sqlx::query("UPDATE firings SET key = $1 WHERE id = $2").bind(key.as_str()).bind(firing.id.0);
            keyed.execute(write).await?;
            return Ok(Some(Firing { key: Some(key.clone()), ..firing }));
        }
        new.due = new.due.plus(Duration::from_millis(1));
    }
}

/// In one state, oldest first. The condition has to be that of the index.
pub(super) const IN_STATE: &str =
    "SELECT * FROM firings WHERE state IN ('waiting', 'running') AND state = $1 ORDER BY id";

async fn in_state(pool: &SqlitePool, state: FiringState) -> Result<Vec<Firing>, Problem> {
    sqlx::query(IN_STATE).bind(Word::word(state)).fetch_all(pool).await?.iter().map(stored).collect()
}

async fn bring_forward(write: &mut SqliteConnection, now: Timestamp) -> Result<(), Problem> {
    sqlx::query(
        "UPDATE firings SET not_before_ms = $1
         WHERE state IN ('waiting', 'running') AND state = 'waiting' AND not_before_ms > $1",
    )
    .bind(now.as_ms())
    .execute(write)
    .await?;
    Ok(())
}

async fn begin(write: &mut SqliteConnection, run: &NewRun) -> Result<Option<(Task, Firing)>, Problem> {
    let RunKind::Task(id) = &run.kind else { return Ok(None) };
    let ready: Option<i64> = sqlx::query_scalar(
        "SELECT f.id FROM firings f JOIN tasks t ON t.id = f.task_id
         WHERE f.task_id = $1 AND f.state = 'waiting' AND f.not_before_ms <= $2
               AND t.status != 'cancelled' AND t.group_folder = $3
               AND NOT EXISTS (SELECT 1 FROM firings o WHERE o.task_id = $1 AND o.state = 'running')
         ORDER BY f.id LIMIT 1",
    )
    .bind(id.as_str())
    .bind(run.at.as_ms())
    .bind(run.id.group.as_str())
    .fetch_optional(&mut *write)
    .await?;
    let Some(ready) = ready else { return Ok(None) };
    runs::open(write, run).await?;
    let row = sqlx::query(
        "UPDATE firings SET state = 'running', run_number = $1, tries = tries + 1, started_at_ms = COALESCE(started_at_ms, $2)
         WHERE id = $3 RETURNING *",
    )
    .bind(run.id.number.0)
    .bind(run.at.as_ms())
    .bind(ready)
    .fetch_one(&mut *write)
    .await?;
    let firing = stored(&row)?;
    Ok(tasks::task(write, id).await?.map(|task| (task, firing)))
}

/// The running one of run $2 of group $1.
const OF_RUN: &str = "SELECT f.* FROM firings f JOIN tasks t ON t.id = f.task_id
                      WHERE f.state = 'running' AND t.group_folder = $1 AND f.run_number = $2";

async fn of_run(pool: &SqlitePool, run: &RunId) -> Result<Option<(Task, Firing)>, Problem> {
    let row = sqlx::query(OF_RUN).bind(run.group.as_str()).bind(run.number.0).fetch_optional(pool).await?;
    let Some(firing) = row.as_ref().map(stored).transpose()? else { return Ok(None) };
    Ok(tasks::task(pool, &firing.task).await?.map(|task| (task, firing)))
}

/// A block of `run` says this.
pub(super) async fn said(write: &mut SqliteConnection, run: &RunId, word: &FiringWord) -> Result<(), Problem> {
    let row = sqlx::query(OF_RUN).bind(run.group.as_str()).bind(run.number.0).fetch_optional(&mut *write).await?;
    let Some(firing) = row.as_ref().map(stored).transpose()? else { return Ok(()) };
    let cost = match (firing.cost_micros, word.cost_micros) {
        (Some(before), Some(more)) => Some(before.saturating_add(more)),
        (before, more) => before.or(more),
    };
    sqlx::query(
        // What is remarked of earlier tries is over with the first word of this one.
        "UPDATE firings SET answered = 1, text = $1, cost_micros = $3,
                            remark = COALESCE($2, CASE WHEN answered = 1 OR tries <= 1 THEN remark END)
         WHERE id = $4",
    )
    .bind(word.after(firing.text))
    .bind(word.remark.as_deref())
    .bind(cost)
    .bind(firing.id.0)
    .execute(write)
    .await?;
    Ok(())
}

/// What waits of a task, and with `running` also what runs, comes to this end.
pub(super) async fn end_open(
    write: &mut SqliteConnection,
    task: &TaskId,
    running: bool,
    state: FiringState,
    remark: &str,
    at: Timestamp,
) -> Result<(), Problem> {
    sqlx::query(
        "UPDATE firings SET state = $1, remark = $2, ended_at_ms = $3
         WHERE task_id = $4 AND (state = 'waiting' OR (state = 'running' AND $5))",
    )
    .bind(Word::word(state))
    .bind(remark)
    .bind(at.as_ms())
    .bind(task.as_str())
    .bind(running)
    .execute(write)
    .await?;
    Ok(())
}

/// The task's run of a group that is at a firing comes to no good end: which task, and which run, which is not closed by this.
/// The condition has to be that of the index.
pub(super) async fn stop_running(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    reason: &str,
    at: Timestamp,
) -> Result<Option<(TaskId, RunId)>, Problem> {
    let row = sqlx::query(
        "UPDATE firings SET state = CASE answered WHEN 1 THEN 'done' ELSE 'cancelled' END,
                            remark = CASE answered WHEN 1 THEN remark ELSE $1 END, ended_at_ms = $2
         WHERE state = 'running' AND state IN ('waiting', 'running')
               AND task_id IN (SELECT t.id FROM tasks t WHERE t.group_folder = $3)
               AND run_number = (SELECT r.number FROM runs r WHERE r.group_folder = $3 AND r.ended_at_ms IS NULL)
         RETURNING *",
    )
    .bind(reason)
    .bind(at.as_ms())
    .bind(group.as_str())
    .fetch_optional(&mut *write)
    .await?;
    let Some(firing) = row.as_ref().map(stored).transpose()? else { return Ok(None) };
    let Some(number) = firing.run else { return Ok(None) };
    if firing.answered {
        tasks::note_health(write, &firing.task, TaskHealth::default(), None, at).await?;
    }
    tasks::complete(write, &firing.task).await?;
    Ok(Some((firing.task, RunId { group: group.clone(), number })))
}

async fn end(write: &mut SqliteConnection, end: &FiringEnd, at: Timestamp) -> Result<bool, Problem> {
    let row = sqlx::query(
        "UPDATE firings SET state = $1, not_before_ms = COALESCE($2, not_before_ms), faults = faults + $3,
                            remark = COALESCE($4, remark), ended_at_ms = $5
         WHERE id = $6 AND state = 'running' RETURNING task_id",
    )
    .bind(Word::word(end.state))
    .bind(end.not_before.map(Timestamp::as_ms))
    .bind(end.fault)
    .bind(end.remark.as_deref())
    .bind((!end.state.is_open()).then_some(at.as_ms()))
    .bind(end.firing.0)
    .fetch_optional(&mut *write)
    .await?;
    let Some(row) = row else { return Ok(false) };
    let task: TaskId = rows::id(&row, "task_id")?;
    tasks::note_health(write, &task, end.health, end.pause.as_deref(), at).await?;
    tasks::complete(write, &task).await?;
    if let Some(notice) = &end.notice {
        outbox::post(write, notice, at).await?;
    }
    Ok(true)
}

fn stored(row: &SqliteRow) -> Result<Firing, Problem> {
    Ok(Firing {
        id: FiringId(row.try_get("id")?),
        task: rows::id(row, "task_id")?,
        due: rows::moment(row, "due_ms")?,
        key: rows::optional_id(row, "key")?,
        state: rows::word(row, "state")?,
        not_before: rows::moment(row, "not_before_ms")?,
        tries: rows::number(row, "tries")?,
        faults: rows::number(row, "faults")?,
        run: row.try_get::<Option<u32>, _>("run_number")?.map(RunNumber),
        started_at: rows::optional_moment(row, "started_at_ms")?,
        ended_at: rows::optional_moment(row, "ended_at_ms")?,
        answered: row.try_get("answered")?,
        text: row.try_get("text")?,
        remark: row.try_get("remark")?,
        cost_micros: row.try_get("cost_micros")?,
    })
}

#[async_trait::async_trait]
impl Tasks for SqliteStore {
    async fn add(&self, task: &NewTask, at: Timestamp) -> Result<TaskId, StoreError> {
        let mut write = self.begin("add a task").await?;
        let done = tasks::add(&mut write.transaction, task, at).await;
        write.finish(done).await
    }

    async fn task(&self, id: &TaskId) -> Result<Option<Task>, StoreError> {
        self.told("read a task", tasks::task(&self.readers, id).await)
    }

    async fn list(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError> {
        self.told("list tasks", tasks::list(&self.readers, group, limit).await)
    }

    async fn standing(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, StoreError> {
        self.told("list tasks", tasks::standing(&self.readers, group, limit).await)
    }

    async fn change(&self, id: &TaskId, change: &TaskChange, at: Timestamp) -> Result<Option<Task>, StoreError> {
        let mut write = self.begin("change a task").await?;
        let done = tasks::change(&mut write.transaction, id, change, at).await;
        write.finish(done).await
    }

    async fn earliest_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.told("see when a task is due", tasks::earliest_due(&self.readers).await)
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Task>, StoreError> {
        let action = "see which tasks are due";
        loop {
            let (due, unreadable) = self.told(action, tasks::due(&self.readers, now, limit).await)?;
            if unreadable.is_empty() {
                return Ok(due);
            }
            for (task, why) in &unreadable {
                tracing::error!(%task, why, "a task that is due cannot be read; it rests");
            }
            let mut write = self.begin(action).await?;
            let done = tasks::set_unreadable_to_rest(&mut write.transaction, &unreadable).await;
            write.finish(done).await?;
        }
    }

    async fn claim(&self, claim: &Claim, at: Timestamp) -> Result<Option<Vec<Firing>>, StoreError> {
        let mut write = self.begin("claim a due time").await?;
        let done = self::claim(&mut write.transaction, claim, at).await;
        write.finish(done).await
    }

    async fn fire_now(&self, id: &TaskId, key: &DeliveryKey, at: Timestamp) -> Result<Option<Firing>, StoreError> {
        let mut write = self.begin("fire a task").await?;
        let done = fire_now(&mut write.transaction, id, key, at).await;
        write.finish(done).await
    }

    async fn waiting(&self) -> Result<Vec<Firing>, StoreError> {
        self.told("see which tasks wait", in_state(&self.readers, FiringState::Waiting).await)
    }

    async fn bring_forward(&self, now: Timestamp) -> Result<(), StoreError> {
        let mut write = SqliteStore::begin(self, "bring tasks forward").await?;
        let done = bring_forward(&mut write.transaction, now).await;
        write.finish(done).await
    }

    async fn has_waiting(&self, task: &TaskId) -> Result<bool, StoreError> {
        let waiting = sqlx::query("SELECT 1 FROM firings WHERE task_id = $1 AND state = 'waiting'")
            .bind(task.as_str())
            .fetch_optional(&self.readers)
            .await;
        self.told("see whether a task waits", waiting.map(|row| row.is_some()).map_err(Problem::from))
    }

    async fn running(&self) -> Result<Vec<Firing>, StoreError> {
        self.told("see which tasks run", in_state(&self.readers, FiringState::Running).await)
    }

    async fn begin(&self, run: &NewRun) -> Result<Option<(Task, Firing)>, StoreError> {
        let mut write = SqliteStore::begin(self, "begin a task").await?;
        let done = begin(&mut write.transaction, run).await;
        write.finish(done).await
    }

    async fn firing_of(&self, run: &RunId) -> Result<Option<(Task, Firing)>, StoreError> {
        self.told("see what a run is at", of_run(&self.readers, run).await)
    }

    async fn end(&self, end: &FiringEnd, at: Timestamp) -> Result<bool, StoreError> {
        let mut write = SqliteStore::begin(self, "end a task's run").await?;
        let done = self::end(&mut write.transaction, end, at).await;
        write.finish(done).await
    }

    async fn last_claimed(&self) -> Result<Option<Timestamp>, StoreError> {
        let found =
            sqlx::query("SELECT due_ms FROM firings ORDER BY id DESC LIMIT 1").fetch_optional(&self.readers).await;
        let found =
            found.map_err(Problem::from).and_then(|row| row.map(|row| rows::moment(&row, "due_ms")).transpose());
        self.told("see which due time was claimed last", found)
    }

    async fn firings(&self, task: &TaskId, limit: u32) -> Result<Vec<Firing>, StoreError> {
        let found = sqlx::query("SELECT * FROM firings WHERE task_id = $1 ORDER BY id DESC LIMIT $2")
            .bind(task.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await;
        let found = found.map_err(Problem::from).and_then(|rows| rows.iter().map(stored).collect());
        self.told("list a task's runs", found)
    }
}
