//! The outbox: what goes out, once for each key.

use nanoclaw_core::{
    chat::ChatId,
    delivery::{Delivery, DeliveryKey, NewDelivery, OutboxId, Sent},
    store::StoredDelivery,
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{failure::Problem, rows};

pub(super) async fn post(write: &mut SqliteConnection, new: &NewDelivery, at: Timestamp) -> Result<OutboxId, Problem> {
    // Not ON CONFLICT, which would use up an id each time.
    let posted: Option<i64> = sqlx::query_scalar(
        "INSERT INTO outbox (key, chat, text, state, not_before_ms, posted_at_ms)
         SELECT $1, $2, $3, 'pending', $4, $4 WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE key = $1)
         RETURNING id",
    )
    .bind(new.key.as_str())
    .bind(new.chat.as_str())
    .bind(&new.text)
    .bind(at.as_ms())
    .fetch_optional(&mut *write)
    .await?;
    if let Some(id) = posted {
        return Ok(OutboxId(id));
    }
    let id = sqlx::query_scalar("SELECT id FROM outbox WHERE key = $1").bind(new.key.as_str()).fetch_one(write).await?;
    Ok(OutboxId(id))
}

/// All.
pub(super) const PENDING: &str = "SELECT * FROM outbox WHERE state = 'pending' ORDER BY id";

pub(super) async fn pending(pool: &SqlitePool) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

/// Of chat $1, at most $2.
pub(super) const PENDING_OF: &str = "SELECT * FROM outbox WHERE state = 'pending' AND chat = $1 ORDER BY id LIMIT $2";

pub(super) async fn pending_of(pool: &SqlitePool, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING_OF).bind(chat.as_str()).bind(i64::from(limit)).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

pub(super) async fn by_key(pool: &SqlitePool, key: &DeliveryKey) -> Result<Option<StoredDelivery>, Problem> {
    let found = sqlx::query("SELECT * FROM outbox WHERE key = $1").bind(key.as_str()).fetch_optional(pool).await?;
    found.as_ref().map(delivery).transpose()
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
    retry_at: Option<Timestamp>,
) -> Result<(), Problem> {
    let changed = sqlx::query(
        "UPDATE outbox SET attempts = attempts + 1, last_error = $1,
                           state = CASE WHEN $2 IS NULL THEN 'failed' ELSE state END,
                           not_before_ms = COALESCE($2, not_before_ms)
         WHERE id = $3 AND state = 'pending'",
    )
    .bind(error)
    .bind(retry_at.map(Timestamp::as_ms))
    .bind(id.0)
    .execute(&mut *write)
    .await?;
    changed_or_there(write, changed.rows_affected(), id).await
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

fn delivery(row: &SqliteRow) -> Result<StoredDelivery, Problem> {
    Ok(StoredDelivery {
        delivery: Delivery {
            id: OutboxId(row.try_get("id")?),
            key: rows::id(row, "key")?,
            chat: rows::id(row, "chat")?,
            text: row.try_get("text")?,
            attempts: rows::number(row, "attempts")?,
        },
        state: rows::word(row, "state")?,
        not_before: rows::moment(row, "not_before_ms")?,
        last_error: row.try_get("last_error")?,
    })
}
