//! Shows in the chat that the assistant is at work.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{
    channel::Typing, chat::ChatId, group::Group, message::PlatformMessageId, orchestrator::channels::Channels,
};

/// How often a chat is shown again that the assistant is at work; services forget after five seconds.
const TYPING_INTERVAL: Duration = Duration::from_secs(4);

/// Shows in the chat that the assistant is at work, where the message was written that it answers. Best effort: a slow channel
/// delays only the sign.
pub(super) struct TypingSign {
    channels: Channels,
    chat: ChatId,
    /// Where it is shown; `None`: nowhere.
    shown: Option<Place>,
    showing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// A thread of the chat, or its main stream.
type Place = Option<PlatformMessageId>;

impl TypingSign {
    pub(super) fn new(channels: Channels, group: &Group) -> Self {
        Self { channels, chat: group.chat.clone(), shown: None, showing: Box::pin(std::future::pending()) }
    }

    /// Shows it in `place`, and nowhere else.
    pub(super) fn show(&mut self, place: Place) {
        if self.shown.as_ref() == Some(&place) {
            return;
        }
        let before = self.shown.replace(place.clone());
        let (channels, chat) = (self.channels.clone(), self.chat.clone());
        self.showing = Box::pin(async move {
            if let Some(before) = before {
                set_typing(&channels, &chat, &before, Typing::Off).await;
            }
            loop {
                set_typing(&channels, &chat, &place, Typing::On).await;
                tokio::time::sleep(TYPING_INTERVAL).await;
            }
        });
    }

    /// Takes it away, once it is [kept](Self::keep_shown).
    pub(super) fn stop(&mut self) {
        let Some(place) = self.shown.take() else { return };
        let (channels, chat) = (self.channels.clone(), self.chat.clone());
        self.showing = Box::pin(async move {
            set_typing(&channels, &chat, &place, Typing::Off).await;
            std::future::pending().await
        });
    }

    /// Never returns; to be polled while the run is served.
    pub(super) async fn keep_shown(&mut self) {
        (&mut self.showing).await;
    }

    /// Takes it away now.
    pub(super) async fn hide(&mut self) {
        if let Some(place) = self.shown.take() {
            let hiding = set_typing(&self.channels, &self.chat, &place, Typing::Off);
            let _ = tokio::time::timeout(TYPING_INTERVAL, hiding).await;
        }
    }
}

async fn set_typing(channels: &Channels, chat: &ChatId, place: &Place, typing: Typing) {
    if let Some(channel) = channels.of(chat) {
        channel.set_typing(chat, place.as_ref(), typing).await;
    }
}
