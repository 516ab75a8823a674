//! Runs, what was handed to them, and the blocks they answered with.

use nanoclaw_core::{
    group::GroupFolder,
    message::Seq,
    run::{Handed, RunEnding, RunId, RunKind, RunNumber, TaskId},
    session::SessionName,
    store::{BlockCommit, BlockOutcome, NewRun, SessionContext, StoredRun, StoredTurn, TurnState, superseded},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    firings, outbox,
    rows::{self, Word},
    sessions,
};

pub(super) async fn open(write: &mut SqliteConnection, new: &NewRun) -> Result<(), Problem> {
    let group = &new.id.group;
    let before = sqlx::query(
        "SELECT COALESCE((SELECT MAX(r.number) FROM runs r WHERE r.group_folder = g.folder), 0) AS last,
                (SELECT r.number FROM runs r WHERE r.group_folder = g.folder AND r.ended_at_ms IS NULL) AS open
         FROM groups g WHERE g.folder = $1",
    )
    .bind(group.as_str())
    .fetch_optional(&mut *write)
    .await?
    .ok_or_else(|| Problem::no_group(group))?;
    let last: i64 = before.try_get("last")?;
    if i64::from(new.id.number.0) <= last {
        let reason = format!("the run {} comes after the group's last run, which was number {last}", new.id);
        return Err(Problem::Refused(reason));
    }
    if let Some(open) = before.try_get::<Option<u32>, _>("open")? {
        close(write, &RunId { group: group.clone(), number: RunNumber(open) }, &superseded(), new.at).await?;
    }
    let (kind, task) = match &new.kind {
        RunKind::Chat => ("chat", None),
        RunKind::Task(task) => ("task", Some(task.as_str())),
    };
    // With its first turn, if it has one, in one step.
    sqlx::query(
        "INSERT INTO runs (group_folder, number, kind, task_id, runtime, started_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6);
         INSERT INTO turns (group_folder, run_number, number, first_seq, last_seq, handed_at_ms, state)
         SELECT $1, $2, 1, $7, $8, $6, 'handed' WHERE $7 IS NOT NULL",
    )
    .bind(group.as_str())
    .bind(new.id.number.0)
    .bind(kind)
    .bind(task)
    .bind(new.runtime.word())
    .bind(new.at.as_ms())
    .bind(new.handed.map(|handed| handed.first.0))
    .bind(new.handed.map(|handed| handed.last.0))
    .execute(&mut *write)
    .await?;
    Ok(())
}

/// Of group $1.
pub(super) const OPEN_RUN_OF: &str = "SELECT number FROM runs WHERE group_folder = $1 AND ended_at_ms IS NULL";

/// Closes as lost whatever run of the folder is open; at most one is.
pub(super) async fn close_open(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    at: Timestamp,
) -> Result<(), Problem> {
    let open = sqlx::query(OPEN_RUN_OF).bind(group.as_str()).fetch_optional(&mut *write).await?;
    let Some(open) = open else { return Ok(()) };
    let run = RunId { group: group.clone(), number: RunNumber(rows::number(&open, "number")?) };
    close(write, &run, &superseded(), at).await
}

pub(super) async fn close(
    write: &mut SqliteConnection,
    run: &RunId,
    ending: &RunEnding,
    at: Timestamp,
) -> Result<(), Problem> {
    let closed = sqlx::query(
        "UPDATE runs SET ended_at_ms = $1, ending = $2, detail = $3
         WHERE group_folder = $4 AND number = $5 AND ended_at_ms IS NULL",
    )
    .bind(at.as_ms())
    .bind(ending.word())
    .bind(ending.to_string())
    .bind(run.group.as_str())
    .bind(run.number.0)
    .execute(&mut *write)
    .await?;
    if closed.rows_affected() == 0 {
        return match exists(write, run).await? {
            true => Ok(()),
            false => Err(Problem::Refused(format!("there is no run {run}"))),
        };
    }
    sqlx::query(
        "UPDATE turns SET state = 'unanswered', ended_at_ms = $1
         WHERE group_folder = $2 AND run_number = $3 AND state IN ('handed', 'taken')",
    )
    .bind(at.as_ms())
    .bind(run.group.as_str())
    .bind(run.number.0)
    .execute(&mut *write)
    .await?;
    if ending.counts_as_try() {
        // A task's failures are its own.
        sqlx::query(
            "UPDATE groups SET failures = failures + 1
             WHERE folder = $1 AND EXISTS (SELECT 1 FROM runs r WHERE r.group_folder = $1 AND r.number = $2 AND r.kind = 'chat')",
        )
            .bind(run.group.as_str())
            .bind(run.number.0)
            .execute(&mut *write)
            .await?;
    }
    Ok(())
}

async fn exists(write: &mut SqliteConnection, run: &RunId) -> Result<bool, Problem> {
    let found = sqlx::query("SELECT 1 FROM runs WHERE group_folder = $1 AND number = $2")
        .bind(run.group.as_str())
        .bind(run.number.0)
        .fetch_optional(write)
        .await?;
    Ok(found.is_some())
}

pub(super) async fn hand_over(
    write: &mut SqliteConnection,
    run: &RunId,
    handed: Handed,
    at: Timestamp,
) -> Result<(), Problem> {
    if find_open(write, run).await?.is_none() {
        return Err(Problem::Refused(format!("{run} is not the group's open run")));
    }
    note_turn(write, run, handed, at).await
}

/// Notes a turn of an open run, unless it is noted.
async fn note_turn(write: &mut SqliteConnection, run: &RunId, handed: Handed, at: Timestamp) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO turns (group_folder, run_number, number, first_seq, last_seq, handed_at_ms, state)
         SELECT $1, $2,
                (SELECT COALESCE(MAX(number), 0) + 1 FROM turns WHERE group_folder = $1 AND run_number = $2),
                $3, $4, $5, 'handed'
         WHERE NOT EXISTS (SELECT 1 FROM turns WHERE group_folder = $1 AND run_number = $2
                                                 AND first_seq = $3 AND last_seq = $4)",
    )
    .bind(run.group.as_str())
    .bind(run.number.0)
    .bind(handed.first.0)
    .bind(handed.last.0)
    .bind(at.as_ms())
    .execute(write)
    .await?;
    Ok(())
}

pub(super) async fn commit_block(
    write: &mut SqliteConnection,
    run: &RunId,
    block: &BlockCommit,
) -> Result<BlockOutcome, Problem> {
    let before = sqlx::query("SELECT 1 FROM blocks WHERE group_folder = $1 AND run_number = $2 AND number = $3")
        .bind(run.group.as_str())
        .bind(run.number.0)
        .bind(block.number.0)
        .fetch_optional(&mut *write)
        .await?;
    if before.is_some() {
        return Ok(BlockOutcome::Duplicate);
    }
    let Some(open) = find_open(write, run).await? else {
        return Ok(BlockOutcome::Fenced);
    };
    // The number comes from the container: it counts no further than what was handed over.
    let answers = block.answers.and_then(|through| open.handed_through.map(|handed| handed.min(through)));
    if let Some(taken) = block.taken {
        take_turns(write, run, taken, block.at).await?;
    }
    // After what was taken is noted: what the reply is an answer to depends on it.
    let reply = match &block.reply {
        Some(reply) => Some(outbox::post(write, reply, block.at).await?),
        None => None,
    };
    sqlx::query(
        "INSERT INTO blocks (group_folder, run_number, number, answers, outbox_id, committed_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(run.group.as_str())
    .bind(run.number.0)
    .bind(block.number.0)
    .bind(answers.map(|seq| seq.0))
    .bind(reply.map(|id| id.0))
    .bind(block.at.as_ms())
    .execute(&mut *write)
    .await?;
    if let Some((context, session)) = &block.session
        && let Some(conversation) = open.conversation(context)
    {
        sessions::keep(write, &run.group, &conversation, session).await?;
    }
    if let Some(word) = &block.firing {
        firings::said(write, run, word).await?;
    }
    if open.names_messages.is_none_or(|before| !before && block.names_messages) {
        sqlx::query("UPDATE runs SET names_messages = $1 WHERE group_folder = $2 AND number = $3")
            .bind(i64::from(block.names_messages))
            .bind(run.group.as_str())
            .bind(run.number.0)
            .execute(&mut *write)
            .await?;
    }
    if let Some(answers) = answers {
        sqlx::query(
            "UPDATE turns SET state = 'answered', taken_at_ms = COALESCE(taken_at_ms, $1), ended_at_ms = $1
             WHERE group_folder = $2 AND run_number = $3 AND state IN ('handed', 'taken') AND last_seq <= $4",
        )
        .bind(block.at.as_ms())
        .bind(run.group.as_str())
        .bind(run.number.0)
        .bind(answers.0)
        .execute(&mut *write)
        .await?;
    }
    sqlx::query(
        "UPDATE groups SET failures = CASE WHEN $3 THEN 0 ELSE failures END,
                           answered_through = CASE WHEN $1 > answered_through THEN $1 ELSE answered_through END
         WHERE folder = $2",
    )
    .bind(answers.unwrap_or(Seq::ZERO).0)
    .bind(run.group.as_str())
    .bind(open.kind == RunKind::Chat)
    .execute(&mut *write)
    .await?;
    Ok(BlockOutcome::Committed(reply))
}

pub(super) async fn turns_taken(
    write: &mut SqliteConnection,
    run: &RunId,
    through: Seq,
    at: Timestamp,
) -> Result<(), Problem> {
    match find_open(write, run).await? {
        Some(_) => take_turns(write, run, through, at).await,
        None => Ok(()),
    }
}

async fn take_turns(write: &mut SqliteConnection, run: &RunId, through: Seq, at: Timestamp) -> Result<(), Problem> {
    sqlx::query(
        "UPDATE turns SET state = 'taken', taken_at_ms = $1
         WHERE group_folder = $2 AND run_number = $3 AND state = 'handed' AND last_seq <= $4",
    )
    .bind(at.as_ms())
    .bind(run.group.as_str())
    .bind(run.number.0)
    .bind(through.0)
    .execute(write)
    .await?;
    Ok(())
}

/// What a block needs to know of the run that is open.
struct OpenRun {
    names_messages: Option<bool>,
    session_ended: bool,
    /// Under which name its conversation was put aside, and what that of the chat is called now.
    session_aside: Option<SessionName>,
    session_name: SessionName,
    kind: RunKind,
    /// The last message handed to it; `None` when none was.
    handed_through: Option<Seq>,
}

impl OpenRun {
    /// Which conversation it means by `context`; `None`: one that is not kept any more.
    fn conversation(&self, context: &SessionContext) -> Option<SessionContext> {
        match (context, &self.session_aside) {
            (SessionContext::Chat, Some(name)) if *name == self.session_name => Some(SessionContext::Chat),
            (SessionContext::Chat, Some(name)) => Some(SessionContext::Aside(name.clone())),
            (SessionContext::Chat, None) if self.session_ended => None,
            (context, _) => Some(context.clone()),
        }
    }
}

pub(super) async fn forget_session(
    write: &mut SqliteConnection,
    run: &RunId,
    context: &SessionContext,
) -> Result<(), Problem> {
    let Some(open) = find_open(write, run).await? else { return Ok(()) };
    let Some(conversation) = open.conversation(context) else { return Ok(()) };
    sessions::forget(write, &run.group, &conversation).await?;
    Ok(())
}

/// The run, when it is the open one of a registered group.
async fn find_open(write: &mut SqliteConnection, run: &RunId) -> Result<Option<OpenRun>, Problem> {
    let found = sqlx::query(
        "SELECT r.kind, r.task_id, r.names_messages, r.session_ended, r.session_aside, g.session_name,
                (SELECT MAX(t.last_seq) FROM turns t
                 WHERE t.group_folder = r.group_folder AND t.run_number = r.number) AS handed_through
         FROM runs r JOIN groups g ON g.folder = r.group_folder
         WHERE r.group_folder = $1 AND r.number = $2 AND r.ended_at_ms IS NULL",
    )
    .bind(run.group.as_str())
    .bind(run.number.0)
    .fetch_optional(write)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let kind = kind(&row)?;
    let handed_through = row.try_get::<Option<i64>, _>("handed_through")?.map(Seq);
    let (names_messages, session_ended) = (names_messages(&row)?, session_ended(&row)?);
    let session_aside = rows::optional_id(&row, "session_aside")?;
    let session_name = rows::id(&row, "session_name")?;
    Ok(Some(OpenRun { kind, handed_through, names_messages, session_ended, session_aside, session_name }))
}

/// Of group $1, at most $2. Numbers rise in the order of opening, and there is an index over them.
pub(super) const RUNS_OF: &str = "SELECT * FROM runs WHERE group_folder = $1 ORDER BY number DESC LIMIT $2";

pub(super) async fn runs(
    pool: &SqlitePool,
    group: Option<&GroupFolder>,
    limit: u32,
) -> Result<Vec<StoredRun>, Problem> {
    let query = match group {
        Some(folder) => sqlx::query(RUNS_OF).bind(folder.as_str()).bind(i64::from(limit)),
        None => sqlx::query("SELECT * FROM runs ORDER BY place DESC LIMIT $1").bind(i64::from(limit)),
    };
    query.fetch_all(pool).await?.iter().map(stored_run).collect()
}

/// The condition has to be that of the index, word for word.
pub(super) const OPEN_RUNS: &str = "SELECT * FROM runs WHERE ended_at_ms IS NULL ORDER BY place";

pub(super) async fn open_runs(pool: &SqlitePool) -> Result<Vec<StoredRun>, Problem> {
    let found = sqlx::query(OPEN_RUNS).fetch_all(pool).await?;
    found.iter().map(stored_run).collect()
}

/// Of group $1, run $2.
pub(super) const TURNS_OF: &str = "SELECT * FROM turns WHERE group_folder = $1 AND run_number = $2 ORDER BY number";

pub(super) async fn turns(pool: &SqlitePool, run: &RunId) -> Result<Vec<StoredTurn>, Problem> {
    let found = sqlx::query(TURNS_OF).bind(run.group.as_str()).bind(run.number.0).fetch_all(pool).await?;
    found
        .iter()
        .map(|row| {
            Ok(StoredTurn {
                handed: Handed { first: Seq(row.try_get("first_seq")?), last: Seq(row.try_get("last_seq")?) },
                handed_at: rows::moment(row, "handed_at_ms")?,
                state: rows::word::<TurnState>(row, "state")?,
                taken_at: rows::optional_moment(row, "taken_at_ms")?,
                ended_at: rows::optional_moment(row, "ended_at_ms")?,
            })
        })
        .collect()
}

fn stored_run(row: &SqliteRow) -> Result<StoredRun, Problem> {
    Ok(StoredRun {
        id: RunId { group: rows::id(row, "group_folder")?, number: RunNumber(rows::number(row, "number")?) },
        kind: kind(row)?,
        runtime: rows::word(row, "runtime")?,
        started_at: rows::moment(row, "started_at_ms")?,
        ended_at: rows::optional_moment(row, "ended_at_ms")?,
        ending: row.try_get("ending")?,
        detail: row.try_get("detail")?,
        names_messages: names_messages(row)?,
        session_ended: session_ended(row)?,
    })
}

fn session_ended(row: &SqliteRow) -> Result<bool, Problem> {
    Ok(row.try_get::<i64, _>("session_ended")? != 0)
}

fn names_messages(row: &SqliteRow) -> Result<Option<bool>, Problem> {
    Ok(row.try_get::<Option<i64>, _>("names_messages")?.map(|stored| stored != 0))
}

fn kind(row: &SqliteRow) -> Result<RunKind, Problem> {
    match row.try_get::<&str, _>("kind")? {
        "chat" => Ok(RunKind::Chat),
        "task" => Ok(RunKind::Task(rows::id::<TaskId>(row, "task_id")?)),
        other => Err(Problem::Refused(format!("a stored kind of run is {other:?}, which is none"))),
    }
}
