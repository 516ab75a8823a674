//! `[groups.<folder>]`: what is different for one group, and what comes out for it.

use std::{path::PathBuf, time::Duration};

use nanoclaw_core::{
    group::GroupFolder,
    mounts::MountRequest,
    runtime::{ImageRef, Limits},
};

use super::{
    Config,
    agent::{self, OverlayMode, Provider, ProviderChoice},
    container, gateway, images, limits, mounts,
    reader::Section,
    setting::{Setting, Source},
    thinking::Thinking,
};
use crate::{
    credentials::{Credential, Standing},
    gateway::AllowList,
    skills::Choice,
};

/// What is different for one group; `None` leaves what holds for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupOverrides {
    /// See [`super::AgentConfig::provider`].
    pub provider: Option<Setting<ProviderChoice>>,
    /// See [`super::AgentConfig::command`].
    pub command: Option<Setting<Option<Vec<String>>>>,
    /// See [`super::AgentConfig::skills`].
    pub skills: Option<Setting<Choice>>,
    /// See [`super::AgentConfig::overlay`].
    pub overlay: Option<Setting<OverlayMode>>,
    /// See [`super::AgentConfig::thinking`].
    pub thinking: Thinking,
    /// See [`super::ContainerConfig::image`].
    pub image: Option<Setting<ImageRef>>,
    /// Packages that are added to its image.
    pub packages: Option<Setting<Vec<String>>>,
    /// What its image is built by.
    pub dockerfile: Option<Setting<Option<PathBuf>>>,
    /// See [`super::ContainerConfig::memory_bytes`].
    pub memory_bytes: Option<Setting<Option<u64>>>,
    /// See [`super::ContainerConfig::pids`].
    pub pids: Option<Setting<Option<u32>>>,
    /// See [`super::ContainerConfig::milli_cpus`].
    pub milli_cpus: Option<Setting<Option<u32>>>,
    /// See [`super::ContainerConfig::tmp_bytes`].
    pub tmp_bytes: Option<Setting<u64>>,
    /// See [`super::LimitsConfig::idle_timeout`].
    pub idle_timeout: Option<Setting<Duration>>,
    /// See [`super::LimitsConfig::run_timeout`].
    pub run_timeout: Option<Setting<Duration>>,
    /// See [`super::LimitsConfig::turn_timeout`].
    pub turn_timeout: Option<Setting<Duration>>,
    /// See [`super::LimitsConfig::max_messages_per_prompt`].
    pub max_messages_per_prompt: Option<Setting<u32>>,
    /// See [`super::LimitsConfig::max_prompt_size`].
    pub max_prompt_size: Option<Setting<u64>>,
    /// What it may reach besides what all may; empty: not even that. See [`super::GatewayConfig::allow`].
    pub allow: Option<Setting<AllowList>>,
    /// What it may see of the machine besides its own; none by default.
    pub mounts: Option<Setting<Vec<MountRequest>>>,
}

impl GroupOverrides {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        Self {
            provider: agent::provider(section),
            command: agent::command(section),
            skills: agent::skills(section),
            overlay: agent::overlay(section),
            thinking: Thinking::read(section),
            image: container::image(section, None),
            packages: images::packages(section),
            dockerfile: images::dockerfile(section),
            memory_bytes: container::memory(section, "memory"),
            pids: container::processes(section, "pids"),
            milli_cpus: container::cpus(section, "cpus"),
            tmp_bytes: container::tmp(section, "tmp"),
            idle_timeout: limits::idle_timeout(section, None),
            run_timeout: limits::run_timeout(section, None),
            turn_timeout: limits::turn_timeout(section),
            max_messages_per_prompt: limits::max_messages(section, None),
            max_prompt_size: limits::max_prompt_size(section),
            allow: gateway::allow(section),
            mounts: mounts::of_group(section),
        }
    }
}

/// What holds for one group, everything considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// What thinks; without meaning when `command` is set.
    pub provider: Setting<Provider>,
    /// What takes the provider's place.
    pub command: Setting<Option<Vec<String>>>,
    /// Which skills it has.
    pub skills: Setting<Choice>,
    /// What it may do with its overlay.
    pub overlay: Setting<OverlayMode>,
    /// How it thinks.
    pub thinking: Thinking,
    /// The image, or what its own is built on.
    pub image: Setting<ImageRef>,
    /// Packages that are added to it; none by default.
    pub packages: Setting<Vec<String>>,
    /// The Dockerfile that its own image is built by, or the folder that it is in; none by default.
    pub dockerfile: Setting<Option<PathBuf>>,
    /// Bytes of memory.
    pub memory_bytes: Setting<Option<u64>>,
    /// Processes and threads.
    pub pids: Setting<Option<u32>>,
    /// Thousandths of a processor.
    pub milli_cpus: Setting<Option<u32>>,
    /// Bytes of the private `/tmp`.
    pub tmp_bytes: Setting<u64>,
    /// How long its container rests before it is asked to end.
    pub idle_timeout: Setting<Duration>,
    /// How long its busy container may go without progress, when its agent gives no signs of life.
    pub run_timeout: Setting<Duration>,
    /// How long one answer may take.
    pub turn_timeout: Setting<Duration>,
    /// Messages in one prompt.
    pub max_messages_per_prompt: Setting<u32>,
    /// Bytes of one prompt.
    pub max_prompt_size: Setting<u64>,
    /// Additional mounts that are asked for.
    pub mounts: Setting<Vec<MountRequest>>,
}

impl GroupSettings {
    /// The container's upper bounds, explicit or not.
    #[must_use]
    pub fn container_limits(&self) -> Limits {
        Limits { memory_bytes: *self.memory_bytes, pids: *self.pids, milli_cpus: *self.milli_cpus }
    }
}

impl Config {
    /// What holds for the group with this folder.
    #[must_use]
    pub fn for_group(&self, folder: &GroupFolder) -> GroupSettings {
        let none = GroupOverrides::default();
        let own = self.groups.get(folder).unwrap_or(&none);
        fn pick<T: Clone>(own: &Option<Setting<T>>, general: &Setting<T>) -> Setting<T> {
            own.as_ref().unwrap_or(general).clone()
        }
        let thinking = self.thinking(folder);
        GroupSettings {
            provider: self.provider(&pick(&own.provider, &self.agent.provider), &thinking),
            command: pick(&own.command, &self.agent.command),
            skills: pick(&own.skills, &self.agent.skills),
            overlay: pick(&own.overlay, &self.agent.overlay),
            thinking,
            image: pick(&own.image, &self.container.image),
            packages: own.packages.clone().unwrap_or_else(|| Setting::default_to(Vec::new())),
            dockerfile: own.dockerfile.clone().unwrap_or_else(|| Setting::default_to(None)),
            memory_bytes: pick(&own.memory_bytes, &self.container.memory_bytes),
            pids: pick(&own.pids, &self.container.pids),
            milli_cpus: pick(&own.milli_cpus, &self.container.milli_cpus),
            tmp_bytes: pick(&own.tmp_bytes, &self.container.tmp_bytes),
            idle_timeout: pick(&own.idle_timeout, &self.limits.idle_timeout),
            run_timeout: pick(&own.run_timeout, &self.limits.run_timeout),
            turn_timeout: pick(&own.turn_timeout, &self.limits.turn_timeout),
            max_prompt_size: pick(&own.max_prompt_size, &self.limits.max_prompt_size),
            max_messages_per_prompt: pick(&own.max_messages_per_prompt, &self.limits.max_messages_per_prompt),
            mounts: own.mounts.clone().unwrap_or_else(|| Setting::default_to(Vec::new())),
        }
    }

    /// The provider of groups that do not say otherwise.
    #[must_use]
    pub fn general_provider(&self) -> Setting<Provider> {
        self.provider(&self.agent.provider, &self.agent.thinking)
    }

    fn provider(&self, choice: &Setting<ProviderChoice>, thinking: &Thinking) -> Setting<Provider> {
        if let ProviderChoice::Fixed(provider) = choice.value {
            return Setting { value: provider, source: choice.source.clone() };
        }
        // As it stands now: a credential that comes while the service runs counts from the group's next run on.
        let because = |value, reason| Setting { value, source: Source::Because(reason) };
        if !thinking.asks_model_api() {
            return because(Provider::Native, "its api is one that no other provider asks".to_owned());
        }
        match self.credentials.standing() {
            Standing::Has(Credential { source, .. }) | Standing::Expected(source) => {
                because(Provider::Claude, format!("a credential is configured ({source})"))
            }
            Standing::Missing => because(Provider::Offline, "no credential is configured".to_owned()),
        }
    }
}
