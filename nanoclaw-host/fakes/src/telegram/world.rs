//! What the service knows: who there is, what was said, which news there are of it, and what the client may do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{SystemTime, UNIX_EPOCH},
};

use grammers_tl_types::enums::{InputChannel, InputPeer, InputUser};

use super::{
    FakeTelegram,
    changes::{Change, Changes},
    faults::{Faults, Refusal},
    files::Files,
    nouns::{Action, Kind, Message, Place, Sequence, User, access_hash},
    objects,
    pushes::Pushes,
    seen::Seen,
    tl::Object,
};

#[derive(Debug)]
pub(super) struct World {
    pub(super) users: BTreeMap<i64, User>,
    pub(super) places: BTreeMap<i64, Place>,
    pub(super) messages: BTreeMap<(Sequence, i32), Message>,
    /// Ids are not given twice, whatever is removed.
    latest_ids: BTreeMap<Sequence, i32>,
    changes: BTreeMap<Sequence, Changes>,
    /// News to bots that are about no message.
    pub(super) secondary: Changes,
    /// How many changes a difference has at most.
    pub(super) slice: usize,
    pub(super) files: Files,
    pub(super) pushes: Pushes,
    pub(super) faults: Faults,
    pub(super) access: Access,
    /// What was sent by the random ids that were used, by chat: the message and its number.
    pub(super) random_ids: HashMap<(i64, i64), (i32, i32)>,
    /// The random ids of what is being sent.
    pub(super) in_progress: BTreeSet<(i64, i64)>,
    pub(super) refusing: usize,
    pub(super) seen: Seen,
}

/// Whether the client's key lets it do anything.
#[derive(Debug, Default)]
pub(super) struct Access {
    pub(super) signed_in: bool,
    /// What every call is refused with, signing in as well.
    pub(super) banned: Option<Refusal>,
    /// What calls are refused with until it signs in again.
    pub(super) logged_out: Option<Refusal>,
    pub(super) key_is_forgotten: bool,
    /// The one token that is not taken though it is right.
    pub(super) token_is_revoked: bool,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            users: BTreeMap::new(),
            places: BTreeMap::new(),
            messages: BTreeMap::new(),
            latest_ids: BTreeMap::new(),
            changes: BTreeMap::new(),
            secondary: Changes::default(),
            slice: usize::MAX,
            files: Files::default(),
            pushes: Pushes::default(),
            faults: Faults::default(),
            access: Access::default(),
            random_ids: HashMap::new(),
            in_progress: BTreeSet::new(),
            refusing: 0,
            seen: Seen::default(),
        };
        world.add_user(FakeTelegram::BOT_ID, FakeTelegram::BOT_NAME, Some(FakeTelegram::BOT_USERNAME), true);
        world.add_user(1001, "Ann", None, false);
        world.add_user(1002, "Bob", None, false);
        world
    }

    pub(super) fn add_user(&mut self, id: i64, name: &str, username: Option<&str>, is_bot: bool) {
        let (name, username) = (name.to_owned(), username.map(str::to_owned));
        self.users.insert(id, User { id, name, username, is_bot, blocks_bot: false });
    }

    pub(super) fn add_place(&mut self, chat: i64, title: &str, bot_is_in: bool) {
        let members = self.users.keys().copied().filter(|user| *user != FakeTelegram::BOT_ID).collect();
        let place = Place { title: title.to_owned(), members, bot_is_in, became: None };
        self.places.entry(chat).or_insert(place);
    }

    /// The sequence of changes of this kind.
    pub(super) fn changes(&mut self, sequence: Sequence) -> &mut Changes {
        self.changes.entry(sequence).or_default()
    }

    /// The supergroups in which something happened at or after a moment, by their bare ids.
    pub(super) fn channels_changed_since(&self, date: i32) -> Vec<i64> {
        let changed = self.changes.iter().filter(|(_, changes)| changes.any_since_date(date));
        let channels = changed.filter_map(|(sequence, _)| match sequence {
            Sequence::Channel(id) => Some(*id),
            Sequence::Common => None,
        });
        let is_in = |id: &i64| self.places.get(&(FakeTelegram::SUPERGROUP - id)).is_some_and(|place| place.bot_is_in);
        channels.filter(is_in).collect()
    }

    pub(super) fn forget_changes(&mut self) {
        self.changes.values_mut().for_each(Changes::forget);
    }

    /// Keeps a message under the next id of its sequence; returns that id and the number that it leads to.
    pub(super) fn keep(&mut self, mut message: Message) -> (i32, i32) {
        let sequence = message.sequence();
        let latest = self.latest_ids.entry(sequence).or_default();
        *latest += 1;
        message.id = *latest;
        let (id, date) = (message.id, message.date);
        self.messages.insert((sequence, id), message);
        (id, self.changes(sequence).add(Change::New(id), date))
    }

    /// A message of a chat.
    pub(super) fn message(&self, chat: i64, id: i32) -> Option<&Message> {
        self.messages.get(&(Kind::of(chat).sequence(), id)).filter(|message| message.chat == chat)
    }

    /// Whether a message is the first of a topic.
    pub(super) fn is_topic(&self, chat: i64, id: i32) -> bool {
        self.messages.values().any(|message| message.chat == chat && message.topic == Some(id))
    }

    /// A message as it is on the wire.
    pub(super) fn message_object(&self, message: &Message) -> Object {
        objects::message(message, &self.files)
    }

    /// The users and the chats that messages speak of, and the bot.
    pub(super) fn peers_of<'a>(&self, messages: impl Iterator<Item = &'a Message>) -> (Vec<Object>, Vec<Object>) {
        let (mut users, mut chats) = (BTreeSet::from([FakeTelegram::BOT_ID]), BTreeSet::new());
        for message in messages {
            for peer in [message.chat, message.from] {
                match peer > 0 {
                    true => users.insert(peer),
                    false => chats.insert(peer),
                };
            }
            users.extend(message.action.as_ref().and_then(Action::user));
            chats.extend(self.places.get(&message.chat).and_then(|place| place.became));
        }
        (self.user_objects(users), self.place_objects(chats))
    }

    pub(super) fn user_objects(&self, ids: impl IntoIterator<Item = i64>) -> Vec<Object> {
        ids.into_iter().filter_map(|id| self.users.get(&id)).map(objects::user).collect()
    }

    pub(super) fn place_objects(&self, chats: impl IntoIterator<Item = i64>) -> Vec<Object> {
        let now = now();
        let places = chats.into_iter().filter_map(|chat| objects::place(chat, self.places.get(&chat)?, now));
        places.collect()
    }

    /// The chat that a client speaks of.
    pub(super) fn chat_of(&self, peer: &InputPeer) -> Result<i64, Refusal> {
        let (chat, hash) = match peer {
            InputPeer::User(user) => (user.user_id, Some(user.access_hash)),
            InputPeer::Chat(chat) => (-chat.chat_id, None),
            InputPeer::Channel(channel) => (FakeTelegram::SUPERGROUP - channel.channel_id, Some(channel.access_hash)),
            _ => return Err(Refusal::bad("PEER_ID_INVALID")),
        };
        let known = self.places.contains_key(&chat);
        let wrong = |hash: i64, id: i64| hash != access_hash(id);
        match (Kind::of(chat), hash) {
            (Kind::Supergroup(id), Some(hash)) if !known || wrong(hash, id) => Err(Refusal::bad("CHANNEL_INVALID")),
            (Kind::Private(id), Some(hash)) if !known || wrong(hash, id) => Err(Refusal::bad("PEER_ID_INVALID")),
            (Kind::Group(_), _) if !known => Err(Refusal::bad("CHAT_ID_INVALID")),
            _ => Ok(chat),
        }
    }

    /// The supergroup that a client speaks of, and that the bot is in.
    pub(super) fn supergroup_of(&self, channel: &InputChannel) -> Result<i64, Refusal> {
        let InputChannel::Channel(channel) = channel else { return Err(Refusal::bad("CHANNEL_INVALID")) };
        let chat = FakeTelegram::SUPERGROUP - channel.channel_id;
        match self.places.get(&chat) {
            Some(_) if channel.access_hash != access_hash(channel.channel_id) => Err(Refusal::bad("CHANNEL_INVALID")),
            Some(place) if place.bot_is_in => Ok(chat),
            Some(_) => Err(Refusal::bad("CHANNEL_PRIVATE")),
            None => Err(Refusal::bad("CHANNEL_INVALID")),
        }
    }

    /// The user that a client speaks of, if there is such a one and the client may.
    pub(super) fn user_of(&self, user: &InputUser) -> Option<&User> {
        match user {
            InputUser::UserSelf => self.users.get(&FakeTelegram::BOT_ID),
            InputUser::User(user) if user.access_hash == access_hash(user.user_id) => self.users.get(&user.user_id),
            _ => None,
        }
    }
}

/// Seconds since 1970.
pub(super) fn now() -> i32 {
    // They fit until 2038.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i32)
}
