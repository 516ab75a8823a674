//! What there is: people, places, messages.

use std::collections::BTreeSet;

use grammers_tl_types::enums::MessageEntity;

use super::FakeTelegram;

/// Somebody, a person or a bot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) username: Option<String>,
    pub(super) is_bot: bool,
    /// Whether they let the bot write to them no more.
    pub(super) blocks_bot: bool,
}

/// A chat: with one person, of a basic group, or of a supergroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) title: String,
    /// Of groups; the bot is told apart.
    pub(super) members: BTreeSet<i64>,
    pub(super) bot_is_in: bool,
    /// Of a basic group that has become a supergroup: that one.
    pub(super) became: Option<i64>,
}

/// What kind of chat an id is of. Ids are those of the Bot API: a person's own, `-42` for the basic group 42, and `-100…` for a supergroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Private(i64),
    Group(i64),
    Supergroup(i64),
}

/// Which sequence of changes something belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sequence {
    /// Of private chats and basic groups.
    Common,
    /// Of the supergroup of this bare id.
    Channel(i64),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Message {
    pub(super) id: i32,
    pub(super) chat: i64,
    /// Who wrote it; a chat's id where somebody wrote in its name.
    pub(super) from: i64,
    /// In seconds since 1970.
    pub(super) date: i32,
    pub(super) edited: Option<i32>,
    pub(super) text: String,
    pub(super) entities: Vec<MessageEntity>,
    pub(super) reply_to: Option<i32>,
    /// The first message of the forum's topic that it is in.
    pub(super) topic: Option<i32>,
    /// Its number in [`super::files::Files`].
    pub(super) file: Option<i64>,
    /// What it comes with in place of a file, as it is on the wire.
    pub(super) media: Option<Vec<u8>>,
    pub(super) album: Option<i64>,
    pub(super) mentions_bot: bool,
    /// The name of whose message it was first.
    pub(super) forwarded_from: Option<String>,
    /// Something that happened, in place of something that was written.
    pub(super) action: Option<Action>,
}

/// What is told by a service message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Added(i64),
    Removed(i64),
    Renamed(String),
    /// A basic group became the supergroup of this bare id.
    BecameSupergroup(i64),
    /// A supergroup was the basic group of this bare id and title.
    WasGroup(i64, String),
}

impl Kind {
    pub(super) fn of(chat: i64) -> Self {
        match chat {
            chat if chat > 0 => Self::Private(chat),
            chat if chat > FakeTelegram::SUPERGROUP => Self::Group(-chat),
            chat => Self::Supergroup(FakeTelegram::SUPERGROUP - chat),
        }
    }

    pub(super) fn sequence(self) -> Sequence {
        match self {
            Self::Private(_) | Self::Group(_) => Sequence::Common,
            Self::Supergroup(id) => Sequence::Channel(id),
        }
    }
}

impl Action {
    /// Whom it is about.
    pub(super) fn user(&self) -> Option<i64> {
        match self {
            Self::Added(user) | Self::Removed(user) => Some(*user),
            Self::Renamed(_) | Self::BecameSupergroup(_) | Self::WasGroup(..) => None,
        }
    }
}

impl Message {
    pub(super) fn sequence(&self) -> Sequence {
        Kind::of(self.chat).sequence()
    }

    pub(super) fn is_outgoing(&self) -> bool {
        self.from == FakeTelegram::BOT_ID
    }
}

/// The number without which a client may not speak of somebody, or of a supergroup. Only what is told to clients says it.
pub(super) fn access_hash(id: i64) -> i64 {
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) ^ 0x5bd1_e995
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_what_kind_of_chat_it_is_of() {
        assert_eq!(Kind::of(1001), Kind::Private(1001));
        assert_eq!(Kind::of(-42), Kind::Group(42));
        assert_eq!(Kind::of(-1_000_000_000_055), Kind::Supergroup(55));
        assert_eq!(Kind::of(FakeTelegram::SUPERGROUP - 1_234_567_890), Kind::Supergroup(1_234_567_890));
        assert_eq!(Kind::of(-1_001_234_567_890), Kind::Supergroup(1_234_567_890));
    }
}
