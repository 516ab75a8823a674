//! What goes out: in pieces that Slack takes, each with a mark by which it is found again.
//!
//! Slack shows a message twice that is posted twice. So before one is repeated of which nobody knows whether it was posted, the
//! conversation, or the thread of it that it was to go to, is asked for its mark: metadata with the delivery's key and the piece's place. A file cannot have
//! metadata; its mark is in its name.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    attachment::OutgoingFile,
    causes::with_causes,
    channel::{Channel, ChannelCapabilities, Repeat, SendError},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    message::PlatformMessageId,
    secret::Secret,
    time::Timestamp,
};
use serde_json::Value;
use sha2::Digest as _;

use super::{
    BOT_TOKEN, Slack,
    client::{Client, MARK, Past, Stream},
    conversation_of,
    trouble::Trouble,
};
use crate::{
    channels::{
        progress::{Out, not_looked_up, sent},
        text::{Service, messages},
    },
    files::is_there,
};

/// The most pages of a conversation's history in which a message is looked for; 200 messages each.
const MOST_PAGES: usize = 25;

/// How far back a message is looked for. One that was sent by a host that has been down for longer is sent again; without a bound,
/// of one that was never sent nobody could say so in a conversation with a long history.
const LOOK_BACK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest caption of a file, in characters; a longer text goes before it by itself.
const LONGEST_CAPTION: usize = 3000;

/// One thing that is posted.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    /// A text, as Slack has it.
    Text(String),
    /// The delivery's file, with its caption.
    File(Option<String>),
}

#[async_trait]
impl Channel for Slack {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        // Slack shows of no bot that it is typing.
        ChannelCapabilities { repeat: Repeat::LookedUp, typing: false, files: self.files.is_some() }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let ready = self.ready()?;
        let pieces = pieces(delivery);
        // Pieces that are out of a try before this one: this process knows, or Slack does.
        let mut out = match self.progress.of(&delivery.key) {
            Some(out) => out,
            None if delivery.attempts > 0 && pieces.len() > 1 => {
                self.look_up(&ready, delivery, pieces.len()).await.map_err(for_find)?
            }
            None => Out::new(),
        };
        for (place, piece) in pieces.iter().enumerate() {
            if out.contains_key(&place) {
                continue;
            }
            match self.post(&ready, delivery, place, piece).await {
                Ok(id) => drop(out.insert(place, id)),
                Err(error) => return Err(self.progress.half_sent(&delivery.key, out, error)),
            }
        }
        self.progress.forget(&delivery.key);
        Ok(sent(&out))
    }

    async fn find(&self, delivery: &Delivery) -> Result<Option<Sent>, SendError> {
        let ready = self.ready()?;
        let pieces = pieces(delivery).len();
        let out = self.look_up(&ready, delivery, pieces).await.map_err(for_find)?;
        if out.len() == pieces {
            self.progress.forget(&delivery.key);
            return Ok(Some(sent(&out)));
        }
        // The send that follows begins with what is missing.
        self.progress.note(&delivery.key, out);
        Ok(None)
    }
}

/// The client, and the token that it is used with.
type Ready<'a> = (&'a Client, Secret);

/// Why something was not posted.
enum NotPosted {
    Trouble(Trouble),
    Error(SendError),
}

impl From<SendError> for NotPosted {
    fn from(error: SendError) -> Self {
        Self::Error(error)
    }
}

/// Why a message cannot be looked for.
enum NotFound {
    Trouble(Trouble),
    /// More was said since than is read.
    TooFar,
}

impl Slack {
    fn ready(&self) -> Result<Ready<'_>, SendError> {
        let not_connected = |reason| SendError::NotConnected { reason };
        let bot = self.credentials.secret_named(BOT_TOKEN).ok_or_else(|| {
            not_connected(format!("there is no {BOT_TOKEN}; `nanoclaw auth set {BOT_TOKEN}` stores one"))
        })?;
        let client = self.client().map_err(|error| not_connected(with_causes(&error)))?;
        Ok((client, bot))
    }

    async fn post(
        &self,
        ready: &Ready<'_>,
        delivery: &Delivery,
        place: usize,
        piece: &Piece,
    ) -> Result<String, SendError> {
        let stream = stream_of(delivery);
        let posted = match self.post_in(ready, delivery, stream, place, piece).await {
            Err(NotPosted::Trouble(trouble)) if stream.thread.is_some() && trouble.is_about_thread() => {
                tracing::debug!(key = %delivery.key, ?trouble, "its thread is gone; it goes to the main stream");
                // A try before this one may have come to the same.
                let main = Stream { thread: None, ..stream };
                let out = self.look_up_in(ready, delivery, main, place + 1).await.map_err(for_find)?;
                match out.get(&place) {
                    Some(id) => Ok(id.clone()),
                    None => self.post_in(ready, delivery, main, place, piece).await,
                }
            }
            posted => posted,
        };
        posted.map_err(|error| match error {
            NotPosted::Trouble(trouble) => self.told(trouble),
            NotPosted::Error(error) => error,
        })
    }

    async fn post_in(
        &self,
        ready: &Ready<'_>,
        delivery: &Delivery,
        stream: Stream<'_>,
        place: usize,
        piece: &Piece,
    ) -> Result<String, NotPosted> {
        match (piece, &delivery.file) {
            (Piece::Text(text), _) => {
                let mark = mark(&delivery.key, place);
                ready.0.post_text(&ready.1, stream, text, mark).await.map_err(NotPosted::Trouble)
            }
            (Piece::File(caption), Some(file)) => {
                self.send_file(ready, &delivery.key, stream, file, caption.as_deref()).await
            }
            (Piece::File(_), None) => Err(SendError::Permanent { reason: "its file is not there".to_owned() }.into()),
        }
    }

    /// Sends a file: uploaded first, which nobody sees, then shared.
    async fn send_file(
        &self,
        (client, bot): &Ready<'_>,
        key: &DeliveryKey,
        stream: Stream<'_>,
        file: &OutgoingFile,
        caption: Option<&str>,
    ) -> Result<String, NotPosted> {
        let permanent = |reason| SendError::Permanent { reason };
        let spool = self.files.as_ref().ok_or_else(|| permanent("this host sends no files".to_owned()))?;
        let path = spool.path_of(file);
        is_there(&path, &file.spooled).await.map_err(permanent)?;
        let content =
            tokio::fs::read(&path).await.map_err(|error| permanent(format!("its file cannot be read: {error}")))?;
        let name = marked_name(&file.name, key);
        let uploaded = client.upload(bot, &name, &file.spooled.media_type, &content).await;
        let id = uploaded.map_err(|trouble| match self.told(trouble) {
            // Nobody saw anything yet.
            SendError::Unknown { reason } => SendError::Retry { reason, after: None },
            error => error,
        })?;
        let shared = client.share(bot, &id, &file.name, stream, caption).await;
        shared.map(|()| id).map_err(NotPosted::Trouble)
    }

    /// What a trouble means for a message; one about the token is looked into.
    fn told(&self, trouble: Trouble) -> SendError {
        if trouble.is_about_token() {
            self.doubted.notify_one();
        }
        trouble.for_send()
    }

    /// Which of the `count` pieces of a message are where they were to go.
    async fn look_up(&self, ready: &Ready<'_>, delivery: &Delivery, count: usize) -> Result<Out, NotFound> {
        let stream = stream_of(delivery);
        match self.look_up_in(ready, delivery, stream, count).await {
            Err(NotFound::Trouble(trouble)) if stream.thread.is_some() && trouble.is_about_thread() => {
                self.look_up_in(ready, delivery, Stream { thread: None, ..stream }, count).await
            }
            looked => looked,
        }
    }

    async fn look_up_in(
        &self,
        (client, bot): &Ready<'_>,
        delivery: &Delivery,
        stream: Stream<'_>,
        count: usize,
    ) -> Result<Out, NotFound> {
        let name = delivery.file.as_ref().map(|file| marked_name(&file.name, &delivery.key));
        let look_back = i64::try_from(LOOK_BACK.as_millis()).unwrap_or(i64::MAX);
        let oldest = Timestamp::from_ms(Timestamp::now().as_ms().saturating_sub(look_back));
        let (mut out, mut from) = (Out::new(), None);
        for _ in 0..MOST_PAGES {
            let page = client.history::<Past>(bot, stream, oldest, from).await;
            let (messages, next) = page.map_err(|trouble| {
                if trouble.is_about_token() {
                    self.doubted.notify_one();
                }
                NotFound::Trouble(trouble)
            })?;
            for message in &messages {
                if let Some(place) = place_of(message, &delivery.key, name.as_deref(), count) {
                    out.insert(place, message.ts.clone());
                }
            }
            // The pieces were posted in their order: outside threads, which are told backwards, there is none before the first.
            let all = out.len() == count || (stream.thread.is_none() && out.contains_key(&0));
            match next {
                Some(next) if !all => from = Some(next),
                _ => return Ok(out),
            }
        }
        Err(NotFound::TooFar)
    }
}

/// Where a delivery goes: to the thread in which it was asked for.
fn stream_of(delivery: &Delivery) -> Stream<'_> {
    let thread = delivery.answered.thread.as_ref().map(PlatformMessageId::as_str);
    Stream { channel: conversation_of(&delivery.chat), thread }
}

/// The pieces in which a delivery goes out; none when it says nothing.
fn pieces(delivery: &Delivery) -> Vec<Piece> {
    let texts: Vec<_> = messages(&delivery.text, Service::Slack).into_iter().map(|piece| piece.text).collect();
    match (&delivery.file, texts.as_slice()) {
        (None, _) => texts.into_iter().map(Piece::Text).collect(),
        (Some(_), []) => vec![Piece::File(None)],
        (Some(_), [caption]) if caption.chars().count() <= LONGEST_CAPTION => vec![Piece::File(Some(caption.clone()))],
        (Some(_), _) => texts.into_iter().map(Piece::Text).chain([Piece::File(None)]).collect(),
    }
}

/// The mark of a piece.
fn mark(key: &DeliveryKey, place: usize) -> HashMap<String, String> {
    HashMap::from([("key".to_owned(), key.to_string()), ("piece".to_owned(), place.to_string())])
}

/// Which piece of the message `key` a message of the history is. `name` is that of its file, which is its last piece of `count`.
fn place_of(message: &Past, key: &DeliveryKey, name: Option<&str>, count: usize) -> Option<usize> {
    if let Some(name) = name
        && message.files.iter().any(|file| file.name.as_deref() == Some(name))
    {
        return Some(count - 1);
    }
    let mark = message.metadata.as_ref().filter(|mark| mark.event_type == MARK)?;
    let of = |field: &str| mark.event_payload.get(field).and_then(Value::as_str);
    if of("key") != Some(key.as_str()) {
        return None;
    }
    of("piece")?.parse().ok().filter(|place| *place < count)
}

/// The name under which a file is uploaded: its own, with eight digits that belong to its message alone.
fn marked_name(name: &str, key: &DeliveryKey) -> String {
    let digits: String = sha2::Sha256::digest(key.as_str()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    match name.rsplit_once('.').filter(|(stem, extension)| !stem.is_empty() && extension.len() <= 11) {
        Some((stem, extension)) => format!("{stem}-{digits}.{extension}"),
        None => format!("{name}-{digits}"),
    }
}

/// What it means for a message that it cannot be looked for.
fn for_find(error: NotFound) -> SendError {
    match error {
        NotFound::TooFar => SendError::Permanent {
            reason: "too much was said in the conversation since to find out whether it was sent".to_owned(),
        },
        NotFound::Trouble(trouble) => not_looked_up(trouble.for_send()),
    }
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
            chat: "slack:C1".parse().unwrap(),
            text: text.to_owned(),
            file: file.map(|path| OutgoingFile::new("family".parse().unwrap(), path, spooled)),
            answered: Answered::default(),
            attempts: 0,
            posted_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn a_short_text_is_one_piece_and_a_caption_goes_with_its_file() {
        assert_eq!(pieces(&delivery("hello", None)), [Piece::Text("hello".into())]);
        assert_eq!(pieces(&delivery("look", Some("a.png"))), [Piece::File(Some("look".into()))]);
        assert_eq!(pieces(&delivery("", Some("a.png"))), [Piece::File(None)]);
        let long = pieces(&delivery(&"word ".repeat(2000), Some("a.png")));
        assert!(long.len() > 2 && long.last() == Some(&Piece::File(None)), "{long:?}");
    }

    #[test]
    fn a_piece_is_known_by_its_mark_and_another_apps_mark_is_none() {
        let past =
            |metadata: Value| serde_json::from_value::<Past>(json!({"ts": "1.2", "metadata": metadata})).unwrap();
        let ours = |payload: Value| past(json!({"event_type": "nanoclaw", "event_payload": payload}));
        let place = |message: &Past| place_of(message, &key(), None, 3);
        assert_eq!(place(&ours(json!({"key": key().as_str(), "piece": "2"}))), Some(2));
        assert_eq!(place(&ours(json!({"key": key().as_str(), "piece": "3"}))), None);
        assert_eq!(place(&ours(json!({"key": "reply/family/1/2", "piece": "0"}))), None);
        assert_eq!(place(&ours(json!({"key": 7, "piece": {}}))), None);
        assert_eq!(
            place(&past(json!({"event_type": "other", "event_payload": {"key": key().as_str(), "piece": "0"}}))),
            None
        );
        assert_eq!(place(&past(Value::Null)), None);
    }

    #[test]
    fn a_file_is_known_by_a_name_that_no_other_message_gives() {
        let name = marked_name("report.pdf", &key());
        assert!(name.starts_with("report-") && name.ends_with(".pdf") && name.len() == "report-12345678.pdf".len());
        assert_ne!(name, marked_name("report.pdf", &DeliveryKey::new("reply/family/1/2").unwrap()));
        assert!(marked_name("README", &key()).starts_with("README-"));
        let past: Past = serde_json::from_value(json!({"ts": "1.2", "files": [{"name": name.clone()}]})).unwrap();
        assert_eq!(place_of(&past, &key(), Some(&name), 3), Some(2));
        assert_eq!(place_of(&past, &key(), Some("report.pdf"), 3), None);
    }

    #[test]
    fn what_cannot_be_looked_for_is_never_taken_as_not_sent() {
        assert!(matches!(for_find(NotFound::TooFar), SendError::Permanent { .. }));
        assert!(matches!(for_find(NotFound::Trouble(Trouble::Unclear("x".into()))), SendError::Retry { .. }));
    }
}
