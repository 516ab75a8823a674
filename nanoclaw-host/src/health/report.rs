//! The verdict as it is told: on the control socket, in `/health`, and on the screen.

use nanoclaw_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::admin::types::CredentialCheck;

/// How well something is. The later, the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and somebody should know this.
    Degraded,
    /// It does not do its work.
    Failing,
}

impl Health {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, the same in every version: `dispatcher`, `store`, `disk`, `runtime`, `channel`, `groups`, `outbox`, `tasks`,
    /// `credentials`, and `credential` where the model was asked.
    pub name: String,
    /// Which one of several: a channel's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// How it came out.
    pub status: Health,
    /// What was found, a sentence fragment; always there when it is not [`Health::Ok`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &str) -> Self {
        Self { name: name.to_owned(), of: None, status: Health::Ok, reason: None, help: None }
    }

    pub(super) fn degraded(name: &str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            status: Health::Degraded,
            reason: Some(reason.into()),
            help: Some(help.into()).filter(|help| !help.is_empty()),
            ..Self::ok(name)
        }
    }

    pub(super) fn failing(name: &str, reason: impl Into<String>, help: impl Into<String>) -> Self {
        Self { status: Health::Failing, ..Self::degraded(name, reason, help) }
    }

    pub(super) fn of(self, which: &str) -> Self {
        Self { of: Some(which.to_owned()), ..self }
    }
}

/// How the service is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The worst of its checks.
    pub status: Health,
    /// When it was looked.
    pub looked_at_ms: Timestamp,
    /// All that was looked at.
    pub checks: Vec<Check>,
}

impl Report {
    /// The report that these checks make.
    #[must_use]
    pub fn of(checks: Vec<Check>, looked_at_ms: Timestamp) -> Self {
        let status = checks.iter().map(|check| check.status).max().unwrap_or(Health::Ok);
        Self { status, looked_at_ms, checks }
    }

    /// The same with what the model said of the credential, if it was asked.
    #[must_use]
    pub fn with_credential(mut self, said: Option<&CredentialCheck>) -> Self {
        self.checks.extend(said.map(super::verdict::credential));
        Self::of(self.checks, self.looked_at_ms)
    }

    /// The checks that somebody should know of, the worst first.
    #[must_use]
    pub fn unwell(&self) -> Vec<&Check> {
        let mut unwell: Vec<&Check> = self.checks.iter().filter(|check| check.status != Health::Ok).collect();
        unwell.sort_by_key(|check| std::cmp::Reverse(check.status));
        unwell
    }
}
