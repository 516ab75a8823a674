//! The lines of the bridge protocol, version 1, as far as this bridge speaks it (`docs/bridge-protocol.md`).

use serde::{Deserialize, Serialize};

/// What the host is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToHost {
    /// Who we are; the first line.
    Hello {
        /// The channel's name.
        name: &'static str,
        /// How the ids of our chats end.
        suffixes: &'static [&'static str],
        /// What we can do.
        capabilities: &'static [&'static str],
        /// The version of the protocol.
        protocol: u32,
    },
    /// What somebody wrote.
    Message(Message),
    /// What is known of a chat.
    Chat(Chat),
    /// A message that the host gave us went out.
    Sent {
        /// The host's name for it.
        key: String,
        /// WhatsApp's.
        platform_id: String,
    },
    /// It did not.
    Failed {
        /// The host's name for it.
        key: String,
        /// Why.
        error: String,
        /// When to try again.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// Never.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        permanent: bool,
    },
    /// Is this chat a group of yours?
    IsRegistered {
        /// Which.
        chat: String,
    },
    /// How our connection to WhatsApp stands.
    Status(Status),
}

/// How our connection to WhatsApp stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// In one word.
    pub state: State,
    /// Why it is not connected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a person can do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// How a connection stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being made, or made again.
    Connecting,
    /// It is there.
    Connected,
    /// Not before a person does something.
    Refused,
}

/// What somebody wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Message {
    /// In which chat.
    pub chat: String,
    /// WhatsApp's id of it.
    pub id: String,
    /// Who wrote it.
    pub sender: String,
    /// Their name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// The text; empty only with attachments.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub timestamp_ms: i64,
    /// Whether several people can write in the chat.
    pub is_group: bool,
    /// The parts of `text` by which the assistant is mentioned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// What it replies to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Quote>,
    /// What came with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// The message that another one replies to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quote {
    /// Its id.
    pub id: String,
    /// Who wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender_name: Option<String>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// What came with a message: a file, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attachment {
    /// What people would call it.
    pub kind: &'static str,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The file's name in the folder that the welcome told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Why there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What is known of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chat {
    /// Which.
    pub chat: String,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether several people can write in it.
    pub is_group: bool,
    /// Whether the assistant is not in it any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub left: bool,
    /// How it came to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// When, in milliseconds since 1970-01-01 UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
}

impl Chat {
    /// One in which the assistant is.
    #[must_use]
    pub fn known(chat: String, name: Option<String>, is_group: bool) -> Self {
        Self { chat, name, is_group, left: false, reason: None, timestamp_ms: None }
    }
}

/// What the host tells. What is not known is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromHost {
    /// We are connected.
    Welcome {
        /// Where files go; none are taken without it.
        #[serde(default)]
        files: Option<FilesTaken>,
        /// The questions that it answers.
        #[serde(default)]
        answers: Vec<String>,
    },
    /// Whether a chat is a group of the host's.
    Registered {
        /// Which.
        chat: String,
        /// Whether it is.
        registered: bool,
    },
    /// A message is stored.
    Accepted {
        /// Its chat.
        chat: String,
        /// Its id.
        id: String,
        /// Whether the chat is a group of the host's.
        registered: bool,
    },
    /// Send this.
    Send(Send),
    /// The assistant is at work, or not any more.
    Typing {
        /// Where.
        chat: String,
        /// Whether it is.
        on: bool,
    },
    /// Tell all chats again.
    SyncGroups,
    /// A line was refused.
    Error {
        /// Why.
        reason: String,
        /// The chat of the message that it was about.
        #[serde(default)]
        chat: Option<String>,
        /// The message's id.
        #[serde(default)]
        id: Option<String>,
        /// Whether it may be taken later.
        #[serde(default)]
        retry: bool,
    },
    /// Something that this version does not know.
    #[serde(other)]
    Unknown,
}

/// Where files of messages go.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FilesTaken {
    /// The folder, relative to the one in which the socket is.
    pub folder: String,
    /// The largest.
    pub max_bytes: u64,
}

/// Something that is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Send {
    /// The host's name for it; the same again is the same message.
    pub key: String,
    /// Where to.
    pub chat: String,
    /// An agent's Markdown; empty only with a file.
    #[serde(default)]
    pub text: String,
    /// The message that it answers.
    #[serde(default)]
    pub reply_to: Option<ReplyTo>,
    /// What is to be sent with it.
    #[serde(default)]
    pub files: Vec<FileOut>,
}

/// The message that another one answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReplyTo {
    /// Its id.
    pub id: String,
    /// Who wrote it.
    #[serde(default)]
    pub sender: Option<String>,
    /// What it says.
    #[serde(default)]
    pub text: Option<String>,
}

/// A file that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileOut {
    /// Where it is.
    pub path: std::path::PathBuf,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub media_type: String,
    /// How large it is.
    pub bytes: u64,
}

/// `line` as it goes to the host, with its end.
#[must_use]
pub fn to_line(line: &ToHost) -> String {
    let mut text = serde_json::to_string(line).expect("lines have text keys and no other way to fail");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_says_is_read_and_what_is_new_is_let_be() {
        let read = |line: &str| serde_json::from_str::<FromHost>(line).unwrap();
        assert_eq!(read(r#"{"type":"later","x":1}"#), FromHost::Unknown);
        let welcome = read(r#"{"type":"welcome","protocol":1,"host":"nanoclaw"}"#);
        assert_eq!(welcome, FromHost::Welcome { files: None, answers: Vec::new() });
        let send = read(r#"{"type":"send","key":"k","chat":"1@g.us","text":"hi","reply_to":{"id":"A","thread":"t"}}"#);
        let FromHost::Send(send) = send else { panic!("{send:?}") };
        assert_eq!(send.reply_to, Some(ReplyTo { id: "A".to_owned(), sender: None, text: None }));
        let error = read(r#"{"type":"error","reason":"no","line":3}"#);
        assert_eq!(error, FromHost::Error { reason: "no".to_owned(), chat: None, id: None, retry: false });
    }

    #[test]
    fn a_line_says_only_what_there_is() {
        let message = Message { chat: "1@g.us".to_owned(), text: "hi".to_owned(), ..Message::default() };
        assert_eq!(
            to_line(&ToHost::Message(message)),
            "{\"type\":\"message\",\"chat\":\"1@g.us\",\"id\":\"\",\"sender\":\"\",\"text\":\"hi\",\"timestamp_ms\":0,\"is_group\":false}\n"
        );
        let status = Status { state: State::Connected, reason: None, remedy: None };
        assert_eq!(to_line(&ToHost::Status(status)), "{\"type\":\"status\",\"state\":\"connected\"}\n");
    }
}
