//! What the control socket carries, and what the commands show: views of groups, runs, the service, and explanations.
//!
//! These are wire types and the shapes of `--json`: fields may be added, never renamed.

use std::path::PathBuf;

use nanoclaw_core::{
    chat::{ChannelName, ChatId, ChatKind, ChatMetadata},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{Seq, StoredMessage, Wakes},
    pairing::{Pairing, PairingEnd, PairingId, PairingStanding},
    run::{RunNumber, Trouble},
    runtime::{Access, RuntimeKind},
    store::{StoreError, StoredRun},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::{
    channels::status::ChannelState,
    credentials::{CredentialKind, Credentials, Found, Origin, fingerprint},
    gateway::GroupCounts,
    health::Report,
    retention::Tidied,
};

/// A group to be registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Its chat.
    pub chat: ChatId,
    /// The name people know it by: 1 to 100 characters, no control characters.
    pub name: String,
    /// Its folder; `None` makes one of the chat's service and the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<GroupFolder>,
    /// When its agent wakes; `None`: always in the main group, at the assistant's name in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<TriggerPolicy>,
    /// Its rights.
    pub role: GroupRole,
}

/// A registered group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its folder and id.
    pub folder: GroupFolder,
    /// Its chat.
    pub chat: ChatId,
    /// The name people know it by.
    pub name: String,
    /// When its agent wakes.
    pub trigger: TriggerPolicy,
    /// Its rights.
    pub role: GroupRole,
    /// When it was registered.
    pub added_at_ms: Timestamp,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        let Group { folder, chat, name, trigger, role, added_at } = group;
        Self { folder, chat, name, trigger, role, added_at_ms: added_at }
    }
}

/// What a pairing code is wanted for: a private chat becomes a group when the code is written in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPairing {
    /// The group's folder.
    pub folder: GroupFolder,
    /// The name people know it by, as in [`NewGroup`].
    pub name: String,
    /// Its rights. Its agent wakes on every message: a private chat is for it.
    pub role: GroupRole,
}

/// A pairing code.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingView {
    /// Names the pairing.
    pub id: PairingId,
    /// The code, in two halves. Nobody can be told it again.
    pub code: String,
    /// When it is void.
    pub ends_at_ms: Timestamp,
    /// How many wrong codes may be tried, over all chats.
    pub tries: usize,
}

/// Without the code, so that it gets into no log.
impl std::fmt::Debug for PairingView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairingView")
            .field("id", &self.id)
            .field("ends_at_ms", &self.ends_at_ms)
            .finish_non_exhaustive()
    }
}

/// How a pairing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PairingState {
    /// The code can be written.
    Open {
        /// How many wrong codes may still be tried.
        tries_left: usize,
    },
    /// Somebody wrote it.
    Claimed {
        /// In which chat.
        chat: ChatId,
        /// The group that it was registered as.
        folder: GroupFolder,
    },
    /// Somebody wrote it, and something was in the way.
    Refused {
        /// In which chat.
        chat: ChatId,
        /// What.
        reason: String,
    },
    /// It was withdrawn.
    Withdrawn,
    /// Too many wrong codes were tried.
    TriesUsedUp,
    /// Nobody wrote it in time.
    TimeOver,
    /// There is a newer one.
    Replaced,
}

impl PairingState {
    /// How the pairing of this id stands, when `last` is the last one.
    #[must_use]
    pub fn of(id: &PairingId, last: Option<&Pairing>, now: Timestamp) -> Self {
        let Some(last) = last.filter(|last| last.id == *id) else { return Self::Replaced };
        match last.standing(now) {
            PairingStanding::Open { tries_left } => Self::Open { tries_left },
            PairingStanding::Ended(PairingEnd::Claimed(said)) => {
                Self::Claimed { chat: said.chat, folder: last.registers.folder.clone() }
            }
            PairingStanding::Ended(PairingEnd::Refused { by, reason }) => Self::Refused { chat: by.chat, reason },
            PairingStanding::Ended(PairingEnd::Withdrawn) => Self::Withdrawn,
            PairingStanding::TriesUsedUp => Self::TriesUsedUp,
            PairingStanding::TimeOver => Self::TimeOver,
        }
    }
}

/// A group and how things stand in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDetails {
    /// The group.
    #[serde(flatten)]
    pub group: GroupView,
    /// What wakes its agent, in words ("a message that starts with @Andy").
    pub wakes_on: String,
    /// Its folder on disk.
    pub path: PathBuf,
    /// Messages that nobody has answered yet, those that wake nobody included.
    pub unanswered: u64,
    /// Its latest runs, latest first.
    pub runs: Vec<RunView>,
}

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunView {
    /// Its number.
    pub number: RunNumber,
    /// Which runtime ran it.
    pub runtime: RuntimeKind,
    /// When it was opened.
    pub started_at_ms: Timestamp,
    /// When it was closed; `None` while it is open.
    pub ended_at_ms: Option<Timestamp>,
    /// The word for how it ended; `None` while it is open.
    pub ending: Option<String>,
    /// The sentence for how it ended.
    pub detail: Option<String>,
}

impl From<StoredRun> for RunView {
    fn from(run: StoredRun) -> Self {
        Self {
            number: run.id.number,
            runtime: run.runtime,
            started_at_ms: run.started_at,
            ended_at_ms: run.ended_at,
            ending: run.ending,
            detail: run.detail,
        }
    }
}

/// A chat that was seen, registered or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatView {
    /// Which chat.
    pub chat: ChatId,
    /// The channel that carries it.
    pub channel: String,
    /// The name the service shows.
    pub name: Option<String>,
    /// Group or private.
    pub kind: Option<ChatKind>,
    /// When something last happened there.
    pub last_seen_ms: Timestamp,
    /// The group it is registered as.
    pub group: Option<GroupFolder>,
}

impl ChatView {
    /// The view of `chat`, registered as `group`.
    #[must_use]
    pub fn new(chat: ChatMetadata, group: Option<GroupFolder>) -> Self {
        let ChatMetadata { chat, channel, name, kind, last_seen } = chat;
        Self { chat, channel: channel.to_string(), name, kind, last_seen_ms: last_seen, group }
    }
}

/// Which credentials are used, and where they come from; nothing of themselves but a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialsView {
    /// What opens the model API; `None` when there is nothing.
    pub model: Option<ModelCredentialView>,
    /// The other secrets that were found, in the order of their sources.
    pub named: Vec<SecretView>,
    /// The program that gives secrets, when one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Why they could not be read the last time; what is used is what was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// The credential that opens the model API, without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCredentialView {
    /// Its kind.
    pub kind: CredentialKind,
    /// It as a secret with a name.
    #[serde(flatten)]
    pub secret: SecretView,
}

/// A secret without itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretView {
    /// Its name.
    pub name: String,
    /// Where it came from, in words.
    pub source: String,
    /// The file it came from, if it came from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// When its source last changed.
    pub since_ms: Option<Timestamp>,
    /// See [`credentials::fingerprint`](crate::credentials::fingerprint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// What the model API says of the credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialCheck {
    /// How it came out.
    pub outcome: CheckOutcome,
    /// What was found, a sentence.
    pub detail: String,
}

/// How a check of the credential came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The model API takes it.
    Taken,
    /// The model API refuses it.
    Refused,
    /// Nobody could be asked, or the answer says nothing about it.
    CannotTell,
}

impl CredentialsView {
    /// The view of `credentials` as they are now.
    #[must_use]
    pub fn of(credentials: &Credentials) -> Self {
        let model = credentials.model();
        let view = |found: &Found| SecretView {
            name: found.name.clone(),
            source: found.origin.to_string(),
            file: match &found.origin {
                Origin::File { file, .. } => Some(file.clone()),
                _ => None,
            },
            since_ms: found.since,
            fingerprint: Some(fingerprint(&found.secret)),
        };
        let all = credentials.all();
        let is_model = |found: &&Found| {
            model.as_ref().is_some_and(|model| model.kind.variable() == found.name && model.source == found.origin)
        };
        Self {
            model: model.as_ref().and_then(|model| {
                let found = all.iter().find(is_model)?;
                Some(ModelCredentialView { kind: model.kind, secret: view(found) })
            }),
            named: all.iter().filter(|found| !is_model(found)).map(view).collect(),
            command: credentials.command().map(str::to_owned),
            problem: credentials.problem(),
        }
    }

    /// The same without fingerprints.
    #[must_use]
    pub fn without_fingerprints(mut self) -> Self {
        let model = self.model.iter_mut().map(|model| &mut model.secret);
        model.chain(&mut self.named).for_each(|secret| secret.fingerprint = None);
        self
    }
}

/// How everything stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The service; `None` when none runs.
    pub service: Option<ServiceStatus>,
    /// All groups, in the order in which they were registered.
    pub groups: Vec<GroupStatus>,
    /// Outgoing messages that are not settled.
    #[serde(default)]
    pub outbox: OutboxStatus,
    /// Turns that were set aside and are neither retried nor dropped.
    #[serde(default)]
    pub set_aside: u32,
    /// What is scheduled.
    #[serde(default)]
    pub tasks: TasksStatus,
    /// The runs that failed last, latest first, five at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_failures: Vec<FailedRun>,
}

/// A run that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedRun {
    /// Whose.
    pub group: GroupFolder,
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
}

/// What groups' runs came to, day by day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// The zone whose days these are, by its name; `None` where it has none.
    pub zone: Option<String>,
    /// Each group that did something on one of the days, by folder; those that are removed among them.
    pub groups: Vec<GroupStats>,
}

/// What one group's runs came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStats {
    /// Whose.
    pub group: GroupFolder,
    /// All the days together.
    pub total: StatsFigures,
    /// The days on which something was done, the latest first.
    pub days: Vec<DayStats>,
    /// What it used of the gateway since the service started; `None` when no service runs, or it used nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GroupCounts>,
}

/// One day of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayStats {
    /// The day, such as `2026-11-22`.
    pub day: String,
    /// What was done.
    #[serde(flatten)]
    pub figures: StatsFigures,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatsFigures {
    /// Messages that the group's people wrote.
    pub messages: u64,
    /// Turns that were answered.
    pub answered: u64,
    /// Runs that began.
    pub runs: u64,
    /// Those of them that ended in a failure.
    pub failed: u64,
    /// Milliseconds that their containers lived, those that waited for something to do included.
    pub container_ms: u64,
    /// Due times of tasks that were done or failed.
    pub firings: u64,
    /// What their agents told that the model cost, in millionths of a dollar; `None`: none told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_cost_micros: Option<i64>,
}

impl StatsFigures {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let cost = match (self.task_cost_micros, other.task_cost_micros) {
            (Some(one), Some(more)) => Some(one.saturating_add(more)),
            (one, more) => one.or(more),
        };
        Self {
            messages: self.messages + other.messages,
            answered: self.answered + other.answered,
            runs: self.runs + other.runs,
            failed: self.failed + other.failed,
            container_ms: self.container_ms + other.container_ms,
            firings: self.firings + other.firings,
            task_cost_micros: cost,
        }
    }
}

/// How many tasks there are; what is counted ends at ten thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TasksStatus {
    /// Those that wait for their time, or are at work.
    pub active: u32,
    /// Those of them whose last time went wrong.
    pub failing: u32,
    /// Those that rest.
    pub paused: u32,
    /// When the first is due.
    pub next_due_ms: Option<Timestamp>,
}

/// How many outgoing messages are not settled; what is counted ends at a thousand of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OutboxStatus {
    /// Wait to be sent, or are being sent.
    pub waiting: u32,
    /// Were given up.
    pub failed: u32,
    /// Were perhaps sent; somebody has to decide.
    pub unknown: u32,
}

/// How the service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it started.
    pub started_at_ms: Timestamp,
    /// What runs its containers, in words ("docker 28.1").
    pub runtime: String,
    /// Why nothing can run in it now; `None` while it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_away: Option<RuntimeAway>,
    /// Containers that it counts now.
    pub containers: u32,
    /// Containers that it allows.
    pub max_containers: u32,
    /// Its channels, by name.
    pub channels: Vec<ChannelStatus>,
    /// How it is, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Report>,
}

/// A runtime that does not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeAway {
    /// Since when the service waits for it; `None` for one that was there before, when nobody noted when it went.
    pub since_ms: Option<Timestamp>,
    /// What came back from it last.
    pub reason: String,
    /// What to do.
    pub help: String,
    /// When it is asked again at the latest; `None` while it is being asked, and for one that was there before: whatever needs
    /// it asks it.
    pub next_try_at_ms: Option<Timestamp>,
}

/// How a channel stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its name.
    pub name: String,
    /// Whether it can send now.
    pub connected: bool,
    /// Since when it is connected, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<Timestamp>,
    /// Why it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do about it; without it nothing needs to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at_ms: Option<Timestamp>,
}

impl ChannelStatus {
    /// One of which no more is known than that it is there.
    #[must_use]
    pub fn connected(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, connected: true, since_ms: None, reason: None, help: None, next_try_at_ms: None }
    }

    /// A service's; `None` when nobody uses it.
    #[must_use]
    pub fn of(name: &ChannelName, state: ChannelState) -> Option<Self> {
        let is = Self::connected(name.as_str());
        let not = |reason: String| Self { connected: false, reason: Some(reason), ..is.clone() };
        Some(match state {
            ChannelState::Unused { .. } => return None,
            ChannelState::Connected { since } => Self { since_ms: Some(since), ..is },
            ChannelState::Connecting => not("it is being connected".to_owned()),
            ChannelState::Ended => not("the service ends".to_owned()),
            ChannelState::Waiting { reason, next_try } => Self { next_try_at_ms: next_try, ..not(reason) },
            ChannelState::Refused { reason, remedy } => Self { help: Some(remedy), ..not(reason) },
        })
    }
}

/// What a group's container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// There is none, and nothing to do.
    Idle,
    /// There is something to do, and no slot.
    Waiting,
    /// It is started ahead, before anybody has asked anything.
    Preparing,
    /// It was started ahead and waits for its first prompt.
    Standby,
    /// It is being started.
    Starting,
    /// It works.
    Busy,
    /// It is alive and has nothing to do.
    Resting,
    /// It is being ended.
    Stopping,
    /// A run failed; the next try comes later.
    BackingOff,
    /// It waits for the end of a trouble that is not its messages' fault.
    Paused,
    /// Nothing is started until somebody changes something.
    Frozen,
    /// Its container was started by an earlier service, and the runtime does not tell yet whether it lives.
    Held,
}

impl GroupState {
    /// The state that core's word is for.
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        use GroupState::{
            BackingOff, Busy, Frozen, Held, Idle, Paused, Preparing, Resting, Standby, Starting, Stopping, Waiting,
        };
        [Idle, Waiting, Preparing, Standby, Starting, Busy, Resting, Stopping, BackingOff, Paused, Frozen, Held]
            .into_iter()
            .find(|state| state.word() == word)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Preparing => "preparing",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Busy => "busy",
            Self::Resting => "resting",
            Self::Stopping => "stopping",
            Self::BackingOff => "backing off",
            Self::Paused => "paused",
            Self::Frozen => "frozen",
            Self::Held => "held",
        }
    }
}

/// How a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Which.
    pub folder: GroupFolder,
    /// The name people know it by.
    pub name: String,
    /// What its container does; `None` when no service runs.
    pub state: Option<GroupState>,
    /// Since when; `None` when no service runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<Timestamp>,
    /// What it waits for the end of, when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
    /// When the next try is, when it is paused or backing off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at_ms: Option<Timestamp>,
    /// Runs that failed in a row.
    #[serde(default)]
    pub failures: u32,
    /// Messages that nobody has answered yet, those that wake nobody included.
    pub unanswered: u64,
    /// Whether one of them is to be answered; otherwise they are context for what comes.
    #[serde(default)]
    pub waits: bool,
    /// Whether a channel that carries its chat is connected; `None` when no service runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected: Option<bool>,
    /// Its latest run, which may be going on.
    pub last_run: Option<RunView>,
    /// Bytes of memory that its container uses now; `None` when there is none or its runtime does not know.
    pub memory_bytes: Option<u64>,
}

/// Where a turn stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// It was given to an agent that has not shown yet that it took it.
    HandedOver,
    /// An agent has taken it.
    Answering,
    /// It waits for its turn, or its first try.
    Waiting,
    /// A try failed; the next one comes later.
    BackingOff,
    /// It waits for the end of a trouble that is not its fault.
    Paused,
    /// It was set aside after the last try.
    SetAside,
    /// It was set aside, and said again since.
    Retried,
    /// Somebody decided that it needs no answer.
    Dropped,
}

impl TurnState {
    /// Whether it is in an agent's hands.
    #[must_use]
    pub fn is_with_an_agent(self) -> bool {
        matches!(self, Self::HandedOver | Self::Answering)
    }

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::HandedOver => "handed over",
            Self::Answering => "answering",
            Self::Waiting => "waiting",
            Self::BackingOff => "backing off",
            Self::Paused => "paused",
            Self::SetAside => "set aside",
            Self::Retried => "retried",
            Self::Dropped => "dropped",
        }
    }
}

/// Messages that are, were or will be answered together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnView {
    /// Its name: the group's folder, a slash, the place of its last message.
    pub id: String,
    /// Whose.
    pub group: GroupFolder,
    /// Where it stands.
    pub state: TurnState,
    /// Place of its first message.
    pub first: Seq,
    /// Place of its last message.
    pub last: Seq,
    /// The run that has it, or failed with it last.
    pub run: Option<RunNumber>,
    /// Tries that failed in a row.
    pub tries: u32,
    /// What it waits for the end of.
    pub trouble: Option<Trouble>,
    /// Why it is not answered, as far as something went wrong.
    pub reason: Option<String>,
    /// When it is tried next, when a moment is set.
    pub next_try_at_ms: Option<Timestamp>,
    /// When it was handed over, or set aside; `None` for what waits.
    pub since_ms: Option<Timestamp>,
}

/// A turn and what was said in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnDetails {
    /// The turn.
    #[serde(flatten)]
    pub turn: TurnView,
    /// Its messages, the first hundred.
    pub messages: Vec<MessageView>,
}

/// A message as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// Its place.
    pub seq: Seq,
    /// Who wrote it.
    pub sender_name: String,
    /// When, by the service's clock.
    pub sent_at_ms: Timestamp,
    /// What.
    pub text: String,
    /// Whether it wakes the agent; otherwise it is context.
    pub wakes: Wakes,
}

impl From<StoredMessage> for MessageView {
    fn from(stored: StoredMessage) -> Self {
        let StoredMessage { seq, wakes, message } = stored;
        Self { seq, wakes, sender_name: message.sender_name, sent_at_ms: message.sent_at, text: message.text }
    }
}

/// What comes out for one group, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The group.
    pub group: GroupView,
    /// Its settings in the order in which they are shown.
    pub settings: Vec<Explained>,
    /// What its container sees of the host, in order.
    pub mounts: Vec<ExplainedMount>,
    /// What would keep a run from starting or make it less than was asked for, a sentence each with its remedy.
    pub problems: Vec<String>,
}

/// A setting, what it is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// What is set: `trigger`, `provider`, `command`, `runtime`, `image`, `user`, `network`, `memory`, `pids`, ...
    pub name: String,
    /// What it is.
    pub value: String,
    /// Why: `default`, a line of a file, an environment variable, or a sentence.
    pub why: String,
}

impl Explained {
    /// A setting with its reason.
    #[must_use]
    pub fn new(name: &str, value: impl ToString, why: impl ToString) -> Self {
        Self { name: name.to_owned(), value: value.to_string(), why: why.to_string() }
    }
}

/// A mount and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedMount {
    /// Path on the host.
    pub source: PathBuf,
    /// Path inside.
    pub target: String,
    /// Read-only or not.
    pub access: Access,
    /// Why it is there.
    pub why: String,
}

/// What kind of refusal it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request cannot be understood.
    BadRequest,
    /// What it names is not there.
    NotFound,
    /// Something else is in its way.
    Conflict,
    /// It was understood and could not be done.
    Failed,
}

/// A refusal: what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// What kind.
    pub kind: ErrorKind,
    /// What is wrong, and where.
    pub message: String,
    /// What to do about it, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<Tidied> for CleanedView {
    fn from(tidied: Tidied) -> Self {
        let Tidied { kind, group, count, bytes, why, failed } = tidied;
        Self { kind: kind.word().to_owned(), group, count, bytes, why, failed }
    }
}

/// What went, or would go, of one kind and group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CleanedView {
    /// The key of `[retention]` that it goes by.
    pub kind: String,
    /// Whose; `None`: of all groups.
    pub group: Option<GroupFolder>,
    /// How many things.
    pub count: u64,
    /// How much they take, or took.
    pub bytes: u64,
    /// Why, a sentence fragment.
    pub why: String,
    /// Why some of it is there still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl AdminError {
    /// A refusal without a remedy.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::ChatTaken { folder, .. } => Self::new(ErrorKind::Conflict, message).with_help(format!(
                "`nanoclaw groups show {folder}` shows it, `nanoclaw groups remove {folder}` frees the chat"
            )),
            StoreError::FolderTaken { .. } => {
                Self::new(ErrorKind::Conflict, message).with_help("choose another with --folder")
            }
            StoreError::MainTaken { folder } => Self::new(ErrorKind::Conflict, message)
                .with_help(format!("add it without --main, or run `nanoclaw groups remove {folder}` first")),
            StoreError::NoGroup { .. } => {
                Self::new(ErrorKind::NotFound, message).with_help("`nanoclaw groups list` shows them all")
            }
            StoreError::Newer { .. } | StoreError::Failed { .. } => Self::new(ErrorKind::Failed, message),
        }
    }
}
