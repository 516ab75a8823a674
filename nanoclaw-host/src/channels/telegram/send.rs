//! What goes out: in pieces that Telegram takes, each with an id of ours.
//!
//! The id, which the protocol calls random, is made of the delivery's key and the piece's place. Telegram shows no second message with
//! the same one, so a piece that may have been sent is sent again without a thought.

use async_trait::async_trait;
use grammers_client::{
    session::{
        Session as _,
        types::{PeerAuth, PeerId, PeerKind},
    },
    tl::{
        enums::{
            self, DocumentAttribute, InputMedia, InputPeer, InputReplyTo, MessageEntity, SendMessageAction, Update,
            Updates,
        },
        functions, types,
    },
};
use nanoclaw_core::{
    attachment::OutgoingFile,
    channel::{Channel, ChannelCapabilities, Repeat, SendError, Typing},
    chat::{ChannelName, ChatId},
    delivery::{Delivery, DeliveryKey, Sent},
    message::PlatformMessageId,
};
use sha2::Digest as _;

use super::{Line, Telegram, call, peer_of, store::BotSession, trouble::Trouble};
use crate::{
    channels::{
        progress::Out,
        text::{self, Entity, EntityKind, Service, messages},
    },
    files::is_there,
};

/// The longest caption of a file, in UTF-16 units; a longer text goes before it by itself.
const LONGEST_CAPTION: usize = 1024;
/// The largest file that is shown as a photo.
const LARGEST_PHOTO: u64 = 10 << 20;

/// One thing that is sent.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(text::Piece),
    /// The delivery's file, with its caption.
    File(Option<text::Piece>),
}

#[async_trait]
impl Channel for Telegram {
    fn name(&self) -> &ChannelName {
        &self.name
    }

    fn owns(&self, chat: &ChatId) -> bool {
        self.claim.covers(chat)
    }

    fn capabilities(&self) -> ChannelCapabilities {
        ChannelCapabilities { repeat: Repeat::Deduplicated, typing: true, files: self.files.is_some() }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Sent, SendError> {
        let line = self.line().ok_or_else(|| SendError::NotConnected {
            reason: "there is no connection to Telegram just now; `nanoclaw channels` says why".to_owned(),
        })?;
        let peer = input_peer(&line.session, &delivery.chat).await?;
        // Those that are out are left out only to spare Telegram the question.
        let mut out = self.progress.of(&delivery.key).unwrap_or_default();
        for (place, piece) in pieces(delivery).iter().enumerate() {
            if out.contains_key(&place) {
                continue;
            }
            match self.post(&line, &peer, delivery, place, piece).await {
                Ok(id) => drop(out.insert(place, id)),
                Err(error) => {
                    self.progress.note(&delivery.key, out);
                    return Err(error);
                }
            }
        }
        self.progress.forget(&delivery.key);
        Ok(sent(&out))
    }

    async fn set_typing(&self, chat: &ChatId, thread: Option<&PlatformMessageId>, typing: Typing) {
        let Some(line) = self.line() else { return };
        let Ok(peer) = input_peer(&line.session, chat).await else { return };
        let action = match typing {
            Typing::On => SendMessageAction::SendMessageTypingAction,
            Typing::Off => SendMessageAction::SendMessageCancelAction,
        };
        let top_msg_id = thread.and_then(|topic| topic.as_str().parse().ok());
        if let Err(trouble) = call(&line.client, &functions::messages::SetTyping { peer, top_msg_id, action }).await {
            tracing::debug!(%chat, ?trouble, "that the assistant is typing could not be shown");
        }
    }
}

impl Telegram {
    /// Sends a piece; returns Telegram's id of the message, empty when it does not tell it again.
    async fn post(
        &self,
        line: &Line,
        peer: &InputPeer,
        delivery: &Delivery,
        place: usize,
        piece: &Piece,
    ) -> Result<String, SendError> {
        let id = random_id(&delivery.key, place);
        let mut places = places(delivery, place).into_iter();
        let mut reply_to = places.next().flatten();
        let answer = loop {
            let answer = match (piece, &delivery.file) {
                (Piece::Text(text), _) => {
                    let message = message(peer.clone(), reply_to.clone(), text, id);
                    call(&line.client, &message).await.map_err(|trouble| self.told(trouble))
                }
                (Piece::File(caption), Some(file)) => {
                    self.send_file(line, (peer, &reply_to), file, caption.as_ref(), id).await
                }
                (Piece::File(_), None) => {
                    return Err(SendError::Permanent { reason: "its file is not there".to_owned() });
                }
            };
            match answer {
                // It was not sent, so it keeps its id.
                Err(Told::NoReply(error)) => match places.next() {
                    Some(next) => reply_to = next,
                    None => break Err(Told::Not(error)),
                },
                answer => break answer,
            }
        };
        match answer {
            Ok(updates) => Ok(id_of(&updates, id).map(|id| id.to_string()).unwrap_or_default()),
            Err(Told::Sent) => Ok(String::new()),
            Err(Told::Not(error) | Told::NoReply(error)) => Err(error),
        }
    }

    async fn send_file(
        &self,
        line: &Line,
        (peer, reply_to): (&InputPeer, &Option<InputReplyTo>),
        file: &OutgoingFile,
        caption: Option<&text::Piece>,
        id: i64,
    ) -> Result<Updates, Told> {
        let permanent = |reason| Told::Not(SendError::Permanent { reason });
        let spool = self.files.as_ref().ok_or_else(|| permanent("this host sends no files".to_owned()))?;
        let path = spool.path_of(file);
        is_there(&path, &file.spooled).await.map_err(permanent)?;
        let mut as_photo = is_photo(file);
        loop {
            let unreadable = |error: std::io::Error| permanent(format!("its file cannot be read: {error}"));
            let mut content = tokio::fs::File::open(&path).await.map_err(unreadable)?;
            let size = usize::try_from(file.spooled.bytes).unwrap_or(usize::MAX);
            // The caller's own limit grows with the file.
            let uploaded = line.client.upload_stream(&mut content, size, file.name.clone()).await;
            let uploaded = uploaded.map_err(|error| match self.told(Trouble::of(error.into())) {
                // Nobody saw anything yet.
                Told::Not(SendError::Unknown { reason }) => Told::Not(SendError::Retry { reason, after: None }),
                told => told,
            })?;
            let media = media(uploaded.raw, file, as_photo);
            match call(&line.client, &file_message(peer.clone(), reply_to.clone(), media, caption, id)).await {
                // Too narrow, or of a kind that is none: it is a document then.
                Err(trouble) if as_photo && is_about_photos(trouble.word()) => as_photo = false,
                answer => return answer.map_err(|trouble| self.told(trouble)),
            }
        }
    }

    /// What a trouble means for a message; one about who we are is looked into.
    fn told(&self, trouble: Trouble) -> Told {
        if trouble.word() == "RANDOM_ID_DUPLICATE" {
            return Told::Sent;
        }
        if trouble.is_about_us() {
            self.doubted.notify_one();
        }
        match is_about_replies(trouble.word()) {
            true => Told::NoReply(trouble.for_send()),
            false => Told::Not(trouble.for_send()),
        }
    }
}

/// What Telegram says instead of telling the message.
enum Told {
    /// It was sent before.
    Sent,
    /// It does not take what is replied to, or the topic.
    NoReply(SendError),
    Not(SendError),
}

/// Whom to write to.
async fn input_peer(session: &BotSession, chat: &ChatId) -> Result<InputPeer, SendError> {
    let peer = peer_of(chat).ok_or_else(|| SendError::Permanent {
        reason: format!(
            "{chat} is no chat of Telegram's: what follows tg: is a number that `nanoclaw groups chats` shows"
        ),
    })?;
    let bare = peer.bare_id().unwrap_or_default();
    let hash = hash_of(session, peer).await.map_err(|trouble| trouble.for_send())?;
    // A bot may do without, where Telegram knows it to be in the chat.
    let access_hash = hash.unwrap_or_default();
    Ok(match peer.kind() {
        PeerKind::User => types::InputPeerUser { user_id: bare, access_hash }.into(),
        PeerKind::Chat => types::InputPeerChat { chat_id: bare }.into(),
        PeerKind::Channel => types::InputPeerChannel { channel_id: bare, access_hash }.into(),
    })
}

/// A supergroup to ask about; `None` when the database does not say.
pub(super) async fn input_channel(session: &BotSession, channel: PeerId) -> Option<enums::InputChannel> {
    let access_hash = hash_of(session, channel).await.ok()?.unwrap_or_default();
    Some(types::InputChannel { channel_id: channel.bare_id()?, access_hash }.into())
}

async fn hash_of(session: &BotSession, peer: PeerId) -> Result<Option<i64>, Trouble> {
    let known = session.peer(peer).await.map_err(super::feed::not_stored)?;
    Ok(known.and_then(|peer| peer.auth()).map(PeerAuth::hash))
}

/// The pieces in which a delivery goes out; none when it says nothing.
fn pieces(delivery: &Delivery) -> Vec<Piece> {
    let texts = messages(&delivery.text, Service::Telegram);
    match (&delivery.file, texts.as_slice()) {
        (None, _) => texts.into_iter().map(Piece::Text).collect(),
        (Some(_), []) => vec![Piece::File(None)],
        (Some(_), [caption]) if caption.text.encode_utf16().count() <= LONGEST_CAPTION => {
            vec![Piece::File(Some(caption.clone()))]
        }
        (Some(_), _) => texts.into_iter().map(Piece::Text).chain([Piece::File(None)]).collect(),
    }
}

/// What a piece replies to, in the order in which it is tried: the message, the topic in which that was said, neither. Only the first
/// piece replies to the message.
fn places(delivery: &Delivery, place: usize) -> Vec<Option<InputReplyTo>> {
    // That of a change of a message is the message itself.
    let number = |id: &PlatformMessageId| id.as_str().split('/').next()?.parse::<i32>().ok();
    let topic = delivery.answered.thread.as_ref().and_then(number);
    let message = delivery.answered.reply_to.as_ref().and_then(|reply_to| number(&reply_to.id));
    let message = message.filter(|_| place == 0).map(|message| reply_to(message, topic));
    message.into_iter().chain(topic.map(|topic| reply_to(topic, None))).map(Some).chain([None]).collect()
}

fn reply_to(message: i32, topic: Option<i32>) -> InputReplyTo {
    let reply = types::InputReplyToMessage {
        reply_to_msg_id: message,
        top_msg_id: topic,
        reply_to_peer_id: None,
        quote_text: None,
        quote_entities: None,
        quote_offset: None,
        monoforum_peer_id: None,
        todo_item_id: None,
        poll_option: None,
    };
    reply.into()
}

fn is_about_replies(word: &str) -> bool {
    word.starts_with("REPLY_") || word.starts_with("TOPIC_") || word == "MSG_ID_INVALID"
}

/// The id of a piece: the same each time, and never zero, which is none.
fn random_id(key: &DeliveryKey, place: usize) -> i64 {
    let digest = sha2::Sha256::digest(format!("{key}/{place}"));
    let first = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    (first | 1).cast_signed()
}

fn message(
    peer: InputPeer,
    reply_to: Option<InputReplyTo>,
    text: &text::Piece,
    random_id: i64,
) -> functions::messages::SendMessage {
    functions::messages::SendMessage {
        no_webpage: false,
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer,
        reply_to,
        message: text.text.clone(),
        random_id,
        reply_markup: None,
        entities: entities(text),
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
        rich_message: None,
    }
}

fn file_message(
    peer: InputPeer,
    reply_to: Option<InputReplyTo>,
    media: InputMedia,
    caption: Option<&text::Piece>,
    random_id: i64,
) -> functions::messages::SendMedia {
    functions::messages::SendMedia {
        silent: false,
        background: false,
        clear_draft: false,
        noforwards: false,
        update_stickersets_order: false,
        invert_media: false,
        allow_paid_floodskip: false,
        peer,
        reply_to,
        media,
        message: caption.map(|caption| caption.text.clone()).unwrap_or_default(),
        random_id,
        reply_markup: None,
        entities: caption.and_then(entities),
        schedule_date: None,
        schedule_repeat_period: None,
        send_as: None,
        quick_reply_shortcut: None,
        effect: None,
        allow_paid_stars: None,
        suggested_post: None,
    }
}

fn media(file: enums::InputFile, outgoing: &OutgoingFile, as_photo: bool) -> InputMedia {
    if as_photo {
        let photo = types::InputMediaUploadedPhoto {
            spoiler: false,
            live_photo: false,
            file,
            stickers: None,
            ttl_seconds: None,
            video: None,
        };
        return photo.into();
    }
    let name = types::DocumentAttributeFilename { file_name: outgoing.name.clone() };
    let document = types::InputMediaUploadedDocument {
        nosound_video: false,
        force_file: true,
        spoiler: false,
        file,
        thumb: None,
        mime_type: outgoing.spooled.media_type.clone(),
        attributes: vec![DocumentAttribute::Filename(name)],
        stickers: None,
        video_cover: None,
        video_timestamp: None,
        ttl_seconds: None,
    };
    document.into()
}

fn is_photo(file: &OutgoingFile) -> bool {
    let kind = file.spooled.media_type.as_str();
    file.spooled.bytes <= LARGEST_PHOTO && ["image/jpeg", "image/png", "image/webp"].contains(&kind)
}

fn is_about_photos(word: &str) -> bool {
    word.starts_with("PHOTO_") || word == "IMAGE_PROCESS_FAILED"
}

fn entities(piece: &text::Piece) -> Option<Vec<MessageEntity>> {
    let entities: Vec<_> = piece.entities.iter().filter_map(entity).collect();
    (!entities.is_empty()).then_some(entities)
}

fn entity(entity: &Entity) -> Option<MessageEntity> {
    let (offset, length) = (i32::try_from(entity.offset).ok()?, i32::try_from(entity.length).ok()?);
    Some(match &entity.kind {
        EntityKind::Bold => types::MessageEntityBold { offset, length }.into(),
        EntityKind::Italic => types::MessageEntityItalic { offset, length }.into(),
        EntityKind::Strike => types::MessageEntityStrike { offset, length }.into(),
        EntityKind::Code => types::MessageEntityCode { offset, length }.into(),
        EntityKind::Pre { language } => types::MessageEntityPre { offset, length, language: language.clone() }.into(),
        EntityKind::TextLink { url } => types::MessageEntityTextUrl { offset, length, url: url.clone() }.into(),
        EntityKind::Blockquote => types::MessageEntityBlockquote { collapsed: false, offset, length }.into(),
    })
}

/// Telegram's id of the message that was sent with `random_id`.
fn id_of(updates: &Updates, random_id: i64) -> Option<i32> {
    let updates = match updates {
        Updates::UpdateShortSentMessage(sent) => return Some(sent.id),
        Updates::Updates(updates) => &updates.updates,
        Updates::Combined(updates) => &updates.updates,
        _ => return None,
    };
    updates.iter().find_map(|update| match update {
        Update::MessageId(told) if told.random_id == random_id => Some(told.id),
        _ => None,
    })
}

fn sent(out: &Out) -> Sent {
    let first = out.values().find(|id| !id.is_empty());
    Sent { platform_id: first.and_then(|id| PlatformMessageId::new(id).ok()) }
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::{
        attachment::{SpoolName, SpooledFile},
        delivery::{Answered, OutboxId},
        time::Timestamp,
    };

    use super::*;

    fn key() -> DeliveryKey {
        DeliveryKey::new("reply/family/1/1").unwrap()
    }

    fn delivery(text: &str, file: Option<&str>) -> Delivery {
        let spooled = SpooledFile { spool: SpoolName::new("00ff").unwrap(), media_type: "image/png".into(), bytes: 3 };
        Delivery {
            id: OutboxId(1),
            key: key(),
            chat: "tg:-4242".parse().unwrap(),
            text: text.to_owned(),
            file: file.map(|path| OutgoingFile::new("family".parse().unwrap(), path, spooled)),
            answered: Answered::default(),
            attempts: 0,
            posted_at: Timestamp::from_ms(0),
        }
    }

    #[test]
    fn a_short_text_is_one_piece_and_a_caption_goes_with_its_file() {
        let plain = |text: &str| text::Piece { text: text.to_owned(), entities: Vec::new() };
        assert_eq!(pieces(&delivery("hello", None)), [Piece::Text(plain("hello"))]);
        assert_eq!(pieces(&delivery("look", Some("a.png"))), [Piece::File(Some(plain("look")))]);
        assert_eq!(pieces(&delivery("", Some("a.png"))), [Piece::File(None)]);
        let long = pieces(&delivery(&"word ".repeat(300), Some("a.png")));
        assert!(long.len() == 2 && long.last() == Some(&Piece::File(None)), "{long:?}");
    }

    #[test]
    fn a_piece_has_the_same_id_each_time_and_none_that_another_has() {
        let id = random_id(&key(), 0);
        assert_eq!(id, random_id(&key(), 0));
        assert_ne!(id, random_id(&key(), 1));
        assert_ne!(id, random_id(&DeliveryKey::new("reply/family/1/2").unwrap(), 0));
        // Written down, because a host of the next version has to make the same of the same key.
        assert_eq!(id, -5_551_793_082_710_411_769);
    }

    #[test]
    fn what_markdown_says_is_said_beside_the_text() {
        let pieces = messages("**b** and `c`", Service::Telegram);
        let expected: Vec<MessageEntity> = vec![
            types::MessageEntityBold { offset: 0, length: 1 }.into(),
            types::MessageEntityCode { offset: 6, length: 1 }.into(),
        ];
        assert_eq!((pieces[0].text.as_str(), entities(&pieces[0])), ("b and c", Some(expected)));
        assert_eq!(entities(&messages("plain", Service::Telegram)[0]), None);
    }

    #[test]
    fn a_picture_is_a_photo_until_it_is_too_large() {
        let mut file = delivery("", Some("a.png")).file.unwrap();
        assert!(is_photo(&file));
        file.spooled.bytes = LARGEST_PHOTO + 1;
        assert!(!is_photo(&file));
    }

    #[test]
    fn the_id_of_a_message_is_told_by_ours() {
        let told = |id, random_id| Update::MessageId(types::UpdateMessageId { id, random_id });
        let updates =
            types::Updates { updates: vec![told(1, 5), told(2, 6)], users: vec![], chats: vec![], date: 0, seq: 0 };
        let updates = Updates::Updates(updates);
        assert_eq!((id_of(&updates, 6), id_of(&updates, 7)), (Some(2), None));
        let out = Out::from([(0, String::new()), (1, "7".to_owned())]);
        assert_eq!(sent(&out).platform_id.unwrap().as_str(), "7");
    }
}
