//! The port to chat services.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    chat::{ChannelName, ChatId},
    delivery::{Delivery, Sent},
    message::PlatformMessageId,
};

/// What a channel can promise beyond sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelCapabilities {
    /// What comes of a message that is sent again with the same key.
    pub repeat: Repeat,
    /// The service can show that somebody is typing.
    pub typing: bool,
    /// It takes messages with files.
    pub files: bool,
}

/// What comes of a message that is sent again with the same key, however much later, also after a crash of the host or of
/// whatever carries the channel. It decides what can be done with a message of which nobody knows whether it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Repeat {
    /// It is shown once: sending again is always safe.
    Deduplicated,
    /// It would be shown twice, but [`Channel::find`] can tell whether it was sent.
    LookedUp,
    /// It is shown twice, and nobody can tell.
    #[default]
    Shown,
}

/// Why a message could not be sent.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendError {
    /// Nobody is there to take it, and it was not sent; it is sent as soon as the channel says that it is connected again.
    #[error("not connected: {reason}")]
    NotConnected {
        /// What is known.
        reason: String,
    },
    /// It was not sent, and it may work later.
    #[error("{reason}")]
    Retry {
        /// What the service said.
        reason: String,
        /// The delay that the service asked for.
        after: Option<Duration>,
    },
    /// It was not sent, and it will never work (the chat is gone, the text is refused).
    #[error("{reason}")]
    Permanent {
        /// What the service said.
        reason: String,
    },
    /// It was sent, or it was not: the connection broke in between, or no answer came in time. What happens then depends on
    /// the channel's [`Repeat`].
    #[error("nobody knows whether it was sent: {reason}")]
    Unknown {
        /// What is known.
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

    /// Sends one message, with its file if it has one and the channel takes files; others are not asked. Called for one
    /// message of a chat at a time, in the order of the outbox; messages of different chats may be sent at once. May be called
    /// again with the same key after a failure or a crash.
    ///
    /// # Errors
    /// [`SendError`] says whether and when to try again.
    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError>;

    /// Tells whether a message was sent, now or by an earlier host; `None`: it was not, and will not be by itself. Asked
    /// only of channels whose capability is [`Repeat::LookedUp`], before a message that may have been sent is sent again.
    ///
    /// # Errors
    /// [`SendError`] says whether and when to ask again; after `Permanent` it counts as unknown, as it does by default.
    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let _ = delivery;
        Err(SendError::Permanent { reason: "this channel cannot tell whether a message was sent".to_owned() })
    }

    /// Shows, or stops showing, that the assistant is at work, in a [thread](crate::message::InboundMessage::thread) of the
    /// chat or, with `None`, in its main stream. Best effort; the default does nothing.
    async fn set_typing(&self, chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) {
        let _ = (chat, thread, typing);
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
