//! What a chat service knows: what was said and accepted, and what was shown for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    Repeats,
    workload::{Learnt, Line, ODD_CHAT, Odd, PREFIX, Place, TaskName, chat_id},
};
use crate::kill::Chance;

/// How the keys of the host's own words about its troubles begin.
const ALERT_KEY: &str = "alert/";
/// How the keys of the notices begin that messages were set aside.
const GAVE_UP_KEY: &str = "gave-up/";

/// Everything a service knows. Plain: it does nothing by itself.
#[derive(Debug)]
pub struct Ledger {
    chats: Vec<Chat>,
    odd: Vec<OddMessage>,
    /// How many answers of each task were shown, each key counted once.
    task_answers: BTreeMap<TaskName, u64>,
    repeats: Repeats,
    /// Counts what happens, so that of two things it is known which was first.
    clock: u64,
    /// What was shown, by key.
    shown: BTreeMap<String, String>,
    sends: u64,
    sent_again: u64,
    shown_again: u64,
    found: u64,
    texts_changed: u64,
    /// Replies that answer nothing that was said: a notice that something was given up, say.
    other_texts: Vec<String>,
    /// What the host itself said about its troubles.
    notices: Vec<String>,
    refused: Vec<String>,
    chance: Chance,
}

#[derive(Debug, Clone, Default)]
struct Chat {
    /// How many of the messages are said.
    said: usize,
    messages: Vec<Message>,
}

#[derive(Debug, Clone, Default)]
struct Message {
    /// When it was first accepted, by the ledger's clock.
    accepted: Option<u64>,
    /// When its answer was first shown.
    shown: Option<u64>,
    answered: u32,
    /// What its agent is to ask for; `None` when it is only to be heard.
    asks: Option<Asks>,
}

/// A message of the chat for odd ones.
#[derive(Debug)]
struct OddMessage {
    odd: Odd,
    accepted: bool,
    /// How often its end was shown.
    ended: u64,
}

/// A message that an agent asks the host to send, besides its answer.
#[derive(Debug, Clone)]
struct Asks {
    /// In which chat it is to be shown.
    to: usize,
    /// What the agent said it learnt of it, at last.
    learnt: Option<Learnt>,
    /// The request files for which it was shown, once for each key.
    requests: Vec<String>,
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
    /// Answers that were shown once more, or anything that was under the same key by a service that does not deduplicate.
    pub duplicated: u64,
    /// Answers that were first shown after the answer to a message of the same chat that was accepted later.
    pub out_of_order: u64,
    /// Times that the host asked to send something.
    pub sends: u64,
    /// Of those, with a key that was shown before.
    pub sent_again: u64,
    /// Of those, with another text than before.
    pub texts_changed: u64,
    /// Of the messages that people said, those whose agent asks for a message besides its answer.
    #[serde(default)]
    pub asking: u64,
    /// Of those, whose message was shown.
    #[serde(default)]
    pub asked_shown: u64,
    /// Of those, whose message was not shown, and whose agent knows.
    #[serde(default)]
    pub asked_refused: u64,
    /// Requests of one agent that were shown once more.
    #[serde(default)]
    pub asked_duplicated: u64,
    /// Messages that another agent asked for once more, because the one before died with the question unanswered.
    #[serde(default)]
    pub asked_again: u64,
    /// Answers from which the agent learnt nothing of what it had asked for.
    #[serde(default)]
    pub asked_unanswered: u64,
    /// Times that the host asked whether something was shown, and it was.
    #[serde(default)]
    pub found: u64,
    /// Messages that must fail, or must fail at first.
    #[serde(default)]
    pub odd: u64,
    /// Of those, whose end was told: that they were set aside, or the answer.
    #[serde(default)]
    pub odd_ended: u64,
    /// Ends that were told once more.
    #[serde(default)]
    pub odd_duplicated: u64,
    /// Answers of scheduled tasks that were shown.
    #[serde(default)]
    pub task_answers: u64,
    /// Shown texts that answer no message.
    pub other_texts: Vec<String>,
    /// What the host said about its troubles.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Refusals of the host.
    pub refused: Vec<String>,
}

impl Tally {
    /// Said and not answered.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.said - self.answered
    }

    /// Asked for by an agent that believes it was taken, or asked in vain, and never shown.
    #[must_use]
    pub fn asked_lost(&self) -> u64 {
        self.asking - self.asked_shown - self.asked_refused
    }

    /// Whether everything that was said is accepted and answered, and everything shown that agents asked for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.said == self.accepted && self.said == self.answered && self.asked_lost() == 0 && self.odd == self.odd_ended
    }

    /// Whether nothing of what was said or asked for was lost, shown twice, or misunderstood.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let faults = [
            self.lost(),
            self.duplicated,
            self.asked_lost(),
            self.asked_duplicated,
            self.asked_unanswered,
            self.odd - self.odd_ended,
            self.odd_duplicated,
            self.texts_changed,
        ];
        faults.iter().all(|count| *count == 0) && self.other_texts.is_empty()
    }

    /// Rises as long as something gets on.
    pub(crate) fn progress(&self) -> u64 {
        self.accepted + self.answered + self.asked_shown + self.asked_refused + self.odd_ended + self.task_answers
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
        self.asking += other.asking;
        self.asked_shown += other.asked_shown;
        self.asked_refused += other.asked_refused;
        self.asked_duplicated += other.asked_duplicated;
        self.asked_again += other.asked_again;
        self.asked_unanswered += other.asked_unanswered;
        self.found += other.found;
        self.odd += other.odd;
        self.odd_ended += other.odd_ended;
        self.odd_duplicated += other.odd_duplicated;
        self.task_answers += other.task_answers;
        self.other_texts.extend(other.other_texts);
        self.notices.extend(other.notices);
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
    pub(super) fn new(chats: usize, messages: usize, repeats: Repeats, seed: u64) -> Self {
        let message = |chat, number| {
            let asks = Place { chat, number }.asks_to_send_to(chats);
            let asks = asks.map(|to| Asks { to, learnt: None, requests: Vec::new() });
            Message { asks, ..Message::default() }
        };
        let chat = |chat| Chat { said: 0, messages: (0..messages).map(|number| message(chat, number)).collect() };
        Self {
            chats: (0..chats).map(chat).collect(),
            odd: Vec::new(),
            task_answers: BTreeMap::new(),
            repeats,
            clock: 0,
            shown: BTreeMap::new(),
            sends: 0,
            sent_again: 0,
            shown_again: 0,
            found: 0,
            texts_changed: 0,
            other_texts: Vec::new(),
            notices: Vec::new(),
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

    /// People say something odd.
    pub(super) fn say_odd(&mut self, odd: Odd) {
        self.odd.push(OddMessage { odd, accepted: false, ended: 0 });
    }

    /// The files for which odd messages wait.
    pub(super) fn awaited_files(&self) -> Vec<String> {
        let awaits = |(number, message): (usize, &OddMessage)| message.odd.awaits(number);
        self.odd.iter().enumerate().filter_map(awaits).collect()
    }

    pub(super) fn all_said(&self) -> bool {
        !self.chats.iter().any(Chat::has_more)
    }

    /// A place for each chat, at the beginning; see [`to_say`](Self::to_say).
    pub(super) fn nothing_heard(&self) -> Vec<usize> {
        vec![0; self.chats.len() + 1]
    }

    /// What was said beyond `heard` (a place per chat, the odd one's last, moved on) and is not accepted, in the order of
    /// each chat.
    pub(super) fn to_say(&self, heard: &mut [usize]) -> Vec<ToSay> {
        let mut all = Vec::new();
        let Some((heard_odd, heard)) = heard.split_last_mut() else { return all };
        let new = self.odd.iter().enumerate().skip(*heard_odd).filter(|(_, message)| !message.accepted);
        all.extend(new.map(|(number, _)| self.odd_to_say(number)));
        *heard_odd = self.odd.len();
        for (chat, heard) in heard.iter_mut().enumerate() {
            let messages = &self.chats[chat].messages[..self.chats[chat].said];
            let new = messages.iter().enumerate().skip(*heard).filter(|(_, message)| message.accepted.is_none());
            all.extend(new.map(|(number, _)| self.to_say_at(Place { chat, number })));
            *heard = messages.len();
        }
        all
    }

    /// A message that was said, to be said again; `None` when it is none of ours.
    pub(super) fn to_say_again(&self, chat: &str, id: &str) -> Option<ToSay> {
        let number: usize = id.parse().ok()?;
        if chat == ODD_CHAT {
            return (number < self.odd.len()).then(|| self.odd_to_say(number));
        }
        let place = Place { chat: chat.strip_prefix(PREFIX)?.parse().ok()?, number };
        self.chats.get(place.chat)?.messages.get(place.number)?;
        Some(self.to_say_at(place))
    }

    fn odd_to_say(&self, number: usize) -> ToSay {
        ToSay { chat: ODD_CHAT.to_owned(), id: number.to_string(), text: self.odd[number].odd.text(number) }
    }

    fn to_say_at(&self, place: Place) -> ToSay {
        ToSay { chat: chat_id(place.chat), id: place.number.to_string(), text: place.text(self.chats.len()) }
    }

    /// The host accepted a message; whether it was one of ours.
    pub(super) fn accepted(&mut self, chat: &str, id: &str) -> bool {
        self.clock += 1;
        let clock = self.clock;
        if chat == ODD_CHAT
            && let Some(message) = id.parse().ok().and_then(|number: usize| self.odd.get_mut(number))
        {
            message.accepted = true;
            return true;
        }
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
            self.texts_changed += u64::from(before != text);
            match self.repeats {
                Repeats::Deduplicates => self.sent_again += 1,
                Repeats::Finds => self.shown_again += 1,
            }
            return id;
        }
        self.shown.insert(key.to_owned(), text.to_owned());
        if key.starts_with(ALERT_KEY) {
            self.notices.push(format!("{chat}: {text}"));
            return id;
        }
        // It names no message, but there is one for each.
        if chat == ODD_CHAT && key.starts_with(GAVE_UP_KEY) {
            let ended = self.odd.iter_mut().filter(|message| message.odd == Odd::Refused).min_by_key(|odd| odd.ended);
            if let Some(message) = ended {
                message.ended += 1;
                return id;
            }
        }
        for line in text.lines() {
            if !Line::read(line).is_some_and(|read| self.note(key, chat, read)) {
                self.other_texts.push(format!("{chat}: {line}"));
            }
        }
        id
    }

    /// The service's id of what was shown with this key; `None` when nothing was.
    pub(super) fn look_up(&mut self, key: &str) -> Option<String> {
        self.shown.contains_key(key).then(|| {
            self.found += 1;
            format!("shown-{key}")
        })
    }

    /// Notes what was shown in `chat`; `false` when it should not be there.
    fn note(&mut self, key: &str, chat: &str, line: Line) -> bool {
        self.clock += 1;
        let place = match line {
            Line::Heard(place) | Line::Asked(place) | Line::Learnt(place, _) => place,
            Line::Found(number) => {
                let message = self.odd.get_mut(number).filter(|message| chat == ODD_CHAT && message.odd == Odd::Awaits);
                return message.map(|message| message.ended += 1).is_some();
            }
            Line::Done(task) => {
                let is_its_chat = chat == chat_id(task.chat);
                *self.task_answers.entry(task).or_default() += u64::from(is_its_chat);
                return is_its_chat;
            }
        };
        let message = self.chats.get_mut(place.chat).and_then(|chat| chat.messages.get_mut(place.number));
        let Some(message) = message else { return false };
        let shown_in = match (line, &mut message.asks) {
            (Line::Asked(_), Some(asks)) => {
                if chat != chat_id(asks.to) {
                    return false;
                }
                // The last part of a request's key is its file's name, which each agent makes anew.
                asks.requests.push(key.rsplit('/').next().unwrap_or(key).to_owned());
                return true;
            }
            (Line::Learnt(_, learnt), Some(asks)) => {
                asks.learnt = Some(learnt);
                place.chat
            }
            (Line::Heard(_), None) => place.chat,
            _ => return false,
        };
        if chat != chat_id(shown_in) {
            return false;
        }
        message.answered += 1;
        message.shown.get_or_insert(self.clock);
        true
    }

    /// How many answers of each task were shown.
    pub(super) fn task_answers(&self) -> BTreeMap<TaskName, u64> {
        self.task_answers.clone()
    }

    pub(super) fn tally(&self) -> Tally {
        let all = || self.chats.iter().flat_map(|chat| &chat.messages[..chat.said]);
        let count = |of: &dyn Fn(&Message) -> bool| all().filter(|message| of(message)).count() as u64;
        let asks = || all().filter_map(|message| message.asks.as_ref());
        let sum = |of: &dyn Fn(&Asks) -> usize| asks().map(of).sum::<usize>() as u64;
        Tally {
            said: all().count() as u64,
            accepted: count(&|message| message.accepted.is_some()),
            answered: count(&|message| message.answered > 0),
            duplicated: all().map(|message| u64::from(message.answered.saturating_sub(1))).sum::<u64>()
                + self.shown_again,
            out_of_order: self.chats.iter().map(Chat::out_of_order).sum(),
            sends: self.sends,
            sent_again: self.sent_again,
            texts_changed: self.texts_changed,
            asking: asks().count() as u64,
            asked_shown: sum(&|asks| usize::from(!asks.requests.is_empty())),
            asked_refused: sum(&|asks| usize::from(asks.requests.is_empty() && asks.learnt == Some(Learnt::NotTaken))),
            asked_duplicated: sum(&|asks| asks.requests.len() - asks.files()),
            asked_again: sum(&|asks| asks.files().saturating_sub(1)),
            asked_unanswered: sum(&|asks| usize::from(asks.learnt == Some(Learnt::Nothing))),
            found: self.found,
            odd: self.odd.len() as u64,
            odd_ended: self.odd.iter().filter(|message| message.ended > 0).count() as u64,
            odd_duplicated: self.odd.iter().map(|message| message.ended.saturating_sub(1)).sum(),
            task_answers: self.task_answers.values().sum(),
            other_texts: self.other_texts.clone(),
            notices: self.notices.clone(),
            refused: self.refused.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }
}

impl Asks {
    /// How many agents' requests were shown.
    fn files(&self) -> usize {
        self.requests.iter().collect::<BTreeSet<_>>().len()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(chats: usize, messages: usize) -> Ledger {
        let mut ledger = Ledger::new(chats, messages, Repeats::Deduplicates, 1);
        ledger.say(chats * messages);
        ledger
    }

    #[test]
    fn what_is_not_accepted_is_said_again_on_the_next_connection_and_only_that() {
        let mut ledger = said(1, 3);
        let mut heard = ledger.nothing_heard();
        assert_eq!(ledger.to_say(&mut heard).len(), 3);
        assert_eq!(ledger.to_say(&mut heard).len(), 0, "once a connection");
        assert!(ledger.accepted("kill:0", "1"));
        let again: Vec<String> =
            ledger.to_say(&mut ledger.nothing_heard()).into_iter().map(|message| message.text).collect();
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

    #[test]
    fn a_request_that_is_shown_twice_is_a_duplicate_and_one_that_another_agent_repeats_is_not() {
        let mut ledger = said(1, 10);
        let shown = "asked g0-m9";
        assert_eq!((ledger.tally().asking, ledger.tally().asked_lost()), (1, 1));
        ledger.show("request/g/1/a.json", "kill:0", shown);
        ledger.show("request/g/1/a.json", "kill:0", shown);
        assert_eq!(
            (ledger.tally().asked_lost(), ledger.tally().asked_duplicated, ledger.tally().sent_again),
            (0, 0, 1)
        );
        ledger.show("request/g/2/b.json", "kill:0", shown);
        assert_eq!((ledger.tally().asked_duplicated, ledger.tally().asked_again), (0, 1));
        ledger.show("request/g/3/b.json", "kill:0", shown);
        assert_eq!((ledger.tally().asked_duplicated, ledger.tally().asked_again), (1, 1));
    }

    #[test]
    fn answers_of_tasks_are_counted_in_their_own_chat_and_once_for_each_key() {
        let mut ledger = said(2, 1);
        for key in ["reply/g/1/1", "reply/g/1/1", "reply/g/2/1"] {
            ledger.show(key, "kill:1", "heard g1-t7");
        }
        assert_eq!(ledger.task_answers(), [(TaskName { chat: 1, number: 7 }, 2)].into());
        ledger.show("reply/g/3/1", "kill:0", "heard g1-t7");
        assert_eq!((ledger.tally().task_answers, ledger.tally().other_texts.len()), (2, 1));
    }

    #[test]
    fn what_an_agent_could_not_ask_for_is_not_lost_and_an_answer_that_did_not_come_is_noticed() {
        let mut ledger = said(2, 20);
        ledger.show("a", "kill:0", "cannot ask the host to send asked g0-m9: no room");
        ledger.show("b", "kill:0", "asked the host to send asked g0-m19: it did not answer");
        let tally = ledger.tally();
        assert_eq!((tally.asking, tally.asked_refused, tally.asked_lost(), tally.asked_unanswered), (4, 1, 3, 1));
        assert_eq!(tally.answered, 2);
        ledger.show("c", "kill:0", "asked g0-m9");
        assert_eq!(ledger.tally().other_texts, ["kill:0: asked g0-m9"], "it was for another chat");
    }

    #[test]
    fn what_the_host_says_about_its_troubles_is_a_notice() {
        let mut ledger = said(1, 1);
        ledger.show("alert/quota/owner/1", "kill:0", "no quota");
        assert_eq!((ledger.tally().notices.len(), ledger.tally().other_texts.len()), (1, 0));
    }

    #[test]
    fn a_service_that_only_finds_shows_a_repeat_again_and_knows_what_it_showed() {
        let mut ledger = Ledger::new(1, 1, Repeats::Finds, 1);
        ledger.say(1);
        assert_eq!(ledger.look_up("a"), None);
        ledger.show("a", "kill:0", "heard g0-m0");
        assert_eq!((ledger.look_up("a").is_some(), ledger.tally().duplicated), (true, 0));
        ledger.show("a", "kill:0", "heard g0-m0");
        assert_eq!(ledger.tally().duplicated, 1);
    }

    #[test]
    fn an_odd_message_ends_with_one_notice_or_one_answer() {
        let mut ledger = said(1, 1);
        ledger.say_odd(Odd::Refused);
        ledger.say_odd(Odd::Awaits);
        assert_eq!(ledger.awaited_files(), ["odd-1"]);
        assert_eq!(ledger.to_say(&mut ledger.nothing_heard()).len(), 3);
        ledger.show("gave-up/odd/1", ODD_CHAT, "I gave up");
        assert_eq!((ledger.tally().odd, ledger.tally().odd_ended), (2, 1));
        ledger.show("reply/odd/1/1", ODD_CHAT, "found odd-1");
        ledger.show("gave-up/odd/2", ODD_CHAT, "I gave up");
        assert_eq!((ledger.tally().odd_ended, ledger.tally().odd_duplicated), (2, 1));
        ledger.show("gave-up/g/2", "kill:0", "I gave up");
        assert_eq!(ledger.tally().other_texts, ["kill:0: I gave up"]);
    }
}
