//! The inbox: messages in the order of their arrival, and the cursor of each group over them.

use nanoclaw_core::{
    attachment::{Attachment, Fetched, SpoolName},
    chat::{ChatId, ChatMetadata},
    group::GroupFolder,
    message::{InboundMessage, PlatformMessageId, Quote, Seq, StoredMessage, Wakes},
    store::{Accepted, LATEST_WITH_THREADS},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    groups,
    rows::{self, Word},
};

pub(super) async fn accept(
    write: &mut SqliteConnection,
    message: &InboundMessage,
    wakes: Wakes,
    at: Timestamp,
) -> Result<Accepted, Problem> {
    let known = sqlx::query(
        "SELECT (SELECT seq FROM messages WHERE chat = $1 AND id = $2) AS seq,
                EXISTS (SELECT 1 FROM groups WHERE chat = $1) AS registered",
    )
    .bind(message.chat.as_str())
    .bind(message.id.as_str())
    .fetch_one(&mut *write)
    .await?;
    if let Some(seq) = known.try_get("seq")? {
        return Ok(Accepted::Duplicate(Seq(seq)));
    }
    let chat = ChatMetadata {
        chat: message.chat.clone(),
        channel: message.channel.clone(),
        name: None,
        kind: message.chat_kind,
        last_seen: at,
    };
    groups::note_chat(write, &chat).await?;
    if !known.try_get::<bool, _>("registered")? {
        return Ok(Accepted::Unregistered);
    }
    match insert(write, message, wakes, at).await? {
        Some(seq) => Ok(Accepted::Stored(seq)),
        None => Err(Problem::Refused("the message is there and was not there a moment ago".to_owned())),
    }
}

/// Puts a message at the end of the inbox; `None` when the chat has one of this id, and then nothing changed.
pub(super) async fn insert(
    write: &mut SqliteConnection,
    message: &InboundMessage,
    wakes: Wakes,
    at: Timestamp,
) -> Result<Option<Seq>, Problem> {
    let attachments = serde_json::to_string(&message.attachments)
        .map_err(|error| Problem::Refused(format!("the attachments cannot be written as JSON: {error}")))?;
    let quote = message.quote.as_ref();
    // Not ON CONFLICT, which would use up a place each time.
    let seq: Option<i64> = sqlx::query_scalar(
        "INSERT INTO messages (chat, id, channel, chat_kind, sender, sender_name, author, text, sent_at_ms,
                               quote_id, quote_sender_name, quote_text, attachments, wakes, accepted_at_ms, thread)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16
         WHERE NOT EXISTS (SELECT 1 FROM messages WHERE chat = $1 AND id = $2)
         RETURNING seq",
    )
    .bind(message.chat.as_str())
    .bind(message.id.as_str())
    .bind(message.channel.as_str())
    .bind(message.chat_kind.map(Word::word))
    .bind(message.sender.as_str())
    .bind(&message.sender_name)
    .bind(message.author.word())
    .bind(&message.text)
    .bind(message.sent_at.as_ms())
    .bind(quote.map(|quote| quote.id.as_str()))
    .bind(quote.and_then(|quote| quote.sender_name.as_deref()))
    .bind(quote.and_then(|quote| quote.text.as_deref()))
    .bind(attachments)
    .bind(i64::from(wakes == Wakes::Yes))
    .bind(at.as_ms())
    .bind(message.thread.as_ref().map(PlatformMessageId::as_str))
    .fetch_optional(write)
    .await?;
    Ok(seq.map(Seq))
}

/// Of group $1, beyond message $2, at most $3.
pub(super) const MESSAGES_AFTER: &str = "SELECT m.* FROM groups g JOIN messages m ON m.chat = g.chat
         WHERE g.folder = $1 AND m.seq > g.answered_through AND m.seq > $2
         ORDER BY m.seq LIMIT $3";

pub(super) async fn messages_after(
    pool: &SqlitePool,
    group: &GroupFolder,
    after: Seq,
    limit: u32,
) -> Result<Vec<StoredMessage>, Problem> {
    let found =
        sqlx::query(MESSAGES_AFTER).bind(group.as_str()).bind(after.0).bind(i64::from(limit)).fetch_all(pool).await?;
    if found.is_empty() {
        cursor(pool, group).await?;
    }
    found.iter().map(message).collect()
}

/// Of group $1.
pub(super) const UNANSWERED: &str =
    "SELECT (SELECT COUNT(*) FROM messages m WHERE m.chat = g.chat AND m.seq > g.answered_through)
         FROM groups g WHERE g.folder = $1";

pub(super) async fn unanswered(pool: &SqlitePool, group: &GroupFolder) -> Result<u64, Problem> {
    let count: Option<i64> = sqlx::query_scalar(UNANSWERED).bind(group.as_str()).fetch_optional(pool).await?;
    let count = count.ok_or_else(|| Problem::no_group(group))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

pub(super) async fn said_until(pool: &SqlitePool, chat: &ChatId) -> Result<Option<Timestamp>, Problem> {
    let at: Option<i64> = sqlx::query_scalar("SELECT MAX(sent_at_ms) FROM messages WHERE chat = $1")
        .bind(chat.as_str())
        .fetch_one(pool)
        .await?;
    Ok(at.map(Timestamp::from_ms))
}

// Among the latest messages alone, so that a long inbox costs no more than a short one.
const THREADS_SINCE: &str = "SELECT thread FROM \
         (SELECT seq, thread, sent_at_ms FROM messages WHERE chat = $1 ORDER BY seq DESC LIMIT $2) AS latest \
         WHERE thread IS NOT NULL AND sent_at_ms >= $3 GROUP BY thread ORDER BY MAX(seq) DESC LIMIT $4";

pub(super) async fn threads_since(
    pool: &SqlitePool,
    chat: &ChatId,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<PlatformMessageId>, Problem> {
    let threads: Vec<String> = sqlx::query_scalar(THREADS_SINCE)
        .bind(chat.as_str())
        .bind(i64::from(LATEST_WITH_THREADS))
        .bind(since.as_ms())
        .bind(i64::from(limit))
        .fetch_all(pool)
        .await?;
    threads.into_iter().map(|thread| Ok(PlatformMessageId::try_from(thread)?)).collect()
}

pub(super) async fn cursor(pool: &SqlitePool, group: &GroupFolder) -> Result<Seq, Problem> {
    let cursor: Option<i64> = sqlx::query_scalar("SELECT answered_through FROM groups WHERE folder = $1")
        .bind(group.as_str())
        .fetch_optional(pool)
        .await?;
    cursor.map(Seq).ok_or_else(|| Problem::no_group(group))
}

pub(super) async fn given_up(
    pool: &SqlitePool,
    group: &GroupFolder,
    limit: u32,
) -> Result<Vec<StoredMessage>, Problem> {
    let found = sqlx::query(
        "SELECT m.* FROM groups g JOIN messages m ON m.chat = g.chat
         WHERE g.folder = $1 AND m.given_up_at_ms IS NOT NULL
         ORDER BY m.seq DESC LIMIT $2",
    )
    .bind(group.as_str())
    .bind(i64::from(limit))
    .fetch_all(pool)
    .await?;
    if found.is_empty() {
        cursor(pool, group).await?;
    }
    found.iter().map(message).collect()
}

/// Of messages that are not done with. A message without attachments is in no index that this looks at. `CROSS` has SQLite look up
/// the messages of each group beyond its cursor, instead of reading the whole index.
pub(super) const FILES_IN_USE: &str = "SELECT m.attachments FROM groups g CROSS JOIN messages m
         WHERE m.chat = g.chat AND m.attachments <> '[]' AND m.seq > g.answered_through
         UNION ALL
         SELECT m.attachments FROM set_aside JOIN messages m ON m.chat = set_aside.chat
         WHERE set_aside.state = 'kept' AND m.attachments <> '[]' AND m.seq BETWEEN first_seq AND last_seq";

pub(super) async fn files_in_use(pool: &SqlitePool) -> Result<Vec<SpoolName>, Problem> {
    let found: Vec<String> = sqlx::query_scalar(FILES_IN_USE).fetch_all(pool).await?;
    let mut names = Vec::new();
    for attachments in &found {
        let spooled = attachments_of(attachments)?.into_iter().filter_map(|attachment| match attachment.fetched {
            Fetched::Yes(file) => Some(file.spool),
            Fetched::No { .. } => None,
        });
        names.extend(spooled);
    }
    Ok(names)
}

fn attachments_of(json: &str) -> Result<Vec<Attachment>, Problem> {
    serde_json::from_str(json).map_err(|error| Problem::Refused(format!("stored attachments cannot be read: {error}")))
}

pub(super) fn message(row: &SqliteRow) -> Result<StoredMessage, Problem> {
    let quote = rows::optional_id::<PlatformMessageId>(row, "quote_id")?;
    let quote = match quote {
        Some(id) => {
            Some(Quote { id, sender_name: row.try_get("quote_sender_name")?, text: row.try_get("quote_text")? })
        }
        None => None,
    };
    let attachments = attachments_of(row.try_get("attachments")?)?;
    Ok(StoredMessage {
        seq: Seq(row.try_get("seq")?),
        wakes: if row.try_get::<i64, _>("wakes")? == 0 { Wakes::No } else { Wakes::Yes },
        message: InboundMessage {
            chat: rows::id(row, "chat")?,
            channel: rows::id(row, "channel")?,
            chat_kind: rows::optional_word(row, "chat_kind")?,
            id: rows::id(row, "id")?,
            sender: rows::id(row, "sender")?,
            sender_name: row.try_get("sender_name")?,
            author: rows::word(row, "author")?,
            text: row.try_get("text")?,
            sent_at: rows::moment(row, "sent_at_ms")?,
            quote,
            thread: rows::optional_id(row, "thread")?,
            attachments,
        },
    })
}
