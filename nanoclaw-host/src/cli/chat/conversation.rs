//! The terminal's side of the local channel: what was said, what is answered, what was shown.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use nanoclaw_core::{
    chat::ChatId,
    delivery::DeliveryKey,
    message::{PlatformMessageId, Seq},
    run::Trouble,
    time::Timestamp,
};
use tokio::{
    io::AsyncWriteExt,
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::super::output;
use crate::{
    channels::{
        MAX_LINE_BYTES,
        local::wire::{FromTerminal, PROTOCOL, ReplyFile, ToTerminal},
    },
    json_lines::{Line, LineReader, to_line},
};

/// How many shown replies are remembered, to show none twice when the host sends it again.
const REMEMBERED_KEYS: usize = 256;

/// The longest line that is taken from the host: far longer than any reply that an agent can give.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// An attached terminal.
pub(super) struct Conversation {
    pub(super) chat: ChatId,
    pub(super) assistant: String,
    pub(super) registered: bool,
    pub(super) hint: Option<String>,
    reader: LineReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    sender_name: String,
    /// Said, and not accepted yet.
    unaccepted: HashSet<PlatformMessageId>,
    /// Answers of the host itself that were not shown yet.
    awaited: HashSet<DeliveryKey>,
    /// The last message that will be answered.
    waiting_for: Seq,
    /// Up to where messages are answered or given up.
    answered: Seq,
    shown: VecDeque<DeliveryKey>,
}

/// Whether something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// It was.
    Yes,
    /// No line takes it.
    TooLong,
}

/// What the host said, in the terminal's terms.
#[derive(Debug)]
pub(super) enum Heard {
    /// A reply; `seen` when it was shown before. [`Conversation::shown`] has to be called either way.
    Reply { key: DeliveryKey, text: String, seen: bool },
    /// The assistant is at work, or not any more.
    Typing { on: bool },
    /// A run failed and is tried again.
    Trouble { reason: String, retry_in: Duration },
    /// What was said here waits for the end of a trouble; it is kept.
    Paused { trouble: Trouble, reason: String, retry_in: Duration },
    /// Something that was said here was given up.
    GaveUp { reason: String },
    /// Something that was said here was not kept.
    NotKept { reason: String },
    /// Something that was said here is not for the agent to answer.
    KeptAsContext,
    /// The host did not understand.
    Refused { reason: String },
    /// Nothing to show, but [`Conversation::settled`] may have changed.
    Progress,
}

impl Conversation {
    /// Attaches to `chat` over `stream`.
    pub(super) async fn attach(stream: UnixStream, chat: &ChatId) -> anyhow::Result<Self> {
        let (reader, writer) = stream.into_split();
        let mut conversation = Self {
            chat: chat.clone(),
            assistant: String::new(),
            registered: false,
            hint: None,
            reader: LineReader::new(reader, MAX_REPLY_BYTES),
            writer,
            sender_name: sender_name(),
            unaccepted: HashSet::new(),
            awaited: HashSet::new(),
            waiting_for: Seq::ZERO,
            answered: Seq::ZERO,
            shown: VecDeque::new(),
        };
        conversation.tell(&to_line(&FromTerminal::Attach { chat: chat.clone(), protocol: PROTOCOL })).await?;
        match conversation.next().await? {
            ToTerminal::Attached { assistant, registered, hint, .. } => {
                Ok(Self { assistant, registered, hint, ..conversation })
            }
            ToTerminal::Error { reason, .. } => bail!("the host refused the terminal: {reason}"),
            other => bail!("the host answered the terminal with something else: {other:?}"),
        }
    }

    /// Says `text`. The host's word on it comes by [`Self::hear`].
    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<Said> {
        let id = new_id();
        let sender_name = self.sender_name.clone();
        let line = to_line(&FromTerminal::Say { id: id.clone(), text: text.to_owned(), sender_name });
        if line.len() > MAX_LINE_BYTES {
            return Ok(Said::TooLong);
        }
        self.unaccepted.insert(id);
        self.tell(&line).await?;
        Ok(Said::Yes)
    }

    /// How many messages the host has said nothing about yet.
    pub(super) fn unaccepted(&self) -> usize {
        self.unaccepted.len()
    }

    /// What the host says next. Can be dropped and called again without loss.
    pub(super) async fn hear(&mut self) -> anyhow::Result<Heard> {
        let line = self.next().await?;
        Ok(self.take(line))
    }

    /// Tells the host that a reply is on the screen.
    pub(super) async fn shown(&mut self, key: DeliveryKey) -> anyhow::Result<()> {
        self.awaited.remove(&key);
        if !self.shown.contains(&key) {
            if self.shown.len() == REMEMBERED_KEYS {
                self.shown.pop_front();
            }
            self.shown.push_back(key.clone());
        }
        self.tell(&to_line(&FromTerminal::Shown { key })).await
    }

    /// Whether everything that was said is answered, given up or refused.
    pub(super) fn settled(&self) -> bool {
        self.unaccepted.is_empty() && self.awaited.is_empty() && self.waiting_for <= self.answered
    }

    fn take(&mut self, line: ToTerminal) -> Heard {
        match line {
            ToTerminal::Accepted { id, seq, wakes, reply } => {
                if !self.unaccepted.remove(&id) {
                    return Heard::Progress;
                }
                if let Some(reply) = reply {
                    // It may have overtaken this line.
                    if !self.shown.contains(&reply) {
                        self.awaited.insert(reply);
                    }
                    return Heard::Progress;
                }
                match seq {
                    None => Heard::NotKept { reason: format!("{} is not registered any more", self.chat) },
                    Some(_) if !wakes => Heard::KeptAsContext,
                    Some(seq) => {
                        self.waiting_for = self.waiting_for.max(seq);
                        Heard::Progress
                    }
                }
            }
            ToTerminal::Reply { key, text, file } => {
                let text = file.map_or(text.clone(), |file| with_file(&file, &text));
                Heard::Reply { seen: self.shown.contains(&key), key, text }
            }
            ToTerminal::Typing { on } => Heard::Typing { on },
            ToTerminal::Answered { through } => {
                self.answered = self.answered.max(through);
                Heard::Progress
            }
            ToTerminal::Trouble { reason, retry_in_ms } => {
                Heard::Trouble { reason, retry_in: Duration::from_millis(retry_in_ms) }
            }
            // Of others at the same chat: nothing that is waited for here.
            ToTerminal::Paused { .. } if self.settled() => Heard::Progress,
            ToTerminal::Paused { trouble, reason, retry_in_ms } => {
                Heard::Paused { trouble, reason, retry_in: Duration::from_millis(retry_in_ms) }
            }
            ToTerminal::GaveUp { through, reason } => {
                let ours = self.waiting_for > self.answered;
                self.answered = self.answered.max(through);
                if ours { Heard::GaveUp { reason } } else { Heard::Progress }
            }
            ToTerminal::Error { reason, id } => match id.filter(|id| self.unaccepted.remove(id)) {
                Some(_) => Heard::NotKept { reason },
                None => Heard::Refused { reason },
            },
            // It was attached before; nothing new.
            ToTerminal::Attached { .. } => Heard::Progress,
        }
    }

    async fn next(&mut self) -> anyhow::Result<ToTerminal> {
        let gone = "the host went away; what it accepted is kept, and is answered when it runs again";
        match self.reader.next().await.context(gone)? {
            Some(Line::Text(line)) => {
                serde_json::from_str(&line).context("the host is another version of nanoclaw; restart it")
            }
            Some(Line::Refused(reason)) => Err(anyhow!("the host said something strange: {reason}")),
            Some(Line::Endless | Line::Torn) | None => Err(anyhow!(gone)),
        }
    }

    async fn tell(&mut self, line: &str) -> anyhow::Result<()> {
        self.writer.write_all(line.as_bytes()).await.context("the host went away")
    }
}

/// The name by which the agent knows the person at the terminal.
fn sender_name() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "Owner".to_owned())
}

/// An id that no message had before: time and chance, so that it stays unique across terminals and restarts.
fn new_id() -> PlatformMessageId {
    // Each RandomState has keys of its own, seeded by the system.
    let chance = RandomState::new().hash_one(std::process::id());
    let id = format!("{:x}-{chance:016x}", Timestamp::now().as_ms());
    PlatformMessageId::new(id).expect("hexadecimal digits and a dash are a message id")
}

/// A reply with a file, as it is shown: the file on a line of its own, with the place where the person finds it.
fn with_file(file: &ReplyFile, text: &str) -> String {
    let ReplyFile { name, media_type, bytes, path } = file;
    let line = format!("[file: {name}, {media_type}, {}: {path}]", output::size(*bytes));
    if text.is_empty() { line } else { format!("{line}\n{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_before_the_words_that_come_with_it() {
        let file = ReplyFile {
            name: "report.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            bytes: 12_595,
            path: "/home/ann/groups/family/report.pdf".to_owned(),
        };
        let line = "[file: report.pdf, application/pdf, 12.3 KiB: /home/ann/groups/family/report.pdf]";
        assert_eq!(with_file(&file, ""), line);
        assert_eq!(with_file(&file, "here it is"), format!("{line}\nhere it is"));
    }

    #[test]
    fn ids_made_at_the_same_moment_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| new_id()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
