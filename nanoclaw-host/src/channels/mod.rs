//! The channels that are part of the host.
//!
//! [`bridge`] carries any chat service whose adapter is a program of its own; [`local`] is the terminal. Both speak JSON lines
//! over a unix socket: `peer` is one connection of either. `discord`, `slack` and `telegram` are clients of their services, which have
//! to be reached: `service` keeps such a client connected, those that speak HTTP over its `socket`, and [`status`] says how it stands;
//! so it does with the bridges that the host starts itself ([`program`]).
//! [`ports`] is what a channel needs of the rest of the host, and all that it knows of it. What comes is taken in by `lanes`, one message
//! of a chat after the other, and with its files (`download`) by `arriving`; [`text`] makes of an agent's Markdown what a chat service
//! shows, and of what goes out in several pieces, `progress` knows which are out.

mod arriving;
pub mod bridge;
#[cfg(feature = "discord")]
pub mod discord;
#[cfg(feature = "web-client")]
mod download;
#[cfg(feature = "service-client")]
mod lanes;
pub mod local;
mod peer;
pub mod ports;
pub mod program;
#[cfg(feature = "service-client")]
mod progress;
mod service;
#[cfg(feature = "slack")]
pub mod slack;
#[cfg(feature = "web-client")]
mod socket;
pub mod status;
#[cfg(feature = "telegram")]
pub mod telegram;
#[cfg(feature = "web-client")]
mod tls;

pub use nanoclaw_text as text;

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

/// A message that mentions the assistant anywhere begins with what it is `called`, so that it wakes it (v1 does so as well).
fn calling(text: String, called: &str) -> String {
    let begins = text.trim_start().get(..called.len()).is_some_and(|first| first.eq_ignore_ascii_case(called));
    if begins { text } else { format!("{called} {text}").trim_end().to_owned() }
}

/// How an assistant is called in a chat that is no group, of which no text is kept.
const NOBODYS_CALL: &str = "@assistant";

#[cfg(test)]
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
