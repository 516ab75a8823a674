//! A plan as people and programs see it.

use std::{path::PathBuf, time::Duration};

use nanoclaw_core::{group::TriggerPolicy, session::SessionId, tasks::TaskStatus, time::Timestamp};
use serde::Serialize;

use crate::config::show_duration;

/// What becomes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is imported.
    New,
    /// It is here.
    Here,
    /// It is not imported.
    Left,
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupRow {
    /// Its folder, as v1 has it.
    pub folder: String,
    /// What people call it.
    pub name: String,
    /// Its chat.
    pub chat: String,
    /// Whether it is the main group.
    pub main: bool,
    /// What wakes it; `None` when it is left.
    pub trigger: Option<TriggerPolicy>,
    /// What becomes of it.
    pub state: State,
    /// Why, where that is not clear.
    pub why: Option<String>,
    /// How many messages of people come along that were answered.
    pub answered: usize,
    /// How many of the assistant's own.
    pub said: usize,
    /// How many will be answered here.
    pub to_answer: usize,
    /// How many come along as context of the next one.
    pub context: usize,
    /// How many of those would have been answered by v1, and are too old.
    pub too_old: usize,
    /// The session that goes on.
    pub session: Option<SessionId>,
    /// How many files are copied, of its folder and of its agent's state.
    pub files: u64,
    /// How long they are together.
    pub bytes: u64,
}

/// What becomes of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskRow {
    /// v1's id.
    pub id: String,
    /// Whose.
    pub group: String,
    /// When, as v1 has it: kind and value.
    pub schedule: String,
    /// What the agent is told.
    pub prompt: String,
    /// What becomes of it.
    pub state: State,
    /// Why, where that is not clear.
    pub why: Option<String>,
    /// How it stands here.
    pub status: Option<TaskStatus>,
    /// When it is due next.
    pub next_due_ms: Option<Timestamp>,
    /// The same, for people.
    #[serde(skip)]
    pub next_due: Option<String>,
    /// How many runs of it are in its record.
    pub runs: usize,
}

/// What becomes of something that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedRow {
    /// v1's name for it.
    pub name: String,
    /// Where it goes, and for what is no secret what it is: `limits.idle_timeout = "5m"`.
    pub becomes: String,
    /// What becomes of it.
    pub state: State,
    /// Why, where that is not clear.
    pub why: Option<String>,
}

/// What becomes of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListRow {
    /// Where v1 has it.
    pub path: PathBuf,
    /// What becomes of it.
    pub state: State,
}

/// Something that is not imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmoved {
    /// What.
    pub what: String,
    /// What to do about it; `None`: nothing.
    pub help: Option<String>,
}

/// The plan, as people and programs see it. There is no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// v1's folder.
    pub from: PathBuf,
    /// The home.
    pub home: PathBuf,
    /// How many steps there are to take; with 0, all is here.
    pub steps: usize,
    /// How old what waits may be to be answered.
    pub answer_within_ms: u64,
    /// Groups.
    pub groups: Vec<GroupRow>,
    /// Tasks.
    pub tasks: Vec<TaskRow>,
    /// How many chats besides are noted.
    pub chats: usize,
    /// What `.env` configures.
    pub settings: Vec<NamedRow>,
    /// What it keeps secret.
    pub secrets: Vec<NamedRow>,
    /// The operator's lists.
    pub lists: Vec<ListRow>,
    /// What is not imported.
    pub left: Vec<Unmoved>,
}

impl PlanView {
    /// The rule for what is not answered yet, a sentence.
    #[must_use]
    pub fn rule(&self) -> String {
        let within = show_duration(Duration::from_millis(self.answer_within_ms));
        let too_old: usize = self.groups.iter().map(|group| group.too_old).sum();
        let to_answer: usize = self.groups.iter().map(|group| group.to_answer).sum();
        format!(
            "What v1 had not answered is answered here if it came within the last {within}: {to_answer}. What is older comes along as \
             context of the next message: {too_old}. Tasks that were due longer ago wait for their next time."
        )
    }
}
