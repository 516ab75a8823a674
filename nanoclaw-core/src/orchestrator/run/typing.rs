//! Shows in the chat that the assistant is at work.

use std::{future::Future, pin::Pin, time::Duration};

use crate::{channel::Typing, chat::ChatId, group::Group, orchestrator::channels::Channels};

/// How often a chat is shown again that the assistant is at work; services forget after five seconds.
const TYPING_INTERVAL: Duration = Duration::from_secs(4);

/// Shows in the chat that the assistant is at work. Best effort: a slow channel delays only the sign.
pub(super) struct TypingSign {
    channels: Channels,
    chat: ChatId,
    now: Typing,
    showing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl TypingSign {
    pub(super) fn new(channels: Channels, group: &Group) -> Self {
        Self { channels, chat: group.chat.clone(), now: Typing::Off, showing: Box::pin(std::future::pending()) }
    }

    pub(super) fn show(&mut self, typing: Typing) {
        if self.now == typing {
            return;
        }
        self.now = typing;
        let (channels, chat) = (self.channels.clone(), self.chat.clone());
        self.showing = Box::pin(async move {
            loop {
                if let Some(channel) = channels.of(&chat) {
                    channel.set_typing(&chat, typing).await;
                }
                match typing {
                    Typing::On => tokio::time::sleep(TYPING_INTERVAL).await,
                    Typing::Off => std::future::pending().await,
                }
            }
        });
    }

    /// Never returns; to be polled while the run is served.
    pub(super) async fn keep_shown(&mut self) {
        (&mut self.showing).await;
    }

    pub(super) async fn hide(&mut self) {
        if self.now == Typing::On
            && let Some(channel) = self.channels.of(&self.chat)
        {
            let _ = tokio::time::timeout(TYPING_INTERVAL, channel.set_typing(&self.chat, Typing::Off)).await;
        }
    }
}
