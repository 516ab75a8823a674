//! The port to chat services.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    chat::{ChannelName, ChatId},
    delivery::{Delivery, Sent},
};

/// What a channel can promise beyond sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelCapabilities {
    /// A message sent again with the same key is shown once.
    pub deduplicates: bool,
    /// The service can show that somebody is typing.
    pub typing: bool,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Nobody is there to take it; it is sent as soon as the channel says that it is connected again.
    #[error("not connected: {reason}")]
    NotConnected {
        /// What is known.
        reason: String,
    },
    /// It may work later.
    #[error("{reason}")]
    Retry {
        /// What the service said.
        reason: String,
        /// The delay that the service asked for.
        after: Option<Duration>,
    },
    /// It will never work (the chat is gone, the text is refused).
    #[error("{reason}")]
    Permanent {
        /// What the service said.
        reason: String,
    },
}

/// A chat service and its adapter.
///
/// What people write leaves the adapter through the [`Inbox`](crate::orchestrator::Inbox) that it is given when it is made:
/// it acknowledges a message to its platform only after `accept` returned. A channel connects, reconnects and reports by
/// itself; the orchestrator only sends.
#[async_trait]
pub trait Channel: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &ChannelName;

    /// Whether `chat` is one of its own. At most one channel says yes.
    fn owns(&self, chat: &ChatId) -> bool;

    /// What it can promise.
    fn capabilities(&self) -> ChannelCapabilities;

    /// Sends one message. Called for one message of a chat at a time, in the order of the outbox; messages of different
    /// chats may be sent at once. May be called again with the same key after a failure or a crash.
    ///
    /// # Errors
    /// [`SendError`] says whether and when to try again.
    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError>;

    /// Shows, or stops showing, that the assistant is at work. Best effort; the default does nothing.
    async fn set_typing(&self, chat: &ChatId, typing: Typing) {
        let _ = (chat, typing);
    }
}

/// Whether the assistant is at work in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typing {
    /// It is.
    On,
    /// It is not.
    Off,
}
