//! Where channels hand in what people write: commit first, then tell the dispatcher.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{
    alerts::Alerts, commands::Commands, control::Input, directory::Directory, doorkeeper::Doorkeeper, event::Event,
    pairings::Pairings,
};
use crate::{
    chat::{ChannelName, ChatId, ChatMetadata},
    command::command_in,
    delivery::DeliveryKey,
    group::{Group, GroupRole},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Seq, Wakes},
    senders::SenderVerdict,
    steps::STEPS,
    store::{Accepted, Store, StoreError},
    time::Timestamp,
    trigger,
};

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// Committed. The channel may acknowledge it.
    Stored {
        /// Its place.
        seq: Seq,
        /// Whether it wakes the agent.
        wakes: Wakes,
    },
    /// It had been committed before. The channel may acknowledge it.
    Duplicate {
        /// Its place.
        seq: Seq,
    },
    /// The chat is no group: only the chat's metadata was kept. The channel may acknowledge it.
    Unregistered,
    /// Its sender may not write there: only the chat's metadata was kept. The channel may acknowledge it.
    Dropped,
    /// It was a command to the host ([`HostCommand`](crate::command::HostCommand)), or the right pairing code, which was
    /// obeyed; it is not kept. The channel may acknowledge it.
    Obeyed {
        /// The key of the answer, which is in the outbox.
        answer: DeliveryKey,
    },
}

/// A handle for channels. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    store: Arc<dyn Store>,
    directory: Directory,
    doorkeeper: Doorkeeper,
    commands: Commands,
    pairings: Pairings,
    alerts: Alerts,
    assistant_name: Arc<str>,
    events: mpsc::Sender<Input>,
    closed: Arc<AtomicBool>,
    /// The groups' chats that are not heard any more, of which the owner was told; and when each was registered, since one that
    /// is registered anew is told of anew.
    unheard: Arc<Mutex<HashMap<ChatId, Timestamp>>>,
}

impl Inbox {
    pub(super) fn new(
        alerts: Alerts,
        doorkeeper: Doorkeeper,
        commands: Commands,
        pairings: Pairings,
        assistant_name: &str,
        events: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            store: alerts.store.clone(),
            directory: alerts.directory.clone(),
            doorkeeper,
            commands,
            pairings,
            alerts,
            assistant_name: assistant_name.into(),
            events,
            closed: Arc::default(),
            unheard: Arc::default(),
        }
    }

    /// From now on nothing is accepted, by any clone: the host ends.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Commits a message; when this returns `Ok`, nothing can lose it any more. Of a chat that is no group, and of what a
    /// sender writes who may not, only the chat's metadata is kept, never the text.
    ///
    /// # Errors
    /// The store's, or that the host ends; the channel must not acknowledge the message, so that its platform sends it again.
    pub async fn accept(&self, message: InboundMessage) -> Result<Receipt, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            let reason = "the host is ending; the next one takes it".to_owned();
            return Err(StoreError::Failed { action: "accept a message", reason });
        }
        self.unheard().remove(&message.chat);
        let group = self.directory.of_chat(&message.chat);
        if let Some(answer) = self.pairings.hear(&message, group.as_deref()).await? {
            self.store.note_chat(&metadata_of(&message)).await?;
            return Ok(Receipt::Obeyed { answer });
        }
        let Some(group) = group else {
            self.store.note_chat(&metadata_of(&message)).await?;
            self.doorkeeper.stranger(&message, Timestamp::now()).await;
            return Ok(Receipt::Unregistered);
        };
        let wakes = trigger::wakes(&group, &message, &self.assistant_name);
        let wakes = match self.doorkeeper.verdict(&message, wakes).await {
            SenderVerdict::Allowed => {
                if let Some(command) = command_in(&group, &message, &self.assistant_name) {
                    self.store.note_chat(&metadata_of(&message)).await?;
                    return Ok(Receipt::Obeyed { answer: self.commands.obey(&group, &message, command).await? });
                }
                wakes
            }
            SenderVerdict::KeptOnly => Wakes::No,
            SenderVerdict::Dropped => {
                self.store.note_chat(&metadata_of(&message)).await?;
                return Ok(Receipt::Dropped);
            }
        };
        match self.store.accept(&message, wakes, Timestamp::now()).await? {
            Accepted::Duplicate(seq) => {
                self.tell(&group, seq, wakes).await;
                Ok(Receipt::Duplicate { seq })
            }
            // It was registered a moment ago and no longer is.
            Accepted::Unregistered => Ok(Receipt::Unregistered),
            Accepted::Stored(seq) => {
                tracing::debug!(target: STEPS, chat = %message.chat, id = %message.id, seq = seq.0, "committed");
                self.tell(&group, seq, wakes).await;
                Ok(Receipt::Stored { seq, wakes })
            }
        }
    }

    /// Tells the dispatcher of a message, of a duplicate as well: the first time, the channel may have gone or an error may
    /// have been told between the commit and this.
    async fn tell(&self, group: &Group, seq: Seq, wakes: Wakes) {
        if wakes == Wakes::Yes {
            // Should the loop have ended meanwhile, the message is found in the store at the next start.
            let event = Event::MessageWaiting { group: group.folder.clone(), seq };
            let _ = self.events.send(Input::Event(event)).await;
        }
    }

    /// By which words people in `chat` call the assistant: those with which a message has to begin there. A channel puts them
    /// in the place of its service's own way to mention somebody. `None`: the chat is no group.
    #[must_use]
    pub fn called(&self, chat: &ChatId) -> Option<String> {
        self.directory.of_chat(chat).map(|group| trigger::called(&group.trigger, &self.assistant_name))
    }

    /// Why nothing is kept of what a person writes in `chat` under the id `sender`, as things stand; `None`: it is kept. A channel that would
    /// have to fetch the files of a message asks before it does.
    pub async fn not_kept(&self, chat: &ChatId, sender: &SenderId) -> Option<&'static str> {
        if self.directory.of_chat(chat).is_none() {
            return Some("the chat was no group when it came");
        }
        let dropped = self.doorkeeper.policy().await.verdict(chat, sender, Author::Person) == SenderVerdict::Dropped;
        dropped.then_some("its sender was not to be heard when it came")
    }

    /// The chats that are groups.
    #[must_use]
    pub fn chats(&self) -> Vec<ChatId> {
        self.directory.chats()
    }

    /// Until when all that was said in a group has come, by the service's clock: of its latest message, or when it was registered
    /// if that was later. A channel whose service keeps what was said asks it for what was said since. `None`: the chat is no
    /// group.
    ///
    /// # Errors
    /// The store's.
    pub async fn heard_until(&self, chat: &ChatId) -> Result<Option<Timestamp>, StoreError> {
        let Some(group) = self.directory.of_chat(chat) else { return Ok(None) };
        let said = self.store.said_until(chat).await?;
        Ok(Some(said.map_or(group.added_at, |said| said.max(group.added_at))))
    }

    /// The threads of a group's chat in which something was said since then, by the service's clock: up to `limit` of those in which something
    /// came last. A channel whose service keeps what was said asks for what was said in them since.
    ///
    /// # Errors
    /// The store's.
    pub async fn threads_since(
        &self,
        chat: &ChatId,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<PlatformMessageId>, StoreError> {
        self.store.threads_since(chat, since, limit).await
    }

    /// Of a group's chat nothing is heard any more, since `at`: `how` it came to that ("the assistant was removed from it"). The owner
    /// is told, once for each chat and `at`, and once until it is heard again or registered anew; of a chat that is no group nobody
    /// is. When that cannot be stored, the next call tells it.
    pub async fn left(&self, chat: &ChatId, how: &str, at: Timestamp) {
        let Some(group) = self.directory.of_chat(chat) else { return };
        if self.unheard().get(chat) == Some(&group.added_at) {
            return;
        }
        tracing::warn!(%chat, group = %group.folder, how, "a group's chat is not heard any more");
        if group.role == GroupRole::Main || self.tell_of_left(&group, how, at).await {
            self.unheard().insert(chat.clone(), group.added_at);
        }
    }

    /// Tells the owner that a group's chat is not heard any more; says whether the word is in the outbox now.
    async fn tell_of_left(&self, Group { chat, name, folder, .. }: &Group, how: &str, at: Timestamp) -> bool {
        let text = format!(
            "I do not hear {name} any more, the chat {chat}: {how}. What is written there does not reach me, and what I say does \
             not arrive.\n\nLet me in again and it goes on where it was. If it has ended, `nanoclaw groups remove {folder}` on the \
             machine that I run on ends the group."
        );
        self.alerts.owner(DeliveryKey::alert(format!("left/{}/{chat}", at.as_ms())), text).await
    }

    /// A channel's service refuses it until a person does something. The owner is told, once a day for each channel, unless the
    /// main chat is one that the channel `carries` itself: there the word would arrive when it is no longer true.
    pub async fn refused(
        &self,
        channel: &ChannelName,
        reason: &str,
        remedy: &str,
        carries: &(dyn Fn(&ChatId) -> bool + Sync),
    ) {
        if self.directory.main().is_none_or(|main| carries(&main.chat)) {
            return;
        }
        let day = Timestamp::now().day();
        let text = format!(
            "The channel {channel} is not connected, and nothing arrives there until somebody sees to it: {reason}\n\nWhat to do: \
             {remedy}"
        );
        self.alerts.owner(DeliveryKey::alert(format!("channel/{day}/{channel}")), text).await;
    }

    fn unheard(&self) -> MutexGuard<'_, HashMap<ChatId, Timestamp>> {
        // Each change is whole, so a panic elsewhere leaves it right.
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what is known of a chat, in which the assistant is.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_chat(&self, chat: ChatMetadata) -> Result<(), StoreError> {
        self.unheard().remove(&chat.chat);
        self.store.note_chat(&chat).await
    }
}

fn metadata_of(message: &InboundMessage) -> ChatMetadata {
    ChatMetadata {
        chat: message.chat.clone(),
        channel: message.channel.clone(),
        name: None,
        kind: message.chat_kind,
        last_seen: message.sent_at,
    }
}
