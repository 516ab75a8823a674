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

/// The content of `tasks/<name>.json`: whatever is asked of the host besides messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskRequest {
    /// Schedule a task.
    ScheduleTask {
        /// What the agent is told when it is due.
        prompt: String,
        /// `cron`, `interval` or `once`.
        schedule_type: String,
        /// See [`Schedule`](crate::schedule::Schedule).
        schedule_value: String,
        /// `group` or `isolated`; absent is `group` (fault F63).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context_mode: Option<String>,
        /// The chat whose group is to do it; absent is the asking group's own.
        #[serde(default, rename = "targetJid", skip_serializing_if = "Option::is_none")]
        target_jid: Option<String>,
        /// What runs before the agent and decides whether it wakes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<String>,
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
    /// Change a task; what is absent stays.
    UpdateTask {
        /// Which.
        #[serde(rename = "taskId")]
        task_id: String,
        /// As in [`ScheduleTask`](Self::ScheduleTask).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// The same; with [`schedule_value`](Self::UpdateTask::schedule_value) or not at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule_type: Option<String>,
        /// The same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schedule_value: Option<String>,
        /// The same; the empty text removes it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        script: Option<String>,
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
    pub const KINDS: [&str; 9] = [
        "schedule_task",
        "list_tasks",
        "pause_task",
        "resume_task",
        "cancel_task",
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
