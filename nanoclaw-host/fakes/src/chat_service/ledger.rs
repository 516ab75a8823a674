//! What a chat service knows: what was said and accepted, and what was shown for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::kill::Chance;

/// The prefix of every chat's id.
pub(super) const PREFIX: &str = "kill:";

/// Everything a service knows. Plain: it does nothing by itself.
#[derive(Debug)]
pub struct Ledger {
    chats: Vec<Chat>,
    /// Counts what happens, so that of two things it is known which was first.
    clock: u64,
    /// What was shown, by key.
    shown: BTreeMap<String, String>,
    sends: u64,
    sent_again: u64,
    texts_changed: u64,
    /// Replies that answer nothing that was said: a notice that something was given up, say.
    other_texts: Vec<String>,
    refused: Vec<String>,
    chance: Chance,
}

#[derive(Debug, Clone, Default)]
struct Chat {
    /// How many of the messages are said.
    said: usize,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Message {
    /// When it was first accepted, by the ledger's clock.
    accepted: Option<u64>,
    /// When its answer was first shown.
    shown: Option<u64>,
    answered: u32,
}

/// The ledger in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Messages that people said.
    pub said: u64,
    /// Of those, accepted by the host.
    pub accepted: u64,
    /// Of those that were said, answered at least once.
    pub answered: u64,
    /// Answers that were shown once more.
    pub duplicated: u64,
    /// Answers that were first shown after the answer to a message of the same chat that was accepted later.
    pub out_of_order: u64,
    /// Times that the host asked to send something.
    pub sends: u64,
    /// Of those, with a key that was shown before.
    pub sent_again: u64,
    /// Of those, with another text than before.
    pub texts_changed: u64,
    /// Shown texts that answer no message.
    pub other_texts: Vec<String>,
    /// Refusals of the host.
    pub refused: Vec<String>,
}

impl Tally {
    /// Said and not answered.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.said - self.answered
    }

    /// Whether everything that was said is accepted and answered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.said == self.accepted && self.said == self.answered
    }

    /// Rises as long as something gets on.
    pub(crate) fn progress(&self) -> u64 {
        self.accepted + self.answered
    }

    /// Adds another service's numbers.
    pub fn add(&mut self, other: Tally) {
        self.said += other.said;
        self.accepted += other.accepted;
        self.answered += other.answered;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.sends += other.sends;
        self.sent_again += other.sent_again;
        self.texts_changed += other.texts_changed;
        self.other_texts.extend(other.other_texts);
        self.refused.extend(other.refused);
    }
}

/// A message that the host has not accepted, as the bridge says it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ToSay {
    pub(super) chat: String,
    pub(super) id: String,
    pub(super) text: String,
}

impl Ledger {
    pub(super) fn new(chats: usize, messages: usize, seed: u64) -> Self {
        let chat = Chat { messages: vec![Message::default(); messages], ..Chat::default() };
        Self {
            chats: vec![chat; chats],
            clock: 0,
            shown: BTreeMap::new(),
            sends: 0,
            sent_again: 0,
            texts_changed: 0,
            other_texts: Vec::new(),
            refused: Vec::new(),
            chance: Chance::new(seed),
        }
    }

    pub(super) fn say(&mut self, count: usize) {
        for _ in 0..count {
            let unfinished: Vec<usize> = (0..self.chats.len()).filter(|chat| self.chats[*chat].has_more()).collect();
            let Some(chat) = self.chance.one_of(&unfinished) else { return };
            self.chats[*chat].said += 1;
        }
    }

    pub(super) fn all_said(&self) -> bool {
        !self.chats.iter().any(Chat::has_more)
    }

    /// What was said beyond `heard` (a place per chat, moved on) and is not accepted, in the order of each chat.
    pub(super) fn to_say(&self, heard: &mut [usize]) -> Vec<ToSay> {
        let mut all = Vec::new();
        for (chat, heard) in heard.iter_mut().enumerate() {
            let messages = &self.chats[chat].messages[..self.chats[chat].said];
            let new = messages.iter().enumerate().skip(*heard).filter(|(_, message)| message.accepted.is_none());
            all.extend(new.map(|(number, _)| to_say(chat, number)));
            *heard = messages.len();
        }
        all
    }

    /// The host accepted a message; whether it was one of ours.
    pub(super) fn accepted(&mut self, chat: &str, id: &str) -> bool {
        self.clock += 1;
        let clock = self.clock;
        let Some(message) = self.find(chat, id) else { return false };
        message.accepted.get_or_insert(clock);
        true
    }

    fn find(&mut self, chat: &str, id: &str) -> Option<&mut Message> {
        let chat: usize = chat.strip_prefix(PREFIX)?.parse().ok()?;
        self.chats.get_mut(chat)?.messages.get_mut(id.parse::<usize>().ok()?)
    }

    pub(super) fn refused(&mut self, line: &str) {
        self.refused.push(line.to_owned());
    }

    /// The host asks to send, and the service does: the service's id of what is shown.
    pub(super) fn show(&mut self, key: &str, chat: &str, text: &str) -> String {
        self.sends += 1;
        let id = format!("shown-{key}");
        if let Some(before) = self.shown.get(key) {
            self.sent_again += 1;
            self.texts_changed += u64::from(before != text);
            return id;
        }
        self.shown.insert(key.to_owned(), text.to_owned());
        for line in text.lines() {
            if !self.answer(chat, line) {
                self.other_texts.push(format!("{chat}: {line}"));
            }
        }
        id
    }

    fn answer(&mut self, chat: &str, line: &str) -> bool {
        let place = line.strip_prefix("heard ").and_then(place_of).filter(|(number, _)| chat == chat_id(*number));
        let Some((chat, number)) = place else { return false };
        let Some(chat) = self.chats.get_mut(chat) else { return false };
        let Some(message) = chat.messages.get_mut(number) else { return false };
        self.clock += 1;
        message.answered += 1;
        message.shown.get_or_insert(self.clock);
        true
    }

    pub(super) fn tally(&self) -> Tally {
        let all = || self.chats.iter().flat_map(|chat| &chat.messages[..chat.said]);
        let count = |of: &dyn Fn(&Message) -> bool| all().filter(|message| of(message)).count() as u64;
        Tally {
            said: all().count() as u64,
            accepted: count(&|message| message.accepted.is_some()),
            answered: count(&|message| message.answered > 0),
            duplicated: all().map(|message| u64::from(message.answered.saturating_sub(1))).sum(),
            out_of_order: self.chats.iter().map(Chat::out_of_order).sum(),
            sends: self.sends,
            sent_again: self.sent_again,
            texts_changed: self.texts_changed,
            other_texts: self.other_texts.clone(),
            refused: self.refused.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }
}

impl Chat {
    fn has_more(&self) -> bool {
        self.said < self.messages.len()
    }

    /// Answers that were shown after the answer to a message that was accepted later. A service that says again what was
    /// refused for a while says it after others: the order is that of acceptance.
    fn out_of_order(&self) -> u64 {
        let mut answered: Vec<_> =
            self.messages.iter().filter_map(|message| message.accepted.zip(message.shown)).collect();
        answered.sort_unstable();
        let (mut latest, mut count) = (0, 0);
        for (_, shown) in answered {
            count += u64::from(shown < latest);
            latest = latest.max(shown);
        }
        count
    }
}

fn to_say(chat: usize, number: usize) -> ToSay {
    ToSay { chat: chat_id(chat), id: number.to_string(), text: format!("g{chat}-m{number}") }
}

/// The id of a chat.
pub(crate) fn chat_id(chat: usize) -> String {
    format!("{PREFIX}{chat}")
}

/// Which message a text is: chat and number.
fn place_of(text: &str) -> Option<(usize, usize)> {
    let (chat, number) = text.strip_prefix('g')?.split_once("-m")?;
    Some((chat.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(chats: usize, messages: usize) -> Ledger {
        let mut ledger = Ledger::new(chats, messages, 1);
        ledger.say(chats * messages);
        ledger
    }

    #[test]
    fn what_is_not_accepted_is_said_again_on_the_next_connection_and_only_that() {
        let mut ledger = said(1, 3);
        let mut heard = [0];
        assert_eq!(ledger.to_say(&mut heard).len(), 3);
        assert_eq!(ledger.to_say(&mut heard).len(), 0, "once a connection");
        assert!(ledger.accepted("kill:0", "1"));
        let again: Vec<String> = ledger.to_say(&mut [0]).into_iter().map(|message| message.text).collect();
        assert_eq!(again, ["g0-m0", "g0-m2"]);
    }

    #[test]
    fn a_key_is_shown_once_and_an_answer_with_another_key_is_a_duplicate() {
        let mut ledger = said(2, 1);
        ledger.show("a", "kill:0", "heard g0-m0");
        ledger.show("a", "kill:0", "heard g0-m0");
        let tally = ledger.tally();
        assert_eq!((tally.answered, tally.duplicated, tally.sent_again, tally.lost()), (1, 0, 1, 1));
        ledger.show("b", "kill:0", "heard g0-m0");
        assert_eq!(ledger.tally().duplicated, 1);
    }

    #[test]
    fn an_answer_in_another_chat_or_out_of_order_is_noticed() {
        let mut ledger = said(2, 2);
        ledger.show("a", "kill:1", "heard g0-m0");
        assert_eq!(ledger.tally().other_texts, ["kill:1: heard g0-m0"]);
        ledger.accepted("kill:0", "0");
        ledger.accepted("kill:0", "1");
        ledger.show("b", "kill:0", "heard g0-m1");
        ledger.show("c", "kill:0", "heard g0-m0");
        assert_eq!(ledger.tally().out_of_order, 1);
    }
}
