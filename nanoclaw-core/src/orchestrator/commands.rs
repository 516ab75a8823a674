//! Does what people command of the host in a chat, and answers there.
//!
//! A command is no message of the inbox, so no agent ever reads it. That it was obeyed is known by its answer, which is in the
//! outbox under a key made of the message's id: the store does both at once, so a repeat of the platform, or a crash in between,
//! neither obeys nor answers twice.

use std::sync::Arc;

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};

use super::{
    Notice,
    agenda::Agenda,
    control::Input,
    deliverer::Nudges,
    event::{Event, GroupStatus},
    telling::span,
};
use crate::{
    command::HostCommand,
    delivery::{Answered, Answers, DeliveryKey, NewDelivery},
    group::Group,
    message::InboundMessage,
    run::Trouble,
    session::SessionName,
    store::{GroupSessions, NextSession, SessionContext, SessionEnded, StopWork, Stopped, Store, StoreError},
    time::Timestamp,
};

/// Obeys commands. Cheap to clone.
#[derive(Clone)]
pub(super) struct Commands {
    pub(super) store: Arc<dyn Store>,
    /// `None`: this host does not schedule.
    pub(super) agenda: Option<Agenda>,
    pub(super) nudges: Nudges,
    pub(super) events: mpsc::Sender<Input>,
    pub(super) notices: broadcast::Sender<Notice>,
}

impl Commands {
    /// Does what `message` to `group` commands and answers it; the answer's key.
    ///
    /// # Errors
    /// The store's; the message may come again.
    pub(super) async fn obey(
        &self,
        group: &Group,
        message: &InboundMessage,
        command: HostCommand,
    ) -> Result<DeliveryKey, StoreError> {
        let (key, chat) = (DeliveryKey::command(&message.chat, &message.id), group.chat.clone());
        tracing::info!(group = %group.folder, ?command, "a command in the chat");
        let command_said = Answered::to(message, true);
        let answer = |text: String| NewDelivery {
            key: key.clone(),
            chat: chat.clone(),
            text,
            file: None,
            answers: Some(Answers::Message(command_said.clone())),
        };
        let obeyed = match command {
            HostCommand::Ping => self.answer(answer("pong".to_owned())).await,
            HostCommand::ChatId => {
                self.answer(answer(format!("This chat is {chat}, the group {}.", group.folder))).await
            }
            HostCommand::Status => self.answer(answer(self.status(group).await)).await,
            HostCommand::New => self.end_session(group, &NextSession::New, &answer(NEW.to_owned())).await,
            HostCommand::Sessions => self.answer(answer(self.sessions(group).await?)).await,
            HostCommand::Session(name) => self.go_on_with(group, &name, answer).await,
            HostCommand::Stop => self.stop(group, key.clone(), command_said.clone()).await,
        };
        // Also when an error is told: if it happened all the same, it is to be sent.
        self.nudges.chat(&group.chat);
        obeyed.map(|()| key)
    }

    async fn answer(&self, answer: NewDelivery) -> Result<(), StoreError> {
        self.store.post(&answer, Timestamp::now()).await.map(|_| ())
    }

    async fn end_session(&self, group: &Group, next: &NextSession, answer: &NewDelivery) -> Result<(), StoreError> {
        let ended = self.store.end_session(&group.folder, next, Some(answer), Timestamp::now()).await?;
        // Also when it was done before: the host may have died before it said so.
        if ended != SessionEnded::Same {
            self.say(Event::SessionEnded { group: group.folder.clone() }).await;
        }
        Ok(())
    }

    async fn go_on_with(
        &self,
        group: &Group,
        name: &str,
        answer: impl Fn(String) -> NewDelivery,
    ) -> Result<(), StoreError> {
        let name = match SessionName::said(name) {
            Ok(name) => name,
            Err(error) => return self.answer(answer(format!("The name {}.", error.reason))).await,
        };
        let known = self.store.sessions(&group.folder).await?;
        let known = known.map_or_else(Vec::new, |known| by_name(&known));
        if known.len() >= MOST_SESSIONS && !known.contains(&name) {
            return self
                .answer(answer(format!("There are {MOST_SESSIONS} conversations; there are no more names.")))
                .await;
        }
        let next = answer(format!(
            "With your next message the conversation {name} goes on. What is being worked on is still answered."
        ));
        self.end_session(group, &NextSession::Named(name), &next).await
    }

    async fn sessions(&self, group: &Group) -> Result<String, StoreError> {
        let Some(known) = self.store.sessions(&group.folder).await? else { return Ok(String::new()) };
        let others: Vec<_> = by_name(&known).into_iter().filter(|name| *name != known.current).collect();
        let others = match others.as_slice() {
            [] => String::new(),
            [one] => format!(" There is also {one}."),
            more => format!(" There are also {}.", more.iter().map(SessionName::as_str).collect::<Vec<_>>().join(", ")),
        };
        Ok(format!(
            "This is the conversation {}.{others}\n/session NAME goes on with another, or begins it.",
            known.current
        ))
    }

    async fn stop(&self, group: &Group, key: DeliveryKey, command: Answered) -> Result<(), StoreError> {
        let stop = StopWork {
            key,
            command,
            reason: "was stopped by somebody in the chat".to_owned(),
            stopped: "Stopped. What was asked and not answered is dropped.".to_owned(),
            task_stopped: "Stopped the task that was running. The task itself stays, and runs again at its next time."
                .to_owned(),
            nothing: "There is nothing to stop.".to_owned(),
        };
        let stopped = self.store.stop_work(&group.folder, &stop, Timestamp::now()).await?;
        let Stopped::Work { through, run, task } = stopped else { return Ok(()) };
        if let Some(through) = through {
            let (folder, chat, reason) = (group.folder.clone(), group.chat.clone(), stop.reason);
            let _ = self.notices.send(Notice::GaveUp { group: folder.clone(), chat, through, reason });
            self.say(Event::WorkStopped { group: folder, through, run }).await;
        }
        if let (Some(task), Some(agenda)) = (task, &self.agenda) {
            agenda.run_stopped(group.folder.clone(), task).await;
        }
        Ok(())
    }

    async fn say(&self, event: Event) {
        // Should the loop have ended meanwhile, the next host finds it in the store.
        let _ = self.events.send(Input::Event(event)).await;
    }

    /// How things stand, in a few lines that fit a telephone.
    async fn status(&self, group: &Group) -> String {
        let (answer, status) = oneshot::channel();
        let asked = self.events.send(Input::Status(answer)).await;
        let all = if asked.is_ok() { status.await.unwrap_or_default() } else { Vec::new() };
        let state = all.iter().find(|status| status.group == group.folder);
        let mut lines = vec![format!("{}: {}", group.name, state.map_or_else(String::new, stands))];
        match self.store.unanswered(&group.folder).await {
            Ok(0) => lines.push("Everything is answered.".to_owned()),
            Ok(1) => lines.push("One message since the last answer.".to_owned()),
            Ok(more) => lines.push(format!("{more} messages since the last answer.")),
            Err(error) => tracing::warn!(%error, "cannot tell how many messages wait"),
        }
        lines.join("\n")
    }
}

const NEW: &str = "A new conversation begins with your next message. What is being worked on is still answered.";

/// The most conversations of a chat.
const MOST_SESSIONS: usize = 50;

/// What the conversations of a chat are called, in their order. There is always a way back to the one without a name of its own.
fn by_name(known: &GroupSessions) -> Vec<SessionName> {
    let aside = known.sessions.iter().filter_map(|(context, _)| match context {
        SessionContext::Aside(name) => Some(name.clone()),
        SessionContext::Chat | SessionContext::Task(_) => None,
    });
    let mut names: Vec<_> = aside.chain([known.current.clone(), SessionName::default()]).collect();
    names.sort();
    names.dedup();
    names
}

/// How a group stands, for its own people.
fn stands(status: &GroupStatus) -> String {
    let now = Instant::now();
    let since = span(now.saturating_duration_since(status.since));
    let next = status
        .deadline
        .map_or_else(String::new, |at| format!("; the next try is in {}", span(at.saturating_duration_since(now))));
    match (status.state, status.trouble) {
        ("idle", _) => "nothing runs.".to_owned(),
        ("waiting", _) => format!("waiting for a free container for {since}."),
        ("starting" | "preparing", _) => "starting.".to_owned(),
        ("busy", _) => format!("at work for {since}."),
        ("resting" | "standby", _) => format!("ready; nothing to do for {since}."),
        ("stopping", _) => "ending what ran.".to_owned(),
        ("backing off", _) => match status.failures {
            1 => format!("it failed once{next}."),
            times => format!("it failed {times} times in a row{next}."),
        },
        (_, Some(trouble)) => {
            let what = match trouble {
                Trouble::Login => "the login for the model does not work",
                Trouble::Quota => "what may be used of the model is used up",
                Trouble::Setup => "something is not set up on the machine",
                Trouble::Host => "something on the machine does not work just now",
                Trouble::Preparing => "what it runs in is being made ready",
            };
            format!("it waits, since {what}{next}.")
        }
        ("frozen", _) => "frozen by its operator.".to_owned(),
        (_, None) => "it waits for the machine's containers.".to_owned(),
    }
}
