//! The files that a host and a container share. Core's only I/O.
//!
//! A mailbox is a folder with one folder for each direction and kind. A file appears under its final name by rename, so a
//! reader never sees half of one. The side that reads a file removes it. Everything that a host reads here is untrusted: no
//! links are followed, only regular files are opened, sizes and numbers are bounded, and the folders themselves are opened
//! as folders and held, so that swapping one for a link leads nowhere.

mod claim;
mod fence;
mod folder;
mod group_file;
mod names;
mod watch;
mod write;

pub use claim::{Claimed, Limits, Refused};
pub use folder::{FileMark, Folder, Mailbox, MailboxError};
pub use group_file::{FileRefused, GroupFile, TELLING_BYTES, media_type};
#[cfg(feature = "testing")]
pub use watch::in_process;
pub use watch::{FolderWatch, RESCAN, RESCAN_WITHOUT_WATCH, Watcher};

#[cfg(test)]
mod tests;
