//! Who there is, and in which groups.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    FakeWhatsApp,
    account::is_bot,
    nodes::{Node, NodeBuilder, bare, node},
    party::Party,
};

pub(super) struct Person {
    pub(super) name: String,
    /// By which they are known where numbers are hidden.
    pub(super) lid: String,
    pub(super) phone: Party,
}

/// How the members of a group are addressed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressing {
    /// By their numbers.
    Numbers,
    /// By ids that hide their numbers.
    Lids,
}

pub(super) struct Group {
    pub(super) subject: String,
    /// Their addresses by number.
    pub(super) members: BTreeSet<String>,
    pub(super) bot_is_in: bool,
    pub(super) addressing: Addressing,
    /// Who told the bot the key by which they speak here.
    pub(super) served: BTreeSet<String>,
}

#[derive(Default)]
pub(super) struct People {
    people: BTreeMap<String, Person>,
    pub(super) groups: BTreeMap<String, Group>,
}

impl People {
    /// There is such a person. Of whom there is already, only the name changes.
    pub(super) fn add(&mut self, address: &str, name: &str) {
        let address = bare(address);
        let number = address.split('@').next().unwrap_or_default();
        let lid = format!("77{number}@lid");
        let person = || Person { name: String::new(), lid, phone: Party::new() };
        name.clone_into(&mut self.people.entry(address).or_insert_with(person).name);
    }

    /// The address by number of whom this address is of, of whatever kind and device.
    pub(super) fn number_of(&self, address: &str) -> Option<String> {
        let address = bare(address);
        if self.people.contains_key(&address) {
            return Some(address);
        }
        self.people.iter().find(|(_, person)| person.lid == address).map(|(number, _)| number.clone())
    }

    pub(super) fn get(&self, address: &str) -> Option<&Person> {
        self.people.get(&self.number_of(address)?)
    }

    pub(super) fn get_mut(&mut self, address: &str) -> Option<&mut Person> {
        let number = self.number_of(address)?;
        self.people.get_mut(&number)
    }

    /// There is such a group with everybody in it that there is.
    pub(super) fn add_group(&mut self, address: &str, subject: &str, addressing: Addressing, bot_is_in: bool) {
        let members = self.people.keys().cloned().collect();
        let (subject, served) = (subject.to_owned(), BTreeSet::new());
        let group = Group { subject, members, bot_is_in, addressing, served };
        self.groups.entry(address.to_owned()).or_insert(group);
    }

    /// Everybody has to begin anew with the bot: its device is another.
    pub(super) fn forget_bot(&mut self) {
        self.people.values_mut().for_each(|person| person.phone.forget_bot());
        self.groups.values_mut().for_each(|group| group.served.clear());
    }

    /// How somebody is addressed in a group.
    pub(super) fn address_in(&self, group: &Group, address: &str) -> String {
        match group.addressing {
            Addressing::Numbers if is_bot(address) => FakeWhatsApp::BOT.to_owned(),
            Addressing::Numbers => self.number_of(address).unwrap_or_default(),
            Addressing::Lids if is_bot(address) => FakeWhatsApp::BOT_LID.to_owned(),
            Addressing::Lids => self.get(address).map(|person| person.lid.clone()).unwrap_or_default(),
        }
    }

    /// Somebody as one of a group.
    pub(super) fn participant(&self, group: &Group, address: &str) -> NodeBuilder {
        let participant = node("participant").attr("jid", self.address_in(group, address));
        match group.addressing {
            Addressing::Lids => participant.attr("phone_number", address),
            Addressing::Numbers => participant,
        }
    }

    /// A group as queries are answered and news tell it.
    pub(super) fn group_node(&self, address: &str, group: &Group) -> Node {
        let bot = group.bot_is_in.then(|| FakeWhatsApp::BOT.to_owned());
        let members = group.members.iter().cloned().chain(bot).enumerate().map(|(place, member)| {
            let participant = self.participant(group, &member);
            if place == 0 { participant.attr("type", "superadmin") } else { participant }.build()
        });
        let creator = group.members.first().map(|creator| self.address_in(group, creator)).unwrap_or_default();
        node("group")
            .attr("id", address.trim_end_matches("@g.us"))
            .attr("subject", group.subject.as_str())
            .attr("creation", "1700000000")
            .attr("s_t", "1700000000")
            .attr("creator", creator)
            .attr("addressing_mode", group.addressing.word())
            .children(members)
            .build()
    }
}

impl Addressing {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Numbers => "pn",
            Self::Lids => "lid",
        }
    }
}
