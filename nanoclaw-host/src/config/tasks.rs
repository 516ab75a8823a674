//! `[tasks]`: how often scheduled tasks may be due, and what becomes of those that fail.

use std::time::Duration;

use nanoclaw_core::tasks::TaskSettings;

use super::{reader::Reader, setting::Setting, value};

/// The numbers that scheduled tasks go by. The zone in which they are meant is `time.zone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksConfig {
    /// No task may be asked for that is due more often.
    pub shortest_interval: Setting<Duration>,
    /// How many runs may fail for one due time before it is given up.
    pub tries: Setting<u32>,
    /// After how many due times in a row that failed a task is put to rest.
    pub failures_before_rest: Setting<u32>,
}

impl TasksConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = TaskSettings::default();
        let mut section = reader.section("tasks");
        let config = Self {
            shortest_interval: section.read(
                "shortest_interval",
                None,
                default.shortest_interval,
                value::duration(Duration::from_secs(1)..=Duration::from_secs(30 * 86_400)),
            ),
            tries: section.read("tries", None, default.tries, value::count(1..=100)),
            failures_before_rest: section.read(
                "failures_before_rest",
                None,
                default.failures_before_rest,
                value::count(1..=1000),
            ),
        };
        section.finish();
        config
    }

    /// The same for the orchestrator.
    #[must_use]
    pub fn settings(&self) -> TaskSettings {
        TaskSettings {
            shortest_interval: *self.shortest_interval,
            tries: *self.tries,
            failures_before_rest: *self.failures_before_rest,
        }
    }
}
