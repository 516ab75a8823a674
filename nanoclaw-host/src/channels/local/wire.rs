//! The lines between a terminal and the host. Both ends are this program, so the protocol is private to it: a version that
//! differs is refused by `attach`, nothing more.

use nanoclaw_core::{
    chat::ChatId,
    delivery::DeliveryKey,
    message::{PlatformMessageId, Seq},
    run::Trouble,
};
use serde::{Deserialize, Serialize};

/// The version that this program speaks.
pub const PROTOCOL: u32 = 4;

/// What a terminal says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromTerminal {
    /// First: which chat it is about. Answered by `Attached` or `Error`.
    Attach {
        /// A chat of the local channel.
        chat: ChatId,
        /// [`PROTOCOL`].
        protocol: u32,
    },
    /// Somebody wrote something. Answered by `Accepted` or `Error` with its id.
    Say {
        /// Made by the terminal, unique; the same id again is the same message again.
        id: PlatformMessageId,
        /// What; not empty.
        text: String,
        /// Who, as shown to the agent.
        sender_name: String,
    },
    /// A reply is on the screen.
    Shown {
        /// Which.
        key: DeliveryKey,
    },
}

/// A file that comes with a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyFile {
    /// Its name.
    pub name: String,
    /// Its type by what is in it.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// Where its agent had it when it sent it, on this machine.
    pub path: String,
}

/// What the host says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToTerminal {
    /// The terminal is attached; replies that waited for one follow.
    Attached {
        /// Which chat.
        chat: ChatId,
        /// The assistant's name.
        assistant: String,
        /// Whether the chat is a group; what is said in one that is not is not kept.
        registered: bool,
        /// One line that the user should read first.
        hint: Option<String>,
    },
    /// What was said is committed.
    Accepted {
        /// Which.
        id: PlatformMessageId,
        /// Its place in the inbox; `None` when the chat is no group, and then it was not kept.
        seq: Option<Seq>,
        /// Whether the agent answers it; otherwise it is context for a later message.
        wakes: bool,
        /// The key of the host's own answer, which comes as a `Reply`: it was a command to the host, and is not in the inbox.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reply: Option<DeliveryKey>,
    },
    /// A reply to show; to be answered by `Shown`, also when it was shown before.
    Reply {
        /// Its key.
        key: DeliveryKey,
        /// What; empty when there is only a file.
        text: String,
        /// The file that comes with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<ReplyFile>,
    },
    /// The assistant is at work, or not any more.
    Typing {
        /// Whether it is.
        on: bool,
    },
    /// Every message up to `through` is answered, and the replies to it were shown.
    Answered {
        /// Up to which.
        through: Seq,
    },
    /// A run failed; what it had not answered is tried again.
    Trouble {
        /// Why.
        reason: String,
        /// When the next try is.
        retry_in_ms: u64,
    },
    /// What was said waits for the end of a trouble that is not its fault.
    Paused {
        /// What has to be mended.
        trouble: Trouble,
        /// How the run ended that met it.
        reason: String,
        /// When the next try is.
        retry_in_ms: u64,
    },
    /// Messages were given up after the last try.
    GaveUp {
        /// Up to which.
        through: Seq,
        /// Why.
        reason: String,
    },
    /// A line was refused.
    Error {
        /// Why.
        reason: String,
        /// What it was about, when that was said with `Say`; it is not kept.
        id: Option<PlatformMessageId>,
    },
}
