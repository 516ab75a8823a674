//! The commands' side of the control socket.

use std::{io, path::PathBuf, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    chat::ChannelName,
    pairing::{HOLDS_FOR, PairingId},
    store::Resolution,
};
use tokio::{
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::Mutex,
};

use super::{
    handler::AdminHandler,
    outbox::{DeliveryView, OutboxQuery},
    protocol::{AdminRequest, AdminResponse, MAX_RESPONSE_BYTES, Outcome, RequestLine, ResponseLine},
    sessions::{SessionView, SessionWish},
    tasks::{AddTask, TaskDetails, TaskView, TaskWish},
    types::{
        AdminError, ChatView, CleanedView, CredentialCheck, CredentialsView, ErrorKind, Explanation, GroupDetails,
        GroupView, NewGroup, NewPairing, PairingState, PairingView, Stats, Status, TurnDetails, TurnView,
    },
};
use crate::{
    gateway::GroupCounts,
    home::Home,
    json_lines::{Line, LineReader, to_line, write_line},
    unix_socket::{self, SocketError},
};

/// How long the service may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// How long it may take for one that waits for what people do: until a code is void, and as long as for any other.
const WAIT_LIMIT: Duration = HOLDS_FOR.saturating_add(ANSWER_LIMIT);
/// How long it may take to say that it is there.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// A connection to the running service. Requests through one client are answered one after the other; one that is dropped is
/// given up by the service when it is asked the next.
pub struct Client {
    socket: PathBuf,
    stream: Mutex<Connection>,
}

struct Connection {
    reader: LineReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    last_id: u64,
}

impl Client {
    /// Connects to the service of `home` and hears it answer. The answer matters: the kernel accepts connections for a
    /// service that is ending and will never look at them.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` when none runs, or when it ended meanwhile; `TimedOut` when one is there and does
    /// not answer; otherwise what the system or the service says.
    pub async fn connect(home: &Home) -> io::Result<Self> {
        let socket = home.admin_socket();
        let greet = async {
            let stream = match unix_socket::connect(&socket).await.map_err(SocketError::into_io) {
                // It ended just as it was connected to.
                Err(error) if is_hang_up(&error) => return Err(io::ErrorKind::ConnectionRefused.into()),
                connected => connected?,
            };
            let (reader, writer) = stream.into_split();
            let reader = LineReader::new(reader, MAX_RESPONSE_BYTES);
            let mut connection = Connection { reader, writer, last_id: 0 };
            match connection.call(&AdminRequest::Hello).await {
                // A service of another version may not know the question; that is an answer too.
                Ok(Outcome::Ok(_)) => Ok(connection),
                Ok(Outcome::Error(error)) if error.kind == ErrorKind::BadRequest => Ok(connection),
                Ok(Outcome::Error(error)) => Err(io::Error::other(error)),
                Err(error) if is_hang_up(&error) => Err(io::ErrorKind::ConnectionRefused.into()),
                Err(error) => Err(error),
            }
        };
        let connection = tokio::time::timeout(HELLO_LIMIT, greet).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, format!("it did not answer within {} s", HELLO_LIMIT.as_secs()))
        })??;
        Ok(Self { socket, stream: Mutex::new(connection) })
    }

    /// Sends one request and waits for its answer.
    ///
    /// # Errors
    /// The service's refusal, or what kept it from answering.
    pub async fn call(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        let limit = if request.waits() { WAIT_LIMIT } else { ANSWER_LIMIT };
        let mut connection = self.stream.lock().await;
        match tokio::time::timeout(limit, connection.call(request)).await {
            Ok(Ok(outcome)) => match outcome {
                Outcome::Ok(response) => Ok(response),
                Outcome::Error(error) => Err(error),
            },
            Ok(Err(error)) if is_hang_up(&error) => Err(self.failure("it ended, or closed the connection")),
            Ok(Err(error)) => Err(self.failure(&error.to_string())),
            Err(_) => Err(self.failure(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    fn failure(&self, reason: &str) -> AdminError {
        AdminError::new(ErrorKind::Failed, format!("the service did not answer on {}: {reason}", self.socket.display()))
            .with_help("look at its log, and restart it")
    }

    fn unexpected(&self) -> AdminError {
        self.failure("the answer belongs to another question; is it of another version?")
    }
}

impl Connection {
    async fn call(&mut self, request: &AdminRequest) -> io::Result<Outcome> {
        self.last_id += 1;
        let id = self.last_id;
        let line = to_line(&RequestLine { id, request });
        let written = write_line(&mut self.writer, &line, ANSWER_LIMIT).await;
        loop {
            let answer = match self.reader.next().await? {
                Some(Line::Text(answer)) => answer,
                Some(Line::Refused(reason)) => return Err(io::Error::other(reason)),
                Some(Line::Endless) => return Err(io::Error::other("the answer does not end")),
                Some(Line::Torn) | None => {
                    written?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            };
            let answer: ResponseLine = serde_json::from_str(&answer)?;
            // An answer to an earlier question, whose asker gave up waiting, is not ours.
            if answer.id.is_none_or(|answered| answered == id) {
                return Ok(answer.outcome);
            }
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[async_trait]
impl AdminHandler for Client {
    async fn status(&self) -> Result<Status, AdminError> {
        match self.call(&AdminRequest::Status).await? {
            AdminResponse::Status(status) => Ok(*status),
            _ => Err(self.unexpected()),
        }
    }

    async fn groups(&self) -> Result<Vec<GroupView>, AdminError> {
        match self.call(&AdminRequest::GroupsList).await? {
            AdminResponse::Groups(groups) => Ok(groups),
            _ => Err(self.unexpected()),
        }
    }

    async fn group(&self, group: &str) -> Result<GroupDetails, AdminError> {
        match self.call(&AdminRequest::GroupsShow { group: group.to_owned() }).await? {
            AdminResponse::Group(group) => Ok(group),
            _ => Err(self.unexpected()),
        }
    }

    async fn add_group(&self, new: NewGroup) -> Result<GroupView, AdminError> {
        match self.call(&AdminRequest::GroupsAdd(new)).await? {
            AdminResponse::Added(group) => Ok(group),
            _ => Err(self.unexpected()),
        }
    }

    async fn remove_group(&self, group: &str) -> Result<GroupView, AdminError> {
        match self.call(&AdminRequest::GroupsRemove { group: group.to_owned() }).await? {
            AdminResponse::Removed(group) => Ok(group),
            _ => Err(self.unexpected()),
        }
    }

    async fn pair(&self, new: NewPairing) -> Result<PairingView, AdminError> {
        match self.call(&AdminRequest::GroupsPair(new)).await? {
            AdminResponse::PairingBegun(pairing) => Ok(pairing),
            _ => Err(self.unexpected()),
        }
    }

    async fn pairing_over(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        match self.call(&AdminRequest::PairingOver { id: id.clone() }).await? {
            AdminResponse::Pairing(state) => Ok(state),
            _ => Err(self.unexpected()),
        }
    }

    async fn withdraw_pairing(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        match self.call(&AdminRequest::PairingWithdraw { id: id.clone() }).await? {
            AdminResponse::Pairing(state) => Ok(state),
            _ => Err(self.unexpected()),
        }
    }

    async fn connect_channel(&self, channel: &ChannelName) -> Result<(), AdminError> {
        match self.call(&AdminRequest::ConnectChannel { channel: channel.clone() }).await? {
            AdminResponse::Connecting => Ok(()),
            _ => Err(self.unexpected()),
        }
    }

    async fn chats(&self) -> Result<Vec<ChatView>, AdminError> {
        match self.call(&AdminRequest::Chats).await? {
            AdminResponse::Chats(chats) => Ok(chats),
            _ => Err(self.unexpected()),
        }
    }

    async fn explain(&self, group: &str) -> Result<Explanation, AdminError> {
        match self.call(&AdminRequest::Explain { group: group.to_owned() }).await? {
            AdminResponse::Explanation(explanation) => Ok(explanation),
            _ => Err(self.unexpected()),
        }
    }

    async fn outbox(&self, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
        match self.call(&AdminRequest::OutboxList(query)).await? {
            AdminResponse::Outbox(messages) => Ok(messages),
            _ => Err(self.unexpected()),
        }
    }

    async fn tasks(&self, group: Option<&str>) -> Result<Vec<TaskView>, AdminError> {
        match self.call(&AdminRequest::TasksList { group: group.map(str::to_owned) }).await? {
            AdminResponse::Tasks(tasks) => Ok(tasks),
            _ => Err(self.unexpected()),
        }
    }

    async fn task(&self, id: &str, limit: u32) -> Result<TaskDetails, AdminError> {
        match self.call(&AdminRequest::TasksShow { id: id.to_owned(), limit }).await? {
            AdminResponse::Task(task) => Ok(*task),
            _ => Err(self.unexpected()),
        }
    }

    async fn add_task(&self, new: AddTask) -> Result<TaskView, AdminError> {
        match self.call(&AdminRequest::TasksAdd(new)).await? {
            AdminResponse::ChangedTask(task) => Ok(*task),
            _ => Err(self.unexpected()),
        }
    }

    async fn change_task(&self, id: &str, wish: TaskWish) -> Result<TaskView, AdminError> {
        match self.call(&AdminRequest::TasksChange { id: id.to_owned(), wish }).await? {
            AdminResponse::ChangedTask(task) => Ok(*task),
            _ => Err(self.unexpected()),
        }
    }

    async fn turns(&self, group: Option<&str>, all: bool) -> Result<Vec<TurnView>, AdminError> {
        match self.call(&AdminRequest::TurnsList { group: group.map(str::to_owned), all }).await? {
            AdminResponse::Turns(turns) => Ok(turns),
            _ => Err(self.unexpected()),
        }
    }

    async fn delivery(&self, message: &str) -> Result<DeliveryView, AdminError> {
        match self.call(&AdminRequest::OutboxShow { message: message.to_owned() }).await? {
            AdminResponse::Delivery(message) => Ok(message),
            _ => Err(self.unexpected()),
        }
    }

    async fn turn(&self, id: &str) -> Result<TurnDetails, AdminError> {
        match self.call(&AdminRequest::TurnsShow { id: id.to_owned() }).await? {
            AdminResponse::Turn(turn) => Ok(turn),
            _ => Err(self.unexpected()),
        }
    }

    async fn resolve_delivery(&self, message: &str, resolution: Resolution) -> Result<DeliveryView, AdminError> {
        match self.call(&AdminRequest::OutboxResolve { message: message.to_owned(), resolution }).await? {
            AdminResponse::Resolved(message) => Ok(message),
            _ => Err(self.unexpected()),
        }
    }

    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError> {
        match self.call(&AdminRequest::TurnsRetry { id: id.map(str::to_owned) }).await? {
            AdminResponse::Turns(turns) => Ok(turns),
            _ => Err(self.unexpected()),
        }
    }

    async fn drop_turn(&self, id: &str) -> Result<TurnView, AdminError> {
        match self.call(&AdminRequest::TurnsDrop { id: id.to_owned() }).await? {
            AdminResponse::DroppedTurn(turn) => Ok(turn),
            _ => Err(self.unexpected()),
        }
    }

    async fn sessions(&self, group: Option<&str>) -> Result<Vec<SessionView>, AdminError> {
        match self.call(&AdminRequest::SessionsList { group: group.map(str::to_owned) }).await? {
            AdminResponse::Sessions(sessions) => Ok(sessions),
            _ => Err(self.unexpected()),
        }
    }

    async fn change_session(&self, group: &str, wish: SessionWish) -> Result<Vec<SessionView>, AdminError> {
        match self.call(&AdminRequest::SessionsChange { group: group.to_owned(), wish }).await? {
            AdminResponse::Sessions(sessions) => Ok(sessions),
            _ => Err(self.unexpected()),
        }
    }

    async fn stats(&self, group: Option<&str>, days: u32) -> Result<Stats, AdminError> {
        match self.call(&AdminRequest::Stats { group: group.map(str::to_owned), days }).await? {
            AdminResponse::Stats(stats) => Ok(stats),
            _ => Err(self.unexpected()),
        }
    }

    async fn cleanup(&self, dry_run: bool) -> Result<Vec<CleanedView>, AdminError> {
        match self.call(&AdminRequest::Cleanup { dry_run }).await? {
            AdminResponse::Cleaned(items) => Ok(items),
            _ => Err(self.unexpected()),
        }
    }

    async fn gateway(&self) -> Result<Vec<GroupCounts>, AdminError> {
        match self.call(&AdminRequest::Gateway).await? {
            AdminResponse::Gateway(counts) => Ok(counts),
            _ => Err(self.unexpected()),
        }
    }

    async fn credentials(&self) -> Result<CredentialsView, AdminError> {
        match self.call(&AdminRequest::Credentials).await? {
            AdminResponse::Credentials(view) => Ok(view),
            _ => Err(self.unexpected()),
        }
    }

    async fn check_credentials(&self) -> Result<CredentialCheck, AdminError> {
        match self.call(&AdminRequest::CredentialsCheck).await? {
            AdminResponse::CredentialsChecked(check) => Ok(check),
            _ => Err(self.unexpected()),
        }
    }

    async fn reload_credentials(&self) -> Result<CredentialsView, AdminError> {
        match self.call(&AdminRequest::CredentialsReload).await? {
            AdminResponse::Credentials(view) => Ok(view),
            _ => Err(self.unexpected()),
        }
    }
}
