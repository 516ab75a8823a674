//! What can be asked, under which names it is answered, and which answers are right.

use nanoclaw_core::{chat::ChatId, secret::Secret};

use super::{answers::Given, step::Step};
use crate::credentials::{CredentialKind, checked};

/// What an answer is to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Which runtime: `auto`, `docker`, `podman`, `sandbox`.
    Runtime,
    /// Which image is built for an engine: `local`, `slim`, `full`, `later`.
    Image,
    /// What it is built on; never asked.
    Base,
    /// Which kind of credential: `api-key`, `login`, `token`, `bearer`, `later`, and `keep` where there is one.
    Credential,
    /// The secret of this name.
    Secret(&'static str),
    /// Where people write: `local`, `telegram`, `slack`, `discord`, `whatsapp`.
    Channel,
    /// The assistant's name.
    Name,
    /// The owner's chat: `local`, `pair`, `later`, or a chat's id.
    MainChat,
    /// Whether systemd is to run the service: `install`, `no`.
    Service,
    /// What is said to the assistant in the end; never asked.
    Message,
}

/// The secrets that setup stores: those of the model, then those of chat services.
pub const SECRETS: [&str; 9] = [
    "ANTHROPIC_API_KEY",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "ANTHROPIC_AUTH_TOKEN",
    "TELEGRAM_API_ID",
    "TELEGRAM_API_HASH",
    "TELEGRAM_BOT_TOKEN",
    "SLACK_APP_TOKEN",
    "SLACK_BOT_TOKEN",
    "DISCORD_BOT_TOKEN",
];

/// The keys that are no secrets.
const PLAIN: [Key; 9] = [
    Key::Runtime,
    Key::Image,
    Key::Base,
    Key::Credential,
    Key::Channel,
    Key::Name,
    Key::MainChat,
    Key::Service,
    Key::Message,
];

impl Key {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        PLAIN.into_iter().chain(SECRETS.map(Self::Secret))
    }

    /// The step that wants to know it.
    #[must_use]
    pub fn step(self) -> Step {
        match self {
            Self::Runtime => Step::Runtime,
            Self::Image | Self::Base => Step::Image,
            Self::Credential => Step::Credential,
            Self::Secret(name) if CredentialKind::of_variable(name).is_some() => Step::Credential,
            Self::Secret(_) | Self::Channel => Step::Channel,
            Self::Name => Step::Assistant,
            Self::MainChat => Step::MainGroup,
            Self::Service => Step::Service,
            Self::Message => Step::Message,
        }
    }

    /// Its name in a file of answers.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::Runtime => "runtime".to_owned(),
            Self::Image => "image".to_owned(),
            Self::Base => "base".to_owned(),
            Self::Credential => "credential".to_owned(),
            Self::Secret(name) => name.to_lowercase(),
            Self::Channel => "channel".to_owned(),
            Self::Name => "name".to_owned(),
            Self::MainChat => "main_chat".to_owned(),
            Self::Service => "service".to_owned(),
            Self::Message => "message".to_owned(),
        }
    }

    /// The environment variable that answers it.
    #[must_use]
    pub fn variable(self) -> String {
        format!("NANOCLAW_SETUP_{}", self.name().to_uppercase())
    }

    /// The flag that answers it. A secret has none: every user of the machine could read it.
    #[must_use]
    pub fn flag(self) -> Option<String> {
        (!self.is_secret()).then(|| format!("--{}", self.name().replace('_', "-")))
    }

    /// Whether its answer is shown to nobody.
    #[must_use]
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Secret(_))
    }

    /// How it can be answered, for somebody who has not.
    #[must_use]
    pub fn ways(self) -> String {
        let (name, variable) = (self.name(), self.variable());
        match self.flag() {
            Some(flag) => format!("{flag}, {variable}, or {name} in a file of answers"),
            None => format!("{variable}, or {name} in a file of answers"),
        }
    }

    /// The words that answer it; `None` when it is more than one of some words.
    #[must_use]
    pub fn words(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Runtime => Some(&["auto", "docker", "podman", "sandbox"]),
            Self::Image => Some(&["local", "slim", "full", "later"]),
            Self::Credential => Some(&["api-key", "login", "token", "bearer", "keep", "later"]),
            Self::Channel => Some(&["local", "telegram", "slack", "discord", "whatsapp"]),
            Self::Service => Some(&["install", "no"]),
            Self::Base | Self::Secret(_) | Self::Name | Self::MainChat | Self::Message => None,
        }
    }

    /// The answer that `text` is.
    ///
    /// # Errors
    /// What would be right, as it follows the key's name; nothing of a secret.
    pub fn understand(self, text: &str) -> Result<Given, String> {
        if let Self::Secret(name) = self {
            return secret(name, text).map(Given::Hidden);
        }
        let text = text.trim();
        let word = || Ok(Given::Word(text.to_owned()));
        if let Some(words) = self.words() {
            return if words.contains(&text) { word() } else { Err(format!("must be one of {}", words.join(", "))) };
        }
        let line = !text.is_empty() && !text.chars().any(char::is_control);
        match self {
            Self::MainChat if ["local", "pair", "later"].contains(&text) || is_chat(text) => word(),
            Self::MainChat => Err("must be local, pair, later, or a chat's id such as tg:12345".to_owned()),
            Self::Name if line && text.chars().count() <= 64 => word(),
            Self::Name => Err("must be one line of 1 to 64 characters".to_owned()),
            _ if line && text.len() <= 4096 => word(),
            _ => Err("must be one line of at most 4096 bytes".to_owned()),
        }
    }
}

/// Whether `text` is a chat's id as people write them: with its service before a colon, or as an address.
fn is_chat(text: &str) -> bool {
    text.contains([':', '@']) && text.parse::<ChatId>().is_ok()
}

/// The secret in `text`, if it can be the one of this name.
fn secret(name: &str, text: &str) -> Result<Secret, String> {
    let secret = checked(text)?;
    let shape = CredentialKind::of_shape(secret.reveal());
    match (CredentialKind::of_variable(name), shape) {
        // A gateway of one's own may want any of them as a bearer token.
        (Some(kind), Some(shape)) if kind != shape && kind != CredentialKind::AuthToken => {
            Err(format!("is {} by its form, which belongs to {}", shape.describe(), shape.variable().to_lowercase()))
        }
        (None, Some(shape)) => Err(format!("is {} by its form, which is for the model", shape.describe())),
        _ => Ok(secret),
    }
}

/// One of the words that answer a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The word.
    pub word: &'static str,
    /// What it means.
    pub meaning: String,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the answer is to.
    pub key: Key,
    /// It, for people.
    pub text: String,
    /// What can be chosen; empty: something is typed.
    pub choices: Vec<Choice>,
    /// What is taken when nobody says anything; `None`: there is nothing safe to take.
    pub default: Option<String>,
    /// What helps to answer it.
    pub help: Option<String>,
}
