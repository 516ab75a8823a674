//! What people write: taken in conversation by conversation, and acknowledged when it is committed.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::FutureExt as _;
use nanoclaw_core::{
    chat::{ChatKind, ChatMetadata},
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId},
    orchestrator::Receipt,
    secret::Secret,
    steps::STEPS,
    time::Timestamp,
};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::{
    PREFIX, Slack,
    catch_up::{ASKED_AT_ONCE, MOST_THREADS_OF_ALL},
    chat_of,
    client::{Client, Conversation, Identity},
    conversation_of,
    event::{Meaning, Said, meaning},
    text_in::{Assistant, mentioned, readable},
};
use crate::channels::{
    NOBODYS_CALL,
    arriving::{self, Arrived},
    calling, clean_name,
    lanes::{Lanes, MOST_WAITING},
};

/// The most users of one message whose names are asked for.
const MOST_NAMES: usize = 20;

/// The messages of one session that are being taken in.
pub(super) struct Receiver<'a> {
    slack: &'a Slack,
    session: Arc<Session<'a>>,
    /// By the ids of envelopes; a group that is caught up with has none.
    lanes: Lanes<'a, Option<String>>,
}

pub(super) struct Session<'a> {
    pub(super) client: &'a Client,
    pub(super) bot: Secret,
    pub(super) me: Identity,
    /// The conversations of which all was noted that is known.
    noted: Mutex<HashSet<String>>,
    /// Who may ask for what was said before.
    pub(super) asking: Semaphore,
    /// How many threads may still be asked for to which nothing but the store leads.
    pub(super) threads: Semaphore,
    /// It has ended: nobody waits for Slack any more.
    pub(super) over: CancellationToken,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(slack: &'a Slack, client: &'a Client, bot: Secret, me: Identity) -> Self {
        let (asking, threads) = (Semaphore::new(ASKED_AT_ONCE), Semaphore::new(MOST_THREADS_OF_ALL));
        let (noted, over) = (Mutex::default(), CancellationToken::new());
        let session = Arc::new(Session { client, bot, me, noted, asking, threads, over });
        Self { slack, session, lanes: Lanes::of(MOST_WAITING) }
    }

    /// Has what was missed in every group taken in, before what is said there from now on.
    pub(super) fn catch_up(&mut self) {
        for chat in self.slack.intake.chats().into_iter().filter(|chat| self.slack.claim.covers(chat)) {
            let (slack, session, lane) = (self.slack, self.session.clone(), conversation_of(&chat).to_owned());
            let work = async move { slack.catch_up(&session, &chat).await };
            // It is the first in its lane.
            self.lanes.put(lane, None, work.boxed());
        }
    }

    /// Takes in what came with the envelope `id`, after what came before it in the same conversation.
    pub(super) fn take(&mut self, id: String, event: Option<Value>) {
        let meaning = event.map_or(Meaning::Nothing("it is no event"), |event| meaning(event, &self.session.me));
        let conversation = match &meaning {
            Meaning::Nothing(why) => {
                tracing::debug!(why, "an event of Slack's is nothing for us");
                // In a lane of its own: it waits for nothing.
                self.lanes.put(format!("envelope {id}"), Some(id), std::future::ready(Ok(())).boxed());
                return;
            }
            Meaning::Said(said) => {
                tracing::debug!(target: STEPS, chat = format!("{PREFIX}{}", said.conversation), id = said.id, "seen");
                said.conversation.clone()
            }
            Meaning::Joined { conversation }
            | Meaning::Left { conversation, .. }
            | Meaning::Renamed { conversation, .. } => conversation.clone(),
        };
        let (slack, session) = (self.slack, self.session.clone());
        let work = async move { slack.act(&session, meaning).await };
        if !self.lanes.put(conversation.clone(), Some(id), work.boxed()) {
            tracing::warn!(conversation, "too much waits in a conversation; Slack will say it again");
        }
    }

    /// Waits for the next envelope that is to be acknowledged. Can be dropped and called again.
    ///
    /// # Errors
    /// Why nothing can be taken in just now. Slack says again what was not acknowledged.
    pub(super) async fn done(&mut self) -> Result<String, String> {
        loop {
            if let Some(envelope) = self.lanes.done().await? {
                return Ok(envelope);
            }
        }
    }

    /// Sees what was begun to its end.
    pub(super) async fn end(self) {
        self.session.over.cancel();
        self.lanes.end().await;
    }
}

impl Slack {
    async fn act(&self, session: &Session<'_>, meaning: Meaning) -> Result<(), String> {
        match meaning {
            Meaning::Nothing(_) => {}
            Meaning::Said(said) => {
                let (conversation, at) = (said.conversation.clone(), said.at);
                self.take_in(session, *said).await?;
                self.note_once(session, &conversation, at).await;
            }
            Meaning::Joined { conversation } => {
                tracing::info!(conversation, "the assistant is in a conversation of Slack's");
                session.noted.lock().unwrap_or_else(PoisonError::into_inner).remove(&conversation);
                self.note_once(session, &conversation, Timestamp::now()).await;
            }
            Meaning::Left { conversation, how, at } => {
                if let Some(chat) = chat_of(&conversation) {
                    self.intake.left(&chat, how, at).await;
                }
            }
            Meaning::Renamed { conversation, name } => {
                if let Some(chat) = chat_of(&conversation) {
                    let (channel, name) = (self.name.clone(), clean_name(&name));
                    let kind = Some(ChatKind::Group);
                    let metadata = ChatMetadata { chat, channel, name, kind, last_seen: Timestamp::now() };
                    self.intake.note_chat(metadata).await.map_err(|error| error.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// Hands a message in, with its files.
    ///
    /// # Errors
    /// Why it could not be stored just now.
    pub(super) async fn take_in(&self, session: &Session<'_>, said: Said) -> Result<(), String> {
        let Session { client, bot, me, .. } = session;
        let ids = (chat_of(&said.conversation), SenderId::new(&said.user), PlatformMessageId::new(&said.id));
        let (Some(chat), Ok(sender), Ok(id)) = ids else {
            tracing::warn!(conversation = said.conversation, "a message with strange ids is skipped");
            return Ok(());
        };
        let called = self.intake.called(&chat);
        let call = called.as_deref().unwrap_or(NOBODYS_CALL);
        let mut names = HashMap::new();
        let thread_user = said.thread.as_ref().and_then(|thread| thread.user.as_deref());
        let users = [said.user.as_str()].into_iter().chain(thread_user).chain(mentioned(&said.text)).take(MOST_NAMES);
        for user in users.filter(|user| *user != me.user_id).collect::<HashSet<_>>() {
            if let Some(name) = self.people.name(client, bot, user).await {
                names.insert(user.to_owned(), name);
            }
        }
        let quote = said.thread.as_ref().and_then(|thread| {
            let sender_name = match &thread.user {
                Some(user) if *user == me.user_id => Some(call.trim_start_matches('@').to_owned()),
                Some(user) => names.get(user).cloned(),
                None => None,
            };
            Some(Quote { id: PlatformMessageId::new(&thread.id).ok()?, sender_name, text: None })
        });
        let not_kept = if said.files.is_empty() { None } else { self.intake.not_kept(&chat, &sender).await };
        let (attachments, files) = match not_kept {
            None => self.fetch_all(client, bot, &said.conversation, &said.files).await,
            Some(why) => arriving::not_fetched(said.files.len(), why),
        };
        let message = InboundMessage {
            chat,
            channel: self.name.clone(),
            chat_kind: Some(said.kind),
            id,
            sender,
            sender_name: names.get(&said.user).cloned().unwrap_or_else(|| said.user.clone()),
            author: Author::Person,
            text: text_of(&said, Assistant { user: &me.user_id, called: call }, &names),
            sent_at: said.at,
            quote,
            thread: said.thread.and_then(|thread| PlatformMessageId::new(&thread.id).ok()),
            attachments,
        };
        let receipt = arriving::accept(&*self.intake, self.files.as_ref(), Arrived { message, files }).await?;
        if receipt == Receipt::Unregistered {
            tracing::debug!(conversation = said.conversation, "a message in a conversation that is no group");
        }
        Ok(())
    }

    /// Keeps the name of a conversation when something first happens in it. Best effort.
    async fn note_once(&self, session: &Session<'_>, conversation: &str, at: Timestamp) {
        let first = session.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(conversation.to_owned());
        if !first {
            return;
        }
        match session.client.conversation(&session.bot, conversation).await {
            Ok(known) => {
                let known = Conversation { id: conversation.to_owned(), ..known };
                self.note(session.client, &session.bot, known, at).await;
            }
            Err(trouble) => tracing::debug!(conversation, ?trouble, "a conversation's name cannot be had"),
        }
    }
}

/// What the inbox gets as the text.
fn text_of(said: &Said, assistant: Assistant<'_>, names: &HashMap<String, String>) -> String {
    let text = readable(&said.text, assistant, |user| names.get(user).cloned());
    if said.edited {
        // Nobody is called again by a change; who wants an answer to it says so.
        return format!("[edited] {text}");
    }
    if mentioned(&said.text).contains(&assistant.user) { calling(text, assistant.called) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, edited: bool) -> Said {
        Said {
            conversation: "C1".to_owned(),
            kind: ChatKind::Group,
            id: "1.2".to_owned(),
            at: Timestamp::from_ms(0),
            user: "U1".to_owned(),
            text: text.to_owned(),
            edited,
            thread: None,
            files: Vec::new(),
        }
    }

    fn shown(text: &str, called: &str) -> String {
        let names = HashMap::from([("U1".to_owned(), "Ann".to_owned())]);
        text_of(&said(text, false), Assistant { user: "UBOT", called }, &names)
    }

    #[test]
    fn a_mention_of_the_bot_becomes_what_the_group_calls_it() {
        assert_eq!(shown("<@UBOT> hello <@U1>", "@Andy"), "@Andy hello @Ann");
        assert_eq!(shown("hello <@UBOT>", "@Andy"), "@Andy hello @Andy");
        assert_eq!(shown("<@UBOT> hello", "hey bot"), "hey bot hello");
        assert_eq!(shown("hello", "@Andy"), "hello");
    }

    #[test]
    fn an_edit_says_that_it_is_one_and_calls_nobody() {
        let assistant = Assistant { user: "UBOT", called: "@Andy" };
        let text = text_of(&said("<@UBOT> hello", true), assistant, &HashMap::new());
        assert_eq!(text, "[edited] @Andy hello");
    }
}
