//! Pairing: a chat becomes a group by a code that is written in it.
//!
//! Whoever has the machine is given a code; whoever writes it in a private chat that is no group yet claims that chat. A code
//! holds for ten minutes and five tries, over all chats, and only the first who writes it claims. This file decides; the store
//! keeps the pairing and does what is decided in one transaction.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    chat::{ChatId, ChatKind},
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    message::{InboundMessage, PlatformMessageId},
    secret::Secret,
    text_id::{plain_text, text_id},
    time::Timestamp,
};

/// How long a code holds.
pub const HOLDS_FOR: Duration = Duration::from_secs(10 * 60);
/// How many wrong codes may be tried, over all chats, before the right one is void too.
pub const MOST_TRIES: usize = 5;

/// What codes are made of: nothing that looks like something else here (`0` and `O`, `1`, `I` and `L`, `U` and `V`).
const ALPHABET: &[u8; 30] = b"23456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Characters of a code: 30^10 codes are 49 bits.
const LENGTH: usize = 10;
/// How often a code is hashed. Whoever copies the database has ten minutes to try 30^10 codes so often each.
const ROUNDS: u32 = 4096;

text_id! {
    /// Names a pairing: 32 hexadecimal digits. It salts the hash of its code.
    PairingId, "pairing id", |text| plain_text(text, 64)
}

/// A code, without the spaces and hyphens between its characters, in capitals. It prints as `****`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingCode(Secret);

impl PairingCode {
    /// The code that a random number of the system is.
    #[must_use]
    pub fn from_random(random: u128) -> Self {
        let mut rest = random;
        let mut code = String::with_capacity(LENGTH);
        for _ in 0..LENGTH {
            // Less than 2^-75 from evenly spread.
            let digit = usize::try_from(rest % 30).unwrap_or(0);
            code.push(char::from(ALPHABET[digit]));
            rest /= 30;
        }
        Self(Secret::new(code))
    }

    /// The code that `text` has the shape of; case, spaces and hyphens do not matter.
    #[must_use]
    pub fn in_text(text: &str) -> Option<Self> {
        let mut code = String::with_capacity(LENGTH);
        for character in text.chars() {
            // The hyphens are those that telephones make of one.
            if character.is_whitespace() || matches!(character, '-' | '\u{2010}'..='\u{2015}') {
                continue;
            }
            let character = character.to_ascii_uppercase();
            let known = u8::try_from(character).is_ok_and(|byte| ALPHABET.contains(&byte));
            if !known || code.len() == LENGTH {
                return None;
            }
            code.push(character);
        }
        (code.len() == LENGTH).then(|| Self(Secret::new(code)))
    }

    /// The code that a message has the shape of; none in one with files.
    #[must_use]
    pub fn in_message(message: &InboundMessage) -> Option<Self> {
        message.attachments.is_empty().then(|| Self::in_text(&message.text)).flatten()
    }

    /// It as people read it, in two halves: `ABCDE-23456`. For the eyes of whoever asked for it alone.
    #[must_use]
    pub fn shown(&self) -> String {
        let (first, second) = self.0.reveal().split_at(LENGTH / 2);
        format!("{first}-{second}")
    }

    /// Its hash, as it is kept: 64 hexadecimal digits.
    fn hash(&self, pairing: &PairingId) -> Secret {
        let mut hash = Sha256::new().chain_update(pairing.as_str()).chain_update(self.0.reveal()).finalize();
        for _ in 1..ROUNDS {
            hash = Sha256::new().chain_update(pairing.as_str()).chain_update(hash).finalize();
        }
        Secret::new(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

/// What is registered when a code is written: a group but for its chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    /// Its folder.
    pub folder: GroupFolder,
    /// The name people know it by.
    pub name: String,
    /// When its agent wakes.
    pub trigger: TriggerPolicy,
    /// Its rights.
    pub role: GroupRole,
}

/// A message by its chat and its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The chat.
    pub chat: ChatId,
    /// The service's id of the message.
    pub message: PlatformMessageId,
}

/// How a pairing ended before its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingEnd {
    /// Somebody wrote the code.
    Claimed(Said),
    /// Somebody wrote the code, and something was in the way.
    Refused {
        /// By which message.
        by: Said,
        /// What.
        reason: String,
    },
    /// Whoever asked for it wants it no more.
    Withdrawn,
}

/// A pairing as it is kept. There is one at a time; the last one is kept also when it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairing {
    /// Its name.
    pub id: PairingId,
    /// The hash of its code ([`PairingCode`]).
    pub hash: Secret,
    /// What it registers.
    pub registers: Registers,
    /// When its code is void.
    pub ends_at: Timestamp,
    /// The messages that were wrong codes, oldest first; at most [`MOST_TRIES`].
    pub tried: Vec<Said>,
    /// How it ended, if it did before its time.
    pub end: Option<PairingEnd>,
}

/// How a pairing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PairingStanding {
    /// Its code can be written.
    Open {
        /// How many wrong codes may still be tried.
        tries_left: usize,
    },
    /// It ended before its time.
    Ended(PairingEnd),
    /// Too many wrong codes were tried.
    TriesUsedUp,
    /// Nobody wrote it in time.
    TimeOver,
}

/// Where a code was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a private chat that is no group: this is what it is for.
    Private,
    /// In a chat that is no group, and perhaps others read it there.
    WithOthers,
    /// In a chat that is this group.
    Group(GroupFolder),
}

impl Place {
    /// Where `message` was written; `group` is the one that its chat is.
    #[must_use]
    pub fn of(message: &InboundMessage, group: Option<&Group>) -> Self {
        match (group, message.chat_kind) {
            (Some(group), _) => Self::Group(group.folder.clone()),
            (None, Some(ChatKind::Private)) => Self::Private,
            (None, Some(ChatKind::Group) | None) => Self::WithOthers,
        }
    }
}

/// What somebody wrote that has the shape of a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaidCode {
    /// The pairing that it was hashed for.
    pub pairing: PairingId,
    /// Its hash.
    pub hash: Secret,
    /// The message that it was.
    pub said: Said,
    /// Where it was written.
    pub place: Place,
}

/// What a code that was written does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is the right one: the chat becomes this group.
    Claims(Group),
    /// It was the right one, and something was in the way; it is void now.
    Refused,
    /// It is the message that claimed, or was refused, once more; nothing changes.
    Again,
    /// It is a wrong one; the same message again counts once.
    Wrong {
        /// How many wrong codes may still be tried.
        tries_left: usize,
    },
    /// No code is waited for, right or wrong, or it is a wrong one where no code belongs; nothing changes.
    Nothing,
}

impl Pairing {
    /// A new one, by two random numbers of the system, and its code.
    #[must_use]
    pub fn begin(id: u128, code: u128, registers: Registers, now: Timestamp) -> (Self, PairingCode) {
        let id = PairingId(format!("{id:032x}"));
        let code = PairingCode::from_random(code);
        let hash = code.hash(&id);
        (Self { id, hash, registers, ends_at: now.plus(HOLDS_FOR), tried: Vec::new(), end: None }, code)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> PairingStanding {
        match &self.end {
            Some(end) => PairingStanding::Ended(end.clone()),
            None if self.tries_left() == 0 => PairingStanding::TriesUsedUp,
            None if now >= self.ends_at => PairingStanding::TimeOver,
            None => PairingStanding::Open { tries_left: self.tries_left() },
        }
    }

    /// Whether its code can be written.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.standing(now), PairingStanding::Open { .. })
    }

    /// What `code` in `message` is for this pairing. Hashing takes milliseconds.
    #[must_use]
    pub fn said(&self, code: &PairingCode, message: &InboundMessage, place: Place) -> SaidCode {
        let said = Said { chat: message.chat.clone(), message: message.id.clone() };
        SaidCode { pairing: self.id.clone(), hash: code.hash(&self.id), said, place }
    }

    /// Hears a code, and notes what it does. The right one is void wherever it was written.
    pub fn hear(&mut self, code: &SaidCode, now: Timestamp) -> Heard {
        if let Some(PairingEnd::Claimed(by) | PairingEnd::Refused { by, .. }) = &self.end
            && *by == code.said
        {
            return Heard::Again;
        }
        if self.id != code.pairing || !self.is_open(now) {
            return Heard::Nothing;
        }
        // The time that this takes says nothing about how wrong a code is.
        let is_right = self.hash == code.hash;
        match (&code.place, is_right) {
            (Place::Private, true) => {
                self.end = Some(PairingEnd::Claimed(code.said.clone()));
                let Registers { folder, name, trigger, role } = self.registers.clone();
                Heard::Claims(Group { folder, chat: code.said.chat.clone(), name, trigger, role, added_at: now })
            }
            (Place::Private, false) => {
                if !self.tried.contains(&code.said) {
                    self.tried.push(code.said.clone());
                }
                Heard::Wrong { tries_left: self.tries_left() }
            }
            // Whoever reads along there could be the first to write it where it belongs.
            (Place::WithOthers, true) => {
                self.refuse(code, "only a private one can be, and others may have read the code there".to_owned());
                Heard::Refused
            }
            (Place::Group(folder), true) => {
                self.refuse(code, format!("it is the group {folder} already"));
                Heard::Refused
            }
            (Place::WithOthers | Place::Group(_), false) => Heard::Nothing,
        }
    }

    /// The group that was [claimed](Heard::Claims) cannot be registered for this reason, a sentence fragment.
    pub fn refuse(&mut self, code: &SaidCode, reason: String) {
        self.end = Some(PairingEnd::Refused { by: code.said.clone(), reason });
    }

    /// Its code is void from now on; an end that it has stays.
    pub fn withdraw(&mut self) {
        self.end.get_or_insert(PairingEnd::Withdrawn);
    }

    /// What the chat is told in which the right code was written.
    #[must_use]
    pub fn answer(&self, code: &SaidCode) -> NewDelivery {
        let folder = &self.registers.folder;
        let text = match (&self.end, self.registers.role) {
            (Some(PairingEnd::Refused { reason, .. }), _) => {
                format!("That was the code, but this chat cannot be registered: {reason}. The code is void now.")
            }
            (_, GroupRole::Main) => {
                format!(
                    "This chat is now the main group (its folder is {folder}). What you write here is for your assistant."
                )
            }
            (_, GroupRole::Ordinary) => {
                format!("This chat is now the group {folder}. What you write here is for its assistant.")
            }
        };
        let Said { chat, message } = &code.said;
        NewDelivery { key: DeliveryKey::command(chat, message), chat: chat.clone(), text, file: None, answers: None }
    }

    fn tries_left(&self) -> usize {
        MOST_TRIES.saturating_sub(self.tried.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        attachment::{Attachment, Fetched},
        message::sample,
    };

    const START: Timestamp = Timestamp::from_ms(1_000);

    fn pairing() -> (Pairing, PairingCode) {
        let folder = GroupFolder::new("main").unwrap();
        let registers =
            Registers { folder, name: "Main".to_owned(), trigger: TriggerPolicy::Always, role: GroupRole::Main };
        Pairing::begin(7, 123_456_789_012_345_678_901_234_567_890, registers, START)
    }

    fn said(pairing: &Pairing, code: &str, chat: &str, id: &str) -> SaidCode {
        let message = InboundMessage { chat: chat.parse().unwrap(), id: id.parse().unwrap(), ..sample("") };
        pairing.said(&PairingCode::in_text(code).unwrap(), &message, Place::Private)
    }

    const WRONG: &str = "22222-22222";

    #[test]
    fn case_spaces_and_hyphens_do_not_matter_and_anything_else_is_no_code() {
        let (_, code) = pairing();
        let shown = code.shown();
        let spread: String = shown.chars().flat_map(|c| [c, ' ']).collect();
        for text in [&shown, &shown.to_lowercase(), &spread, &shown.replace('-', "\u{2013}"), &format!("\n{shown}\n")] {
            assert_eq!(PairingCode::in_text(text).as_ref(), Some(&code), "{text:?}");
        }
        for text in
            ["", "hello", "ABCDE-2345", "ABCDE-234567", "ABCDE-2345O", "ABCDE.23456", "ABCDÉ-23456", "/ABCDE23456"]
        {
            assert_eq!(PairingCode::in_text(text), None, "{text:?}");
        }
        let photo = Attachment { kind: "photo".to_owned(), name: None, fetched: Fetched::default() };
        assert_eq!(PairingCode::in_message(&InboundMessage { attachments: vec![photo], ..sample(&shown) }), None);
    }

    #[test]
    fn what_is_kept_shows_nothing_of_the_code() {
        let (pairing, code) = pairing();
        let bare = code.shown().replace('-', "");
        let kept = format!("{pairing:?} {code:?} {}", pairing.hash.reveal());
        assert!(!kept.to_uppercase().contains(&bare), "{kept}");
        let other = Pairing::begin(8, 123_456_789_012_345_678_901_234_567_890, pairing.registers.clone(), START).0;
        assert_ne!(pairing.hash, other.hash, "the same code has another hash in another pairing");
    }

    #[test]
    fn the_first_who_writes_the_code_claims_and_nobody_after() {
        let (mut pairing, code) = pairing();
        let first = said(&pairing, &code.shown(), "tg:1", "1");
        let Heard::Claims(group) = pairing.hear(&first, START) else { panic!("it is the code") };
        assert_eq!((group.chat.as_str(), group.folder.as_str(), group.role), ("tg:1", "main", GroupRole::Main));
        assert_eq!(pairing.hear(&first, START), Heard::Again);
        let second = said(&pairing, &code.shown(), "tg:2", "1");
        assert_eq!(pairing.hear(&second, START), Heard::Nothing);
        pairing.withdraw();
        assert_eq!(pairing.standing(START), PairingStanding::Ended(PairingEnd::Claimed(first.said)));
    }

    #[test]
    fn after_its_end_or_when_it_is_withdrawn_the_code_is_void() {
        let (fresh, code) = pairing();
        let end = START.plus(HOLDS_FOR);
        let last = Timestamp::from_ms(end.as_ms() - 1);
        let right = said(&fresh, &code.shown(), "tg:1", "1");
        assert!(matches!(fresh.clone().hear(&right, last), Heard::Claims(_)));
        assert_eq!(fresh.clone().hear(&right, end), Heard::Nothing);
        assert_eq!(fresh.standing(end), PairingStanding::TimeOver);
        let mut withdrawn = fresh;
        withdrawn.withdraw();
        assert_eq!(withdrawn.hear(&right, START), Heard::Nothing);
    }

    #[test]
    fn where_others_may_read_it_the_right_code_is_spent_and_a_wrong_one_is_no_try() {
        for place in [Place::WithOthers, Place::Group(GroupFolder::new("family").unwrap())] {
            let (mut pairing, code) = pairing();
            let elsewhere = |code: SaidCode| SaidCode { place: place.clone(), ..code };
            let wrong = elsewhere(said(&pairing, WRONG, "tg:many", "1"));
            assert_eq!(pairing.hear(&wrong, START), Heard::Nothing);
            assert_eq!(pairing.standing(START), PairingStanding::Open { tries_left: MOST_TRIES });
            let right = elsewhere(said(&pairing, &code.shown(), "tg:many", "2"));
            assert_eq!(pairing.hear(&right, START), Heard::Refused);
            assert!(pairing.answer(&right).text.ends_with("The code is void now."));
            assert_eq!(pairing.hear(&right, START), Heard::Again);
            assert_eq!(pairing.hear(&said(&pairing, &code.shown(), "tg:1", "1"), START), Heard::Nothing);
        }
    }

    #[test]
    fn the_code_of_one_pairing_is_none_of_another() {
        let (old, code) = pairing();
        let right = said(&old, &code.shown(), "tg:1", "1");
        let mut new = Pairing::begin(8, 5, old.registers, START).0;
        assert_eq!(new.hear(&right, START), Heard::Nothing);
        assert_eq!(new.tried, []);
    }

    #[test]
    fn five_wrong_codes_in_whatever_chats_make_the_right_one_void_and_one_that_comes_twice_counts_once() {
        let (mut pairing, code) = pairing();
        for number in 1..=MOST_TRIES {
            let wrong = said(&pairing, WRONG, &format!("tg:{}", number % 2), &number.to_string());
            for _ in 0..2 {
                let heard = pairing.hear(&wrong, START);
                let void = number == MOST_TRIES && heard == Heard::Nothing;
                assert!(void || heard == Heard::Wrong { tries_left: MOST_TRIES - number }, "{heard:?}");
            }
        }
        assert_eq!(pairing.hear(&said(&pairing, &code.shown(), "tg:1", "99"), START), Heard::Nothing);
        assert_eq!(pairing.standing(START), PairingStanding::TriesUsedUp);
    }

    proptest! {
        // Each code is hashed some thousand times.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn whatever_is_written_at_most_one_chat_claims_by_the_right_code_in_time_and_within_the_tries(
            random in any::<u128>(),
            events in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.8), 0..4_u8, 0..6_u8, 0..900_i64), 0..16),
        ) {
            let (base, _) = pairing();
            let (mut pairing, code) = Pairing::begin(9, random, base.registers, START);
            prop_assert_eq!(PairingCode::in_text(&code.shown()), Some(code.clone()));
            let (mut over, mut wrong, mut now) = (None, Vec::new(), START);
            for (right, private, chat, id, later_s) in events {
                now = Timestamp::from_ms(now.as_ms() + later_s * 100);
                let said = Said {
                    chat: format!("tg:{chat}").parse().unwrap(),
                    message: id.to_string().parse().unwrap(),
                };
                let hash = if right { pairing.hash.clone() } else { Secret::new("wrong") };
                let place = if private { Place::Private } else { Place::WithOthers };
                let code = SaidCode { pairing: pairing.id.clone(), hash, said, place };
                let open = over.is_none() && wrong.len() < MOST_TRIES && now < pairing.ends_at;
                match pairing.hear(&code, now) {
                    Heard::Claims(group) => {
                        prop_assert!(right && private && open);
                        prop_assert_eq!(&group.chat, &code.said.chat);
                        over = Some(code.said);
                    }
                    Heard::Wrong { tries_left } => {
                        prop_assert!(!right && private && open);
                        if !wrong.contains(&code.said) {
                            wrong.push(code.said);
                        }
                        prop_assert_eq!(tries_left, MOST_TRIES - wrong.len());
                    }
                    Heard::Again => prop_assert_eq!(Some(code.said), over.clone()),
                    Heard::Nothing => prop_assert!(!open || (!right && !private)),
                    Heard::Refused => {
                        prop_assert!(right && !private && open);
                        over = Some(code.said);
                    }
                }
            }
        }

        #[test]
        fn no_text_makes_reading_a_code_fail_and_what_is_one_is_read_back(text in "[ \\-a-zA-Z0-9\\PC]{0,24}") {
            if let Some(code) = PairingCode::in_text(&text) {
                prop_assert_eq!(PairingCode::in_text(&code.shown()), Some(code));
            }
        }
    }
}
