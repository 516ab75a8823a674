//! Looks at a container that was created, before it runs and before anything is written to its input: it has to be the one
//! that was asked for. Between our request and what is made of it stand an engine's configuration, its plugins and whoever
//! listens at its socket.
//!
//! Twice: as the engine describes it after the create, which is where every point of the profile is compared; and as the
//! kernel describes its first process after the start, where this host can see it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nanoclaw_core::runtime::{
    ContainerId, ContainerSpec, RuntimeError,
    hardening::{Deviation, in_one_line},
    inspected::{Inspected, InspectedMount},
    witness::{ProcessStatus, Walls},
};
use serde::Deserialize;
use serde_json::Value;

use super::{EngineRuntime, dialect::Dialect, errors, start::Purpose};

/// What the environment of an image is, by its id; an image never changes.
pub(super) type ImageEnvironments = Arc<Mutex<HashMap<String, Arc<Vec<String>>>>>;

/// An engine's first process takes its rights away just before it becomes the command, which the engine does not wait for.
const SETTLES_WITHIN: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

impl EngineRuntime {
    /// Compares what was created with what was asked for.
    ///
    /// # Errors
    /// [`RuntimeError::NotEnforced`] with everything that differs.
    pub(super) async fn check_created(
        &self,
        spec: &ContainerSpec,
        id: &ContainerId,
        purpose: Purpose,
    ) -> Result<(), RuntimeError> {
        let answer = self.inspect(id).await?;
        let mut found = answer.inspected(self.dialect);
        let filter = self.own_filter()?;
        let filtered = found.security_options.contains(&filter);
        // Any other would be somebody else's.
        found.security_options.retain(|option| *option != filter);
        let ours = |line: &String| line.split_once('=').is_some_and(|(name, _)| spec.env.contains_key(name));
        if found.environment.iter().any(|line| !ours(line)) {
            found.image_environment = self.image_environment(&answer.image).await?.to_vec();
        }
        let mut deviations = match purpose {
            Purpose::Run => found.deviations(spec),
            Purpose::Look => found.deviations_but_limits(spec),
        };
        if !filtered {
            deviations.push(Deviation::new("system calls", "our filter", "another"));
        }
        if deviations.is_empty() { Ok(()) } else { Err(self.refusal(&deviations)) }
    }

    /// Looks at the first process of a container that was just started. What cannot be seen from here is left to the canary: the
    /// engine may be on another machine or in another process namespace.
    ///
    /// # Errors
    /// [`RuntimeError::NotEnforced`] with every right that it has and should not have.
    pub(super) async fn check_started(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let pid = match self.inspect(id).await {
            Ok(answer) => answer.state.pid,
            // It has ended already, and has removed itself.
            Err(RuntimeError::Gone { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if self.dialect == Dialect::Docker {
            // Podman's was there before its start.
            self.watch_memory(id, Some(pid));
        }
        let looks = SETTLES_WITHIN.as_millis() / BETWEEN_LOOKS.as_millis();
        let mut deviations = Vec::new();
        for _ in 0..looks {
            match Process::of(pid, id) {
                None => return Ok(()),
                Some(process) => deviations = process.deviations(),
            }
            if deviations.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        Err(self.refusal(&deviations))
    }

    async fn inspect(&self, id: &ContainerId) -> Result<Answer, RuntimeError> {
        let value = match &self.podman {
            // Its Docker-compatible answer does not tell capabilities.
            Some(podman) => podman.inspect(id).await?,
            None => {
                let found = self.docker.inspect_container(id.as_str(), None).await.map_err(|error| {
                    if errors::is_not_there(&error) {
                        RuntimeError::Gone { id: id.clone() }
                    } else {
                        self.error("look at the container")(error)
                    }
                })?;
                serde_json::to_value(found).map_err(|error| unreadable(&error))?
            }
        };
        Answer::read(value)
    }

    /// The variables that an image brings along.
    async fn image_environment(&self, image: &str) -> Result<Arc<Vec<String>>, RuntimeError> {
        let lock = || self.image_environments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(image) {
            return Ok(known.clone());
        }
        let found = self.docker.inspect_image(image).await.map_err(self.error("look at the image"))?;
        let environment = Arc::new(found.config.and_then(|config| config.env).unwrap_or_default());
        if !environment.is_empty() {
            let names: Vec<&str> = environment.iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
            tracing::debug!(image, ?names, "the image brings variables of its own");
        }
        lock().insert(image.to_owned(), environment.clone());
        Ok(environment)
    }

    fn refusal(&self, deviations: &[Deviation]) -> RuntimeError {
        RuntimeError::NotEnforced {
            what: format!("the isolation of a container ({})", in_one_line(deviations)),
            remedy: format!(
                "{} made another container than it was asked for: look into its configuration, its plugins and what stands \
                 before its socket, or take another runtime",
                self.dialect.name()
            ),
        }
    }
}

fn unreadable(error: &serde_json::Error) -> RuntimeError {
    RuntimeError::Other { action: "look at the container", reason: format!("the answer cannot be read: {error}") }
}

/// What is read of the answer to an inspection. Both engines use these names.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    image: String,
    state: State,
    config: Config,
    host_config: HostConfig,
    mounts: Option<Vec<Mount>>,
    /// Of Podman; outside, whether it was told at all, which tells "none" from "not known".
    #[serde(skip)]
    podman_capabilities: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    pid: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Config {
    user: Option<String>,
    env: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: Option<String>,
    privileged: Option<bool>,
    cap_add: Option<Vec<String>>,
    cap_drop: Option<Vec<String>>,
    security_opt: Option<Vec<String>>,
    readonly_rootfs: Option<bool>,
    tmpfs: Option<BTreeMap<String, String>>,
    memory: Option<i64>,
    memory_swap: Option<i64>,
    oom_kill_disable: Option<bool>,
    pids_limit: Option<i64>,
    nano_cpus: Option<i64>,
    cpu_quota: Option<i64>,
    cpu_period: Option<i64>,
    pid_mode: Option<String>,
    ipc_mode: Option<String>,
    #[serde(rename = "UTSMode")]
    uts_mode: Option<String>,
    userns_mode: Option<String>,
    devices: Option<Vec<Value>>,
    device_requests: Option<Vec<Value>>,
    device_cgroup_rules: Option<Vec<String>>,
    group_add: Option<Vec<String>>,
    masked_paths: Option<Vec<String>>,
    readonly_paths: Option<Vec<String>>,
    restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    #[serde(rename = "Type")]
    kind: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    #[serde(rename = "RW")]
    writable: Option<bool>,
}

impl Answer {
    fn read(value: Value) -> Result<Self, RuntimeError> {
        let sets: Vec<Option<&Value>> = ["EffectiveCaps", "BoundingCaps"].map(|name| value.get(name)).into();
        let names = |set: &Value| -> Vec<String> {
            set.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
        };
        // `null` is Podman's word for an empty list.
        let podman_capabilities =
            sets.iter().all(Option::is_some).then(|| sets.iter().flatten().flat_map(|set| names(set)).collect());
        let answer: Self = serde_json::from_value(value).map_err(|error| unreadable(&error))?;
        Ok(Self { podman_capabilities, ..answer })
    }

    /// In words that no engine owns.
    fn inspected(&self, dialect: Dialect) -> Inspected {
        let host = &self.host_config;
        let many = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        let values = |list: &Option<Vec<Value>>| list.iter().flatten().map(Value::to_string).collect::<Vec<_>>();
        let told = |mode: &Option<String>| mode.clone().unwrap_or_default();
        let period = host.cpu_period.filter(|period| *period > 0).unwrap_or(100_000);
        let by_quota = host.cpu_quota.filter(|quota| *quota > 0).map(|quota| quota * 1000 / period);
        let (hidden_paths, read_only_paths) = match dialect {
            Dialect::Docker => (Some(many(&host.masked_paths)), Some(many(&host.readonly_paths))),
            Dialect::Podman => (host.masked_paths.clone(), host.readonly_paths.clone()),
        };
        Inspected {
            network: host.network_mode.clone(),
            privileged: host.privileged,
            capabilities: self.capabilities(dialect),
            security_options: many(&host.security_opt),
            read_only_root: host.readonly_rootfs,
            tmpfs: host.tmpfs.clone().unwrap_or_default(),
            user: self.config.user.clone(),
            memory_bytes: host.memory,
            memory_and_swap_bytes: host.memory_swap,
            survives_out_of_memory: host.oom_kill_disable == Some(true),
            pids: host.pids_limit,
            milli_cpus: host.nano_cpus.filter(|nano| *nano > 0).map(|nano| nano / 1_000_000).or(by_quota),
            namespaces: BTreeMap::from([
                ("pid", told(&host.pid_mode)),
                ("ipc", told(&host.ipc_mode)),
                ("uts", told(&host.uts_mode)),
                ("user", told(&host.userns_mode)),
            ]),
            devices: [values(&host.devices), values(&host.device_requests), many(&host.device_cgroup_rules)].concat(),
            extra_groups: many(&host.group_add),
            hidden_paths,
            read_only_paths,
            mounts: self.mounts.iter().flatten().map(Mount::inspected).collect(),
            environment: many(&self.config.env),
            image_environment: Vec::new(),
            engine_environment: dialect.environment(),
            restart: host.restart_policy.as_ref().map(|policy| policy.name.clone().unwrap_or_default()),
        }
    }

    /// What is left of capabilities.
    fn capabilities(&self, dialect: Dialect) -> Option<Vec<String>> {
        let added = self.host_config.cap_add.clone().unwrap_or_default();
        match dialect {
            Dialect::Docker => {
                let dropped = self.host_config.cap_drop.as_deref()?;
                let all = dropped.iter().any(|one| one.eq_ignore_ascii_case("ALL"));
                Some(if all { added } else { [vec!["the engine's own".to_owned()], added].concat() })
            }
            Dialect::Podman => Some([self.podman_capabilities.clone()?, added].concat()),
        }
    }
}

impl Mount {
    fn inspected(&self) -> InspectedMount {
        InspectedMount {
            kind: self.kind.clone().unwrap_or_default(),
            source: self.source.clone().unwrap_or_default(),
            target: self.destination.clone().unwrap_or_default(),
            writable: self.writable.unwrap_or(true),
        }
    }
}

/// Those that a container never shares with the host.
const NAMESPACES: [&str; 5] = ["ipc", "mnt", "net", "pid", "uts"];

/// The first process of a container, as this host's kernel tells of it.
struct Process {
    status: ProcessStatus,
    /// Names of namespaces that are this host's own. Those that cannot be seen are not among them.
    shared: Vec<&'static str>,
}

impl Process {
    /// `None` when it is gone, or not to be seen from here.
    fn of(pid: i64, id: &ContainerId) -> Option<Self> {
        let at = |name: &str| format!("/proc/{pid}/{name}");
        // Numbers mean something else in another process namespace, and are given anew: its control groups bear the
        // container's name, or it is another's.
        let groups = fs::read_to_string(at("cgroup")).ok().filter(|_| pid > 0)?;
        if !groups.contains(id.as_str()) {
            return None;
        }
        let status = fs::read_to_string(at("status")).ok()?;
        if status.lines().any(|line| line.starts_with("State:") && line.contains('Z')) {
            return None;
        }
        let shared = NAMESPACES.into_iter().filter(|name| {
            let theirs = fs::read_link(at(&format!("ns/{name}")));
            theirs.is_ok_and(|theirs| fs::read_link(format!("/proc/self/ns/{name}")).is_ok_and(|ours| ours == theirs))
        });
        Some(Self { status: ProcessStatus::parse(&status), shared: shared.collect() })
    }

    fn deviations(&self) -> Vec<Deviation> {
        let mut all = self.status.deviations(None, Walls { own_world: true });
        all.extend(self.shared.iter().map(|name| Deviation::new(format!("{name} namespace"), "its own", "the host's")));
        all
    }
}
