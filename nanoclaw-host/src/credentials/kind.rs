//! What a credential is: its kind, how it is told by its name or its shape, and what no credential looks like.

use nanoclaw_core::{protocol::environment::ModelAuth, secret::Secret};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// How a credential is presented to the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// An API key: `x-api-key`.
    ApiKey,
    /// A subscription's token (`claude setup-token`): `authorization: Bearer`.
    OAuthToken,
    /// Any other bearer token, for gateways and proxies: `authorization: Bearer`.
    AuthToken,
}

/// How every token of Anthropic begins.
pub const TOKEN_MARK: &str = "sk-ant-";
/// How a subscription's token begins.
pub const OAUTH_MARK: &str = "sk-ant-oat01-";

/// The longest credential.
const LONGEST_BYTES: usize = 16 * 1024;

impl CredentialKind {
    /// All of them; where one source has several, the first of this order is used.
    pub const ALL: [Self; 3] = [Self::ApiKey, Self::OAuthToken, Self::AuthToken];

    /// The name under which it is configured.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::ApiKey => "ANTHROPIC_API_KEY",
            Self::OAuthToken => "CLAUDE_CODE_OAUTH_TOKEN",
            Self::AuthToken => "ANTHROPIC_AUTH_TOKEN",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn of_variable(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.variable() == name)
    }

    /// The kind that a text is by its look; `None` when it could be anything.
    #[must_use]
    pub fn of_shape(text: &str) -> Option<Self> {
        if text.starts_with("sk-ant-api") {
            Some(Self::ApiKey)
        } else if text.starts_with("sk-ant-oat") {
            Some(Self::OAuthToken)
        } else {
            None
        }
    }

    /// In words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::ApiKey => "an API key",
            Self::OAuthToken => "a subscription's token",
            Self::AuthToken => "a bearer token",
        }
    }

    /// What an agent is told of it, to ask as the model API wants it with such a credential.
    #[must_use]
    pub fn model_auth(self) -> ModelAuth {
        match self {
            Self::OAuthToken => ModelAuth::OAuth,
            Self::ApiKey | Self::AuthToken => ModelAuth::ApiKey,
        }
    }
}

/// Whether a secret can have this name: `[A-Z][A-Z0-9_]*`, at most 64 characters.
#[must_use]
pub fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The secret in `text`, space around it taken off; `Err` says what is wrong with it and nothing of it. A credential goes into
/// a header, so it is one line of visible characters.
pub(crate) fn checked(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    if text.is_empty() {
        Err("is empty")
    } else if text.contains(['\n', '\r']) {
        Err("has a line break in it, which no credential has")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err("has a space, a control character or a letter in it that no credential has")
    } else if text.len() > LONGEST_BYTES {
        Err("is longer than 16 KiB, which no credential is")
    } else {
        Ok(Secret::new(text))
    }
}

/// `text` with everything that looks like a token of Anthropic, and every one of `secrets`, shown as `****`.
#[must_use]
pub fn redacted(text: &str, secrets: &[&Secret]) -> String {
    let mut text = Zeroizing::new(text.to_owned());
    for secret in secrets.iter().filter(|secret| secret.reveal().len() > 3) {
        text = Zeroizing::new(text.replace(secret.reveal(), "****"));
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(TOKEN_MARK) {
        shown.push_str(&rest[..at]);
        shown.push_str("****");
        let token = &rest[at..];
        rest = token.find(|c: char| !is_token_character(c)).map_or("", |end| &token[end..]);
    }
    shown.push_str(rest);
    shown
}

/// Whether a token may have this character.
#[must_use]
pub fn is_token_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_name_and_by_shape() {
        for kind in CredentialKind::ALL {
            assert_eq!(CredentialKind::of_variable(kind.variable()), Some(kind));
        }
        assert_eq!(CredentialKind::of_shape("sk-ant-api03-x"), Some(CredentialKind::ApiKey));
        assert_eq!(CredentialKind::of_shape("sk-ant-oat01-x"), Some(CredentialKind::OAuthToken));
        for text in ["", "x", "sk-ant-sid01-x", "sk-proj-x"] {
            assert_eq!(CredentialKind::of_shape(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_of_capitals_digits_and_underscores() {
        assert!(is_name("GITHUB_TOKEN") && is_name("A") && is_name("S3_KEY"));
        for name in ["", "_A", "3A", "github", "A-B", "A B", "A\n", &"A".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn what_no_credential_looks_like_is_refused_without_being_told() {
        for (text, reason) in [
            ("", "empty"),
            (" \n ", "empty"),
            ("sk-one\nsk-two", "line break"),
            ("sk one", "space"),
            ("sk-\u{e4}", "letter"),
            (&"x".repeat(20_000), "16 KiB"),
        ] {
            assert!(checked(text).unwrap_err().contains(reason), "{reason}");
        }
        assert_eq!(checked(" sk-one\n").unwrap().reveal(), "sk-one");
    }

    #[test]
    fn tokens_and_known_secrets_are_taken_out_of_a_text() {
        let text = "key sk-ant-api03-AB_c-9, twice: sk-ant-oat01-x sk-ant- and hunter2!";
        let shown = redacted(text, &[&Secret::new("hunter2")]);
        assert_eq!(shown, "key ****, twice: **** **** and ****!");
    }
}
