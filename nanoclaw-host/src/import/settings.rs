//! What v1 was configured with, as lines of `nanoclaw.toml`.

use std::time::Duration;

use nanoclaw_core::{
    group::GroupFolder,
    mounts::{MountRequest, name_of},
    runtime::Access,
};
use serde::Deserialize;

use crate::config::{Config, Line, show_duration};

/// A variable of v1's that is a key of ours.
pub(super) struct Known {
    /// Its name in `.env`.
    pub(super) variable: &'static str,
    section: &'static str,
    key: &'static str,
    value: fn(&str) -> String,
    /// Whether somebody has set it here.
    pub(super) is_set: fn(&Config) -> bool,
    /// Whether it is the same in both.
    pub(super) is_same: fn(&Config, &Config) -> bool,
}

impl Known {
    /// The line for what the variable says.
    pub(super) fn line(&self, said: &str) -> Line {
        Line { section: self.section.to_owned(), key: self.key, value: (self.value)(said.trim()) }
    }
}

/// The variables that are keys of ours.
pub(super) const KNOWN: [Known; 9] = [
    Known {
        variable: "ASSISTANT_NAME",
        section: "assistant",
        key: "name",
        value: quoted,
        is_set: |config| config.assistant.name.is_explicit(),
        is_same: |one, other| one.assistant.name.value == other.assistant.name.value,
    },
    Known {
        variable: "CONTAINER_IMAGE",
        section: "container",
        key: "image",
        value: quoted,
        is_set: |config| config.container.image.is_explicit(),
        is_same: |one, other| one.container.image.value == other.container.image.value,
    },
    Known {
        variable: "MAX_CONCURRENT_CONTAINERS",
        section: "limits",
        key: "max_concurrent_containers",
        value: bare,
        is_set: |config| config.limits.max_concurrent_containers.is_explicit(),
        is_same: |one, other| {
            one.limits.max_concurrent_containers.value == other.limits.max_concurrent_containers.value
        },
    },
    Known {
        variable: "IDLE_TIMEOUT",
        section: "limits",
        key: "idle_timeout",
        value: milliseconds,
        is_set: |config| config.limits.idle_timeout.is_explicit(),
        is_same: |one, other| one.limits.idle_timeout.value == other.limits.idle_timeout.value,
    },
    Known {
        variable: "CONTAINER_TIMEOUT",
        section: "limits",
        key: "run_timeout",
        value: milliseconds,
        is_set: |config| config.limits.run_timeout.is_explicit(),
        is_same: |one, other| one.limits.run_timeout.value == other.limits.run_timeout.value,
    },
    Known {
        variable: "MAX_MESSAGES_PER_PROMPT",
        section: "limits",
        key: "max_messages_per_prompt",
        value: bare,
        is_set: |config| config.limits.max_messages_per_prompt.is_explicit(),
        is_same: |one, other| one.limits.max_messages_per_prompt.value == other.limits.max_messages_per_prompt.value,
    },
    Known {
        variable: "ANTHROPIC_BASE_URL",
        section: "model",
        key: "base_url",
        value: quoted,
        is_set: |config| config.model.base_url.is_explicit(),
        is_same: |one, other| one.model.base_url.value == other.model.base_url.value,
    },
    Known {
        variable: "TZ",
        section: "time",
        key: "zone",
        value: quoted,
        is_set: |config| matches!(config.time.zone.source, crate::config::Source::File { .. }),
        is_same: |one, other| one.time.zone.value == other.time.zone.value,
    },
    Known {
        variable: "LOG_LEVEL",
        section: "log",
        key: "level",
        value: quoted,
        is_set: |config| config.log.level.is_explicit(),
        is_same: |one, other| one.log.level.value == other.log.level.value,
    },
];

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn bare(text: &str) -> String {
    // What is no number is a text, which is refused with what would be right.
    text.parse::<u32>().map_or_else(|_| quoted(text), |number| number.to_string())
}

fn milliseconds(text: &str) -> String {
    text.parse::<u64>().map_or_else(|_| quoted(text), |ms| quoted(&show_duration(Duration::from_millis(ms))))
}

/// What v1 keeps for a group besides.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerConfig {
    #[serde(default)]
    additional_mounts: Vec<AdditionalMount>,
    timeout: Option<serde_json::Number>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalMount {
    host_path: String,
    container_path: Option<String>,
    readonly: Option<bool>,
}

/// The lines for a group's `container_config`, and what of it cannot be a line, a sentence each.
pub(super) fn of_group(folder: &GroupFolder, config: &str) -> (Vec<Line>, Vec<String>) {
    let config: ContainerConfig = match serde_json::from_str(config) {
        Ok(config) => config,
        Err(error) => return (Vec::new(), vec![format!("its containerConfig cannot be read: {error}")]),
    };
    let section = format!("groups.{folder}");
    let (mut lines, mut left) = (Vec::new(), Vec::new());
    let mut mounts: Vec<toml::Value> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for mount in config.additional_mounts {
        let access = if mount.readonly == Some(false) { Access::ReadWrite } else { Access::ReadOnly };
        let request = MountRequest { host: mount.host_path, name: mount.container_path, access, hide_secrets: false };
        let name = match name_of(&request) {
            Ok(name) if names.contains(&name) => {
                left.push(format!("its mount {} has the name {name} of another one", request.host));
                continue;
            }
            Ok(name) => name,
            Err(refusal) => {
                left.push(format!("its mount {}: {refusal}", request.host));
                continue;
            }
        };
        let mut table = toml::Table::new();
        table.insert("host".to_owned(), request.host.into());
        table.insert("name".to_owned(), name.clone().into());
        table.insert("readonly".to_owned(), (access == Access::ReadOnly).into());
        names.push(name);
        mounts.push(table.into());
    }
    if !mounts.is_empty() {
        lines.push(Line { section: section.clone(), key: "mounts", value: toml::Value::Array(mounts).to_string() });
    }
    if let Some(timeout) = config.timeout {
        lines.push(Line { section, key: "run_timeout", value: milliseconds(&timeout.to_string()) });
    }
    lines.retain(|line| match line.alone() {
        Ok(_) => true,
        Err(why) => {
            left.push(format!("{} = {}: {why}", line.name(), line.value));
            false
        }
    });
    (lines, left)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{IfSet, SAMPLE, environment_of, with_lines};

    #[test]
    fn every_variable_of_v1_finds_its_place_in_the_sample() {
        for known in &KNOWN {
            let said = match known.variable {
                "TZ" => "Europe/Berlin",
                "ANTHROPIC_BASE_URL" => "https://proxy.example",
                "LOG_LEVEL" => "debug",
                "ASSISTANT_NAME" => "Bea \"the\" Bot",
                "CONTAINER_IMAGE" => "mine:1",
                _ => "7000",
            };
            let said = if known.variable.starts_with("MAX") { "7" } else { said };
            let line = known.line(said);
            let changed = with_lines(SAMPLE, std::slice::from_ref(&line), IfSet::Stays).unwrap();
            assert_eq!(changed.lines().count(), SAMPLE.lines().count(), "{}", known.variable);
            let parse = |text: &str| {
                Config::parse(Path::new("nanoclaw.toml"), text, Path::new("/"), &environment_of([])).unwrap()
            };
            let (before, after) = (parse(SAMPLE), parse(&changed));
            assert!((known.is_set)(&after) && !(known.is_set)(&before), "{}", known.variable);
            assert!((known.is_same)(&after, &line.alone().unwrap()) && !(known.is_same)(&before, &after));
        }
    }

    #[test]
    fn mounts_and_timeout_of_a_group_become_a_table_of_its_own() {
        let folder = GroupFolder::new("family").unwrap();
        let (lines, left) = of_group(
            &folder,
            r#"{"additionalMounts":[{"hostPath":"~/projects/site","containerPath":"site","readonly":false},
                {"hostPath":"/srv/docs"},{"hostPath":"/srv/x","containerPath":"a/b"},{"hostPath":"/other/docs"}],"timeout":600000}"#,
        );
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left[0].contains("/srv/x") && left[1].contains("/other/docs"), "{left:?}");
        let changed = with_lines(SAMPLE, &lines, IfSet::Stays).unwrap();
        let config = Config::parse(Path::new("nanoclaw.toml"), &changed, Path::new("/"), &environment_of([])).unwrap();
        let own = &config.groups[&folder];
        let mounts = &own.mounts.as_ref().unwrap().value;
        assert_eq!(mounts.iter().map(|mount| name_of(mount).unwrap()).collect::<Vec<_>>(), ["site", "docs"]);
        assert_eq!(mounts.iter().map(|mount| mount.access).collect::<Vec<_>>(), [Access::ReadWrite, Access::ReadOnly]);
        assert_eq!(own.run_timeout.as_ref().unwrap().value, Duration::from_secs(600));
        assert_eq!(of_group(&folder, "{").1.len(), 1);
        let (lines, left) = of_group(&folder, r#"{"timeout":5}"#);
        assert_eq!((lines.len(), left.len()), (0, 1), "{left:?}");
    }
}
