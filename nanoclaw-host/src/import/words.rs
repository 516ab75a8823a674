//! v1's names and words as ours: chats, messages, what was said.

use nanoclaw_core::{
    chat::{ChannelName, ChatId, ChatKind, ChatMetadata},
    delivery::DeliveryKey,
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId},
    time::Timestamp,
};
use sha2::Digest as _;

use super::{
    tasks,
    v1::{V1Chat, V1Message},
};
use crate::stores::sqlite::Said;

/// The channel that carries a chat, by the forms of v1's names, which are ours.
pub(super) fn channel_of(chat: &ChatId) -> Option<ChannelName> {
    let text = chat.as_str();
    let name = match text.split_once(':').map(|(prefix, _)| prefix) {
        Some("tg") => "telegram",
        Some("slack") => "slack",
        Some("dc") => "discord",
        Some(_) => return None,
        None if ["@g.us", "@s.whatsapp.net", "@lid"].iter().any(|ending| text.ends_with(ending)) => "whatsapp",
        None => return None,
    };
    ChannelName::new(name).ok()
}

pub(super) fn unknown_channel() -> ChannelName {
    ChannelName::new("unknown").expect("a plain word is a channel's name")
}

/// Whether several people write in a chat. v1's column for it is 0 where nobody told.
pub(super) fn kind_of(chat: &ChatId, is_group: bool) -> Option<ChatKind> {
    let text = chat.as_str();
    let private = text.ends_with("@s.whatsapp.net")
        || text.ends_with("@lid")
        || text.starts_with("slack:D")
        || text.strip_prefix("tg:").is_some_and(|id| !id.starts_with('-'));
    let several = is_group || text.ends_with("@g.us") || text.starts_with("tg:-");
    match (several, private) {
        (true, _) => Some(ChatKind::Group),
        (false, true) => Some(ChatKind::Private),
        (false, false) => None,
    }
}

pub(super) fn metadata_of(chat: &V1Chat) -> Option<ChatMetadata> {
    let id = ChatId::new(chat.jid.as_str()).ok()?;
    Some(ChatMetadata {
        channel: channel_of(&id)?,
        kind: kind_of(&id, chat.is_group),
        name: chat.name.clone(),
        last_seen: chat.last_message.unwrap_or(Timestamp::from_ms(0)),
        chat: id,
    })
}

pub(super) fn message_of(
    message: &V1Message,
    chat: &ChatId,
    channel: &ChannelName,
    kind: Option<ChatKind>,
) -> Option<InboundMessage> {
    let quote = message.quote.as_ref().and_then(|quote| {
        let id = PlatformMessageId::new(quote.id.as_str()).ok()?;
        Some(Quote { id, sender_name: quote.sender_name.clone(), text: quote.text.clone() })
    });
    Some(InboundMessage {
        chat: chat.clone(),
        channel: channel.clone(),
        chat_kind: kind,
        id: PlatformMessageId::new(message.id.as_str()).ok()?,
        sender: SenderId::new(message.sender.as_str()).ok()?,
        sender_name: message.sender_name.clone(),
        author: if message.is_from_me { Author::Owner } else { Author::Person },
        text: message.text.clone(),
        sent_at: message.at,
        quote,
        thread: None,
        attachments: Vec::new(),
    })
}

pub(super) fn said_of(message: &V1Message, chat: &ChatId) -> Option<Said> {
    let digest = sha2::Sha256::digest(format!("{chat}\0{}", message.id));
    let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(Said {
        key: DeliveryKey::new(format!("{}{digest}", tasks::KEY)).ok()?,
        id: PlatformMessageId::new(message.id.as_str()).ok()?,
        text: message.text.clone(),
        at: message.at,
    })
}
