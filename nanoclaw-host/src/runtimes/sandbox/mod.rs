//! The embedded sandbox: this program re-executed as a helper that becomes the container. No daemon, no package, an ordinary
//! user.
//!
//! ```text
//! host ── spawner thread ──fork, exec──▶ outer helper ──fork──▶ inner helper ──exec──▶ command (process 1)
//!   │                                     waits, passes         root, identity,  ▲
//!   ├── worker per container ◀── exit ──  signals on            Landlock, seccomp│ "go on"
//!   └── looks from outside at what is in force, when the inner helper is ready ──┘
//! ```
//!
//! A probe chooses how containers are held, the first of these that really works here ([`SandboxMode::Auto`]):
//!
//! ```text
//! namespaces      outer helper ──fork──▶ inner helper                the two make namespaces and root themselves
//! bubblewrap      outer helper ──exec──▶ bwrap ──exec──▶ inner helper    bwrap makes them: its AppArmor profile may
//!                                                                        allow it where ours is missing
//! Landlock alone  outer helper ──fork──▶ inner helper                no namespaces: the host's paths, no sockets
//! refused         with what to do about it
//! ```
//!
//! Containers end with the host: by its normal end, by the runtime being dropped, or by `kill -9`. The helper's first words
//! are in [`helper::enter_if_asked`], which `main` calls before anything else.

mod delegation;
pub mod helper;
mod launch;
mod limits;
mod look;
mod owner;
mod plan;
mod probe;
mod scratch;
mod spawner;
mod worker;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::runtime::{
    Access, AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
    ContainerStdin, ContainerSummary, Exit, ExitWatch, ImageRef, InstallId, Labels, Limits, Mount, RuntimeError,
    RuntimeKind, StopOutcome, exit_watch,
};
use tokio::sync::{mpsc, oneshot};

use super::pauses_between_asking;

use self::{
    limits::{Groups, Hierarchies},
    look::Asked,
    plan::{Plan, Root, Task},
    probe::Chosen,
    scratch::Scratch,
    spawner::Spawner,
    worker::End,
};

#[cfg(feature = "failpoints")]
pub use self::{look::BeforeLook, plan::Fault};

/// The image name that stands for the host's own programs.
pub const HOST_IMAGE: &str = "host";

/// The search path of a container whose spec names none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Beyond this a container that was killed is reported as not ending; only the kernel can keep one that long.
const LONGEST_END: Duration = Duration::from_secs(15);

/// How containers are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxMode {
    /// The best of the safe ones that a probe finds to work: namespaces, then bubblewrap, then Landlock alone.
    Auto,
    /// Namespaces, Landlock and seccomp, or nothing.
    Namespaces,
    /// The same, with namespaces and root made by the program [`SandboxSettings::bubblewrap`]. It exists because
    /// distributions that keep user namespaces from ordinary programs (Ubuntu from 23.10 on, by AppArmor) allow them to
    /// bubblewrap.
    Bubblewrap,
    /// Landlock and seccomp without namespaces: guest paths are host paths, and agents have no sockets at all.
    LandlockOnly,
    /// An ordinary child process. Never chosen by itself.
    Unsafe,
}

/// What the sandbox is to know about this installation.
#[derive(Debug, Clone)]
pub struct SandboxSettings {
    /// The program whose `main` calls [`helper::enter_if_asked`].
    pub helper: PathBuf,
    /// How containers are held.
    pub mode: SandboxMode,
    /// The bubblewrap program, 0.7 or newer; a name without a slash is looked for in `PATH`.
    pub bubblewrap: PathBuf,
    /// A folder for what has to lie on disk while a container runs; made when it is missing.
    pub state: PathBuf,
    /// Whether containers are started although a limit they ask for cannot be in force here. An ordinary user's account has
    /// no control groups, so without this the sandbox would be for root alone; the capabilities and one line of the log say
    /// which limits are missing.
    pub accept_missing_limits: bool,
}

impl SandboxSettings {
    /// The defaults: this very program, even when its file was replaced meanwhile; the best safe mode; missing limits accepted
    /// for an ordinary user and refused for root.
    #[must_use]
    pub fn new(state: PathBuf) -> Self {
        Self {
            helper: PathBuf::from("/proc/self/exe"),
            mode: SandboxMode::Auto,
            bubblewrap: PathBuf::from("bwrap"),
            state,
            accept_missing_limits: !rustix::process::geteuid().is_root(),
        }
    }
}

/// The embedded sandbox.
pub struct SandboxRuntime {
    settings: SandboxSettings,
    spawner: Spawner,
    hierarchies: Hierarchies,
    /// What the last probe found. Held across a probe, so that two first starts make one.
    chosen: tokio::sync::Mutex<Option<Arc<Chosen>>>,
    containers: Containers,
    told_missing_limits: AtomicBool,
    #[cfg(feature = "failpoints")]
    faults: (Vec<Fault>, Option<BeforeLook>),
}

impl SandboxRuntime {
    /// Makes the runtime; nothing is started yet.
    #[must_use]
    pub fn new(settings: SandboxSettings) -> Self {
        Self {
            settings,
            spawner: Spawner::default(),
            hierarchies: Hierarchies::find(),
            chosen: tokio::sync::Mutex::default(),
            containers: Containers::default(),
            told_missing_limits: AtomicBool::new(false),
            #[cfg(feature = "failpoints")]
            faults: (Vec::new(), None),
        }
    }

    /// For tests: containers are made with these faults, and `before_look` is called when one is ready. The probe is not
    /// concerned.
    #[cfg(feature = "failpoints")]
    #[must_use]
    pub fn with_faults(self, faults: Vec<Fault>, before_look: Option<BeforeLook>) -> Self {
        Self { faults: (faults, before_look), ..self }
    }

    /// What is to be made and looked at.
    fn asked(&self, plan: Plan, spec: &ContainerSpec, groups: Option<Arc<Groups>>) -> Arc<Asked> {
        let asked = Asked::new(plan, spec, groups);
        #[cfg(feature = "failpoints")]
        let asked = asked.with_faults(self.faults.clone());
        Arc::new(asked)
    }

    /// What the last probe chose, probing when there was none.
    async fn chosen(&self) -> Result<Arc<Chosen>, RuntimeError> {
        let mut chosen = self.chosen.lock().await;
        if let Some(chosen) = &*chosen {
            return Ok(chosen.clone());
        }
        let fresh = Arc::new(probe::choose(&self.settings, &self.spawner, &self.hierarchies).await?);
        *chosen = Some(fresh.clone());
        Ok(fresh)
    }

    /// The limits that will be in force, and the group that sets them; refuses when one is missing that may not be.
    fn limits(&self, chosen: &Chosen, wanted: Limits) -> Result<Option<Groups>, RuntimeError> {
        let missing: Vec<&str> = [
            ("the memory limit", wanted.memory_bytes.is_some() && !chosen.in_force.memory),
            ("the limit on processes", wanted.pids.is_some() && !chosen.in_force.pids),
            ("the limit on processor time", wanted.milli_cpus.is_some() && !chosen.in_force.cpu),
        ]
        .into_iter()
        .filter_map(|(limit, missing)| missing.then_some(limit))
        .collect();
        if !missing.is_empty() {
            let what = missing.join(" and ");
            if !self.settings.accept_missing_limits {
                let remedy = "run nanoclaw as root where it can make control groups, use Docker or Podman, or accept \
                              missing limits in nanoclaw.toml"
                    .to_owned();
                return Err(RuntimeError::NotEnforced { what, remedy });
            }
            if !self.told_missing_limits.swap(true, Ordering::Relaxed) {
                tracing::warn!("{what} cannot be in force in this account's sandbox; containers are started without");
            }
        }
        if !chosen.uses_groups {
            return Ok(None);
        }
        let failed = |error: std::io::Error| RuntimeError::Other { action: "set limits", reason: error.to_string() };
        self.hierarchies.make(wanted).map(Some).map_err(failed)
    }
}

#[async_trait]
impl ContainerRuntime for SandboxRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Sandbox
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        let mut chosen = self.chosen.lock().await;
        let fresh = Arc::new(probe::choose(&self.settings, &self.spawner, &self.hierarchies).await?);
        *chosen = Some(fresh.clone());
        Ok(fresh.capabilities.clone())
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        root_of(image).map(drop)
    }

    /// Its roots are folders of this machine, which its containers see as they are.
    async fn image_id(&self, _image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        Ok(None)
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        let command = spec.command.first().map_or("", |program| program.as_str());
        let root = root_of(&spec.image)?;
        check(spec)?;
        let chosen = self.chosen().await?;
        check_against(spec, &chosen, &root)?;
        let groups = self.limits(&chosen, spec.limits)?.map(Arc::new);
        let scratch = if chosen.isolation.own_world() {
            None
        } else {
            let made = Scratch::make(&self.settings.state, spec.user);
            let failed = |error: std::io::Error| RuntimeError::Other { action: "make /tmp", reason: error.to_string() };
            Some(made.map_err(failed)?)
        };

        let id = ContainerId::new(spec.name.clone())
            .map_err(|error| RuntimeError::Other { action: "name the container", reason: error.to_string() })?;
        let entry = self.containers.reserve(&id, &spec.labels)?;
        let plan = plan_of(spec, &chosen, root, scratch.as_ref(), groups.as_deref());
        let asked = self.asked(plan, spec, groups.clone());
        let launched = launch::launch(&self.spawner, &self.settings.helper, &spec.name, &asked)
            .await
            .map_err(|failure| failure.about(command))?;

        let (output, pumps) = worker::pump(launched.stdout, launched.stderr);
        let (requests, queue) = mpsc::channel(8);
        let (ended, end) = oneshot::channel();
        let exit = exit_watch(async move { end.await.unwrap_or(Exit::Unknown) });
        entry.run(requests, exit.clone(), groups.clone());
        tokio::spawn(async move {
            let exit = worker::watch(launched.helper, queue, &pumps, groups.as_ref()).await;
            // Gone from the list before anybody can learn of the end, and so before the next run of the same name.
            drop(entry);
            let _ = ended.send(exit);
            pumps.finish().await;
            if let Some(groups) = groups {
                groups.remove().await;
            }
            drop(scratch);
        });
        Ok(Container { id, stdin: ContainerStdin::new(launched.stdin), output, exit })
    }

    /// A container ends with the host that started it, so there are none of an earlier host.
    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        let (_, exit) = self.containers.running(id).ok_or_else(|| RuntimeError::Gone { id: id.clone() })?;
        Ok(AdoptedContainer { exit, errors: None })
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        let Some((requests, exit)) = self.containers.running(id) else { return Ok(StopOutcome::Gone) };
        // A full or closed queue means that its end is being seen to.
        let _ = requests.try_send(End::Ask);
        for pause in pauses_between_asking(grace) {
            if tokio::time::timeout(pause, exit.clone()).await.is_ok() {
                return Ok(StopOutcome::Ended);
            }
            let _ = requests.try_send(End::Ask);
        }
        let _ = requests.send(End::Kill).await;
        match tokio::time::timeout(LONGEST_END, exit).await {
            Ok(_) => Ok(StopOutcome::Killed),
            Err(_) => Err(RuntimeError::TimedOut { action: "kill the container" }),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let Some((requests, exit)) = self.containers.running(id) else { return Ok(()) };
        let _ = requests.send(End::Kill).await;
        match tokio::time::timeout(LONGEST_END, exit).await {
            Ok(_) => Ok(()),
            Err(_) => Err(RuntimeError::TimedOut { action: "kill the container" }),
        }
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        Ok(self.containers.of(install))
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        let containers = self.containers.lock();
        let entry = containers.get(id).ok_or_else(|| RuntimeError::Gone { id: id.clone() })?;
        Ok(entry.running.as_ref().and_then(|running| running.groups.as_ref()?.stats()))
    }
}

/// What the image names.
fn root_of(image: &ImageRef) -> Result<Root, RuntimeError> {
    let path = Path::new(image.as_str());
    match image.as_str() {
        HOST_IMAGE => Ok(Root::Host),
        _ if path.is_absolute() && path.is_dir() => Ok(Root::Folder(path.to_owned())),
        _ => Err(RuntimeError::NoImage { image: image.clone() }),
    }
}

/// Refuses what no mode can start.
fn check(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    if spec.user.uid == 0 || spec.user.gid == 0 {
        return Err(RuntimeError::NotEnforced {
            what: "a user that is not root".to_owned(),
            remedy: "name a user and a group other than 0".to_owned(),
        });
    }
    for mount in &spec.mounts {
        let bad = |reason: &str| RuntimeError::BadMount { path: mount.source.clone(), reason: reason.to_owned() };
        if !mount.source.is_absolute() {
            return Err(bad("its path is not absolute"));
        }
        if mount.source.to_str().is_none() {
            return Err(bad("its path is not UTF-8"));
        }
        let target = Path::new(&mount.target);
        let plain = target.is_absolute() && !target.components().any(|part| part == std::path::Component::ParentDir);
        if !plain || target == Path::new("/") {
            return Err(bad(&format!("its place {:?} is not an absolute path without \"..\" below /", mount.target)));
        }
        if ["/dev", "/proc", "/sys"].iter().any(|kernels| target.starts_with(kernels)) {
            return Err(bad(&format!("its place {} belongs to the kernel", mount.target)));
        }
    }
    Ok(())
}

/// Refuses what this mode cannot start.
fn check_against(spec: &ContainerSpec, chosen: &Chosen, root: &Root) -> Result<(), RuntimeError> {
    if chosen.only_user.is_some_and(|user| user != spec.user) {
        return Err(RuntimeError::NotEnforced {
            what: format!("running as user {}:{}", spec.user.uid, spec.user.gid),
            remedy: "an ordinary user's sandbox runs agents as that user: use its own ids, or run nanoclaw as root"
                .to_owned(),
        });
    }
    if chosen.isolation.own_world() {
        return Ok(());
    }
    if matches!(root, Root::Folder(_)) {
        return Err(RuntimeError::NotEnforced {
            what: format!("the image {}", spec.image),
            remedy: format!("this mode of the sandbox has no root of its own; use the image {HOST_IMAGE:?}"),
        });
    }
    if let Some((outer, inner)) = mixed_up(&spec.mounts) {
        return Err(RuntimeError::NotEnforced {
            what: format!("the mount {} within {}", inner.target, outer.target),
            remedy:
                "this mode of the sandbox has no mount table of its own, so a mount cannot cover or protect a part of \
                     another: leave one out, or use namespaces, Docker or Podman"
                    .to_owned(),
        });
    }
    for mount in &spec.mounts {
        let found = std::fs::symlink_metadata(&mount.source);
        let reason = match found {
            Ok(found) if found.is_dir() || found.is_file() => continue,
            Ok(_) => "it is neither a folder nor a file".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(RuntimeError::BadMount { path: mount.source.clone(), reason });
    }
    Ok(())
}

/// Two mounts of which the second would change what the first shows, where only a mount table could do that: it lies
/// within the first inside, or it forbids writing to a part of what the first lets be written to.
fn mixed_up(mounts: &[Mount]) -> Option<(&Mount, &Mount)> {
    let pairs = mounts.iter().flat_map(|outer| mounts.iter().map(move |inner| (outer, inner)));
    pairs.filter(|(outer, inner)| !std::ptr::eq(*outer, *inner)).find(|(outer, inner)| {
        Path::new(&inner.target).starts_with(&outer.target)
            || (outer.access == Access::ReadWrite
                && inner.access == Access::ReadOnly
                && inner.source.starts_with(&outer.source))
    })
}

fn plan_of(
    spec: &ContainerSpec,
    chosen: &Chosen,
    root: Root,
    scratch: Option<&Scratch>,
    groups: Option<&Groups>,
) -> Plan {
    let mut mounts = spec.mounts.clone();
    let mut env: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    env.insert("PATH".to_owned(), DEFAULT_PATH.to_owned());
    if let Some(scratch) = scratch {
        env.insert("TMPDIR".to_owned(), scratch.path().display().to_string());
        mounts.push(Mount { source: scratch.path().to_owned(), target: "/tmp".to_owned(), access: Access::ReadWrite });
    }
    let guest = |value: &nanoclaw_core::runtime::GuestValue| {
        if scratch.is_some() { value.on_host(&mounts) } else { value.as_str().to_owned() }
    };
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), guest(value))));
    Plan {
        isolation: chosen.isolation,
        bubblewrap: chosen.bubblewrap.clone(),
        user_namespace: chosen.user_namespace(),
        task: Task::Command(spec.command.iter().map(guest).collect()),
        env,
        workdir: guest(&spec.workdir),
        root,
        tmp_bytes: spec.tmp_bytes,
        held: Vec::new(),
        user: spec.user,
        cgroups: groups.map(Groups::entrances).unwrap_or_default(),
        processes: spec
            .limits
            .pids
            .filter(|_| chosen.counts_processes_by_namespace())
            .map(|pids| probe::with_helper(pids, chosen.isolation)),
        mounts,
        #[cfg(feature = "failpoints")]
        faults: Vec::new(),
    }
}

/// The containers of this process, from reservation to end.
#[derive(Clone, Default)]
struct Containers(Arc<Mutex<HashMap<ContainerId, Entry>>>);

struct Entry {
    labels: Labels,
    /// `None` while it is being started.
    running: Option<Running>,
}

struct Running {
    requests: mpsc::Sender<End>,
    exit: ExitWatch,
    groups: Option<Arc<Groups>>,
}

impl Containers {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContainerId, Entry>> {
        // No code that can panic runs under this lock, and the map is whole between any two calls.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the name; it is free again when the reservation is dropped.
    fn reserve(&self, id: &ContainerId, labels: &Labels) -> Result<Reserved, RuntimeError> {
        let mut containers = self.lock();
        if containers.contains_key(id) {
            let reason = format!("a container {id} is there already");
            return Err(RuntimeError::Other { action: "start the container", reason });
        }
        containers.insert(id.clone(), Entry { labels: labels.clone(), running: None });
        Ok(Reserved { containers: self.clone(), id: id.clone() })
    }

    fn running(&self, id: &ContainerId) -> Option<(mpsc::Sender<End>, ExitWatch)> {
        let containers = self.lock();
        let running = containers.get(id)?.running.as_ref()?;
        Some((running.requests.clone(), running.exit.clone()))
    }

    fn of(&self, install: &InstallId) -> Vec<ContainerSummary> {
        let containers = self.lock();
        let own = containers.iter().filter(|(_, entry)| entry.labels.install == *install);
        own.map(|(id, entry)| ContainerSummary {
            id: id.clone(),
            group: entry.labels.run.group.clone(),
            number: entry.labels.run.number,
            running: true,
        })
        .collect()
    }
}

/// A name that is taken.
struct Reserved {
    containers: Containers,
    id: ContainerId,
}

impl Reserved {
    fn run(&self, requests: mpsc::Sender<End>, exit: ExitWatch, groups: Option<Arc<Groups>>) {
        if let Some(entry) = self.containers.lock().get_mut(&self.id) {
            entry.running = Some(Running { requests, exit, groups });
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.containers.lock().remove(&self.id);
    }
}
