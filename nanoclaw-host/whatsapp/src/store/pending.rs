//! Messages that were decrypted and that the host may not have yet. The library wants them kept, so that one that comes again can be given to
//! the host although it cannot be decrypted a second time.
//!
//! That is needed from the moment on at which the disk forgets the key that was used, and no sooner: until then what comes again is
//! decrypted again. So nobody waits for such a write, least of all the message on its way to the host; but it begins at once, and whatever is
//! written after it goes in the same transaction or in a later one. What could not be written is tried again with the next write.

use std::collections::HashMap;

use super::{Statement, now, statement};

/// A message by its chat, its sender and its id there.
type Key = (String, String, String);

/// What the table is to say of some messages and does not yet say.
#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<Key, Word>);

/// What the table is to say of a message.
#[derive(Debug)]
enum Word {
    /// Its text, kept at this time.
    Kept { message: Vec<u8>, at: i64 },
    /// Nothing: the host has it.
    Gone,
}

impl Pending {
    /// A message is to be kept.
    pub(super) fn keep(&mut self, key: Key, message: Vec<u8>) {
        self.0.insert(key, Word::Kept { message, at: now() });
    }

    /// The host has a message.
    pub(super) fn remove(&mut self, key: Key) {
        self.0.insert(key, Word::Gone);
    }

    /// Whether and how a message is kept; `None`: the table knows.
    pub(super) fn find(&self, key: &Key) -> Option<Option<Vec<u8>>> {
        self.0.get(key).map(|word| match word {
            Word::Kept { message, .. } => Some(message.clone()),
            Word::Gone => None,
        })
    }

    /// Whether something has to be written, and not only can be.
    pub(super) fn is_urgent(&self) -> bool {
        self.0.values().any(|word| matches!(word, Word::Kept { .. }))
    }

    /// What has the table say it. Their order does not matter, since each is of another message.
    pub(super) fn statements(&self) -> impl Iterator<Item = Statement> {
        self.0.iter().map(|((chat, sender, id), word)| {
            let sql = match word {
                Word::Kept { .. } => {
                    "INSERT INTO pending_inbound (chat, sender, id, message, at) VALUES (?, ?, ?, ?, ?) \
                     ON CONFLICT DO UPDATE SET message = excluded.message, at = excluded.at"
                }
                Word::Gone => "DELETE FROM pending_inbound WHERE chat = ? AND sender = ? AND id = ?",
            };
            let named = statement(sql).bind(chat.clone()).bind(sender.clone()).bind(id.clone());
            match word {
                Word::Kept { message, at } => named.bind(message.clone()).bind(*at),
                Word::Gone => named,
            }
        })
    }

    /// What was taken out could not be written; what was said since then counts.
    pub(super) fn put_back(&mut self, taken: Self) {
        for (key, word) in taken.0 {
            self.0.entry(key).or_insert(word);
        }
    }
}
