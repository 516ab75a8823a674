//! What an engine says of a container that it created, in words that no engine owns, and what in it differs from what was
//! asked for. Pure: no engine is asked here, so that every line can be tested without one.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{Access, ContainerSpec, hardening::Deviation};

/// A container as an engine describes it. `None` is what it does not tell; what must be told and is not counts as wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspected {
    /// The kind of its network.
    pub network: Option<String>,
    /// Whether it is privileged.
    pub privileged: Option<bool>,
    /// Capabilities it would have; what is left when everything was dropped and nothing added is nothing.
    pub capabilities: Option<Vec<String>>,
    /// Options of its security, as `no-new-privileges` or `seccomp=unconfined`.
    pub security_options: Vec<String>,
    /// Whether its root is read-only.
    pub read_only_root: Option<bool>,
    /// Its tmpfs, and their options separated by commas.
    pub tmpfs: BTreeMap<String, String>,
    /// `user:group`.
    pub user: Option<String>,
    /// Bytes of memory; `None` or 0: no bound.
    pub memory_bytes: Option<i64>,
    /// Bytes of memory and swap together.
    pub memory_and_swap_bytes: Option<i64>,
    /// Whether it goes on when its memory is used up.
    pub survives_out_of_memory: bool,
    /// Processes and threads; `None`, 0 or less: no bound.
    pub pids: Option<i64>,
    /// Thousandths of a processor; `None` or 0: no bound.
    pub milli_cpus: Option<i64>,
    /// The modes of its namespaces by name: `pid`, `ipc`, `uts`, `user`. An empty mode is the engine's default: its own.
    pub namespaces: BTreeMap<&'static str, String>,
    /// Devices of the host, rules and requests for some.
    pub devices: Vec<String>,
    /// Groups beside its own.
    pub extra_groups: Vec<String>,
    /// Parts of `/proc` and `/sys` that are hidden; `None` where the engine does not tell.
    pub hidden_paths: Option<Vec<String>>,
    /// Parts of `/proc` that are read-only; `None` where the engine does not tell.
    pub read_only_paths: Option<Vec<String>>,
    /// What it sees of the host, and volumes.
    pub mounts: Vec<InspectedMount>,
    /// Its environment, `NAME=value`.
    pub environment: Vec<String>,
    /// What of the environment is the image's, `NAME=value`.
    pub image_environment: Vec<String>,
    /// Names that the engine sets in every container.
    pub engine_environment: &'static [&'static str],
    /// What is done when it ends.
    pub restart: Option<String>,
}

/// A mount as an engine describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InspectedMount {
    /// `bind`, `volume`, …
    pub kind: String,
    /// On the host.
    pub source: String,
    /// Inside.
    pub target: String,
    /// Whether it can be written to.
    pub writable: bool,
}

/// Options of tmpfs that allow what the profile forbids, whatever else they say.
const FORBIDDEN_TMPFS_OPTIONS: [&str; 3] = ["exec", "suid", "dev"];

impl Inspected {
    /// Everything in which this is not the container that `spec` asks for; empty when it is that.
    #[must_use]
    pub fn deviations(&self, spec: &ContainerSpec) -> Vec<Deviation> {
        let mut all = self.deviations_but_limits(spec);
        self.limits(spec, &mut all);
        all
    }

    /// The same without the limits: for whoever starts a container to see which of them are in force.
    #[must_use]
    pub fn deviations_but_limits(&self, spec: &ContainerSpec) -> Vec<Deviation> {
        let mut all = Vec::new();
        self.walls(&mut all);
        self.user(spec, &mut all);
        self.tmpfs(spec, &mut all);
        self.mounts(spec, &mut all);
        self.environment(spec, &mut all);
        all
    }

    /// What is the same for every container.
    fn walls(&self, all: &mut Vec<Deviation>) {
        let mut expect = |point: &str, wanted: &str, right: bool, found: String| {
            if !right {
                all.push(Deviation::new(point, wanted, found));
            }
        };
        let told = |text: &Option<String>| text.clone().unwrap_or_else(untold);
        expect("network", "none", self.network.as_deref() == Some("none"), told(&self.network));
        expect("privileged", "no", self.privileged == Some(false), yes_or_no(self.privileged));
        let capabilities = self.capabilities.as_ref().map_or_else(untold, |all| listed(all));
        expect("capabilities", "none", self.capabilities.as_ref().is_some_and(Vec::is_empty), capabilities);
        let no_new = |option: &String| {
            matches!(option.as_str(), "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true")
        };
        let options = listed(&self.security_options);
        expect("new privileges", "none", self.security_options.iter().any(no_new), options);
        let loosened: Vec<&String> = self.security_options.iter().filter(|option| loosens(option)).collect();
        expect("security options", "none that loosens", loosened.is_empty(), listed(&loosened));
        expect("root", "read-only", self.read_only_root == Some(true), yes_or_no(self.read_only_root));
        for name in ["pid", "ipc", "uts", "user"] {
            let mode = self.namespaces.get(name);
            let own = mode.is_some_and(|mode| is_own(mode));
            expect(&format!("{name} namespace"), "its own", own, mode.cloned().unwrap_or_else(untold));
        }
        expect("devices", "none of the host's", self.devices.is_empty(), listed(&self.devices));
        expect("groups", "its own alone", self.extra_groups.is_empty(), listed(&self.extra_groups));
        for (point, paths, needed) in [
            ("hidden paths", &self.hidden_paths, "/proc/kcore"),
            ("read-only paths", &self.read_only_paths, "/proc/sys"),
        ] {
            let right = paths.as_ref().is_none_or(|paths| paths.iter().any(|path| path == needed));
            expect(point, needed, right, paths.as_ref().map_or_else(untold, |paths| listed(paths)));
        }
        let restart = self.restart.as_deref();
        expect("restart", "never", matches!(restart, Some("" | "no")), told(&self.restart));
    }

    fn limits(&self, spec: &ContainerSpec, all: &mut Vec<Deviation>) {
        let mut expect = |point: &str, wanted: Option<i64>, found: Option<i64>| {
            let found = found.filter(|found| *found > 0);
            if wanted != found {
                all.push(Deviation::new(point, bound(wanted), bound(found)));
            }
        };
        let memory = spec.limits.memory_bytes.map(signed);
        expect("memory", memory, self.memory_bytes);
        if memory.is_some() {
            expect("memory and swap", memory, self.memory_and_swap_bytes);
        }
        expect("pids", spec.limits.pids.map(i64::from), self.pids);
        expect("milli cpus", spec.limits.milli_cpus.map(i64::from), self.milli_cpus);
        if self.survives_out_of_memory {
            all.push(Deviation::new("out of memory", "ends it", "it is kept alive"));
        }
    }

    fn user(&self, spec: &ContainerSpec, all: &mut Vec<Deviation>) {
        let user = format!("{}:{}", spec.user.uid, spec.user.gid);
        if self.user.as_deref() != Some(user.as_str()) || spec.user.uid == 0 || spec.user.gid == 0 {
            all.push(Deviation::new("user", user, self.user.clone().unwrap_or_else(untold)));
        }
    }

    fn tmpfs(&self, spec: &ContainerSpec, all: &mut Vec<Deviation>) {
        for (place, options) in &self.tmpfs {
            let options: BTreeSet<&str> = options.split(',').collect();
            let size = format!("size={}", spec.tmp_bytes);
            let mut wanted = vec!["noexec", "nosuid", "nodev"];
            match place.as_str() {
                "/tmp" => wanted.push(&size),
                // An engine's own place: nothing can be put there by anybody but root, whom there is none.
                _ => wanted.push("mode=0755"),
            }
            let right = wanted.iter().all(|option| options.contains(option))
                && !FORBIDDEN_TMPFS_OPTIONS.iter().any(|option| options.contains(option));
            if !right {
                let found = options.into_iter().collect::<Vec<_>>().join(",");
                all.push(Deviation::new(format!("tmpfs {place}"), wanted.join(","), found));
            }
        }
        if !self.tmpfs.contains_key("/tmp") {
            all.push(Deviation::new("tmpfs /tmp", "there", "none"));
        }
    }

    /// Exactly the mounts that were asked for: what is missing, other than asked, or more.
    fn mounts(&self, spec: &ContainerSpec, all: &mut Vec<Deviation>) {
        for mount in &self.mounts {
            let is_socket = Path::new(&mount.source).file_name().is_some_and(|name| {
                ["docker.sock", "podman.sock", "containerd.sock", "crio.sock"].iter().any(|socket| name == *socket)
            });
            if is_socket {
                all.push(Deviation::new("engine", "no socket of one", mount.source.clone()));
            }
            let asked = spec.mounts.iter().find(|asked| Path::new(&asked.target) == Path::new(&mount.target));
            match asked {
                None if mount.kind == "volume" => all.push(Deviation::new(
                    "mounts",
                    "those of the plan",
                    format!(
                        "a writable volume at {}, which the image declares (VOLUME); take an image that declares none",
                        mount.target
                    ),
                )),
                None => all.push(Deviation::new("mounts", "those of the plan", mount.shown())),
                Some(asked) => {
                    let right = mount.kind == "bind"
                        && Path::new(&mount.source) == asked.source
                        && mount.writable == (asked.access == Access::ReadWrite);
                    if !right {
                        let wanted = format!("{} at {}, {}", asked.source.display(), asked.target, asked.access);
                        all.push(Deviation::new("mounts", wanted, mount.shown()));
                    }
                }
            }
        }
        for asked in &spec.mounts {
            if !self.mounts.iter().any(|mount| Path::new(&mount.target) == Path::new(&asked.target)) {
                all.push(Deviation::new("mounts", format!("one at {}", asked.target), "none"));
            }
        }
    }

    /// Ours as we said them, the image's as they are, the engine's by name, and nothing else. Values are never repeated.
    fn environment(&self, spec: &ContainerSpec, all: &mut Vec<Deviation>) {
        for (name, value) in &spec.env {
            let line = format!("{name}={}", value.as_str());
            if !self.environment.contains(&line) {
                all.push(Deviation::new("environment", format!("{name} as the plan says"), "another value or none"));
            }
        }
        let of_image: BTreeSet<&str> = self.image_environment.iter().map(String::as_str).collect();
        for line in &self.environment {
            let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
            let known = spec.env.contains_key(name)
                || of_image.contains(line.as_str())
                || self.engine_environment.contains(&name);
            if !known {
                all.push(Deviation::new(
                    "environment",
                    "the plan's and the image's variables",
                    format!("{name} besides"),
                ));
            }
        }
    }
}

impl InspectedMount {
    fn shown(&self) -> String {
        let access = if self.writable { Access::ReadWrite } else { Access::ReadOnly };
        format!("a {} of {} at {}, {access}", self.kind, self.source, self.target)
    }
}

/// Whether an option takes a wall away.
fn loosens(option: &str) -> bool {
    let option = option.to_lowercase();
    option.contains("unconfined")
        || option.starts_with("seccomp=")
        || option.starts_with("seccomp:")
        || option.contains("label=disable")
        || option.contains("label:disable")
        || option.contains("unmask")
        || option == "no-new-privileges:false"
        || option == "no-new-privileges=false"
}

/// Whether a namespace of this mode is the container's own. `shareable` is: others may join it, if an engine's owner says so.
fn is_own(mode: &str) -> bool {
    matches!(mode, "" | "private" | "none" | "shareable" | "auto" | "nomap") || mode.starts_with("keep-id")
}

fn bound(bound: Option<i64>) -> String {
    bound.map_or_else(|| "no bound".to_owned(), |bound| bound.to_string())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn listed(all: &[impl AsRef<str>]) -> String {
    match all {
        [] => "none".to_owned(),
        all => all.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
    }
}

fn yes_or_no(told: Option<bool>) -> String {
    told.map_or_else(untold, |yes| if yes { "yes".to_owned() } else { "no".to_owned() })
}

fn untold() -> String {
    "nothing told".to_owned()
}

#[cfg(test)]
mod tests;
