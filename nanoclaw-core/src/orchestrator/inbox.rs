//! Where channels hand in what people write: commit first, then tell the dispatcher.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{control::Input, directory::Directory, event::Event};
use crate::{
    chat::ChatMetadata,
    message::{InboundMessage, Seq, Wakes},
    store::{Accepted, Store, StoreError},
    time::Timestamp,
    trigger,
};

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// A handle for channels. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    store: Arc<dyn Store>,
    directory: Directory,
    assistant_name: Arc<str>,
    events: mpsc::Sender<Input>,
}

impl Inbox {
    pub(super) fn new(
        store: Arc<dyn Store>,
        directory: Directory,
        assistant_name: &str,
        events: mpsc::Sender<Input>,
    ) -> Self {
        Self { store, directory, assistant_name: assistant_name.into(), events }
    }

    /// Commits a message; when this returns `Ok`, nothing can lose it any more. Of a chat that is no group only the
    /// metadata is kept, never the text.
    ///
    /// # Errors
    /// The store's; the channel must not acknowledge the message, so that its platform sends it again.
    pub async fn accept(&self, message: InboundMessage) -> Result<Receipt, StoreError> {
        let Some(group) = self.directory.of_chat(&message.chat) else {
            self.store.note_chat(&metadata_of(&message)).await?;
            return Ok(Receipt::Unregistered);
        };
        let wakes = trigger::wakes(&group, &message, &self.assistant_name);
        match self.store.accept(&message, wakes, Timestamp::now()).await? {
            Accepted::Duplicate(seq) => Ok(Receipt::Duplicate { seq }),
            // It was registered a moment ago and no longer is.
            Accepted::Unregistered => Ok(Receipt::Unregistered),
            Accepted::Stored(seq) => {
                if wakes == Wakes::Yes {
                    // Should the loop have ended meanwhile, the message is found in the store at the next start.
                    let event = Event::MessageWaiting { group: group.folder.clone(), seq };
                    let _ = self.events.send(Input::Event(event)).await;
                }
                Ok(Receipt::Stored { seq, wakes })
            }
        }
    }

    /// Keeps what is known of a chat.
    ///
    /// # Errors
    /// The store's.
    pub async fn note_chat(&self, chat: ChatMetadata) -> Result<(), StoreError> {
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
