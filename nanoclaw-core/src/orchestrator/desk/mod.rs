//! Decides about what an agent asks for, and does it: who may, what is wrong with it, what came of it.
//!
//! * [`messages`] are messages and files to chats; [`groups`] are registrations; [`tasks`] is what is scheduled.
//!
//! The sender is the mailbox's group, whatever a file says (faults F46, F47), with the rights that it has now. A refusal is an
//! [`Answer`] with its reason. Nothing here is done twice for one file: what a request makes has a key made of the run and the
//! file's name, or is the same when it is made again.

mod groups;
mod messages;
mod tasks;

use std::sync::Arc;

use super::run::{RunContext, in_short};
use crate::{
    delivery::DeliveryKey,
    group::{Group, GroupRole},
    mailbox::Claimed,
    protocol::requests::{Answer, MessageRequest, TaskRequest},
    run::RunId,
    store::StoreError,
};

/// The most characters of a name of a group, and of the words that wake its agent.
const LONGEST_NAME: usize = 100;
const LONGEST_TRIGGER: usize = 64;

/// Where the requests of one run are decided.
pub(super) struct Desk<'a> {
    context: &'a RunContext,
    run: &'a RunId,
    /// As it is registered now.
    group: Arc<Group>,
}

/// Why a request is not granted.
pub(super) enum No {
    /// It is not to be, with the reason.
    Refused(String),
    /// The store failed: the file stays, and is tried again.
    Later(StoreError),
}

impl From<String> for No {
    fn from(reason: String) -> Self {
        Self::Refused(reason)
    }
}

impl From<&str> for No {
    fn from(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

impl From<StoreError> for No {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { .. } | StoreError::Newer { .. } => Self::Later(error),
            refusal => Self::Refused(refusal.to_string()),
        }
    }
}

/// Grants what a file in `messages/` asks for, or refuses it.
///
/// # Errors
/// When the store fails; the same can be asked again.
pub(super) async fn message(context: &RunContext, run: &RunId, claimed: &Claimed) -> Result<Answer, StoreError> {
    let done = async {
        let desk = Desk::of(context, run)?;
        let key = DeliveryKey::request(run, &claimed.name);
        match read(claimed, &["message", "file"])? {
            MessageRequest::Message { chat_jid, text, sender } => desk.message(key, chat_jid, text, sender).await,
            MessageRequest::File { chat_jid, path, caption } => desk.file(key, chat_jid, path, caption).await,
        }
    };
    answer(done.await)
}

/// Grants what a file in `tasks/` asks for, or refuses it.
///
/// # Errors
/// When the store fails; the same can be asked again.
pub(super) async fn task(context: &RunContext, run: &RunId, claimed: &Claimed) -> Result<Answer, StoreError> {
    let done = async {
        let desk = Desk::of(context, run)?;
        let key = DeliveryKey::request(run, &claimed.name);
        match read(claimed, &TaskRequest::KINDS)? {
            TaskRequest::RegisterGroup { jid, name, folder, trigger, requires_trigger } => {
                desk.register_group(jid, name, folder, trigger, requires_trigger).await
            }
            TaskRequest::RefreshGroups {} => desk.refresh_groups().await,
            TaskRequest::ListGroups {} => desk.list_groups().await,
            about_tasks => desk.about_tasks(key, about_tasks).await,
        }
    };
    answer(done.await)
}

fn answer(done: Result<String, No>) -> Result<Answer, StoreError> {
    match done {
        Ok(detail) => Ok(Answer::Done { detail }),
        Err(No::Refused(reason)) => Ok(Answer::Refused { reason }),
        Err(No::Later(error)) => Err(error),
    }
}

/// Reads a request; `kinds` are the words for `type` that there are.
fn read<T: serde::de::DeserializeOwned>(claimed: &Claimed, kinds: &[&str]) -> Result<T, String> {
    #[derive(serde::Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    let bytes = claimed.content.as_ref().map_err(ToString::to_string)?;
    serde_json::from_slice(bytes).map_err(|error| match serde_json::from_slice::<Kind>(bytes) {
        Ok(Kind { kind }) if !kinds.contains(&kind.as_str()) => {
            format!("this host does not take {:?} requests; it takes {}", in_short(&kind), kinds.join(", "))
        }
        _ => format!("the file is no request: {}", in_short(&error.to_string())),
    })
}

impl<'a> Desk<'a> {
    fn of(context: &'a RunContext, run: &'a RunId) -> Result<Self, No> {
        match context.registrar.directory.get(&run.group) {
            Some(group) => Ok(Self { context, run, group }),
            None => Err("this group is not registered any more".into()),
        }
    }

    fn is_main(&self) -> bool {
        self.group.role == GroupRole::Main
    }

    /// Refuses everybody but the main group.
    fn only_main(&self, what: &str) -> Result<(), No> {
        match self.is_main() {
            true => Ok(()),
            false => Err(format!("only the main group may {what}").into()),
        }
    }

    /// What the assistant's name wakes.
    fn usual_trigger(&self) -> String {
        format!("@{}", self.context.settings.assistant_name)
    }
}

/// Whether `text` is words on one line, `longest` characters at most.
fn is_line(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(char::is_control)
}
