//! What an agent writes, as each chat service shows it.
//!
//! Agents write Markdown, for every chat the same. [`messages`] makes of it what one service shows, cut into messages of the length
//! that it takes. Nothing here knows a client of a service or does I/O: an adapter sends each [`Piece`] as it is. What becomes of
//! what, and what a service lacks, stands in `docs/channels/formatting.md`.

mod discord;
mod document;
mod literal;
mod markup;
mod read;
mod slack;
mod split;
mod table;
mod telegram;
#[cfg(test)]
mod tests;
mod whatsapp;

use split::Dialect;

/// A chat service that has a formatting of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Plain text with entities; 4096 UTF-16 code units and 100 entities a message.
    Telegram,
    /// mrkdwn, for the field `text` of `chat.postMessage` with `parse` and `link_names` unset; 4000 code points a message.
    Slack,
    /// Markdown as Discord understands it; 2000 code points a message. Whom a text pings is decided by `allowed_mentions`, not here.
    Discord,
    /// WhatsApp's signs for bold, italic, struck and code; 65,536 UTF-16 code units a message.
    WhatsApp,
}

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Piece {
    /// What is sent as the message's text: with the service's own signs, or plain for Telegram. Never empty.
    pub text: String,
    /// What parts of `text` are, for Telegram alone. By rising offset, of those with the same offset the longest first; two that have
    /// a unit in common lie one within the other.
    pub entities: Vec<Entity>,
}

/// A part of a text and what it is. Never empty, never half a surrogate pair, and within the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    /// What it is.
    pub kind: EntityKind,
    /// Where it begins, in UTF-16 code units.
    pub offset: usize,
    /// How long it is, in UTF-16 code units.
    pub length: usize,
}

/// What Telegram can make of a part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityKind {
    /// Bold.
    Bold,
    /// Italic.
    Italic,
    /// Struck through.
    Strike,
    /// Code within a line.
    Code,
    /// A block of code.
    Pre {
        /// Its language as the fence named it, or empty.
        language: String,
    },
    /// A text that leads to an address.
    TextLink {
        /// The address, `http` or `https`.
        url: String,
    },
    /// A quote.
    Blockquote,
}

/// The messages that `service` is sent for an agent's `markdown`, in their order.
///
/// None if nothing in `markdown` can be seen (white space and invisible characters), and only then. Every message has something to see
/// and is within the service's limit, as it counts. The same text gives the same messages, so their places can be parts of keys.
/// Takes time in proportion to the text's length, whatever is in it.
pub fn messages(markdown: &str, service: Service) -> Vec<Piece> {
    match service {
        Service::Telegram => messages_in::<telegram::Telegram>(markdown),
        Service::Slack => messages_in::<slack::Slack>(markdown),
        Service::Discord => messages_in::<discord::Discord>(markdown),
        Service::WhatsApp => messages_in::<whatsapp::WhatsApp>(markdown),
    }
}

fn messages_in<D: Dialect>(markdown: &str) -> Vec<Piece> {
    let mut document = read::read(markdown, D::link);
    document.rows.iter_mut().for_each(D::prepare);
    split::split::<D>(&document)
}
