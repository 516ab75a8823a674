//! What people say, on its way to the client: it is told again on every connection until the client said that it has it.

use waproto::whatsapp::Message;

use super::{
    account::Account,
    login::Phase,
    nodes::{Node, NodeBuilder, SERVICE, attr, child, is_group, node, now},
    people::Addressing,
    world::World,
};

/// Messages that the client does not have yet, oldest first.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Vec<Waiting>,
    /// How many of the next messages are spoilt on their way.
    pub(super) spoils: usize,
}

pub(super) struct Waiting {
    pub(super) chat: String,
    pub(super) id: String,
    /// A person, or the owner by the phone.
    pub(super) who: String,
    pub(super) said_at: u64,
    pub(super) content: Content,
    /// As it is told every time: what is encrypted twice would be two messages.
    sealed: Option<Node>,
    /// On which connection it was told last.
    told_on: usize,
}

/// What the client is to hear.
pub(super) enum Content {
    /// What somebody says, and how it changes what they said before, as stanzas have it.
    Said { message: Message, change: Option<Change> },
    /// A message that the client could not read, on its own, so that nothing else is needed for it; for how often it asked.
    Again { message: Message, count: String },
    /// News that are not encrypted.
    News(Node),
}

/// How a message changes an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Edited,
    Removed,
}

impl Change {
    /// As stanzas have it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Edited => "1",
            Self::Removed => "7",
        }
    }
}

impl Waiting {
    /// What is encrypted needs the client's keys.
    fn can_be_told(&self, account: &Account) -> bool {
        self.sealed.is_some() || matches!(self.content, Content::News(_)) || account.has_keys()
    }
}

impl Queue {
    /// The client has it.
    pub(super) fn has(&mut self, id: &str) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    /// The client needs it no more, as it was told: it may have asked for it again before, and not have that yet.
    pub(super) fn is_done_with(&mut self, id: &str) {
        self.waiting.retain(|waiting| waiting.id != id || matches!(waiting.content, Content::Again { .. }));
    }

    /// What was encrypted for a device that is not linked any more has to be encrypted anew.
    pub(super) fn forget_sealed(&mut self) {
        self.waiting.iter_mut().for_each(|waiting| waiting.sealed = None);
    }

    /// The ids of what the client does not have yet.
    pub(super) fn ids(&self) -> Vec<String> {
        self.waiting.iter().map(|waiting| waiting.id.clone()).collect()
    }

    /// How many these are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl World {
    /// Somebody says something that is kept until the client has it.
    pub(super) fn queue(&mut self, chat: &str, id: &str, who: &str, message: Message, change: Option<Change>) {
        let content = Content::Said { message, change };
        self.enqueue(chat, id, who, content);
        self.deliver();
    }

    fn enqueue(&mut self, chat: &str, id: &str, who: &str, content: Content) {
        let (chat, id, who) = (chat.to_owned(), id.to_owned(), who.to_owned());
        self.queue.waiting.push(Waiting { chat, id, who, said_at: now(), content, sealed: None, told_on: 0 });
    }

    /// Something happens in a group of which the client hears.
    pub(super) fn tell_of_group(&mut self, address: &str, by: &str, happened: Node) {
        let id = self.new_id();
        let Some(group) = self.people.groups.get(address) else { return };
        let news = node("notification")
            .attr("from", address)
            .attr("type", "w:gp2")
            .attr("id", id.as_str())
            .attr("participant", self.people.address_in(group, by))
            .attr("addressing_mode", group.addressing.word())
            .attr("t", now().to_string());
        let news = match group.addressing {
            Addressing::Numbers => news,
            Addressing::Lids => news.attr("participant_pn", by),
        };
        self.tell_plainly(address, &id, by, news.children([happened]).build());
    }

    /// The client is to hear something that is not encrypted.
    pub(super) fn tell_plainly(&mut self, chat: &str, id: &str, who: &str, news: Node) {
        self.enqueue(chat, id, who, Content::News(news));
        self.deliver();
    }

    /// The client could not read something. As a phone does, its sender begins a new session and says it again.
    pub(super) fn say_again(&mut self, receipt: &Node) {
        let (to, id) = (attr(receipt, "to"), attr(receipt, "id"));
        let asked = if is_group(&to) { attr(receipt, "participant") } else { to.clone() };
        let Some(who) = self.people.number_of(&asked) else { return };
        let chat = if is_group(&to) { to } else { who.clone() };
        let Some(kept) = self.messages.get(&(chat.clone(), id.clone())) else { return };
        let message = kept.message.clone();
        let bundle = Account::bundle_in_receipt(receipt).unwrap_or_else(|| self.account.bundle());
        let Some(person) = self.people.get_mut(&who) else { return };
        let began = bundle.and_then(|bundle| person.phone.meet_bot(&bundle));
        if let Err(error) = began {
            self.seen.unreadable.push(format!("{who} cannot say {id} again: {error:#}"));
            return;
        }
        let count = child(receipt, "retry").map(|retry| attr(retry, "count")).unwrap_or_default();
        self.enqueue(&chat, &id, &who, Content::Again { message, count });
    }

    /// Tells the client what it was not told yet on the connection on which it is.
    pub(super) fn deliver(&mut self) {
        let live = self.connections.iter().find(|(_, connection)| connection.phase == Phase::Live);
        let Some((&number, _)) = live else { return };
        self.tell(number, usize::MAX, false);
        if self.account.takes_warning() {
            let count = node("count").attr("value", self.account.keys_left().to_string()).build();
            let warning = node("notification").attr("from", SERVICE).attr("type", "encrypt").attr("id", self.new_id());
            self.say(number, warning.attr("t", now().to_string()).children([count]).build());
        }
    }

    /// Tells at most so many; returns how many it were.
    fn tell(&mut self, number: usize, at_most: usize, offline: bool) -> usize {
        let mut queue = std::mem::take(&mut self.queue.waiting);
        let mut told = 0;
        for waiting in queue.iter_mut().filter(|waiting| waiting.told_on != number) {
            if told == at_most {
                break;
            }
            if waiting.sealed.is_none() {
                if !waiting.can_be_told(&self.account) {
                    break;
                }
                match self.stanza(waiting) {
                    Ok(sealed) => waiting.sealed = Some(sealed),
                    Err(error) => {
                        let problem = format!("{} cannot say {}: {error:#}", waiting.who, waiting.id);
                        self.seen.unreadable.push(problem);
                        waiting.told_on = number;
                        continue;
                    }
                }
            }
            let Some(mut stanza) = waiting.sealed.clone() else { continue };
            if offline {
                stanza.attrs.insert("offline", told.to_string());
            }
            waiting.told_on = number;
            told += 1;
            self.say(number, stanza);
        }
        self.queue.waiting = queue;
        told
    }

    /// The client asks for so many of the messages that waited for it.
    pub(super) fn take_offline_batch(&mut self, number: usize, said: &Node) -> Vec<Node> {
        let Some(batch) = child(said, "offline_batch") else { return Vec::new() };
        if self.phase(number) != Some(Phase::CatchingUp) {
            return Vec::new();
        }
        self.tell(number, attr(batch, "count").parse().unwrap_or(0), true);
        let mut can = self.queue.waiting.iter().take_while(|waiting| waiting.can_be_told(&self.account));
        if can.any(|waiting| waiting.told_on != number) {
            return Vec::new();
        }
        self.set_phase(number, Phase::Live);
        vec![offline(self.queue.waiting.len())]
    }
}

/// Says how many messages wait, after the client said that it is ready.
pub(super) fn announce(world: &mut World, number: usize) -> Vec<Node> {
    let can = |waiting: &&Waiting| waiting.can_be_told(&world.account);
    let count = world.queue.waiting.iter().take_while(can).count();
    world.seen.active += 1;
    if count == 0 {
        world.set_phase(number, Phase::Live);
        return vec![offline(0)];
    }
    world.set_phase(number, Phase::CatchingUp);
    let count = count.to_string();
    let preview = node("offline_preview").attr("count", count.as_str()).attr("message", count.as_str());
    let preview = preview.attr("notification", "0").attr("receipt", "0").attr("appdata", "0").build();
    vec![from_service("ib").children([preview]).build()]
}

fn offline(count: usize) -> Node {
    let end = node("offline").attr("count", count.to_string()).build();
    from_service("ib").children([end]).build()
}

fn from_service(tag: &'static str) -> NodeBuilder {
    node(tag).attr("from", SERVICE)
}
