//! What a client missed.

use std::collections::BTreeSet;

use grammers_tl_types::{
    functions::updates::{GetChannelDifference, GetDifference},
    types::{self as t, updates},
};

use crate::telegram::{
    changes::{News, Since},
    faults::Refusal,
    nouns::{Kind, Message, Sequence},
    objects,
    tl::{Object, Writer},
    world::{World, now},
};

/// Nothing here counts the news that are about no messages.
const SEQ: i32 = 1;

pub(super) fn state(world: &mut World) -> Object {
    let number = world.changes(Sequence::Common).last();
    state_at(number, world.secondary.last())
}

fn state_at(number: i32, secondary: i32) -> Object {
    Writer::of::<updates::State>().int(number).int(secondary).int(now()).int(SEQ).int(0).done()
}

/// What came after the numbers that the client knows, in private chats, in basic groups, and in news to bots; and which supergroups have
/// news of their own.
pub(super) fn difference(world: &mut World, call: &GetDifference) -> Result<Object, Refusal> {
    if call.pts <= 0 {
        return Err(Refusal::bad("PERSISTENT_TIMESTAMP_EMPTY"));
    }
    let slice = world.slice.min(call.pts_limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(1)));
    let news = match world.changes(Sequence::Common).since(call.pts, slice) {
        Since::TooLong => {
            let number = world.changes(Sequence::Common).last();
            return Ok(Writer::of::<updates::DifferenceTooLong>().int(number).done());
        }
        Since::News(news) => news,
    };
    let (secondary, to_bots) = match world.secondary.since(call.qts, usize::MAX) {
        Since::News(News { other, reached, .. }) => (reached, other),
        Since::TooLong => (world.secondary.last(), Vec::new()),
    };
    let mut other = changed(world, Sequence::Common, &news);
    other.extend(to_bots);
    let channels = world.channels_changed_since(call.date);
    let too_long = |id: &i64| Writer::of::<t::UpdateChannelTooLong>().flags(&[]).long(*id).done();
    other.extend(channels.iter().map(too_long));
    let messages = messages(world, Sequence::Common, &news);
    if messages.is_empty() && other.is_empty() && news.reached == call.pts {
        return Ok(Writer::of::<updates::DifferenceEmpty>().int(now()).int(SEQ).done());
    }
    let (users, mut chats) = world.peers_of(messages.iter().copied());
    // News of groups that no message is of name them as well.
    let named: BTreeSet<i64> = messages.iter().map(|message| message.chat).collect();
    let others = world.places.keys().copied().filter(|chat| *chat < 0 && !named.contains(chat));
    if !other.is_empty() {
        chats.extend(world.place_objects(others.collect::<Vec<_>>()));
    }
    let messages: Vec<Object> = messages.into_iter().map(|message| world.message_object(message)).collect();
    let difference = match news.complete {
        true => Writer::of::<updates::Difference>(),
        false => Writer::of::<updates::DifferenceSlice>(),
    };
    let state = state_at(news.reached, secondary);
    Ok(difference.list(&messages).list(&[]).list(&other).list(&chats).list(&users).object(&state).done())
}

/// The same in one supergroup.
pub(super) fn channel_difference(world: &mut World, call: &GetChannelDifference) -> Result<Object, Refusal> {
    let chat = world.supergroup_of(&call.channel)?;
    if call.pts <= 0 {
        return Err(Refusal::bad("PERSISTENT_TIMESTAMP_EMPTY"));
    }
    let sequence = Kind::of(chat).sequence();
    let slice = world.slice.min(usize::try_from(call.limit).unwrap_or(1));
    let news = match world.changes(sequence).since(call.pts, slice) {
        Since::TooLong => return Ok(channel_too_long(world, chat)),
        Since::News(news) => news,
    };
    if news.reached <= call.pts {
        return Ok(Writer::of::<updates::ChannelDifferenceEmpty>().flags(&[(0, true)]).int(news.reached).done());
    }
    let messages = messages(world, sequence, &news);
    let other = changed(world, sequence, &news);
    let (users, _) = world.peers_of(messages.iter().copied());
    let chats = world.place_objects([chat]);
    let messages: Vec<Object> = messages.into_iter().map(|message| world.message_object(message)).collect();
    let difference = Writer::of::<updates::ChannelDifference>().flags(&[(0, news.complete)]).int(news.reached);
    Ok(difference.list(&messages).list(&other).list(&chats).list(&users).done())
}

fn channel_too_long(world: &mut World, chat: i64) -> Object {
    let number = world.changes(Kind::of(chat).sequence()).last();
    let settings = Writer::of::<t::PeerNotifySettings>().flags(&[]).done();
    let dialog = Writer::of::<t::Dialog>().flags(&[(0, true)]).object(&objects::peer(chat));
    let dialog = (0..7).fold(dialog, |dialog, _| dialog.int(0)).object(&settings).int(number).done();
    let difference = Writer::of::<updates::ChannelDifferenceTooLong>().flags(&[(0, true)]).object(&dialog);
    difference.list(&[]).list(&world.place_objects([chat])).list(&[]).done()
}

fn messages<'a>(world: &'a World, sequence: Sequence, news: &News) -> Vec<&'a Message> {
    news.messages.iter().filter_map(|id| world.messages.get(&(sequence, *id))).collect()
}

/// Edits and removals, as updates.
fn changed(world: &World, sequence: Sequence, news: &News) -> Vec<Object> {
    let edited = news.edited.iter().filter_map(|(id, number)| {
        let message = world.message_object(world.messages.get(&(sequence, *id))?);
        Some(objects::edited_message(sequence, &message, *number))
    });
    let deleted = news.deleted.iter().map(|(number, ids)| objects::deleted_messages(sequence, ids, *number));
    edited.chain(deleted).collect()
}
