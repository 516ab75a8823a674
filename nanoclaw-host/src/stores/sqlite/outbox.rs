//! The outbox: what goes out, once for each key.

use nanoclaw_core::{
    attachment::{OutgoingFile, SpoolName},
    chat::ChatId,
    delivery::{Answered, Answers, Delivery, DeliveryKey, NewDelivery, OutboxId, ReplyTo, Sent},
    message::{PlatformMessageId, Seq},
    run::RunId,
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
    let (answers_seq, answers_message) = match &new.answers {
        None => (None, None),
        Some(Answers::Run { run, through }) => (answered_by_run(write, &new.chat, run, *through).await?, None),
        Some(Answers::Message(answered)) => (None, Some(answered_json(answered)?)),
    };
    // Not ON CONFLICT, which would use up an id each time.
    let posted: Option<i64> = sqlx::query_scalar(
        "INSERT INTO outbox (key, chat, text, state, not_before_ms, posted_at_ms, file, answers_seq, answers_message)
         SELECT $1, $2, $3, 'pending', $4, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE key = $1)
         RETURNING id",
    )
    .bind(new.key.as_str())
    .bind(new.chat.as_str())
    .bind(&new.text)
    .bind(at.as_ms())
    .bind(file)
    .bind(answers_seq.map(|seq| seq.0))
    .bind(answers_message)
    .fetch_optional(&mut *write)
    .await?;
    if let Some(id) = posted {
        return Ok(OutboxId(id));
    }
    let id = sqlx::query_scalar("SELECT id FROM outbox WHERE key = $1").bind(new.key.as_str()).fetch_one(write).await?;
    Ok(OutboxId(id))
}

/// Which turns of run $2 of group $1 there are.
const TURNS: &str = "SELECT MIN(first_seq) AS first, MAX(last_seq) AS handed,
            MAX(CASE WHEN taken_at_ms IS NOT NULL THEN last_seq END) AS taken,
            MAX(CASE WHEN number = 1 THEN last_seq END) AS begun_with
     FROM turns WHERE group_folder = $1 AND run_number = $2";

/// The last message that wakes of chat $3, which has to be that of group $1, from $4 to $5, if its run $2 is one for the chat.
pub(super) const LAST_THAT_WOKE: &str = "SELECT m.seq, m.id FROM runs r
     JOIN groups g ON g.folder = r.group_folder JOIN messages m ON m.chat = g.chat
     WHERE r.group_folder = $1 AND r.number = $2 AND r.kind = 'chat'
       AND m.chat = $3 AND m.wakes = 1 AND m.seq >= $4 AND m.seq <= $5
     ORDER BY m.seq DESC LIMIT 1";

/// The message that [`Answers::Run`] means.
async fn answered_by_run(
    write: &mut SqliteConnection,
    chat: &ChatId,
    run: &RunId,
    through: Option<Seq>,
) -> Result<Option<Seq>, Problem> {
    let turns = sqlx::query(TURNS).bind(run.group.as_str()).bind(run.number.0).fetch_one(&mut *write).await?;
    let seq = |column: &str| turns.try_get::<Option<i64>, _>(column);
    let (Some(first), Some(handed)) = (seq("first")?, seq("handed")?) else { return Ok(None) };
    let last = match through {
        Some(through) => through.0.min(handed),
        None => seq("taken")?.or(seq("begun_with")?).unwrap_or(handed),
    };
    let mut found = sqlx::query(LAST_THAT_WOKE)
        .bind(run.group.as_str())
        .bind(run.number.0)
        .bind(chat.as_str())
        .bind(first)
        .bind(last)
        .fetch_optional(&mut *write)
        .await?;
    while let Some(row) = &found {
        let seq = Seq(row.try_get("seq")?);
        let Some(original) = rows::id::<PlatformMessageId>(row, "id")?.says_again().filter(|said| *said < seq) else {
            return Ok(Some(seq));
        };
        let original = sqlx::query("SELECT seq, id FROM messages WHERE seq = $1 AND chat = $2").bind(original.0);
        found = original.bind(chat.as_str()).fetch_optional(&mut *write).await?;
    }
    Ok(None)
}

fn answered_json(answered: &Answered) -> Result<String, Problem> {
    let failed = |error| Problem::Refused(format!("the message that it answers cannot be stored: {error}"));
    serde_json::to_string(answered).map_err(failed)
}

/// Rows of `outbox`, each with the message that it is an answer to if that is there.
macro_rules! rows_of {
    ($rest:literal) => {
        concat!(
            "SELECT outbox.*, m.id AS answered_id, m.sender AS answered_sender, m.text AS answered_text,
                    m.chat_kind AS answered_kind, m.thread AS answered_thread,
                    EXISTS (SELECT 1 FROM outbox earlier WHERE earlier.answers_seq = outbox.answers_seq
                                                           AND earlier.id < outbox.id) AS answered_before
             FROM outbox LEFT JOIN messages m ON m.seq = outbox.answers_seq ",
            $rest
        )
    };
}

/// All. The condition has to be that of the indices, word for word.
pub(super) const PENDING: &str = rows_of!("WHERE outbox.state IN ('pending', 'sending') ORDER BY outbox.id");

pub(super) async fn pending(pool: &SqlitePool) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

/// Of chat $1, at most $2.
pub(super) const PENDING_OF: &str =
    rows_of!("WHERE outbox.state IN ('pending', 'sending') AND outbox.chat = $1 ORDER BY outbox.id LIMIT $2");

pub(super) async fn pending_of(pool: &SqlitePool, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, Problem> {
    let found = sqlx::query(PENDING_OF).bind(chat.as_str()).bind(i64::from(limit)).fetch_all(pool).await?;
    found.iter().map(delivery).collect()
}

pub(super) const BY_KEY: &str = rows_of!("WHERE outbox.key = $1");

pub(super) async fn by_key(pool: &SqlitePool, key: &DeliveryKey) -> Result<Option<StoredDelivery>, Problem> {
    let found = sqlx::query(BY_KEY).bind(key.as_str()).fetch_optional(pool).await?;
    found.as_ref().map(delivery).transpose()
}

pub(super) const BY_ID: &str = rows_of!("WHERE outbox.id = $1");

pub(super) async fn by_id(
    executor: impl sqlx::SqliteExecutor<'_>,
    id: OutboxId,
) -> Result<Option<StoredDelivery>, Problem> {
    let found = sqlx::query(BY_ID).bind(id.0).fetch_optional(executor).await?;
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
    ("outbox.state IN ('pending', 'sending')", &[DeliveryState::Pending, DeliveryState::Sending]),
    (
        "outbox.state IN ('failed', 'unknown', 'dropped')",
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
        query.push("(").push(rows_of!("WHERE 1 = 1"));
        push_conditions(&mut query, filter, limit);
    }
    for (place, (condition, _)) in few.into_iter().filter(|_| !many).enumerate() {
        query.push(if place == 0 { "(" } else { " UNION ALL SELECT * FROM (" });
        query.push(rows_of!("WHERE ")).push(*condition);
        push_conditions(&mut query, filter, limit);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query
}

fn push_conditions(query: &mut sqlx::QueryBuilder<sqlx::Sqlite>, filter: &DeliveryFilter, limit: u32) {
    if !filter.states.is_empty() {
        query.push(" AND outbox.state IN (");
        let mut states = query.separated(", ");
        for state in &filter.states {
            states.push_bind(state.word());
        }
        query.push(")");
    }
    if let Some(chat) = &filter.chat {
        query.push(" AND outbox.chat = ").push_bind(chat.as_str().to_owned());
    }
    query.push(" ORDER BY outbox.id DESC LIMIT ").push_bind(i64::from(limit)).push(")");
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
             WHERE id = $2 AND state NOT IN ('sent', 'sending')"
        }
        Resolution::Drop => {
            "UPDATE outbox SET state = 'dropped', decisions = decisions + 1 WHERE $1 = $1 AND id = $2 AND state <> 'sent'"
        }
    };
    let changed = sqlx::query(resolved).bind(at.as_ms()).bind(id.0).execute(&mut *write).await?;
    Ok(match by_id(write, id).await? {
        None => Resolved::NoRow,
        Some(row) if changed.rows_affected() > 0 => Resolved::Done(row),
        Some(row) => Resolved::Refused(row),
    })
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

/// What the message that a row is an answer to shows of itself; nothing when it is gone.
fn answered(row: &SqliteRow) -> Result<Answered, Problem> {
    if let Some(json) = row.try_get::<Option<&str>, _>("answers_message")? {
        let failed = |error| Problem::Refused(format!("a stored message that is answered cannot be read: {error}"));
        return serde_json::from_str(json).map_err(failed);
    }
    let Some(id) = rows::optional_id(row, "answered_id")? else { return Ok(Answered::default()) };
    let first = !row.try_get::<bool, _>("answered_before")?;
    let reply_to = ReplyTo { id, sender: rows::id(row, "answered_sender")?, text: row.try_get("answered_text")? };
    let (kind, thread) = (rows::optional_word(row, "answered_kind")?, rows::optional_id(row, "answered_thread")?);
    Ok(Answered::shown(reply_to, kind, thread, first))
}

fn delivery(row: &SqliteRow) -> Result<StoredDelivery, Problem> {
    Ok(StoredDelivery {
        delivery: Delivery {
            id: OutboxId(row.try_get("id")?),
            key: rows::id(row, "key")?,
            chat: rows::id(row, "chat")?,
            text: row.try_get("text")?,
            file: row.try_get::<Option<&str>, _>("file")?.map(file_of).transpose()?,
            answered: answered(row)?,
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
