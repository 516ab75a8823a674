//! What people write: one message of a chat after the other, chats apart from each other, so that order is kept and a large file in
//! one holds up no other.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::FutureExt as _;
use grammers_client::{
    Client,
    session::types::{PeerId, PeerKind, UpdatesState},
    tl::{
        enums::{self, InputMessage, messages::Messages},
        functions, types,
    },
};
use nanoclaw_core::{
    attachment::{Attachment, Fetched},
    chat::ChatMetadata,
    message::{Author, InboundMessage, PlatformMessageId, Quote, SenderId},
    orchestrator::Receipt,
    steps::STEPS,
    time::Timestamp,
};

use super::{
    Me, PREFIX, Telegram, call, chat_of,
    checkpoint::Checkpoints,
    feed::Batch,
    media,
    send::input_channel,
    store::BotSession,
    text_in::{Assistant, readable},
    update::{Meaning, People, Reply, Said, kind_of, meaning, peer},
};
use crate::{
    channels::{
        NOBODYS_CALL,
        arriving::{self, Arrived},
        calling, clean_name,
        lanes::Lanes,
    },
    panics::caught,
};

/// The most messages that wait, of all chats; while there are more, no more are read.
const MOST_WAITING: usize = 1024;
/// How often a message is tried that meets a fault of ours. It must not keep the others from being taken in for ever.
const MOST_FAULTS: u32 = 3;
/// How long a message waits for the text of the one that it replies to.
const PATIENCE: Duration = Duration::from_secs(3);

/// The messages of one session that are being taken in.
pub(super) struct Receiver<'a> {
    telegram: &'a Telegram,
    heard: Arc<Heard<'a>>,
    /// Each thing by the number of its batch.
    lanes: Lanes<'a, u64>,
    checkpoints: Checkpoints,
}

pub(super) struct Heard<'a> {
    pub(super) client: &'a Client,
    session: Arc<BotSession>,
    me: Me,
    /// The chats whose names are stored.
    noted: Mutex<HashSet<PeerId>>,
}

impl<'a> Receiver<'a> {
    pub(super) fn new(telegram: &'a Telegram, client: &'a Client, session: Arc<BotSession>, me: Me) -> Self {
        let heard = Arc::new(Heard { client, session, me, noted: Mutex::default() });
        Self { telegram, heard, lanes: Lanes::of(usize::MAX), checkpoints: Checkpoints::default() }
    }

    /// Whether another batch can be taken.
    pub(super) fn has_room(&self) -> bool {
        self.lanes.len() < MOST_WAITING
    }

    /// Takes in what a batch says, each after what came before it in the same chat.
    pub(super) fn take(&mut self, batch: Batch) {
        let Batch { updates, users, chats, gone, state } = batch;
        let people = People::new(users, chats);
        let how = "the bot is not in it any more";
        let gone = gone.and_then(PeerId::channel).map(|chat| Meaning::Left { chat, how, at: Timestamp::now() });
        let meanings = updates.iter().map(|update| meaning(update, &people, &self.heard.me)).chain(gone);
        let meanings: Vec<_> = meanings
            .filter_map(|meaning| match (meaning.chat(), meaning) {
                (_, Meaning::Nothing(why)) => {
                    tracing::debug!(why, "an update of Telegram's is nothing for us");
                    None
                }
                (chat, meaning) => Some((chat?, meaning)),
            })
            .collect();
        let number = self.checkpoints.begin(meanings.len(), state);
        for (chat, meaning) in meanings {
            if let Meaning::Said(said) = &meaning {
                tracing::debug!(target: STEPS, chat = %Shown(chat), id = said.id, "seen");
            }
            let (telegram, heard) = (self.telegram, self.heard.clone());
            let work = async move { telegram.act_in_any_case(&heard, &meaning).await };
            // There is room: how much waits in all is what is bounded.
            self.lanes.put(Shown(chat).to_string(), number, work.boxed());
        }
    }

    /// Waits until the next thing is taken in. Can be dropped and called again.
    ///
    /// # Errors
    /// Why nothing can be taken in just now. Telegram says again what was not.
    pub(super) async fn done(&mut self) -> Result<(), String> {
        let batch = self.lanes.done().await?;
        self.checkpoints.done(batch);
        Ok(())
    }

    /// The state up to which all is taken in; `None` when the last that was told still is.
    pub(super) fn reached(&mut self) -> Option<UpdatesState> {
        self.checkpoints.reached()
    }

    /// Sees what was begun to its end: a commit is not left in the middle. Returns the state that is reached then.
    pub(super) async fn end(self) -> Option<UpdatesState> {
        let Self { lanes, mut checkpoints, .. } = self;
        lanes.end().await.into_iter().for_each(|batch| checkpoints.done(batch));
        checkpoints.reached()
    }
}

impl Telegram {
    async fn act_in_any_case(&self, heard: &Heard<'_>, meaning: &Meaning) -> Result<(), String> {
        for tried in 1..=MOST_FAULTS {
            match caught(self.act(heard, meaning)).await {
                Ok(outcome) => return outcome,
                Err(panicked) => tracing::error!(tried, error = %panicked, "a message could not be taken in"),
            }
        }
        let chat = meaning.chat().and_then(chat_of).map(|chat| chat.to_string());
        tracing::error!(chat, "a message is left out, after it met a fault of ours again and again");
        Ok(())
    }

    async fn act(&self, heard: &Heard<'_>, meaning: &Meaning) -> Result<(), String> {
        match meaning {
            Meaning::Nothing(_) => {}
            Meaning::Said(said) => {
                self.take_in(heard, said).await?;
                if heard.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(said.chat) {
                    self.note(said.chat, said.chat_name.clone(), said.at).await;
                }
            }
            Meaning::Joined { chat, name } => {
                tracing::info!(chat = %Shown(*chat), "the bot is in a group of Telegram's");
                self.note(*chat, name.clone(), Timestamp::now()).await;
            }
            Meaning::Left { chat, how, at } => self.left(*chat, how, *at).await,
            Meaning::Renamed { chat, name } => self.note(*chat, Some(name.clone()), Timestamp::now()).await,
            Meaning::Moved { chat, to, at } => {
                let how = format!(
                    "it became a supergroup, which Telegram gives another id, {}. `nanoclaw groups remove` the old one and `nanoclaw \
                     groups add` the new one with the same --folder, and it keeps its memory",
                    Shown(*to)
                );
                self.left(*chat, &how, *at).await;
            }
        }
        Ok(())
    }

    /// Says of a chat that it is not heard any more.
    async fn left(&self, chat: PeerId, how: &str, at: Timestamp) {
        if let Some(chat) = chat_of(chat) {
            self.intake.left(&chat, how, at).await;
        }
    }

    async fn take_in(&self, heard: &Heard<'_>, said: &Said) -> Result<(), String> {
        let sender = said.sender.bot_api_dialog_id().map(|id| SenderId::new(id.to_string()));
        let (Some(chat), Some(Ok(sender)), Ok(id)) = (chat_of(said.chat), sender, PlatformMessageId::new(&said.id))
        else {
            tracing::warn!(chat = %Shown(said.chat), "a message with strange ids is skipped");
            return Ok(());
        };
        let called = self.intake.called(&chat);
        let call = called.as_deref().unwrap_or(NOBODYS_CALL);
        let assistant = Assistant { id: heard.me.id, username: heard.me.username.as_deref(), called: call };
        let (quote, attachments, files) = match self.intake.not_kept(&chat, &sender).await {
            None => {
                let quote = self.quote(heard, said, call).await;
                let (attachments, files) = self.fetch(heard, &chat, said).await;
                (quote, attachments, files)
            }
            Some(why) => (None, not_fetched(said, why), vec![None; said.file.iter().count()]),
        };
        let message = InboundMessage {
            chat,
            channel: self.name.clone(),
            chat_kind: Some(said.kind()),
            id,
            sender_name: said.sender_name.clone().unwrap_or_else(|| sender.to_string()),
            sender,
            author: Author::Person,
            text: text_of(said, assistant),
            sent_at: said.at,
            quote,
            thread: said.topic.and_then(|topic| PlatformMessageId::new(topic.to_string()).ok()),
            attachments,
        };
        let receipt = arriving::accept(&*self.intake, self.files.as_ref(), Arrived { message, files }).await?;
        if receipt == Receipt::Unregistered {
            tracing::debug!(chat = %Shown(said.chat), "a message in a chat that is no group");
        }
        Ok(())
    }

    /// What a message replies to, with the text if Telegram tells it soon.
    async fn quote(&self, heard: &Heard<'_>, said: &Said, call: &str) -> Option<Quote> {
        let reply = said.reply.as_ref()?;
        let id = PlatformMessageId::new(reply.message.to_string()).ok()?;
        let found = tokio::time::timeout(PATIENCE, quoted(heard, said.chat, reply)).await;
        let (sender, name, text) = found.ok().flatten().unwrap_or_default();
        let ours = sender == Some(heard.me.peer());
        let sender_name = if ours { Some(call.trim_start_matches('@').to_owned()) } else { name };
        Some(Quote { id, sender_name, text: reply.quoted.clone().or(text) })
    }

    /// Keeps what is known of a chat, in which something last happened at `last_seen`. Best effort.
    async fn note(&self, chat: PeerId, name: Option<String>, last_seen: Timestamp) {
        let Some(id) = chat_of(chat) else { return };
        let metadata =
            ChatMetadata { chat: id, channel: self.name.clone(), name, kind: Some(kind_of(chat)), last_seen };
        if let Err(error) = self.intake.note_chat(metadata).await {
            tracing::warn!(%error, "what is known of a chat could not be stored");
        }
    }
}

/// Who wrote the message that `reply` is to, their name, and its text. None of it when Telegram does not tell.
async fn quoted(
    heard: &Heard<'_>,
    chat: PeerId,
    reply: &Reply,
) -> Option<(Option<PeerId>, Option<String>, Option<String>)> {
    let (message, people) = told_again(heard, chat, reply.message).await?;
    let sender = match &message.from_id {
        Some(from) => peer(from),
        None if message.out => Some(heard.me.peer()),
        None => Some(chat),
    };
    let name = sender.and_then(|sender| people.name(sender));
    let words = || message.media.as_ref().and_then(media::in_words);
    let text = Some(message.message.clone()).filter(|text| !text.is_empty()).or_else(words);
    Some((sender, name, text))
}

/// A message of `chat`, as Telegram tells it now, and those whom it names; `None` when it does not.
pub(super) async fn told_again(heard: &Heard<'_>, chat: PeerId, id: i32) -> Option<(types::Message, People)> {
    let id = vec![InputMessage::Id(types::InputMessageId { id })];
    let answer = match chat.kind() {
        PeerKind::Channel => {
            let channel = input_channel(&heard.session, chat).await?;
            call(heard.client, &functions::channels::GetMessages { channel, id }).await
        }
        PeerKind::User | PeerKind::Chat => call(heard.client, &functions::messages::GetMessages { id }).await,
    };
    let (messages, users, chats) = match answer.ok()? {
        Messages::Messages(found) => (found.messages, found.users, found.chats),
        Messages::Slice(found) => (found.messages, found.users, found.chats),
        Messages::ChannelMessages(found) => (found.messages, found.users, found.chats),
        Messages::NotModified(_) => return None,
    };
    let message = messages.into_iter().find_map(|message| match message {
        // Numbers of private chats and small groups are the account's, so what is found has to be of this chat.
        enums::Message::Message(message) if peer(&message.peer_id) == Some(chat) => Some(message),
        _ => None,
    })?;
    Some((message, People::new(users, chats)))
}

/// What the inbox gets as the text.
fn text_of(said: &Said, assistant: Assistant<'_>) -> String {
    let (mut text, mentioned) = readable(&said.text, &said.entities, assistant);
    if let Some(shown) = &said.shown {
        text = format!("{text}\n{shown}").trim_start().to_owned();
    }
    match (said.edited, mentioned) {
        // Nobody is called again by a change; who wants an answer to it says so.
        (true, _) => format!("[edited] {text}"),
        (false, true) => calling(text, assistant.called),
        (false, false) => text,
    }
}

fn not_fetched(said: &Said, why: &str) -> Vec<Attachment> {
    let reason = Some(why.to_owned());
    let attachment = |file: &media::File| Attachment {
        kind: file.kind.to_owned(),
        name: file.name.as_deref().and_then(clean_name),
        fetched: Fetched::No { reason: reason.clone() },
    };
    said.file.iter().map(attachment).collect()
}

/// A chat, as people know its id.
struct Shown(PeerId);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, edited: bool, mention: Option<(i32, i32)>, words: Option<&str>) -> String {
        let chat = PeerId::chat(4242).unwrap();
        let mention = mention.map(|(offset, length)| types::MessageEntityMention { offset, length }.into());
        let said = Said {
            chat,
            chat_name: None,
            message: 1,
            id: "1".to_owned(),
            at: Timestamp::from_ms(0),
            sender: chat,
            sender_name: None,
            text: text.to_owned(),
            entities: mention.into_iter().collect(),
            shown: words.map(str::to_owned),
            edited,
            reply: None,
            topic: None,
            file: None,
        };
        text_of(&said, Assistant { id: 777, username: Some("andy_bot"), called: "@Andy" })
    }

    #[test]
    fn a_mention_of_the_bot_becomes_what_the_group_calls_it_and_an_edit_calls_nobody() {
        assert_eq!(shown("@andy_bot hello", false, Some((0, 9)), None), "@Andy hello");
        assert_eq!(shown("hello @andy_bot", false, Some((6, 9)), None), "@Andy hello @Andy");
        assert_eq!(shown("hello", false, None, None), "hello");
        assert_eq!(shown("@andy_bot hello", true, Some((0, 9)), None), "[edited] @Andy hello");
    }

    #[test]
    fn what_has_no_text_is_told_in_words() {
        assert_eq!(shown("", false, None, Some("[location: 1, 2]")), "[location: 1, 2]");
        assert_eq!(shown("here", false, None, Some("[location: 1, 2]")), "here\n[location: 1, 2]");
    }
}
