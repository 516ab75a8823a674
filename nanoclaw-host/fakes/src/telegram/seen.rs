//! What was seen of the client under test.

use super::{entities::Entity, files::File};

/// What was seen of the client until now.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// How many connections were opened.
    pub connections: usize,
    /// How many are open.
    pub open: usize,
    /// How many were refused.
    pub refused: usize,
    /// How often it spoke with a key that is not known (any more), and was told so.
    pub unknown_keys: usize,
    /// How often it began to agree upon a key, which this fake cannot.
    pub handshakes: usize,
    /// How often it signed in.
    pub logins: usize,
    /// How many news were pushed to it.
    pub pushed: usize,
    /// Every call, in order.
    pub calls: Vec<Call>,
    /// Every message that it sent, in order.
    pub sent: Vec<Sent>,
    /// How often a message was sent again with a random id that was there already: nothing more is shown then.
    pub repeats: usize,
    /// What it changed messages of its own to, in order: chat, message, text.
    pub edits: Vec<(i64, i32, String)>,
    /// Where it said that it is doing something, in order: chat, topic, and what, as `SendMessageTypingAction`.
    pub actions: Vec<(i64, Option<i32>, String)>,
    /// The functions that it called and that this fake does not know.
    pub unknown: Vec<String>,
}

/// A call of the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The function, as `messages.sendMessage`.
    pub method: String,
    /// The chat that it is about, if it is about one.
    pub chat: Option<i64>,
    /// On which connection it came, by number from 1.
    pub connection: usize,
}

/// A message that the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Where.
    pub chat: i64,
    /// Its id there.
    pub id: i32,
    /// Its text, or its file's caption.
    pub text: String,
    /// What is formatted in the text.
    pub entities: Vec<Entity>,
    /// The message that it answers.
    pub reply_to: Option<i32>,
    /// The forum's topic that it is in, by its first message.
    pub topic: Option<i32>,
    /// Its file.
    pub file: Option<File>,
    /// The number by which the client makes sure that it is sent once.
    pub random_id: i64,
    /// Whether links in it show no preview.
    pub no_webpage: bool,
}

impl Sent {
    /// Its text; of a file, its caption and `[its name: its content]`.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.file {
            None => self.text.clone(),
            Some(file) => {
                let content = String::from_utf8_lossy(&file.content);
                format!("{} [{}: {content}]", self.text, file.name).trim_start().to_owned()
            }
        }
    }
}

impl Seen {
    /// What the client sent to a chat, oldest first, each as [`Sent::shown`].
    #[must_use]
    pub fn posted(&self, chat: i64) -> Vec<String> {
        self.sent.iter().filter(|sent| sent.chat == chat).map(Sent::shown).collect()
    }

    /// How often a function was called.
    #[must_use]
    pub fn count(&self, method: &str) -> usize {
        self.calls.iter().filter(|call| call.method == method).count()
    }
}
