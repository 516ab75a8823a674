//! `[standby]`: containers that are started before anybody has asked anything.

use std::time::Duration;

use nanoclaw_core::orchestrator::StandbySettings;

use super::{reader::Reader, setting::Setting, value};

/// For whom containers are started ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandbyConfig {
    /// The most at a time; 0: none ever is.
    pub groups: Setting<u32>,
    /// The most bytes of memory that they take together.
    pub memory: Setting<u64>,
    /// How long after it was last used a group has one.
    pub within: Setting<Duration>,
}

impl StandbyConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = StandbySettings::default();
        let mut section = reader.section("standby");
        let config = Self {
            groups: section.read("groups", None, 0, value::count(0..=1000)),
            memory: section.read("memory", None, default.memory_bytes, value::size(1 << 20..=1 << 40)),
            within: section.read(
                "within",
                None,
                default.within,
                value::duration(Duration::from_secs(60)..=Duration::from_secs(30 * 86_400)),
            ),
        };
        section.finish();
        config
    }

    /// The same for the orchestrator.
    #[must_use]
    pub fn settings(&self) -> StandbySettings {
        StandbySettings {
            groups: usize::try_from(*self.groups).unwrap_or(usize::MAX),
            memory_bytes: *self.memory,
            within: *self.within,
        }
    }
}
