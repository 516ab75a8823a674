//! What was seen of the client under test.

use super::{media::File, noise::Handshake};

/// What was seen of the client until now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many connections were opened.
    pub connections: usize,
    /// How many are open.
    pub open: usize,
    /// How many were refused.
    pub refused: usize,
    /// How it shook hands on each.
    pub handshakes: Vec<Handshake>,
    /// How often it logged in.
    pub logins: usize,
    /// How often a login was refused.
    pub failures: usize,
    /// How often it was ready for messages after that.
    pub active: usize,
    /// How often it was linked by a code.
    pub pairings: usize,
    /// Every query, in order: namespace, kind, and what is asked, as `usync get usync`.
    pub queries: Vec<String>,
    /// Every message that it sent, in order.
    pub sent: Vec<Sent>,
    /// What it removed of what it sent, in order: chat, and the message's id.
    pub removed: Vec<(String, String)>,
    /// How often a message was sent again with an id that was there already: nothing more is shown then.
    pub repeats: usize,
    /// What could not be read by those to whom it was sent: who, the message's id, and why. They ask for it again.
    pub unreadable: Vec<String>,
    /// What was sent to where nobody is, and refused: the message's id, where, and why.
    pub refused_messages: Vec<String>,
    /// What it said of messages that it received, in order.
    pub receipts: Vec<Receipt>,
    /// The ids of what it acknowledged without a receipt, in order.
    pub acknowledged: Vec<String>,
    /// What it said of its presence in chats, in order: chat, and `composing` or `paused`.
    pub typing: Vec<(String, String)>,
    /// What it said of its presence in general, in order: `available` or `unavailable`.
    pub presences: Vec<String>,
    /// How many of its one-time keys are left.
    pub keys_left: usize,
    /// How many messages there are of which it has not said yet that it has them.
    pub waiting: usize,
    /// What it asked for and this fake does not know.
    pub unknown: Vec<String>,
}

/// A message that the client sent, as those read it to whom it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    /// Where.
    pub chat: String,
    /// Its id.
    pub id: String,
    /// Its text, or its file's caption.
    pub text: String,
    /// The id of the message that it quotes.
    pub answers: Option<String>,
    /// Who said what it quotes.
    pub answered: Option<String>,
    /// Whom it mentions.
    pub mentions: Vec<String>,
    /// The id of the message that it changes.
    pub edits: Option<String>,
    /// Its file.
    pub file: Option<File>,
}

/// What the client said of messages that it received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Their ids.
    pub ids: Vec<String>,
    /// Empty when they were delivered; else `read`, `retry` and others.
    pub kind: String,
    /// To whom it is said: the chat.
    pub to: String,
}

impl Sent {
    /// Its text; of a file, its caption and `[its name: its content]`, or its kind where it has no name.
    #[must_use]
    pub fn shown(&self) -> String {
        let Some(file) = &self.file else { return self.text.clone() };
        let name = if file.name.is_empty() { file.kind.word() } else { &file.name };
        format!("{} [{name}: {}]", self.text, String::from_utf8_lossy(&file.content)).trim_start().to_owned()
    }
}

impl Seen {
    /// What the client sent to a chat, oldest first, each as [`Sent::shown`].
    #[must_use]
    pub fn posted(&self, chat: &str) -> Vec<String> {
        self.sent.iter().filter(|sent| sent.chat == chat).map(Sent::shown).collect()
    }

    /// How often something was asked for, by the beginning of [`Seen::queries`].
    #[must_use]
    pub fn count(&self, query: &str) -> usize {
        self.queries.iter().filter(|asked| asked.starts_with(query)).count()
    }

    /// How often the client said of a message that it has it, in whatever words.
    #[must_use]
    pub fn received(&self, id: &str) -> usize {
        let receipts = self.receipts.iter().filter(|receipt| receipt.kind != "retry");
        receipts.filter(|receipt| receipt.ids.iter().any(|of| of == id)).count()
            + self.acknowledged.iter().filter(|of| *of == id).count()
    }

    /// How often the client asked for a message again, because it could not read it.
    #[must_use]
    pub fn retries(&self, id: &str) -> usize {
        let retries = self.receipts.iter().filter(|receipt| receipt.kind == "retry");
        retries.filter(|receipt| receipt.ids.iter().any(|of| of == id)).count()
    }
}
