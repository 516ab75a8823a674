//! `[files]`: what may come with messages, and go.

use super::{reader::Reader, setting::Setting, value};
use crate::files::FileLimits;

/// What may come with messages, and go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConfig {
    /// The most bytes of one file.
    pub max_size: Setting<u64>,
    /// The most files of one message.
    pub max_per_message: Setting<u32>,
    /// The most bytes of all files whose messages are not answered yet.
    pub max_waiting: Setting<u64>,
    /// The most bytes of all files of one group that are not sent yet.
    pub max_to_send: Setting<u64>,
}

impl FilesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        const MIB: u64 = 1 << 20;
        let mut section = reader.section("files");
        let config = Self {
            max_size: section.read("max_size", None, 20 * MIB, value::size(1..=4096 * MIB)),
            max_per_message: section.read("max_per_message", None, 10, value::count(1..=100)),
            max_waiting: section.read("max_waiting", None, 2048 * MIB, value::size(MIB..=1024 * 1024 * MIB)),
            max_to_send: section.read("max_to_send", None, 500 * MIB, value::size(MIB..=1024 * 1024 * MIB)),
        };
        section.finish();
        config
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> FileLimits {
        FileLimits {
            file_bytes: *self.max_size,
            per_message: usize::try_from(*self.max_per_message).unwrap_or(usize::MAX),
            spool_bytes: *self.max_waiting,
            out_bytes: *self.max_to_send,
        }
    }
}
