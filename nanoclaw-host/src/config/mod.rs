//! The configuration: `nanoclaw.toml` and the environment.
//!
//! Each section of the file is read by the module of its name into a struct of its own. Every value remembers where it came
//! from ([`Setting`]), and every mistake is reported at once ([`ConfigErrors`]). A key `k` of section `[s]` can also be set
//! by the environment variable `NANOCLAW_S_K`, and some by the variable that NanoClaw v1 had for it; the order is our
//! variable, v1's variable, file, default.

mod agent;
mod allowance;
mod assistant;
mod channels;
mod container;
mod credentials;
mod delivery;
mod environment;
mod files;
mod gateway;
mod group;
mod health;
mod images;
mod limits;
mod lines;
mod log;
mod mcp_servers;
mod mistake;
mod model;
mod mounts;
mod reader;
mod retention;
mod senders;
mod setting;
mod standby;
mod tasks;
#[cfg(test)]
mod tests;
mod thinking;
mod time;
mod value;

use std::{collections::BTreeMap, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use nanoclaw_core::group::GroupFolder;
use toml::de::{DeTable, DeValue};

pub use agent::{AgentConfig, OverlayMode, Provider, ProviderChoice};
pub use assistant::AssistantConfig;
pub use channels::{ChannelsConfig, DiscordConfig, Enabled, SlackConfig, TelegramConfig, WhatsAppConfig};
pub use container::{ContainerConfig, RuntimeChoice, SelinuxRelabel, UserChoice};
pub use credentials::CredentialsConfig;
pub use delivery::DeliveryConfig;
pub use environment::{Environment, ProcessEnvironment, of as environment_of};
pub use files::FilesConfig;
pub use gateway::{GatewayConfig, Groups, UpstreamConfig};
pub use group::{GroupOverrides, GroupSettings};
pub use health::HealthConfig;
pub use images::ImagesConfig;
pub use limits::LimitsConfig;
#[cfg(test)]
pub(crate) use lines::with_lines;
pub(crate) use lines::{IfSet, put as put_lines};
pub use lines::{Line, LinesError};
pub use log::{LogConfig, LogFormat, LogPlace};
pub(crate) use mistake::nearest;
pub use mistake::{ConfigErrors, Mistake, Place};
pub use model::ModelConfig;
pub use mounts::MountsConfig;
pub use retention::RetentionConfig;
pub use senders::SendersConfig;
pub use setting::{Setting, Source};
pub use standby::StandbyConfig;
pub use tasks::TasksConfig;
pub use thinking::Thinking;
pub use time::TimeConfig;
pub use value::{show_duration, show_size, show_size_rounded};

pub use crate::credentials::{Credential, CredentialKind, private_folder};
use crate::{credentials::Credentials, home::Home};

/// The commented sample that `nanoclaw init` writes; every key in it stands at its default.
pub const SAMPLE: &str = include_str!("../../nanoclaw.sample.toml");

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[assistant]`.
    pub assistant: AssistantConfig,
    /// `[agent]`.
    pub agent: AgentConfig,
    /// `[container]`.
    pub container: ContainerConfig,
    /// `[images]`.
    pub images: ImagesConfig,
    /// `[limits]`.
    pub limits: LimitsConfig,
    /// `[standby]`.
    pub standby: StandbyConfig,
    /// `[tasks]`.
    pub tasks: TasksConfig,
    /// `[delivery]`.
    pub delivery: DeliveryConfig,
    /// `[files]`.
    pub files: FilesConfig,
    /// `[channels.<service>]`.
    pub channels: ChannelsConfig,
    /// `[model]`.
    pub model: ModelConfig,
    /// `[gateway]`.
    pub gateway: GatewayConfig,
    /// `[mounts]`.
    pub mounts: MountsConfig,
    /// `[senders]`.
    pub senders: SendersConfig,
    /// `[health]`.
    pub health: HealthConfig,
    /// `[retention]`.
    pub retention: RetentionConfig,
    /// `[time]`.
    pub time: TimeConfig,
    /// `[log]`.
    pub log: LogConfig,
    /// `[groups.<folder>]`.
    pub groups: BTreeMap<GroupFolder, GroupOverrides>,
    /// The host's secrets, the latest at any time; what gives them is `[credentials]`.
    pub credentials: Credentials,
    /// What is odd but no mistake, a sentence each.
    pub remarks: Vec<String>,
}

impl Config {
    /// Reads the configuration of `home`. A home without `nanoclaw.toml` has the defaults.
    ///
    /// # Errors
    /// All mistakes at once; no text of them has a secret in it.
    pub fn load(home: &Home, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let file = home.config_file();
        let text = read(&file).map_err(|message| ConfigErrors {
            mistakes: vec![Mistake { place: Place::File(file.clone()), key: None, message }],
        })?;
        Self::parse(&file, &text, home.root(), environment)
    }

    /// Reads the configuration from `text`, which is the content of `file`; relative paths in it start at `base`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(file: &Path, text: &str, base: &Path, environment: &dyn Environment) -> Result<Self, ConfigErrors> {
        let (root, syntax) = DeTable::parse_recoverable(text);
        let mut mistakes: Vec<Mistake> = syntax.iter().map(|error| syntax_mistake(file, text, error)).collect();
        let mut remarks = Vec::new();

        let credentials_in_it = plain_credentials(file, text, root.get_ref());
        let mut reader = reader::Reader::new(file, text, root.get_ref(), environment, base);
        let mut groups = BTreeMap::new();
        let credentials = CredentialsConfig::read(&mut reader);
        let mut config = Self {
            assistant: AssistantConfig::read(&mut reader),
            agent: AgentConfig::read(&mut reader),
            container: ContainerConfig::read(&mut reader),
            images: ImagesConfig::read(&mut reader),
            limits: LimitsConfig::read(&mut reader),
            standby: StandbyConfig::read(&mut reader),
            tasks: TasksConfig::read(&mut reader),
            delivery: DeliveryConfig::read(&mut reader),
            files: FilesConfig::read(&mut reader),
            channels: ChannelsConfig::read(&mut reader),
            model: ModelConfig::read(&mut reader),
            gateway: GatewayConfig::read(&mut reader),
            mounts: MountsConfig::read(&mut reader),
            senders: SendersConfig::read(&mut reader),
            health: HealthConfig::read(&mut reader),
            retention: RetentionConfig::read(&mut reader),
            time: TimeConfig::read(&mut reader, &mut remarks),
            log: LogConfig::read(&mut reader),
            groups: BTreeMap::new(),
            credentials: Credentials::none(),
            remarks: Vec::new(),
        };
        reader.sections_of(
            "groups",
            |key| GroupFolder::new(key).map_err(|problem| format!("no group can have this table: {problem}")),
            |folder, section| {
                groups.insert(folder, GroupOverrides::read(section));
            },
        );
        config.groups = groups;

        let mut found = reader.finish();
        found.extend(allowance::check(&config.container, &config.groups));
        found.extend(images::check(&config.groups));
        let own: Vec<_> = config
            .groups
            .iter()
            .filter_map(|(folder, own)| Some((format!("groups.{folder}"), own.allow.as_ref()?)))
            .collect();
        let own: Vec<_> = own.iter().map(|(name, allow)| (name.as_str(), *allow)).collect();
        found.extend(config.gateway.check(&own, file));
        found.extend(config.check_thinking(file));
        found.extend(credentials_in_it);
        if syntax.is_empty() {
            found.sort_by_key(|mistake| match &mistake.place {
                Place::Line { line, .. } => (0, *line),
                Place::File(_) | Place::Variable(_) => (1, 0),
            });
            mistakes.append(&mut found);
        } else {
            // What the file means past a syntax error is guesswork; of the environment we know.
            mistakes.extend(found.into_iter().filter(|mistake| matches!(mistake.place, Place::Variable(_))));
        }
        config.credentials = Credentials::read(environment, &credentials, &mut mistakes, &mut remarks);
        // What a command gives is not known yet.
        if config.credentials.command().is_none() {
            remarks.extend(config.upstreams_without_secret());
        }
        config.remarks = remarks;
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigErrors { mistakes }) }
    }
}

/// What looks like a token of Anthropic anywhere in the file: it is no place for one, whatever key it stands at.
fn plain_credentials(file: &Path, text: &str, root: &DeTable<'_>) -> Vec<Mistake> {
    fn is_in(value: &DeValue<'_>) -> bool {
        match value {
            DeValue::String(text) => text.contains(crate::credentials::TOKEN_MARK),
            DeValue::Array(items) => items.iter().any(|item| is_in(item.get_ref())),
            _ => false,
        }
    }
    let mut found = Vec::new();
    let mut tables = vec![(String::new(), root)];
    while let Some((path, table)) = tables.pop() {
        for (key, value) in table {
            let path = format!("{path}{}", key.get_ref());
            if let DeValue::Table(table) = value.get_ref() {
                tables.push((format!("{path}."), table));
            } else if is_in(value.get_ref()) {
                let line = reader::line_of(text, key.span().start);
                let message = format!(
                    "{path} has a credential in it, which does not belong here; `nanoclaw auth set` stores one where no \
                     container sees it, and this one is better replaced by a new one"
                );
                let place = Place::Line { file: file.to_owned(), line };
                found.push(Mistake { place, key: Some(path), message });
            }
        }
    }
    found
}

fn syntax_mistake(file: &Path, text: &str, error: &toml::de::Error) -> Mistake {
    // The parser's own display shows the line, which may have a secret on it; its message does not.
    let line = reader::line_of(text, error.span().map_or(0, |span| span.start));
    let message = format!("not TOML: {}", error.message().replace('\n', "; "));
    Mistake { place: Place::Line { file: file.to_owned(), line }, key: None, message }
}

fn read(file: &Path) -> Result<String, String> {
    let longest = 1024 * 1024;
    // Not blocking, so that a FIFO in its place does not hold up the start.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(file);
    let opened = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        other => other.map_err(|error| format!("it cannot be read: {error}"))?,
    };
    if !opened.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    opened.take(longest + 1).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > longest {
        return Err("it is longer than 1 MiB, which no configuration is".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        format!("it is not UTF-8; line {} has other bytes in it", {
            let valid = error.utf8_error().valid_up_to();
            error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1
        })
    })
}
