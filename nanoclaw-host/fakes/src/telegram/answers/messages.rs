//! What the client says, and asks of what was said.

use grammers_tl_types::{
    enums::{InputChannel, InputMessage, InputReplyTo, MessageEntity, SendMessageAction},
    functions::messages as f,
    types::{self as t, messages},
};

use super::files;
use crate::telegram::{
    FakeTelegram,
    changes::Change,
    entities::{self, Entity},
    faults::Refusal,
    nouns::{Kind, Message, Sequence},
    objects,
    people::blank,
    seen::Sent,
    tl::{Object, Writer, boolean},
    world::{World, now},
};

/// The longest text, in UTF-16 code units.
const LONGEST_TEXT: usize = 4096;
/// The longest caption.
const LONGEST_CAPTION: usize = 1024;

pub(super) fn send_message(world: &mut World, call: &f::SendMessage) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    if let Some(repeat) = repeat(world, chat, call.random_id)? {
        return Ok(repeat);
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
    if let Some(repeat) = repeat(world, chat, call.random_id)? {
        return Ok(repeat);
    }
    if entities::length(&call.message) > LONGEST_CAPTION {
        return Err(Refusal::bad("MEDIA_CAPTION_TOO_LONG"));
    }
    let message = said(world, chat, &call.message, call.entities.as_deref(), call.reply_to.as_ref())?;
    let file = files::of_media(world, &call.media)?;
    let message = Message { file: Some(file), ..message };
    let (id, number) = send(world, message, call.random_id, false);
    Ok(in_full(world, chat, id, call.random_id, number, 1))
}

/// What was sent in this chat under this random id. Such a message is not sent again, however long ago the first was, and its number does
/// not rise.
///
/// *Source*: core.telegram.org/api/updates, "updateMessageID updates".
fn repeat(world: &mut World, chat: i64, random_id: i64) -> Result<Option<Object>, Refusal> {
    if random_id == 0 {
        return Err(Refusal::bad("RANDOM_ID_EMPTY"));
    }
    if world.in_progress.contains(&(chat, random_id)) {
        return Err(Refusal::new(500, "RANDOM_ID_DUPLICATE"));
    }
    let Some((id, number)) = world.random_ids.get(&(chat, random_id)).copied() else { return Ok(None) };
    world.seen.repeats += 1;
    Ok(Some(in_full(world, chat, id, random_id, number, 0)))
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
    let reply_to = match reply_to {
        None => None,
        Some(InputReplyTo::Message(message)) => Some(message.reply_to_msg_id),
        Some(_) => return Err(Refusal::bad("REPLY_TO_INVALID")),
    };
    if reply_to.is_some_and(|id| world.message(chat, id).is_none()) {
        return Err(Refusal::bad("REPLY_MESSAGE_ID_INVALID"));
    }
    let formatted = formatted(world, text, entities.unwrap_or_default())?;
    Ok(Message { text: text.to_owned(), entities: formatted, reply_to, ..blank(chat, FakeTelegram::BOT_ID) })
}

fn may_write(world: &World, chat: i64) -> Result<(), Refusal> {
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
fn formatted(world: &World, text: &str, entities: &[MessageEntity]) -> Result<Vec<MessageEntity>, Refusal> {
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

fn in_full(world: &World, chat: i64, id: i32, random_id: i64, number: i32, count: i32) -> Object {
    let message = world.message(chat, id);
    let mut news = vec![Writer::of::<t::UpdateMessageId>().int(id).long(random_id).done()];
    let new = |message| objects::new_message(Kind::of(chat).sequence(), &world.message_object(message), number, count);
    news.extend(message.map(new));
    let (users, chats) = world.peers_of(message.into_iter());
    objects::updates(&news, &users, &chats, now())
}

pub(super) fn edit(world: &mut World, call: &f::EditMessage) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    may_write(world, chat)?;
    let text = call.message.clone().unwrap_or_default();
    let formatted = formatted(world, &text, call.entities.as_deref().unwrap_or_default())?;
    let sequence = Kind::of(chat).sequence();
    let message = world.messages.get_mut(&(sequence, call.id)).filter(|message| message.chat == chat);
    let message = message.ok_or(Refusal::bad("MESSAGE_ID_INVALID"))?;
    match () {
        () if !message.is_outgoing() => return Err(Refusal::new(403, "MESSAGE_AUTHOR_REQUIRED")),
        () if text.is_empty() => return Err(Refusal::bad("MESSAGE_EMPTY")),
        () if message.text == text && message.entities == formatted => {
            return Err(Refusal::bad("MESSAGE_NOT_MODIFIED"));
        }
        () => {}
    }
    (message.text, message.entities, message.edited) = (text.clone(), formatted, Some(now()));
    let message = message.clone();
    world.seen.edits.push((chat, call.id, text));
    let number = world.changes(sequence).add(Change::Edited(call.id), now());
    let update = objects::edited_message(sequence, &world.message_object(&message), number);
    let (users, chats) = world.peers_of([&message].into_iter());
    Ok(objects::updates(&[update], &users, &chats, now()))
}

pub(super) fn delete(world: &mut World, ids: &[i32]) -> Result<Object, Refusal> {
    Ok(removed(world, Sequence::Common, ids))
}

pub(super) fn delete_of_channel(world: &mut World, channel: &InputChannel, ids: &[i32]) -> Result<Object, Refusal> {
    let chat = world.supergroup_of(channel)?;
    Ok(removed(world, Kind::of(chat).sequence(), ids))
}

fn removed(world: &mut World, sequence: Sequence, ids: &[i32]) -> Object {
    let there = |id: &i32| world.messages.contains_key(&(sequence, *id));
    let ids: Vec<i32> = ids.iter().copied().filter(there).collect();
    world.messages.retain(|(of, id), _| *of != sequence || !ids.contains(id));
    // Lists are of what a client named.
    let count = ids.len() as i32;
    let number = match count {
        0 => world.changes(sequence).last(),
        _ => world.changes(sequence).add(Change::Deleted(ids), now()),
    };
    Writer::of::<messages::AffectedMessages>().int(number).int(count).done()
}

pub(super) fn set_typing(world: &mut World, call: &f::SetTyping) -> Result<Object, Refusal> {
    let chat = world.chat_of(&call.peer)?;
    may_write(world, chat)?;
    world.seen.actions.push((chat, name_of(&call.action)));
    Ok(boolean(true))
}

/// The name of an action, without what it says.
fn name_of(action: &SendMessageAction) -> String {
    let shown = format!("{action:?}");
    shown.chars().take_while(|c| c.is_alphanumeric()).collect()
}

pub(super) fn get(world: &mut World, ids: &[InputMessage]) -> Result<Object, Refusal> {
    let (found, users, chats) = found(world, Sequence::Common, ids);
    Ok(Writer::of::<messages::Messages>().list(&found).list(&[]).list(&chats).list(&users).done())
}

pub(super) fn get_of_channel(
    world: &mut World,
    channel: &InputChannel,
    ids: &[InputMessage],
) -> Result<Object, Refusal> {
    let sequence = Kind::of(world.supergroup_of(channel)?).sequence();
    let number = world.changes(sequence).last();
    let (found, users, chats) = found(world, sequence, ids);
    // Lists are of what a client named.
    let messages = Writer::of::<messages::ChannelMessages>().flags(&[]).int(number).int(found.len() as i32);
    Ok(messages.list(&found).list(&[]).list(&chats).list(&users).done())
}

/// The messages of a sequence, an empty one for each that is not there, with whom they are about.
fn found(world: &World, sequence: Sequence, ids: &[InputMessage]) -> (Vec<Object>, Vec<Object>, Vec<Object>) {
    let mut messages = Vec::new();
    let mut objects = Vec::new();
    for id in ids {
        let id = match id {
            InputMessage::Id(message) => Some(message.id),
            // The message that this one answers.
            InputMessage::ReplyTo(message) => {
                world.messages.get(&(sequence, message.id)).and_then(|message| message.reply_to)
            }
            _ => None,
        };
        match id.and_then(|id| world.messages.get(&(sequence, id))) {
            Some(message) => {
                messages.push(message);
                objects.push(world.message_object(message));
            }
            None => objects.push(Writer::of::<t::MessageEmpty>().flags(&[]).int(id.unwrap_or_default()).done()),
        }
    }
    let (users, chats) = world.peers_of(messages.into_iter());
    (objects, users, chats)
}
