//! What thinks. A closed set: [`claude`] drives the Claude Code command line, [`native`] is an agent loop of our own,
//! [`offline`] answers without any model.
//!
//! A provider is handed one prompt at a time and tells what there is to say when there is: the answer, and for some of
//! them more between prompts, when work in the background ends.

mod archive;
mod claude;
mod native;
mod offline;
mod pictures;

use std::collections::BTreeMap;

use nanoclaw_core::{
    causes::with_causes,
    group::{GroupFolder, GroupRole},
    protocol::{
        agent::AgentSettings,
        dollars::Dollars,
        environment::{AGENT, PROVIDER},
        input::FileInPrompt,
        output::FailureKind,
    },
    secret::Secret,
    session::SessionId,
    time::Timestamp,
};

use self::{claude::Claude, native::Native, offline::Offline};
use crate::places::{Places, set};

/// What a provider is started with.
#[derive(Debug, Clone)]
pub(crate) struct Start {
    /// The session to resume; `None` begins one.
    pub(crate) session: Option<SessionId>,
    /// The group's folder, which is its name.
    pub(crate) folder: GroupFolder,
    /// The group's own chat.
    pub(crate) chat: String,
    /// The group's rights.
    pub(crate) role: GroupRole,
    /// Where things are.
    pub(crate) places: Places,
    /// Logins from a v1 host, by the name of their variable.
    pub(crate) secrets: BTreeMap<&'static str, Secret>,
    /// Who thinks, by the word for it.
    pub(crate) provider: String,
    /// How to think.
    pub(crate) settings: AgentSettings,
}

/// The provider and the settings that the environment names, which are the operator's.
///
/// # Errors
/// The settings cannot be used; they must not be guessed, because rules about tools are among them.
pub(crate) fn from_environment() -> Result<(String, AgentSettings), Failure> {
    let provider = set(PROVIDER).map_or_else(|| "claude".to_owned(), |name| name.to_string_lossy().into_owned());
    let settings = match set(AGENT) {
        None => AgentSettings::default(),
        Some(value) => AgentSettings::parse(&value.to_string_lossy()).map_err(|error| {
            Failure::other(format!("the agent's settings in {AGENT} cannot be used: {}", with_causes(&error)))
        })?,
    };
    Ok((provider, settings))
}

/// What a provider is asked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Prompt {
    /// The words.
    pub(crate) text: String,
    /// The files that they name, which lie in the group's folder. Pictures among them are shown.
    pub(crate) files: Vec<FileInPrompt>,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// Text for the user; `None` is silence.
    pub(crate) text: Option<String>,
    /// The session to resume next time.
    pub(crate) session: Option<SessionId>,
    /// Whether this ends the turn of the prompt that was asked, rather than coming unasked.
    pub(crate) answers_prompt: bool,
    /// What was spent since the provider last said something, or began; `None` where it does not know prices.
    pub(crate) cost: Option<Dollars>,
}

/// Why a provider cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// In words, for people.
    pub(crate) reason: String,
    /// From when on it can work again, when somebody said so.
    pub(crate) retry_at: Option<Timestamp>,
    /// As [`Said::cost`].
    pub(crate) cost: Option<Dollars>,
}

impl Failure {
    pub(crate) fn other(reason: impl Into<String>) -> Self {
        Self::new(FailureKind::Other, reason)
    }

    pub(crate) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), retry_at: None, cost: None }
    }
}

/// One of the providers, at work.
pub(crate) enum Provider {
    Claude(Box<Claude>),
    Native(Box<Native>),
    Offline(Box<Offline>),
    /// The environment names one that does not exist.
    Unknown {
        name: String,
    },
}

impl Provider {
    /// The provider that `start` names.
    pub(crate) fn new(start: Start) -> Self {
        match start.provider.as_str() {
            "claude" => Self::Claude(Box::new(Claude::new(start))),
            "native" => Self::Native(Box::new(Native::new(start))),
            "offline" => Self::Offline(Box::new(Offline::new(start))),
            name => Self::Unknown { name: name.to_owned() },
        }
    }

    /// Starts what can be started before there is a prompt. What goes wrong is said, and no more: with the prompt it is started
    /// anew.
    pub(crate) fn start_ahead(&mut self) {
        match self {
            Self::Claude(claude) => claude.start_ahead(),
            Self::Native(_) | Self::Offline(_) | Self::Unknown { .. } => {}
        }
    }

    /// The provider of `start`, which goes on with what this one has started ahead, if it is still what it would start.
    pub(crate) async fn now_of(mut self, start: Start) -> Self {
        match (&mut self, Self::new(start)) {
            (Self::Claude(ahead), Self::Claude(mut claude)) => {
                claude.take_over(ahead);
                Self::Claude(claude)
            }
            (ahead, provider) => {
                ahead.stop().await;
                provider
            }
        }
    }

    /// Hands over a prompt. The last one must have been answered.
    pub(crate) fn ask(&mut self, prompt: Prompt) {
        match self {
            Self::Claude(claude) => claude.ask(prompt),
            Self::Native(native) => native.ask(prompt),
            Self::Offline(offline) => offline.ask(prompt.text),
            Self::Unknown { .. } => {}
        }
    }

    /// Waits for what it has to say. Cancel-safe while no prompt is being answered; cancelled in the middle of an answer,
    /// the answer is lost and the provider is good for [`Self::stop`] alone.
    ///
    /// # Errors
    /// The provider is at its end.
    pub(crate) async fn next(&mut self) -> Result<Said, Failure> {
        match self {
            Self::Claude(claude) => claude.next().await,
            Self::Native(native) => native.next().await,
            Self::Offline(offline) => offline.next().await,
            Self::Unknown { name } => Err(Failure::other(format!(
                "there is no provider {name:?}; {PROVIDER} may be claude, native or offline"
            ))),
        }
    }

    /// Says that no more prompts will come.
    pub(crate) fn close(&mut self) {
        match self {
            Self::Claude(claude) => claude.close(),
            Self::Native(_) | Self::Offline(_) | Self::Unknown { .. } => {}
        }
    }

    /// After [`Self::close`]: what it still has to say; `None` when it has ended.
    pub(crate) async fn last_word(&mut self) -> Option<Said> {
        match self {
            Self::Claude(claude) => claude.next().await.ok(),
            Self::Native(_) | Self::Offline(_) | Self::Unknown { .. } => None,
        }
    }

    /// Ends it now: asks, waits a little, kills.
    pub(crate) async fn stop(&mut self) {
        match self {
            Self::Claude(claude) => claude.stop().await,
            Self::Native(native) => native.stop().await,
            Self::Offline(_) | Self::Unknown { .. } => {}
        }
    }
}
