//! The conversations to resume.

use nanoclaw_core::{group::GroupFolder, session::SessionId, store::SessionContext};
use sqlx::{SqliteConnection, SqlitePool};

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

pub(super) async fn forget(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    context: &SessionContext,
) -> Result<(), Problem> {
    sqlx::query("DELETE FROM sessions WHERE group_folder = $1 AND context = $2")
        .bind(group.as_str())
        .bind(context_text(context))
        .execute(write)
        .await?;
    Ok(())
}

fn context_text(context: &SessionContext) -> String {
    match context {
        SessionContext::Chat => "chat".to_owned(),
        SessionContext::Task(task) => format!("task:{task}"),
    }
}
