//! Messages that a group went on without: marked, kept, and said again or dropped when somebody decides so.

use nanoclaw_core::{
    chat::ChatId,
    group::GroupFolder,
    message::{PlatformMessageId, Seq, StoredMessage, Wakes},
    run::{Handed, RunNumber},
    store::{GiveUp, SetAside, SetAsideState, TurnResolution, TurnResolved},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    inbox, outbox,
    rows::{self, Word},
};

pub(super) async fn give_up(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    given_up: &GiveUp,
    at: Timestamp,
) -> Result<Option<SetAside>, Problem> {
    let known = sqlx::query(
        "SELECT chat, answered_through, (SELECT COALESCE(MAX(seq), 0) FROM messages) AS inbox_end
         FROM groups WHERE folder = $1",
    )
    .bind(group.as_str())
    .fetch_optional(&mut *write)
    .await?
    .ok_or_else(|| Problem::no_group(group))?;
    let chat: ChatId = rows::id(&known, "chat")?;
    let (cursor, inbox_end): (i64, i64) = (known.try_get("answered_through")?, known.try_get("inbox_end")?);
    let through = given_up.through.0.min(inbox_end);
    let marked: Vec<i64> = sqlx::query_scalar(
        "UPDATE messages SET given_up_at_ms = $1 WHERE chat = $2 AND seq > $3 AND seq <= $4 RETURNING seq",
    )
    .bind(at.as_ms())
    .bind(chat.as_str())
    .bind(cursor)
    .bind(through)
    .fetch_all(&mut *write)
    .await?;
    let (Some(first), Some(last)) = (marked.iter().min(), marked.iter().max()) else { return Ok(None) };
    let set_aside = SetAside {
        group: group.clone(),
        chat,
        messages: Handed { first: Seq(*first), last: Seq(*last) },
        reason: given_up.reason.clone(),
        run: given_up.run,
        at,
        state: given_up.state,
    };
    insert(write, &set_aside).await?;
    sqlx::query("UPDATE groups SET answered_through = $1, failures = 0 WHERE folder = $2")
        .bind(through)
        .bind(group.as_str())
        .execute(&mut *write)
        .await?;
    if let Some(notice) = &given_up.notice {
        outbox::post(write, notice, at).await?;
    }
    Ok(Some(set_aside))
}

async fn insert(write: &mut SqliteConnection, new: &SetAside) -> Result<(), Problem> {
    let resolved_at = (new.state != SetAsideState::Kept).then(|| new.at.as_ms());
    sqlx::query(
        "INSERT INTO set_aside (group_folder, chat, first_seq, last_seq, reason, run_number, at_ms, state, resolved_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(new.group.as_str())
    .bind(new.chat.as_str())
    .bind(new.messages.first.0)
    .bind(new.messages.last.0)
    .bind(&new.reason)
    .bind(new.run.map(|run| run.0))
    .bind(new.at.as_ms())
    .bind(Word::word(new.state))
    .bind(resolved_at)
    .execute(write)
    .await?;
    Ok(())
}

/// What is kept, of group $1 or all, at most $2. The condition has to be that of the index, word for word.
pub(super) const KEPT: &str = "SELECT * FROM set_aside
     WHERE state = 'kept' AND ($1 IS NULL OR group_folder = $1) ORDER BY place DESC LIMIT $2";

/// What was ever set aside, of group $1 or all, at most $2: the latest of the table.
const SET_ASIDE: &str = "SELECT * FROM set_aside
     WHERE ($1 IS NULL OR group_folder = $1) ORDER BY place DESC LIMIT $2";

pub(super) async fn list(
    pool: &SqlitePool,
    group: Option<&GroupFolder>,
    resolved: bool,
    limit: u32,
) -> Result<Vec<SetAside>, Problem> {
    let found = sqlx::query(if resolved { SET_ASIDE } else { KEPT })
        .bind(group.map(GroupFolder::as_str))
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    found.iter().map(set_aside).collect()
}

pub(super) async fn resolve(
    write: &mut SqliteConnection,
    group: &GroupFolder,
    last: Seq,
    resolution: TurnResolution,
    at: Timestamp,
) -> Result<TurnResolved, Problem> {
    let found = sqlx::query("SELECT * FROM set_aside WHERE group_folder = $1 AND last_seq = $2")
        .bind(group.as_str())
        .bind(last.0)
        .fetch_optional(&mut *write)
        .await?;
    let Some(one) = found.as_ref().map(set_aside).transpose()? else { return Ok(TurnResolved::Unknown) };
    let (state, resolved) = match (resolution, one.state) {
        (_, SetAsideState::Retried) | (TurnResolution::Drop, SetAsideState::Dropped) => {
            return Ok(TurnResolved::Already(one.state));
        }
        (TurnResolution::Drop, SetAsideState::Kept) => (SetAsideState::Dropped, TurnResolved::Dropped),
        (TurnResolution::Retry, SetAsideState::Kept | SetAsideState::Dropped) => {
            (SetAsideState::Retried, TurnResolved::Retried { newest: say_again(write, &one, at).await? })
        }
    };
    sqlx::query("UPDATE set_aside SET state = $1, resolved_at_ms = $2 WHERE group_folder = $3 AND last_seq = $4")
        .bind(Word::word(state))
        .bind(at.as_ms())
        .bind(group.as_str())
        .bind(last.0)
        .execute(write)
        .await?;
    Ok(resolved)
}

/// Copies its messages to the end of the inbox, and returns the place of the last one that wakes.
async fn say_again(write: &mut SqliteConnection, one: &SetAside, at: Timestamp) -> Result<Option<Seq>, Problem> {
    sqlx::query("SELECT 1 FROM groups WHERE folder = $1 AND chat = $2")
        .bind(one.group.as_str())
        .bind(one.chat.as_str())
        .fetch_optional(&mut *write)
        .await?
        .ok_or_else(|| Problem::no_group(&one.group))?;
    let originals: Vec<StoredMessage> = sqlx::query(BETWEEN)
        .bind(one.chat.as_str())
        .bind(one.messages.first.0)
        .bind(one.messages.last.0)
        .bind(i64::MAX)
        .fetch_all(&mut *write)
        .await?
        .iter()
        .map(inbox::message)
        .collect::<Result<_, _>>()?;
    let mut newest = None;
    for StoredMessage { seq, wakes, mut message } in originals {
        message.id = PlatformMessageId::said_again(seq);
        let stored = inbox::insert(write, &message, wakes, at).await?;
        if wakes == Wakes::Yes && stored.is_some() {
            newest = stored;
        }
    }
    Ok(newest)
}

/// Of chat $1, from $2 to $3, at most $4.
pub(super) const BETWEEN: &str =
    "SELECT * FROM messages WHERE chat = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq LIMIT $4";

pub(super) async fn messages_between(
    pool: &SqlitePool,
    chat: &ChatId,
    messages: Handed,
    limit: u32,
) -> Result<Vec<StoredMessage>, Problem> {
    let found = sqlx::query(BETWEEN)
        .bind(chat.as_str())
        .bind(messages.first.0)
        .bind(messages.last.0)
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    found.iter().map(inbox::message).collect()
}

fn set_aside(row: &SqliteRow) -> Result<SetAside, Problem> {
    let run: Option<u32> = row.try_get("run_number")?;
    Ok(SetAside {
        group: rows::id(row, "group_folder")?,
        chat: rows::id(row, "chat")?,
        messages: Handed { first: Seq(row.try_get("first_seq")?), last: Seq(row.try_get("last_seq")?) },
        reason: row.try_get("reason")?,
        run: run.map(RunNumber),
        at: rows::moment(row, "at_ms")?,
        state: rows::word(row, "state")?,
    })
}
