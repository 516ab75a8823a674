//! `[channels.discord]`, `[channels.slack]`, `[channels.telegram]`: the chat services that the host itself connects to, and
//! `[channels.whatsapp]`, the bridge that it runs. Their credentials are not here: they are [`credentials`](crate::credentials)', and
//! those of a linked phone the bridge's own.

use std::path::PathBuf;

use reqwest::Url;
use toml::de::DeValue;

use super::{
    model::address,
    reader::{Reader, Section},
    setting::Setting,
    value::{self, Raw, Right},
};

/// The chat services that the host itself connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelsConfig {
    /// `[channels.discord]`.
    pub discord: DiscordConfig,
    /// `[channels.slack]`.
    pub slack: SlackConfig,
    /// `[channels.telegram]`.
    pub telegram: TelegramConfig,
    /// `[channels.whatsapp]`.
    pub whatsapp: WhatsAppConfig,
}

/// Discord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscordConfig {
    /// Whether it is used.
    pub enabled: Setting<Enabled>,
    /// Where the REST API is; `/api/v10` follows.
    pub api_url: Setting<Url>,
}

/// Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackConfig {
    /// Whether it is used.
    pub enabled: Setting<Enabled>,
    /// The Web API; a method is a name below it.
    pub api_url: Setting<Url>,
}

/// Telegram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelegramConfig {
    /// Whether it is used.
    pub enabled: Setting<Enabled>,
}

/// WhatsApp, whose client is a program of its own, which the host runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhatsAppConfig {
    /// Whether it is used: with [`Auto`](Enabled::Auto) when a phone is linked.
    pub enabled: Setting<Enabled>,
    /// The program; `None`: `nanoclaw-whatsapp` beside the running program, or on the `PATH`.
    pub program: Setting<Option<PathBuf>>,
}

/// Whether a chat service is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// If its credentials are there.
    Auto,
    /// It is; that its credentials are missing is trouble then.
    Yes,
    /// It is not.
    No,
}

impl ChannelsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let (mut discord, mut slack) = (DiscordConfig::default(), SlackConfig::default());
        let (mut telegram, mut whatsapp) = (TelegramConfig::default(), WhatsAppConfig::default());
        let known = |name: &str| match name {
            "discord" => Ok(Known::Discord),
            "slack" => Ok(Known::Slack),
            "telegram" => Ok(Known::Telegram),
            "whatsapp" => Ok(Known::WhatsApp),
            _ => Err(format!(
                "the host itself connects to no service {name}; there are discord, slack, telegram and whatsapp, and bridges for \
                 any other"
            )),
        };
        reader.sections_of("channels", known, |service, section| match service {
            Known::Discord => discord = DiscordConfig::read(section),
            Known::Slack => slack = SlackConfig::read(section),
            Known::Telegram => telegram = TelegramConfig::read(section),
            Known::WhatsApp => whatsapp = WhatsAppConfig::read(section),
        });
        Self { discord, slack, telegram, whatsapp }
    }
}

/// The sections that there are.
enum Known {
    Discord,
    Slack,
    Telegram,
    WhatsApp,
}

impl Default for DiscordConfig {
    fn default() -> Self {
        let api_url = Url::parse("https://discord.com").expect("the default address is well formed");
        Self { enabled: Setting::default_to(Enabled::Auto), api_url: Setting::default_to(api_url) }
    }
}

impl DiscordConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            enabled: section.read("enabled", None, default.enabled.value, enabled(cfg!(feature = "discord"))),
            api_url: section.read("api_url", None, default.api_url.value, address),
        }
    }
}

impl Default for SlackConfig {
    fn default() -> Self {
        let api_url = Url::parse("https://slack.com/api").expect("the default address is well formed");
        Self { enabled: Setting::default_to(Enabled::Auto), api_url: Setting::default_to(api_url) }
    }
}

impl SlackConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            enabled: section.read("enabled", None, default.enabled.value, enabled(cfg!(feature = "slack"))),
            api_url: section.read("api_url", None, default.api_url.value, address),
        }
    }
}

impl Default for TelegramConfig {
    fn default() -> Self {
        Self { enabled: Setting::default_to(Enabled::Auto) }
    }
}

impl TelegramConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self { enabled: section.read("enabled", None, default.enabled.value, enabled(cfg!(feature = "telegram"))) }
    }
}

impl Default for WhatsAppConfig {
    fn default() -> Self {
        Self { enabled: Setting::default_to(Enabled::Auto), program: Setting::default_to(None) }
    }
}

impl WhatsAppConfig {
    fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let (base, home) = section.path_bases();
        let path = value::path(base, home);
        Self {
            enabled: section.read("enabled", None, default.enabled.value, enabled(true)),
            program: section.read("program", None, None, move |raw: &Raw<'_>| path(raw).map(Some)),
        }
    }
}

/// `built`: whether this program has the service.
fn enabled(built: bool) -> impl Fn(&Raw<'_>) -> Result<Enabled, Right> {
    move |raw| match raw {
        Raw::Toml(DeValue::Boolean(false)) => Ok(Enabled::No),
        Raw::Toml(DeValue::Boolean(true)) if built => Ok(Enabled::Yes),
        Raw::Toml(DeValue::Boolean(true)) => Err("false: this program was built without it".into()),
        Raw::Toml(DeValue::String(word)) if word == "auto" => Ok(Enabled::Auto),
        _ => Err("true, false, or \"auto\" for when its credentials are there".into()),
    }
}
