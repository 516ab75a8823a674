//! `[credentials]`: the command that gives secrets. The secrets themselves are [`credentials`](crate::credentials)' own.

use std::time::Duration;

use super::{
    reader::Reader,
    setting::Setting,
    value::{self, Raw},
};
use crate::credentials::{CredentialKind, LONGEST_COMMAND};

/// The command that gives secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsConfig {
    /// The program and its arguments, run without a shell; `None`: there is none.
    pub command: Setting<Option<Vec<String>>>,
    /// What the one secret that it prints is; `None`: it prints `KEY=value` lines, or a token that is known by its shape.
    pub command_kind: Setting<Option<CredentialKind>>,
    /// How long it may take; default 10 s.
    pub command_timeout: Setting<Duration>,
}

impl Default for CredentialsConfig {
    fn default() -> Self {
        Self {
            command: Setting::default_to(None),
            command_kind: Setting::default_to(None),
            command_timeout: Setting::default_to(Duration::from_secs(10)),
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
        };
        section.finish();
        config
    }
}
