//! Groups that the client asks about, and leaves.

use grammers_tl_types::{
    enums::{InputChannel, InputPeer, InputUser},
    types::{self as t, channels, messages},
};

use crate::telegram::{
    FakeTelegram,
    faults::Refusal,
    nouns::Kind,
    objects,
    tl::{Object, Writer},
    world::{World, now},
};

pub(super) fn groups(world: &World, ids: &[i64]) -> Object {
    Writer::of::<messages::Chats>().list(&world.place_objects(ids.iter().map(|id| -id))).done()
}

pub(super) fn supergroups(world: &World, ids: &[InputChannel]) -> Result<Object, Refusal> {
    let mut chats = Vec::new();
    for id in ids {
        match world.supergroup_of(id) {
            Ok(chat) => chats.push(chat),
            // It is told as one that the bot may not see.
            Err(refusal) if refusal.name == "CHANNEL_PRIVATE" => {
                if let InputChannel::Channel(channel) = id {
                    chats.push(FakeTelegram::SUPERGROUP - channel.channel_id);
                }
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(Writer::of::<messages::Chats>().list(&world.place_objects(chats)).done())
}

pub(super) fn full_group(world: &World, id: i64) -> Result<Object, Refusal> {
    let chat = -id;
    let place = world.places.get(&chat).ok_or(Refusal::bad("CHAT_ID_INVALID"))?;
    let member = |user: &i64| Writer::of::<t::ChatParticipant>().flags(&[]).long(*user).long(*user).int(now()).done();
    let mut ids: Vec<i64> = place.members.iter().copied().collect();
    ids.extend(place.bot_is_in.then_some(FakeTelegram::BOT_ID));
    let members: Vec<Object> = ids.iter().map(member).collect();
    let members = Writer::of::<t::ChatParticipants>().long(id).list(&members).int(1).done();
    let full = Writer::of::<t::ChatFull>().flags(&[]).long(id).text("").object(&members).object(&settings()).done();
    Ok(full_chat(world, &full, chat, ids))
}

pub(super) fn full_supergroup(world: &mut World, channel: &InputChannel) -> Result<Object, Refusal> {
    let chat = world.supergroup_of(channel)?;
    let sequence = Kind::of(chat).sequence();
    let number = world.changes(sequence).last();
    let (Kind::Supergroup(id) | Kind::Group(id) | Kind::Private(id)) = Kind::of(chat);
    let photo = Writer::of::<t::PhotoEmpty>().long(0).done();
    let full = Writer::of::<t::ChannelFull>().flags(&[]).flags(&[]).long(id).text("").int(0).int(0).int(0);
    let full = full.object(&photo).object(&settings()).list(&[]).int(number).done();
    Ok(full_chat(world, &full, chat, Vec::new()))
}

fn full_chat(world: &World, full: &Object, chat: i64, users: Vec<i64>) -> Object {
    let (chats, users) = (world.place_objects([chat]), world.user_objects(users));
    Writer::of::<messages::ChatFull>().object(full).list(&chats).list(&users).done()
}

fn settings() -> Object {
    Writer::of::<t::PeerNotifySettings>().flags(&[]).done()
}

/// How somebody is in a supergroup.
pub(super) fn participant(world: &World, channel: &InputChannel, who: &InputPeer) -> Result<Object, Refusal> {
    let chat = world.supergroup_of(channel)?;
    let (user, participant) = match who {
        InputPeer::PeerSelf => {
            let bot = FakeTelegram::BOT_ID;
            (bot, Writer::of::<t::ChannelParticipantSelf>().flags(&[]).long(bot).long(bot).int(now()))
        }
        InputPeer::User(user) if world.places.get(&chat).is_some_and(|place| place.members.contains(&user.user_id)) => {
            (user.user_id, Writer::of::<t::ChannelParticipant>().flags(&[]).long(user.user_id).int(now()))
        }
        _ => return Err(Refusal::bad("USER_NOT_PARTICIPANT")),
    };
    let (chats, users) = (world.place_objects([chat]), world.user_objects([user]));
    let answer = Writer::of::<channels::ChannelParticipant>().object(&participant.done());
    Ok(answer.list(&chats).list(&users).done())
}

pub(super) fn leave_group(world: &mut World, id: i64, user: &InputUser) -> Result<Object, Refusal> {
    let chat = -id;
    let place = world.places.get_mut(&chat).ok_or(Refusal::bad("CHAT_ID_INVALID"))?;
    if !matches!(user, InputUser::UserSelf) {
        return Err(Refusal::bad("CHAT_ADMIN_REQUIRED"));
    }
    place.bot_is_in = false;
    Ok(objects::updates(&[], &[], &world.place_objects([chat]), now()))
}

pub(super) fn leave_supergroup(world: &mut World, channel: &InputChannel) -> Result<Object, Refusal> {
    let chat = world.supergroup_of(channel)?;
    if let Some(place) = world.places.get_mut(&chat) {
        place.bot_is_in = false;
    }
    Ok(objects::updates(&[], &[], &world.place_objects([chat]), now()))
}
