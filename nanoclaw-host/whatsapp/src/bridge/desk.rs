//! What is between the host and us: which messages it has not accepted, which of its messages are on their way, what it has to be told
//! again after a break. Decides and does nothing: no clock, no socket.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::wire::{Chat, FilesTaken, FromHost, Message, Send, Status, ToHost};

/// By which who said a message knows it.
pub type Ticket = u64;

/// What became of a message that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The host has it, or does not want it: it may be acknowledged.
    Accepted {
        /// Whether its chat is a group of the host's.
        registered: bool,
    },
    /// The host will never take it; why.
    Refused(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Say this to the host, after what was to be said before.
    Say(ToHost),
    /// Tell who said the message of this ticket.
    Tell(Ticket, Taken),
    /// Tell who asked with this ticket whether the chat is a group of the host's.
    Answer(Ticket, bool),
    /// Send this, and report how that ended.
    Send(Send),
    /// Show that the assistant is typing, or not any more.
    Typing {
        /// Where.
        chat: String,
        /// Whether it is.
        on: bool,
    },
    /// Find out which chats there are and note them.
    FindChats,
    /// Say again later what could not be stored.
    SayAgainLater,
    /// The host does not take us: close, and try again later.
    Close(String),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Desk {
    welcomed: bool,
    files: Option<FilesTaken>,
    /// What is not accepted, in the order in which it was said.
    waiting: BTreeMap<Ticket, Message>,
    /// Of which the host said that it could not be stored just now.
    put_off: HashSet<Ticket>,
    /// The chats of which it is not known whether they are groups, by who asked.
    asked: BTreeMap<Ticket, String>,
    /// Whether the host can tell.
    can_tell: bool,
    next: Ticket,
    /// The host's messages that are on their way.
    sending: HashSet<String>,
    chats: BTreeMap<String, Chat>,
    status: Option<Status>,
}

impl Desk {
    /// Where files go that come with messages; `None`: the host takes none, or was never connected.
    #[must_use]
    pub fn files(&self) -> Option<&FilesTaken> {
        self.files.as_ref()
    }

    /// Whether the host is there.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.welcomed
    }

    /// Somebody wrote a message. What becomes of it is told by its ticket, however many connections later.
    pub fn message(&mut self, message: Message) -> (Ticket, Vec<Act>) {
        self.next += 1;
        let said = self.welcomed.then(|| Act::Say(ToHost::Message(message.clone())));
        self.waiting.insert(self.next, message);
        (self.next, said.into_iter().collect())
    }

    /// Somebody wants to know whether a chat is a group of the host's; what the host says comes by the ticket, however many connections
    /// later. Of a host that cannot tell, every chat is one.
    pub fn is_registered(&mut self, chat: String) -> (Ticket, Vec<Act>) {
        self.next += 1;
        let ask = self.welcomed && self.can_tell && !self.asked.values().any(|asked| *asked == chat);
        let said = ask.then(|| Act::Say(ToHost::IsRegistered { chat: chat.clone() }));
        self.asked.insert(self.next, chat);
        let answered = if self.welcomed && !self.can_tell { self.answer(None, true) } else { Vec::new() };
        (self.next, said.into_iter().chain(answered).collect())
    }

    /// Who waits for a word does not wait any more, since the connection to WhatsApp ended: the message will come again.
    pub fn forget(&mut self, ticket: Ticket) {
        self.asked.remove(&ticket);
        self.waiting.remove(&ticket);
        self.put_off.remove(&ticket);
    }

    /// Something is known of a chat.
    pub fn chat(&mut self, chat: Chat) -> Vec<Act> {
        let known = self.chats.insert(chat.chat.clone(), chat.clone());
        if !self.welcomed || known.as_ref() == Some(&chat) {
            return Vec::new();
        }
        vec![Act::Say(ToHost::Chat(chat))]
    }

    /// How the connection to WhatsApp stands.
    pub fn status(&mut self, status: Status) -> Vec<Act> {
        if self.status.as_ref() == Some(&status) {
            return Vec::new();
        }
        self.status = Some(status.clone());
        if self.welcomed { vec![Act::Say(ToHost::Status(status))] } else { Vec::new() }
    }

    /// A send ended; `line` says how. Without a host to hear it nothing is lost: it asks again, with the same key.
    pub fn settled(&mut self, key: &str, line: ToHost) -> Vec<Act> {
        self.sending.remove(key);
        if self.welcomed { vec![Act::Say(line)] } else { Vec::new() }
    }

    /// The host said something.
    pub fn heard(&mut self, line: FromHost) -> Vec<Act> {
        match line {
            FromHost::Welcome { files, answers } => {
                (self.welcomed, self.files) = (true, files);
                self.can_tell = answers.iter().any(|question| question == "is_registered");
                self.put_off.clear();
                let answered = if self.can_tell { Vec::new() } else { self.answer(None, true) };
                let asked: BTreeSet<_> = self.asked.values().cloned().collect();
                let questions = asked.into_iter().map(|chat| ToHost::IsRegistered { chat });
                let status = self.status.iter().cloned().map(ToHost::Status);
                let chats = self.chats.values().cloned().map(ToHost::Chat);
                let messages = self.waiting.values().cloned().map(ToHost::Message);
                status.chain(chats).chain(questions).chain(messages).map(Act::Say).chain(answered).collect()
            }
            FromHost::Registered { chat, registered } => self.answer(Some(&chat), registered),
            FromHost::Accepted { chat, id, registered } => self.tell(&chat, &id, &Taken::Accepted { registered }),
            FromHost::Send(send) if !self.sending.insert(send.key.clone()) => Vec::new(),
            FromHost::Send(send) => vec![Act::Send(send)],
            FromHost::Typing { chat, on } => vec![Act::Typing { chat, on }],
            FromHost::SyncGroups => {
                let known = self.chats.values().cloned().map(|chat| Act::Say(ToHost::Chat(chat)));
                known.chain([Act::FindChats]).collect()
            }
            FromHost::Error { reason, .. } if !self.welcomed => vec![Act::Close(reason)],
            FromHost::Error { reason, chat: Some(chat), id: Some(id), retry: false } => {
                self.tell(&chat, &id, &Taken::Refused(reason))
            }
            FromHost::Error { chat: Some(chat), id: Some(id), retry: true, .. } => {
                let again = self.tickets(&chat, &id);
                self.put_off.extend(&again);
                if again.is_empty() { Vec::new() } else { vec![Act::SayAgainLater] }
            }
            FromHost::Error { reason, .. } => {
                tracing::debug!(reason, "the host did not take a line");
                Vec::new()
            }
            FromHost::Unknown => Vec::new(),
        }
    }

    /// Later is now: what could not be stored is said again.
    pub fn say_again(&mut self) -> Vec<Act> {
        let mut again: Vec<_> = self.put_off.drain().collect();
        again.sort_unstable();
        let say = |ticket| self.waiting.get(&ticket).cloned().map(|message| Act::Say(ToHost::Message(message)));
        if self.welcomed { again.into_iter().filter_map(say).collect() } else { Vec::new() }
    }

    /// The connection to the host ended.
    pub fn lost(&mut self) {
        self.welcomed = false;
    }

    /// Answers who asked for `chat`; `None`: for any.
    fn answer(&mut self, chat: Option<&str>, registered: bool) -> Vec<Act> {
        let answered = self.asked.extract_if(.., |_, asked| chat.is_none_or(|chat| *asked == chat));
        answered.map(|(ticket, _)| Act::Answer(ticket, registered)).collect()
    }

    fn tell(&mut self, chat: &str, id: &str, taken: &Taken) -> Vec<Act> {
        let told = self.tickets(chat, id);
        for ticket in &told {
            self.forget(*ticket);
        }
        told.into_iter().map(|ticket| Act::Tell(ticket, taken.clone())).collect()
    }

    fn tickets(&self, chat: &str, id: &str) -> Vec<Ticket> {
        let of = |message: &Message| message.chat == chat && message.id == id;
        self.waiting.iter().filter(|(_, message)| of(message)).map(|(ticket, _)| *ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::State, *};

    fn message(id: &str) -> Message {
        Message { chat: "1@g.us".to_owned(), id: id.to_owned(), text: "hi".to_owned(), ..Message::default() }
    }

    fn welcome() -> FromHost {
        FromHost::Welcome { files: None, answers: vec!["is_registered".to_owned()] }
    }

    fn accepted(id: &str) -> FromHost {
        FromHost::Accepted { chat: "1@g.us".to_owned(), id: id.to_owned(), registered: true }
    }

    fn error(id: &str, retry: bool) -> FromHost {
        let (reason, chat) = ("no".to_owned(), Some("1@g.us".to_owned()));
        FromHost::Error { reason, chat, id: Some(id.to_owned()), retry }
    }

    fn say(id: &str) -> Act {
        Act::Say(ToHost::Message(message(id)))
    }

    #[test]
    fn a_message_is_said_again_after_each_break_until_it_is_accepted() {
        let mut desk = Desk::default();
        let (first, said) = desk.message(message("A"));
        assert_eq!(said, []);
        assert_eq!(desk.heard(welcome()), [say("A")]);
        let (second, said) = desk.message(message("B"));
        assert_eq!(said, [say("B")]);
        assert_eq!(desk.heard(accepted("A")), [Act::Tell(first, Taken::Accepted { registered: true })]);
        desk.lost();
        assert_eq!(desk.heard(welcome()), [say("B")]);
        assert_eq!(desk.heard(accepted("B")), [Act::Tell(second, Taken::Accepted { registered: true })]);
        assert_eq!(desk.heard(accepted("B")), [], "it may be said twice");
    }

    #[test]
    fn what_could_not_be_stored_is_said_again_later_in_its_order_and_what_is_refused_never() {
        let mut desk = Desk::default();
        desk.heard(welcome());
        let (first, _) = desk.message(message("A"));
        desk.message(message("B"));
        assert_eq!(desk.heard(error("B", true)), [Act::SayAgainLater]);
        assert_eq!(desk.heard(error("A", true)), [Act::SayAgainLater]);
        assert_eq!(desk.say_again(), [say("A"), say("B")]);
        assert_eq!(desk.say_again(), []);
        assert_eq!(desk.heard(error("A", false)), [Act::Tell(first, Taken::Refused("no".to_owned()))]);
        desk.lost();
        assert_eq!(desk.heard(welcome()), [say("B")]);
    }

    #[test]
    fn a_message_that_nobody_waits_for_is_not_said_again() {
        let mut desk = Desk::default();
        let (ticket, _) = desk.message(message("A"));
        desk.forget(ticket);
        assert_eq!(desk.heard(welcome()), []);
    }

    #[test]
    fn the_host_is_asked_once_for_a_chat_after_each_break_until_it_answers() {
        let mut desk = Desk::default();
        let ask = || Act::Say(ToHost::IsRegistered { chat: "1@g.us".to_owned() });
        let (first, said) = desk.is_registered("1@g.us".to_owned());
        assert_eq!(said, []);
        let (second, _) = desk.is_registered("1@g.us".to_owned());
        assert_eq!(desk.heard(welcome()), [ask()]);
        desk.lost();
        assert_eq!(desk.heard(welcome()), [ask()]);
        let (third, said) = desk.is_registered("1@g.us".to_owned());
        assert_eq!(said, [], "it is asked already");
        desk.forget(second);
        let answer = || FromHost::Registered { chat: "1@g.us".to_owned(), registered: false };
        assert_eq!(desk.heard(answer()), [Act::Answer(first, false), Act::Answer(third, false)]);
        assert_eq!(desk.heard(answer()), []);
        let (fourth, said) = desk.is_registered("1@g.us".to_owned());
        assert_eq!((fourth > third, said), (true, vec![ask()]), "it may have changed");
    }

    #[test]
    fn of_a_host_that_cannot_tell_every_chat_is_a_group() {
        let mut desk = Desk::default();
        let (first, _) = desk.is_registered("1@g.us".to_owned());
        let welcome = FromHost::Welcome { files: None, answers: Vec::new() };
        assert_eq!(desk.heard(welcome), [Act::Answer(first, true)]);
        let (second, said) = desk.is_registered("1@g.us".to_owned());
        assert_eq!(said, [Act::Answer(second, true)]);
    }

    #[test]
    fn a_send_is_begun_once_however_often_it_is_asked_for_until_it_ended() {
        let mut desk = Desk::default();
        desk.heard(welcome());
        let send = Send { key: "k".to_owned(), ..Send::default() };
        assert_eq!(desk.heard(FromHost::Send(send.clone())), [Act::Send(send.clone())]);
        desk.lost();
        desk.heard(welcome());
        assert_eq!(desk.heard(FromHost::Send(send.clone())), [], "it is on its way");
        let sent = ToHost::Sent { key: "k".to_owned(), platform_id: "3EB0".to_owned() };
        assert_eq!(desk.settled("k", sent.clone()), [Act::Say(sent.clone())]);
        assert_eq!(desk.heard(FromHost::Send(send.clone())), [Act::Send(send)]);
        desk.lost();
        assert_eq!(desk.settled("k", sent), [], "the host asks again");
    }

    #[test]
    fn the_host_hears_how_we_stand_and_which_chats_there_are_whenever_it_comes() {
        let mut desk = Desk::default();
        let status = Status { state: State::Connected, reason: None, remedy: None };
        let chat = Chat::known("1@g.us".to_owned(), Some("Family".to_owned()), true);
        desk.status(status.clone());
        desk.chat(chat.clone());
        let both = [Act::Say(ToHost::Status(status.clone())), Act::Say(ToHost::Chat(chat.clone()))];
        assert_eq!(desk.heard(welcome()), both);
        assert_eq!((desk.status(status), desk.chat(chat.clone())), (vec![], vec![]), "nothing is new");
        let renamed = Chat { name: Some("Clan".to_owned()), ..chat };
        assert_eq!(desk.chat(renamed.clone()), [Act::Say(ToHost::Chat(renamed.clone()))]);
        assert_eq!(desk.heard(FromHost::SyncGroups), [Act::Say(ToHost::Chat(renamed)), Act::FindChats]);
    }

    #[test]
    fn a_host_that_does_not_take_us_is_left() {
        let mut desk = Desk::default();
        let refused = FromHost::Error { reason: "taken".to_owned(), chat: None, id: None, retry: false };
        assert_eq!(desk.heard(refused.clone()), [Act::Close("taken".to_owned())]);
        desk.heard(welcome());
        assert_eq!(desk.heard(refused), []);
    }
}
