//! What a test commands: people do something, or something goes wrong.

use wacore::store::Device;
use waproto::whatsapp::Message;

use super::{
    FakeWhatsApp,
    account::is_bot,
    delivery::Change,
    faults::Fault,
    linking, login,
    media::File,
    nodes::{node, now},
    noise,
    people::Group,
    said::{self, Quoted, Said},
    world::{Kept, World},
};

/// Linking the client to the account.
impl FakeWhatsApp {
    /// Makes a client's new device look as after it was linked: its addresses, the account's signature, and the server's key, so that its first
    /// handshake is [`super::Handshake::Ik`], in which no certificate is checked. It is to be kept in the client's store, and takes the place
    /// of a device that was linked before.
    pub fn link(&self, device: &mut Device) {
        let server = noise::public(&self.state.keys);
        self.change(|world| {
            world.account.seed(device, server);
            world.people.forget_bot();
            world.queue.forget_sealed();
        });
    }

    /// The owner's phone scans the QR code that a client shows, by what is in it.
    ///
    /// # Errors
    /// When it is no such code, or no client that is connected shows it.
    pub fn scan(&self, code: &str) -> Result<(), String> {
        self.change(|world| linking::scan(world, code)).map_err(|error| format!("{error:#}"))
    }

    /// The owner types into the phone the code that a client shows for the account's number, with or without a dash. A wrong code is found out
    /// only by the client's next word, which is refused then.
    ///
    /// # Errors
    /// When no client shows such a code.
    pub fn enter_code(&self, code: &str) -> Result<(), String> {
        self.change(|world| linking::type_in(world, code)).map_err(|error| format!("{error:#}"))
    }
}

/// What people do.
impl FakeWhatsApp {
    /// Somebody writes; returns the message's id. In a private chat, `chat` and `who` are the same; in [`FakeWhatsApp::STATUS`] somebody tells
    /// all that know them. With [`FakeWhatsApp::BOT`] as `who`, the owner writes by the phone, of which the client hears as well. The client hears it as soon as it can, and
    /// again on each later connection, until it said that it has it. In a group in which the bot is not, it hears nothing.
    ///
    /// # Panics
    /// When there is no such person or group.
    pub fn say(&self, chat: &str, who: &str, text: &str) -> String {
        self.say_more(chat, who, Said::text(text))
    }

    /// The same with more than a text.
    ///
    /// # Panics
    /// When there is no such person or group.
    pub fn say_more(&self, chat: &str, who: &str, said: Said) -> String {
        self.change(|world| world.people_say(chat, who, &said))
    }

    /// The same with a file and a caption.
    ///
    /// # Panics
    /// When there is no such person or group.
    pub fn say_file(&self, chat: &str, who: &str, caption: &str, file: File) -> String {
        self.say_more(chat, who, Said::text(caption).file(file))
    }

    /// The same with any message of the protocol, as a reaction, a poll or a place.
    ///
    /// # Panics
    /// When there is no such person or group.
    pub fn say_message(&self, chat: &str, who: &str, message: Message) -> String {
        self.change(|world| {
            let who = world.speaker(chat, who);
            world.keep_and_queue(chat, &who, message, None)
        })
    }

    /// Somebody changes what they wrote; returns the id of the message by which the client hears of it.
    ///
    /// # Panics
    /// When there is no such message of somebody.
    pub fn edit(&self, chat: &str, id: &str, text: &str) -> String {
        self.change(|world| world.people_change(chat, id, Some(text)))
    }

    /// Somebody removes what they wrote, for everybody; returns the id of the message by which the client hears of it.
    ///
    /// # Panics
    /// When there is no such message of somebody.
    pub fn delete(&self, chat: &str, id: &str) -> String {
        self.change(|world| world.people_change(chat, id, None))
    }

    /// Somebody reads what the client sent, and lets it know.
    ///
    /// # Panics
    /// When there is no such person or group.
    pub fn read(&self, chat: &str, who: &str, id: &str) {
        self.change(|world| {
            let who = world.speaker(chat, who);
            let receipt = node("receipt").attr("id", id).attr("type", "read").attr("t", now().to_string());
            let receipt = match world.people.groups.get(chat) {
                Some(group) => receipt.attr("from", chat).attr("participant", world.people.address_in(group, &who)),
                None => receipt.attr("from", who.as_str()),
            };
            world.tell_plainly(chat, id, &who, receipt.build());
        });
    }

    /// A message is told once more with the same id, as the service does now and then.
    pub fn say_twice(&self, chat: &str, id: &str) {
        self.change(|world| world.repeat(chat, id));
    }

    /// Somebody gives a group another name.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn rename(&self, group: &str, by: &str, name: &str) {
        self.change(|world| {
            world.group_mut(group).subject = name.to_owned();
            let subject = node("subject").attr("subject", name).attr("s_o", by).attr("s_t", now().to_string());
            world.tell_of_group(group, by, subject.build());
        });
    }

    /// Somebody adds the bot to a group.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn add_bot(&self, group: &str, by: &str) {
        self.change(|world| {
            world.group_mut(group).bot_is_in = true;
            world.tell_of_member(group, by, "add", Self::BOT);
        });
    }

    /// Somebody removes the bot from a group, where it hears nothing any more.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn remove_bot(&self, group: &str, by: &str) {
        self.change(|world| {
            world.group_mut(group).bot_is_in = false;
            world.tell_of_member(group, by, "remove", Self::BOT);
        });
    }

    /// Somebody comes to a group.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn add_member(&self, group: &str, who: &str) {
        self.change(|world| {
            world.group_mut(group).members.insert(who.to_owned());
            world.tell_of_member(group, who, "add", who);
        });
    }

    /// Somebody leaves a group.
    ///
    /// # Panics
    /// When there is no such group.
    pub fn remove_member(&self, group: &str, who: &str) {
        self.change(|world| {
            world.group_mut(group).members.remove(who);
            world.tell_of_member(group, who, "remove", who);
        });
    }

    /// The ids of messages of which the client has not said yet that it has them, oldest first.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        self.state.world().queue.ids()
    }
}

/// What goes wrong.
impl FakeWhatsApp {
    /// The next stanza of this kind goes wrong; those after it by what was said later. A kind is the tag, as `message`, `receipt` or `ack`, and
    /// of queries the namespace, as `usync`, `encrypt` or `w:g2`. So do `upload` and `download` of a file: an error is a status of HTTP there.
    pub fn fail_next(&self, what: &str, fault: Fault) {
        self.change(|world| world.faults.add(what, fault));
    }

    /// The next message that people say is spoilt on its way, so that the client has to ask for it again.
    pub fn spoil_next(&self) {
        self.change(|world| world.queue.spoils += 1);
    }

    /// The next message of the client cannot be read by those to whom it is sent; one of them asks for it again.
    pub fn misread_next(&self) {
        self.change(|world| world.misreads += 1);
    }

    /// Answers that are slow are let go.
    pub fn release(&self) {
        self.change(World::release);
        self.state.released.send_modify(|count| *count += 1);
    }

    /// The next `count` connections are refused; with `usize::MAX` all, until this is called with 0.
    pub fn refuse_connections(&self, count: usize) {
        self.change(|world| world.refusing = count);
    }

    /// Open connections are dropped without a word.
    pub fn drop_connections(&self) {
        self.change(World::drop_all);
    }

    /// The owner unlinks the device: it is told so, or at its next login.
    pub fn log_out(&self) {
        self.change(|world| {
            world.account.noise_key = None;
            world.end_all(&login::conflict("device_removed"));
        });
    }

    /// Another connection of the same device takes the client's place.
    pub fn replace(&self) {
        self.change(|world| world.end_all(&login::conflict("replaced")));
    }

    /// The service ends the client's stream with this code, as `515`, after which the client is to come again.
    pub fn end_stream(&self, code: u16) {
        let error = node("stream:error").attr("code", code.to_string()).build();
        self.change(|world| world.end_all(&error));
    }

    /// From now on logins are refused: the account may not do anything for so many seconds. Open connections are dropped.
    pub fn ban(&self, seconds: u32) {
        self.change(|world| {
            let mut failure = login::failure(402);
            failure.attrs.insert("code", "101");
            failure.attrs.insert("expire", seconds.to_string());
            world.refuse_logins(failure);
        });
    }

    /// From now on logins are refused, because the client is too old. Open connections are dropped.
    pub fn outdate(&self) {
        self.change(|world| world.refuse_logins(login::failure(405)));
    }

    /// Logins are not refused any more.
    pub fn allow_logins(&self) {
        self.change(|world| world.refusal = None);
    }
}

impl World {
    fn people_say(&mut self, chat: &str, who: &str, said: &Said) -> String {
        let who = self.speaker(chat, who);
        let quoted = said.answers.as_ref().map(|id| {
            let kept = self.messages.get(&(chat.to_owned(), id.clone())).expect("a test quotes what was said");
            let author = kept.who.as_deref().unwrap_or(FakeWhatsApp::BOT);
            let in_group = self.people.groups.get(chat).map(|group| self.people.address_in(group, author));
            Quoted { id: id.clone(), who: in_group.unwrap_or_else(|| author.to_owned()), message: kept.message.clone() }
        });
        let message = said::message(said, quoted, &mut self.media);
        self.keep_and_queue(chat, &who, message, None)
    }

    fn people_change(&mut self, chat: &str, id: &str, text: Option<&str>) -> String {
        let kept = self.messages.get(&(chat.to_owned(), id.to_owned()));
        let who = kept.and_then(|kept| kept.who.clone()).expect("a test changes what somebody said");
        let in_group = self.people.groups.get(chat).map(|group| self.people.address_in(group, &who));
        let message = said::change(chat, id, in_group.as_deref(), text);
        let change = if text.is_some() { Change::Edited } else { Change::Removed };
        self.keep_and_queue(chat, &who, message, Some(change))
    }

    /// By what address it is said: a person's number, or the account's.
    fn speaker(&self, chat: &str, who: &str) -> String {
        if is_bot(who) {
            return FakeWhatsApp::BOT.to_owned();
        }
        let who = self.people.number_of(who).expect("a test lets only people speak whom it added");
        let exists = self.people.groups.contains_key(chat) || chat == FakeWhatsApp::STATUS || chat == who;
        assert!(exists, "there is no group {chat}, nor is it {who}");
        who
    }

    fn keep_and_queue(&mut self, chat: &str, who: &str, message: Message, change: Option<Change>) -> String {
        let id = self.new_id();
        let kept = Kept { who: Some(who.to_owned()), message: message.clone() };
        self.messages.insert((chat.to_owned(), id.clone()), kept);
        if self.people.groups.get(chat).is_none_or(|group| group.bot_is_in) {
            self.queue(chat, &id, who, message, change);
        }
        id
    }

    fn group_mut(&mut self, address: &str) -> &mut Group {
        self.people.groups.get_mut(address).unwrap_or_else(|| panic!("there is no group {address}"))
    }

    fn tell_of_member(&mut self, address: &str, by: &str, what: &'static str, who: &str) {
        let participant = self.people.groups.get(address).map(|group| self.people.participant(group, who).build());
        self.tell_of_group(address, by, node(what).children(participant).build());
    }

    fn repeat(&mut self, chat: &str, id: &str) {
        let kept = self.messages.get(&(chat.to_owned(), id.to_owned()));
        let said = kept.and_then(|kept| Some((kept.who.clone()?, kept.message.clone())));
        let (who, message) = said.expect("a test repeats what somebody said");
        self.queue(chat, id, &who, message, None);
    }

    /// Every connection is told this and closed.
    fn end_all(&mut self, last: &super::nodes::Node) {
        let open: Vec<usize> = self.connections.keys().copied().collect();
        open.into_iter().for_each(|number| self.end(number, last.clone()));
    }

    pub(super) fn drop_all(&mut self) {
        let open: Vec<usize> = self.connections.keys().copied().collect();
        open.into_iter().for_each(|number| self.drop_one(number));
    }

    fn refuse_logins(&mut self, failure: super::nodes::Node) {
        self.refusal = Some(failure);
        self.drop_all();
    }
}
