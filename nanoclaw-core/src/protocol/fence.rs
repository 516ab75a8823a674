//! The fence: a file by which a host ends every run before a given one, also those that it cannot reach.
//!
//! All runs of a group share its mailbox, one after the other. A container that a host can neither see nor stop (its runtime
//! is down, or another one is configured now) would go on there beside its successor and take its follow-ups. So a host
//! says in the mailbox which run is the oldest that may go on, before a new one starts and when it finishes one of an earlier
//! host, and process 1 of every container (`agent-runner init`, whatever the agent) ends its command when its own run is
//! older than that. A host of v1 writes no such file.
//!
//! The agent can write there too. What is no number, no regular file or a link says nothing; a number that is too great ends
//! the agent that wrote it, and no other: the next run's host writes the file anew.

use crate::run::RunNumber;

/// The name of the file, beside the folders of the mailbox.
pub const FENCE_FILE: &str = "fence";

/// The most bytes it may have; what is longer says nothing.
pub const FENCE_BYTES: usize = 32;

/// The code with which process 1 ends when its run is fenced, whatever its command ended with. Shells (126 and above) and
/// `sysexits.h` (64 to 78) give it no meaning.
pub const FENCED_CODE: u8 = 79;

/// What the file says when `oldest` is the oldest run that may go on: its number and the end of the line.
#[must_use]
pub fn text(oldest: RunNumber) -> String {
    format!("{oldest}\n")
}

/// The oldest run that may go on; `None` when that is not what is said. Space around the number is allowed.
#[must_use]
pub fn oldest(bytes: &[u8]) -> Option<RunNumber> {
    std::str::from_utf8(bytes).ok()?.trim_ascii().parse().ok().map(RunNumber)
}
