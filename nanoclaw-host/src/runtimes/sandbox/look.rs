//! Looks at a container from outside, when it is ready and before anything of its command is executed: what the kernel says of its
//! first process has to be what was asked for. The helper looks at itself too; this is the second look, by somebody else.
//!
//! The first process waits meanwhile, so nothing changes under the look, and what cannot be seen counts as wrong.

mod mounts;

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use nanoclaw_core::{
    protocol::mounts::FileId,
    runtime::{
        ContainerSpec, Limits,
        hardening::Deviation,
        witness::{ProcessStatus, Walls},
    },
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat},
};

use self::mounts::MountLine;
#[cfg(feature = "failpoints")]
use super::plan::Fault;
use super::{
    helper::{FILTERS, OPEN_FILES, tidy},
    limits::Groups,
    plan::{Isolation, Plan},
};

/// A container as it was asked for.
pub(super) struct Asked {
    pub(super) plan: Plan,
    /// What the host holds of the plan's mounts, in the order of [`Plan::held`].
    pub(super) handles: Vec<Arc<OwnedFd>>,
    limits: Limits,
    groups: Option<Arc<Groups>>,
    /// Of the plan's mounts, in their order; `None` for one whose source is not there, which the helper refuses.
    sources: Vec<Option<Source>>,
    #[cfg(feature = "failpoints")]
    before_look: Option<BeforeLook>,
}

/// What a test does when a container is ready and was not looked at yet; it is told the container's control groups.
#[cfg(feature = "failpoints")]
pub type BeforeLook = Arc<dyn Fn(&[PathBuf]) + Send + Sync>;

/// What is to be seen at a mount's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    id: FileId,
    kind: FileType,
}

impl Source {
    fn of(found: &rustix::fs::Stat) -> Self {
        let id = FileId { device: found.st_dev, inode: found.st_ino };
        Self { id, kind: FileType::from_raw_mode(found.st_mode) }
    }

    fn at(path: &Path) -> Option<Self> {
        Some(Self::of(&statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?))
    }
}

impl Asked {
    /// `plan` is what becomes of `spec`; its sources are looked at now.
    pub(super) fn new(mut plan: Plan, spec: &ContainerSpec, groups: Option<Arc<Groups>>) -> Self {
        let (mut handles, mut sources) = (Vec::new(), Vec::new());
        plan.held.clear();
        for (number, mount) in plan.mounts.iter().enumerate() {
            match spec.held.get(&mount.target) {
                Some(held) => {
                    sources.push(fstat(held).ok().map(|found| Source::of(&found)));
                    plan.held.push(number);
                    handles.push(held.clone());
                }
                None => sources.push(Source::at(&mount.source)),
            }
        }
        Self {
            plan,
            handles,
            limits: spec.limits,
            groups,
            sources,
            #[cfg(feature = "failpoints")]
            before_look: None,
        }
    }

    /// The same, gone about wrongly.
    #[cfg(feature = "failpoints")]
    pub(super) fn with_faults(self, (faults, before_look): (Vec<Fault>, Option<BeforeLook>)) -> Self {
        Self { plan: Plan { faults, ..self.plan }, before_look, ..self }
    }

    /// One that has no mounts, to be tried out.
    pub(super) fn to_try(plan: Plan, limits: Limits, groups: Option<Arc<Groups>>) -> Self {
        Self {
            plan,
            handles: Vec::new(),
            limits,
            groups,
            sources: Vec::new(),
            #[cfg(feature = "failpoints")]
            before_look: None,
        }
    }

    /// Everything in which the container with this first process is not the one that was asked for. Blocking.
    ///
    /// # Errors
    /// When the process has ended.
    pub(super) fn look(&self, first: &OwnedFd) -> io::Result<Vec<Deviation>> {
        #[cfg(feature = "failpoints")]
        if let Some(before_look) = &self.before_look {
            before_look(&self.groups.as_deref().map(Groups::folders).unwrap_or_default());
        }
        if self.plan.isolation == Isolation::Nothing {
            return Ok(Vec::new());
        }
        let found = self.deviations(first).unwrap_or_else(|error| {
            vec![Deviation::new("its first process", "one that can be looked at", error.to_string())]
        });
        // A descriptor of a process can be read when that has ended: then its number, and what was found under it, may be
        // another's.
        let mut watched = [PollFd::new(first, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut watched, Some(&now))? > 0 {
            return Err(io::Error::other("it ended before it could be looked at"));
        }
        Ok(found)
    }

    fn deviations(&self, first: &OwnedFd) -> io::Result<Vec<Deviation>> {
        let process = Process::of(first)?;
        let mut all = self.rights(&process)?;
        all.extend(self.own_limits(&process)?);
        if let Some(groups) = &self.groups {
            all.extend(groups.deviations(self.limits, &process.read("cgroup")?));
        }
        if self.plan.isolation.own_world() {
            all.extend(self.namespaces(&process)?);
            let table = MountLine::parse_all(&process.read_bytes("mountinfo")?);
            let devices: Vec<bool> = self.sources.iter().map(|source| source.is_some_and(Source::is_device)).collect();
            all.extend(mounts::deviations(&self.plan, &devices, &table));
            all.extend(self.identities(&process)?);
        }
        Ok(all)
    }

    fn rights(&self, process: &Process) -> io::Result<Vec<Deviation>> {
        let text = process.read("status")?;
        let status = ProcessStatus::parse(&text);
        let own_world = self.plan.isolation.own_world();
        let mut all = status.deviations(Some(self.plan.user), Walls { own_world });
        // An ordinary user cannot leave its groups.
        if !self.plan.user_namespace && rustix::process::geteuid().is_root() && !status.groups.is_empty() {
            all.push(Deviation::new("groups", "its own alone", format!("{:?}", status.groups)));
        }
        let filters = text.lines().find_map(|line| line.strip_prefix("Seccomp_filters:")?.trim().parse::<u32>().ok());
        // Linux before 5.9 does not count them. A host that is filtered itself passes its filters on.
        if let Some(filters) = filters.filter(|filters| *filters < FILTERS) {
            all.push(Deviation::new("filters on system calls", FILTERS.to_string(), filters.to_string()));
        }
        Ok(all)
    }

    /// The limits that need no control group.
    fn own_limits(&self, process: &Process) -> io::Result<Vec<Deviation>> {
        let text = process.read("limits")?;
        let wanted = [
            ("Max core file size", Some(0)),
            ("Max open files", Some(OPEN_FILES)),
            ("Max processes", self.plan.processes),
        ];
        let wanted = wanted.into_iter().filter_map(|(name, most)| Some((name, most?)));
        Ok(wanted.filter_map(|(name, most)| over_limit(&text, name, most)).collect())
    }

    fn namespaces(&self, process: &Process) -> io::Result<Vec<Deviation>> {
        const ALWAYS: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
        let mut all = Vec::new();
        for name in ALWAYS.into_iter().chain(self.plan.user_namespace.then_some("user")) {
            let (theirs, ours) =
                (process.link(&format!("ns/{name}"))?, fs::read_link(format!("/proc/self/ns/{name}"))?);
            if theirs == ours {
                all.push(Deviation::new(format!("{name} namespace"), "its own", "the host's"));
            }
        }
        Ok(all)
    }

    /// What is at the mounts' places has to be the mounts' sources.
    fn identities(&self, process: &Process) -> io::Result<Vec<Deviation>> {
        let root = process.open_root()?;
        let mut all = Vec::new();
        let places: Vec<String> = self.plan.mounts.iter().map(|mount| tidy(&mount.target)).collect();
        for (number, (mount, source)) in self.plan.mounts.iter().zip(&self.sources).enumerate() {
            if mounts::is_covered(&places[number], &places[number + 1..]) {
                continue;
            }
            let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let straight = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            let found = openat2(&root, places[number].trim_start_matches('/'), look, Mode::empty(), straight)
                .and_then(|found| fstat(&found))
                .map(|found| Source::of(&found));
            let held = self.plan.held.contains(&number);
            // A program that was replaced by a newer one since the plan was made is what the path means now.
            let right = match (&found, source) {
                (Ok(found), Some(source)) => {
                    found.id == source.id || (!held && Source::at(&mount.source).is_some_and(|now| now.id == found.id))
                }
                _ => false,
            };
            if !right {
                let found = found.map_or_else(|error| error.to_string(), |_| "another file or folder".to_owned());
                all.push(Deviation::new(
                    format!("mount at {}", mount.target),
                    mount.source.display().to_string(),
                    found,
                ));
            }
        }
        Ok(all)
    }
}

impl Source {
    fn is_device(self) -> bool {
        self.kind == FileType::CharacterDevice
    }
}

/// A line such as `Max processes             65                   65                   processes`, when it allows more.
fn over_limit(limits: &str, name: &str, most: u64) -> Option<Deviation> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let both: Vec<&str> = rest.split_whitespace().take(2).collect();
    let within = |told: &&str| told.parse::<u64>().is_ok_and(|told| told <= most);
    let right = both.len() == 2 && both.iter().all(within);
    let found = || if both.is_empty() { "nothing told".to_owned() } else { both.join(" and ") };
    (!right).then(|| Deviation::new(name.to_lowercase(), most.to_string(), found()))
}

/// A process, by its folder in `/proc`.
struct Process(PathBuf);

impl Process {
    fn of(first: &OwnedFd) -> io::Result<Self> {
        let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", first.as_raw_fd()))?;
        let number = about.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
        match number {
            Some(number) if number > 0 => Ok(Self(PathBuf::from(format!("/proc/{number}")))),
            _ => Err(io::Error::other("the kernel does not tell its number")),
        }
    }

    fn read_bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name)).map_err(|error| about(name, &error))
    }

    fn read(&self, name: &str) -> io::Result<String> {
        self.read_bytes(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn link(&self, name: &str) -> io::Result<PathBuf> {
        fs::read_link(self.0.join(name)).map_err(|error| about(name, &error))
    }

    /// The root that it sees.
    fn open_root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, self.0.join("root"), flags, Mode::empty()).map_err(|error| about("root", &error.into()))
    }
}

fn about(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name} in /proc: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_higher_missing_or_none_is_told() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             65                   65                   processes \n\
                      Max open files            1024                 unlimited            files     \n";
        assert_eq!(over_limit(limits, "Max processes", 65), None);
        assert_eq!(over_limit(limits, "Max processes", 70), None, "less is no harm");
        let told = over_limit(limits, "Max processes", 64).unwrap().to_string();
        assert_eq!(told, "max processes: 64 was asked for, found 65 and 65");
        let told = over_limit(limits, "Max open files", 2000).unwrap().to_string();
        assert_eq!(told, "max open files: 2000 was asked for, found 1024 and unlimited");
        assert!(over_limit(limits, "Max core file size", 0).unwrap().to_string().contains("nothing told"));
    }
}
