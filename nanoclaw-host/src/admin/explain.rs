//! What the configuration says for a group, with the source of each value.

use async_trait::async_trait;
use nanoclaw_core::group::Group;

use super::{
    handler::Explain,
    on_store::wakes_on,
    types::{AdminError, Explained, Explanation},
};
use crate::{
    config::{Config, GroupSettings, RuntimeChoice, Setting, Source, UserChoice, show_duration, show_size},
    credentials::Standing,
};

/// Explains by the configuration alone; what depends on the machine (runtime, mounts) is for the launcher to add.
pub struct FromConfig(
    /// The configuration.
    pub std::sync::Arc<Config>,
);

#[async_trait]
impl Explain for FromConfig {
    async fn explain(&self, group: &Group) -> Result<Explanation, AdminError> {
        Ok(from_config(group, &self.0))
    }
}

/// What the configuration says for `group`; no mounts, no problems.
#[must_use]
pub fn from_config(group: &Group, config: &Config) -> Explanation {
    let own = config.for_group(&group.folder);
    let general = &config.container;
    let trigger_source = "the group's registration";
    let mut settings = vec![Explained::new("trigger", wakes_on(group, config), trigger_source)];
    match &own.command.value {
        Some(command) => settings.push(Explained::new("command", command.join(" "), &own.command.source)),
        None => {
            settings.push(Explained::new("provider", *own.provider, &own.provider.source));
            let said = own.thinking.explained().into_iter();
            settings.extend(said.map(|(name, value, source)| Explained::new(name, value, source)));
        }
    }
    let runtime = match *general.runtime {
        RuntimeChoice::Auto => "auto: the first of docker, podman, sandbox that works".to_owned(),
        RuntimeChoice::Fixed(kind) => kind.to_string(),
    };
    let user = match *general.user {
        UserChoice::Auto => "auto: the user of the service, or 1000:1000 when that is root".to_owned(),
        UserChoice::Fixed(user) => format!("{}:{}", user.uid, user.gid),
    };
    let pids = own.pids.map_or_else(unbounded, |number| number.to_string());
    let cpus = own.milli_cpus.map_or_else(unbounded, |milli| (f64::from(milli) / 1000.0).to_string());
    settings.extend([
        Explained::new("runtime", runtime, &general.runtime.source),
        Explained::new("image", &*own.image, &own.image.source),
        Explained::new("user", user, &general.user.source),
        Explained::new("network", network(config), "always: no container has another way out"),
        Explained::new("root", "read-only, no capabilities, no new privileges", "always"),
        Explained::new("memory", own.memory_bytes.map_or_else(unbounded, show_size), &own.memory_bytes.source),
        Explained::new("pids", pids, &own.pids.source),
        Explained::new("cpus", cpus, &own.milli_cpus.source),
        size("tmp", &own.tmp_bytes),
        Explained::new(
            "idle timeout",
            format!("{} at rest", show_duration(*own.idle_timeout)),
            &own.idle_timeout.source,
        ),
        Explained::new("run timeout", run_timeout(&own), &own.run_timeout.source),
        Explained::new("turn timeout", turn_timeout(&own), &own.turn_timeout.source),
        Explained::new("messages per prompt", *own.max_messages_per_prompt, &own.max_messages_per_prompt.source),
        size("prompt size", &own.max_prompt_size),
        Explained::new("skills", &*own.skills, &own.skills.source),
        Explained::new("overlay", *own.overlay, &own.overlay.source),
    ]);
    if !own.packages.is_empty() {
        settings.push(Explained::new("packages", own.packages.join(", "), &own.packages.source));
    }
    if let Some(dockerfile) = &own.dockerfile.value {
        settings.push(Explained::new("dockerfile", dockerfile.display().to_string(), &own.dockerfile.source));
    }
    Explanation { group: group.clone().into(), settings, mounts: Vec::new(), problems: Vec::new() }
}

/// How long an agent may be silent.
fn run_timeout(own: &GroupSettings) -> String {
    let limit = show_duration(*own.run_timeout);
    if *own.run_timeout >= *own.turn_timeout {
        return format!("{limit} of silence; never reached, the turn timeout is not longer");
    }
    match &own.command.value {
        Some(_) => format!("{limit} of silence, unless the agent gives signs of life"),
        None => format!("{limit} of silence; not for this agent, which gives signs of life"),
    }
}

fn turn_timeout(own: &GroupSettings) -> String {
    format!("{} for one answer, whatever the agent shows", show_duration(*own.turn_timeout))
}

fn network(config: &Config) -> String {
    let host = config.model.base_url.host_str().unwrap_or("the model API").to_owned();
    match (config.credentials.standing(), &config.model.base_url.source) {
        (Standing::Missing, Source::Default) => {
            "none but loopback; no credential is configured, so not even the model".to_owned()
        }
        _ => format!("none but loopback; {host} through the host's gateway, which adds the credential"),
    }
}

fn size(name: &str, bytes: &Setting<u64>) -> Explained {
    Explained::new(name, show_size(**bytes), &bytes.source)
}

fn unbounded() -> String {
    "no bound".to_owned()
}
