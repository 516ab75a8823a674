//! The installation, chats and groups.

use futures_util::TryStreamExt as _;
use nanoclaw_core::{
    chat::ChatMetadata,
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::Seq,
    run::RunNumber,
    runtime::InstallId,
    store::{GroupRecovery, StoreError},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool, sqlite::SqliteRow};

use super::{
    failure::Problem,
    rows::{self, Word},
    runs,
};

pub(super) async fn install_id(pool: &SqlitePool) -> Result<Option<InstallId>, Problem> {
    let row = sqlx::query("SELECT value FROM meta WHERE key = 'install_id'").fetch_optional(pool).await?;
    row.map(|row| rows::id(&row, "value")).transpose()
}

pub(super) async fn make_install_id(write: &mut SqliteConnection) -> Result<InstallId, Problem> {
    // Two callers may both have found none; the first one's is taken.
    sqlx::query(
        "INSERT INTO meta (key, value) VALUES ('install_id', lower(hex(randomblob(6)))) ON CONFLICT (key) DO NOTHING",
    )
    .execute(&mut *write)
    .await?;
    let row = sqlx::query("SELECT value FROM meta WHERE key = 'install_id'").fetch_one(&mut *write).await?;
    rows::id(&row, "value")
}

pub(super) async fn note_chat(write: &mut SqliteConnection, chat: &ChatMetadata) -> Result<(), Problem> {
    sqlx::query(
        "INSERT INTO chats (chat, channel, name, kind, last_seen_ms) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (chat) DO UPDATE SET
             channel = excluded.channel,
             name = COALESCE(excluded.name, chats.name),
             kind = COALESCE(excluded.kind, chats.kind),
             last_seen_ms = CASE WHEN excluded.last_seen_ms > chats.last_seen_ms
                                 THEN excluded.last_seen_ms ELSE chats.last_seen_ms END",
    )
    .bind(chat.chat.as_str())
    .bind(chat.channel.as_str())
    .bind(chat.name.as_deref())
    .bind(chat.kind.map(Word::word))
    .bind(chat.last_seen.as_ms())
    .execute(write)
    .await?;
    Ok(())
}

pub(super) async fn chats(pool: &SqlitePool) -> Result<Vec<ChatMetadata>, Problem> {
    let found =
        sqlx::query("SELECT chat, channel, name, kind, last_seen_ms FROM chats ORDER BY last_seen_ms DESC, chat")
            .fetch_all(pool)
            .await?;
    found
        .iter()
        .map(|row| {
            Ok(ChatMetadata {
                chat: rows::id(row, "chat")?,
                channel: rows::id(row, "channel")?,
                name: row.try_get("name")?,
                kind: rows::optional_word(row, "kind")?,
                last_seen: rows::moment(row, "last_seen_ms")?,
            })
        })
        .collect()
}

pub(super) async fn groups(pool: &SqlitePool) -> Result<Vec<Group>, Problem> {
    let found = sqlx::query("SELECT * FROM groups ORDER BY place").fetch_all(pool).await?;
    found.iter().map(group).collect()
}

pub(super) async fn add(write: &mut SqliteConnection, new: &Group) -> Result<(), Problem> {
    refuse_what_is_taken(write, new).await?;
    runs::close_open(write, &new.folder, new.added_at).await?;
    let (trigger_kind, trigger_words) = match &new.trigger {
        TriggerPolicy::Always => ("always", None),
        TriggerPolicy::AssistantName => ("assistant_name", None),
        TriggerPolicy::Words(words) => ("words", Some(words.as_str())),
    };
    sqlx::query(
        "INSERT INTO groups (folder, chat, name, trigger_kind, trigger_words, role, added_at_ms, answered_through)
         VALUES ($1, $2, $3, $4, $5, $6, $7, (SELECT COALESCE(MAX(seq), 0) FROM messages))",
    )
    .bind(new.folder.as_str())
    .bind(new.chat.as_str())
    .bind(&new.name)
    .bind(trigger_kind)
    .bind(trigger_words)
    .bind(new.role.word())
    .bind(new.added_at.as_ms())
    .execute(&mut *write)
    .await?;
    sqlx::query("DELETE FROM removed_groups WHERE folder = $1").bind(new.folder.as_str()).execute(write).await?;
    Ok(())
}

async fn refuse_what_is_taken(write: &mut SqliteConnection, new: &Group) -> Result<(), Problem> {
    let taken = sqlx::query("SELECT folder, chat, role FROM groups WHERE chat = $1 OR folder = $2 OR role = $3")
        .bind(new.chat.as_str())
        .bind(new.folder.as_str())
        .bind(GroupRole::Main.word())
        .fetch_all(write)
        .await?;
    let (mut folder_taken, mut main_taken) = (None, None);
    for row in &taken {
        let (folder, chat) = (rows::id(row, "folder")?, rows::id(row, "chat")?);
        let role: GroupRole = rows::word(row, "role")?;
        if chat == new.chat {
            return Err(Problem::Answer(StoreError::ChatTaken { chat, folder }));
        }
        if new.role == GroupRole::Main && role == GroupRole::Main {
            main_taken = Some(StoreError::MainTaken { folder: GroupFolder::clone(&folder) });
        }
        if folder == new.folder {
            folder_taken = Some(StoreError::FolderTaken { folder, chat });
        }
    }
    match folder_taken.or(main_taken) {
        Some(error) => Err(Problem::Answer(error)),
        None => Ok(()),
    }
}

pub(super) async fn remove(write: &mut SqliteConnection, folder: &GroupFolder) -> Result<(), Problem> {
    // Its sessions go with it, by the foreign key.
    let removed =
        sqlx::query("DELETE FROM groups WHERE folder = $1").bind(folder.as_str()).execute(&mut *write).await?;
    if removed.rows_affected() == 0 {
        return Err(Problem::no_group(folder));
    }
    sqlx::query("INSERT OR REPLACE INTO removed_groups (folder, removed_at_ms) VALUES ($1, $2)")
        .bind(folder.as_str())
        .bind(Timestamp::now().as_ms())
        .execute(write)
        .await?;
    Ok(())
}

/// The folders that were groups once, and since when they are none.
pub(super) async fn removed(pool: &SqlitePool) -> Result<Vec<(GroupFolder, Timestamp)>, Problem> {
    let found = sqlx::query("SELECT folder, removed_at_ms FROM removed_groups ORDER BY folder").fetch_all(pool).await?;
    found.iter().map(|row| Ok((rows::id(row, "folder")?, rows::moment(row, "removed_at_ms")?))).collect()
}

/// Three index look-ups a group: what is answered already is not read.
pub(super) const RECOVER: &str = "SELECT g.*,
                (SELECT MAX(r.number) FROM runs r WHERE r.group_folder = g.folder) AS last_run,
                (SELECT MIN(m.seq) FROM messages m
                 WHERE m.chat = g.chat AND m.wakes = 1 AND m.seq > g.answered_through) AS waiting_since,
                (SELECT MAX(m.seq) FROM messages m
                 WHERE m.chat = g.chat AND m.wakes = 1 AND m.seq > g.answered_through) AS waiting
         FROM groups g
         ORDER BY waiting_since NULLS LAST, place";

pub(super) async fn recover(pool: &SqlitePool) -> Result<Vec<GroupRecovery>, Problem> {
    // Row by row, so that not all rows are held beside what is made of them.
    let mut stream = sqlx::query(RECOVER).fetch(pool);
    let mut found = Vec::new();
    while let Some(row) = stream.try_next().await? {
        found.push(GroupRecovery {
            group: group(&row)?,
            last_run: match row.try_get::<Option<i64>, _>("last_run")? {
                Some(_) => RunNumber(rows::number(&row, "last_run")?),
                None => RunNumber::ZERO,
            },
            waiting: row.try_get::<Option<i64>, _>("waiting")?.map(Seq),
            failures: rows::number(&row, "failures")?,
        });
    }
    Ok(found)
}

fn group(row: &SqliteRow) -> Result<Group, Problem> {
    let trigger = match row.try_get::<&str, _>("trigger_kind")? {
        "always" => TriggerPolicy::Always,
        "assistant_name" => TriggerPolicy::AssistantName,
        "words" => TriggerPolicy::Words(row.try_get("trigger_words")?),
        other => return Err(Problem::Refused(format!("a stored trigger is {other:?}, which is none"))),
    };
    Ok(Group {
        folder: rows::id(row, "folder")?,
        chat: rows::id(row, "chat")?,
        name: row.try_get("name")?,
        trigger,
        role: rows::word(row, "role")?,
        added_at: rows::moment(row, "added_at_ms")?,
    })
}
