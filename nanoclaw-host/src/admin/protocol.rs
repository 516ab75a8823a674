//! The lines on the control socket: one JSON object each, a response for each request, in order.
//!
//! ```text
//! → {"id":1,"command":"groups_show","args":{"group":"family"}}
//! ← {"id":1,"ok":{"group":{…}}}
//! → {"id":2,"command":"groups_show","args":{"group":"famly"}}
//! ← {"id":2,"error":{"kind":"not_found","message":"there is no group famly","help":"did you mean family?"}}
//! ```
//!
//! A request that waits for something ([`AdminRequest::waits`]) is given up, with an error for an answer, when the client says
//! something else, ends its side, or the service ends.

use nanoclaw_core::{chat::ChannelName, pairing::PairingId, store::Resolution};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::gateway::GroupCounts;

use super::{
    handler::AdminHandler,
    outbox::{DeliveryView, OutboxQuery},
    sessions::{SessionView, SessionWish},
    tasks::{AddTask, TaskDetails, TaskView, TaskWish},
    types::{
        AdminError, ChatView, CleanedView, CredentialCheck, CredentialsView, ErrorKind, Explanation, GroupDetails,
        GroupView, NewGroup, NewPairing, PairingState, PairingView, Stats, Status, TurnDetails, TurnView,
    },
};

/// The longest request line in bytes, its newline not counted.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// The longest response line in bytes, its newline not counted.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024 * 1024;

/// What can be asked; see [`AdminHandler`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", content = "args", rename_all = "snake_case")]
pub enum AdminRequest {
    /// Whether anybody is there.
    Hello,
    /// See [`AdminHandler::status`].
    Status,
    /// See [`AdminHandler::groups`].
    GroupsList,
    /// See [`AdminHandler::group`].
    GroupsShow {
        /// Folder or chat.
        group: String,
    },
    /// See [`AdminHandler::add_group`].
    GroupsAdd(NewGroup),
    /// See [`AdminHandler::remove_group`].
    GroupsRemove {
        /// Folder or chat.
        group: String,
    },
    /// See [`AdminHandler::pair`].
    GroupsPair(NewPairing),
    /// See [`AdminHandler::pairing_over`].
    PairingOver {
        /// Its name.
        id: PairingId,
    },
    /// See [`AdminHandler::withdraw_pairing`].
    PairingWithdraw {
        /// Its name.
        id: PairingId,
    },
    /// See [`AdminHandler::connect_channel`].
    ConnectChannel {
        /// Its name.
        channel: ChannelName,
    },
    /// See [`AdminHandler::chats`].
    Chats,
    /// See [`AdminHandler::explain`].
    Explain {
        /// Folder or chat.
        group: String,
    },
    /// See [`AdminHandler::outbox`].
    OutboxList(OutboxQuery),
    /// See [`AdminHandler::delivery`].
    OutboxShow {
        /// Number or key.
        message: String,
    },
    /// See [`AdminHandler::resolve_delivery`].
    OutboxResolve {
        /// Number or key.
        message: String,
        /// What is to be done with it.
        resolution: Resolution,
    },
    /// See [`AdminHandler::turns`].
    TurnsList {
        /// Folder or chat.
        group: Option<String>,
        /// Those that are settled too.
        all: bool,
    },
    /// See [`AdminHandler::turn`].
    TurnsShow {
        /// Its name.
        id: String,
    },
    /// See [`AdminHandler::retry_turns`].
    TurnsRetry {
        /// Its name.
        id: Option<String>,
    },
    /// See [`AdminHandler::drop_turn`].
    TurnsDrop {
        /// Its name.
        id: String,
    },
    /// See [`AdminHandler::tasks`].
    TasksList {
        /// Folder or chat.
        group: Option<String>,
    },
    /// See [`AdminHandler::task`].
    TasksShow {
        /// Its id.
        id: String,
        /// How many firings.
        limit: u32,
    },
    /// See [`AdminHandler::add_task`].
    TasksAdd(AddTask),
    /// See [`AdminHandler::change_task`].
    TasksChange {
        /// Its id.
        id: String,
        /// What is wished.
        wish: TaskWish,
    },
    /// See [`AdminHandler::sessions`].
    SessionsList {
        /// Folder or chat.
        group: Option<String>,
    },
    /// See [`AdminHandler::change_session`].
    SessionsChange {
        /// Folder or chat.
        group: String,
        /// What is wished.
        wish: SessionWish,
    },
    /// See [`AdminHandler::stats`].
    Stats {
        /// Folder or chat.
        group: Option<String>,
        /// How many days.
        days: u32,
    },
    /// See [`AdminHandler::cleanup`].
    Cleanup {
        /// Only say what would go.
        dry_run: bool,
    },
    /// See [`AdminHandler::gateway`].
    Gateway,
    /// See [`AdminHandler::credentials`].
    Credentials,
    /// See [`AdminHandler::check_credentials`].
    CredentialsCheck,
    /// See [`AdminHandler::reload_credentials`].
    CredentialsReload,
}

impl AdminRequest {
    /// Whether the answer waits for what people do, and not for us alone.
    #[must_use]
    pub fn waits(&self) -> bool {
        matches!(self, Self::PairingOver { .. })
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminResponse {
    /// To [`AdminRequest::Hello`].
    Hello {
        /// The service's version.
        version: String,
    },
    /// To [`AdminRequest::Status`].
    Status(Box<Status>),
    /// To [`AdminRequest::GroupsList`].
    Groups(Vec<GroupView>),
    /// To [`AdminRequest::GroupsShow`].
    Group(GroupDetails),
    /// To [`AdminRequest::GroupsAdd`].
    Added(GroupView),
    /// To [`AdminRequest::GroupsRemove`].
    Removed(GroupView),
    /// To [`AdminRequest::GroupsPair`].
    PairingBegun(PairingView),
    /// To [`AdminRequest::PairingOver`] and [`AdminRequest::PairingWithdraw`].
    Pairing(PairingState),
    /// To [`AdminRequest::ConnectChannel`].
    Connecting,
    /// To [`AdminRequest::Chats`].
    Chats(Vec<ChatView>),
    /// To [`AdminRequest::Explain`].
    Explanation(Explanation),
    /// To [`AdminRequest::OutboxList`].
    Outbox(Vec<DeliveryView>),
    /// To [`AdminRequest::OutboxShow`].
    Delivery(DeliveryView),
    /// To [`AdminRequest::OutboxResolve`].
    Resolved(DeliveryView),
    /// To [`AdminRequest::TasksList`].
    Tasks(Vec<TaskView>),
    /// To [`AdminRequest::TasksShow`].
    Task(Box<TaskDetails>),
    /// To [`AdminRequest::SessionsList`] and [`AdminRequest::SessionsChange`].
    Sessions(Vec<SessionView>),
    /// To [`AdminRequest::TasksAdd`] and [`AdminRequest::TasksChange`].
    ChangedTask(Box<TaskView>),
    /// To [`AdminRequest::TurnsList`] and [`AdminRequest::TurnsRetry`].
    Turns(Vec<TurnView>),
    /// To [`AdminRequest::TurnsShow`].
    Turn(TurnDetails),
    /// To [`AdminRequest::TurnsDrop`].
    DroppedTurn(TurnView),
    /// To [`AdminRequest::Stats`].
    Stats(Stats),
    /// To [`AdminRequest::Cleanup`].
    Cleaned(Vec<CleanedView>),
    /// To [`AdminRequest::Gateway`].
    Gateway(Vec<GroupCounts>),
    /// To [`AdminRequest::Credentials`] and [`AdminRequest::CredentialsReload`].
    Credentials(CredentialsView),
    /// To [`AdminRequest::CredentialsCheck`].
    CredentialsChecked(CredentialCheck),
}

/// A request line.
#[derive(Debug, Serialize)]
pub(super) struct RequestLine<'a> {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) request: &'a AdminRequest,
}

/// A response line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ResponseLine {
    /// The request's; `None` when it had none that could be read.
    pub(super) id: Option<u64>,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Ok(AdminResponse),
    Error(AdminError),
}

impl ResponseLine {
    /// The response to the request of this id.
    pub(super) fn to(id: Option<u64>, outcome: Result<AdminResponse, AdminError>) -> Self {
        Self { id, outcome: outcome.map_or_else(Outcome::Error, Outcome::Ok) }
    }
}

/// The request in a line, and its id when it has one that can be read.
pub(super) fn parse(line: &str) -> (Option<u64>, Result<AdminRequest, AdminError>) {
    let bad = |reason: serde_json::Error| {
        AdminError::new(ErrorKind::BadRequest, format!("the request cannot be understood: {reason}")).with_help(
            "a request is a line {\"id\":1,\"command\":\"status\"}; are client and service of the same version?",
        )
    };
    let value: Value = match serde_json::from_str(line) {
        Ok(value) => value,
        Err(reason) => return (None, Err(bad(reason))),
    };
    let id = value.get("id").and_then(Value::as_u64);
    (id, serde_json::from_value(value).map_err(bad))
}

/// Answers one request.
pub(super) async fn answer(request: AdminRequest, handler: &dyn AdminHandler) -> Result<AdminResponse, AdminError> {
    Ok(match request {
        AdminRequest::Hello => AdminResponse::Hello { version: env!("CARGO_PKG_VERSION").to_owned() },
        AdminRequest::Status => AdminResponse::Status(Box::new(handler.status().await?)),
        AdminRequest::GroupsList => AdminResponse::Groups(handler.groups().await?),
        AdminRequest::GroupsShow { group } => AdminResponse::Group(handler.group(&group).await?),
        AdminRequest::GroupsAdd(new) => AdminResponse::Added(handler.add_group(new).await?),
        AdminRequest::GroupsRemove { group } => AdminResponse::Removed(handler.remove_group(&group).await?),
        AdminRequest::GroupsPair(new) => AdminResponse::PairingBegun(handler.pair(new).await?),
        AdminRequest::PairingOver { id } => AdminResponse::Pairing(handler.pairing_over(&id).await?),
        AdminRequest::ConnectChannel { channel } => {
            handler.connect_channel(&channel).await?;
            AdminResponse::Connecting
        }
        AdminRequest::PairingWithdraw { id } => AdminResponse::Pairing(handler.withdraw_pairing(&id).await?),
        AdminRequest::Chats => AdminResponse::Chats(handler.chats().await?),
        AdminRequest::TasksList { group } => AdminResponse::Tasks(handler.tasks(group.as_deref()).await?),
        AdminRequest::TasksShow { id, limit } => AdminResponse::Task(Box::new(handler.task(&id, limit).await?)),
        AdminRequest::TasksAdd(new) => AdminResponse::ChangedTask(Box::new(handler.add_task(new).await?)),
        AdminRequest::TasksChange { id, wish } => {
            AdminResponse::ChangedTask(Box::new(handler.change_task(&id, wish).await?))
        }
        AdminRequest::TurnsList { group, all } => AdminResponse::Turns(handler.turns(group.as_deref(), all).await?),
        AdminRequest::TurnsShow { id } => AdminResponse::Turn(handler.turn(&id).await?),
        AdminRequest::TurnsRetry { id } => AdminResponse::Turns(handler.retry_turns(id.as_deref()).await?),
        AdminRequest::SessionsList { group } => AdminResponse::Sessions(handler.sessions(group.as_deref()).await?),
        AdminRequest::SessionsChange { group, wish } => {
            AdminResponse::Sessions(handler.change_session(&group, wish).await?)
        }
        AdminRequest::Stats { group, days } => AdminResponse::Stats(handler.stats(group.as_deref(), days).await?),
        AdminRequest::Cleanup { dry_run } => AdminResponse::Cleaned(handler.cleanup(dry_run).await?),
        AdminRequest::Gateway => AdminResponse::Gateway(handler.gateway().await?),
        AdminRequest::TurnsDrop { id } => AdminResponse::DroppedTurn(handler.drop_turn(&id).await?),
        AdminRequest::Credentials => AdminResponse::Credentials(handler.credentials().await?),
        AdminRequest::CredentialsCheck => AdminResponse::CredentialsChecked(handler.check_credentials().await?),
        AdminRequest::CredentialsReload => AdminResponse::Credentials(handler.reload_credentials().await?),
        AdminRequest::Explain { group } => AdminResponse::Explanation(handler.explain(&group).await?),
        AdminRequest::OutboxList(query) => AdminResponse::Outbox(handler.outbox(query).await?),
        AdminRequest::OutboxShow { message } => AdminResponse::Delivery(handler.delivery(&message).await?),
        AdminRequest::OutboxResolve { message, resolution } => {
            AdminResponse::Resolved(handler.resolve_delivery(&message, resolution).await?)
        }
    })
}
