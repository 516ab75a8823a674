//! People, places and messages as they are on the wire.

use grammers_tl_types::types as t;

use super::{
    FakeTelegram,
    files::{File, FileKind, Files},
    nouns::{Action, Kind, Message, Place, Sequence, User, access_hash},
    tl::{Object, Writer, empty},
};

/// The size of a photo that is the photo itself, and the one that is a small picture of it.
const WHOLE: &str = "y";
const SMALL: &str = "m";
/// What is in the small picture, whatever the photo is.
const SMALL_CONTENT: &[u8] = b"a small picture";

pub(super) fn user(user: &User) -> Object {
    let is_self = user.id == FakeTelegram::BOT_ID;
    let flags = [(0, true), (1, true), (3, user.username.is_some()), (10, is_self), (14, user.is_bot)];
    let written = Writer::of::<t::User>().flags(&flags).flags(&[]).long(user.id).long(access_hash(user.id));
    let named = written.text(&user.name).maybe(user.username.as_deref(), |writer, name| writer.text(name));
    named.maybe(user.is_bot.then_some(1), Writer::int).done()
}

/// A group as those in it see it, and as the bot sees it when it is not in it; `None` for a private chat, which is no object.
pub(super) fn place(chat: i64, place: &Place, now: i32) -> Option<Object> {
    let members = place.members.len() + usize::from(place.bot_is_in);
    let object = match (Kind::of(chat), place.bot_is_in) {
        (Kind::Private(_), _) => return None,
        (Kind::Group(id), false) if place.became.is_none() => {
            Writer::of::<t::ChatForbidden>().long(id).text(&place.title)
        }
        (Kind::Group(id), _) => {
            let became = place.became.map(Kind::of);
            let flags = [(5, became.is_some()), (6, became.is_some())];
            let written = Writer::of::<t::Chat>().flags(&flags).long(id).text(&place.title);
            // A test's group has few members.
            let written = written.object(&empty::<t::ChatPhotoEmpty>()).int(members as i32).int(now).int(1);
            written.maybe(became, |writer, became| match became {
                Kind::Private(id) | Kind::Group(id) | Kind::Supergroup(id) => writer.object(&input_channel(id)),
            })
        }
        (Kind::Supergroup(id), false) => {
            let written = Writer::of::<t::ChannelForbidden>().flags(&[(8, true)]);
            written.long(id).long(access_hash(id)).text(&place.title)
        }
        (Kind::Supergroup(id), true) => {
            let written = Writer::of::<t::Channel>().flags(&[(8, true), (13, true)]).flags(&[]);
            let written = written.long(id).long(access_hash(id)).text(&place.title);
            written.object(&empty::<t::ChatPhotoEmpty>()).int(now)
        }
    };
    Some(object.done())
}

fn input_channel(id: i64) -> Object {
    Writer::of::<t::InputChannel>().long(id).long(access_hash(id)).done()
}

pub(super) fn peer(chat: i64) -> Object {
    match Kind::of(chat) {
        Kind::Private(id) => Writer::of::<t::PeerUser>().long(id).done(),
        Kind::Group(id) => Writer::of::<t::PeerChat>().long(id).done(),
        Kind::Supergroup(id) => Writer::of::<t::PeerChannel>().long(id).done(),
    }
}

pub(super) fn message(message: &Message, files: &Files) -> Object {
    match &message.action {
        Some(action) => service_message(message, action),
        None => written_message(message, files),
    }
}

fn written_message(message: &Message, files: &Files) -> Object {
    let file = message.file.and_then(|id| Some(media(id, files.get(id)?, files, message.date)));
    let media = file.or_else(|| message.media.clone());
    // In a private chat only what the bot itself wrote says who wrote it.
    let from = (message.is_outgoing() || message.chat < 0).then_some(message.from);
    let flags = [
        (1, message.is_outgoing()),
        (2, message.forwarded_from.is_some()),
        (3, message.reply_to.or(message.topic).is_some()),
        (4, message.mentions_bot),
        (7, !message.entities.is_empty()),
        (8, from.is_some()),
        (9, media.is_some()),
        (15, message.edited.is_some()),
        (17, message.album.is_some()),
    ];
    let entities = (!message.entities.is_empty()).then_some(&message.entities);
    let written = Writer::of::<t::Message>().flags(&flags).flags(&[]).int(message.id);
    let written = written.maybe(from, |writer, from| writer.object(&peer(from))).object(&peer(message.chat));
    let written = written.maybe(message.forwarded_from.as_deref(), |writer, name| {
        writer.id(id_of::<t::MessageFwdHeader>()).flags(&[(5, true)]).text(name).int(message.date)
    });
    // What replies to none in its topic names the topic.
    let top = message.topic.filter(|_| message.reply_to.is_some());
    let written = written.maybe(message.reply_to.or(message.topic), |writer, reply_to| {
        let flags = [(1, top.is_some()), (3, message.topic.is_some()), (4, true)];
        writer.id(id_of::<t::MessageReplyHeader>()).flags(&flags).int(reply_to).maybe(top, Writer::int)
    });
    let written = written.int(message.date).text(&message.text);
    let written = written.maybe(media, |writer, media| writer.object(&media));
    let written = written.maybe(entities, Writer::put);
    written.maybe(message.edited, Writer::int).maybe(message.album, Writer::long).done()
}

fn service_message(message: &Message, action: &Action) -> Object {
    let flags = [(1, message.is_outgoing()), (8, true)];
    let written = Writer::of::<t::MessageService>().flags(&flags).int(message.id).object(&peer(message.from));
    let written = written.object(&peer(message.chat)).int(message.date);
    let written = match action {
        Action::Added(user) => written.id(id_of::<t::MessageActionChatAddUser>()).put(&vec![*user]),
        Action::Removed(user) => written.id(id_of::<t::MessageActionChatDeleteUser>()).long(*user),
        Action::Renamed(title) => written.id(id_of::<t::MessageActionChatEditTitle>()).text(title),
        Action::BecameSupergroup(id) => written.id(id_of::<t::MessageActionChatMigrateTo>()).long(*id),
        Action::WasGroup(id, title) => written.id(id_of::<t::MessageActionChannelMigrateFrom>()).text(title).long(*id),
    };
    written.done()
}

fn id_of<T: grammers_tl_types::Identifiable>() -> u32 {
    T::CONSTRUCTOR_ID
}

/// What a message tells of its file.
pub(super) fn media(id: i64, file: &File, files: &Files, date: i32) -> Object {
    // Files here are smaller than 2 GiB.
    let size = file.content.len() as i32;
    if file.kind == FileKind::Photo {
        let size_of = |kind: &str, wide: i32, size: i32| {
            Writer::of::<t::PhotoSize>().text(kind).int(wide).int(wide).int(size).done()
        };
        let sizes = [size_of(SMALL, 90, SMALL_CONTENT.len() as i32), size_of(WHOLE, 1280, size)];
        let photo = Writer::of::<t::Photo>().flags(&[]).long(id).long(access_hash(id)).bytes(&files.reference());
        let photo = photo.int(date).list(&sizes).int(FakeTelegram::DC_ID).done();
        return Writer::of::<t::MessageMediaPhoto>().flags(&[(0, true)]).object(&photo).done();
    }
    let document = Writer::of::<t::Document>().flags(&[]).long(id).long(access_hash(id)).bytes(&files.reference());
    let document = document.int(date).text(&file.mime).long(i64::from(size)).int(FakeTelegram::DC_ID);
    let document = document.list(&attributes(file)).done();
    let is_voice = matches!(file.kind, FileKind::Voice { .. });
    let is_video = matches!(file.kind, FileKind::Video { .. });
    let flags = [(0, true), (6, is_video), (8, is_voice)];
    Writer::of::<t::MessageMediaDocument>().flags(&flags).object(&document).done()
}

fn attributes(file: &File) -> Vec<Object> {
    let mut attributes = Vec::new();
    let audio = |voice, seconds| Writer::of::<t::DocumentAttributeAudio>().flags(&[(10, voice)]).int(seconds).done();
    match file.kind {
        FileKind::Voice { seconds } => attributes.push(audio(true, seconds)),
        FileKind::Audio { seconds } => attributes.push(audio(false, seconds)),
        FileKind::Video { seconds } => {
            let video = Writer::of::<t::DocumentAttributeVideo>().flags(&[]).put(&f64::from(seconds));
            attributes.push(video.int(640).int(480).done());
        }
        FileKind::Photo | FileKind::Document => {}
    }
    if !file.name.is_empty() {
        attributes.push(Writer::of::<t::DocumentAttributeFilename>().text(&file.name).done());
    }
    attributes
}

/// What is fetched of a file in this size; photos have two, everything else the empty one.
pub(super) fn content<'a>(file: &'a File, size: &str) -> Option<&'a [u8]> {
    match (file.kind, size) {
        (FileKind::Photo, SMALL) => Some(SMALL_CONTENT),
        (FileKind::Photo, WHOLE) => Some(&file.content),
        (FileKind::Photo, _) => None,
        (_, "") => Some(&file.content),
        _ => None,
    }
}

/// The update that a message was written, with the number that it leads to and by how much that rose.
pub(super) fn new_message(sequence: Sequence, message: &Object, number: i32, count: i32) -> Object {
    let update = match sequence {
        Sequence::Common => Writer::of::<t::UpdateNewMessage>(),
        Sequence::Channel(_) => Writer::of::<t::UpdateNewChannelMessage>(),
    };
    update.object(message).int(number).int(count).done()
}

pub(super) fn edited_message(sequence: Sequence, message: &Object, number: i32) -> Object {
    let update = match sequence {
        Sequence::Common => Writer::of::<t::UpdateEditMessage>(),
        Sequence::Channel(_) => Writer::of::<t::UpdateEditChannelMessage>(),
    };
    update.object(message).int(number).int(1).done()
}

pub(super) fn deleted_messages(sequence: Sequence, messages: &[i32], number: i32) -> Object {
    let update = match sequence {
        Sequence::Common => Writer::of::<t::UpdateDeleteMessages>(),
        Sequence::Channel(id) => Writer::of::<t::UpdateDeleteChannelMessages>().long(id),
    };
    // Lists are of what a test named.
    update.put(&messages.to_vec()).int(number).int(messages.len() as i32).done()
}

/// A bot's way into a group or out of it, as news with a number of the secondary sequence.
pub(super) fn bot_participates(kind: Kind, is_in: bool, actor: i64, date: i32, number: i32) -> Object {
    let bot = FakeTelegram::BOT_ID;
    let flags = [(0, !is_in), (1, is_in)];
    match kind {
        Kind::Supergroup(id) => {
            let participant = match is_in {
                true => Writer::of::<t::ChannelParticipantSelf>().flags(&[]).long(bot).long(actor).int(date),
                false => Writer::of::<t::ChannelParticipant>().flags(&[]).long(bot).int(date),
            };
            let update = Writer::of::<t::UpdateChannelParticipant>().flags(&flags).long(id).int(date);
            update.long(actor).long(bot).object(&participant.done()).int(number).done()
        }
        Kind::Group(id) | Kind::Private(id) => {
            let participant = Writer::of::<t::ChatParticipant>().flags(&[]).long(bot).long(actor).int(date);
            let update = Writer::of::<t::UpdateChatParticipant>().flags(&flags).long(id).int(date);
            update.long(actor).long(bot).object(&participant.done()).int(number).done()
        }
    }
}

/// News, with those whom they are about.
pub(super) fn updates(updates: &[Object], users: &[Object], chats: &[Object], date: i32) -> Object {
    Writer::of::<t::Updates>().list(updates).list(users).list(chats).int(date).int(0).done()
}
