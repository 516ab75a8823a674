//! What was found in a folder of NanoClaw v1, as plain values. Names are v1's own and not checked yet.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use nanoclaw_core::{secret::Secret, time::Timestamp};

use super::trees::Tree;

/// Everything that was found.
#[derive(Debug, Clone, Default)]
pub struct V1 {
    /// The folder, absolute.
    pub root: PathBuf,
    /// Chats that were seen.
    pub chats: Vec<V1Chat>,
    /// Registered groups, in the order in which they were added.
    pub groups: Vec<V1Group>,
    /// Messages of all chats, in the order of their times.
    pub messages: Vec<V1Message>,
    /// Up to when each chat's messages were handed to its agent, by chat.
    pub cursors: BTreeMap<String, Timestamp>,
    /// The session of each group, by folder.
    pub sessions: BTreeMap<String, String>,
    /// What is scheduled, in the order of its making.
    pub tasks: Vec<V1Task>,
    /// What `.env` sets. What is a secret and what is not is told by the name.
    pub env: BTreeMap<String, Secret>,
    /// What lies in `groups/`, by folder.
    pub memories: BTreeMap<String, Tree>,
    /// What lies in `data/sessions/<folder>/.claude`, by folder.
    pub states: BTreeMap<String, Tree>,
    /// Folders and session ids whose transcript is where Claude Code looks for it.
    pub transcripts: BTreeSet<(String, String)>,
    /// What lies in `data/ipc` and nobody took, by folder.
    pub mail: BTreeMap<String, Mail>,
    /// Requests of agents that failed: files in `data/ipc/errors`.
    pub failed_requests: usize,
    /// Whether there is a login of WhatsApp.
    pub whatsapp_login: bool,
    /// Whether groups have copies of v1's runner.
    pub own_runners: bool,
    /// Skills for agents that do not come with v1.
    pub own_skills: Vec<String>,
    /// The lists of `~/.config/nanoclaw`.
    pub lists: Lists,
    /// How many rows of each table could not be read, and why.
    pub unreadable: BTreeMap<&'static str, usize>,
}

/// The lists of `~/.config/nanoclaw`, where they are there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lists {
    /// Of mounts.
    pub mounts: Option<PathBuf>,
    /// Of senders.
    pub senders: Option<PathBuf>,
}

/// A chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Chat {
    /// Its name.
    pub jid: String,
    /// What people call it.
    pub name: Option<String>,
    /// When something last happened there.
    pub last_message: Option<Timestamp>,
    /// Whether it said that several people can write there.
    pub is_group: bool,
}

/// A registered chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Group {
    /// The chat.
    pub jid: String,
    /// What people call it.
    pub name: String,
    /// Its folder.
    pub folder: String,
    /// What wakes it.
    pub trigger: Option<String>,
    /// Whether it waits for that.
    pub requires_trigger: bool,
    /// Whether it is the owner's.
    pub is_main: bool,
    /// When it was registered.
    pub added_at: Option<Timestamp>,
    /// JSON of `{ additionalMounts, timeout }`.
    pub container_config: Option<String>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Message {
    /// Where.
    pub jid: String,
    /// The service's id.
    pub id: String,
    /// Who.
    pub sender: String,
    /// Their name.
    pub sender_name: String,
    /// What.
    pub text: String,
    /// When.
    pub at: Timestamp,
    /// Whether it was written from the assistant's account, by its owner or by itself.
    pub is_from_me: bool,
    /// Whether the assistant said it.
    pub is_bot: bool,
    /// What it replies to.
    pub quote: Option<V1Quote>,
}

/// What a message replies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Quote {
    /// Its id.
    pub id: String,
    /// Who wrote it.
    pub sender_name: Option<String>,
    /// What.
    pub text: Option<String>,
}

/// Something scheduled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Task {
    /// Its id.
    pub id: String,
    /// Whose.
    pub folder: String,
    /// What the agent is told.
    pub prompt: String,
    /// `cron`, `interval` or `once`.
    pub kind: String,
    /// The expression, milliseconds, or the local time.
    pub value: String,
    /// When it is due.
    pub next_run: Option<Timestamp>,
    /// `active`, `paused` or `completed`.
    pub status: String,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// `group` or `isolated`.
    pub context: Option<String>,
    /// What runs before the agent.
    pub script: Option<String>,
    /// What came of it, in order.
    pub runs: Vec<V1Run>,
}

/// What came of a task once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct V1Run {
    /// When that was written down: when it was over.
    pub at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// Whether it went well.
    pub success: bool,
    /// What the agent said.
    pub result: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
}

/// Files in a group's mailbox that nobody took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mail {
    /// Follow-ups that no agent read.
    pub follow_ups: usize,
    /// Requests that the host did not come to.
    pub requests: usize,
}
