//! What an agent asks of the host by files, and what it is answered.
//!
//! The sender is the mailbox's group, whatever the file says (faults F46, F47).

use serde::{Deserialize, Serialize};

/// The content of `messages/<name>.json`. Unknown fields are ignored (v1 agents send `groupFolder` and `timestamp`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum MessageRequest {
    /// Send a message to a chat.
    #[serde(rename_all = "camelCase")]
    Message {
        /// The chat.
        chat_jid: String,
        /// The text.
        text: String,
        /// A name to speak under.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sender: Option<String>,
    },
}

/// The content of `answers/<name>.json`, where `<name>` is the request file's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Answer {
    /// It was done.
    Done {
        /// What was done, for the agent to read ("queued for delivery").
        detail: String,
    },
    /// It was not done and will not be.
    Refused {
        /// Why, and what would be right.
        reason: String,
    },
    /// It could not be done.
    Failed {
        /// What went wrong.
        reason: String,
    },
}
