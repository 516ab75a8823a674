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
use crate::{
    panics::{FAULT_PAUSE, caught},
    unix_socket::{Listener, SocketError},
};

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
    pub async fn serve(self, notices: Receiver<Notice>, stop: CancellationToken) {
        let Self { listener, shared } = self;
        // Here, and not where it may fail: the socket stays open, and the terminals that are there go on.
        let terminals = JoinSet::new();
        let mut serving = Serving { shared, terminals, number: 0, notices, is_watching: true, has_missed: false };
        while let Err(panicked) = caught(serving.serve(&listener, &stop)).await {
            tracing::error!(error = %panicked, "terminals are not served for a moment; those that are there go on then");
            serving.has_missed = true;
            tokio::time::sleep(FAULT_PAUSE).await;
        }
        // No new ones: the socket goes first.
        drop(listener);
        while serving.terminals.join_next().await.is_some() {}
    }
}

/// What becomes of the terminals and of what they are to be told.
struct Serving {
    shared: Arc<Shared>,
    terminals: JoinSet<()>,
    /// Of the terminal that came last.
    number: u64,
    notices: Receiver<Notice>,
    /// Whether there will be notices.
    is_watching: bool,
    /// Whether notices may have been lost.
    has_missed: bool,
}

impl Serving {
    async fn serve(&mut self, listener: &Listener, stop: &CancellationToken) {
        let Self { shared, terminals, number, notices, is_watching, has_missed } = self;
        loop {
            #[cfg(feature = "failpoints")]
            crate::failpoints::panic_if_asked("terminals.accept");
            if std::mem::take(has_missed) {
                for chat in shared.channel.attached_chats() {
                    shared.catch_up(&chat).await;
                }
            }
            let late = shared.channel.next_late();
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok(stream) if terminals.len() >= MAX_TERMINALS => {
                        tracing::warn!(MAX_TERMINALS, "one terminal too many was turned away");
                        drop(stream);
                    }
                    Ok(stream) => {
                        *number += 1;
                        terminals.spawn(session::serve(stream, *number, Arc::clone(shared), stop.child_token()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take the connection of a terminal; trying again");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                notice = notices.recv(), if *is_watching => match notice {
                    Ok(notice) => shared.channel.notice(&notice),
                    Err(RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "notices were missed; asking how far chats are answered");
                        *has_missed = true;
                    }
                    Err(RecvError::Closed) => *is_watching = false,
                },
                () = tokio::time::sleep_until(late.unwrap_or_else(Instant::now)), if late.is_some() => {
                    shared.channel.release_late(Instant::now());
                }
                Some(ended) = terminals.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "the connection of a terminal failed and is closed");
                    }
                }
                () = stop.cancelled() => return,
            }
        }
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
