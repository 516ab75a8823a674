//! The tools by which an agent acts on its chat and asks the host for things: what they are called, what they take, and what
//! comes of a call. Whoever thinks uses these: `claude` by the [server](crate::mcp), others directly.
//!
//! * [`definitions`] are names, descriptions and schemas.
//! * [`arguments`] reads what a model passes.
//! * [`asking`] hands a request to the host by a file, and waits for its answer.
//! * [`v1`] is what a NanoClaw v1 host has instead of answers.
//!
//! Nothing is decided here that the host decides: who may do what, and what is valid. An agent is told what the host says.

mod arguments;
mod asking;
mod definitions;
mod v1;

pub(crate) use self::definitions::Definition;

use std::path::{Path, PathBuf};

use nanoclaw_core::{
    causes::with_causes,
    group::GroupRole,
    mailbox::{Mailbox, MailboxError, Watcher},
    protocol::{
        environment::guest,
        requests::{Answer, MOST_REQUEST_BYTES, MessageRequest, TaskFields, TaskRequest},
    },
};
use serde_json::Value;
use tokio::sync::OnceCell;

use self::{
    arguments::Arguments,
    asking::{Heard, PATIENCE, Tray},
};
use crate::places::Places;

/// The tools of one group's agent. Several calls may be made at once.
pub(crate) struct ChatTools {
    mailbox: Mailbox,
    /// The group's folder, as the agent sees it.
    group: PathBuf,
    /// The group's own chat.
    chat: String,
    role: GroupRole,
    /// Of the folder of answers; shared by all calls.
    watcher: OnceCell<Watcher>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done, or asked for: what.
    Done(String),
    /// It was not done and will not be: why.
    Refused(String),
    /// It could not be done: why.
    Failed(String),
    /// Nobody knows, or not yet: what is known.
    NotKnown(String),
}

impl Outcome {
    /// For the model to read.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Done(detail) => detail.clone(),
            Self::Refused(reason) => format!("Refused: {reason}"),
            Self::Failed(reason) => format!("Failed: {reason}"),
            Self::NotKnown(known) => format!("Not known: {known}"),
        }
    }

    /// Whether it is anything but done.
    pub(crate) fn is_error(&self) -> bool {
        !matches!(self, Self::Done(_))
    }
}

impl ChatTools {
    pub(crate) fn new(places: &Places, chat: &str, role: GroupRole) -> Self {
        let Places { mailbox, group, .. } = places;
        Self { mailbox: mailbox.clone(), group: group.clone(), chat: chat.to_owned(), role, watcher: OnceCell::new() }
    }

    /// The tools that this group's agent is offered, in a fixed order.
    pub(crate) fn definitions(&self) -> Vec<Definition> {
        definitions::of(self.role)
    }

    /// Calls the tool `name` with `arguments`, an object (`null` is an empty one). Returns when the host has answered, or has
    /// had its time; what goes wrong is said in the outcome.
    pub(crate) async fn call(&self, name: &str, arguments: Value) -> Outcome {
        self.try_call(name, arguments).await.unwrap_or_else(Outcome::Refused)
    }

    /// Asks the host to send `text` to `chat`, whether this group may or not: that is the host's to say.
    pub(crate) async fn send(&self, chat: &str, text: &str) -> Outcome {
        let (chat_jid, text) = (chat.to_owned(), text.to_owned());
        self.ask(&Request::Message(MessageRequest::Message { chat_jid, text, sender: None })).await
    }

    /// An error is what is wrong with the call.
    async fn try_call(&self, name: &str, arguments: Value) -> Result<Outcome, String> {
        let definitions = self.definitions();
        let Some(definition) = definitions.iter().find(|definition| definition.name == name) else {
            if definitions::of(GroupRole::Main).iter().any(|definition| definition.name == name) {
                return Err(format!("only the main group may use {name}"));
            }
            let names: Vec<&str> = definitions.iter().map(|definition| definition.name).collect();
            return Err(format!("there is no tool {:?}; there are {}", shortened(name), names.join(", ")));
        };
        let mut given = Arguments::of(definition, arguments)?;
        let chat = |given: &mut Arguments| given.optional("chat").map(|chat| chat.unwrap_or_else(|| self.chat.clone()));
        let request = match name {
            "send_message" => {
                let (chat_jid, text, sender) = (chat(&mut given)?, given.text("text")?, given.optional("sender")?);
                Request::Message(MessageRequest::Message { chat_jid, text, sender })
            }
            "send_file" => {
                let (chat_jid, path, caption) = (chat(&mut given)?, given.text("path")?, given.optional("caption")?);
                Request::Message(MessageRequest::File { chat_jid, path: self.in_group(&path), caption })
            }
            "schedule_task" => {
                let prompt = Some(given.text("prompt")?);
                let mut task = TaskFields { prompt, ..task_fields(&mut given)? };
                // Said though it is the default, because a v1 host has another one (fault F63).
                task.context_mode.get_or_insert_with(|| "group".to_owned());
                let target = given.optional("target_group_jid")?.unwrap_or_else(|| self.chat.clone());
                Request::Task(TaskRequest::ScheduleTask { task, target_jid: Some(target) })
            }
            "list_tasks" => Request::Task(TaskRequest::ListTasks {}),
            "pause_task" => Request::Task(TaskRequest::PauseTask { task_id: given.text("task_id")? }),
            "resume_task" => Request::Task(TaskRequest::ResumeTask { task_id: given.text("task_id")? }),
            "cancel_task" => Request::Task(TaskRequest::CancelTask { task_id: given.text("task_id")? }),
            "run_task_now" => Request::Task(TaskRequest::RunTaskNow { task_id: given.text("task_id")? }),
            "update_task" => {
                let (task_id, task) = (given.text("task_id")?, task_fields(&mut given)?);
                Request::Task(TaskRequest::UpdateTask { task_id, task })
            }
            "register_group" => Request::Task(TaskRequest::RegisterGroup {
                jid: given.text("jid")?,
                name: given.text("name")?,
                folder: given.text("folder")?,
                trigger: given.optional("trigger")?.unwrap_or_default(),
                requires_trigger: given.optional_bool("requiresTrigger")?,
            }),
            "refresh_groups" => Request::Task(TaskRequest::RefreshGroups {}),
            "list_groups" => Request::Task(TaskRequest::ListGroups {}),
            _ => return Err(format!("the tool {name} has nobody who does it")),
        };
        Ok(self.ask(&request).await)
    }

    /// The path as the host knows it: relative to the group's folder, where it lies in there.
    fn in_group(&self, path: &str) -> String {
        let inside =
            Path::new(path).strip_prefix(&self.group).or_else(|_| Path::new(path).strip_prefix(guest::GROUP_DIR));
        inside.ok().and_then(Path::to_str).unwrap_or(path).to_owned()
    }

    async fn ask(&self, request: &Request) -> Outcome {
        let bytes = request.to_json();
        if bytes.len() > MOST_REQUEST_BYTES {
            return Outcome::Refused(format!(
                "it is too large; as a request it has {} bytes and may have {MOST_REQUEST_BYTES}. Say it in parts, or put it into a \
                 file of the group's folder",
                bytes.len()
            ));
        }
        match self.mailbox.answers() {
            Ok(answers) => match self.asked(request.tray(), &bytes, answers).await {
                Ok(Heard::Answer(Answer::Done { detail })) => Outcome::Done(detail),
                Ok(Heard::Answer(Answer::Refused { reason })) => Outcome::Refused(reason),
                Ok(Heard::Answer(Answer::Failed { reason })) => Outcome::Failed(reason),
                Ok(Heard::Nothing { taken: true }) => Outcome::NotKnown(format!(
                    "the host took the request and did not say within {PATIENCE:?} what came of it. It may well be done; look \
                     before you ask again, or it may happen twice"
                )),
                Ok(Heard::Nothing { taken: false }) => Outcome::NotKnown(format!(
                    "the host did not take the request within {PATIENCE:?}; it may be starting again. The request stays, and is \
                     carried out when the host is back; do not ask again, or it may happen twice"
                )),
                Err(error) => cannot_ask(&error),
            },
            // A host of v1 makes no such folder.
            Err(MailboxError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                v1::ask(&self.mailbox, request).await.unwrap_or_else(|error| cannot_ask(&error))
            }
            Err(error) => cannot_ask(&error),
        }
    }
}

/// What is said of a task.
fn task_fields(given: &mut Arguments) -> Result<TaskFields, String> {
    Ok(TaskFields {
        prompt: given.optional("prompt")?,
        schedule: given.optional("schedule")?,
        schedule_type: given.optional("schedule_type")?,
        schedule_value: given.optional("schedule_value")?,
        timezone: given.optional("timezone")?,
        context_mode: given.optional("context_mode")?,
        catch_up: given.optional("catch_up")?,
        overlap: given.optional("overlap")?,
        silent: given.optional_bool("silent")?,
        script: given.optional("script")?,
    })
}

fn cannot_ask(error: &MailboxError) -> Outcome {
    Outcome::Failed(format!("the host cannot be asked: {}", with_causes(error)))
}

/// Something to ask the host for.
enum Request {
    Message(MessageRequest),
    Task(TaskRequest),
}

impl Request {
    fn tray(&self) -> Tray {
        match self {
            Self::Message(_) => Tray::Messages,
            Self::Task(_) => Tray::Tasks,
        }
    }

    fn to_json(&self) -> Vec<u8> {
        let json = match self {
            Self::Message(request) => serde_json::to_vec(request),
            Self::Task(request) => serde_json::to_vec(request),
        };
        json.expect("a request has text keys and plain values, and cannot fail to serialise")
    }
}

/// What a model wrote, in part.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
