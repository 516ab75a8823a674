//! What the agent reads: one object on standard input, then follow-ups as files.

use serde::{Deserialize, Serialize};

use crate::{attachment::NewFile, group::GroupFolder, message::Seq, run::RunNumber, session::SessionId};

/// The one JSON object on standard input, followed by end of file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerInput {
    /// The messages, formatted (see [`crate::prompt`]), or the task's prompt.
    pub prompt: String,
    /// The session to resume; absent for a new one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::session_or_none")]
    pub session_id: Option<SessionId>,
    /// The group's folder.
    pub group_folder: GroupFolder,
    /// The chat to which replies go.
    pub chat_jid: String,
    /// Whether this is the main group.
    pub is_main: bool,
    /// Whether this is a task's run: one turn, which no follow-up joins, and the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_scheduled_task: Option<bool>,
    /// The assistant's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant_name: Option<String>,
    /// A task's script, for a shell: it runs first and decides whether the agent wakes (see `docs/container-contract.md`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Ours: the version of our additions ([`super::PROTOCOL_VERSION`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// Ours: the run's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_number: Option<RunNumber>,
    /// Ours: the first message in the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<Seq>,
    /// Ours: the last message in the prompt; a block with this as [`super::output::Block::answered_seq`] answers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<Seq>,
    /// Ours: the files that the prompt names. They lie in the group's folder; an agent that passes over this reads their
    /// paths in the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileInPrompt>,
}

/// What is known of the input before there is a prompt: the value of [`AHEAD`](super::environment::AHEAD), as JSON. A container
/// that is started ahead can make itself ready by it. What counts is the input, when it comes: it may say another thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ahead {
    /// As [`ContainerInput::session_id`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "super::session_or_none")]
    pub session_id: Option<SessionId>,
    /// As [`ContainerInput::group_folder`].
    pub group_folder: GroupFolder,
    /// As [`ContainerInput::chat_jid`].
    pub chat_jid: String,
    /// As [`ContainerInput::is_main`].
    pub is_main: bool,
    /// As [`ContainerInput::assistant_name`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assistant_name: Option<String>,
    /// As [`ContainerInput::protocol`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
}

impl ContainerInput {
    /// What of it does not hang on the prompt.
    #[must_use]
    pub fn ahead(&self) -> Ahead {
        Ahead {
            session_id: self.session_id.clone(),
            group_folder: self.group_folder.clone(),
            chat_jid: self.chat_jid.clone(),
            is_main: self.is_main,
            assistant_name: self.assistant_name.clone(),
            protocol: self.protocol,
        }
    }
}

/// A file that a prompt names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileInPrompt {
    /// Where it lies, relative to the group's folder.
    pub path: String,
    /// Its type by what is in it: `image/png`.
    pub media_type: String,
    /// How many bytes it has.
    pub bytes: u64,
}

impl From<NewFile> for FileInPrompt {
    fn from(new: NewFile) -> Self {
        Self { path: new.path, media_type: new.file.media_type, bytes: new.file.bytes }
    }
}

/// A follow-up: the content of `input/<name>.json` in the mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum FollowUp {
    /// More messages for the live agent.
    #[serde(rename_all = "camelCase")]
    Message {
        /// The messages, formatted.
        text: String,
        /// Ours: the first message in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        first_seq: Option<Seq>,
        /// Ours: the last message in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seq: Option<Seq>,
        /// Ours: the files that it names, as [`ContainerInput::files`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<FileInPrompt>,
    },
}

/// The name of the empty file in `input/` that asks the agent to end. It is honoured after the messages that lie there.
pub const CLOSE_FILE: &str = "_close";

/// The name of the follow-up file that ends with `last`: sorts in the order of the inbox.
#[must_use]
pub fn follow_up_name(last: Seq) -> String {
    format!("{:020}.json", last.0)
}
