//! What goes out: in pieces that WhatsApp takes, each with an id of ours.
//!
//! The id is made of the host's key and the piece's place. WhatsApp's clients show no second message with the same one, so a piece that
//! may have been sent is sent again without a thought. A piece is out when WhatsApp's server has acknowledged it, not when it is written.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_text::{Service, messages};
use sha2::{Digest as _, Sha256};
use tokio::sync::{oneshot, watch};
use wacore::{
    download::MediaType, proto_helpers::build_quote_context, store::traits::ProtocolStore as _,
    types::message::AddressingMode,
};
use wacore_binary::{Jid, Server};
use waproto::whatsapp as wa;
use whatsapp_rust::{
    Client,
    buffa::MessageField,
    send::{SendError, SendOptions},
    upload::UploadOptions,
};

use super::{
    http::LARGEST_BYTES,
    meaning::original,
    receive::{hex, me},
};
use crate::{
    STEPS,
    bridge::wire::{FileOut, ReplyTo, Send, ToHost},
    store::Store,
};

/// How long a message waits for the connection, and for WhatsApp's word on it. The host waits 50 s in all, and asks again then.
const CONNECTION: Duration = Duration::from_secs(20);
const WORD: Duration = Duration::from_secs(20);
/// The longest caption of a file, in UTF-16 units; a longer text goes before it by itself.
const LONGEST_CAPTION: usize = 1024;
/// The largest file that is shown as a picture.
const LARGEST_PHOTO: u64 = 16 << 20;
/// The most messages of which it is remembered that their first pieces are out.
const MOST_HALF_SENT: usize = 1024;

/// Sends what the host wants sent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    line: watch::Receiver<Option<Line>>,
    words: Words,
    store: Store,
    out: Mutex<HalfSent>,
}

/// A connection to WhatsApp.
#[derive(Clone)]
pub struct Line(pub Arc<Client>);

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Line")
    }
}

/// The server's words on messages that went out, for those who wait for them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Words(Arc<Mutex<HashMap<String, oneshot::Sender<Option<String>>>>>);

impl Words {
    /// The server has acknowledged the message with this id; `refusal` is the code with which it refused it.
    pub fn heard(&self, id: &str, refusal: Option<String>) {
        if let Some(waiting) = self.lock().remove(id) {
            let _ = waiting.send(refusal);
        }
    }

    fn wait_for(&self, id: &str) -> oneshot::Receiver<Option<String>> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id.to_owned(), sender);
        receiver
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Option<String>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which pieces are out of messages that are not wholly sent.
#[derive(Debug, Default)]
struct HalfSent {
    of: BTreeMap<String, HashSet<usize>>,
    oldest_first: VecDeque<String>,
}

impl HalfSent {
    fn note(&mut self, key: &str, place: usize) {
        if let Some(out) = self.of.get_mut(key) {
            out.insert(place);
            return;
        }
        self.of.insert(key.to_owned(), HashSet::from([place]));
        self.oldest_first.push_back(key.to_owned());
        if self.oldest_first.len() > MOST_HALF_SENT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.of.remove(&oldest);
        }
    }

    fn is_out(&self, key: &str, place: usize) -> bool {
        self.of.get(key).is_some_and(|out| out.contains(&place))
    }

    fn forget(&mut self, key: &str) {
        if self.of.remove(key).is_some() {
            self.oldest_first.retain(|other| other != key);
        }
    }
}

/// One thing that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A text.
    Text(String),
    /// The file of this number, with its caption.
    File(usize, Option<String>),
}

/// Why a message did not go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSent {
    reason: String,
    retry_after: Option<Duration>,
    permanent: bool,
}

impl NotSent {
    fn for_ever(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None, permanent: true }
    }

    fn for_now(reason: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { reason: reason.into(), retry_after, permanent: false }
    }
}

impl Sender {
    /// Sends by what is in `line`; `words` hears what the server says, and `store` knows who is who.
    #[must_use]
    pub fn new(line: watch::Receiver<Option<Line>>, words: Words, store: Store) -> Self {
        Self(Arc::new(Parts { line, words, store, out: Mutex::default() }))
    }

    /// Sends it; what is to be said to the host then.
    pub async fn send(&self, send: &Send) -> ToHost {
        let key = send.key.clone();
        tracing::debug!(target: STEPS, chat = send.chat, key, "to be sent");
        match self.sent(send).await {
            Ok(platform_id) => ToHost::Sent { key, platform_id },
            Err(NotSent { reason, retry_after, permanent }) => {
                tracing::warn!(key, chat = send.chat, reason, permanent, "a message did not go out");
                let retry_after_ms = retry_after.map(|after| after.as_millis().try_into().unwrap_or(u64::MAX));
                ToHost::Failed { key, error: reason, retry_after_ms, permanent }
            }
        }
    }

    /// Shows that the assistant is typing, or not any more. Best effort.
    pub async fn typing(&self, chat: &str, on: bool) {
        let Some(Line(client)) = self.0.line.borrow().clone() else { return };
        let Some(chat) = chat_of(chat) else { return };
        let state = client.chatstate();
        let shown = if on { state.send_composing(&chat).await } else { state.send_paused(&chat).await };
        if let Err(error) = shown {
            tracing::debug!(%chat, %error, "that the assistant is typing could not be shown");
        }
    }

    async fn sent(&self, send: &Send) -> Result<String, NotSent> {
        let chat =
            chat_of(&send.chat).ok_or_else(|| NotSent::for_ever(format!("{} is no chat of WhatsApp's", send.chat)))?;
        let Line(client) = self.line().await?;
        let pieces = pieces(send);
        if pieces.is_empty() {
            return Err(NotSent::for_ever("there is nothing in it that can be seen"));
        }
        let mut first = None;
        for (place, piece) in pieces.iter().enumerate() {
            let id = message_id(&send.key, place);
            if !self.out().is_out(&send.key, place) {
                let context = if place == 0 { self.quote_of(send, &chat, &client).await } else { None };
                self.post(&client, &chat, &id, piece, send, context).await?;
                if pieces.len() > 1 {
                    self.out().note(&send.key, place);
                }
            }
            first.get_or_insert(id);
        }
        self.out().forget(&send.key);
        Ok(first.unwrap_or_default())
    }

    /// What is said of the message that this one answers; nothing in private chats, where it is plain.
    async fn quote_of(&self, send: &Send, chat: &Jid, client: &Client) -> Option<wa::ContextInfo> {
        let reply = send.reply_to.as_ref()?;
        let author: Jid = reply.sender.as_deref()?.parse().ok()?;
        if chat.server != Server::Group || me(client).is(&author) {
            return None;
        }
        // Where numbers are hidden, people are known by their other addresses.
        let group = client.groups().query_info(chat).await.ok();
        if author.is_pn() && group.is_some_and(|group| group.addressing_mode == AddressingMode::Lid) {
            let known = self.0.store.get_pn_mapping(&author.user).await.ok().flatten()?;
            return Some(quote(reply, &format!("{}@lid", known.lid).parse().ok()?));
        }
        Some(quote(reply, &author))
    }

    /// The connection, when there is one soon.
    async fn line(&self) -> Result<Line, NotSent> {
        let mut line = self.0.line.clone();
        let there = tokio::time::timeout(CONNECTION, line.wait_for(Option::is_some)).await;
        let there = there.ok().and_then(Result::ok).and_then(|line| line.clone());
        there.ok_or_else(|| NotSent::for_now("there is no connection to WhatsApp just now", None))
    }

    /// Sends one piece and waits for the server's word on it.
    async fn post(
        &self,
        client: &Client,
        chat: &Jid,
        id: &str,
        piece: &Piece,
        send: &Send,
        context: Option<wa::ContextInfo>,
    ) -> Result<(), NotSent> {
        let message = match piece {
            Piece::Text(text) => text_message(text.clone(), context),
            Piece::File(number, caption) => {
                file_message(client, &send.files[*number], caption.clone(), context).await?
            }
        };
        let word = self.0.words.wait_for(id);
        let mut line = self.0.line.clone();
        line.borrow_and_update();
        let options = SendOptions::default().with_message_id(id);
        if let Err(error) = client.send_message_with_options(chat.clone(), message, options).await {
            self.0.words.forget(id);
            return Err(not_sent(&error));
        }
        tracing::debug!(target: STEPS, key = send.key, id, "on the wire");
        let word = tokio::select! {
            biased;
            word = word => word.ok(),
            // The word goes with the connection.
            _ = line.changed() => None,
            () = tokio::time::sleep(WORD) => None,
        };
        self.0.words.forget(id);
        match word {
            Some(None) => {
                tracing::debug!(target: STEPS, key = send.key, id, "acknowledged");
                Ok(())
            }
            Some(Some(code)) => Err(refused(&code)),
            None => Err(NotSent::for_now("WhatsApp did not acknowledge it", None)),
        }
    }

    fn out(&self) -> MutexGuard<'_, HalfSent> {
        self.0.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// WhatsApp's id of a piece: the same for the same key and place, for ever.
#[must_use]
pub fn message_id(key: &str, place: usize) -> String {
    // As WhatsApp's own program in the browser makes them.
    format!("3EB0{}", hex(&Sha256::digest(format!("nanoclaw\0{key}\0{place}"))[..9]))
}

/// The messages that are sent. The same for the same text and files.
#[must_use]
pub fn pieces(send: &Send) -> Vec<Piece> {
    let mut texts: Vec<_> = messages(&send.text, Service::WhatsApp).into_iter().map(|piece| piece.text).collect();
    let caption = match texts.as_slice() {
        [text] if !send.files.is_empty() && text.encode_utf16().count() <= LONGEST_CAPTION => texts.pop(),
        _ => None,
    };
    let mut caption = Some(caption);
    let files = (0..send.files.len()).map(|number| Piece::File(number, caption.take().flatten())).collect::<Vec<_>>();
    texts.into_iter().map(Piece::Text).chain(files).collect()
}

/// What a reply says of the message that it is to.
fn quote(reply: &ReplyTo, author: &Jid) -> wa::ContextInfo {
    let quoted = wa::Message { conversation: Some(reply.text.clone().unwrap_or_default()), ..Default::default() };
    build_quote_context(original(&reply.id), author.to_string(), &quoted)
}

fn text_message(text: String, context: Option<wa::ContextInfo>) -> wa::Message {
    let Some(context) = context else { return wa::Message { conversation: Some(text), ..Default::default() } };
    let text = wa::message::ExtendedTextMessage {
        text: Some(text),
        context_info: MessageField::some(context),
        ..Default::default()
    };
    wa::Message { extended_text_message: MessageField::some(text), ..Default::default() }
}

async fn file_message(
    client: &Client,
    file: &FileOut,
    caption: Option<String>,
    context: Option<wa::ContextInfo>,
) -> Result<wa::Message, NotSent> {
    if file.bytes > LARGEST_BYTES {
        return Err(NotSent::for_ever(format!("its file has more than {} MB", LARGEST_BYTES >> 20)));
    }
    let content = tokio::fs::read(&file.path).await;
    let content = content.map_err(|error| NotSent::for_ever(format!("its file cannot be read: {error}")))?;
    let is_photo = matches!(file.media_type.as_str(), "image/jpeg" | "image/png") && file.bytes <= LARGEST_PHOTO;
    let kind = if is_photo { MediaType::Image } else { MediaType::Document };
    let uploaded = client.upload(content, kind, UploadOptions::new()).await;
    let up = uploaded.map_err(|error| NotSent::for_now(format!("its file could not be uploaded: {error:#}"), None))?;
    let context_info = context.map_or_else(MessageField::none, MessageField::some);
    let mut message = wa::Message::default();
    if is_photo {
        message.image_message = MessageField::some(wa::message::ImageMessage {
            url: Some(up.url),
            direct_path: Some(up.direct_path),
            media_key: Some(up.media_key.to_vec()),
            media_key_timestamp: Some(up.media_key_timestamp),
            file_sha256: Some(up.file_sha256.to_vec()),
            file_enc_sha256: Some(up.file_enc_sha256.to_vec()),
            file_length: Some(up.file_length),
            mimetype: Some(file.media_type.clone()),
            caption,
            context_info,
            ..Default::default()
        });
    } else {
        message.document_message = MessageField::some(wa::message::DocumentMessage {
            url: Some(up.url),
            direct_path: Some(up.direct_path),
            media_key: Some(up.media_key.to_vec()),
            media_key_timestamp: Some(up.media_key_timestamp),
            file_sha256: Some(up.file_sha256.to_vec()),
            file_enc_sha256: Some(up.file_enc_sha256.to_vec()),
            file_length: Some(up.file_length),
            mimetype: Some(file.media_type.clone()),
            file_name: Some(file.name.clone()),
            title: Some(file.name.clone()),
            caption,
            context_info,
            ..Default::default()
        });
    }
    Ok(message)
}

/// A chat that we can write to.
fn chat_of(chat: &str) -> Option<Jid> {
    let jid: Jid = chat.parse().ok()?;
    matches!(jid.server, Server::Group | Server::Pn | Server::Lid).then_some(jid)
}

fn not_sent(error: &SendError) -> NotSent {
    match error {
        SendError::InvalidRequest(reason) => NotSent::for_ever(reason.clone()),
        // Such as a group that does not let us in: it may change, and the host gives up in the end.
        error => NotSent::for_now(error.to_string(), None),
    }
}

/// What a server's refusal means.
fn refused(code: &str) -> NotSent {
    let reason = format!("WhatsApp refuses it (code {code})");
    match code {
        "403" | "404" | "405" | "406" | "410" => NotSent::for_ever(reason),
        "429" => NotSent::for_now(reason, Some(Duration::from_secs(60))),
        _ => NotSent::for_now(reason, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(text: &str, files: usize) -> Send {
        let file =
            |_| FileOut { path: "/f".into(), name: "f".to_owned(), media_type: "image/png".to_owned(), bytes: 1 };
        Send { key: "k".to_owned(), text: text.to_owned(), files: (0..files).map(file).collect(), ..Send::default() }
    }

    #[test]
    fn an_id_is_the_same_for_ever_and_another_for_each_piece() {
        assert_eq!(message_id("request/family/3", 0), "3EB061D4F3922FF84D93CE");
        assert_ne!(message_id("k", 0), message_id("k", 1));
        assert_ne!(message_id("k1", 0), message_id("k", 10));
    }

    #[test]
    fn a_text_is_formatted_for_whatsapp_and_cut_to_its_length() {
        assert_eq!(pieces(&send("**hi**", 0)), [Piece::Text("*hi*".to_owned())]);
        let long = "words ".repeat(20_000);
        let cut = pieces(&send(&long, 0));
        assert!(cut.len() == 2 && cut.iter().all(|piece| matches!(piece, Piece::Text(text) if text.len() <= 65_536)));
    }

    #[test]
    fn a_short_text_is_the_files_caption_and_a_long_one_goes_before_it() {
        assert_eq!(pieces(&send("look", 1)), [Piece::File(0, Some("look".to_owned()))]);
        assert_eq!(pieces(&send("", 1)), [Piece::File(0, None)]);
        let long = "long ".repeat(300);
        assert!(matches!(pieces(&send(&long, 1)).as_slice(), [Piece::Text(_), Piece::File(0, None)]));
        assert_eq!(pieces(&send("", 0)), []);
    }

    #[test]
    fn what_is_half_sent_is_remembered_within_bounds() {
        let mut out = HalfSent::default();
        for key in 0..=MOST_HALF_SENT {
            out.note(&key.to_string(), 0);
        }
        assert!(!out.is_out("0", 0) && out.is_out("1", 0) && !out.is_out("1", 1));
        out.forget("1");
        assert!(!out.is_out("1", 0));
        assert_eq!(out.of.len(), out.oldest_first.len());
    }

    #[test]
    fn only_what_stays_so_is_given_up() {
        assert!(refused("403").permanent && !refused("429").permanent && !refused("479").permanent);
        assert_eq!(refused("429").retry_after, Some(Duration::from_secs(60)));
    }
}
