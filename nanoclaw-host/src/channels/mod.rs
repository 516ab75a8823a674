//! The channels that are part of the host.
//!
//! [`bridge`] carries any chat service whose adapter is a program of its own; [`local`] is the terminal. Both speak JSON lines
//! over a unix socket: `peer` is one connection of either. `slack` is a client of its service, which has to be reached:
//! `service` keeps such a client connected, and [`status`] says how it stands. [`ports`] is what a channel needs of the rest
//! of the host, and all that it knows of it. What comes with files goes in by `arriving`; [`text`] makes of an agent's Markdown what
//! a chat service shows, and of what goes out in several pieces, `progress` knows which are out.

mod arriving;
pub mod bridge;
pub mod local;
mod peer;
pub mod ports;
#[cfg(feature = "slack")]
mod progress;
#[cfg(feature = "slack")]
mod service;
#[cfg(feature = "slack")]
pub mod slack;
pub mod status;
pub mod text;

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
