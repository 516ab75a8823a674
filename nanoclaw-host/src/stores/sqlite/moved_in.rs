//! What another program kept before, taken over whole: a group's conversation, and a task with what came of it.

use nanoclaw_core::{
    chat::{ChatId, ChatMetadata},
    delivery::DeliveryKey,
    group::Group,
    message::{InboundMessage, PlatformMessageId, Wakes},
    run::TaskId,
    session::SessionId,
    store::{SessionContext, StoreError},
    tasks::{FiringState, NewTask, TaskStatus},
    time::Timestamp,
};
use sqlx::{Row, SqliteConnection, SqlitePool};

use super::{
    SqliteStore,
    failure::Problem,
    groups, inbox,
    rows::{self, Word},
    sessions, tasks,
};

/// What was said in a group before it came here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversation {
    /// The group.
    pub group: Group,
    /// What is known of its chat.
    pub chat: ChatMetadata,
    /// What people wrote and the agent has seen, in order. It is behind the cursor: nobody answers it.
    pub answered: Vec<InboundMessage>,
    /// What people wrote since, in order, and what of it wakes the agent.
    pub waiting: Vec<(InboundMessage, Wakes)>,
    /// What the agent said, in order.
    pub said: Vec<Said>,
    /// The session to go on with.
    pub session: Option<SessionId>,
}

/// Something that an agent said, which was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Names it in the outbox.
    pub key: DeliveryKey,
    /// The service's id of it.
    pub id: PlatformMessageId,
    /// What.
    pub text: String,
    /// When.
    pub at: Timestamp,
}

/// A task that was scheduled elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastTask {
    /// The task. One of its key that is here already stays as it is.
    pub task: NewTask,
    /// When it was made.
    pub created_at: Timestamp,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why it rests.
    pub paused_why: Option<String>,
    /// When it is due next.
    pub next_due: Option<Timestamp>,
    /// What came of it, in order, no two at the same time.
    pub firings: Vec<PastFiring>,
}

/// What came of a due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFiring {
    /// Which; when it was begun.
    pub due: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// [`Done`](FiringState::Done) or [`Failed`](FiringState::Failed).
    pub state: FiringState,
    /// What the agent said.
    pub text: Option<String>,
    /// What is to be known besides.
    pub remark: Option<String>,
}

impl SqliteStore {
    /// The chats, registered or not, of which there is a message here: no conversation is taken over for them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn heard_chats(&self) -> Result<Vec<ChatId>, StoreError> {
        self.told("see in which chats something was said", heard_chats(&self.readers).await)
    }

    /// The keys of all tasks that begin with `prefix`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn task_keys(&self, prefix: &str) -> Result<Vec<DeliveryKey>, StoreError> {
        self.told("list the tasks that were taken over", task_keys(&self.readers, prefix).await)
    }

    /// Registers a group, unless it is, and takes over what was said in it; all of it or nothing. `false`: its chat
    /// [was heard](Self::heard_chats) here, so the conversation stays as it is.
    ///
    /// # Errors
    /// Those of [`add_group`](nanoclaw_core::store::Store::add_group).
    pub async fn take_over(&self, conversation: &Conversation) -> Result<bool, StoreError> {
        let mut write = self.begin("take a conversation over").await?;
        let done = take_over(&mut write.transaction, conversation).await;
        write.finish(done).await
    }

    /// Keeps a task with its record; `false`, and nothing changes, when there is one of this key.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn take_task_over(&self, task: &PastTask) -> Result<bool, StoreError> {
        let mut write = self.begin("take a task over").await?;
        let done = take_task_over(&mut write.transaction, task).await;
        write.finish(done).await
    }
}

async fn heard_chats(pool: &SqlitePool) -> Result<Vec<ChatId>, Problem> {
    let found = sqlx::query("SELECT DISTINCT chat FROM messages").fetch_all(pool).await?;
    found.iter().map(|row| rows::id(row, "chat")).collect()
}

async fn task_keys(pool: &SqlitePool, prefix: &str) -> Result<Vec<DeliveryKey>, Problem> {
    let found = sqlx::query("SELECT key FROM tasks WHERE substr(key, 1, length($1)) = $1").bind(prefix);
    found.fetch_all(pool).await?.iter().map(|row| rows::id(row, "key")).collect()
}

async fn take_over(write: &mut SqliteConnection, conversation: &Conversation) -> Result<bool, Problem> {
    let Conversation { group, chat, answered, waiting, said, session } = conversation;
    let known = sqlx::query(
        "SELECT EXISTS (SELECT 1 FROM groups WHERE folder = $1 AND chat = $2) AS registered,
                EXISTS (SELECT 1 FROM messages WHERE chat = $2) AS heard",
    )
    .bind(group.folder.as_str())
    .bind(group.chat.as_str())
    .fetch_one(&mut *write)
    .await?;
    groups::note_chat(write, chat).await?;
    if !known.try_get::<bool, _>("registered")? {
        groups::add(write, group).await?;
    }
    if known.try_get::<bool, _>("heard")? {
        return Ok(false);
    }
    for message in answered {
        inbox::insert(write, message, Wakes::No, message.sent_at).await?;
    }
    // What comes after this is beyond the cursor.
    sqlx::query("UPDATE groups SET answered_through = (SELECT COALESCE(MAX(seq), 0) FROM messages) WHERE folder = $1")
        .bind(group.folder.as_str())
        .execute(&mut *write)
        .await?;
    for (message, wakes) in waiting {
        inbox::insert(write, message, *wakes, message.sent_at).await?;
    }
    for said in said {
        sqlx::query(
            "INSERT INTO outbox (key, chat, text, state, attempts, not_before_ms, posted_at_ms, sent_at_ms, platform_id)
             VALUES ($1, $2, $3, 'sent', 1, $4, $4, $4, $5) ON CONFLICT (key) DO NOTHING",
        )
        .bind(said.key.as_str())
        .bind(group.chat.as_str())
        .bind(&said.text)
        .bind(said.at.as_ms())
        .bind(said.id.as_str())
        .execute(&mut *write)
        .await?;
    }
    if let Some(session) = session {
        sessions::keep(write, &group.folder, &SessionContext::Chat, session).await?;
    }
    Ok(true)
}

async fn take_task_over(write: &mut SqliteConnection, past: &PastTask) -> Result<bool, Problem> {
    let known = sqlx::query("SELECT 1 FROM tasks WHERE key = $1").bind(past.task.key.as_str());
    if known.fetch_optional(&mut *write).await?.is_some() {
        return Ok(false);
    }
    let id: TaskId = tasks::add(write, &past.task, past.created_at).await?;
    sqlx::query("UPDATE tasks SET status = $1, paused_why = $2, next_due_ms = $3 WHERE id = $4")
        .bind(Word::word(past.status))
        .bind(past.paused_why.as_deref())
        .bind(past.next_due.map(Timestamp::as_ms))
        .bind(id.as_str())
        .execute(&mut *write)
        .await?;
    for firing in &past.firings {
        sqlx::query(
            "INSERT INTO firings (task_id, due_ms, state, not_before_ms, tries, started_at_ms, ended_at_ms, answered, text, remark)
             VALUES ($1, $2, $3, $2, 1, $2, $4, $5, $6, $7)",
        )
        .bind(id.as_str())
        .bind(firing.due.as_ms())
        .bind(Word::word(firing.state))
        .bind(firing.ended.as_ms())
        .bind(firing.state == FiringState::Done)
        .bind(firing.text.as_deref())
        .bind(firing.remark.as_deref())
        .execute(&mut *write)
        .await?;
    }
    Ok(true)
}
