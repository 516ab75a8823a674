//! The channels that are part of the host.
//!
//! [`bridge`] carries any chat service whose adapter is a program of its own; [`local`] is the terminal. Both speak JSON lines
//! over a unix socket: `peer` is one connection of either. `discord` and `slack` are clients of their services, which have to be
//! reached: `service` keeps such a client connected over its `socket`, `lanes` keep the order of what is said, `download` fetches
//! its files, and [`status`] says how it stands. [`ports`] is what a channel needs of the rest
//! of the host, and all that it knows of it. What comes with files goes in by `arriving`; [`text`] makes of an agent's Markdown what
//! a chat service shows, and of what goes out in several pieces, `progress` knows which are out.

mod arriving;
pub mod bridge;
#[cfg(feature = "discord")]
pub mod discord;
#[cfg(any(feature = "discord", feature = "slack"))]
mod download;
#[cfg(any(feature = "discord", feature = "slack"))]
mod lanes;
pub mod local;
mod peer;
pub mod ports;
#[cfg(any(feature = "discord", feature = "slack"))]
mod progress;
#[cfg(any(feature = "discord", feature = "slack"))]
mod service;
#[cfg(feature = "slack")]
pub mod slack;
#[cfg(any(feature = "discord", feature = "slack"))]
mod socket;
pub mod status;
pub mod text;
#[cfg(any(feature = "discord", feature = "slack"))]
mod tls;

/// The longest line that a channel takes, in bytes, without its end.
pub(crate) const MAX_LINE_BYTES: usize = 1 << 20;

/// The longest name that is kept, in characters.
const MAX_NAME: usize = 256;

/// A name that people gave, fit for one line: a strange name must not cost a message. `None` when nothing is left.
fn clean_name(name: &str) -> Option<String> {
    let clean: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_NAME).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// A message that mentions the assistant anywhere begins with what it is called, so that it wakes it (v1 does so as well).
#[cfg(any(feature = "discord", feature = "slack"))]
fn calling(text: String, called: &str) -> String {
    let begins = text.trim_start().get(..called.len()).is_some_and(|first| first.eq_ignore_ascii_case(called));
    if begins { text } else { format!("{called} {text}").trim_end().to_owned() }
}

/// How an assistant is called in a chat that is no group, of which no text is kept.
#[cfg(any(feature = "discord", feature = "slack"))]
const NOBODYS_CALL: &str = "@assistant";

#[cfg(all(test, any(feature = "discord", feature = "slack")))]
mod tests {
    use super::*;

    #[test]
    fn a_mention_anywhere_makes_the_message_begin_with_the_call() {
        for (text, expected) in [
            ("@Andy hello", "@Andy hello"),
            ("@andy hello", "@andy hello"),
            ("hello @Andy", "@Andy hello @Andy"),
            ("", "@Andy"),
        ] {
            assert_eq!(calling(text.to_owned(), "@Andy"), expected);
        }
        assert_eq!(calling("ä".to_owned(), "@Andy"), "@Andy ä");
    }
}
