//! The local channel: the terminal.
//!
//! `nanoclaw chat` is always a client of a host, be it the running service or one in its own process, over
//! `store/local.sock`. Its protocol ([`wire`]) is private to this program. A reply counts as sent when a terminal has shown
//! it, and `answered` is said only after the replies that belong to it were shown: so a terminal can leave on `answered`
//! and has missed nothing.

mod channel;
mod session;
pub mod wire;

use std::{path::Path, sync::Arc, time::Duration};

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    orchestrator::Notice,
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

pub use self::channel::LocalChannel;
use super::{
    bridge::Claim,
    ports::{ChannelHost, Intake, Reception},
};
use crate::unix_socket::{Listener, SocketError};

/// How the ids of its chats begin.
pub const PREFIX: &str = "local:";

/// How long to wait when the system has no descriptor for one more connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Terminals at a time.
const MAX_TERMINALS: usize = 256;

/// The channel's name.
#[must_use]
pub fn name() -> ChannelName {
    ChannelName::new("local").expect("a plain word is a channel name")
}

/// What the local channel owns, and no bridge may have.
#[must_use]
pub fn reservation() -> (ChannelName, Claim) {
    let claim = Claim::new(vec![PREFIX.to_owned()], Vec::new()).expect("the prefix has the form that claims want");
    (name(), claim)
}

/// Whether the local channel carries `chat`.
#[must_use]
pub fn is_local(chat: &ChatId) -> bool {
    chat.as_str().strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty())
}

/// The socket that terminals connect to.
pub struct LocalListener {
    listener: Listener,
    shared: Arc<Shared>,
}

/// What all terminals share.
struct Shared {
    channel: Arc<LocalChannel>,
    intake: Arc<dyn Intake>,
    host: Arc<dyn ChannelHost>,
    reception: Arc<dyn Reception>,
}

impl LocalListener {
    /// Listens at `path` (`store/local.sock`), mode 0600. `channel` has to be registered at `host` by the caller.
    ///
    /// # Errors
    /// When there can be no socket at `path`.
    pub fn bind(
        path: &Path,
        channel: Arc<LocalChannel>,
        intake: Arc<dyn Intake>,
        host: Arc<dyn ChannelHost>,
        reception: Arc<dyn Reception>,
    ) -> Result<Self, SocketError> {
        let listener = Listener::bind(path)?;
        Ok(Self { listener, shared: Arc::new(Shared { channel, intake, host, reception }) })
    }

    /// Serves terminals and passes `notices` on to them until `stop` is cancelled, then disconnects them and returns.
    /// Takes about a second at most to end, plus the commit of a message that was under way.
    pub async fn serve(self, mut notices: Receiver<Notice>, stop: CancellationToken) {
        let Self { listener, shared } = self;
        let mut terminals = JoinSet::new();
        let mut number = 0;
        let mut watching = true;
        loop {
            let late = shared.channel.next_late();
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(stream) if terminals.len() >= MAX_TERMINALS => {
                        tracing::warn!(MAX_TERMINALS, "one terminal too many was turned away");
                        drop(stream);
                    }
                    Ok(stream) => {
                        number += 1;
                        terminals.spawn(session::serve(stream, number, Arc::clone(&shared), stop.child_token()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take the connection of a terminal; trying again");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                notice = notices.recv(), if watching => match notice {
                    Ok(notice) => shared.channel.notice(&notice),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "notices were missed; asking how far chats are answered");
                        for chat in shared.channel.attached_chats() {
                            shared.catch_up(&chat).await;
                        }
                    }
                    Err(RecvError::Closed) => watching = false,
                },
                () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {
                    shared.channel.release_late(Instant::now());
                }
                Some(_) = terminals.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        // No new ones: the socket goes first.
        drop(listener);
        while terminals.join_next().await.is_some() {}
    }
}

impl Shared {
    /// Tells the terminals of `chat` how far it is answered.
    async fn catch_up(&self, chat: &ChatId) {
        match self.reception.answered(chat).await {
            Ok(so_far) => self.channel.answered(chat, so_far),
            Err(error) => tracing::warn!(%chat, %error, "cannot tell how far the chat is answered"),
        }
    }
}
