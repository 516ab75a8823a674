//! What channels need of the rest of the host: somewhere to hand messages in, and somewhere to register themselves.

use std::sync::Arc;

use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, SendError},
    chat::{ChannelName, ChatId, ChatMetadata},
    delivery::{DeliveryKey, OutboxId, Sent},
    message::{InboundMessage, PlatformMessageId, SenderId, Seq},
    orchestrator::{HeardLate, Inbox, Receipt},
    store::StoreError,
    time::Timestamp,
};

#[cfg(feature = "service-client")]
use crate::{credentials::Credentials, files::Spool};

/// Takes what people write. Implemented by core's [`Inbox`].
#[async_trait]
pub trait Intake: Send + Sync + 'static {
    /// Commits a message; only after `Ok` may the channel acknowledge it.
    ///
    /// # Errors
    /// The store's; the message must be handed in again.
    async fn accept(&self, message: InboundMessage) -> Result<Receipt, StoreError>;

    /// Keeps what is known of a chat.
    ///
    /// # Errors
    /// The store's.
    async fn note_chat(&self, chat: ChatMetadata) -> Result<(), StoreError>;

    /// By which words people in `chat` call the assistant, to stand for the service's own way to mention it; `None`: the chat
    /// is no group.
    fn called(&self, chat: &ChatId) -> Option<String>;

    /// Why nothing is kept of what a person writes in `chat` under the id `sender`, as things stand, so that its files need not be fetched;
    /// `None`: it is kept.
    async fn not_kept(&self, chat: &ChatId, sender: &SenderId) -> Option<&'static str>;

    /// The chats that are groups.
    fn chats(&self) -> Vec<ChatId>;

    /// Until when all that was said in a group has come, by the service's clock; `None`: the chat is no group.
    ///
    /// # Errors
    /// The store's.
    async fn heard_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError>;

    /// The threads of a group in which something was said since then, by the service's clock: up to `limit` of those in which something came
    /// last.
    ///
    /// # Errors
    /// The store's.
    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError>;

    /// Nothing of `chat` is heard any more, since `at`; `how` it came to that. The owner is told once for each `at` if it is a group's.
    async fn left(&self, chat: &ChatId, how: &str, at: Timestamp);

    /// The service of `channel` refuses it until a person does something. The owner is told once a day, unless the channel `carries`
    /// the main chat itself.
    async fn refused(&self, channel: &ChannelName, reason: &str, remedy: &str, carries: Carries<'_>);
}

/// Which chats a channel carries.
pub type Carries<'a> = &'a (dyn Fn(&ChatId) -> bool + Sync);

#[async_trait]
impl Intake for Inbox {
    async fn accept(&self, message: InboundMessage) -> Result<Receipt, StoreError> {
        let inbox = self.clone();
        by_itself(async move { Inbox::accept(&inbox, message).await }).await
    }

    async fn note_chat(&self, chat: ChatMetadata) -> Result<(), StoreError> {
        let inbox = self.clone();
        by_itself(async move { Inbox::note_chat(&inbox, chat).await }).await
    }

    fn called(&self, chat: &ChatId) -> Option<String> {
        Inbox::called(self, chat)
    }

    async fn not_kept(&self, chat: &ChatId, sender: &SenderId) -> Option<&'static str> {
        Inbox::not_kept(self, chat, sender).await
    }

    fn chats(&self) -> Vec<ChatId> {
        Inbox::chats(self)
    }

    async fn heard_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError> {
        Inbox::heard_until(self, chat).await
    }

    async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError> {
        Inbox::threads_since(self, chat, since, limit).await
    }

    async fn left(&self, chat: &ChatId, how: &str, at: Timestamp) {
        Inbox::left(self, chat, how, at).await;
    }

    async fn refused(&self, channel: &ChannelName, reason: &str, remedy: &str, carries: Carries<'_>) {
        Inbox::refused(self, channel, reason, remedy, carries).await;
    }
}

/// What the client of a chat service needs of the host, and `settings`: how it is used.
#[cfg(feature = "service-client")]
pub struct ServiceParts<S> {
    /// How it is used.
    pub settings: S,
    /// Where its credentials are, the latest at any time.
    pub credentials: Credentials,
    /// Where what people write goes.
    pub intake: Arc<dyn Intake>,
    /// Who sends replies.
    pub host: Arc<dyn ChannelHost>,
    /// Where files of messages go; `None`: none are taken, and none are sent.
    pub files: Option<Arc<Spool>>,
}

/// Has `write` go on whether the caller is polled or not. A channel that waits for its service in the middle of one (a `select!` whose
/// other branch is taken) would keep everybody else from writing meanwhile.
async fn by_itself<T: Send + 'static>(write: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(write).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and the caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Where channels that come and go while the host runs say so. Implemented by the orchestrator's handle.
///
/// The calls are made between two lines of a connection: none waits for a chat service, or for longer than the store needs
/// to look something up.
#[async_trait]
pub trait ChannelHost: Send + Sync + 'static {
    /// From now on, messages for chats that `channel` owns go to it. Its name is not in use.
    fn add_channel(&self, channel: Arc<dyn Channel>);

    /// It is gone; what waits for it goes on waiting.
    fn remove_channel(&self, name: &ChannelName);

    /// What waits for it can be tried now. A send that fails with `NotConnected` while this is called counts as waiting.
    fn channel_connected(&self, name: &ChannelName);

    /// The channel of this name says what became of a send for which nobody waits any more, perhaps one of an earlier
    /// connection or host: it was sent, or, with `Retry` or `Permanent`, no send of this key went out. Other errors say
    /// nothing. It must have been added before.
    ///
    /// # Errors
    /// The store's; the word may be said again.
    async fn heard_late(
        &self,
        name: &ChannelName,
        key: &DeliveryKey,
        word: Result<Sent, SendError>,
    ) -> Result<HeardLate, StoreError>;
}

/// What a terminal is told about the chat that it attaches to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// The assistant's name.
    pub assistant: String,
    /// Whether the chat is a group; messages to one that is not are not kept.
    pub registered: bool,
    /// One line that the user should read before the first message (no model is configured, and how to); `None` when
    /// there is nothing to say.
    pub hint: Option<String>,
}

/// How far the messages of a chat are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnsweredSoFar {
    /// Up to which message; [`Seq::ZERO`] when none is.
    pub through: Seq,
    /// The last reply that is committed and not shown yet; `None` when all are shown.
    pub unshown: Option<OutboxId>,
}

/// What the local channel asks about a chat.
#[async_trait]
pub trait Reception: Send + Sync + 'static {
    /// What a terminal that attaches to `chat` is told.
    ///
    /// # Errors
    /// The store's.
    async fn welcome(&self, chat: &ChatId) -> Result<Welcome, StoreError>;

    /// How far `chat` is answered: asked when notices were missed, so that nobody waits for one that does not come again.
    /// The cursor has to be read before the outbox.
    ///
    /// # Errors
    /// The store's.
    async fn answered(&self, chat: &ChatId) -> Result<AnsweredSoFar, StoreError>;
}
