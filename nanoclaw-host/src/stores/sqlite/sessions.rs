//! The conversations to resume.

use nanoclaw_core::{
    group::GroupFolder,
    run::TaskId,
    session::{SessionId, SessionName},
    store::{GroupSessions, SessionContext},
};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{failure::Problem, rows};

pub(super) async fn session(
    pool: &SqlitePool,
    group: &GroupFolder,
    context: &SessionContext,
) -> Result<Option<SessionId>, Problem> {
    let row = sqlx::query("SELECT session_id FROM sessions WHERE group_folder = $1 AND context = $2")
        .bind(group.as_str())
        .bind(context_text(context))
        .fetch_optional(pool)
        .await?;
    row.map(|row| rows::id(&row, "session_id")).transpose()
}

pub(super) async fn keep(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    context: &SessionContext,
    session: &SessionId,
) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO sessions (group_folder, context, session_id) VALUES ($1, $2, $3)
         ON CONFLICT (group_folder, context) DO UPDATE SET session_id = excluded.session_id",
    )
    .bind(group.as_str())
    .bind(context_text(context))
    .bind(session.as_str())
    .execute(write)
    .await?;
    Ok(())
}

/// Whether there was one.
pub(super) async fn forget(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    context: &SessionContext,
) -> Result<bool, Problem> {
    let forgotten = sqlx::query("DELETE FROM sessions WHERE group_folder = $1 AND context = $2")
        .bind(group.as_str())
        .bind(context_text(context))
        .execute(write)
        .await?;
    Ok(forgotten.rows_affected() > 0)
}

/// Changes which conversation a session is of. Nothing happens when there is none.
pub(super) async fn rename(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    from: &SessionContext,
    to: &SessionContext,
) -> Result<(), Problem> {
    sqlx::query("UPDATE OR REPLACE sessions SET context = $3 WHERE group_folder = $1 AND context = $2")
        .bind(group.as_str())
        .bind(context_text(from))
        .bind(context_text(to))
        .execute(write)
        .await?;
    Ok(())
}

pub(super) async fn of_group(pool: &SqlitePool, group: &GroupFolder) -> Result<Option<GroupSessions>, Problem> {
    let rows = sqlx::query(
        "SELECT g.session_name, s.context, s.session_id
         FROM groups g LEFT JOIN sessions s ON s.group_folder = g.folder WHERE g.folder = $1",
    )
    .bind(group.as_str())
    .fetch_all(pool)
    .await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let current = rows::id(first, "session_name")?;
    let mut sessions = Vec::new();
    for row in &rows {
        if let Some(context) = row.try_get::<Option<String>, _>("context")? {
            sessions.push((context_of(&context)?, rows::id(row, "session_id")?));
        }
    }
    Ok(Some(GroupSessions { current, sessions }))
}

fn context_of(text: &str) -> Result<SessionContext, Problem> {
    if let Some(task) = text.strip_prefix("task:") {
        return Ok(SessionContext::Task(TaskId::new(task)?));
    }
    if let Some(name) = text.strip_prefix("aside:") {
        return Ok(SessionContext::Aside(SessionName::new(name)?));
    }
    match text {
        "chat" => Ok(SessionContext::Chat),
        other => Err(Problem::Refused(format!("a stored session is of {other:?}"))),
    }
}

fn context_text(context: &SessionContext) -> String {
    match context {
        SessionContext::Chat => "chat".to_owned(),
        SessionContext::Task(task) => format!("task:{task}"),
        SessionContext::Aside(name) => format!("aside:{name}"),
    }
}
