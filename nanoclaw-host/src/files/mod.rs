//! Files of messages. Those that come: taken from a channel into the [spool](Spool), and [brought](bring) from there into a group's
//! folder when an agent is handed the message. Those that go: [copied](Outgoing) from there into the spool, and sent.
//!
//! ```text
//! channel ──▶ store/files/arriving/ ──take──▶ store/files/in/ ──(the message is committed)──▶ groups/<folder>/attachments/
//!             the channel's               the host's: whole, on the disk              the agent's, at each hand-over
//!
//! groups/<folder>/… ──keep──▶ store/files/out/<folder>/ ──(the row of the outbox is committed)──▶ channel
//! the agent's                 the host's: whole, on the disk
//! ```
//!
//! A file is in the spool, whole and synced, before the message that names it is committed. A host that dies between the two
//! leaves a file that no message names: [`sweep`] removes it, and the channel, which was told nothing, says the message again. It is
//! the same with a file that goes: the request of the agent, which was told nothing, is decided again.

mod bring;
mod outgoing;
mod spool;
pub mod sweep;
#[cfg(test)]
mod tests;

pub use bring::bring;
pub use outgoing::Outgoing;
pub(crate) use outgoing::is_there;
pub use spool::{FileLimits, NotKept, NotTaken, Spool};
