//! What was said, and which of it was shown to be heard: how often, and in which order.

use super::Outcome;

/// Everything that people know.
pub(crate) struct Ledger {
    services: Vec<&'static str>,
    /// By service and chat.
    chats: Vec<Vec<Chat>>,
    said: usize,
    answered: usize,
    doubled: usize,
    /// Which.
    displaced: Vec<String>,
    strange: Vec<String>,
}

#[derive(Clone, Default)]
struct Chat {
    /// Whether the message of this number is answered.
    answered: Vec<bool>,
    /// The latest that is.
    latest: Option<usize>,
}

impl Ledger {
    pub(crate) fn new(services: &[&'static str], chats: usize) -> Self {
        let none = vec![Chat::default(); chats];
        Self {
            services: services.to_vec(),
            chats: vec![none; services.len()],
            said: 0,
            answered: 0,
            doubled: 0,
            displaced: Vec::new(),
            strange: Vec::new(),
        }
    }

    pub(crate) fn said_in(&self, service: usize, chat: usize) -> usize {
        self.chats[service][chat].answered.len()
    }

    pub(crate) fn said_by(&self, service: usize) -> usize {
        self.chats[service].iter().map(|chat| chat.answered.len()).sum()
    }

    pub(crate) fn unanswered(&self) -> usize {
        self.said - self.answered
    }

    /// The next message of a chat, which is said now.
    pub(crate) fn next_text(&mut self, service: usize, chat: usize) -> String {
        let number = self.said_in(service, chat);
        self.chats[service][chat].answered.push(false);
        self.said += 1;
        text(self.services[service], chat, number)
    }

    /// A chat shows this.
    pub(crate) fn shown(&mut self, service: usize, chat: usize, shown: &str) {
        for line in shown.lines() {
            let Some(number) = self.number_of(service, chat, line) else {
                self.strange.push(format!("{} {chat}: {line}", self.services[service]));
                continue;
            };
            let chat = &mut self.chats[service][chat];
            if std::mem::replace(&mut chat.answered[number], true) {
                self.doubled += 1;
                continue;
            }
            self.answered += 1;
            if chat.latest > Some(number) {
                self.displaced.push(format!("displaced: {line}"));
            }
            chat.latest = chat.latest.max(Some(number));
        }
    }

    fn number_of(&self, service: usize, chat: usize, line: &str) -> Option<usize> {
        let heard = line.strip_prefix("heard ")?;
        let number: usize = heard.rsplit('-').next()?.parse().ok()?;
        let is_it = number < self.said_in(service, chat) && heard == text(self.services[service], chat, number);
        is_it.then_some(number)
    }

    pub(crate) fn judge(&self, outcome: &mut Outcome) {
        (outcome.said, outcome.lost) = (self.said, self.unanswered());
        (outcome.doubled, outcome.displaced) = (self.doubled, self.displaced.len());
        outcome.strange.clone_from(&self.strange);
    }

    /// The messages that were never answered, and those that were displaced.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut missing = self.displaced.clone();
        for (service, chats) in self.services.iter().zip(&self.chats) {
            for (number, chat) in chats.iter().enumerate() {
                let open = chat.answered.iter().enumerate().filter(|(_, answered)| !**answered);
                missing.extend(open.map(|(message, _)| format!("lost: {}", text(service, number, message))));
            }
        }
        missing
    }
}

fn text(service: &str, chat: usize, number: usize) -> String {
    format!("{service}-{chat}-{number}")
}
