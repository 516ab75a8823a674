//! `[retention]`: how long what nobody needs any more is kept.

use std::time::Duration;

use super::{
    reader::{Reader, Section},
    setting::Setting,
    value,
};
use crate::retention::Rules;

/// How long things are kept; `None`: for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionConfig {
    /// The logs of runs that are over.
    pub run_logs: Setting<Option<Duration>>,
    /// The record of runs that are over, with their turns and blocks.
    pub runs: Setting<Option<Duration>>,
    /// The record of tasks' due times.
    pub firings: Setting<Option<Duration>>,
    /// Sessions, mailboxes, overlays and logs of groups that were removed.
    pub removed_groups: Setting<Option<Duration>>,
    /// Files that came with messages, in groups' folders.
    pub attachments: Setting<Option<Duration>>,
}

impl RetentionConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Rules::default();
        let mut section = reader.section("retention");
        let config = Self {
            run_logs: age(&mut section, "run_logs", default.run_logs),
            runs: age(&mut section, "runs", default.runs),
            firings: age(&mut section, "firings", default.firings),
            removed_groups: age(&mut section, "removed_groups", default.removed_groups),
            attachments: age(&mut section, "attachments", default.attachments),
        };
        section.finish();
        config
    }

    /// The same for whoever tidies up.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            run_logs: *self.run_logs,
            runs: *self.runs,
            firings: *self.firings,
            removed_groups: *self.removed_groups,
            attachments: *self.attachments,
        }
    }
}

fn age(section: &mut Section<'_, '_>, key: &'static str, default: Option<Duration>) -> Setting<Option<Duration>> {
    const DAY: Duration = Duration::from_secs(86_400);
    section.read(key, None, default, value::or_none(value::duration(DAY..=3650 * DAY)))
}
