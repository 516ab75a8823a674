//! Retention: what nobody needs any more goes, by age, once a day and with `nanoclaw cleanup`.
//!
//! [`facts`] are what somebody looked at; [`plan`] decides what goes and why, and looks at nothing; [`Tidier`] looks, has it decided, and
//! removes. What may go is listed in one place each, and all else is protected: messages, memory, sessions of groups that
//! are there, the database, logins, backups. What is in use, waits, or is of unknown origin stays, however old it is.

pub mod facts;
mod look;
mod plan;
mod tidy;

use std::time::Duration;

pub use plan::{Going, Kind, Target, is_disposable, plan};
pub use tidy::{Tidied, Tidier, keep};

/// How long things are kept; `None`: for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The logs of runs that are over.
    pub run_logs: Option<Duration>,
    /// The record of runs that are over, with their turns and blocks.
    pub runs: Option<Duration>,
    /// The record of tasks' due times.
    pub firings: Option<Duration>,
    /// Sessions, mailboxes, overlays and logs of groups that were removed.
    pub removed_groups: Option<Duration>,
    /// Files that came with messages, in groups' folders.
    pub attachments: Option<Duration>,
}

impl Default for Rules {
    /// Ninety days, 180, 180, ninety; files that came with messages for ever.
    fn default() -> Self {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        Self { run_logs: days(90), runs: days(180), firings: days(180), removed_groups: days(90), attachments: None }
    }
}
