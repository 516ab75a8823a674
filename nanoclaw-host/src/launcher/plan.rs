//! Decides what a group's container is made of. Pure: what it needs to know of the machine is given to it.

use std::{collections::BTreeMap, path::PathBuf};

use nanoclaw_core::{
    group::{Group, GroupRole},
    protocol::environment::{self as names, guest},
    runtime::{Access, Capabilities, ContainerSpec, GuestValue, ImageRef, Labels, Limits, Mount, RunAs, RuntimeKind},
};

use super::image_for;
use crate::{
    admin::{
        from_config,
        types::{Explained, ExplainedMount, Explanation},
    },
    config::{Config, OverlayMode, Provider},
    gateway::Policy,
    home::Home,
    runtimes::sandbox::HOST_IMAGE,
};

mod mounts;
#[cfg(test)]
pub(super) mod tests;
mod thinking;

pub use mounts::explain_mounts;

/// What the machine and the chosen runtime give.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The runtime.
    pub runtime: RuntimeKind,
    /// Why it was chosen, a sentence.
    pub runtime_because: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The user inside.
    pub user: RunAs,
    /// Our agent-runner on the host; `None` when there is none.
    pub runner: Option<PathBuf>,
    /// The Claude Code program on the host; `None`: the image has it.
    pub claude: Option<PathBuf>,
    /// Whether a limit that is not in force keeps a container from starting.
    pub missing_limits: MissingLimits,
}

/// What to do about limits that a runtime cannot enforce on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingLimits {
    /// Ask for them; the runtime refuses.
    Refuse,
    /// Leave out those that are defaults; those that were configured are still refused.
    LeaveOutDefaults,
}

/// What a group's container is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Why it cannot be started, a sentence each with its remedy; empty when it can.
    pub problems: Vec<String>,
    /// Whether it has a gateway: to the model, to hosts, or to further upstreams.
    pub gateway: bool,
    /// What it may do there; without meaning when it has none.
    pub policy: Policy,
    /// Whether it sees its group's overlay.
    pub overlay: bool,
    mounts: Vec<(Mount, &'static str)>,
    extra: mounts::Extra,
    command: Vec<GuestValue>,
    env: BTreeMap<String, GuestValue>,
    image: ImageRef,
    limits: Limits,
    left_out: Vec<&'static str>,
    tmp_bytes: u64,
    user: RunAs,
    runtime: (RuntimeKind, String),
}

/// Decides for `group`. Touches nothing.
#[must_use]
pub fn plan(group: &Group, home: &Home, config: &Config, machine: &Machine) -> Plan {
    let settings = config.for_group(&group.folder);
    let own_command = settings.command.value.as_ref();
    let provider = *settings.provider;
    let claude_inside = own_command.is_none() && provider == Provider::Claude;
    // The offline provider calls no model, so it is given no way to one; nor is one that asks an upstream given another.
    let native_asks = provider == Provider::Native && settings.thinking.asks_model_api();
    let model_api = own_command.is_some() || claude_inside || native_asks;
    let policy = Policy { model_api, ..config.gateway_policy(&group.folder) };
    let gateway = model_api || !policy.allow.is_empty() || !policy.upstreams.is_empty();

    let mut problems = Vec::new();
    let mut mounts = Vec::new();
    let mut mount = |source: PathBuf, target: &str, access, why| {
        mounts.push((Mount { source, target: target.to_owned(), access }, why));
    };
    mount(home.group(&group.folder), guest::GROUP_DIR, Access::ReadWrite, "the group's memory and working directory");
    if group.role == GroupRole::Ordinary {
        mount(home.global(), guest::GLOBAL_DIR, Access::ReadOnly, "memory that all groups share");
    }
    mount(home.sessions(&group.folder), guest::HOME, Access::ReadWrite, "the agent's home: its sessions");
    mount(home.mailbox(&group.folder), guest::IPC_DIR, Access::ReadWrite, "the group's mailbox");
    // A program of somebody else's may have its own files in that place.
    let overlay = match *settings.overlay {
        OverlayMode::None => None,
        _ if own_command.is_some() && !settings.overlay.is_explicit() => None,
        OverlayMode::Open => Some((Access::ReadWrite, "the group's overlay: its agent's settings, tools and hooks")),
        OverlayMode::Frozen => {
            Some((Access::ReadOnly, "the group's overlay, frozen: its agent's settings, tools and hooks"))
        }
    };
    if let Some((access, why)) = overlay {
        mount(home.overlay(&group.folder), guest::OVERLAY_DIR, access, why);
    }
    match &machine.runner {
        Some(runner) => mount(runner.clone(), guest::RUNNER, Access::ReadOnly, "init and agent: our own program"),
        None => problems.push(
            "there is no agent-runner beside nanoclaw or on the PATH; build it with `cargo build --release -p agent-runner`, \
             or set agent.runner in nanoclaw.toml"
                .to_owned(),
        ),
    }
    if gateway {
        mount(
            home.gateway(&group.folder),
            guest::GATEWAY_DIR,
            Access::ReadOnly,
            "the gateway's socket: the way to the model and to what else is allowed",
        );
    }
    if claude_inside && let Some(claude) = &machine.claude {
        mount(claude.clone(), guest::CLAUDE, Access::ReadOnly, "the Claude Code program of this machine");
    }

    let path = |text: &str| GuestValue::Path(text.to_owned());
    let mut env = BTreeMap::from([
        ("HOME".to_owned(), path(guest::HOME)),
        ("TZ".to_owned(), GuestValue::Text(config.time.zone.iana_name().unwrap_or("UTC").to_owned())),
        (names::GROUP_DIR.to_owned(), path(guest::GROUP_DIR)),
        (names::IPC_DIR.to_owned(), path(guest::IPC_DIR)),
        (names::EXTRA_DIR.to_owned(), path(guest::EXTRA_DIR)),
        (names::PROVIDER.to_owned(), GuestValue::Text(provider.to_string())),
    ]);
    if group.role == GroupRole::Ordinary {
        env.insert(names::GLOBAL_DIR.to_owned(), path(guest::GLOBAL_DIR));
    }
    if gateway {
        env.insert(names::GATEWAY_SOCKET.to_owned(), path(guest::GATEWAY_SOCKET));
        if !policy.allow.is_empty() {
            env.insert(names::EGRESS.to_owned(), "1".into());
        }
        if !policy.upstreams.is_empty() {
            env.insert(names::UPSTREAMS.to_owned(), GuestValue::Text(policy.upstreams.join(",")));
        }
    }
    if model_api {
        env.insert(names::MODEL_AUTH.to_owned(), config.credentials.model_auth().as_str().into());
    }
    if let Some(said) = thinking::variable(&settings.thinking) {
        env.insert(names::AGENT.to_owned(), said);
    }
    if claude_inside && machine.claude.is_some() {
        env.insert(names::CLAUDE.to_owned(), path(guest::CLAUDE));
    }

    // Our own program is init in every container, whatever runs under it: it journals, forwards and reaps.
    let mut command = vec![path(guest::RUNNER), "init".into(), "--".into()];
    match own_command {
        Some(words) => command.extend(words.iter().map(|word| GuestValue::Text(word.clone()))),
        None => command.extend([path(guest::RUNNER), "run".into()]),
    }

    let mut limits = settings.container_limits();
    let mut left_out = Vec::new();
    if machine.missing_limits == MissingLimits::LeaveOutDefaults {
        let has = &machine.capabilities;
        if !has.memory_limit && !settings.memory_bytes.is_explicit() && limits.memory_bytes.take().is_some() {
            left_out.push("memory");
        }
        if !has.pids_limit && !settings.pids.is_explicit() && limits.pids.take().is_some() {
            left_out.push("pids");
        }
        if !has.cpu_limit && !settings.milli_cpus.is_explicit() && limits.milli_cpus.take().is_some() {
            left_out.push("cpus");
        }
    }

    Plan {
        problems,
        gateway,
        policy,
        overlay: overlay.is_some(),
        mounts,
        extra: mounts::Extra::default(),
        command,
        env,
        image: image_for(machine.runtime, &settings.image),
        limits,
        left_out,
        tmp_bytes: *settings.tmp_bytes,
        user: machine.user,
        runtime: (machine.runtime, machine.runtime_because.clone()),
    }
}

impl Plan {
    /// Starts this image, which was made ready, instead of the one that is named.
    pub fn use_image(&mut self, image: ImageRef) {
        self.image = image;
    }

    /// The container of one run.
    #[must_use]
    pub fn spec(&self, labels: Labels) -> ContainerSpec {
        let mut env = self.env.clone();
        env.insert(names::RUN.to_owned(), GuestValue::Text(labels.run.number.to_string()));
        self.extra.tell(&mut env);
        let install: String = labels.install.as_str().chars().take(8).collect();
        ContainerSpec {
            name: format!("nanoclaw-{install}-{}-{}", labels.run.group, labels.run.number),
            image: self.image.clone(),
            command: self.command.clone(),
            env,
            mounts: self.mounts.iter().map(|(mount, _)| mount).chain(self.extra.mounts()).cloned().collect(),
            held: self.extra.held(),
            workdir: GuestValue::Path(guest::GROUP_DIR.to_owned()),
            user: self.user,
            limits: self.limits,
            tmp_bytes: self.tmp_bytes,
            labels,
        }
    }

    /// The same for people: what the configuration says, corrected by what this machine gives.
    #[must_use]
    pub fn explanation(&self, group: &Group, config: &Config) -> Explanation {
        let mut explanation = from_config(group, config);
        let set = |settings: &mut Vec<Explained>, name: &str, value: String, why: String| match settings
            .iter_mut()
            .find(|setting| setting.name == name)
        {
            Some(setting) => *setting = Explained::new(name, value, why),
            None => settings.push(Explained::new(name, value, why)),
        };
        let settings = &mut explanation.settings;
        set(settings, "runtime", self.runtime.0.to_string(), self.runtime.1.clone());
        if self.runtime.0 == RuntimeKind::Sandbox && self.image.as_str() == HOST_IMAGE {
            let why = "the sandbox takes this machine's programs, read-only".to_owned();
            set(settings, "image", HOST_IMAGE.to_owned(), why);
        }
        let user = format!("{}:{}", self.user.uid, self.user.gid);
        let why = config.container.user.source.to_string();
        set(settings, "user", user, why);
        if !self.policy.model_api {
            let (ways, why) = thinking::network(&config.for_group(&group.folder));
            set(settings, "network", ways, why);
        }
        let hosts: Vec<String> = self.policy.allow.entries().iter().map(ToString::to_string).collect();
        let own = config.groups.get(&group.folder).and_then(|own| own.allow.as_ref());
        let source = own.unwrap_or(&config.gateway.allow).source.to_string();
        let hosts = if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") };
        set(settings, "hosts", hosts, source);
        if !self.policy.upstreams.is_empty() {
            let why = "gateway.upstreams".to_owned();
            set(settings, "upstreams", self.policy.upstreams.join(", "), why);
        }
        for name in &self.left_out {
            let why = "this runtime cannot enforce it for an ordinary user on this machine".to_owned();
            set(settings, name, "no bound".to_owned(), why);
        }
        let words: Vec<&str> = self.command.iter().map(GuestValue::as_str).collect();
        set(settings, "command", words.join(" "), "agent-runner is init in every container".to_owned());
        explanation.mounts = self
            .mounts
            .iter()
            .map(|(mount, why)| ExplainedMount {
                source: mount.source.clone(),
                target: mount.target.clone(),
                access: mount.access,
                why: (*why).to_owned(),
            })
            .collect();
        explanation.problems.extend(self.problems.iter().cloned());
        explanation
    }
}
