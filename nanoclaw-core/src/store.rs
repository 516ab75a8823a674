//! The port to what keeps everything: inbox, groups, sessions, runs, turns, outbox.
//!
//! Each method is one transaction: it has happened wholly, durably, when it returns `Ok`, and not at all when it returns
//! `Err`. What a store must do is pinned by `testing::store_suite`, which runs against every implementation.

use async_trait::async_trait;

use crate::{
    attachment::SpoolName,
    chat::{ChatId, ChatMetadata},
    delivery::{Answered, Delivery, DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder},
    message::{InboundMessage, PlatformMessageId, Seq, StoredMessage, Wakes},
    pairing::{Heard, Pairing, PairingId, SaidCode},
    run::{BlockNumber, Handed, RunEnding, RunId, RunKind, RunNumber, TaskId},
    runtime::{InstallId, RuntimeKind},
    session::{SessionId, SessionName},
    tasks::FiringWord,
    time::Timestamp,
};

/// What a store can say instead of doing what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another group has this chat.
    #[error("the chat {chat} is registered already, as the group {folder}")]
    ChatTaken {
        /// The chat.
        chat: ChatId,
        /// Whose it is.
        folder: GroupFolder,
    },
    /// Another chat has this folder.
    #[error("the folder {folder} belongs to the chat {chat} already")]
    FolderTaken {
        /// The folder.
        folder: GroupFolder,
        /// Whose it is.
        chat: ChatId,
    },
    /// There is a main group and it is another one.
    #[error("the main group is {folder} already; there is only one")]
    MainTaken {
        /// Which.
        folder: GroupFolder,
    },
    /// No such group.
    #[error("there is no group {folder}")]
    NoGroup {
        /// Which.
        folder: GroupFolder,
    },
    /// The database was written by a newer version.
    #[error(
        "the database {path} was written by a newer version of nanoclaw (its schema is {found}, this version knows {known}); install that version or restore a backup"
    )]
    Newer {
        /// Where it is.
        path: String,
        /// Its schema version.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// The database failed: disk full, read-only, damaged.
    #[error("the database failed to {action}: {reason}")]
    Failed {
        /// What was tried ("accept a message").
        action: &'static str,
        /// What came back, with the remedy where one is known.
        reason: String,
    },
}

/// What became of a message that was handed to the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is stored, here.
    Stored(Seq),
    /// It had been stored before, here; nothing changed.
    Duplicate(Seq),
    /// The chat is no group (any more): what is known of the chat was kept, the message was not.
    Unregistered,
}

/// A run to be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Whose, and its number; larger than any number the group had.
    pub id: RunId,
    /// What it is for.
    pub kind: RunKind,
    /// Which runtime will run it.
    pub runtime: RuntimeKind,
    /// What it is handed as its first turn, noted in the same moment; `None`: it is handed that [later](Store::hand_over), or nothing.
    pub handed: Option<Handed>,
    /// When.
    pub at: Timestamp,
}

/// One marker block of a run, to be committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockCommit {
    /// Its place in the run's output.
    pub number: BlockNumber,
    /// What the user is told; `None` when nothing.
    pub reply: Option<NewDelivery>,
    /// Every message up to this one is answered by it; `None` when it answers nothing. Counts no further than what was
    /// handed to the run, since the number comes from the container.
    pub answers: Option<Seq>,
    /// The session to resume next time, and of which conversation it is; `None` leaves what is stored. Never from a failure
    /// (fault F8). When the chat's conversation is meant and was ended meanwhile, it is kept under the name under which that was put aside, if
    /// it was.
    pub session: Option<(SessionContext, SessionId)>,
    /// Every turn that ends with this message or before was in the agent's hands when it was read; `None` leaves the turns as
    /// they were noted. What is answered was taken, whether this says so or not.
    pub taken: Option<Seq>,
    /// Whether the agent says in its blocks which messages they answer. Noted for the run, and never taken back.
    pub names_messages: bool,
    /// What it says about the firing that the run is at: that is answered by it. `None` when the run is at none, or this is
    /// no answer.
    pub firing: Option<FiringWord>,
    /// When it was read.
    pub at: Timestamp,
}

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockOutcome {
    /// Reply, cursor and session are stored; the outbox row, when there was a reply.
    Committed(Option<OutboxId>),
    /// This block was committed before (the other copy of it came by the journal or the stream); nothing changed. Said
    /// also when the run is over by now.
    Duplicate,
    /// The run is not the group's open run (any more); nothing changed.
    Fenced,
}

/// Which conversation of a group a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SessionContext {
    /// The chat's own.
    Chat,
    /// A scheduled task's.
    Task(TaskId),
    /// One of the chat's that goes on when somebody names it.
    Aside(SessionName),
}

/// What a chat goes on with when its conversation is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextSession {
    /// A new one of the same name; what there was is forgotten.
    New,
    /// The one of this name, or a new one when there is none; what there was is put aside under its name.
    Named(SessionName),
}

/// The conversations of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSessions {
    /// What the one is called that the chat goes on with.
    pub current: SessionName,
    /// Those that can be resumed, in no order. The current one is [`Chat`](SessionContext::Chat)'s.
    pub sessions: Vec<(SessionContext, SessionId)>,
}

/// What the orchestrator must know of a group when it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRecovery {
    /// The group.
    pub group: Group,
    /// The number of its latest run; zero when it had none.
    pub last_run: RunNumber,
    /// The newest message that wakes beyond the cursor; `None` when none waits.
    pub waiting: Option<Seq>,
    /// How many of its runs failed since the last block was committed or messages were given up.
    pub failures: u32,
}

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRun {
    /// Whose and which.
    pub id: RunId,
    /// What it was for.
    pub kind: RunKind,
    /// Which runtime.
    pub runtime: RuntimeKind,
    /// When it was opened.
    pub started_at: Timestamp,
    /// When it was closed; `None` while it is open.
    pub ended_at: Option<Timestamp>,
    /// The word for how it ended ([`RunEnding::word`]); `None` while it is open.
    pub ending: Option<String>,
    /// The sentence for how it ended.
    pub detail: Option<String>,
    /// Whether its agent says in its blocks which messages they answer; `None` while none of its blocks is committed.
    pub names_messages: Option<bool>,
    /// Whether the conversation of its group's chat was ended meanwhile ([`Store::end_session`]): it answers what it has, and the chat goes on
    /// with another.
    pub session_ended: bool,
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// On its way to the agent: noted, and perhaps in its mailbox.
    Handed,
    /// In the agent's hands; no answer yet.
    Taken,
    /// A committed block answered its last message.
    Answered,
    /// The run ended first; its messages are waiting again.
    Unanswered,
}

/// A turn as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTurn {
    /// What was handed over.
    pub handed: Handed,
    /// When it was handed over.
    pub handed_at: Timestamp,
    /// Where it stands.
    pub state: TurnState,
    /// When it was noted that the agent has it; `None` when that was never seen.
    pub taken_at: Option<Timestamp>,
    /// When it was answered, or when its run ended; `None` before.
    pub ended_at: Option<Timestamp>,
}

/// Where an outgoing message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent; it was not sent before, or sending it again does no harm.
    Pending,
    /// Being sent at this moment, or by a host that died meanwhile: then it was sent, or it was not.
    Sending,
    /// Sent.
    Sent,
    /// Given up, and not sent; kept and shown.
    Failed,
    /// It was sent, or it was not; a person decides.
    Unknown,
    /// A person decided that it need not be sent.
    Dropped,
}

/// What follows on a try to send that did not end with a message sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterTry {
    /// It was not sent, or sending it again does no harm: it is pending, and not tried before this.
    TryAgain(Timestamp),
    /// It may have been sent: it stays as sending, and the channel is not asked whether it was before this.
    LookUp(Timestamp),
    /// It is failed. The notice about it is posted at once.
    GiveUp(Option<NewDelivery>),
    /// It is unknown, and a person decides. The notice about it is posted at once.
    Ask(Option<NewDelivery>),
}

/// What a person decided about an outgoing message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It is sent (again), at once, with all its tries.
    SendAgain,
    /// It is not sent.
    Drop,
}

/// What came of a decision about an outgoing message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It was done; the row as it is now.
    Done(StoredDelivery),
    /// There is nothing to decide: the row, which did not change, was sent, or is being sent.
    Refused(StoredDelivery),
    /// There is no such row.
    NoRow,
}

/// Which rows of the outbox are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeliveryFilter {
    /// In one of these states; in any when it is empty.
    pub states: Vec<DeliveryState>,
    /// To this chat; to any when `None`.
    pub chat: Option<ChatId>,
}

/// Messages that the group goes on without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GiveUp {
    /// Up to which message beyond the cursor.
    pub through: Seq,
    /// Why, a sentence fragment ("the run ended with code 3").
    pub reason: String,
    /// The run that failed last; `None` when none was to blame.
    pub run: Option<RunNumber>,
    /// How they are marked: [`Kept`](SetAsideState::Kept), or [`Dropped`](SetAsideState::Dropped) by an operator.
    pub state: SetAsideState,
    /// What the chat is told, in the same transaction; `None` when the one who drops them knows.
    pub notice: Option<NewDelivery>,
}

impl GiveUp {
    /// An operator decides that what waits up to `through` needs no answer.
    #[must_use]
    pub fn dropped(through: Seq) -> Self {
        let reason = "was dropped before it was answered".to_owned();
        Self { through, reason, run: None, state: SetAsideState::Dropped, notice: None }
    }
}

/// Somebody stops what is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopWork {
    /// The answer's key: one that is there already means that this was done before.
    pub key: DeliveryKey,
    /// The command that it is an answer to.
    pub command: Answered,
    /// Why the messages were dropped, or the task's time given up: a sentence fragment.
    pub reason: String,
    /// What the chat is told when messages were dropped.
    pub stopped: String,
    /// What it is told, after that, when a task was running.
    pub task_stopped: String,
    /// What it is told when there was nothing to stop.
    pub nothing: String,
}

/// What came of stopping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It was done before; nothing changed.
    Before,
    /// Nothing waited for an answer, and no task was running.
    Nothing,
    /// What was worked on is stopped.
    Work {
        /// What waited is dropped up to this message; `None`: nothing did.
        through: Option<Seq>,
        /// The chat's run that was open, which is closed.
        run: Option<RunNumber>,
        /// The task that was running, whose run is closed.
        task: Option<TaskId>,
    },
}

impl StopWork {
    /// What the chat is told, when messages were dropped or not, and a task was running or not.
    #[must_use]
    pub fn answer(&self, dropped: bool, task: bool) -> String {
        match (dropped, task) {
            (false, false) => self.nothing.clone(),
            (true, false) => self.stopped.clone(),
            (false, true) => self.task_stopped.clone(),
            (true, true) => format!("{}\n\n{}", self.stopped, self.task_stopped),
        }
    }
}

/// What came of ending a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionEnded {
    /// It was done before; nothing changed.
    Before,
    /// It is ended.
    Now,
    /// It is the one that was named, and goes on.
    Same,
}

/// What became of messages that were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetAsideState {
    /// They wait for somebody to decide.
    Kept,
    /// They were said again.
    Retried,
    /// Somebody decided that they need no answer.
    Dropped,
}

impl SetAsideState {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Retried => "retried",
            Self::Dropped => "dropped",
        }
    }
}

/// Messages that were set aside, together, by one [`Store::give_up`]. Group and last message name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Whose they were.
    pub group: GroupFolder,
    /// The chat they are in.
    pub chat: ChatId,
    /// First and last of them, context included.
    pub messages: Handed,
    /// Why.
    pub reason: String,
    /// The run that failed last.
    pub run: Option<RunNumber>,
    /// When.
    pub at: Timestamp,
    /// What became of them.
    pub state: SetAsideState,
}

/// What is decided about messages that were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnResolution {
    /// They are said again, at the end of the inbox. That holds for dropped ones too.
    Retry,
    /// They need no answer.
    Drop,
}

/// What came of a decision about messages that were set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnResolved {
    /// They were said again; the last of them that wakes is here, or `None` when none does.
    Retried {
        /// Its place.
        newest: Option<Seq>,
    },
    /// They are marked as dropped.
    Dropped,
    /// That was decided before; nothing changed.
    Already(SetAsideState),
    /// Nothing of that name was ever set aside.
    Unknown,
}

/// How a run is closed of which nobody has seen the end when the next one of its group is opened.
#[must_use]
pub fn superseded() -> RunEnding {
    RunEnding::Lost { reason: "nobody saw its end before the group went on without it".to_owned() }
}

/// An outbox row as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// What and where to.
    pub delivery: Delivery,
    /// Where it stands.
    pub state: DeliveryState,
    /// Not to be tried before this; at first the moment it was posted.
    pub not_before: Timestamp,
    /// Why the last attempt failed; `None` when it did not.
    pub last_error: Option<String>,
    /// When it was sent; `None` when it was not.
    pub sent_at: Option<Timestamp>,
    /// The service's id of the sent message, when it told one.
    pub platform_id: Option<PlatformMessageId>,
    /// How often a person decided about it.
    pub decisions: u32,
}

/// How many messages of a chat are looked at for the threads in which something was said.
pub const LATEST_WITH_THREADS: u32 = 2000;

/// Keeps everything.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // --- the installation -------------------------------------------------------------------------------------------

    /// This installation's id: made on first use, the same ever after.
    async fn install_id(&self) -> Result<InstallId, StoreError>;

    // --- chats and groups -------------------------------------------------------------------------------------------

    /// Keeps what is known of a chat; a `None` name or kind leaves the one that is stored, and it is never seen earlier
    /// than it was.
    async fn note_chat(&self, chat: &ChatMetadata) -> Result<(), StoreError>;

    /// All chats ever seen, last seen first, by id where that is equal.
    async fn chats(&self) -> Result<Vec<ChatMetadata>, StoreError>;

    /// All groups, in the order in which they were registered.
    async fn groups(&self) -> Result<Vec<Group>, StoreError>;

    /// Registers a group. Never replaces one (fault F67). A new group's cursor stands at the end of the inbox. A run of
    /// the folder that is still open from an earlier registration is closed as lost.
    ///
    /// # Errors
    /// [`StoreError::ChatTaken`], [`StoreError::FolderTaken`], [`StoreError::MainTaken`]; the first of them that holds.
    async fn add_group(&self, group: &Group) -> Result<(), StoreError>;

    /// Forgets a registration and its sessions. Messages, runs and the folder on disk stay; numbers of runs are not reused
    /// if the folder is registered again. A run that is still open is fenced from now on; it can be closed.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError>;

    /// What the orchestrator needs at start, in the order in which groups with waiting messages began to wait (oldest
    /// waiting message that wakes first), the others after them in the order in which they were registered.
    async fn recover(&self) -> Result<Vec<GroupRecovery>, StoreError>;

    // --- pairing ----------------------------------------------------------------------------------------------------

    /// Keeps a pairing, in the place of the last one: the code of that one is void.
    async fn begin_pairing(&self, pairing: &Pairing) -> Result<(), StoreError>;

    /// The last pairing, also when it is over.
    async fn pairing(&self) -> Result<Option<Pairing>, StoreError>;

    /// The code of this pairing is void from now on, unless it is over; nothing happens when it is not the last one.
    async fn withdraw_pairing(&self, id: &PairingId) -> Result<(), StoreError>;

    /// Does what [`Pairing::hear`] decides about a code, at once: the group is registered as by [`add_group`](Self::add_group),
    /// or refused for the same reasons, and that is noted with the pairing; the [answer](Pairing::answer) is posted. A
    /// wrong code is noted. Of the chat nothing is noted.
    async fn hear_code(&self, code: &SaidCode, at: Timestamp) -> Result<Heard, StoreError>;

    // --- inbox ------------------------------------------------------------------------------------------------------

    /// Stores a message of a registered chat, and what is known of the chat. Same chat and platform id: a duplicate. Of a
    /// chat that is no group only the chat is kept.
    async fn accept(&self, message: &InboundMessage, wakes: Wakes, at: Timestamp) -> Result<Accepted, StoreError>;

    /// When the latest message of `chat` that is stored was said, by the service's clock; `None`: none is stored.
    async fn said_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError>;

    /// The [threads](InboundMessage::thread) of `chat` in which something was said at `since` or later, by the service's clock: up to `limit`,
    /// those first in which something came last. Looks at the [`LATEST_WITH_THREADS`] messages of the chat that came last.
    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError>;

    /// Up to `limit` messages of `group`'s chat beyond `after` and beyond the group's cursor, in order: the oldest ones, so
    /// that no limit makes a cursor pass what was not seen (fault F7).
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn messages_after(
        &self,
        group: &GroupFolder,
        after: Seq,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// How many messages of `group`'s chat are beyond its cursor, those that do not wake included.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn unanswered(&self, group: &GroupFolder) -> Result<u64, StoreError>;

    /// The group's cursor: everything up to it is answered or given up.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn cursor(&self, group: &GroupFolder) -> Result<Seq, StoreError>;

    /// The latest `limit` messages of the group's chat that were given up, latest first.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn given_up(&self, group: &GroupFolder, limit: u32) -> Result<Vec<StoredMessage>, StoreError>;

    /// The names of the spooled files that are needed, in no order: of messages that are not done with, which are those beyond
    /// their group's cursor and those that were set aside and are kept; and of rows of the outbox that are to be sent, or of which
    /// a person may yet decide that they are (failed and unknown ones).
    async fn files_in_use(&self) -> Result<Vec<SpoolName>, StoreError>;

    // --- runs, turns, sessions --------------------------------------------------------------------------------------

    /// Opens a run, and notes its first turn if it is given one. An older run of the group that is still open is closed as lost ([`superseded`]), its unanswered turns
    /// likewise: from now on its words are late.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`]; `Failed` when the number is not larger than the group's last.
    async fn open_run(&self, run: &NewRun) -> Result<(), StoreError>;

    /// Notes that a range of messages was handed to the run as one turn. Called before the prompt is written. The same range
    /// again is the same turn and changes nothing, so that a call of which an error was told can be made again.
    ///
    /// # Errors
    /// `Failed` when the run is not the group's open run: what is handed to it would be answered by late words.
    async fn hand_over(&self, run: &RunId, handed: Handed, at: Timestamp) -> Result<(), StoreError>;

    /// Commits one block of the group's open run: reply into the outbox, cursor, session, turns answered. The cursor never
    /// moves back. The session is the one of the run's kind: the chat's, or the task's.
    async fn commit_block(&self, run: &RunId, block: &BlockCommit) -> Result<BlockOutcome, StoreError>;

    /// Notes that every turn of the group's open run that ends with `through` or before is in the agent's hands. Changes
    /// nothing for a run that is not open, and nothing about turns that are answered.
    async fn turns_taken(&self, run: &RunId, through: Seq, at: Timestamp) -> Result<(), StoreError>;

    /// Closes a run; its unanswered turns are marked as such. Closing a closed run changes nothing.
    ///
    /// # Errors
    /// `Failed` when there never was such a run.
    async fn close_run(&self, run: &RunId, ending: &RunEnding, at: Timestamp) -> Result<(), StoreError>;

    /// Gives up the messages of a group beyond its cursor up to `through`: marks them, keeps them as set aside, moves the
    /// cursor, and posts the notice, at once. When `through` is not beyond the cursor (this was done before, or they were
    /// answered meanwhile), or no message of the group is there, nothing is set aside and nothing is posted; `None`. A
    /// `through` beyond the end of the inbox means its end.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn give_up(
        &self,
        group: &GroupFolder,
        given_up: &GiveUp,
        at: Timestamp,
    ) -> Result<Option<SetAside>, StoreError>;

    /// What was set aside in a group, in all when `None`, the latest `limit`, latest first; with `resolved` also what was
    /// retried or dropped since. What belonged to groups that are removed is among it.
    async fn set_aside(
        &self,
        group: Option<&GroupFolder>,
        resolved: bool,
        limit: u32,
    ) -> Result<Vec<SetAside>, StoreError>;

    /// Decides about what was set aside in a group up to the message `last`. To retry means that its messages come to the
    /// end of the inbox once more, in order, with ids derived from their places; whoever retries twice has retried once. The
    /// originals keep their marks.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`] when they are to be retried and the group is gone, or has another chat now.
    async fn resolve_set_aside(
        &self,
        group: &GroupFolder,
        last: Seq,
        resolution: TurnResolution,
        at: Timestamp,
    ) -> Result<TurnResolved, StoreError>;

    /// The messages of a chat from `first` to `last`, both included, the first `limit` of them, in order.
    async fn messages_between(
        &self,
        chat: &ChatId,
        messages: Handed,
        limit: u32,
    ) -> Result<Vec<StoredMessage>, StoreError>;

    /// The latest `limit` runs of a group, last opened first; of all groups when `None`. Runs of groups that are removed
    /// are among them.
    async fn runs(&self, group: Option<&GroupFolder>, limit: u32) -> Result<Vec<StoredRun>, StoreError>;

    /// All runs that were opened and not closed, in no order.
    async fn open_runs(&self) -> Result<Vec<StoredRun>, StoreError>;

    /// The turns of a run in the order in which they were handed over; none when there is no such run.
    async fn turns(&self, run: &RunId) -> Result<Vec<StoredTurn>, StoreError>;

    /// The session to resume; `None` also when there is no such group.
    async fn session(&self, group: &GroupFolder, context: &SessionContext) -> Result<Option<SessionId>, StoreError>;

    /// Forgets the session with which `run` was to go on, and which cannot be resumed. Nothing happens when there is none, or the run is not
    /// its group's open run. A conversation that its chat has gone on with since is another.
    async fn forget_session(&self, run: &RunId, context: &SessionContext) -> Result<(), StoreError>;

    /// The conversations of a group; `None` when there is no such group.
    async fn sessions(&self, group: &GroupFolder) -> Result<Option<GroupSessions>, StoreError>;

    /// Forgets the session of a conversation that somebody wants to begin anew; `false` when there was none. That of the chat is ended by
    /// [`end_session`](Self::end_session), which tells its run.
    async fn drop_session(&self, group: &GroupFolder, context: &SessionContext) -> Result<bool, StoreError>;

    /// Ends the conversation of a group's chat, which goes on with the next, and posts the answer to whoever asked for that, at once. What a
    /// run that is open says of its conversation belongs to the one that was ended from now on. A key that is there already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn end_session(
        &self,
        group: &GroupFolder,
        next: &NextSession,
        answer: Option<&NewDelivery>,
        at: Timestamp,
    ) -> Result<SessionEnded, StoreError>;

    /// Stops what is worked on for a group's chat, at once: what waits, up to the newest message that wakes, is given up as
    /// dropped, a run for the chat that is open is closed as stopped, so that what it still says is late, and the answer is
    /// posted. When nothing that wakes waits, such a run goes on. A task's run of the group that is at a firing is closed too: the
    /// firing is done when its agent has answered, and else cancelled, with the reason; the task stays. A key that is there
    /// already changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`].
    async fn stop_work(&self, group: &GroupFolder, stop: &StopWork, at: Timestamp) -> Result<Stopped, StoreError>;

    // --- outbox -----------------------------------------------------------------------------------------------------

    /// Puts a message into the outbox; a key that is there already is the same message again and changes nothing (fault
    /// F21). What it [answers](NewDelivery::answers) is decided here and stays so; a message of the inbox is kept as a reference
    /// (that of the original, when it is one that was said again), and shown by the rows as [`Answered`] says. Rows of a message
    /// that is no more are answers to nothing.
    async fn post(&self, delivery: &NewDelivery, at: Timestamp) -> Result<OutboxId, StoreError>;

    /// All rows that are to be sent, pending and sending ones, in the order of their ids; those whose time has not come
    /// included.
    async fn pending_deliveries(&self) -> Result<Vec<StoredDelivery>, StoreError>;

    /// Up to `limit` such rows of one chat in the order of their ids.
    async fn pending_deliveries_of(&self, chat: &ChatId, limit: u32) -> Result<Vec<StoredDelivery>, StoreError>;

    /// A pending row is about to be sent: it is sending from now on. Changes nothing when it is not pending.
    ///
    /// # Errors
    /// `Failed` when there is no such row.
    async fn delivery_begun(&self, id: OutboxId) -> Result<(), StoreError>;

    /// A sending row was not sent, since nobody was there to take it: it is pending again, and this was no try. Changes
    /// nothing when it is not sending.
    ///
    /// # Errors
    /// `Failed` when there is no such row.
    async fn delivery_postponed(&self, id: OutboxId) -> Result<(), StoreError>;

    /// A row was sent. That is final, whatever was said of the row before (it was given up, or dropped): a failure that is
    /// reported later changes nothing (fault F20).
    ///
    /// # Errors
    /// `Failed` when there is no such row.
    async fn delivery_sent(&self, id: OutboxId, sent: &Sent, at: Timestamp) -> Result<(), StoreError>;

    /// A try to send a row did not end with a message sent, and `after` follows; `at` is when a notice is posted. Changes
    /// and posts nothing when the row is neither pending nor sending.
    ///
    /// # Errors
    /// `Failed` when there is no such row.
    async fn delivery_failed(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// An unknown row turned out not to have been sent, and `after` follows. Its tries stay as they are, since this one was
    /// counted when it became unknown; `at` is when a notice is posted. Changes and posts nothing when the row is not
    /// unknown.
    ///
    /// # Errors
    /// `Failed` when there is no such row.
    async fn delivery_not_sent(
        &self,
        id: OutboxId,
        error: &str,
        after: &AfterTry,
        at: Timestamp,
    ) -> Result<(), StoreError>;

    /// A person decides about a row. Sending again is refused for one that is being sent, and both are for one that was
    /// sent: it cannot be taken back, and what may be under way must not be doubled.
    async fn resolve_delivery(
        &self,
        id: OutboxId,
        resolution: Resolution,
        at: Timestamp,
    ) -> Result<Resolved, StoreError>;

    /// A row by its key.
    async fn delivery(&self, key: &DeliveryKey) -> Result<Option<StoredDelivery>, StoreError>;

    /// A row by its place.
    async fn delivery_at(&self, id: OutboxId) -> Result<Option<StoredDelivery>, StoreError>;

    /// The latest `limit` rows of those that are meant, latest first.
    async fn deliveries(&self, filter: &DeliveryFilter, limit: u32) -> Result<Vec<StoredDelivery>, StoreError>;
}
