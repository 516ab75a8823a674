//! The lines of the bridge protocol, version 1 (`docs/bridge-protocol.md`), and how a bridge's words become the domain's.

use nanoclaw_core::{
    attachment::{Attachment, Fetched},
    chat::{ChannelName, ChatId, ChatKind, ChatMetadata},
    delivery::{DeliveryKey, ReplyTo},
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    channels::{arriving::Arrived, calling, clean_name, status::ChannelState},
    files::Spool,
};

/// The version that this host speaks.
pub(super) const PROTOCOL: u32 = 1;

/// The last millisecond of the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// What a bridge says. Fields that are not known are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromBridge {
    Hello(Hello),
    Message(Message),
    Chat(Chat),
    Sent {
        key: DeliveryKey,
        // Read leniently: the message is out, and a strange id must not make it be sent again.
        #[serde(default)]
        platform_id: Value,
    },
    Failed {
        key: DeliveryKey,
        #[serde(default)]
        error: String,
        #[serde(default)]
        retry_after_ms: Option<u64>,
        #[serde(default)]
        permanent: bool,
        #[serde(default)]
        unknown: bool,
    },
    NotFound {
        key: DeliveryKey,
    },
    IsRegistered {
        chat: ChatId,
    },
    Status(Status),
}

#[derive(Debug, Deserialize)]
pub(super) struct Hello {
    pub(super) name: ChannelName,
    #[serde(default)]
    pub(super) protocol: Option<u32>,
    #[serde(default)]
    pub(super) prefixes: Vec<String>,
    #[serde(default)]
    pub(super) suffixes: Vec<String>,
    #[serde(default)]
    pub(super) capabilities: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    chat: ChatId,
    id: PlatformMessageId,
    sender: SenderId,
    #[serde(default)]
    sender_name: Option<String>,
    #[serde(default)]
    text: Option<String>,
    timestamp_ms: i64,
    #[serde(default)]
    is_group: Option<bool>,
    #[serde(default)]
    is_from_me: bool,
    /// The parts of the text by which the assistant is mentioned.
    #[serde(default)]
    mentions: Vec<String>,
    #[serde(default)]
    reply_to: Option<QuoteLine>,
    #[serde(default)]
    thread: Option<PlatformMessageId>,
    #[serde(default)]
    attachments: Vec<AttachmentLine>,
}

#[derive(Debug, Deserialize)]
struct QuoteLine {
    id: PlatformMessageId,
    #[serde(default)]
    sender_name: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct AttachmentLine {
    kind: String,
    #[serde(default)]
    name: Option<String>,
    /// Its name in the folder that the welcome tells.
    #[serde(default)]
    file: Option<String>,
    /// Why there is no file.
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Chat {
    pub(super) chat: ChatId,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    is_group: Option<bool>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    /// The assistant is not there any more.
    #[serde(default)]
    left: bool,
    /// How it came to that.
    #[serde(default)]
    reason: Option<String>,
}

/// How a bridge stands with its service.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    state: BridgeState,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BridgeState {
    Connecting,
    Connected,
    Refused,
}

impl Status {
    /// The same in the host's words.
    pub(super) fn read(self, now: Timestamp) -> ChannelState {
        let reason = self.reason.as_deref().and_then(clean_name);
        match self.state {
            BridgeState::Connected => ChannelState::Connected { since: now },
            BridgeState::Connecting => match reason {
                None => ChannelState::Connecting,
                Some(reason) => ChannelState::Waiting { reason, next_try: None },
            },
            BridgeState::Refused => ChannelState::Refused {
                reason: reason.unwrap_or_else(|| "the bridge did not say why".to_owned()),
                remedy: self
                    .remedy
                    .as_deref()
                    .and_then(clean_name)
                    .unwrap_or_else(|| "what the bridge itself logs says more".to_owned()),
            },
        }
    }
}

/// What the host says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToBridge<'a> {
    Welcome {
        protocol: u32,
        host: &'a str,
        max_line_bytes: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        files: Option<FilesTaken>,
        /// The questions that this host answers.
        answers: &'a [&'a str],
    },
    /// Whether a chat is a group.
    Registered {
        chat: &'a ChatId,
        registered: bool,
    },
    Accepted {
        chat: &'a ChatId,
        id: &'a PlatformMessageId,
        registered: bool,
    },
    Send {
        key: &'a DeliveryKey,
        chat: &'a ChatId,
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reply_to: Option<&'a ReplyTo>,
        #[serde(skip_serializing_if = "Option::is_none")]
        thread: Option<&'a PlatformMessageId>,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        files: &'a [FileSent<'a>],
    },
    Find {
        key: &'a DeliveryKey,
        chat: &'a ChatId,
        text: &'a str,
    },
    Typing {
        chat: &'a ChatId,
        #[serde(skip_serializing_if = "Option::is_none")]
        thread: Option<&'a PlatformMessageId>,
        on: bool,
    },
    SyncGroups,
    /// A line was refused, or could not be acted on.
    Error {
        reason: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        line: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        chat: Option<&'a ChatId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a PlatformMessageId>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        retry: bool,
    },
}

/// A file that a bridge is to send.
#[derive(Debug, Serialize)]
pub(super) struct FileSent<'a> {
    /// Where it is: absolute, to be read until the bridge has said what became of the message.
    pub(super) path: &'a str,
    pub(super) name: &'a str,
    pub(super) media_type: &'a str,
    pub(super) bytes: u64,
}

/// Where a bridge puts files that come with messages, and how much is taken.
#[derive(Debug, Serialize)]
pub(super) struct FilesTaken {
    /// The folder, relative to the one in which the socket is.
    pub(super) folder: &'static str,
    pub(super) max_bytes: u64,
    pub(super) max_per_message: usize,
}

impl FilesTaken {
    pub(super) fn into(spool: &Spool) -> Self {
        let limits = spool.limits();
        Self { folder: "files/arriving", max_bytes: limits.file_bytes, max_per_message: limits.per_message }
    }
}

impl Message {
    pub(super) fn chat(&self) -> &ChatId {
        &self.chat
    }

    pub(super) fn id(&self) -> &PlatformMessageId {
        &self.id
    }

    /// The message as the inbox takes it, without its files, or why it cannot be taken. `called`: by which words the assistant is called in
    /// its chat.
    pub(super) fn read(self, channel: &ChannelName, called: &str) -> Result<Arrived, String> {
        let sent_at = timestamp(self.timestamp_ms)?;
        let text = mentioning(self.text.unwrap_or_default(), &self.mentions, called);
        if text.is_empty() && self.attachments.is_empty() {
            return Err("the message has neither text nor attachments".to_owned());
        }
        let mut files = Vec::new();
        let mut attachments = Vec::new();
        for mut line in self.attachments {
            files.push(line.file.take());
            attachments.push(line.into_attachment()?);
        }
        let sender_name =
            self.sender_name.and_then(|name| clean_name(&name)).unwrap_or_else(|| self.sender.to_string());
        let message = InboundMessage {
            chat: self.chat,
            channel: channel.clone(),
            chat_kind: self.is_group.map(chat_kind),
            id: self.id,
            sender: self.sender,
            sender_name,
            author: if self.is_from_me { Author::Owner } else { Author::Person },
            text,
            sent_at,
            quote: self.reply_to.map(|quote| Quote {
                id: quote.id,
                sender_name: quote.sender_name.and_then(|name| clean_name(&name)),
                text: quote.text.filter(|text| !text.is_empty()),
            }),
            thread: self.thread,
            attachments,
        };
        Ok(Arrived { message, files })
    }
}

/// `text` with what the assistant is called instead of each of `mentions`; one that has any begins with it.
fn mentioning(mut text: String, mentions: &[String], called: &str) -> String {
    for part in mentions.iter().filter(|part| !part.is_empty()) {
        let mut shown = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find(part.as_str()) {
            let (before, after) = (&rest[..at], &rest[at + part.len()..]);
            // Somebody else's name or number may begin like it.
            let is_whole = !after.starts_with(char::is_alphanumeric);
            shown.push_str(before);
            shown.push_str(if is_whole { called } else { part });
            rest = after;
        }
        shown.push_str(rest);
        text = shown;
    }
    if mentions.is_empty() { text } else { calling(text, called) }
}

impl AttachmentLine {
    /// The attachment, of which nothing is fetched yet.
    fn into_attachment(self) -> Result<Attachment, String> {
        let kind = clean_name(&self.kind).ok_or("an attachment needs a kind, such as \"photo\"")?;
        let fetched = Fetched::No { reason: self.error.and_then(|name| clean_name(&name)) };
        Ok(Attachment { kind, name: self.name.and_then(|name| clean_name(&name)), fetched })
    }
}

impl Chat {
    /// The chat as the store keeps it, or why it cannot be kept.
    /// How it came to it that the assistant is not in the chat any more, when it is not.
    pub(super) fn how_left(&self) -> Option<String> {
        let how = || {
            self.reason
                .as_deref()
                .and_then(clean_name)
                .unwrap_or_else(|| "the assistant is not in it any more".to_owned())
        };
        self.left.then(how)
    }

    pub(super) fn into_metadata(self, channel: &ChannelName) -> Result<ChatMetadata, String> {
        Ok(ChatMetadata {
            chat: self.chat,
            channel: channel.clone(),
            name: self.name.and_then(|name| clean_name(&name)),
            kind: self.is_group.map(chat_kind),
            last_seen: self.timestamp_ms.map_or_else(|| Ok(Timestamp::now()), timestamp)?,
        })
    }
}

/// The service's id of a sent message; an error when there is one that cannot be kept. Numbers are taken as their digits.
pub(super) fn platform_id(value: Value) -> Result<Option<PlatformMessageId>, String> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        Value::Number(number) => number.to_string(),
        _ => {
            return Err(
                "platform_id is neither a text nor a number; the message counts as sent, without an id".to_owned()
            );
        }
    };
    PlatformMessageId::new(text)
        .map(Some)
        .map_err(|error| format!("platform_id: {error}; the message counts as sent, without an id"))
}

fn timestamp(ms: i64) -> Result<Timestamp, String> {
    if !(0..=LAST_MS).contains(&ms) {
        return Err(format!("timestamp_ms {ms} is out of range: milliseconds since 1970-01-01 UTC, 0 to {LAST_MS}"));
    }
    Ok(Timestamp::from_ms(ms))
}

fn chat_kind(is_group: bool) -> ChatKind {
    if is_group { ChatKind::Group } else { ChatKind::Private }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mention_becomes_what_the_assistant_is_called_and_calls_it() {
        for (text, mentions, expected) in [
            ("@15 hello", &["@15"][..], "@Andy hello"),
            ("hello @15!", &["@15"], "@Andy hello @Andy!"),
            ("@155 and @15", &["@15"], "@Andy @155 and @Andy"),
            ("hello", &["@15"], "@Andy hello"),
            ("@15 or @90", &["@15", "@90"], "@Andy or @Andy"),
            ("@15 hello", &[], "@15 hello"),
            ("hello", &[""], "@Andy hello"),
        ] {
            let mentions: Vec<_> = mentions.iter().map(|part| (*part).to_owned()).collect();
            assert_eq!(mentioning(text.to_owned(), &mentions, "@Andy"), expected);
        }
    }
}
