//! What the client does with messages that are there: changes them, removes them, asks for them; and that it is about to write.

use grammers_tl_types::{
    enums::{InputChannel, InputMessage, SendMessageAction},
    functions::messages as f,
    types::{self as t, messages},
};

use super::messages::{formatted, may_write};
use crate::telegram::{
    changes::Change,
    faults::Refusal,
    nouns::{Kind, Sequence},
    objects,
    tl::{Object, Writer, boolean},
    world::{World, now},
};

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
    world.seen.actions.push((chat, call.top_msg_id, name_of(&call.action)));
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
