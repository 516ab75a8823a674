//! What an agent asks of the host by files, and what it is answered.
//!
//! The sender is the mailbox's group, whatever the file says (faults F46, F47). Where NanoClaw v1 has a request of that kind its
//! names are kept, so that our agent is understood by a v1 host and a v1 agent by ours; what v1 agents add for nobody
//! (`groupFolder`, `isMain`, `timestamp`) is ignored.

use serde::{Deserialize, Serialize};

/// The most bytes of a request file. A larger one is refused unread.
pub const MOST_REQUEST_BYTES: usize = 1024 * 1024;

/// The most bytes of a file that is sent: what the services that people use take from a program.
pub const MOST_FILE_BYTES: u64 = 50 * 1024 * 1024;

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
    /// Ours: send a file to a chat.
    #[serde(rename_all = "camelCase")]
    File {
        /// The chat.
        chat_jid: String,
        /// Which: a path in the group's folder, relative to it or as the container sees it (`/workspace/group/…`).
        path: String,
        /// Words to go with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caption: Option<String>,
    },
}

/// What is said of a task that is to be, or to be another. Those that v1 has are v1's; the others are ours.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskFields {
    /// What the agent is told when it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Ours: when, as people write it ([`Schedule::read`](crate::schedule::Schedule::read)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// `cron`, `interval` or `once`; not with `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_type: Option<String>,
    /// See [`Schedule::parse`](crate::schedule::Schedule::parse).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_value: Option<String>,
    /// Ours: the name of the zone in which that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// `group`, `isolated`, or `own`, which is ours; absent is `group` for a new one (fault F63).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_mode: Option<String>,
    /// Ours: what becomes of times that were missed: `skip`, `once` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// Ours: what becomes of times that come too early: `skip` or `queue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// Ours: whether what it says is kept in its record and not sent to the chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<bool>,
    /// What runs before the agent and decides whether it wakes; the empty text is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
}

/// The content of `tasks/<name>.json`: whatever is asked of the host besides messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskRequest {
    /// Schedule a task.
    ScheduleTask {
        /// The task: its prompt and when it is due, at least.
        #[serde(flatten)]
        task: TaskFields,
        /// The chat whose group is to do it; absent is the asking group's own.
        #[serde(default, rename = "targetJid", skip_serializing_if = "Option::is_none")]
        target_jid: Option<String>,
    },
    /// Ours: which tasks there are. A v1 host has them in `current_tasks.json`.
    ListTasks {},
    /// Let a task rest.
    #[serde(rename_all = "camelCase")]
    PauseTask {
        /// Which.
        task_id: String,
    },
    /// Let a task that rests go on.
    #[serde(rename_all = "camelCase")]
    ResumeTask {
        /// Which.
        task_id: String,
    },
    /// End a task for good.
    #[serde(rename_all = "camelCase")]
    CancelTask {
        /// Which.
        task_id: String,
    },
    /// Ours: have a task run now, beside its times.
    #[serde(rename_all = "camelCase")]
    RunTaskNow {
        /// Which.
        task_id: String,
    },
    /// Change a task; what is absent stays.
    UpdateTask {
        /// Which.
        #[serde(rename = "taskId")]
        task_id: String,
        /// What it is to be.
        #[serde(flatten)]
        task: TaskFields,
    },
    /// Register a chat as a group.
    #[serde(rename_all = "camelCase")]
    RegisterGroup {
        /// The chat.
        jid: String,
        /// The name people know it by.
        name: String,
        /// Its folder.
        folder: String,
        /// The words that wake its agent; empty, or `@` and the assistant's name, is the usual trigger.
        #[serde(default)]
        trigger: String,
        /// Whether those words are needed; absent is yes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        requires_trigger: Option<bool>,
    },
    /// Ask the services which chats there are.
    RefreshGroups {},
    /// Ours: which chats and groups there are. A v1 host has them in `available_groups.json`.
    ListGroups {},
}

impl TaskRequest {
    /// The words for `type` that there are.
    pub const KINDS: [&str; 10] = [
        "schedule_task",
        "list_tasks",
        "pause_task",
        "resume_task",
        "cancel_task",
        "run_task_now",
        "update_task",
        "register_group",
        "refresh_groups",
        "list_groups",
    ];
}

/// The content of `answers/<name>.json`, where `<name>` is the request file's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Answer {
    /// It was done.
    Done {
        /// What was done, or what was asked for, for the agent to read ("queued for delivery").
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
