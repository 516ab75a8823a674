//! What the client says.

use grammers_tl_types::{
    enums::{InputMedia, InputReplyTo, InputSingleMedia, MessageEntity},
    functions::messages as f,
    types as t,
};

use super::files;
use crate::telegram::{
    FakeTelegram,
    entities::{self, Entity},
    faults::Refusal,
    nouns::{Kind, Message},
    objects,
    people::blank,
    seen::Sent,
    tl::{Object, Writer},
    world::{World, now},
};

/// The longest text, in UTF-16 code units.
const LONGEST_TEXT: usize = 4096;
/// The longest caption.
const LONGEST_CAPTION: usize = 1024;

pub(super) fn send_message(world: &mut World, call: &f::SendMessage) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    if let Some((id, number)) = sent_before(world, chat, call.random_id)? {
        return Ok(in_full(world, chat, id, call.random_id, number, 0));
    }
    if call.message.is_empty() {
        return Err(Refusal::bad("MESSAGE_EMPTY"));
    }
    if entities::length(&call.message) > LONGEST_TEXT {
        return Err(Refusal::bad("MESSAGE_TOO_LONG"));
    }
    let message = said(world, chat, &call.message, call.entities.as_deref(), call.reply_to.as_ref())?;
    let (id, number) = send(world, message, call.random_id, call.no_webpage);
    // Telegram tells of messages to a person in short: not what was written, which the client knows.
    match (Kind::of(chat), world.message(chat, id)) {
        (Kind::Private(_), Some(message)) => Ok(in_short(message, number)),
        _ => Ok(in_full(world, chat, id, call.random_id, number, 1)),
    }
}

pub(super) fn send_media(world: &mut World, call: &f::SendMedia) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    if let Some((id, number)) = sent_before(world, chat, call.random_id)? {
        return Ok(in_full(world, chat, id, call.random_id, number, 0));
    }
    let (text, entities) = (&call.message, call.entities.as_deref());
    let message = with_file(world, chat, &call.media, text, entities, call.reply_to.as_ref())?;
    let (id, number) = send(world, message, call.random_id, false);
    Ok(in_full(world, chat, id, call.random_id, number, 1))
}

/// Several files that are shown as one message.
pub(super) fn send_album(world: &mut World, call: &f::SendMultiMedia) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    let (mut told, mut messages) = (Vec::new(), Vec::new());
    for InputSingleMedia::Media(single) in &call.multi_media {
        if let Some((id, number)) = sent_before(world, chat, single.random_id)? {
            told.push(of_message(world, chat, id, single.random_id, number, 0));
            continue;
        }
        let (text, entities) = (&single.message, single.entities.as_deref());
        let message = with_file(world, chat, &single.media, text, entities, call.reply_to.as_ref())?;
        messages.push((message, single.random_id));
    }
    let album = messages.first().map(|(_, random_id)| *random_id);
    for (message, random_id) in messages {
        let (id, number) = send(world, Message { album, ..message }, random_id, false);
        told.push(of_message(world, chat, id, random_id, number, 1));
    }
    let news: Vec<Object> = told.iter().flat_map(|told| told.news.clone()).collect();
    // They are all about the same.
    let (users, chats) = told.pop().map(|told| (told.users, told.chats)).unwrap_or_default();
    Ok(objects::updates(&news, &users, &chats, now()))
}

/// What was sent in this chat under this random id, with its number. Such a message is not sent again, however long ago the first was: what
/// is answered is the first, and the number does not rise.
///
/// *Source*: core.telegram.org/api/updates, "updateMessageID updates".
fn sent_before(world: &mut World, chat: i64, random_id: i64) -> Result<Option<(i32, i32)>, Refusal> {
    if random_id == 0 {
        return Err(Refusal::bad("RANDOM_ID_EMPTY"));
    }
    if world.in_progress.contains(&(chat, random_id)) {
        return Err(Refusal::new(500, "RANDOM_ID_DUPLICATE"));
    }
    let sent = world.random_ids.get(&(chat, random_id)).copied();
    world.seen.repeats += usize::from(sent.is_some());
    Ok(sent)
}

/// The message that the bot says, if it may.
fn said(
    world: &World,
    chat: i64,
    text: &str,
    entities: Option<&[MessageEntity]>,
    reply_to: Option<&InputReplyTo>,
) -> Result<Message, Refusal> {
    may_write(world, chat)?;
    let (reply_to, topic) = match reply_to {
        None => (None, None),
        Some(InputReplyTo::Message(reply)) => {
            let id = reply.reply_to_msg_id;
            let Some(answered) = world.message(chat, id) else { return Err(Refusal::bad("REPLY_MESSAGE_ID_INVALID")) };
            if reply.top_msg_id.is_some_and(|topic| !world.is_topic(chat, topic)) {
                return Err(Refusal::bad("TOPIC_DELETED"));
            }
            // Whoever replies to a topic's first message writes in the topic.
            match world.is_topic(chat, id) {
                true => (None, Some(id)),
                false => (Some(id), reply.top_msg_id.or(answered.topic)),
            }
        }
        Some(_) => return Err(Refusal::bad("REPLY_TO_INVALID")),
    };
    let formatted = formatted(world, text, entities.unwrap_or_default())?;
    Ok(Message { text: text.to_owned(), entities: formatted, reply_to, topic, ..blank(chat, FakeTelegram::BOT_ID) })
}

/// The same with a file.
fn with_file(
    world: &mut World,
    chat: i64,
    media: &InputMedia,
    caption: &str,
    entities: Option<&[MessageEntity]>,
    reply_to: Option<&InputReplyTo>,
) -> Result<Message, Refusal> {
    if entities::length(caption) > LONGEST_CAPTION {
        return Err(Refusal::bad("MEDIA_CAPTION_TOO_LONG"));
    }
    let message = said(world, chat, caption, entities, reply_to)?;
    let file = files::of_media(world, media)?;
    Ok(Message { file: Some(file), ..message })
}

pub(super) fn may_write(world: &World, chat: i64) -> Result<(), Refusal> {
    let place = world.places.get(&chat).ok_or(Refusal::bad("PEER_ID_INVALID"))?;
    let blocks = world.users.get(&chat).is_some_and(|user| user.blocks_bot);
    match Kind::of(chat) {
        Kind::Private(_) if blocks => Err(Refusal::bad("USER_IS_BLOCKED")),
        Kind::Group(_) if place.became.is_some() => Err(Refusal::bad("PEER_ID_INVALID")),
        Kind::Group(_) if !place.bot_is_in => Err(Refusal::new(403, "CHAT_WRITE_FORBIDDEN")),
        Kind::Supergroup(_) if !place.bot_is_in => Err(Refusal::bad("CHANNEL_PRIVATE")),
        _ => Ok(()),
    }
}

/// What stands out, as it is shown: mentions are of people, not of what a client says of them.
pub(super) fn formatted(world: &World, text: &str, entities: &[MessageEntity]) -> Result<Vec<MessageEntity>, Refusal> {
    let end = entities::length(text) as i64;
    let mut formatted = Vec::new();
    for entity in entities {
        let (offset, length) = (i64::from(entity.offset()), i64::from(entity.length()));
        if offset < 0 || length <= 0 || offset + length > end {
            return Err(Refusal::bad("ENTITY_BOUNDS_INVALID"));
        }
        formatted.push(match entity {
            MessageEntity::InputMessageEntityMentionName(mention) => {
                let user = world.user_of(&mention.user_id).ok_or(Refusal::bad("USER_ID_INVALID"))?;
                let (offset, length) = (mention.offset, mention.length);
                t::MessageEntityMentionName { offset, length, user_id: user.id }.into()
            }
            other => other.clone(),
        });
    }
    Ok(formatted)
}

fn send(world: &mut World, message: Message, random_id: i64, no_webpage: bool) -> (i32, i32) {
    let chat = message.chat;
    let mut sent = Sent {
        chat,
        id: 0,
        text: message.text.clone(),
        entities: message.entities.iter().map(Entity::of).collect(),
        reply_to: message.reply_to,
        topic: message.topic,
        file: message.file.and_then(|id| world.files.get(id)).cloned(),
        random_id,
        no_webpage,
    };
    let (id, number) = world.keep(message);
    sent.id = id;
    world.seen.sent.push(sent);
    world.random_ids.insert((chat, random_id), (id, number));
    (id, number)
}

fn in_short(message: &Message, number: i32) -> Object {
    let entities = (!message.entities.is_empty()).then_some(&message.entities);
    let short = Writer::of::<t::UpdateShortSentMessage>().flags(&[(1, true), (7, entities.is_some())]);
    short.int(message.id).int(number).int(1).int(message.date).maybe(entities, Writer::put).done()
}

/// What is told of a message that was sent.
struct Told {
    news: Vec<Object>,
    users: Vec<Object>,
    chats: Vec<Object>,
}

fn of_message(world: &World, chat: i64, id: i32, random_id: i64, number: i32, count: i32) -> Told {
    let message = world.message(chat, id);
    let mut news = vec![Writer::of::<t::UpdateMessageId>().int(id).long(random_id).done()];
    let new = |message| objects::new_message(Kind::of(chat).sequence(), &world.message_object(message), number, count);
    news.extend(message.map(new));
    let (users, chats) = world.peers_of(message.into_iter());
    Told { news, users, chats }
}

fn in_full(world: &World, chat: i64, id: i32, random_id: i64, number: i32, count: i32) -> Object {
    let told = of_message(world, chat, id, random_id, number, count);
    objects::updates(&told.news, &told.users, &told.chats, now())
}
