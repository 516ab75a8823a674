//! What goes out: in pieces that Discord takes, each shown once.
//!
//! Each piece has a *nonce* made of the delivery's key and its place, and `enforce_nonce`: for some minutes Discord posts nothing
//! twice that has the same one. Discord forgets it then, and its history does not tell it. So before a message is repeated of which
//! nobody knows whether it was sent, the history is read: a message of ours that was written since this one was put into the
//! outbox, and that says the same, is this one. Only where two messages that say the same waited for the same chat at the same time
//! can that be wrong, and then people see once what was to be said twice.

use std::{num::NonZeroU64, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::OutgoingFile,
    causes::with_causes,
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    message::PlatformMessageId,
    secret::Secret,
    time::Timestamp,
};
use serde_json::Value;
use serenity::model::id::{ChannelId, MessageId};
use sha2::Digest as _;
use tokio::time::Instant;

use super::{
    Discord, TOKEN,
    catch_up::patiently,
    channel_of,
    client::{Client, From, NewMessage, PAGE, Upload},
    event::{Message, before},
    trouble::Trouble,
};
use crate::{
    channels::{
        progress::{Out, not_looked_up, sent},
        text::{Service, messages},
    },
    files::is_there,
};

/// The most pages of a channel's history in which a message is looked for; 100 messages each.
const MOST_PAGES: usize = 50;
/// How far back a message is looked for; one that was put into the outbox earlier is looked for so far.
const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How far Discord's clock may be behind ours.
const CLOCKS_DIFFER: Duration = Duration::from_secs(5);
/// How long one try waits, all together, when Discord asks it to: a long answer in many pieces meets its limits.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long it is shown that the bot is typing (Discord: ten seconds), less what a call takes.
const TYPING_SHOWN: Duration = Duration::from_secs(7);

/// One message of Discord's.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A text, as Discord has it.
    Text(String),
    /// The delivery's file, with its caption.
    File(Option<String>),
}

#[async_trait]
impl Channel for Discord {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: Repeat::LookedUp, typing: true, files: self.files.is_some() }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let ready = self.ready(&delivery.chat)?;
        let pieces = pieces(delivery);
        // Pieces that are out of a try before this one: this process knows, or Discord does.
        let mut out = match self.progress.of(&delivery.key) {
            Some(out) => out,
            None if delivery.attempts > 0 && pieces.len() > 1 => self.look_up(&ready, delivery, &pieces).await?,
            None => Out::new(),
        };
        let mut patience = PATIENCE;
        for (place, piece) in pieces.iter().enumerate() {
            if out.contains_key(&place) {
                continue;
            }
            match self.post(&ready, delivery, place, piece, &mut patience).await {
                Ok(id) => drop(out.insert(place, id)),
                Err(error) => return Err(self.progress.half_sent(&delivery.key, out, error)),
            }
        }
        self.progress.forget(&delivery.key);
        // Whoever writes is not shown to be typing any more.
        self.known().typing.remove(&delivery.chat);
        Ok(sent(&out))
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let ready = self.ready(&delivery.chat)?;
        let pieces = pieces(delivery);
        let out = self.look_up(&ready, delivery, &pieces).await?;
        if out.len() == pieces.len() {
            self.progress.forget(&delivery.key);
            return Ok(Some(sent(&out)));
        }
        // The send that follows begins with what is missing.
        self.progress.note(&delivery.key, out);
        Ok(None)
    }

    // A thread of Discord's is a chat of its own.
    async fn set_typing(&self, chat: &ChatId, _thread: Option<&PlatformMessageId>, typing: Typing) {
        let now = Instant::now();
        match typing {
            // It ends by itself, or with a message.
            Typing::Off => drop(self.known().typing.remove(chat)),
            Typing::On => {
                if self.known().typing.get(chat).is_some_and(|until| *until > now) {
                    return;
                }
                let Ok(ready) = self.ready(chat) else { return };
                self.known().typing.insert(chat.clone(), now + TYPING_SHOWN);
                if let Err(trouble) = ready.client.typing(&ready.token, ready.channel).await {
                    tracing::debug!(%chat, %trouble, "it cannot be shown that the assistant is typing");
                }
            }
        }
    }
}

/// What a call needs.
struct Ready<'a> {
    client: &'a Client,
    token: Secret,
    channel: ChannelId,
}

impl Discord {
    fn ready(&self, chat: &ChatId) -> Result<Ready<'_>, SendError> {
        let not_connected = |reason| SendError::NotConnected { reason };
        let token = self
            .token()
            .ok_or_else(|| not_connected(format!("there is no {TOKEN}; `nanoclaw auth set {TOKEN}` stores one")))?;
        let client = self.client().map_err(|error| not_connected(with_causes(&error)))?;
        let channel = channel_of(chat).ok_or_else(|| SendError::Permanent {
            reason: format!("{chat} is no channel of Discord's: its id is a number"),
        })?;
        Ok(Ready { client, token, channel })
    }

    async fn post(
        &self,
        ready: &Ready<'_>,
        delivery: &Delivery,
        place: usize,
        piece: &Piece,
        patience: &mut Duration,
    ) -> Result<String, SendError> {
        let Ready { client, token, channel } = ready;
        // The first piece replies.
        let mut reply_to = answered_by(delivery).filter(|_| place == 0);
        loop {
            let (text, file) = match (piece, &delivery.file) {
                (Piece::Text(text), _) => (Some(text.as_str()), None),
                (Piece::File(caption), Some(file)) => (caption.as_deref(), Some(self.upload(file).await?)),
                (Piece::File(_), None) => {
                    return Err(SendError::Permanent { reason: "its file is not there".to_owned() });
                }
            };
            let nonce = nonce(&delivery.key, place);
            match client.post(token, *channel, NewMessage { text, file, nonce, reply_to }).await {
                Err(Trouble::Limited(after)) if after <= *patience => {
                    *patience -= after;
                    tokio::time::sleep(after).await;
                }
                // It was not posted: perhaps because the bot may not reply there, or not to such a message.
                Err(Trouble::Told { status, code, words }) if reply_to.is_some() => {
                    tracing::debug!(key = %delivery.key, status, code, words, "Discord takes no reply; it goes out as none");
                    reply_to = None;
                }
                posted => return posted.map_err(|trouble| self.told(trouble)),
            }
        }
    }

    async fn upload(&self, file: &OutgoingFile) -> Result<Upload, SendError> {
        let permanent = |reason| SendError::Permanent { reason };
        let spool = self.files.as_ref().ok_or_else(|| permanent("this host sends no files".to_owned()))?;
        let path = spool.path_of(file);
        is_there(&path, &file.spooled).await.map_err(permanent)?;
        let content =
            tokio::fs::read(&path).await.map_err(|error| permanent(format!("its file cannot be read: {error}")))?;
        Ok(Upload { name: file.name.clone(), content })
    }

    /// What a trouble means for a message; one about the token is looked into.
    fn told(&self, trouble: Trouble) -> SendError {
        if trouble == Trouble::Token {
            self.doubted.notify_one();
        }
        trouble.for_send()
    }

    /// Which of the pieces of a message are in its channel.
    async fn look_up(&self, ready: &Ready<'_>, delivery: &Delivery, pieces: &[Piece]) -> Result<Out, SendError> {
        let me = self.known().me.clone();
        let me = me.ok_or_else(|| SendError::NotConnected { reason: "Discord is not connected yet".to_owned() })?;
        let oldest = before(oldest_for(delivery.posted_at, Timestamp::now()));
        let (mut ours, mut from) = (Vec::new(), None);
        for _ in 0..MOST_PAGES {
            let page = patiently(|| ready.client.history(&ready.token, ready.channel, From::Before(from))).await;
            let page = page.map_err(|trouble| not_looked_up(self.told(trouble)))?;
            let full = page.len() >= PAGE;
            let told = page.into_iter().filter_map(past).collect::<Vec<_>>();
            from = told.iter().map(|(id, _)| *id).min();
            ours.extend(told.into_iter().filter(|(id, message)| *id > oldest && is_of(message, &me)));
            if !full || from.is_none_or(|from| from <= oldest) {
                ours.sort_by_key(|(id, _)| *id);
                let bytes = delivery.file.as_ref().map(|file| file.spooled.bytes);
                return Ok(those_of(pieces, bytes, &ours));
            }
        }
        Err(SendError::Permanent {
            reason: "too much was said in the channel since to find out whether it was sent".to_owned(),
        })
    }
}

/// The pieces in which a delivery goes out; none when it says nothing.
fn pieces(delivery: &Delivery) -> Vec<Piece> {
    let texts: Vec<_> = messages(&delivery.text, Service::Discord).into_iter().map(|piece| piece.text).collect();
    match (&delivery.file, texts.as_slice()) {
        (None, _) => texts.into_iter().map(Piece::Text).collect(),
        (Some(_), []) => vec![Piece::File(None)],
        (Some(_), [caption]) => vec![Piece::File(Some(caption.clone()))],
        (Some(_), _) => texts.into_iter().map(Piece::Text).chain([Piece::File(None)]).collect(),
    }
}

/// The message that a delivery replies to; that of a change of a message is the message itself.
fn answered_by(delivery: &Delivery) -> Option<MessageId> {
    let id = delivery.answered.reply_to.as_ref()?.id.as_str();
    let id: NonZeroU64 = id.split('/').next()?.parse().ok()?;
    Some(id.into())
}

/// By what Discord knows a piece: 25 characters, the most that it takes, which no other piece gives.
fn nonce(key: &DeliveryKey, place: usize) -> String {
    let digest = sha2::Sha256::digest(format!("{key}\n{place}"));
    let digits: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    format!("n{digits}")
}

/// Before which moment a message that was put into the outbox at `posted_at` is not looked for.
fn oldest_for(posted_at: Timestamp, now: Timestamp) -> Timestamp {
    let back = |from: Timestamp, by: Duration| {
        Timestamp::from_ms(from.as_ms().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    };
    back(posted_at, CLOCKS_DIFFER).max(back(now, LOOK_BACK))
}

fn past(message: Value) -> Option<(u64, Message)> {
    let message: Message = serde_json::from_value(message).ok()?;
    Some((message.id.parse().ok()?, message))
}

fn is_of(message: &Message, user: &str) -> bool {
    message.author.as_ref().is_some_and(|author| author.id == user)
}

/// Which of the pieces `ours` are, oldest first. `bytes`: how large the file is.
fn those_of(pieces: &[Piece], bytes: Option<u64>, ours: &[(u64, Message)]) -> Out {
    let mut out = Out::new();
    for (id, message) in ours {
        let place = (0..pieces.len()).find(|place| !out.contains_key(place) && says(message, &pieces[*place], bytes));
        if let Some(place) = place {
            out.insert(place, id.to_string());
        }
    }
    out
}

fn says(message: &Message, piece: &Piece, bytes: Option<u64>) -> bool {
    let (text, files) = match piece {
        Piece::Text(text) => (text.as_str(), 0),
        Piece::File(caption) => (caption.as_deref().unwrap_or_default(), 1),
    };
    let same_file = || message.attachments.iter().all(|file| file["size"].as_u64() == bytes);
    seen(&message.content) == seen(text) && message.attachments.len() == files && same_file()
}

/// What can be seen of a text: services trim and tidy the rest.
fn seen(text: &str) -> String {
    let unseen =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
    text.chars().filter(|c| !unseen(*c)).collect()
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::{
        attachment::{SpoolName, SpooledFile},
        delivery::{Answered, OutboxId},
    };
    use serde_json::json;

    use super::*;

    fn key() -> DeliveryKey {
        DeliveryKey::new("reply/family/1/1").unwrap()
    }

    fn delivery(text: &str, file: Option<&str>) -> Delivery {
        let spooled = SpooledFile { spool: SpoolName::new("00ff").unwrap(), media_type: "image/png".into(), bytes: 3 };
        Delivery {
            id: OutboxId(1),
            key: key(),
            chat: "dc:1".parse().unwrap(),
            text: text.to_owned(),
            file: file.map(|path| OutgoingFile::new("family".parse().unwrap(), path, spooled)),
            answered: Answered::default(),
            attempts: 0,
            posted_at: Timestamp::from_ms(0),
        }
    }

    fn told(messages: &[Value]) -> Vec<(u64, Message)> {
        messages.iter().filter_map(|message| past(message.clone())).collect()
    }

    #[test]
    fn a_short_text_is_one_piece_and_a_caption_goes_with_its_file() {
        assert_eq!(pieces(&delivery("hello", None)), [Piece::Text("hello".into())]);
        assert_eq!(pieces(&delivery("look", Some("a.png"))), [Piece::File(Some("look".into()))]);
        assert_eq!(pieces(&delivery("", Some("a.png"))), [Piece::File(None)]);
        let long = pieces(&delivery(&"word ".repeat(1000), Some("a.png")));
        assert!(long.len() > 2 && long.last() == Some(&Piece::File(None)), "{long:?}");
    }

    #[test]
    fn each_piece_of_each_message_has_a_nonce_of_its_own_that_discord_takes() {
        let other = DeliveryKey::new("reply/family/1/2").unwrap();
        let nonces = [nonce(&key(), 0), nonce(&key(), 1), nonce(&other, 0)];
        assert!(nonces.iter().all(|nonce| nonce.len() == 25), "{nonces:?}");
        assert_eq!(nonces.iter().collect::<std::collections::BTreeSet<_>>().len(), 3);
        assert_eq!(nonces[0], nonce(&key(), 0), "the same through every retry");
    }

    #[test]
    fn pieces_are_known_by_what_they_say_in_their_order() {
        let pieces = [Piece::Text("one".into()), Piece::Text("same".into()), Piece::Text("same".into())];
        let of = |texts: &[&str]| {
            let messages: Vec<_> =
                texts.iter().enumerate().map(|(n, text)| json!({"id": (n + 1).to_string(), "content": text})).collect();
            those_of(&pieces, None, &told(&messages)).into_keys().collect::<Vec<_>>()
        };
        assert_eq!(of(&["one", "same"]), [0, 1]);
        assert_eq!(of(&["other", "one", "same", "same", "same"]), [0, 1, 2]);
        assert_eq!(of(&[" one\n", "on"]), [0], "Discord trims what cannot be seen");
        assert!(of(&[]).is_empty());
    }

    #[test]
    fn a_file_is_known_by_its_size_and_caption() {
        let piece = [Piece::File(Some("look".into()))];
        let found = |message: Value| those_of(&piece, Some(3), &told(&[message])).len() == 1;
        assert!(found(json!({"id": "1", "content": "look", "attachments": [{"size": 3}]})));
        assert!(!found(json!({"id": "1", "content": "look", "attachments": [{"size": 4}]})));
        assert!(!found(json!({"id": "1", "content": "look"})));
        assert!(!found(json!({"id": "1", "content": "", "attachments": [{"size": 3}]})));
    }

    #[test]
    fn a_message_is_looked_for_since_it_was_put_into_the_outbox_and_a_week_at_most() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let posted_at = Timestamp::from_ms(now.as_ms() - 60_000);
        assert_eq!(oldest_for(posted_at, now).as_ms(), posted_at.as_ms() - 5000);
        assert_eq!(oldest_for(Timestamp::from_ms(0), now).as_ms(), now.as_ms() - 7 * 24 * 60 * 60 * 1000);
    }
}
