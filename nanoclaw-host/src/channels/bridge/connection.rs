//! One connection of a bridge, from its hello to its end.

use std::{fmt::Display, sync::Arc, time::Duration};

use nanoclaw_core::{
    channel::{ChannelCapabilities, Repeat, SendError},
    chat::ChatId,
    delivery::{DeliveryKey, Sent},
    message::PlatformMessageId,
    orchestrator::{HeardLate, Receipt},
    steps::STEPS,
    time::Timestamp,
};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::{
    Shared,
    channel::BridgeChannel,
    claim::Claim,
    pending::Outcome,
    wire::{self, Chat, FilesTaken, FromBridge, Hello, Message, PROTOCOL, Status, ToBridge},
};
use crate::{
    channels::{
        MAX_LINE_BYTES, NOBODYS_CALL, arriving,
        peer::{Heard, Peer},
        status::ChannelState,
    },
    panics::caught,
};

/// How many lines may wait for a bridge to read them.
const QUEUE_LINES: usize = 64;

/// The questions that bridges may ask.
const ANSWERS: &[&str] = &["is_registered"];

/// The longest delay that a bridge may ask for before the next try.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Serves one connection until the bridge leaves, misbehaves beyond repair, or `stop` is cancelled.
pub(super) async fn serve(stream: UnixStream, shared: Arc<Shared>, stop: CancellationToken) {
    let peer = Peer::new(stream, QUEUE_LINES, shared.config.stall_timeout, &stop);
    let mut connection = Connection { shared, peer };
    connection.run().await;
    connection.peer.end().await;
}

struct Connection {
    shared: Arc<Shared>,
    peer: Peer,
}

impl Connection {
    async fn run(&mut self) {
        let channel = match self.greet().await {
            Ok(channel) => channel,
            Err(reason) => {
                tracing::warn!(reason, "a bridge was refused");
                self.refuse(&reason, About::default()).await;
                return;
            }
        };
        let name = channel.name.clone();
        tracing::info!(bridge = %name, chats = %channel.claim, "a bridge connected");
        // A fault of ours ends the connection, and must not leave the bridge's name taken.
        let ending = caught(async {
            self.shared.host.add_channel(Arc::clone(&channel) as _);
            self.shared.host.channel_connected(&name);
            self.listen(&channel).await
        });
        let ending = ending.await.unwrap_or_else(|panicked| {
            tracing::error!(bridge = %name, error = %panicked, "serving a bridge failed; its connection is closed");
            "serving it failed".to_owned()
        });
        // In this order: nothing waits for a dead connection, nothing new goes to it, and only then may its successor come.
        channel.close();
        self.shared.host.remove_channel(&name);
        self.shared.leave(&name);
        tracing::info!(bridge = %name, ending, "a bridge disconnected");
    }

    /// Takes the hello and reserves what it claims, or says why not.
    async fn greet(&mut self) -> Result<Arc<BridgeChannel>, String> {
        let limit = self.shared.config.hello_timeout;
        let line = match tokio::time::timeout(limit, self.peer.next()).await {
            Err(_) => return Err(format!("no hello came within {limit:?}")),
            Ok(Heard::Line(line)) => line,
            Ok(Heard::Refused(reason)) => return Err(reason),
            Ok(Heard::End(ending)) => return Err(format!("no hello came: {ending}")),
        };
        let hello: Hello = match serde_json::from_str(&line) {
            Ok(FromBridge::Hello(hello)) => hello,
            Ok(_) => return Err("the first line must be a hello".to_owned()),
            Err(error) => return Err(format!("the first line must be a hello: {error}")),
        };
        if let Some(protocol) = hello.protocol.filter(|&protocol| protocol != PROTOCOL) {
            return Err(format!("this host speaks version {PROTOCOL} of the bridge protocol, not {protocol}"));
        }
        let claim = Claim::new(hello.prefixes, hello.suffixes).map_err(|error| error.to_string())?;
        let can = |word: &str| hello.capabilities.iter().any(|capability| capability == word);
        let repeat = match (can("deduplicates"), can("finds")) {
            (true, _) => Repeat::Deduplicated,
            (false, true) => Repeat::LookedUp,
            (false, false) => Repeat::Shown,
        };
        let spool = self.shared.config.files.clone();
        let capabilities =
            ChannelCapabilities { repeat, typing: can("typing"), files: can("files") && spool.is_some() };
        let send_timeout = self.shared.config.send_timeout;
        let channel = BridgeChannel::new(hello.name, claim, capabilities, send_timeout, spool, self.peer.lines());
        let channel = Arc::new(channel);
        self.shared.enter(&channel)?;
        let files = self.shared.config.files.as_deref().map(FilesTaken::into);
        let host = concat!("nanoclaw ", env!("CARGO_PKG_VERSION"));
        let (protocol, max_line_bytes, answers) = (PROTOCOL, MAX_LINE_BYTES, ANSWERS);
        self.peer.say(&ToBridge::Welcome { protocol, host, max_line_bytes, files, answers }).await;
        Ok(channel)
    }

    /// Acts on each line; returns why it ended.
    async fn listen(&mut self, channel: &BridgeChannel) -> String {
        loop {
            match self.peer.next().await {
                Heard::Line(line) => self.act(channel, &line).await,
                Heard::Refused(reason) => self.refuse(&reason, About::default()).await,
                Heard::End(ending) => return ending,
            }
        }
    }

    async fn act(&self, channel: &BridgeChannel, line: &str) {
        match serde_json::from_str(line) {
            Err(error) => self.refuse(&error.to_string(), About::default()).await,
            Ok(FromBridge::Hello(_)) => self.refuse("hello was said already", About::default()).await,
            Ok(FromBridge::Message(message)) => self.take_message(channel, message).await,
            Ok(FromBridge::Chat(chat)) => self.take_chat(channel, chat).await,
            Ok(FromBridge::Sent { key, platform_id }) => {
                let (platform_id, trouble) = match wire::platform_id(platform_id) {
                    Ok(platform_id) => (platform_id, None),
                    Err(trouble) => (None, Some(trouble)),
                };
                self.settle(channel, &key, Ok(Some(Sent { platform_id }))).await;
                if let Some(trouble) = trouble {
                    self.refuse(&trouble, About::default()).await;
                }
            }
            Ok(FromBridge::Status(status)) => self.take_status(channel, status).await,
            Ok(FromBridge::IsRegistered { chat }) => self.tell_whether_registered(channel, &chat).await,
            Ok(FromBridge::NotFound { key }) => self.settle(channel, &key, Ok(None)).await,
            Ok(FromBridge::Failed { key, error, retry_after_ms, permanent, unknown }) => {
                let reason = if error.is_empty() { "the bridge did not say why".to_owned() } else { error };
                let after = retry_after_ms.map(|ms| Duration::from_millis(ms).min(MAX_RETRY_AFTER));
                let error = match (unknown, permanent) {
                    (true, _) => SendError::Unknown { reason },
                    (false, true) => SendError::Permanent { reason },
                    (false, false) => SendError::Retry { reason, after },
                };
                self.settle(channel, &key, Err(error)).await;
            }
        }
    }

    async fn take_message(&self, channel: &BridgeChannel, message: Message) {
        let (chat, id) = (message.chat().clone(), message.id().clone());
        tracing::debug!(target: STEPS, %chat, %id, "told by a bridge");
        let about = About { chat: Some(&chat), id: Some(&id), retry: false };
        if !channel.claim.covers(&chat) {
            return self.refuse(&outside(channel, &chat), about).await;
        }
        let called = self.shared.intake.called(&chat);
        let arrived = match message.read(&channel.name, called.as_deref().unwrap_or(NOBODYS_CALL)) {
            Ok(arrived) => arrived,
            Err(reason) => return self.refuse(&reason, about).await,
        };
        // Not in a select: a commit that has begun is seen to its end, and the bridge learns of it if it is still there.
        let files = self.shared.config.files.as_ref();
        let registered = match arriving::accept(&*self.shared.intake, files, arrived).await {
            Ok(receipt) => receipt != Receipt::Unregistered,
            Err(reason) => return self.not_stored(channel, &reason, about).await,
        };
        self.peer.say(&ToBridge::Accepted { chat: &chat, id: &id, registered }).await;
    }

    async fn tell_whether_registered(&self, channel: &BridgeChannel, chat: &ChatId) {
        if !channel.claim.covers(chat) {
            return self.refuse(&outside(channel, chat), About { chat: Some(chat), ..About::default() }).await;
        }
        let registered = self.shared.intake.called(chat).is_some();
        self.peer.say(&ToBridge::Registered { chat, registered }).await;
    }

    async fn take_status(&self, channel: &BridgeChannel, status: Status) {
        let state = status.read(Timestamp::now());
        channel.status.set(state.clone());
        let (name, carries) = (&channel.name, |chat: &ChatId| channel.claim.covers(chat));
        match state {
            ChannelState::Connected { .. } => self.shared.host.channel_connected(name),
            ChannelState::Refused { reason, remedy } => {
                self.shared.intake.refused(name, &reason, &remedy, &carries).await;
            }
            _ => {}
        }
    }

    async fn take_chat(&self, channel: &BridgeChannel, chat: Chat) {
        let id = chat.chat.clone();
        let about = About { chat: Some(&id), ..About::default() };
        if !channel.claim.covers(&id) {
            return self.refuse(&outside(channel, &id), about).await;
        }
        let how_left = chat.how_left();
        let metadata = match chat.into_metadata(&channel.name) {
            Ok(metadata) => metadata,
            Err(reason) => return self.refuse(&reason, about).await,
        };
        if let Some(how) = how_left {
            return self.shared.intake.left(&id, &how, metadata.last_seen).await;
        }
        if let Err(error) = self.shared.intake.note_chat(metadata).await {
            self.not_stored(channel, &error, about).await;
        }
    }

    /// Tells who waits for it what became of a send, or the host when nobody does.
    async fn settle(&self, channel: &BridgeChannel, key: &DeliveryKey, outcome: Outcome) {
        let Some(word) = channel.settle(key, outcome) else { return };
        let name = &channel.name;
        match self.shared.host.heard_late(name, key, word).await {
            Ok(HeardLate::Taken) => tracing::info!(bridge = %name, %key, "word of a send came after its time"),
            Ok(HeardLate::Nothing) => {
                tracing::debug!(bridge = %name, %key, "word of a send that is settled, or never was")
            }
            Ok(HeardLate::NotYours) => {
                let reason = format!("the message {key} is not for one of {name}'s chats ({})", channel.claim);
                self.refuse(&reason, About::default()).await;
            }
            Err(error) => self.not_stored(channel, &error, About::default()).await,
        }
    }

    /// The store failed: the bridge keeps the message and says it again later.
    async fn not_stored(&self, channel: &BridgeChannel, error: &(dyn Display + Sync), about: About<'_>) {
        tracing::error!(bridge = %channel.name, %error, "what a bridge said could not be stored");
        self.refuse(&error.to_string(), About { retry: true, ..about }).await;
    }

    /// Tells the bridge that the line that came last was refused.
    async fn refuse(&self, reason: &str, about: About<'_>) {
        let line = self.peer.line_number();
        tracing::debug!(line, reason, "a line of a bridge was refused");
        let About { chat, id, retry } = about;
        self.peer.say(&ToBridge::Error { reason, line, chat, id, retry }).await;
    }
}

/// What a refused line was about, as far as it could be read.
#[derive(Default, Clone, Copy)]
struct About<'a> {
    chat: Option<&'a ChatId>,
    id: Option<&'a PlatformMessageId>,
    /// Whether the same line may be taken later.
    retry: bool,
}

fn outside(channel: &BridgeChannel, chat: &ChatId) -> String {
    format!("the chat {chat} is not one of {}'s ({})", channel.name, channel.claim)
}
