//! One attached terminal, from its first line to its last.

use std::{sync::Arc, time::Duration};

use nanoclaw_core::{
    chat::{ChatId, ChatKind},
    message::{Author, InboundMessage, PlatformMessageId, SenderId, Wakes},
    orchestrator::Receipt,
    time::Timestamp,
};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    channel::Terminal,
    wire::{FromTerminal, PROTOCOL, ToTerminal},
};
use crate::{
    channels::peer::{Heard, Peer},
    panics::caught,
};

/// How many lines may wait for a terminal to read them.
const QUEUE_LINES: usize = 256;

/// How long a terminal may take to attach.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves one terminal until it leaves or `stop` is cancelled.
pub(super) async fn serve(stream: UnixStream, number: u64, shared: Arc<Shared>, stop: CancellationToken) {
    // A stopped terminal may stay stopped; what fills is its own queue.
    let peer = Peer::new(stream, QUEUE_LINES, Duration::MAX, &stop);
    let mut session = Session { number, shared, peer };
    session.run().await;
    session.peer.end().await;
}

struct Session {
    number: u64,
    shared: Arc<Shared>,
    peer: Peer,
}

impl Session {
    async fn run(&mut self) {
        let chat = match self.attach().await {
            Ok(chat) => chat,
            Err(reason) => return self.refuse(reason, None).await,
        };
        tracing::debug!(%chat, terminal = self.number, "a terminal attached");
        // A fault of ours ends the session, and must not leave a terminal there that shows nothing.
        if let Err(panicked) = caught(self.converse(&chat)).await {
            tracing::error!(%chat, error = %panicked, "serving a terminal failed; its connection is closed");
        }
        self.shared.channel.detach(&chat, self.number);
        tracing::debug!(%chat, terminal = self.number, "a terminal left");
    }

    /// Acts on each line until it leaves.
    async fn converse(&mut self, chat: &ChatId) {
        while let Some(line) = self.next().await {
            match line.and_then(|line| serde_json::from_str(&line).map_err(|error| error.to_string())) {
                Ok(FromTerminal::Say { id, text, sender_name }) => self.take(chat, id, text, sender_name).await,
                Ok(FromTerminal::Shown { key }) => {
                    if self.shared.channel.shown(chat, &key) {
                        self.shared.host.channel_connected(&super::name());
                    }
                }
                Ok(FromTerminal::Attach { .. }) => self.refuse("it is attached already".to_owned(), None).await,
                Err(reason) => self.refuse(reason, None).await,
            }
        }
    }

    /// Takes the first line and attaches the terminal, or says why not.
    async fn attach(&mut self) -> Result<ChatId, String> {
        let line = match tokio::time::timeout(ATTACH_TIMEOUT, self.next()).await {
            Ok(Some(line)) => line?,
            Ok(None) => return Err("it left without a word".to_owned()),
            Err(_) => return Err(format!("it did not attach within {ATTACH_TIMEOUT:?}")),
        };
        let chat = match serde_json::from_str(&line) {
            Ok(FromTerminal::Attach { chat, protocol: PROTOCOL }) => chat,
            Ok(FromTerminal::Attach { .. }) => {
                return Err(
                    "the host is another version of nanoclaw; restart it, or use its own command line".to_owned()
                );
            }
            Ok(_) => return Err("the first line must be an attach".to_owned()),
            Err(error) => return Err(format!("the first line must be an attach: {error}")),
        };
        if !super::is_local(&chat) {
            return Err(format!("{chat} is not a chat of the terminal; those begin with {}", super::PREFIX));
        }
        let welcome = self.shared.reception.welcome(&chat).await.map_err(|error| error.to_string())?;
        let attached = ToTerminal::Attached {
            chat: chat.clone(),
            assistant: welcome.assistant,
            registered: welcome.registered,
            hint: welcome.hint,
        };
        let terminal = Terminal { number: self.number, lines: self.peer.lines(), gone: self.peer.gone() };
        self.shared.channel.attach(&chat, terminal, &attached);
        self.shared.host.channel_connected(&super::name());
        Ok(chat)
    }

    async fn take(&self, chat: &ChatId, id: PlatformMessageId, text: String, sender_name: String) {
        if text.trim().is_empty() {
            return self.refuse("there is nothing in the message".to_owned(), Some(id)).await;
        }
        let message = InboundMessage {
            chat: chat.clone(),
            channel: super::name(),
            chat_kind: Some(ChatKind::Private),
            id: id.clone(),
            sender: owner(),
            sender_name,
            author: Author::Owner,
            text,
            sent_at: Timestamp::now(),
            quote: None,
            thread: None,
            attachments: Vec::new(),
        };
        let receipt = self.shared.intake.accept(message).await;
        let duplicate = matches!(receipt, Ok(Receipt::Duplicate { .. }));
        let accepted = match receipt {
            Ok(Receipt::Stored { seq, wakes }) => {
                ToTerminal::Accepted { id, seq: Some(seq), wakes: wakes == Wakes::Yes, reply: None }
            }
            Ok(Receipt::Duplicate { seq }) => ToTerminal::Accepted { id, seq: Some(seq), wakes: true, reply: None },
            Ok(Receipt::Obeyed { answer }) => ToTerminal::Accepted { id, seq: None, wakes: false, reply: Some(answer) },
            Ok(Receipt::Unregistered | Receipt::Dropped) => {
                ToTerminal::Accepted { id, seq: None, wakes: false, reply: None }
            }
            Err(error) => {
                tracing::error!(%chat, %error, "a message from a terminal could not be stored");
                return self.refuse(error.to_string(), Some(id)).await;
            }
        };
        self.peer.say(&accepted).await;
        if duplicate {
            // Its answer may have been before; then no notice comes again.
            self.shared.catch_up(chat).await;
        }
    }

    /// The next line, or why it was refused; `None` at the end.
    async fn next(&mut self) -> Option<Result<String, String>> {
        match self.peer.next().await {
            Heard::Line(line) => Some(Ok(line)),
            Heard::Refused(reason) => Some(Err(reason)),
            Heard::End(_) => None,
        }
    }

    async fn refuse(&self, reason: String, id: Option<PlatformMessageId>) {
        self.peer.say(&ToTerminal::Error { reason, id }).await;
    }
}

/// Who writes at the terminal: the person who runs the host.
fn owner() -> SenderId {
    SenderId::new("owner").expect("a plain word is a sender id")
}
