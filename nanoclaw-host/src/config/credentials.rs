//! `[credentials]`: the command that gives secrets. The secrets themselves are [`credentials`](crate::credentials)' own.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::Setting,
    value::{self, Raw},
};
use crate::credentials::{CredentialKind, LONGEST_COMMAND, age::Reminders};

const DAY: Duration = Duration::from_secs(86_400);

/// The command that gives secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsConfig {
    /// The program and its arguments, run without a shell; `None`: there is none.
    pub command: Setting<Option<Vec<String>>>,
    /// What the one secret that it prints is; `None`: it prints `KEY=value` lines, or a token that is known by its shape.
    pub command_kind: Setting<Option<CredentialKind>>,
    /// How long it may take; default 10 s.
    pub command_timeout: Setting<Duration>,
    /// How long before a subscription's token ends people are reminded; default 30 days.
    pub remind_before: Setting<Duration>,
    /// How long after another credential of the model was stored; `None`: never. Default a year.
    pub remind_after: Setting<Option<Duration>>,
}

impl Default for CredentialsConfig {
    fn default() -> Self {
        Self {
            command: Setting::default_to(None),
            command_kind: Setting::default_to(None),
            command_timeout: Setting::default_to(Duration::from_secs(10)),
            remind_before: Setting::default_to(Reminders::default().before),
            remind_after: Setting::default_to(Reminders::default().after),
        }
    }
}

impl CredentialsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let mut section = reader.section("credentials");
        let words = value::command();
        let command = section.lookup("command", None, move |raw: &Raw<'_>| words(raw).map(Some));
        let kinds = value::word(&[
            ("api_key", CredentialKind::ApiKey),
            ("oauth_token", CredentialKind::OAuthToken),
            ("auth_token", CredentialKind::AuthToken),
        ]);
        let command_kind = section.lookup("command_kind", None, move |raw: &Raw<'_>| kinds(raw).map(Some));
        let config = Self {
            command: command.unwrap_or(default.command),
            command_kind: command_kind.unwrap_or(default.command_kind),
            command_timeout: section.read(
                "command_timeout",
                None,
                default.command_timeout.value,
                value::duration(Duration::from_millis(100)..=LONGEST_COMMAND),
            ),
            remind_before: section.read(
                "remind_before",
                None,
                default.remind_before.value,
                value::duration(DAY..=365 * DAY),
            ),
            remind_after: section.read(
                "remind_after",
                None,
                default.remind_after.value,
                value::or_none(value::duration(DAY..=3650 * DAY)),
            ),
        };
        section.finish();
        config
    }

    /// When people are reminded.
    #[must_use]
    pub fn reminders(&self) -> Reminders {
        Reminders { before: *self.remind_before, after: *self.remind_after }
    }
}
