//! Limits by control groups, where this process may make them: root may, and a service to which systemd delegates its group.
//!
//! Each controller is looked for in its own hierarchy (cgroup v1) and then in the common one (v2, where [`delegation`] says at
//! which place). A container's groups are `nanoclaw/<host process>-<its start>-<container>` below that, made before its
//! helper is told to enter them, removed when it has ended; what a killed host left behind is removed by the next one.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::runtime::{ContainerStats, Deviation, Limits};

use super::{delegation, owner};

/// The folder below which all groups of all hosts are.
const PARENT: &str = "nanoclaw";

/// The largest pages of any kernel.
const PAGE_BYTES: u64 = 64 << 10;

/// What a limit is set by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// Which of the limits can be set. What each means to a container is in `Limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct InForce {
    pub(super) memory: bool,
    pub(super) pids: bool,
    pub(super) cpu: bool,
}

/// The hierarchies in which groups can be made. Empty where there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Hierarchies {
    found: Vec<Hierarchy>,
    leftovers: Leftovers,
}

/// Groups that were still busy when they should have been removed: of a start that nobody waited for, of a host that has just
/// been killed. The next container removes them.
type Leftovers = Arc<Mutex<Vec<PathBuf>>>;

#[derive(Debug, Clone)]
struct Hierarchy {
    controllers: Vec<Controller>,
    version: Version,
    /// The folder below which containers' groups are made; it exists and can be written to.
    parent: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Hierarchies {
    /// Looks for them, makes their parent groups, and removes groups of hosts that are gone.
    pub(super) fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let common = delegation::place_for(&mounts, &own, &Controller::ALL.map(Controller::name));
        let mut found: Vec<Hierarchy> = Vec::new();
        for controller in Controller::ALL {
            let Some((version, parent)) = first_version(&mounts, &own, controller)
                .or_else(|| common.as_deref().and_then(|place| second_version(place, controller)))
            else {
                continue;
            };
            if fs::create_dir_all(&parent).is_err()
                || rustix::fs::access(&parent, rustix::fs::Access::WRITE_OK).is_err()
            {
                continue;
            }
            match found.iter_mut().find(|hierarchy| hierarchy.parent == parent) {
                Some(hierarchy) => hierarchy.controllers.push(controller),
                None => found.push(Hierarchy { controllers: vec![controller], version, parent }),
            }
        }
        let hierarchies = Self { found, leftovers: Leftovers::default() };
        hierarchies.sweep();
        hierarchies
    }

    /// Which limits can be set.
    pub(super) fn in_force(&self) -> InForce {
        let has = |wanted| self.found.iter().any(|hierarchy| hierarchy.controllers.contains(&wanted));
        InForce { memory: has(Controller::Memory), pids: has(Controller::Pids), cpu: has(Controller::Cpu) }
    }

    /// Makes the groups of one container and sets its limits; limits without a controller are left out.
    pub(super) fn make(&self, limits: Limits) -> io::Result<Groups> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        locked(&self.leftovers).retain(|path| !is_removed(path));
        let name = owner::name(COUNT.fetch_add(1, Ordering::Relaxed));
        let mut groups = Groups { made: Vec::new(), leftovers: self.leftovers.clone() };
        for hierarchy in &self.found {
            let group = Hierarchy { parent: hierarchy.parent.join(&name), ..hierarchy.clone() };
            fs::create_dir(&group.parent)?;
            // Held before its limits are set, so that it is removed when that fails.
            groups.made.push(group);
        }
        for group in &groups.made {
            group.set(limits)?;
        }
        Ok(groups)
    }

    /// Removes the groups of hosts that are gone. The kernel refuses to remove one in which a process lives, as it may for
    /// a moment after its host was killed; the first container tries those again.
    fn sweep(&self) {
        for hierarchy in &self.found {
            for entry in fs::read_dir(&hierarchy.parent).into_iter().flatten().flatten() {
                let path = entry.path();
                if entry.file_name().to_str().is_some_and(owner::is_gone) && !is_removed(&path) {
                    locked(&self.leftovers).push(path);
                }
            }
        }
    }
}

/// The parent group of `controller` in a hierarchy of its own, below the host's own group where that can be seen, so that a
/// limit on the host holds for its containers too.
fn first_version(mounts: &str, own: &str, controller: Controller) -> Option<(Version, PathBuf)> {
    let has = |list: &str| list.split(',').any(|word| word == controller.name());
    let mounted = mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let (kind, _device, options) = (right.next()?, right.next()?, right.next()?);
        (kind == "cgroup" && has(options)).then(|| left.split(' ').nth(4)).flatten()
    })?;
    let path = own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        has(controllers).then_some(path)
    })?;
    let below = Path::new(mounted).join(path.trim_start_matches('/'));
    let base = if below.is_dir() { below } else { PathBuf::from(mounted) };
    Some((Version::One, base.join(PARENT)))
}

/// The parent group in the common hierarchy, below `place`, where it gets this controller.
fn second_version(place: &Path, controller: Controller) -> Option<(Version, PathBuf)> {
    if !delegation::offers(place, controller.name()) {
        return None;
    }
    let parent = place.join(PARENT);
    let enable = format!("+{}", controller.name());
    // Mostly enabled already; what counts is whether it can be enabled one level further down.
    let _ = fs::write(place.join("cgroup.subtree_control"), &enable);
    fs::create_dir_all(&parent).ok()?;
    fs::write(parent.join("cgroup.subtree_control"), &enable).ok()?;
    Some((Version::Two, parent))
}

impl Hierarchy {
    fn write(&self, file: &str, value: impl ToString) -> io::Result<()> {
        let path = self.parent.join(file);
        fs::write(&path, value.to_string())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn set(&self, limits: Limits) -> io::Result<()> {
        for controller in &self.controllers {
            match (controller, self.version) {
                (Controller::Memory, Version::One) => {
                    let Some(bytes) = limits.memory_bytes else { continue };
                    self.write("memory.limit_in_bytes", bytes)?;
                    // Memory and swap together, so after the former. Where the kernel does not count swap, none is used.
                    if self.write("memory.memsw.limit_in_bytes", bytes).is_err() {
                        self.write("memory.swappiness", 0)?;
                    }
                }
                (Controller::Memory, Version::Two) => {
                    let Some(bytes) = limits.memory_bytes else { continue };
                    self.write("memory.max", bytes)?;
                    if self.parent.join("memory.swap.max").exists() {
                        self.write("memory.swap.max", 0)?;
                    }
                }
                (Controller::Pids, _) => {
                    let Some(pids) = limits.pids else { continue };
                    self.write("pids.max", pids)?;
                }
                (Controller::Cpu, version) => {
                    let Some(quota) = limits.milli_cpus.map(quota_of) else { continue };
                    match version {
                        Version::One => {
                            self.write("cpu.cfs_period_us", 100_000)?;
                            self.write("cpu.cfs_quota_us", quota)?;
                        }
                        Version::Two => self.write("cpu.max", format_args!("{quota} 100000"))?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Every limit that is not in force as it was set.
    fn deviations(&self, limits: Limits) -> Vec<Deviation> {
        let mut all = Vec::new();
        let told = |file: &str| self.read(file).map(|text| text.trim().to_owned());
        let mut expect = |point: &str, wanted: u64, found: Option<String>, right: bool| {
            if !right {
                let found = found.unwrap_or_else(|| "nothing told".to_owned());
                all.push(Deviation::new(point, wanted.to_string(), found));
            }
        };
        let is = |found: &Option<String>, wanted: u64| found.as_deref() == Some(wanted.to_string().as_str());
        // The kernel rounds down to whole pages.
        let is_bytes = |found: &Option<String>, wanted: u64| {
            let found = found.as_ref().and_then(|found| found.parse::<u64>().ok());
            found.is_some_and(|found| found <= wanted && wanted - found < PAGE_BYTES)
        };
        for controller in &self.controllers {
            match (controller, self.version) {
                (Controller::Memory, version) => {
                    let Some(bytes) = limits.memory_bytes else { continue };
                    let one = version == Version::One;
                    let found = told(if one { "memory.limit_in_bytes" } else { "memory.max" });
                    expect("memory", bytes, found.clone(), is_bytes(&found, bytes));
                    let swap = told(if one { "memory.memsw.limit_in_bytes" } else { "memory.swap.max" });
                    match swap {
                        Some(_) if one => expect("memory and swap", bytes, swap.clone(), is_bytes(&swap, bytes)),
                        Some(_) => expect("swap", 0, swap.clone(), is(&swap, 0)),
                        None if one => {
                            let swappiness = told("memory.swappiness");
                            expect("swappiness", 0, swappiness.clone(), is(&swappiness, 0));
                        }
                        // This kernel does not count it.
                        None => {}
                    }
                    if one {
                        let kept_alive = self.read_key("memory.oom_control", "oom_kill_disable");
                        expect(
                            "survival without memory",
                            0,
                            kept_alive.map(|kept| kept.to_string()),
                            kept_alive == Some(0),
                        );
                    }
                }
                (Controller::Pids, _) => {
                    let Some(pids) = limits.pids.map(u64::from) else { continue };
                    let found = told("pids.max");
                    expect("pids", pids, found.clone(), is(&found, pids));
                }
                (Controller::Cpu, version) => {
                    let Some(milli) = limits.milli_cpus else { continue };
                    let found = match version {
                        Version::One => told("cpu.cfs_quota_us").zip(told("cpu.cfs_period_us")),
                        Version::Two => told("cpu.max").and_then(|both| {
                            both.split_once(' ').map(|(quota, period)| (quota.to_owned(), period.to_owned()))
                        }),
                    };
                    let right = found.as_ref().is_some_and(|(quota, period)| {
                        (quota.as_str(), period.as_str()) == (&*quota_of(milli).to_string(), "100000")
                    });
                    let found = found.map(|(quota, period)| format!("{quota} of {period} microseconds"));
                    expect("milli cpus", milli.into(), found, right);
                }
            }
        }
        all
    }

    /// Whether a process of which `/proc/<pid>/cgroup` tells this is in the group. Our names are nobody else's, wherever the
    /// reader's view of the hierarchy begins.
    fn holds(&self, told: &str) -> bool {
        let Some(name) = self.parent.file_name().and_then(|name| name.to_str()) else { return false };
        let end = format!("/{PARENT}/{name}");
        let mut lines = told.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            Some((fields.next()?, fields.next()?))
        });
        let is_its = |controllers: &str| match self.version {
            Version::Two => controllers.is_empty(),
            Version::One => self.controllers.iter().all(|one| controllers.split(',').any(|word| word == one.name())),
        };
        lines.any(|(controllers, path)| is_its(controllers) && path.ends_with(&end))
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.parent.join(file)).ok()
    }

    /// The number behind `key` in a file of lines "key number".
    fn read_key(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.read(file)?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// Microseconds out of a period of 100 ms. The kernel's least quota is 1 ms.
fn quota_of(milli_cpus: u32) -> u64 {
    (u64::from(milli_cpus) * 100).max(1000)
}

/// The groups of one container. [`Groups::remove`] waits until nothing lives in them; dropping removes
/// what it can and leaves the rest to the next container.
#[derive(Debug)]
pub(super) struct Groups {
    made: Vec<Hierarchy>,
    leftovers: Leftovers,
}

impl Groups {
    /// The files by which a process enters them.
    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        self.made.iter().map(|group| group.parent.join("cgroup.procs")).collect()
    }

    /// Where they are.
    #[cfg(feature = "failpoints")]
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.made.iter().map(|group| group.parent.clone()).collect()
    }

    /// Everything in which they do not hold, with these limits, the process of which `/proc/<pid>/cgroup` tells this.
    pub(super) fn deviations(&self, limits: Limits, told: &str) -> Vec<Deviation> {
        let mut all: Vec<Deviation> = self.made.iter().flat_map(|group| group.deviations(limits)).collect();
        for group in self.made.iter().filter(|group| !group.holds(told)) {
            let names: Vec<&str> = group.controllers.iter().map(|controller| controller.name()).collect();
            all.push(Deviation::new("control groups", format!("its own for {}", names.join(" and ")), "another"));
        }
        all
    }

    /// Whether the kernel killed something in them for memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        self.of(Controller::Memory).is_some_and(|group| {
            let file = match group.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            group.read_key(file, "oom_kill").unwrap_or(0) > 0
        })
    }

    /// What is used now; memory without the files that the kernel would drop first. `None` unless both numbers are known.
    pub(super) fn stats(&self) -> Option<ContainerStats> {
        let memory = self.of(Controller::Memory)?;
        let (used, inactive) = match memory.version {
            Version::One => ("memory.usage_in_bytes", "total_inactive_file"),
            Version::Two => ("memory.current", "inactive_file"),
        };
        let used: u64 = memory.read(used)?.trim().parse().ok()?;
        let inactive = memory.read_key("memory.stat", inactive).unwrap_or(0);
        let pids = self.of(Controller::Pids)?.read("pids.current")?.trim().parse().ok()?;
        Some(ContainerStats { memory_bytes: used.saturating_sub(inactive), pids })
    }

    /// Removes them. A process that has ended can keep its group busy for a moment longer.
    pub(super) async fn remove(self: Arc<Self>) {
        for _ in 0..50 {
            if self.try_remove() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tracing::warn!(groups = ?self.entrances(), "could not remove the control groups of an ended container");
    }

    /// Whether all of them are gone now.
    fn try_remove(&self) -> bool {
        self.made.iter().filter(|group| !is_removed(&group.parent)).count() == 0
    }

    fn of(&self, controller: Controller) -> Option<&Hierarchy> {
        self.made.iter().find(|group| group.controllers.contains(&controller))
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !self.try_remove() {
            locked(&self.leftovers).extend(self.made.iter().map(|group| group.parent.clone()));
        }
    }
}

/// Removes a group; whether it is gone.
fn is_removed(path: &Path) -> bool {
    fs::remove_dir(path).is_ok() || !path.exists()
}

fn locked(leftovers: &Leftovers) -> MutexGuard<'_, Vec<PathBuf>> {
    // A list of paths is whole between any two calls.
    leftovers.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 25 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 25 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn a_controller_is_found_in_a_hierarchy_that_it_shares() {
        let own = "3:cpu,cpuacct:/\n2:memory:/not/visible/here\n";
        let found = first_version(MOUNTS, own, Controller::Cpu);
        assert_eq!(found, Some((Version::One, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/nanoclaw"))));
        let found = first_version(MOUNTS, own, Controller::Memory);
        assert_eq!(found, Some((Version::One, PathBuf::from("/sys/fs/cgroup/memory/nanoclaw"))));
        assert_eq!(first_version(MOUNTS, own, Controller::Pids), None);
    }

    #[test]
    fn what_a_killed_host_left_is_removed_as_soon_as_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let (dead, busy, living) = (make("4194305-77-0"), make("4194305-77-1"), make(&owner::name(1_000_000)));
        let others = make("theirs");
        // A folder that is not empty stands for a group in which a process lives.
        fs::write(busy.join("process"), "").unwrap();
        let hierarchy = Hierarchy { controllers: vec![], version: Version::Two, parent: folder.path().to_owned() };
        let hierarchies = Hierarchies { found: vec![hierarchy], leftovers: Leftovers::default() };
        hierarchies.sweep();
        assert!(!dead.exists() && busy.exists() && living.exists() && others.exists());
        fs::remove_file(busy.join("process")).unwrap();
        let own = hierarchies.make(Limits { memory_bytes: None, pids: None, milli_cpus: None }).unwrap();
        assert!(!busy.exists() && living.exists() && others.exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        drop(own);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    const LIMITS: Limits = Limits { memory_bytes: Some(1_000_000), pids: Some(20), milli_cpus: Some(1500) };

    /// A group whose files are ordinary ones.
    fn group(folder: &Path, version: Version, files: &[(&str, &str)]) -> Groups {
        let parent = folder.join("12-34-5");
        let _ = fs::remove_dir_all(&parent);
        fs::create_dir(&parent).unwrap();
        for (file, text) in files {
            fs::write(parent.join(file), format!("{text}\n")).unwrap();
        }
        let group = Hierarchy { controllers: Controller::ALL.to_vec(), version, parent };
        Groups { made: vec![group], leftovers: Leftovers::default() }
    }

    fn found(groups: &Groups, told: &str) -> Vec<String> {
        groups.deviations(LIMITS, told).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn limits_as_they_were_set_are_right_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let one = [
            ("memory.limit_in_bytes", "999424"),
            ("memory.memsw.limit_in_bytes", "999424"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0"),
            ("pids.max", "20"),
            ("cpu.cfs_quota_us", "150000"),
            ("cpu.cfs_period_us", "100000"),
        ];
        let one = group(folder.path(), Version::One, &one);
        assert_eq!(found(&one, "4:memory,pids,cpu:/some/where/nanoclaw/12-34-5\n"), [] as [String; 0]);
        let two =
            [("memory.max", "999424"), ("memory.swap.max", "0"), ("pids.max", "20"), ("cpu.max", "150000 100000")];
        let two = group(folder.path(), Version::Two, &two);
        assert_eq!(found(&two, "1:name=systemd:/\n0::/../nanoclaw/12-34-5\n"), [] as [String; 0]);
        fs::remove_dir_all(folder.path().join("12-34-5")).unwrap();
    }

    #[test]
    fn a_limit_that_is_another_or_cannot_be_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let inside = "0::/nanoclaw/12-34-5";
        let two = [("memory.max", "max"), ("memory.swap.max", "max"), ("pids.max", "21"), ("cpu.max", "max 100000")];
        let loose = group(folder.path(), Version::Two, &two);
        assert_eq!(
            found(&loose, inside),
            [
                "memory: 1000000 was asked for, found max",
                "swap: 0 was asked for, found max",
                "pids: 20 was asked for, found 21",
                "milli cpus: 1500 was asked for, found max of 100000 microseconds",
            ]
        );
        let none = group(folder.path(), Version::One, &[("memory.limit_in_bytes", "1003520")]);
        let found = found(&none, "4:memory,cpu:/nanoclaw/12-34-5");
        assert_eq!(found[0], "memory: 1000000 was asked for, found 1003520", "more by a page");
        for point in ["swappiness", "survival without memory", "pids", "milli cpus"] {
            assert!(found.iter().any(|found| found.starts_with(point) && found.ends_with("nothing told")), "{found:?}");
        }
        assert_eq!(
            found.last().unwrap(),
            "control groups: its own for memory and pids and cpu was asked for, found another"
        );
        fs::remove_dir_all(folder.path().join("12-34-5")).unwrap();
    }

    #[test]
    fn a_process_is_in_its_group_only_by_the_groups_whole_name() {
        let folder = tempfile::tempdir().unwrap();
        let groups = group(folder.path(), Version::Two, &[]);
        let held = |told: &str| groups.made[0].holds(told);
        assert!(held("0::/nanoclaw/12-34-5") && held("4:cpu:/x\n0::/a/b/nanoclaw/12-34-5"));
        for other in ["", "0::/", "0::/nanoclaw/12-34-55", "0::/nanoclaw/12-34-5/x", "4:cpu:/nanoclaw/12-34-5", "odd"] {
            assert!(!held(other), "{other}");
        }
        fs::remove_dir_all(folder.path().join("12-34-5")).unwrap();
    }
}
