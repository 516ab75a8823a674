//! `[agent]`: what thinks inside the container.

use std::path::PathBuf;

use super::{
    reader::{Reader, Section},
    setting::Setting,
    thinking::Thinking,
    value,
};
use crate::skills::{Choice, SkillName};

/// What thinks inside the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// No model: deterministic answers.
    Offline,
    /// The Claude Code command line.
    Claude,
    /// The agent loop of our own.
    Native,
}

impl Provider {
    /// The word for it in the configuration and in the container's environment.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Claude => "claude",
            Self::Native => "native",
        }
    }
}

impl std::fmt::Display for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a group may do with its overlay, the folder by which it shapes its own agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayMode {
    /// Its agent reads it and can change it.
    Open,
    /// Its agent reads it.
    Frozen,
    /// There is none.
    None,
}

impl std::fmt::Display for OverlayMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::None => "none",
        })
    }
}

/// Which provider was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderChoice {
    /// Claude when a credential is configured, else offline; native where the API is none that another asks.
    Auto,
    /// This one.
    Fixed(Provider),
}

/// What thinks inside the container, for all groups that do not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentConfig {
    /// Which provider; default `auto`.
    pub provider: Setting<ProviderChoice>,
    /// A program that speaks the container contract and takes the provider's place: its path inside and its arguments.
    /// `None`: our agent-runner with the provider.
    pub command: Setting<Option<Vec<String>>>,
    /// The Claude Code program on the host, to be mounted; `None`: `claude` on the `PATH` of the host when it is there,
    /// else the image's own.
    pub claude: Setting<Option<PathBuf>>,
    /// Our agent-runner on the host, to be mounted; `None`: beside the running program, or on the `PATH`.
    pub runner: Setting<Option<PathBuf>>,
    /// Which skills groups have; default all.
    pub skills: Setting<Choice>,
    /// What groups may do with their overlays; default open. With a `command` there is one only if this is said.
    pub overlay: Setting<OverlayMode>,
    /// How it thinks.
    pub thinking: Thinking,
}

impl AgentConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("agent");
        let (base, home) = section.path_bases();
        let path = || {
            let rule = value::path(base.clone(), home.clone());
            move |raw: &value::Raw<'_>| rule(raw).map(Some)
        };
        let config = Self {
            provider: provider(&mut section).unwrap_or_else(|| Setting::default_to(ProviderChoice::Auto)),
            command: command(&mut section).unwrap_or_else(|| Setting::default_to(None)),
            claude: section.read("claude", None, None, path()),
            runner: section.read("runner", None, None, path()),
            skills: skills(&mut section).unwrap_or_else(|| Setting::default_to(Choice::All)),
            overlay: overlay(&mut section).unwrap_or_else(|| Setting::default_to(OverlayMode::Open)),
            thinking: Thinking::read(&mut section),
        };
        section.finish();
        config
    }
}

pub(super) fn provider(section: &mut Section<'_, '_>) -> Option<Setting<ProviderChoice>> {
    section.lookup(
        "provider",
        None,
        value::word(&[
            ("auto", ProviderChoice::Auto),
            ("offline", ProviderChoice::Fixed(Provider::Offline)),
            ("claude", ProviderChoice::Fixed(Provider::Claude)),
            ("native", ProviderChoice::Fixed(Provider::Native)),
        ]),
    )
}

pub(super) fn command(section: &mut Section<'_, '_>) -> Option<Setting<Option<Vec<String>>>> {
    let rule = value::command();
    section.lookup("command", None, move |raw: &value::Raw<'_>| rule(raw).map(Some))
}

pub(super) fn overlay(section: &mut Section<'_, '_>) -> Option<Setting<OverlayMode>> {
    section.lookup(
        "overlay",
        None,
        value::word(&[("open", OverlayMode::Open), ("frozen", OverlayMode::Frozen), ("none", OverlayMode::None)]),
    )
}

pub(super) fn skills(section: &mut Section<'_, '_>) -> Option<Setting<Choice>> {
    let (word, list) = (value::word(&[("all", ())]), value::texts());
    section.lookup("skills", None, move |raw: &value::Raw<'_>| {
        const RIGHT: &str = r#""all", or a list of skills such as ["welcome", "status"]"#;
        if word(raw).is_ok() {
            return Ok(Choice::All);
        }
        let names = list(raw).map_err(|_| RIGHT)?;
        let names: Result<_, _> = names.iter().map(|name| SkillName::new(name)).collect();
        names.map(Choice::Only).map_err(|problem| format!("{RIGHT}: {problem}").into())
    })
}
