//! Files that come with messages: taken from a channel into the [spool](Spool), and [brought](bring) from there into a group's
//! folder when an agent is handed the message.
//!
//! ```text
//! channel ──▶ store/files/arriving/ ──take──▶ store/files/in/ ──(the message is committed)──▶ groups/<folder>/attachments/
//!             the channel's               the host's: whole, on the disk              the agent's, at each hand-over
//! ```
//!
//! A file is in the spool, whole and synced, before the message that names it is committed. A host that dies between the two
//! leaves a file that no message names: [`sweep`] removes it, and the channel, which was told nothing, says the message again.

mod bring;
mod spool;
pub mod sweep;
#[cfg(test)]
mod tests;

pub use bring::bring;
pub use spool::{FileLimits, NotTaken, Spool};
