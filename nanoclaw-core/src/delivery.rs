//! What goes out: rows of the outbox and how a channel is asked to send them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    attachment::OutgoingFile,
    chat::{ChatId, ChatKind},
    group::GroupFolder,
    message::{InboundMessage, PlatformMessageId, SenderId, Seq},
    run::{BlockNumber, RunId},
    text_id::{plain_text, text_id},
    time::Timestamp,
};

text_id! {
    /// The stable key of one outgoing message: the same through every retry and restart, so that a channel which can
    /// deduplicate never shows it twice. Up to 256 bytes without control characters.
    DeliveryKey, "delivery key", |text| plain_text(text, 256)
}

/// How the keys of alerts begin; no agent can make one.
const ALERT: &str = "alert/";

impl DeliveryKey {
    /// The key of the reply in block `block` of `run`.
    #[must_use]
    pub fn reply(run: &RunId, block: BlockNumber) -> Self {
        Self::made(format!("reply/{}/{}/{}", run.group, run.number, block.0))
    }

    /// The key of a message that an agent asked for by the request file `name` during `run`.
    #[must_use]
    pub fn request(run: &RunId, name: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(96).collect();
        Self::made(format!("request/{}/{}/{name}", run.group, run.number))
    }

    /// The key of the notice that the messages of `group` up to `through` were given up.
    #[must_use]
    pub fn gave_up(group: &GroupFolder, through: Seq) -> Self {
        Self::made(format!("gave-up/{group}/{through}"))
    }

    /// The key of the host's answer to a command: the message `id` in `chat`.
    #[must_use]
    pub fn command(chat: &ChatId, id: &PlatformMessageId) -> Self {
        Self::made(format!("command/{id}/{chat}"))
    }

    /// The key of a word of the host itself about `what`: said once for each `what`, however often it is found to be so.
    #[must_use]
    pub fn alert(what: impl std::fmt::Display) -> Self {
        Self::made(format!("{ALERT}{what}"))
    }

    /// Whether it is the key of an [`alert`](Self::alert).
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.as_str().starts_with(ALERT)
    }

    fn made(text: String) -> Self {
        // The parts are ids of bounded length without control characters, so the check cannot fail; should a part ever
        // grow, cutting keeps the key stable, which is all that is asked of it.
        let mut text = text;
        while text.len() > 256 {
            text.pop();
        }
        Self(text)
    }
}

/// A row's place in the outbox: rising, never reused; the order of delivery within a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OutboxId(pub i64);

/// What a channel is asked to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the outbox.
    pub id: OutboxId,
    /// Its stable key.
    pub key: DeliveryKey,
    /// Where to.
    pub chat: ChatId,
    /// What; empty only with a file, to which it is the caption.
    pub text: String,
    /// The file that goes with it.
    pub file: Option<OutgoingFile>,
    /// Which message it is an answer to, and in which thread. The same through every retry and restart.
    pub answered: Answered,
    /// How often sending it was tried before now.
    pub attempts: u32,
    /// When it was put into the outbox: it was not sent before.
    pub posted_at: Timestamp,
}

/// How many bytes of a file a channel has a second more for.
const FILE_BYTES_A_SECOND: u64 = 256 * 1024;

/// How many characters of a message its beginning has at most.
const FIRST_WORDS_CHARS: usize = 60;

impl Delivery {
    /// How it begins, on one line: its file, then its first words, up to 60 characters and a mark when there is more.
    #[must_use]
    pub fn begins(&self) -> String {
        let words = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = match &self.file {
            Some(file) => format!("[file: {}] {words}", file.name).trim_end().to_owned(),
            None => words,
        };
        match line.char_indices().nth(FIRST_WORDS_CHARS) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// How much longer than usual a channel may take to send it: a second for each 256 KiB of its file.
    #[must_use]
    pub fn more_time(&self) -> Duration {
        let bytes = self.file.as_ref().map_or(0, |file| file.spooled.bytes);
        Duration::from_secs(bytes.div_ceil(FILE_BYTES_A_SECOND))
    }
}

/// The message that a delivery is an answer to, as far as people are to see it.
///
/// Both are for show: a channel that cannot show them, or whose service knows that message no more, sends without.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Answered {
    /// The message that is replied to or quoted. `None` when it is no answer to one; in a private chat, where everybody knows
    /// what is answered; and when an earlier delivery was an answer to the same message, since a quote each time is noise.
    pub reply_to: Option<ReplyTo>,
    /// The [thread](InboundMessage::thread) in which that message was written; `None` for the chat's main stream.
    pub thread: Option<PlatformMessageId>,
}

/// A message that is replied to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyTo {
    /// The service's id of it, or what the channel made of that for a change of a message.
    pub id: PlatformMessageId,
    /// Who wrote it.
    pub sender: SenderId,
    /// What they wrote, for services on which a quote is the sender's copy; empty when it was attachments alone.
    pub text: String,
}

impl Answered {
    /// What is shown of an answer to `message`, the `first` one or a further one.
    #[must_use]
    pub fn to(message: &InboundMessage, first: bool) -> Self {
        let InboundMessage { id, sender, text, chat_kind, thread, .. } = message;
        let reply_to = ReplyTo { id: id.clone(), sender: sender.clone(), text: text.clone() };
        Self::shown(reply_to, *chat_kind, thread.clone(), first)
    }

    /// What is shown of an answer to such a message, the `first` one or a further one.
    #[must_use]
    pub fn shown(reply_to: ReplyTo, kind: Option<ChatKind>, thread: Option<PlatformMessageId>, first: bool) -> Self {
        Self { reply_to: Some(reply_to).filter(|_| first && kind != Some(ChatKind::Private)), thread }
    }
}

/// What something that goes into the outbox is an answer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// To the last message that wakes of those that a run has in its hands: of the turns that its agent has taken, or of its
    /// first turn when it has taken none; and none beyond `through`, when that is told. To nothing when there is no such
    /// message, or it is of another chat.
    Run {
        /// Which.
        run: RunId,
        /// The last message that is meant.
        through: Option<Seq>,
    },
    /// To a message that is not in the inbox, such as a command.
    Message(Answered),
}

/// Something to put into the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// Its stable key; a key that is already there is the same message again.
    pub key: DeliveryKey,
    /// Where to.
    pub chat: ChatId,
    /// What; empty only with a file.
    pub text: String,
    /// The file that goes with it. It is in the spool before this is put into the outbox.
    pub file: Option<OutgoingFile>,
    /// What it is an answer to; `None` when nobody asked.
    pub answers: Option<Answers>,
}

/// What a channel knows after a message went out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The service's id of the message, when it told one.
    pub platform_id: Option<PlatformMessageId>,
}
