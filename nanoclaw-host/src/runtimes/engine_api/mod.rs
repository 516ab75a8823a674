//! The runtimes docker and podman: containers by the Docker Engine API over a unix socket.
//!
//! One implementation for both; what differs between them is in `dialect`. The engine keeps the containers, so they go
//! on when the host ends; each removes itself when it has ended.

mod dialect;
mod errors;
mod exit;
pub mod image;
mod inspect;
mod memory;
mod podman;
mod probe;
mod relabel;
mod seccomp;
mod spec;
mod start;
mod streams;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    pin::pin,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use async_trait::async_trait;
use bollard::{
    API_DEFAULT_VERSION, Docker,
    errors::Error as EngineError,
    models::{ContainerSummaryStateEnum, ImageInspect, SystemInfo, SystemVersion},
    query_parameters::{
        KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, StatsOptionsBuilder,
        WaitContainerOptionsBuilder,
    },
};
use futures_util::StreamExt;
use nanoclaw_core::{
    group::GroupFolder,
    run::RunNumber,
    runtime::{
        AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
        ContainerSummary, ImageRef, InstallId, Limits, RuntimeError, RuntimeKind, StopOutcome,
    },
};
use tokio::{sync::Semaphore, time::timeout};

use super::pauses_between_asking;
use dialect::Dialect;
pub use relabel::Relabelling;
use start::Purpose;

/// The label that names the installation a container belongs to.
pub const INSTALL_LABEL: &str = "dev.nanoclaw.install";
/// The label that names the group a container works for.
pub const GROUP_LABEL: &str = "dev.nanoclaw.group";
/// The label with the number of the run.
pub const RUN_LABEL: &str = "dev.nanoclaw.run";

/// Answers to ordinary requests come within milliseconds; a start on a very busy machine takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A killed container is gone as soon as the kernel and the engine have cleaned up.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// Containers at one engine. Cheap to clone; all clones are the same runtime.
#[derive(Clone)]
pub struct EngineRuntime {
    docker: Docker,
    dialect: Dialect,
    about: Arc<About>,
    /// Starts are heavy on the engine's side: more of them at once than processors only makes each slower.
    starts: Arc<Semaphore>,
    /// Held while the engine makes a container, where it cannot make two at once.
    creation: Option<Arc<tokio::sync::Mutex<()>>>,
    causes: exit::Causes,
    exits: exit::Awaited,
    probe_image: Option<ImageRef>,
    relabelling: Arc<Relabelling>,
    /// For what only Podman says; `None` at another engine.
    podman: Option<podman::Asker>,
    image_environments: inspect::ImageEnvironments,
}

/// What the engine said of itself.
struct About {
    version: SystemVersion,
    info: SystemInfo,
    /// It runs as an ordinary user, whose containers have a user namespace of their own.
    rootless: bool,
    /// Which filter on system calls containers get; `None` for the engine's own.
    filter: seccomp::Filter,
    /// That a container ran out of memory is told: as far as can be known at first, as it was with the last container that
    /// was started since.
    tells_out_of_memory: AtomicBool,
    /// What is in force: as the engine says at first, as seen inside a container after a probe.
    in_force: Mutex<InForce>,
}

#[derive(Debug, Clone, Copy)]
struct InForce {
    memory: bool,
    pids: bool,
    cpu: bool,
    seccomp: bool,
}

impl EngineRuntime {
    /// Where the engine listens unless configured otherwise: the unix socket in `DOCKER_HOST` for docker, or the usual
    /// places, the first that exists.
    #[must_use]
    pub fn default_socket(kind: RuntimeKind) -> PathBuf {
        Dialect::of(kind).default_socket()
    }

    /// Connects to the engine that listens at `socket` and asks what it is.
    ///
    /// The engine may go and come back later: each request makes a connection of its own.
    ///
    /// # Errors
    /// [`RuntimeError::Unavailable`] says what came back and what to do.
    pub async fn connect(kind: RuntimeKind, socket: &Path) -> Result<Self, RuntimeError> {
        let dialect = Dialect::of(kind);
        let unavailable = |error| dialect.unavailable(socket, &error);
        let Some(path) = socket.to_str() else {
            return Err(RuntimeError::Unavailable {
                runtime: kind,
                reason: format!("the path of its socket, {}, is not UTF-8", socket.display()),
                remedy: "name another socket in nanoclaw.toml".to_owned(),
            });
        };
        let docker = Docker::connect_with_unix(path, ANSWER_WITHIN.as_secs(), API_DEFAULT_VERSION)
            .map_err(unavailable)?
            .negotiate_version()
            .await
            .map_err(unavailable)?;
        let version = docker.version().await.map_err(unavailable)?;
        let info = docker.info().await.map_err(unavailable)?;
        let podman = match dialect {
            Dialect::Docker => None,
            Dialect::Podman => Some(podman::Asker::new(socket)?),
        };
        let of_podman = match &podman {
            None => None,
            Some(podman) => Some(podman.info().await?),
        };
        let rootless = of_podman.as_ref().is_some_and(podman::Info::is_rootless);
        let said = |controller, by_docker| {
            let by_podman = of_podman.as_ref().and_then(|info| info.has_controller(controller));
            by_podman.unwrap_or(by_docker == Some(true))
        };
        let in_force = Mutex::new(InForce {
            memory: said("memory", info.memory_limit),
            pids: said("pids", info.pids_limit),
            cpu: said("cpu", info.cpu_cfs_quota),
            seccomp: probe::filters_system_calls(&info),
        });
        let tells_out_of_memory = AtomicBool::new(dialect == Dialect::Docker || memory::can_be_watched());
        let at_once = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Ok(Self {
            docker,
            dialect,
            about: Arc::new(About {
                version,
                info,
                rootless,
                filter: seccomp::Filter::default(),
                tells_out_of_memory,
                in_force,
            }),
            starts: Arc::new(Semaphore::new(at_once)),
            // It looks up its user's subordinate ids through libsubid, which reads them into globals: of two who look at once one
            // may find none, or the service crashes (Podman 4.3.1: both within 1,700 creations, 24 at a time).
            creation: rootless.then(Arc::default),
            causes: exit::Causes::default(),
            exits: exit::Awaited::default(),
            probe_image: None,
            relabelling: Arc::default(),
            podman,
            image_environments: inspect::ImageEnvironments::default(),
        })
    }

    /// The same with this image for the probe, instead of any that was built here.
    #[must_use]
    pub fn with_probe_image(self, image: ImageRef) -> Self {
        Self { probe_image: Some(image), ..self }
    }

    /// The same with folders that are labelled for SELinux when they are mounted; without this none is.
    #[must_use]
    pub fn with_relabelling(self, relabelling: Relabelling) -> Self {
        Self { relabelling: Arc::new(relabelling), ..self }
    }

    fn in_force(&self) -> InForce {
        *self.about.in_force.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the engine knows of an image; `None` when it has none of this name or id.
    async fn look_for_image(&self, image: &ImageRef) -> Result<Option<ImageInspect>, RuntimeError> {
        match self.docker.inspect_image(image.as_str()).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if errors::is_not_there(&error) => Ok(None),
            Err(error) => Err(self.error("look for the image")(error)),
        }
    }

    /// The same, of one that has to be there.
    async fn image(&self, image: &ImageRef) -> Result<ImageInspect, RuntimeError> {
        self.look_for_image(image).await?.ok_or_else(|| RuntimeError::NoImage { image: image.clone() })
    }

    fn error(&self, action: &'static str) -> impl Fn(EngineError) -> RuntimeError {
        let dialect = self.dialect;
        move |error| errors::runtime_error(dialect, action, error)
    }

    /// Refuses what would not be in force.
    fn enforceable(&self, limits: &Limits) -> Result<(), RuntimeError> {
        let in_force = self.in_force();
        let refused = |what: &str| {
            let remedy = self.dialect.remedy_for_limits().to_owned();
            Err(RuntimeError::NotEnforced { what: what.to_owned(), remedy })
        };
        match () {
            () if !in_force.seccomp => refused("the filter on system calls"),
            () if limits.memory_bytes.is_some() && !in_force.memory => refused("the memory limit"),
            () if limits.pids.is_some() && !in_force.pids => refused("the limit on processes"),
            () if limits.milli_cpus.is_some() && !in_force.cpu => refused("the limit on processor time"),
            () => Ok(()),
        }
    }

    /// Waits until the container does not run any more; `None` when it was not there to begin with.
    async fn ended(&self, id: &ContainerId) -> Result<Option<()>, RuntimeError> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut wait = Box::pin(self.docker.wait_container(id.as_str(), Some(options)));
        match wait.next().await {
            None | Some(Ok(_) | Err(EngineError::DockerContainerWaitError { .. })) => Ok(Some(())),
            Some(Err(error)) if errors::is_not_there(&error) => Ok(None),
            Some(Err(error)) => Err(self.error("wait for the container")(error)),
        }
    }

    /// Sends a signal; `false` when there is nothing that could take it.
    async fn signal(&self, id: &ContainerId, signal: &str) -> Result<bool, RuntimeError> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        match self.docker.kill_container(id.as_str(), Some(options)).await {
            Ok(()) => Ok(true),
            Err(error) if errors::is_not_there(&error) || errors::is_conflict(&error) => Ok(false),
            Err(error) => Err(self.error("signal the container")(error)),
        }
    }
}

#[async_trait]
impl ContainerRuntime for EngineRuntime {
    fn kind(&self) -> RuntimeKind {
        self.dialect.kind()
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        self.look_inside().await
    }

    /// Never fetches: the default image is in no registry, so whoever took its name there would be trusted with the
    /// groups' folders.
    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.image(image).await.map(drop)
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        Ok(self.image(image).await?.id)
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.start_for(spec, Purpose::Run).await
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        let state = match self.docker.inspect_container(id.as_str(), None).await {
            Ok(found) => found.state.filter(|state| state.running == Some(true)),
            Err(error) if errors::is_not_there(&error) => None,
            Err(error) => return Err(self.error("look for the container")(error)),
        };
        let Some(state) = state else { return Err(RuntimeError::Gone { id: id.clone() }) };
        let exit = self.watch_exit(id, exit::Of::Running);
        self.watch_memory(id, state.pid);
        let errors = self.hear_errors(id, &exit).await;
        Ok(AdoptedContainer { exit, errors })
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        // Not the engine's own stop: it does not tell whether it had to kill, and blocks a request for the whole grace.
        if !self.signal(id, "SIGTERM").await? {
            // Created and never started, or ended and about to be removed.
            self.remove(id).await?;
            return Ok(StopOutcome::Gone);
        }
        let mut ended = pin!(self.ended(id));
        for pause in pauses_between_asking(grace) {
            if let Ok(ended) = timeout(pause, &mut ended).await {
                ended?;
                return Ok(StopOutcome::Ended);
            }
            // That it cannot be asked again is nothing against its having been asked.
            let _ = self.signal(id, "SIGTERM").await;
        }
        self.causes.mark_killed(id);
        if !self.signal(id, "SIGKILL").await? {
            return Ok(StopOutcome::Ended);
        }
        match timeout(GONE_WITHIN, self.ended(id)).await {
            Ok(ended) => ended.map(|_| StopOutcome::Killed),
            Err(_) => Err(RuntimeError::TimedOut { action: "kill the container" }),
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.causes.mark_killed(id);
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.docker.remove_container(id.as_str(), Some(options)).await {
            Ok(()) => return Ok(()),
            Err(error) if errors::is_not_there(&error) => return Ok(()),
            // It removes itself at this moment: wait for that below.
            Err(error) if errors::is_conflict(&error) => {}
            Err(error) => return Err(self.error("remove the container")(error)),
        }
        let gone = async {
            loop {
                match self.docker.inspect_container(id.as_str(), None).await {
                    Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    Err(error) if errors::is_not_there(&error) => return Ok(()),
                    Err(error) => return Err(self.error("look for the container")(error)),
                }
            }
        };
        timeout(GONE_WITHIN, gone).await.unwrap_or(Err(RuntimeError::TimedOut { action: "remove the container" }))
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        let all = match &self.podman {
            Some(podman) => podman.list(install).await?,
            None => {
                let ours = HashMap::from([("label", vec![format!("{INSTALL_LABEL}={install}")])]);
                let options = ListContainersOptionsBuilder::default().all(true).filters(&ours).build();
                self.docker.list_containers(Some(options)).await.map_err(self.error("list the containers"))?
            }
        };
        Ok(all.into_iter().filter_map(summary).collect())
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut stats = Box::pin(self.docker.stats(id.as_str(), Some(options)));
        let figures = match stats.next().await {
            Some(Ok(figures)) => figures,
            Some(Err(error)) if errors::is_not_there(&error) => return Err(RuntimeError::Gone { id: id.clone() }),
            Some(Err(error)) => return Err(self.error("ask what the container uses")(error)),
            None => return Ok(None),
        };
        let memory = figures.memory_stats.unwrap_or_default();
        let pids = figures.pids_stats.and_then(|pids| pids.current);
        let (Some(usage), Some(pids)) = (memory.usage, pids) else { return Ok(None) };
        // Pages of files that the kernel may drop at any time are not what the container needs.
        let stats = memory.stats.unwrap_or_default();
        let idle = ["total_inactive_file", "inactive_file"].iter().find_map(|name| stats.get(*name)).copied();
        Ok(Some(ContainerStats { memory_bytes: usage.saturating_sub(idle.unwrap_or(0)), pids }))
    }
}

/// `None` for a container whose labels are not ours after all.
fn summary(container: bollard::models::ContainerSummary) -> Option<ContainerSummary> {
    let labels: BTreeMap<String, String> = container.labels.unwrap_or_default().into_iter().collect();
    let id = ContainerId::new(container.id?).ok()?;
    let group = labels.get(GROUP_LABEL).and_then(|text| GroupFolder::new(text.as_str()).ok());
    let number = labels.get(RUN_LABEL).and_then(|text| text.parse().ok().map(RunNumber));
    let (Some(group), Some(number)) = (group, number) else {
        tracing::warn!(container = %id, ?labels, "a container has the label of this installation and no group or run");
        return None;
    };
    let running = matches!(
        container.state,
        Some(
            ContainerSummaryStateEnum::RUNNING
                | ContainerSummaryStateEnum::PAUSED
                | ContainerSummaryStateEnum::RESTARTING
        )
    );
    Some(ContainerSummary { id, group, number, running })
}
