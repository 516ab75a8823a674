//! What people say, and how what is shown tells which of it is meant. Plain text rules, without state.
//!
//! Most messages are only heard. Every tenth has its agent ask the host, by a request file, to send a message besides the
//! answer; in the first chat, which is the main group's, half of those go to another chat.

/// The prefix of every chat's id.
pub(super) const PREFIX: &str = "kill:";
/// One message in so many has its agent ask for something.
const ASKS_ONE_IN: usize = 10;

/// The id of the chat in which odd things are said.
pub(crate) const ODD_CHAT: &str = "kill:odd";

/// The id of a chat.
pub(crate) fn chat_id(chat: usize) -> String {
    format!("{PREFIX}{chat}")
}

/// Which message: of which chat, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) chat: usize,
    pub(super) number: usize,
}

impl Place {
    /// A word that stands for it in texts.
    fn name(self) -> String {
        format!("g{}-m{}", self.chat, self.number)
    }

    fn named(name: &str) -> Option<Self> {
        let (chat, number) = name.strip_prefix('g')?.split_once("-m")?;
        Some(Self { chat: chat.parse().ok()?, number: number.parse().ok()? })
    }

    /// In which chat its agent is to send something besides the answer; `None` when the message is only to be heard.
    pub(super) fn asks_to_send_to(self, chats: usize) -> Option<usize> {
        if self.number % ASKS_ONE_IN != ASKS_ONE_IN - 1 {
            return None;
        }
        let tenth = self.number / ASKS_ONE_IN;
        let to_another = self.chat == 0 && tenth.is_multiple_of(2) && chats > 1;
        Some(if to_another { 1 + tenth % (chats - 1) } else { self.chat })
    }

    /// The text of the message.
    pub(super) fn text(self, chats: usize) -> String {
        let name = self.name();
        match self.asks_to_send_to(chats) {
            None => name,
            Some(chat) if chat == self.chat => format!("!send asked {name}"),
            Some(chat) => format!("!send-to {} asked {name}", chat_id(chat)),
        }
    }
}

/// A scheduled task: in whose chat it answers, and its number, which no other has. It is its prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TaskName {
    pub(crate) chat: usize,
    pub(crate) number: usize,
}

impl TaskName {
    /// Reads it back; `None` when it is none.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let (chat, number) = name.strip_prefix('g')?.split_once("-t")?;
        Some(Self { chat: chat.parse().ok()?, number: number.parse().ok()? })
    }
}

impl std::fmt::Display for TaskName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "g{}-t{}", self.chat, self.number)
    }
}

/// A message that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Odd {
    /// The model refuses it, always: it is set aside, and the chat is told.
    Refused,
    /// Its session cannot be resumed until there is a file in the group's folder; then it is answered.
    Awaits,
}

impl Odd {
    /// The text of the odd message of this number.
    pub(super) fn text(self, number: usize) -> String {
        match self {
            Self::Refused => format!("!fail-as refused odd-{number}"),
            Self::Awaits => format!("!fail-until odd-{number} no_session odd-{number}"),
        }
    }

    /// The file for which it waits.
    pub(super) fn awaits(self, number: usize) -> Option<String> {
        (self == Self::Awaits).then(|| format!("odd-{number}"))
    }
}

/// A line that was shown, as what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// The answer to a message that was only to be heard.
    Heard(Place),
    /// The message that an agent asked to send.
    Asked(Place),
    /// The answer to a message whose agent asked for something: what the agent learnt of it.
    Learnt(Place, Learnt),
    /// The answer to an odd message that waited for its file.
    Found(usize),
    /// What the agent says that did a task.
    Done(TaskName),
}

/// What an agent learnt of what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learnt {
    /// The host took it.
    Taken,
    /// It was not asked for, or not taken: nothing is to be shown.
    NotTaken,
    /// The host gave no answer.
    Nothing,
}

impl Line {
    /// Reads a line; `None` when it is none of these.
    pub(super) fn read(line: &str) -> Option<Self> {
        let place = |name: &str| Place::named(name);
        if let Some(name) = line.strip_prefix("heard ") {
            return place(name).map(Self::Heard).or_else(|| TaskName::read(name).map(Self::Done));
        }
        if let Some(name) = line.strip_prefix("asked ").and_then(place) {
            return Some(Self::Asked(name));
        }
        if let Some(number) = line.strip_prefix("found odd-") {
            return number.parse().ok().map(Self::Found);
        }
        let beginnings = [
            ("sent asked ", Learnt::Taken),
            ("refused to send asked ", Learnt::NotTaken),
            ("failed to send asked ", Learnt::NotTaken),
            ("cannot ask the host to send asked ", Learnt::NotTaken),
            ("asked the host to send asked ", Learnt::Nothing),
        ];
        let (rest, learnt) =
            beginnings.iter().find_map(|(beginning, learnt)| Some((line.strip_prefix(beginning)?, *learnt)))?;
        Some(Self::Learnt(place(rest.split_once(": ")?.0)?, learnt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenth_message_asks_and_the_main_chats_half_the_time_for_another_chat() {
        let text = |chat, number| Place { chat, number }.text(3);
        assert_eq!(text(1, 8), "g1-m8");
        assert_eq!(text(1, 9), "!send asked g1-m9");
        assert_eq!(text(0, 9), "!send-to kill:1 asked g0-m9");
        assert_eq!(text(0, 19), "!send asked g0-m19");
        assert_eq!(Place { chat: 0, number: 9 }.text(1), "!send asked g0-m9", "there is no other chat");
    }

    #[test]
    fn what_an_agent_says_is_read_back() {
        let place = Place { chat: 2, number: 19 };
        for (line, read) in [
            ("heard g2-m19", Line::Heard(place)),
            ("asked g2-m19", Line::Asked(place)),
            ("heard g2-t7", Line::Done(TaskName { chat: 2, number: 7 })),
            ("sent asked g2-m19: stored for delivery to kill:2", Line::Learnt(place, Learnt::Taken)),
            ("refused to send asked g2-m19: not yours", Line::Learnt(place, Learnt::NotTaken)),
            ("cannot ask the host to send asked g2-m19: no room: no room", Line::Learnt(place, Learnt::NotTaken)),
            ("asked the host to send asked g2-m19: it did not answer", Line::Learnt(place, Learnt::Nothing)),
        ] {
            assert_eq!(Line::read(line), Some(read), "{line}");
        }
        for line in ["", "heard", "heard g2", "heard g2-m19 ", "asked g2-m19: x", "I could not answer"] {
            assert_eq!(Line::read(line), None, "{line}");
        }
    }
}
