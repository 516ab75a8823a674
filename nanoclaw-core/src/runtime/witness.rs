//! What a canary saw of its container from inside, and what in it differs from the profile.
//!
//! `agent-runner canary` looks and reports, a line of JSON each: first a [`Testimony`], then the bounds as it found them by
//! reaching for them ([`BoundSeen`]). It judges nothing: that is done here, by the host, and can be tested without a container.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    RunAs,
    hardening::{Deviation, HardeningProfile},
};

/// The last argument word of `agent-runner` that makes it a canary.
pub const CANARY_WORD: &str = "canary";

/// A line that a canary writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryLine {
    /// The walls.
    Saw(Box<Testimony>),
    /// A bound, after it was reached for.
    Bound(BoundSeen),
    /// The bound on memory is about to be reached for. Where this is the last line and the container was killed, it is in
    /// force: it took the canary along.
    ReachesForMemory,
    /// It is done.
    Done,
}

/// What a canary saw of its walls. What could not be looked at is told as the worst it could be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Testimony {
    /// What the kernel says of its rights.
    pub status: ProcessStatus,
    /// Its own process number.
    pub pid: i32,
    /// Processes that it sees.
    pub processes: usize,
    /// Its namespaces by name, as `/proc/self/ns` has them.
    pub namespaces: BTreeMap<String, String>,
    /// Network interfaces that are no default of the kernel's.
    pub interfaces: Vec<String>,
    /// Routes of either kind that leave loopback.
    pub routes: Vec<String>,
    /// Addresses it tried to reach, and the error's number; 0 when it got there, -1 when nothing came back.
    pub connections: BTreeMap<String, i32>,
    /// What a name of the Internet was resolved to.
    pub resolved: Vec<String>,
    /// Places outside its mounts and `/tmp` where it made a file or opened one for writing.
    pub writable: Vec<String>,
    /// Whether a program in `/tmp` could be started.
    pub tmp_executes: bool,
    /// Mount options of `/tmp`; empty when it is no mount.
    pub tmp_options: String,
    /// Bytes of `/tmp`.
    pub tmp_bytes: u64,
    /// Sockets of container engines that answered.
    pub engine_sockets: Vec<String>,
    /// Devices beyond the harmless ones that could be opened or made.
    pub devices: Vec<String>,
    /// What should have been refused and was not: "mount a file system".
    pub allowed: Vec<String>,
    /// Names of variables in its environment.
    pub variables: BTreeSet<String>,
}

/// What `/proc/<pid>/status` says of a process's rights.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Real, effective, saved and file system user.
    pub uids: Vec<u32>,
    /// The same of its group.
    pub gids: Vec<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The five sets of capabilities by the kernel's names (`CapEff`), hexadecimal.
    pub capabilities: BTreeMap<String, String>,
    /// `NoNewPrivs`.
    pub no_new_privileges: bool,
    /// `Seccomp`: 2 is a filter.
    pub seccomp: u32,
}

impl ProcessStatus {
    /// Reads the file's text. A line that is missing leaves its field as if there were no wall.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let numbers = || value.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            match name {
                "Uid" => status.uids = numbers(),
                "Gid" => status.gids = numbers(),
                "Groups" => status.groups = numbers(),
                "NoNewPrivs" => status.no_new_privileges = value.trim() == "1",
                "Seccomp" => status.seccomp = value.trim().parse().unwrap_or(0),
                "CapInh" | "CapPrm" | "CapEff" | "CapBnd" | "CapAmb" => {
                    status.capabilities.insert(name.to_owned(), value.trim().to_owned());
                }
                _ => {}
            }
        }
        status
    }

    /// Every right that it has and should not have. `user` is who it should be; `None` for whoever looks from where ids may
    /// mean others, who only looks for root.
    #[must_use]
    pub fn deviations(&self, user: Option<RunAs>, walls: Walls) -> Vec<Deviation> {
        let mut all = Vec::new();
        let (uid, gid) = (user.map(|user| user.uid), user.map(|user| user.gid));
        for (point, ids, wanted) in [("user", &self.uids, uid), ("group", &self.gids, gid)] {
            let wrong = |id: &u32| *id == 0 || wanted.is_some_and(|wanted| wanted != *id);
            if ids.is_empty() || ids.iter().any(wrong) {
                let wanted = wanted.map_or_else(|| "not root's".to_owned(), |wanted| wanted.to_string());
                all.push(Deviation::new(point, wanted, format!("{ids:?}")));
            }
        }
        if self.groups.contains(&0) {
            all.push(Deviation::new("groups", "none of root's", format!("{:?}", self.groups)));
        }
        let mut sets = vec!["CapInh", "CapPrm", "CapEff", "CapAmb"];
        if walls.own_world {
            sets.push("CapBnd");
        }
        for set in sets {
            let found = self.capabilities.get(set).map_or("nothing told", String::as_str);
            if found.is_empty() || found.bytes().any(|digit| digit != b'0') {
                all.push(Deviation::new(set, "no capability", found));
            }
        }
        if !self.no_new_privileges {
            all.push(Deviation::new("new privileges", "cannot be had", "they can"));
        }
        if self.seccomp != 2 {
            all.push(Deviation::new("system calls", "filtered (2)", self.seccomp.to_string()));
        }
        all
    }
}

/// A bound as found by reaching for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BoundSeen {
    /// How many threads and processes there were when the kernel refused the next; `None` when it refused none.
    Pids(Option<u64>),
    /// Thousandths of a processor that two busy threads got.
    MilliCpus(u64),
    /// Whether who used more memory than the bound was stopped.
    Memory {
        /// It was.
        stopped: bool,
    },
}

/// What a runtime gives, as far as a testimony depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walls {
    /// Containers have a file tree, processes and a network of their own.
    pub own_world: bool,
}

/// ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL: the network says that there is no way. EPERM, EACCES, EAFNOSUPPORT: there is no
/// socket to be had.
const NO_WAY: [i32; 6] = [101, 113, 99, 1, 13, 97];

/// More processor time than the bound by this much is a bound that is not there. The kernel gives time in slices and a busy
/// machine measures badly; without any bound two threads get four times what a canary's bound is.
const CPU_SLACK_MILLI: u64 = 300;

impl Testimony {
    /// Everything that is not as `profile` says. `hosts` are the host's own namespaces by name, as far as it knows them.
    #[must_use]
    pub fn deviations(
        &self,
        profile: &HardeningProfile,
        walls: Walls,
        hosts: &BTreeMap<String, String>,
    ) -> Vec<Deviation> {
        let mut all = Vec::new();
        all.extend(self.status.deviations(Some(profile.user), walls));
        for what in &self.allowed {
            all.push(Deviation::new("system calls", format!("a refusal to {what}"), "it was done"));
        }
        self.ways_out(walls, &mut all);
        self.files(profile, walls, &mut all);
        if walls.own_world {
            if self.pid != 1 || self.processes > 2 {
                let found = format!("number {} of {} processes that it sees", self.pid, self.processes);
                all.push(Deviation::new("processes", "its own alone", found));
            }
            for name in ["ipc", "mnt", "net", "pid", "uts"] {
                let own = self.namespaces.get(name);
                if own.is_none() || own == hosts.get(name) {
                    all.push(Deviation::new(format!("{name} namespace"), "its own", "the host's"));
                }
            }
        }
        all
    }

    fn ways_out(&self, walls: Walls, all: &mut Vec<Deviation>) {
        if walls.own_world {
            let others: Vec<&str> = self.interfaces.iter().map(String::as_str).filter(|name| *name != "lo").collect();
            if !others.is_empty() {
                all.push(Deviation::new("interfaces", "lo alone", others.join(", ")));
            }
            if !self.routes.is_empty() {
                all.push(Deviation::new("routes", "none", self.routes.join(", ")));
            }
        }
        if self.connections.is_empty() {
            all.push(Deviation::new("network", "no way out", "none was tried"));
        }
        for (address, error) in &self.connections {
            if !NO_WAY.contains(error) {
                let found = match error {
                    0 => "it was reached".to_owned(),
                    -1 => "no answer, so there is a way".to_owned(),
                    error => format!("error {error}, so there is a way"),
                };
                all.push(Deviation::new(format!("network to {address}"), "unreachable", found));
            }
        }
        if !self.resolved.is_empty() {
            all.push(Deviation::new("names", "none can be looked up", self.resolved.join(", ")));
        }
        if !self.engine_sockets.is_empty() {
            all.push(Deviation::new("engine", "no socket of one", self.engine_sockets.join(", ")));
        }
    }

    fn files(&self, profile: &HardeningProfile, walls: Walls, all: &mut Vec<Deviation>) {
        if !self.writable.is_empty() {
            all.push(Deviation::new("root", "read-only", format!("{} could be written to", self.writable.join(", "))));
        }
        if !self.devices.is_empty() {
            all.push(Deviation::new("devices", "the harmless ones", self.devices.join(", ")));
        }
        if !walls.own_world {
            return;
        }
        if self.tmp_executes {
            all.push(Deviation::new("/tmp", "noexec", "a program in it was started"));
        }
        let options: Vec<&str> = self.tmp_options.split(',').collect();
        for wanted in ["nosuid", "nodev"] {
            if !options.contains(&wanted) {
                all.push(Deviation::new("/tmp", wanted, format!("options {:?}", self.tmp_options)));
            }
        }
        // The kernel rounds up to whole pages.
        let page = 64 << 10;
        if self.tmp_bytes == 0 || self.tmp_bytes > profile.tmp_bytes + page {
            all.push(Deviation::new(
                "/tmp",
                format!("{} bytes", profile.tmp_bytes),
                format!("{} bytes", self.tmp_bytes),
            ));
        }
    }
}

/// Everything in which the bounds that were found are not those of `profile`; a bound that it has and that nobody reached for
/// is not in force.
#[must_use]
pub fn bounds_deviations(profile: &HardeningProfile, seen: &[BoundSeen]) -> Vec<Deviation> {
    let mut all = Vec::new();
    if let Some(wanted) = profile.limits.pids.map(u64::from) {
        let found = seen.iter().find_map(|bound| match bound {
            BoundSeen::Pids(reached) => Some(*reached),
            _ => None,
        });
        if found.flatten().is_none_or(|reached| reached > wanted) {
            let found = found.flatten().map_or("none refused".to_owned(), |reached| format!("{reached} of them"));
            all.push(Deviation::new("pids", wanted.to_string(), found));
        }
    }
    if let Some(wanted) = profile.limits.milli_cpus.map(u64::from) {
        let found = seen.iter().find_map(|bound| match bound {
            BoundSeen::MilliCpus(got) => Some(*got),
            _ => None,
        });
        if found.is_none_or(|got| got > wanted + CPU_SLACK_MILLI) {
            let found = found.map_or("nothing told".to_owned(), |got| format!("{got}"));
            all.push(Deviation::new("milli cpus", wanted.to_string(), found));
        }
    }
    if let Some(wanted) = profile.limits.memory_bytes {
        let stopped = seen.iter().any(|bound| matches!(bound, BoundSeen::Memory { stopped: true }));
        if !stopped {
            all.push(Deviation::new("memory", format!("{wanted} bytes"), "more was used"));
        }
    }
    all
}

#[cfg(test)]
mod tests;
