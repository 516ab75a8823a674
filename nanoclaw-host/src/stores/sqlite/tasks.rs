//! What is scheduled.

use jiff::tz::TimeZone;
use nanoclaw_core::{
    group::GroupFolder,
    run::TaskId,
    schedule::Schedule,
    tasks::{CatchUp, FiringState, NewTask, Task, TaskChange, TaskHealth, TaskStatus, TaskTerms, TaskUpdate},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqliteExecutor, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    firings,
    rows::{self, Word},
};

pub(super) async fn add(write: &mut SqliteConnection, new: &NewTask, at: Timestamp) -> Result<TaskId, Problem> {
    let zone = name_of(&new.zone)?;
    let NewTask { key, group, created_by, prompt, schedule, first_due, terms, script, .. } = new;
    sqlx::query(
        "INSERT INTO tasks (id, key, group_folder, created_by, prompt, script, kind, value, zone, anchor_ms, context, catch_up,
                            overlap, silent, status, next_due_ms, created_at_ms)
         VALUES ('task-' || (SELECT COALESCE(MAX(place), 0) + 1 FROM tasks),
                 $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, 'active', $9, $14)
         ON CONFLICT (key) DO NOTHING",
    )
    .bind(key.as_str())
    .bind(group.as_str())
    .bind(created_by.as_str())
    .bind(prompt)
    .bind(script)
    .bind(schedule.kind())
    .bind(schedule.value())
    .bind(zone)
    .bind(first_due.as_ms())
    .bind(Word::word(terms.context))
    .bind(Word::word(terms.catch_up))
    .bind(Word::word(terms.overlap))
    .bind(terms.silent)
    .bind(at.as_ms())
    .execute(&mut *write)
    .await?;
    let row = sqlx::query("SELECT id FROM tasks WHERE key = $1").bind(key.as_str()).fetch_one(write).await?;
    rows::id(&row, "id")
}

fn name_of(zone: &TimeZone) -> Result<&str, Problem> {
    let reason = "the zone has no name by which it could be kept; give time.zone in nanoclaw.toml one, such as \"Europe/Berlin\"";
    zone.iana_name().ok_or_else(|| Problem::Refused(reason.to_owned()))
}

/// One task, whatever its status.
pub(super) async fn task(database: impl SqliteExecutor<'_>, id: &TaskId) -> Result<Option<Task>, Problem> {
    let row = sqlx::query("SELECT * FROM tasks WHERE id = $1").bind(id.as_str()).fetch_optional(database).await?;
    row.as_ref().map(stored).transpose()
}

pub(super) async fn list(pool: &SqlitePool, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, Problem> {
    let found = match group {
        Some(group) => {
            sqlx::query("SELECT * FROM tasks WHERE group_folder = $1 AND status != 'cancelled' ORDER BY place LIMIT $2")
                .bind(group.as_str())
                .bind(i64::from(limit))
        }
        None => sqlx::query("SELECT * FROM tasks WHERE status != 'cancelled' ORDER BY place LIMIT $1")
            .bind(i64::from(limit)),
    };
    found.fetch_all(pool).await?.iter().map(stored).collect()
}

pub(super) async fn standing(pool: &SqlitePool, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<Task>, Problem> {
    let found = match group {
        Some(group) => sqlx::query(
            "SELECT * FROM tasks WHERE group_folder = $1 AND status IN ('active', 'paused') ORDER BY place LIMIT $2",
        )
        .bind(group.as_str())
        .bind(i64::from(limit)),
        None => sqlx::query("SELECT * FROM tasks WHERE status IN ('active', 'paused') ORDER BY place LIMIT $1")
            .bind(i64::from(limit)),
    };
    // One that cannot be read is met when it is due, and hides no others here.
    let readable = |task: &Result<Task, Problem>| !matches!(task, Err(Problem::Refused(_)));
    found.fetch_all(pool).await?.iter().map(stored).filter(readable).collect()
}

/// The conditions have to be those of the index.
pub(super) const EARLIEST_DUE: &str =
    "SELECT MIN(next_due_ms) FROM tasks WHERE status = 'active' AND next_due_ms IS NOT NULL";

pub(super) async fn earliest_due(pool: &SqlitePool) -> Result<Option<Timestamp>, Problem> {
    let earliest: Option<i64> = sqlx::query_scalar(EARLIEST_DUE).fetch_one(pool).await?;
    Ok(earliest.map(Timestamp::from_ms))
}

/// By $1, at most $2.
pub(super) const DUE: &str =
    "SELECT * FROM tasks WHERE status = 'active' AND next_due_ms IS NOT NULL AND next_due_ms <= $1
                              ORDER BY next_due_ms LIMIT $2";

/// What is due, and why the rest of it cannot be read.
pub(super) async fn due(
    pool: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Result<(Vec<Task>, Vec<(TaskId, String)>), Problem> {
    let found = sqlx::query(DUE).bind(now.as_ms()).bind(i64::from(limit)).fetch_all(pool).await?;
    let (mut tasks, mut unreadable) = (Vec::new(), Vec::new());
    for row in &found {
        match stored(row) {
            Ok(task) => tasks.push(task),
            Err(Problem::Refused(why)) => unreadable.push((rows::id(row, "id")?, why)),
            Err(problem) => return Err(problem),
        }
    }
    Ok((tasks, unreadable))
}

/// Puts to rest what cannot be read, so that it is not met again and again (fault F57).
pub(super) async fn set_unreadable_to_rest(
    write: &mut SqliteConnection,
    unreadable: &[(TaskId, String)],
) -> Result<(), Problem> {
    for (id, why) in unreadable {
        sqlx::query("UPDATE tasks SET status = 'paused', paused_why = $1 WHERE id = $2 AND status = 'active'")
            .bind(format!("what is kept of it cannot be read: {why}"))
            .bind(id.as_str())
            .execute(&mut *write)
            .await?;
    }
    Ok(())
}

pub(super) async fn change(
    write: &mut SqliteConnection,
    id: &TaskId,
    change: &TaskChange,
    at: Timestamp,
) -> Result<Option<Task>, Problem> {
    let status: Option<String> = sqlx::query_scalar("SELECT status FROM tasks WHERE id = $1 AND status != 'cancelled'")
        .bind(id.as_str())
        .fetch_optional(&mut *write)
        .await?;
    let Some(status) = status else { return Ok(None) };
    match change {
        TaskChange::Pause { why } => {
            firings::end_open(write, id, false, FiringState::Skipped, "the task was paused", at).await?;
            sqlx::query("UPDATE tasks SET status = 'paused', paused_why = $1 WHERE id = $2")
                .bind(why.as_deref())
                .bind(id.as_str())
                .execute(&mut *write)
                .await?;
        }
        TaskChange::Resume { next_due } => {
            sqlx::query(
                "UPDATE tasks SET status = 'active', paused_why = NULL, next_due_ms = $1, failures = 0, wrong_since_ms = NULL
                 WHERE id = $2",
            )
            .bind(next_due.as_ms())
            .bind(id.as_str())
            .execute(&mut *write)
            .await?;
        }
        TaskChange::Cancel => {
            firings::end_open(write, id, true, FiringState::Cancelled, "the task was cancelled", at).await?;
            sqlx::query("UPDATE tasks SET status = 'cancelled', next_due_ms = NULL WHERE id = $1")
                .bind(id.as_str())
                .execute(&mut *write)
                .await?;
        }
        TaskChange::Update(update) => self::update(write, id, update, &status).await?,
    }
    task(write, id).await
}

async fn update(write: &mut SqliteConnection, id: &TaskId, update: &TaskUpdate, status: &str) -> Result<(), Problem> {
    let TaskUpdate { prompt, schedule, zone, script, terms } = update;
    if let Some(prompt) = prompt {
        let set = sqlx::query("UPDATE tasks SET prompt = $1 WHERE id = $2").bind(prompt).bind(id.as_str());
        set.execute(&mut *write).await?;
    }
    if let Some(script) = script {
        let set = sqlx::query("UPDATE tasks SET script = $1 WHERE id = $2").bind(script).bind(id.as_str());
        set.execute(&mut *write).await?;
    }
    if let Some(terms) = terms {
        sqlx::query("UPDATE tasks SET context = $1, catch_up = $2, overlap = $3, silent = $4 WHERE id = $5")
            .bind(Word::word(terms.context))
            .bind(Word::word(terms.catch_up))
            .bind(Word::word(terms.overlap))
            .bind(terms.silent)
            .bind(id.as_str())
            .execute(&mut *write)
            .await?;
    }
    if let Some(zone) = zone {
        let set = sqlx::query("UPDATE tasks SET zone = $1 WHERE id = $2").bind(name_of(zone)?).bind(id.as_str());
        set.execute(&mut *write).await?;
    }
    if let Some((schedule, first_due)) = schedule {
        let status = if status == "completed" { "active" } else { status };
        sqlx::query(
            "UPDATE tasks SET kind = $1, value = $2, anchor_ms = $3, next_due_ms = $3, status = $4 WHERE id = $5",
        )
        .bind(schedule.kind())
        .bind(schedule.value())
        .bind(first_due.as_ms())
        .bind(status)
        .bind(id.as_str())
        .execute(&mut *write)
        .await?;
    }
    Ok(())
}

/// How its last firings went, and whether it rests now.
pub(super) async fn note_health(
    write: &mut SqliteConnection,
    id: &TaskId,
    health: TaskHealth,
    pause: Option<&str>,
    at: Timestamp,
) -> Result<(), Problem> {
    sqlx::query("UPDATE tasks SET failures = $1, wrong_since_ms = $2 WHERE id = $3")
        .bind(health.failures)
        .bind(health.wrong_since.map(Timestamp::as_ms))
        .bind(id.as_str())
        .execute(&mut *write)
        .await?;
    let active: Option<i64> = sqlx::query_scalar("SELECT 1 FROM tasks WHERE id = $1 AND status = 'active'")
        .bind(id.as_str())
        .fetch_optional(&mut *write)
        .await?;
    if let (Some(why), Some(_)) = (pause, active) {
        change(write, id, &TaskChange::Pause { why: Some(why.to_owned()) }, at).await?;
    }
    Ok(())
}

/// A task that is not due again and has nothing open is completed.
pub(super) async fn complete(write: &mut SqliteConnection, id: &TaskId) -> Result<(), Problem> {
    sqlx::query(
        "UPDATE tasks SET status = 'completed'
         WHERE id = $1 AND status = 'active' AND next_due_ms IS NULL
               AND NOT EXISTS (SELECT 1 FROM firings f WHERE f.task_id = $1 AND f.state IN ('waiting', 'running'))",
    )
    .bind(id.as_str())
    .execute(write)
    .await?;
    Ok(())
}

fn stored(row: &SqliteRow) -> Result<Task, Problem> {
    let schedule = Schedule::parse(row.try_get("kind")?, row.try_get("value")?);
    let zone: &str = row.try_get("zone")?;
    Ok(Task {
        id: rows::id(row, "id")?,
        group: rows::id(row, "group_folder")?,
        created_by: rows::id(row, "created_by")?,
        prompt: row.try_get("prompt")?,
        schedule: schedule.map_err(|error| Problem::Refused(error.to_string()))?,
        zone: TimeZone::get(zone)
            .map_err(|_| Problem::Refused(format!("there is no zone {zone:?} on this machine")))?,
        anchor: rows::moment(row, "anchor_ms")?,
        terms: TaskTerms {
            context: rows::word(row, "context")?,
            catch_up: rows::word::<CatchUp>(row, "catch_up")?,
            overlap: rows::word(row, "overlap")?,
            silent: row.try_get("silent")?,
        },
        script: row.try_get("script")?,
        status: rows::word::<TaskStatus>(row, "status")?,
        paused_why: row.try_get("paused_why")?,
        next_due: rows::optional_moment(row, "next_due_ms")?,
        health: TaskHealth {
            failures: rows::number(row, "failures")?,
            wrong_since: rows::optional_moment(row, "wrong_since_ms")?,
        },
        created_at: rows::moment(row, "created_at_ms")?,
    })
}
