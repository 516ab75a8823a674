//! What an update of Telegram's means for us.

use std::collections::HashMap;

use grammers_client::{
    session::types::{PeerId, PeerKind},
    tl::{
        enums::{self, Update},
        types,
    },
};
use nanoclaw_core::{chat::ChatKind, time::Timestamp};

use super::{
    Me,
    media::{self, File},
};
use crate::channels::clean_name;

/// What happened.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// Somebody wrote something.
    Said(Box<Said>),
    /// The assistant was let in; what the chat is called.
    Joined { chat: PeerId, name: Option<String> },
    /// The assistant is not there any more, or nobody is; in words.
    Left { chat: PeerId, how: &'static str, at: Timestamp },
    /// The chat has a new name.
    Renamed { chat: PeerId, name: String },
    /// The group became a supergroup, which has another id.
    Moved { chat: PeerId, to: PeerId, at: Timestamp },
    /// Nothing for us; why.
    Nothing(&'static str),
}

impl Meaning {
    /// The chat in which it happened.
    pub(super) fn chat(&self) -> Option<PeerId> {
        match self {
            Self::Said(said) => Some(said.chat),
            Self::Joined { chat, .. }
            | Self::Left { chat, .. }
            | Self::Renamed { chat, .. }
            | Self::Moved { chat, .. } => Some(*chat),
            Self::Nothing(_) => None,
        }
    }
}

/// What somebody wrote.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) chat: PeerId,
    /// What the chat is called; of a private one, the person.
    pub(super) chat_name: Option<String>,
    /// The message's number in its chat.
    pub(super) message: i32,
    /// Unique in the chat: the number, and the time of the change when it is one.
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) sender: PeerId,
    pub(super) sender_name: Option<String>,
    pub(super) text: String,
    pub(super) entities: Vec<enums::MessageEntity>,
    /// What has no text of its own, in words: a place, a contact, a poll.
    pub(super) shown: Option<String>,
    /// It is what an earlier message says now.
    pub(super) edited: bool,
    pub(super) reply: Option<Reply>,
    /// The topic of the forum that it was said in, by its first message; `None` in the general one, and where there are none.
    pub(super) topic: Option<i32>,
    pub(super) file: Option<File>,
}

impl Said {
    pub(super) fn kind(&self) -> ChatKind {
        kind_of(self.chat)
    }
}

/// The message that one replies to, in the same chat.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reply {
    pub(super) message: i32,
    /// The part of it that the sender chose to quote.
    pub(super) quoted: Option<String>,
}

pub(super) fn kind_of(chat: PeerId) -> ChatKind {
    match chat.kind() {
        PeerKind::User => ChatKind::Private,
        PeerKind::Chat | PeerKind::Channel => ChatKind::Group,
    }
}

/// Those whom a batch of updates names.
#[derive(Debug, Default)]
pub(super) struct People {
    users: HashMap<i64, types::User>,
    chats: HashMap<PeerId, enums::Chat>,
}

impl People {
    pub(super) fn new(users: Vec<enums::User>, chats: Vec<enums::Chat>) -> Self {
        let users = users.into_iter().filter_map(|user| match user {
            enums::User::User(user) => Some((user.id, user)),
            enums::User::Empty(_) => None,
        });
        let chats = chats.into_iter().filter_map(|chat| {
            let id = match &chat {
                enums::Chat::Chat(chat) => PeerId::chat(chat.id),
                enums::Chat::Forbidden(chat) => PeerId::chat(chat.id),
                enums::Chat::Channel(chat) => PeerId::channel(chat.id),
                enums::Chat::ChannelForbidden(chat) => PeerId::channel(chat.id),
                enums::Chat::Empty(_) | enums::Chat::Community(_) | enums::Chat::CommunityForbidden(_) => None,
            };
            Some((id?, chat))
        });
        Self { users: users.collect(), chats: chats.collect() }
    }

    /// What people know `peer` by.
    pub(super) fn name(&self, peer: PeerId) -> Option<String> {
        match peer.kind() {
            PeerKind::User => self.users.get(&peer.bare_id()?).and_then(name_of),
            PeerKind::Chat | PeerKind::Channel => match self.chats.get(&peer)? {
                enums::Chat::Chat(chat) => clean_name(&chat.title),
                enums::Chat::Forbidden(chat) => clean_name(&chat.title),
                enums::Chat::Channel(chat) => clean_name(&chat.title),
                enums::Chat::ChannelForbidden(chat) => clean_name(&chat.title),
                enums::Chat::Empty(_) | enums::Chat::Community(_) | enums::Chat::CommunityForbidden(_) => None,
            },
        }
    }

    fn is_bot(&self, peer: PeerId) -> bool {
        peer.kind() == PeerKind::User && peer.bare_id().and_then(|id| self.users.get(&id)).is_some_and(|user| user.bot)
    }

    fn is_broadcast(&self, peer: PeerId) -> bool {
        matches!(self.chats.get(&peer), Some(enums::Chat::Channel(channel)) if channel.broadcast)
    }
}

/// The name that people know a user by.
pub(super) fn name_of(user: &types::User) -> Option<String> {
    let names = [user.first_name.as_deref(), user.last_name.as_deref()];
    let whole = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    clean_name(&whole).or_else(|| user.username.as_deref().and_then(clean_name))
}

/// What `update` means for `me`.
pub(super) fn meaning(update: &Update, people: &People, me: &Me) -> Meaning {
    match update {
        Update::NewMessage(update) => message(&update.message, false, people, me),
        Update::NewChannelMessage(update) => message(&update.message, false, people, me),
        Update::EditMessage(update) => message(&update.message, true, people, me),
        Update::EditChannelMessage(update) => message(&update.message, true, people, me),
        Update::ChatParticipant(update) if update.user_id == me.id => coming_or_going(
            PeerId::chat(update.chat_id),
            update.prev_participant.is_some(),
            update.new_participant.is_some(),
            update.date,
            people,
        ),
        Update::ChannelParticipant(update) if update.user_id == me.id => {
            let is_in = |participant: &Option<enums::ChannelParticipant>| match participant {
                None | Some(enums::ChannelParticipant::Left(_)) => false,
                Some(enums::ChannelParticipant::Banned(banned)) => !banned.left,
                Some(_) => true,
            };
            let (before, now) = (is_in(&update.prev_participant), is_in(&update.new_participant));
            coming_or_going(PeerId::channel(update.channel_id), before, now, update.date, people)
        }
        Update::BotStopped(update) => match PeerId::user(update.user_id) {
            Some(chat) if update.stopped => {
                Meaning::Left { chat, how: "the person has blocked the bot", at: time_of(update.date) }
            }
            _ => Meaning::Nothing("a person has started the bot again"),
        },
        _ => Meaning::Nothing("it is of a kind that is not asked for"),
    }
}

fn coming_or_going(chat: Option<PeerId>, before: bool, now: bool, date: i32, people: &People) -> Meaning {
    match (chat, before, now) {
        (Some(chat), false, true) => Meaning::Joined { chat, name: people.name(chat) },
        (Some(chat), true, false) => Meaning::Left { chat, how: "the bot was removed from it", at: time_of(date) },
        _ => Meaning::Nothing("the bot's rights were changed"),
    }
}

/// The moment that a time of Telegram's is: in seconds.
fn time_of(seconds: i32) -> Timestamp {
    Timestamp::from_ms(i64::from(seconds) * 1000)
}

fn message(message: &enums::Message, edited: bool, people: &People, me: &Me) -> Meaning {
    match message {
        enums::Message::Message(message) => said(message, edited, people, me),
        enums::Message::Service(message) if !edited => service(message, people, me),
        enums::Message::Service(_) => Meaning::Nothing("nobody's own words were changed"),
        enums::Message::Empty(_) => Meaning::Nothing("it is not there any more"),
    }
}

fn said(message: &types::Message, edited: bool, people: &People, me: &Me) -> Meaning {
    let Some(chat) = peer(&message.peer_id) else { return Meaning::Nothing("its chat has a strange id") };
    // In a private chat whoever is not named is the other one.
    let Some(sender) = message.from_id.as_ref().map_or(Some(chat), peer) else {
        return Meaning::Nothing("its sender has a strange id");
    };
    if message.out || sender == me.peer() || people.is_bot(sender) {
        return Meaning::Nothing("a program said it");
    }
    if message.post || people.is_broadcast(chat) {
        return Meaning::Nothing("it is a channel's post, in which nobody talks with us");
    }
    let (id, at) = match (edited, message.edit_date) {
        (false, _) => (message.id.to_string(), message.date),
        // Reactions and previews are told as changes as well.
        (true, Some(at)) if !message.edit_hide => (format!("{}/edited/{at}", message.id), at),
        (true, _) => return Meaning::Nothing("nobody changed it"),
    };
    let file = message.media.as_ref().and_then(media::file_of).filter(|_| !edited);
    let shown = message.media.as_ref().and_then(media::in_words);
    if message.message.is_empty() && shown.is_none() && file.is_none() {
        return Meaning::Nothing("it says nothing");
    }
    Meaning::Said(Box::new(Said {
        chat,
        chat_name: people.name(chat),
        message: message.id,
        id,
        at: time_of(at),
        sender,
        sender_name: people.name(sender),
        text: message.message.clone(),
        entities: message.entities.clone().unwrap_or_default(),
        shown,
        edited,
        reply: message.reply_to.as_ref().and_then(reply_of),
        topic: message.reply_to.as_ref().and_then(topic_of),
        file,
    }))
}

/// What a message replies to. In a forum each message names the topic it is in, which is no reply.
fn reply_of(header: &enums::MessageReplyHeader) -> Option<Reply> {
    let enums::MessageReplyHeader::Header(header) = header else { return None };
    let elsewhere = header.reply_to_peer_id.is_some();
    let topic_alone = header.forum_topic && header.reply_to_top_id.is_none();
    let message = header.reply_to_msg_id.filter(|_| !elsewhere && !topic_alone)?;
    Some(Reply { message, quoted: header.quote_text.clone().filter(|text| !text.trim().is_empty()) })
}

/// The topic that a message is in. One that replies to none in it names the topic as what it replies to.
fn topic_of(header: &enums::MessageReplyHeader) -> Option<i32> {
    let enums::MessageReplyHeader::Header(header) = header else { return None };
    let here = header.reply_to_msg_id.filter(|_| header.reply_to_peer_id.is_none());
    header.reply_to_top_id.or(here).filter(|_| header.forum_topic)
}

fn service(message: &types::MessageService, people: &People, me: &Me) -> Meaning {
    use enums::MessageAction as Action;
    let Some(chat) = peer(&message.peer_id) else { return Meaning::Nothing("its chat has a strange id") };
    match &message.action {
        Action::ChatAddUser(added) if added.users.contains(&me.id) => Meaning::Joined { chat, name: people.name(chat) },
        Action::ChatCreate(made) => Meaning::Joined { chat, name: clean_name(&made.title) },
        Action::ChannelCreate(made) => Meaning::Joined { chat, name: clean_name(&made.title) },
        Action::ChatDeleteUser(gone) if gone.user_id == me.id => {
            Meaning::Left { chat, how: "the bot was removed from it", at: time_of(message.date) }
        }
        Action::ChatEditTitle(title) => match clean_name(&title.title) {
            Some(name) => Meaning::Renamed { chat, name },
            None => Meaning::Nothing("it has no name"),
        },
        Action::ChatMigrateTo(moved) => match PeerId::channel(moved.channel_id) {
            Some(to) => Meaning::Moved { chat, to, at: time_of(message.date) },
            None => Meaning::Nothing("it moved to a strange id"),
        },
        Action::ChannelMigrateFrom(moved) => Meaning::Joined { chat, name: clean_name(&moved.title) },
        _ => Meaning::Nothing("it is nobody's own words"),
    }
}

/// Who or what a peer is; `None` for an id that cannot be.
pub(super) fn peer(peer: &enums::Peer) -> Option<PeerId> {
    match peer {
        enums::Peer::User(user) => PeerId::user(user.user_id),
        enums::Peer::Chat(chat) => PeerId::chat(chat.chat_id),
        enums::Peer::Channel(channel) => PeerId::channel(channel.channel_id),
    }
}

#[cfg(test)]
mod tests {
    use grammers_client::tl::{Deserializable as _, Identifiable as _, Serializable as _};

    use super::*;

    const CLUB: i64 = 55;

    fn me() -> Me {
        Me { id: 777, username: Some("andy_bot".to_owned()) }
    }

    fn user(id: i64, first_name: &str, bot: bool) -> enums::User {
        // From the bytes: a user has 60 fields, of which these are three.
        let mut bytes = Vec::new();
        let flags = 1_u32 << 1 | u32::from(bot) << 14;
        for word in [types::User::CONSTRUCTOR_ID, flags, 0] {
            word.serialize(&mut bytes);
        }
        id.serialize(&mut bytes);
        first_name.to_owned().serialize(&mut bytes);
        if bot {
            1_i32.serialize(&mut bytes);
        }
        enums::User::from_bytes(&bytes).unwrap()
    }

    fn people() -> People {
        People::new(vec![user(1001, "Ann", false), user(2001, "Robot", true)], Vec::new())
    }

    fn text(from: i64, more: impl FnOnce(&mut types::Message)) -> types::Message {
        let mut bytes = Vec::new();
        for word in [types::Message::CONSTRUCTOR_ID, 1 << 8, 0, 18] {
            word.serialize(&mut bytes);
        }
        enums::Peer::User(types::PeerUser { user_id: from }).serialize(&mut bytes);
        enums::Peer::Channel(types::PeerChannel { channel_id: CLUB }).serialize(&mut bytes);
        1_700_000_000_i32.serialize(&mut bytes);
        "hello".to_owned().serialize(&mut bytes);
        let Ok(enums::Message::Message(mut message)) = enums::Message::from_bytes(&bytes) else {
            panic!("the bytes are a message's")
        };
        more(&mut message);
        message
    }

    fn of(message: types::Message) -> Meaning {
        let update = types::UpdateNewChannelMessage { message: message.into(), pts: 1, pts_count: 1 };
        meaning(&update.into(), &people(), &me())
    }

    fn said(meaning: Meaning) -> Said {
        match meaning {
            Meaning::Said(said) => *said,
            other => panic!("nobody said anything: {other:?}"),
        }
    }

    fn edit(message: types::Message) -> Meaning {
        let update = types::UpdateEditChannelMessage { message: message.into(), pts: 1, pts_count: 1 };
        meaning(&update.into(), &people(), &me())
    }

    fn header(more: impl FnOnce(&mut types::MessageReplyHeader)) -> Option<enums::MessageReplyHeader> {
        let mut header = types::MessageReplyHeader {
            reply_to_scheduled: false,
            forum_topic: false,
            quote: false,
            reply_to_ephemeral: false,
            reply_to_msg_id: Some(7),
            reply_to_peer_id: None,
            reply_from: None,
            reply_media: None,
            reply_to_top_id: None,
            quote_text: None,
            quote_entities: None,
            quote_offset: None,
            todo_item_id: None,
            poll_option: None,
        };
        more(&mut header);
        Some(header.into())
    }

    #[test]
    fn a_message_is_read_with_its_time_chat_and_sender() {
        let said = said(of(text(1001, |_| {})));
        assert_eq!((said.chat, said.kind()), (PeerId::channel(CLUB).unwrap(), ChatKind::Group));
        assert_eq!((said.id.as_str(), said.at), ("18", Timestamp::from_ms(1_700_000_000_000)));
        assert_eq!((said.sender, said.sender_name.as_deref()), (PeerId::user(1001).unwrap(), Some("Ann")));
        assert_eq!((said.text.as_str(), said.edited, said.reply), ("hello", false, None));
        let private = super::tests::said(of(text(1001, |message| {
            message.from_id = None;
            message.peer_id = types::PeerUser { user_id: 1001 }.into();
        })));
        assert_eq!((private.sender, private.kind()), (private.chat, ChatKind::Private));
        // Who writes in the name of a group is the group.
        let chat = PeerId::channel(CLUB).unwrap();
        let nameless = of(text(1001, |message| message.from_id = Some(types::PeerChannel { channel_id: CLUB }.into())));
        assert_eq!(super::tests::said(nameless).sender, chat);
    }

    #[test]
    fn what_programs_say_is_not_heard() {
        for message in [
            text(777, |_| {}),
            text(2001, |_| {}),
            text(1001, |message| message.out = true),
            text(1001, |message| message.post = true),
            text(1001, |message| message.message.clear()),
            text(-5, |_| {}),
        ] {
            assert!(matches!(of(message.clone()), Meaning::Nothing(_)), "{message:?}");
        }
    }

    #[test]
    fn an_edit_is_a_message_of_its_own_and_a_reaction_is_none() {
        let changed = |hidden| {
            edit(text(1001, |message| {
                message.edit_date = Some(1_700_000_009);
                message.edit_hide = hidden;
            }))
        };
        let edited = said(changed(false));
        assert_eq!((edited.id.as_str(), edited.edited), ("18/edited/1700000009", true));
        assert_eq!(edited.at, Timestamp::from_ms(1_700_000_009_000));
        assert!(matches!(changed(true), Meaning::Nothing(_)));
        assert!(matches!(edit(text(1001, |_| {})), Meaning::Nothing(_)));
    }

    #[test]
    fn a_reply_names_what_it_is_to_and_a_topic_is_none() {
        let reply = |header| said(of(text(1001, |message| message.reply_to = header))).reply;
        assert_eq!(reply(header(|_| {})), Some(Reply { message: 7, quoted: None }));
        let part = header(|header| header.quote_text = Some("a part".to_owned()));
        assert_eq!(reply(part), Some(Reply { message: 7, quoted: Some("a part".to_owned()) }));
        assert_eq!(reply(header(|header| header.forum_topic = true)), None);
        let in_topic = header(|header| (header.forum_topic, header.reply_to_top_id) = (true, Some(3)));
        assert_eq!(reply(in_topic), Some(Reply { message: 7, quoted: None }));
        let elsewhere = header(|header| header.reply_to_peer_id = Some(types::PeerUser { user_id: 1 }.into()));
        assert_eq!(reply(elsewhere), None);
    }

    #[test]
    fn a_message_of_a_forum_names_its_topic() {
        let topic = |header| said(of(text(1001, |message| message.reply_to = header))).topic;
        assert_eq!(topic(header(|header| header.forum_topic = true)), Some(7));
        assert_eq!(topic(header(|header| (header.forum_topic, header.reply_to_top_id) = (true, Some(3)))), Some(3));
        // In the general topic, and in threads that are no topics.
        assert_eq!(topic(header(|_| {})), None);
        assert_eq!(topic(header(|header| header.reply_to_top_id = Some(3))), None);
        assert_eq!(topic(None), None);
        let elsewhere = header(|header| {
            (header.forum_topic, header.reply_to_peer_id) = (true, Some(types::PeerUser { user_id: 1 }.into()));
        });
        assert_eq!(topic(elsewhere), None);
    }

    #[test]
    fn coming_going_and_moving_is_told_of_us_alone() {
        let in_club = |action: enums::MessageAction| {
            let message = types::MessageService {
                out: false,
                mentioned: false,
                media_unread: false,
                reactions_are_possible: false,
                silent: false,
                post: false,
                legacy: false,
                id: 19,
                from_id: None,
                peer_id: types::PeerChat { chat_id: 42 }.into(),
                saved_peer_id: None,
                reply_to: None,
                date: 0,
                action,
                reactions: None,
                ttl_period: None,
            };
            let update = types::UpdateNewMessage { message: message.into(), pts: 1, pts_count: 1 };
            meaning(&update.into(), &people(), &me())
        };
        let chat = PeerId::chat(42).unwrap();
        let added = |user| in_club(types::MessageActionChatAddUser { users: vec![user] }.into());
        assert_eq!(added(777), Meaning::Joined { chat, name: None });
        assert!(matches!(added(1001), Meaning::Nothing(_)));
        let gone = |user_id| in_club(types::MessageActionChatDeleteUser { user_id }.into());
        assert!(matches!(gone(777), Meaning::Left { .. }) && matches!(gone(1001), Meaning::Nothing(_)));
        let moved = in_club(types::MessageActionChatMigrateTo { channel_id: CLUB }.into());
        assert_eq!(moved, Meaning::Moved { chat, to: PeerId::channel(CLUB).unwrap(), at: time_of(0) });
        let renamed = in_club(types::MessageActionChatEditTitle { title: "New".to_owned() }.into());
        assert_eq!(renamed, Meaning::Renamed { chat, name: "New".to_owned() });
    }
}
