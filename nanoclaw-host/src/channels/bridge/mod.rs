//! The bridge channel: any chat service, by a program of its own in any language, over a unix socket.
//!
//! The protocol is in `docs/bridge-protocol.md`. Any number of bridges may be connected at once; each has a connection, a
//! queue and a claim of its own, so that one that is slow, dead or mad holds up nobody but itself.

mod channel;
mod claim;
mod connection;
mod pending;
mod wire;

use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    time::Timestamp,
};
use tokio::{net::UnixStream, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::claim::{Claim, ClaimError};
use self::{channel::BridgeChannel, wire::ToBridge};
use super::{
    ports::{ChannelHost, Intake},
    status::ChannelWatch,
};
use crate::{
    files::Spool,
    json_lines::to_line,
    panics::{FAULT_PAUSE, caught},
    unix_socket::{Listener, SocketError},
};

/// How long to wait when the system has no descriptor for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How bridges are treated.
#[derive(Debug, Clone)]
pub struct BridgeConfig {
    /// How long a bridge may take to say what became of a message; then it is tried again.
    pub send_timeout: Duration,
    /// How long a connection may take to say hello.
    pub hello_timeout: Duration,
    /// How long a bridge may read nothing of what it is sent; then it is disconnected.
    pub stall_timeout: Duration,
    /// How many connections there may be at once.
    pub max_connections: usize,
    /// What the channels inside the host own; no bridge may have their names or chats.
    pub reserved: Vec<(ChannelName, Claim)>,
    /// Where files of messages go; `None`: none are taken, and messages say so, and none are sent.
    pub files: Option<Arc<Spool>>,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        Self {
            // A little less than the orchestrator waits, so that it hears the better reason.
            send_timeout: Duration::from_secs(50),
            hello_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            max_connections: 64,
            reserved: vec![super::local::reservation()],
            files: None,
        }
    }
}

/// The socket that bridges connect to.
pub struct BridgeListener {
    listener: Listener,
    shared: Arc<Shared>,
}

impl BridgeListener {
    /// Listens at `path` (`store/bridge.sock`), mode 0600. Messages go to `intake`; bridges come and go at `host`.
    ///
    /// # Errors
    /// When there can be no socket at `path`.
    pub fn bind(
        path: &Path,
        config: BridgeConfig,
        intake: Arc<dyn Intake>,
        host: Arc<dyn ChannelHost>,
    ) -> Result<Self, SocketError> {
        let listener = Listener::bind(path)?;
        let (connected, gone) = (Mutex::default(), Mutex::default());
        Ok(Self { listener, shared: Arc::new(Shared { config, intake, host, connected, gone }) })
    }

    /// A handle to the bridges that are connected.
    #[must_use]
    pub fn bridges(&self) -> Bridges {
        Bridges { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `stop` is cancelled, then ends all connections and returns. Takes about a second at most to end, plus
    /// the commit of a message that was under way.
    pub async fn serve(self, stop: CancellationToken) {
        // Here, and not where it may fail: the socket stays open, and the bridges that are there go on.
        let mut connections = JoinSet::new();
        while let Err(panicked) = caught(self.accept_all(&mut connections, &stop)).await {
            tracing::error!(error = %panicked, "bridges are not let in for a moment; those that are there go on");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
        // No new ones: the socket goes first.
        drop(self.listener);
        while connections.join_next().await.is_some() {}
    }

    async fn accept_all(&self, connections: &mut JoinSet<()>, stop: &CancellationToken) {
        loop {
            #[cfg(feature = "failpoints")]
            crate::failpoints::panic_if_asked("bridges.accept");
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(ended) = connections.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the connection of a bridge failed and is closed");
                    }
                    continue;
                }
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok(stream) if connections.len() >= self.shared.config.max_connections => turn_away(stream),
                Ok(stream) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&self.shared), stop.child_token()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take the connection of a bridge; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Refuses a connection for which there is no place, without waiting for it.
fn turn_away(stream: UnixStream) {
    tracing::warn!("too many bridges; one more was turned away");
    let reason = "too many bridges are connected";
    let line = to_line(&ToBridge::Error { reason, line: None, chat: None, id: None, retry: false });
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write_all(line.as_bytes());
    }
}

/// A handle to the bridges that are connected. Cheap to clone.
#[derive(Clone)]
pub struct Bridges {
    shared: Arc<Shared>,
}

impl Bridges {
    /// Who is connected to us, by name, and how they stand with their services.
    #[must_use]
    pub fn connected(&self) -> Vec<ChannelWatch> {
        self.shared.connected().values().map(|channel| channel.status.watch(channel.claim.clone())).collect()
    }

    /// Who was connected to this host and is not any more, by name.
    #[must_use]
    pub fn gone(&self) -> Vec<Gone> {
        self.shared.gone().values().cloned().collect()
    }

    /// Asks all bridges to tell the names of their chats again. Best effort.
    pub fn sync_groups(&self) {
        self.shared.connected().values().for_each(|channel| channel.sync_groups());
    }
}

/// A bridge that left.
#[derive(Debug, Clone)]
pub struct Gone {
    /// Its name.
    pub name: ChannelName,
    /// When it left.
    pub since: Timestamp,
    claim: Claim,
}

impl Gone {
    /// Whether `chat` was one of its own.
    #[must_use]
    pub fn carried(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }
}

/// How many bridges that left are remembered; a name more takes the place of the one that left first.
const MOST_GONE: usize = 64;

/// What all connections share.
struct Shared {
    config: BridgeConfig,
    intake: Arc<dyn Intake>,
    host: Arc<dyn ChannelHost>,
    connected: Mutex<BTreeMap<ChannelName, Arc<BridgeChannel>>>,
    gone: Mutex<BTreeMap<ChannelName, Gone>>,
}

impl Shared {
    /// Reserves a bridge's name and chats, or says who has them.
    fn enter(&self, channel: &Arc<BridgeChannel>) -> Result<(), String> {
        let name = &channel.name;
        let mut connected = self.connected();
        if connected.contains_key(name) {
            return Err(format!("a bridge named {name} is connected already"));
        }
        let reserved = self.config.reserved.iter().map(|(other, claim)| (other, claim));
        for (other, claim) in reserved.chain(connected.values().map(|other| (&other.name, &other.claim))) {
            if other == name {
                return Err(format!("the name {name} belongs to a channel of the host itself"));
            }
            if let Some((ours, theirs)) = channel.claim.overlap(claim) {
                return Err(format!("{ours} overlaps {theirs}, which belongs to {other}"));
            }
        }
        connected.insert(name.clone(), Arc::clone(channel));
        self.gone().remove(name);
        Ok(())
    }

    fn leave(&self, name: &ChannelName) {
        let Some(left) = self.connected().remove(name) else { return };
        let mut gone = self.gone();
        let first = gone.values().min_by_key(|gone| gone.since).map(|gone| gone.name.clone());
        if let Some(first) = first.filter(|_| gone.len() >= MOST_GONE) {
            gone.remove(&first);
        }
        gone.insert(name.clone(), Gone { name: name.clone(), since: Timestamp::now(), claim: left.claim.clone() });
    }

    fn gone(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Gone>> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Arc<BridgeChannel>>> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
