//! A message: as a channel hands it in, and as the inbox keeps it.

use serde::{Deserialize, Serialize};

use crate::{
    attachment::Attachment,
    chat::{ChannelName, ChatId, ChatKind},
    text_id::{plain_text, text_id},
    time::Timestamp,
};

text_id! {
    /// The id that the chat service gave a message; unique within its chat. Up to 256 bytes without control characters.
    PlatformMessageId, "message id", |text| plain_text(text, 256)
}

/// How the ids of messages begin that are said again.
const SAID_AGAIN: &str = "nanoclaw-retry/";

impl PlatformMessageId {
    /// The id of a message that was set aside at `seq` and is said again: the same however often it is said so, and none that
    /// a service gives.
    #[must_use]
    pub fn said_again(seq: Seq) -> Self {
        Self(format!("{SAID_AGAIN}{seq}"))
    }

    /// Which message it says again; `None` when it is an id that a service gave.
    #[must_use]
    pub fn says_again(&self) -> Option<Seq> {
        self.as_str().strip_prefix(SAID_AGAIN)?.parse().ok().map(Seq)
    }
}

text_id! {
    /// Who wrote a message, in the service's own terms. Up to 256 bytes without control characters.
    SenderId, "sender id", |text| plain_text(text, 256)
}

/// A message's place in the inbox: given at commit, rising over all chats, never reused. The only order there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Seq(pub i64);

impl Seq {
    /// Before every message.
    pub const ZERO: Self = Self(0);
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// On whose behalf a message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// Somebody in the chat.
    Person,
    /// The person whose account the assistant uses (v1's `is_from_me`): may always trigger.
    Owner,
}

/// The message that another one replies to, as far as the service told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// The quoted message.
    pub id: PlatformMessageId,
    /// Who wrote it, as shown.
    pub sender_name: Option<String>,
    /// Its text, as far as the service sent it along.
    pub text: Option<String>,
}

/// A message as a channel hands it in. Nothing is promised until [`Inbox::accept`](crate::orchestrator::Inbox::accept)
/// has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundMessage {
    /// The chat it was written in.
    pub chat: ChatId,
    /// The channel that brings it.
    pub channel: ChannelName,
    /// Group or private, when the service told.
    pub chat_kind: Option<ChatKind>,
    /// The service's id; the same chat and id again is the same message again.
    pub id: PlatformMessageId,
    /// Who wrote it.
    pub sender: SenderId,
    /// Their name as shown in the chat.
    pub sender_name: String,
    /// On whose behalf.
    pub author: Author,
    /// What they wrote; empty when the message is attachments alone.
    pub text: String,
    /// When the service says it was sent.
    pub sent_at: Timestamp,
    /// What it replies to.
    pub quote: Option<Quote>,
    /// The thread or topic of the chat in which it was written, by the service's id of that, which on most is that of its first
    /// message; `None` in the chat's main stream. A thread that is a chat of its own is none.
    pub thread: Option<PlatformMessageId>,
    /// Files that came with it, in the sender's order.
    pub attachments: Vec<Attachment>,
}

/// A message in the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its place in the inbox.
    pub seq: Seq,
    /// Whether it wakes the agent, decided once, when it was accepted (see [`crate::trigger`]).
    pub wakes: Wakes,
    /// The message itself.
    pub message: InboundMessage,
}

/// Whether a message is for the agent now, or context for a later one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wakes {
    /// It triggers a turn.
    Yes,
    /// It waits in the inbox and comes along, as context, with the next one that triggers.
    No,
}

/// A message for unit tests: `text`, said by Ann in a family chat on 4 March 2026, 12:30 UTC.
#[cfg(test)]
pub(crate) fn sample(text: &str) -> InboundMessage {
    InboundMessage {
        chat: ChatId::new("tg:-100123").unwrap(),
        channel: ChannelName::new("telegram").unwrap(),
        chat_kind: Some(ChatKind::Group),
        id: PlatformMessageId::new("18").unwrap(),
        sender: SenderId::new("7").unwrap(),
        sender_name: "Ann".to_owned(),
        author: Author::Person,
        text: text.to_owned(),
        sent_at: Timestamp::from_ms(1_772_627_400_000),
        quote: None,
        thread: None,
        attachments: Vec::new(),
    }
}
