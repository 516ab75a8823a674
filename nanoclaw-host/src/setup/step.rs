//! The steps of setup, in the order in which they are taken.

use std::{fmt, str::FromStr};

use super::question::Key;

/// A step. Its name stays the same in every version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The machine is fit, and the home is made.
    Machine,
    /// What runs containers is chosen, and shown to work.
    Runtime,
    /// The image that containers are made of is there.
    Image,
    /// What opens the model is stored.
    Credential,
    /// A chat service is linked, or the terminal is the chat.
    Channel,
    /// The assistant has its name.
    Assistant,
    /// The owner's chat is registered.
    MainGroup,
    /// The service is started, now and at every boot.
    Service,
    /// A message is answered.
    Message,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Machine,
        Self::Runtime,
        Self::Image,
        Self::Credential,
        Self::Channel,
        Self::Assistant,
        Self::MainGroup,
        Self::Service,
        Self::Message,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Runtime => "runtime",
            Self::Image => "image",
            Self::Credential => "credential",
            Self::Channel => "channel",
            Self::Assistant => "assistant",
            Self::MainGroup => "main-group",
            Self::Service => "service",
            Self::Message => "message",
        }
    }

    /// What its questions are about.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        Key::all().filter(move |key| key.step() == self)
    }

    /// What it is about, in few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Machine => "This machine, and the home",
            Self::Runtime => "What runs the containers",
            Self::Image => "The image of the containers",
            Self::Credential => "What opens the model",
            Self::Channel => "Where people write",
            Self::Assistant => "The assistant's name",
            Self::MainGroup => "Your own chat",
            Self::Service => "The service",
            Self::Message => "A first message",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|step| step.name() == word).ok_or_else(|| {
            let all = Self::ALL.map(Self::name).join(", ");
            match crate::config::nearest(word, Self::ALL.map(Self::name)) {
                Some(near) => format!("there is no such step; did you mean {near}?"),
                None => format!("the steps are {all}"),
            }
        })
    }
}
