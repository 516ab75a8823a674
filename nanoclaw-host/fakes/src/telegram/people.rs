//! What people do, and the news that the bot has of it.

use grammers_tl_types::types as t;

use super::{
    FakeTelegram,
    changes::Change,
    entities,
    nouns::{Action, Kind, Message},
    objects,
    said::Said,
    tl::{Object, Writer},
    world::{World, now},
};

impl World {
    /// Somebody writes; returns the message's id, 0 where the bot is not and hears nothing.
    pub(super) fn say(&mut self, chat: i64, from: i64, said: Said) -> i32 {
        if chat > 0 {
            self.add_place(chat, "", true);
        }
        if !self.places.get(&chat).is_some_and(|place| place.bot_is_in) {
            return 0;
        }
        let mut entities = entities::found(&said.text);
        let mention = said.mention.as_ref();
        entities.extend(mention.and_then(|(part, user)| entities::mention(&said.text, part, *user)));
        let answered = said.reply_to.and_then(|id| self.message(chat, id));
        let mentions_bot = entities::names(&said.text, FakeTelegram::BOT_USERNAME)
            || mention.is_some_and(|(_, user)| *user == FakeTelegram::BOT_ID)
            || answered.is_some_and(Message::is_outgoing);
        let file = said.file.map(|file| self.files.keep(file));
        let message = Message {
            text: said.text,
            entities,
            reply_to: said.reply_to,
            topic: said.topic,
            file,
            media: said.media,
            album: said.album,
            forwarded_from: said.forwarded_from,
            mentions_bot,
            ..blank(chat, from)
        };
        let (id, number) = self.keep(message);
        self.tell_of_new(chat, id, number, Vec::new());
        id
    }

    /// Somebody changes what they wrote.
    pub(super) fn edit(&mut self, chat: i64, id: i32, text: &str) {
        let sequence = Kind::of(chat).sequence();
        let Some(message) = self.messages.get_mut(&(sequence, id)) else { return };
        message.text = text.to_owned();
        message.entities = entities::found(text);
        message.edited = Some(now());
        let number = self.changes(sequence).add(Change::Edited(id), now());
        let Some(message) = self.message(chat, id) else { return };
        let update = objects::edited_message(sequence, &self.message_object(message), number);
        let (users, chats) = self.peers_of([message].into_iter());
        self.pushes.add(objects::updates(&[update], &users, &chats, now()));
    }

    /// Messages of a chat are removed.
    pub(super) fn delete(&mut self, chat: i64, ids: &[i32]) {
        let sequence = Kind::of(chat).sequence();
        self.messages.retain(|(of, id), _| *of != sequence || !ids.contains(id));
        let number = self.changes(sequence).add(Change::Deleted(ids.to_vec()), now());
        let update = objects::deleted_messages(sequence, ids, number);
        self.pushes.add(objects::updates(&[update], &[], &[], now()));
    }

    /// Somebody gives a group another title.
    pub(super) fn rename(&mut self, chat: i64, by: i64, title: &str) {
        if let Some(place) = self.places.get_mut(&chat) {
            place.title = title.to_owned();
        }
        self.happen(chat, by, Action::Renamed(title.to_owned()), Vec::new());
    }

    /// Somebody comes to a group or goes.
    pub(super) fn change_member(&mut self, chat: i64, user: i64, is_in: bool) {
        let Some(place) = self.places.get_mut(&chat) else { return };
        let action = match is_in {
            true => {
                place.members.insert(user);
                Action::Added(user)
            }
            false => {
                place.members.remove(&user);
                Action::Removed(user)
            }
        };
        self.happen(chat, user, action, Vec::new());
    }

    /// Somebody adds the bot to a group or removes it. A bot that is removed from a supergroup hears no message of it.
    pub(super) fn change_bot(&mut self, chat: i64, by: i64, is_in: bool) {
        self.add_place(chat, "", is_in);
        if let Some(place) = self.places.get_mut(&chat) {
            place.bot_is_in = is_in;
        }
        let kind = Kind::of(chat);
        let number = self.secondary.last() + 1;
        let participates = objects::bot_participates(kind, is_in, by, now(), number);
        self.secondary.add(Change::Other(participates.clone()), now());
        let mut news = vec![participates];
        if let Kind::Supergroup(id) = kind {
            news.push(Writer::of::<t::UpdateChannel>().long(id).done());
            if !is_in {
                let (users, chats) = (self.user_objects([by]), self.place_objects([chat]));
                self.pushes.add(objects::updates(&news, &users, &chats, now()));
                return;
            }
        }
        let bot = FakeTelegram::BOT_ID;
        let action = if is_in { Action::Added(bot) } else { Action::Removed(bot) };
        self.happen(chat, by, action, news);
    }

    /// Somebody lets the bot write to them no more, or again.
    pub(super) fn block(&mut self, user: i64, blocks: bool) {
        if let Some(user) = self.users.get_mut(&user) {
            user.blocks_bot = blocks;
        }
        let number = self.secondary.last() + 1;
        let update = Writer::of::<t::UpdateBotStopped>().long(user).int(now()).bool(blocks).int(number).done();
        self.secondary.add(Change::Other(update.clone()), now());
        let users = self.user_objects([user]);
        self.pushes.add(objects::updates(&[update], &users, &[], now()));
    }

    /// A basic group becomes a supergroup; returns its id.
    pub(super) fn upgrade(&mut self, chat: i64, by: i64) -> Option<i64> {
        let Kind::Group(id) = Kind::of(chat) else { return None };
        // Telegram gives it any number.
        let supergroup = FakeTelegram::SUPERGROUP - (id + 1_000_000);
        let place = self.places.get_mut(&chat)?;
        let title = place.title.clone();
        place.became = Some(supergroup);
        let place = super::nouns::Place { became: None, ..place.clone() };
        self.places.insert(supergroup, place);
        let Kind::Supergroup(bare) = Kind::of(supergroup) else { return None };
        self.happen(chat, by, Action::BecameSupergroup(bare), Vec::new());
        if let Some(place) = self.places.get_mut(&chat) {
            place.bot_is_in = false;
        }
        let news = vec![Writer::of::<t::UpdateChannel>().long(bare).done()];
        self.happen(supergroup, by, Action::WasGroup(id, title), news);
        Some(supergroup)
    }

    /// Something happens in a chat that a service message tells, with further news.
    fn happen(&mut self, chat: i64, from: i64, action: Action, news: Vec<Object>) {
        let (id, number) = self.keep(Message { action: Some(action), ..blank(chat, from) });
        self.tell_of_new(chat, id, number, news);
    }

    fn tell_of_new(&mut self, chat: i64, id: i32, number: i32, mut news: Vec<Object>) {
        let Some(message) = self.message(chat, id) else { return };
        let object = self.message_object(message);
        news.push(objects::new_message(message.sequence(), &object, number, 1));
        let (users, chats) = self.peers_of([message].into_iter());
        self.pushes.add(objects::updates(&news, &users, &chats, message.date));
    }
}

/// A message with nothing in it yet.
pub(super) fn blank(chat: i64, from: i64) -> Message {
    Message {
        id: 0,
        chat,
        from,
        date: now(),
        edited: None,
        text: String::new(),
        entities: Vec::new(),
        reply_to: None,
        topic: None,
        file: None,
        media: None,
        album: None,
        mentions_bot: false,
        forwarded_from: None,
        action: None,
    }
}
