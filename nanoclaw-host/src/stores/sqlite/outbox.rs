//! The outbox: what goes out, once for each key.

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName},
    chat::ChatId,
    delivery::{Delivery, DeliveryKey, NewDelivery, OutboxId, Sent},
    store::{AfterTry, DeliveryFilter, DeliveryState, Resolution, Resolved, StoredDelivery},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    rows::{self, Word as _},
};

pub(super) async fn post(write: &mut SqliteConnection, new: &NewDelivery, at: Timestamp) -> Result<OutboxId, Problem> {
    let file = new.file.as_ref().map(serde_json::to_string).transpose();
    let file = file.map_err(|error| Problem::Refused(format!("its file cannot be stored: {error}")))?;
    // Not ON CONFLICT, which would use up an id each time.
    let posted: Option<i64> = sqlx::query_scalar(
        "INSERT INTO outbox (key, chat, text, state, not_before_ms, posted_at_ms, file)
         SELECT $1, $2, $3, 'pending', $4, $4, $5 WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE key = $1)
         RETURNING id",
    )
    .bind(new.key.as_str())
    .bind(new.chat.as_str())
    .bind(&new.text)
    .bind(at.as_ms())
    .bind(file)
    .fetch_optional(&mut *write)
    .await?;
    if let Some(id) = posted {
        return Ok(OutboxId(id));
    }
    let id = sqlx::query_scalar("SELECT id FROM outbox WHERE key = $1").bind(new.key.as_str()).fetch_one(write).await?;
    Ok(OutboxId(id))
}

/// All. The condition has to be that of the indices, word for word.
pub(super) const PENDING: &str = "SELECT * FROM outbox WHERE state IN ('pending', 'sending') ORDER BY id";

pub(super) async fn pending(pool: &SqlitePool) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

/// Of chat $1, at most $2.
pub(super) const PENDING_OF: &str =
    "SELECT * FROM outbox WHERE state IN ('pending', 'sending') AND chat = $1 ORDER BY id LIMIT $2";

pub(super) async fn pending_of(pool: &SqlitePool, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING_OF).bind(chat.as_str()).bind(i64::from(limit)).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

pub(super) async fn by_key(pool: &SqlitePool, key: &DeliveryKey) -> Result<Option<StoredDelivery>, Problem> {
    let found = sqlx::query("SELECT * FROM outbox WHERE key = $1").bind(key.as_str()).fetch_optional(pool).await?;
    found.as_ref().map(delivery).transpose()
}

pub(super) async fn by_id(
    executor: impl sqlx::SqliteExecutor<'_>,
    id: OutboxId,
) -> Result<Option<StoredDelivery>, Problem> {
    let found = sqlx::query("SELECT * FROM outbox WHERE id = $1").bind(id.0).fetch_optional(executor).await?;
    found.as_ref().map(delivery).transpose()
}

pub(super) async fn list(
    pool: &SqlitePool,
    filter: &DeliveryFilter,
    limit: u32,
) -> Result<Vec<StoredDelivery>, Problem> {
    let found = list_query(filter, limit).build().fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

/// The states of which there are few rows, by the condition of their index, word for word.
const FEW: [(&str, &[DeliveryState]); 2] = [
    ("state IN ('pending', 'sending')", &[DeliveryState::Pending, DeliveryState::Sending]),
    (
        "state IN ('failed', 'unknown', 'dropped')",
        &[DeliveryState::Failed, DeliveryState::Unknown, DeliveryState::Dropped],
    ),
];

/// Latest first. Whoever wants rows that were sent, or all, reads the latest ones of the table; to find many of one chat that
/// says little, all of it.
pub(super) fn list_query(filter: &DeliveryFilter, limit: u32) -> sqlx::QueryBuilder<sqlx::Sqlite> {
    let mut query = sqlx::QueryBuilder::new("SELECT * FROM ");
    let many = filter.states.is_empty() || filter.states.contains(&DeliveryState::Sent);
    let few: Vec<_> = FEW.iter().filter(|(_, of)| filter.states.iter().any(|state| of.contains(state))).collect();
    if many {
        query.push("(SELECT * FROM outbox WHERE 1 = 1");
        push_conditions(&mut query, filter, limit);
    }
    for (place, (condition, _)) in few.into_iter().filter(|_| !many).enumerate() {
        query.push(if place == 0 { "(" } else { " UNION ALL SELECT * FROM (" });
        query.push("SELECT * FROM outbox WHERE ").push(condition);
        push_conditions(&mut query, filter, limit);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query
}

fn push_conditions(query: &mut sqlx::QueryBuilder<sqlx::Sqlite>, filter: &DeliveryFilter, limit: u32) {
    if !filter.states.is_empty() {
        query.push(" AND state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.word());
        }
        query.push(")");
    }
    if let Some(chat) = &filter.chat {
        query.push(" AND chat = ").push_bind(chat.as_str().to_owned());
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit)).push(")");
}

pub(super) async fn begun(write: &mut SqliteConnection, id: OutboxId) -> Result<(), Problem> {
    let begun = "UPDATE outbox SET state = 'sending' WHERE id = $1 AND state = 'pending'";
    let changed = sqlx::query(begun).bind(id.0).execute(&mut *write).await?;
    changed_or_there(write, changed.rows_affected(), id).await
}

pub(super) async fn postponed(write: &mut SqliteConnection, id: OutboxId) -> Result<(), Problem> {
    let postponed = "UPDATE outbox SET state = 'pending' WHERE id = $1 AND state = 'sending'";
    let changed = sqlx::query(postponed).bind(id.0).execute(&mut *write).await?;
    changed_or_there(write, changed.rows_affected(), id).await
}

pub(super) async fn sent(
    write: &mut SqliteConnection,
    id: OutboxId,
    sent: &Sent,
    at: Timestamp,
) -> Result<(), Problem> {
    // A row that was given up and then turns out to have been sent was sent.
    let changed = sqlx::query(
        "UPDATE outbox SET state = 'sent', attempts = attempts + 1, last_error = NULL, sent_at_ms = $1, platform_id = $2
         WHERE id = $3 AND state <> 'sent'",
    )
    .bind(at.as_ms())
    .bind(sent.platform_id.as_ref().map(|id| id.as_str()))
    .bind(id.0)
    .execute(&mut *write)
    .await?;
    changed_or_there(write, changed.rows_affected(), id).await
}

pub(super) async fn failed(
    write: &mut SqliteConnection,
    id: OutboxId,
    error: &str,
    after: &AfterTry,
    at: Timestamp,
) -> Result<(), Problem> {
    let failed = "UPDATE outbox SET attempts = attempts + 1, last_error = $1, state = $2,
                                    not_before_ms = COALESCE($3, not_before_ms)
                  WHERE id = $4 AND state IN ('pending', 'sending')";
    follow(write, failed, id, error, after, at).await
}

pub(super) async fn not_sent(
    write: &mut SqliteConnection,
    id: OutboxId,
    error: &str,
    after: &AfterTry,
    at: Timestamp,
) -> Result<(), Problem> {
    let not_sent = "UPDATE outbox SET last_error = $1, state = $2, not_before_ms = COALESCE($3, not_before_ms)
                    WHERE id = $4 AND state = 'unknown'";
    follow(write, not_sent, id, error, after, at).await
}

/// Does what follows on a try with row `id`, if `update` finds it: its error is $1, its state $2, its time $3, its id $4.
async fn follow(
    write: &mut SqliteConnection,
    update: &'static str,
    id: OutboxId,
    error: &str,
    after: &AfterTry,
    at: Timestamp,
) -> Result<(), Problem> {
    let (state, not_before, notice) = match after {
        AfterTry::TryAgain(not_before) => (DeliveryState::Pending, Some(not_before), &None),
        AfterTry::LookUp(not_before) => (DeliveryState::Sending, Some(not_before), &None),
        AfterTry::GiveUp(notice) => (DeliveryState::Failed, None, notice),
        AfterTry::Ask(notice) => (DeliveryState::Unknown, None, notice),
    };
    let changed = sqlx::query(update)
        .bind(error)
        .bind(state.word())
        .bind(not_before.map(|at| at.as_ms()))
        .bind(id.0)
        .execute(&mut *write)
        .await?;
    if let Some(notice) = notice.as_ref().filter(|_| changed.rows_affected() > 0) {
        post(write, notice, at).await?;
    }
    changed_or_there(write, changed.rows_affected(), id).await
}

pub(super) async fn resolve(
    write: &mut SqliteConnection,
    id: OutboxId,
    resolution: Resolution,
    at: Timestamp,
) -> Result<Resolved, Problem> {
    let resolved = match resolution {
        Resolution::SendAgain => {
            "UPDATE outbox SET state = 'pending', attempts = 0, decisions = decisions + 1, not_before_ms = $1
             WHERE id = $2 AND state NOT IN ('sent', 'sending') RETURNING *"
        }
        Resolution::Drop => {
            "UPDATE outbox SET state = 'dropped', decisions = decisions + 1 WHERE $1 = $1 AND id = $2 AND state <> 'sent' RETURNING *"
        }
    };
    let row = sqlx::query(resolved).bind(at.as_ms()).bind(id.0).fetch_optional(&mut *write).await?;
    if let Some(row) = row {
        return Ok(Resolved::Done(delivery(&row)?));
    }
    Ok(by_id(write, id).await?.map_or(Resolved::NoRow, Resolved::Refused))
}

/// A report that changed no row is fine when the row is there: it came twice, or too late.
async fn changed_or_there(write: &mut SqliteConnection, changed: u64, id: OutboxId) -> Result<(), Problem> {
    if changed > 0 {
        return Ok(());
    }
    match sqlx::query("SELECT 1 FROM outbox WHERE id = $1").bind(id.0).fetch_optional(write).await? {
        Some(_) => Ok(()),
        None => Err(Problem::Refused(format!("the outbox has no row {}", id.0))),
    }
}

/// The files of rows that are to be sent, or of which a person may yet decide that. The condition is that of the index, word for
/// word.
pub(super) const FILES_IN_USE: &str =
    "SELECT file FROM outbox WHERE file IS NOT NULL AND state IN ('pending', 'sending', 'failed', 'unknown')";

pub(super) async fn files_in_use(pool: &SqlitePool) -> Result<Vec<SpoolName>, Problem> {
    let found: Vec<String> = sqlx::query_scalar(FILES_IN_USE).fetch_all(pool).await?;
    found.iter().map(|file| Ok(file_of(file)?.spooled.spool)).collect()
}

fn file_of(json: &str) -> Result<OutgoingFile, Problem> {
    serde_json::from_str(json).map_err(|error| Problem::Refused(format!("a stored file cannot be read: {error}")))
}

fn delivery(row: &SqliteRow) -> Result<StoredDelivery, Problem> {
    Ok(StoredDelivery {
        delivery: Delivery {
            id: OutboxId(row.try_get("id")?),
            key: rows::id(row, "key")?,
            chat: rows::id(row, "chat")?,
            text: row.try_get("text")?,
            file: row.try_get::<Option<&str>, _>("file")?.map(file_of).transpose()?,
            attempts: rows::number(row, "attempts")?,
            posted_at: rows::moment(row, "posted_at_ms")?,
        },
        state: rows::word(row, "state")?,
        not_before: rows::moment(row, "not_before_ms")?,
        last_error: row.try_get("last_error")?,
        sent_at: rows::optional_moment(row, "sent_at_ms")?,
        platform_id: rows::optional_id(row, "platform_id")?,
        decisions: rows::number(row, "decisions")?,
    })
}
