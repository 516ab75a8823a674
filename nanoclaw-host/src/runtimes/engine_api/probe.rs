//! What an engine really gives: a small container that looks at itself.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::models::SystemInfo;
use nanoclaw_core::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    runtime::{
        Capabilities, ContainerRuntime, ContainerSpec, HeldSources, ImageRef, InstallId, Labels, Limits, Output, RunAs,
        RuntimeError,
    },
};
use tokio::time::timeout;

use super::{EngineRuntime, InForce, dialect::Dialect, image, start::Purpose};

static PROBES: AtomicU32 = AtomicU32::new(1);
const LOOK_WITHIN: Duration = Duration::from_secs(60);
const MEMORY_BYTES: u64 = 64 << 20;
const PIDS: u32 = 64;
const SWAP_IS_FREE: &str = "swap is not counted against the memory limit";

/// Prints a line for each thing that is as it should be, for cgroups of either version. Needs a shell, `cat` and `grep`.
const LOOK: &str = r"
grep -q '^CapEff:.0*$' /proc/self/status && grep -q '^NoNewPrivs:.1$' /proc/self/status && echo unprivileged
grep -q '^Seccomp:.2$' /proc/self/status && echo seccomp
grep -v '|' /proc/net/dev | grep -qv '^ *lo:' || echo network
cgroup=/sys/fs/cgroup
[ -r $cgroup/memory.max ] || [ -r $cgroup/memory/memory.limit_in_bytes ] && echo readable
cat $cgroup/memory.max $cgroup/memory/memory.limit_in_bytes 2>/dev/null | grep -qx 67108864 && echo memory
cat $cgroup/memory.swap.max 2>/dev/null | grep -qx 0 && echo no swap
cat $cgroup/memory/memory.memsw.limit_in_bytes 2>/dev/null | grep -qx 67108864 && echo no swap
cat $cgroup/pids.max $cgroup/pids/pids.max 2>/dev/null | grep -qx 64 && echo pids
cat $cgroup/cpu.max $cgroup/cpu/cpu.cfs_quota_us 2>/dev/null | grep -q '^50000' && echo cpu
";

/// Whether the engine says that it filters system calls with a profile that filters.
pub(super) fn filters_system_calls(info: &SystemInfo) -> bool {
    let options = info.security_options.as_deref().unwrap_or_default();
    options.iter().any(|option| option.starts_with("name=seccomp") && !option.contains("profile=unconfined"))
}

/// Whether the engine confines containers by SELinux.
fn has_selinux(info: &SystemInfo) -> bool {
    let options = info.security_options.as_deref().unwrap_or_default();
    options.iter().any(|option| option.split(',').any(|word| word == "name=selinux"))
}

impl EngineRuntime {
    /// The answer to a probe: with an image at hand, what a container saw; without, what the engine says, and that.
    pub(super) async fn look_inside(&self) -> Result<Capabilities, RuntimeError> {
        self.docker.ping().await.map_err(self.error("reach the engine"))?;
        let said = self.in_force();
        let mut capabilities = Capabilities {
            description: self.describe(),
            own_mounts: true,
            own_network: true,
            memory_limit: said.memory,
            tells_out_of_memory: false,
            pids_limit: said.pids,
            cpu_limit: said.cpu,
            images: true,
            outlive_host: true,
            remarks: Vec::new(),
        };
        if has_selinux(&self.about.info) && self.relabelling.is_empty() {
            let remark = "SELinux is on and folders are mounted with the labels they have, which containers may be denied: \
                          container.selinux_relabel in nanoclaw.toml has them labelled";
            capabilities.remarks.push(remark.to_owned());
        }
        self.look_from_an_image(&mut capabilities).await?;
        capabilities.tells_out_of_memory =
            capabilities.memory_limit && self.about.tells_out_of_memory.load(Ordering::Relaxed);
        if capabilities.memory_limit && !capabilities.tells_out_of_memory {
            let remark =
                "a container that needs more memory than it may have is killed, and nothing but that is told of it";
            capabilities.remarks.push(remark.to_owned());
        }
        Ok(capabilities)
    }

    /// Looks from the image that was named, or else from the newest that was built here and is still there: another host may
    /// remove one of its own at any moment.
    async fn look_from_an_image(&self, capabilities: &mut Capabilities) -> Result<(), RuntimeError> {
        let images = match &self.probe_image {
            Some(named) => vec![named.clone()],
            None => image::list(self).await?.into_iter().map(|image| image.name).collect(),
        };
        for image in images {
            match self.seen_in(&image).await {
                Ok(seen) => self.take_what_was_seen(capabilities, &seen),
                Err(RuntimeError::NoImage { .. }) => continue,
                Err(error @ RuntimeError::BadCommand { .. }) => {
                    capabilities.remarks.push(format!("nothing was started to look, {image} has no shell: {error}"));
                }
                Err(error) => return Err(error),
            }
            return Ok(());
        }
        if self.dialect == Dialect::Docker && self.about.info.swap_limit == Some(false) {
            capabilities.remarks.push(SWAP_IS_FREE.to_owned());
        }
        let remark = "nothing was started to look: there is no image yet; build one with `nanoclaw image build`";
        capabilities.remarks.push(remark.to_owned());
        Ok(())
    }

    fn take_what_was_seen(&self, capabilities: &mut Capabilities, seen: &str) {
        let has = |word: &str| seen.lines().any(|line| line == word);
        let readable = has("readable");
        let now = {
            let mut in_force = self.about.in_force.lock().unwrap_or_else(PoisonError::into_inner);
            // Where a container cannot see its own limits the engine's word has to do.
            *in_force = InForce {
                memory: in_force.memory && (!readable || has("memory")),
                pids: in_force.pids && (!readable || has("pids")),
                cpu: in_force.cpu && (!readable || has("cpu")),
                seccomp: has("seccomp") && has("unprivileged"),
            };
            *in_force
        };
        capabilities.memory_limit = now.memory;
        capabilities.pids_limit = now.pids;
        capabilities.cpu_limit = now.cpu;
        capabilities.own_network = has("network");
        if !now.seccomp {
            capabilities.remarks.push("containers are not confined, so none will be started".to_owned());
        }
        // Podman's word is wrong with cgroup v2, where it says this of every machine.
        if self.about.info.swap_limit == Some(false) && !has("no swap") {
            capabilities.remarks.push(SWAP_IS_FREE.to_owned());
        }
        if !readable {
            capabilities.remarks.push("limits are as the engine says; a container cannot see its own".to_owned());
        }
    }

    async fn seen_in(&self, image: &ImageRef) -> Result<String, RuntimeError> {
        let other = |reason: String| RuntimeError::Other { action: "look inside a container", reason };
        // Unlike any other's, also of a host in another process namespace and of a probe a moment ago.
        let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let number = PROBES.fetch_add(1, Ordering::Relaxed);
        let said = self.in_force();
        let spec = ContainerSpec {
            name: format!("nanoclaw-probe-{}-{number}-{nanoseconds:x}", std::process::id()),
            image: image.clone(),
            command: vec!["/bin/sh".into(), "-c".into(), LOOK.into()],
            env: BTreeMap::new(),
            mounts: Vec::new(),
            held: HeldSources::default(),
            workdir: "/".into(),
            user: RunAs { uid: 1000, gid: 1000 },
            limits: Limits {
                memory_bytes: said.memory.then_some(MEMORY_BYTES),
                pids: said.pids.then_some(PIDS),
                milli_cpus: said.cpu.then_some(500),
            },
            tmp_bytes: 1 << 20,
            labels: Labels {
                install: InstallId::new("nanoclawprobe").map_err(|error| other(error.to_string()))?,
                run: RunId {
                    group: GroupFolder::new("probe").map_err(|error| other(error.to_string()))?,
                    number: RunNumber(number),
                },
            },
        };
        let mut container = self.start_for(&spec, Purpose::Look).await?;
        container.stdin.close().await;
        let read = async {
            let mut seen = Vec::new();
            while let Some(piece) = container.output.recv().await {
                let (Output::Stdout(bytes) | Output::Stderr(bytes)) = piece;
                seen.extend_from_slice(&bytes);
            }
            String::from_utf8_lossy(&seen).into_owned()
        };
        let seen = timeout(LOOK_WITHIN, read).await;
        self.remove(&container.id).await?;
        seen.map_err(|_| RuntimeError::TimedOut { action: "look inside a container" })
    }

    fn describe(&self) -> String {
        let version = self.about.version.version.as_deref().unwrap_or("of unknown version");
        let api = self.about.version.api_version.as_deref().unwrap_or("?");
        let system = self.about.info.operating_system.as_deref().unwrap_or("an unknown system");
        let groups = self.about.info.cgroup_version.map_or_else(|| "?".to_owned(), |version| version.to_string());
        format!("{} {version} (API {api}) on {system}, cgroup v{groups}", self.dialect.name())
    }
}
