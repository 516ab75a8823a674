//! Chooses the runtime: the configured one, or the first that really works, and says which and why.

use std::{path::PathBuf, sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::BoxFuture};
use nanoclaw_core::runtime::{Capabilities, ContainerRuntime, HardeningProfile, Limits, RuntimeError, RuntimeKind};

use super::machine::container_user;
use crate::{
    config::{Config, ProcessEnvironment, RuntimeChoice, SelinuxRelabel},
    home::Home,
    images::{Pull, says_where_from},
    launcher::image_for,
    programs::{self, Purpose},
    runtimes::{
        engine_api::{EngineRuntime, Relabelling},
        sandbox::{SandboxMode, SandboxRuntime, SandboxSettings},
    },
    selftest::{Cache, Proof, ProvenRuntime},
};

/// What to do where nothing can isolate an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Refuse to start.
    Required,
    /// Start agents as plain processes of this user. Only ever by an explicit word of the operator.
    Waived,
}

/// What to do where the runtime that is to be used does not answer just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Start all the same, keep what people write, and go on when it answers: for a service.
    Wait,
    /// Refuse to start: for whoever waits for an answer.
    Refuse,
}

/// The runtime that is used.
pub struct Chosen {
    /// It.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Why this one, a sentence.
    pub because: String,
}

impl Chosen {
    /// What it is and why it is used, for people.
    #[must_use]
    pub fn description(&self) -> String {
        format!("{} ({})", self.capabilities.description, self.because)
    }

    /// Logs which one it is, why, and what an operator should know of it.
    pub(super) fn log(&self) {
        let kind = self.runtime.kind();
        tracing::info!(runtime = %kind, because = self.because, "runtime chosen: {}", self.capabilities.description);
        for remark in &self.capabilities.remarks {
            tracing::warn!(runtime = %kind, "{remark}");
        }
    }
}

/// No runtime can be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no runtime works here: {}", self.told())]
pub struct NoRuntime {
    /// What was tried, in order, and what came back.
    pub tried: Vec<(RuntimeKind, RuntimeError)>,
}

impl NoRuntime {
    /// The one that was tried with all that it says, or a clause for each.
    fn told(&self) -> String {
        let clause = |(kind, error): &(RuntimeKind, RuntimeError)| format!("{kind}: {}", without_remedy(error));
        match self.tried.as_slice() {
            [(_, only)] => only.to_string(),
            several => several.iter().map(clause).collect::<Vec<_>>().join("; "),
        }
    }

    /// What to do, where the message does not say it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        (self.tried.len() > 1)
            .then(|| "one of them is enough; `nanoclaw doctor` says what each of them lacks".to_owned())
    }

    /// The runtime that is worth waiting for, and what it says: the one that is configured or, where the first that works
    /// is, the one that ran the last container; if what it says can pass by itself.
    pub(super) fn worth_waiting_for(
        &self,
        config: &Config,
        ran_last: Option<RuntimeKind>,
    ) -> Option<(RuntimeKind, &RuntimeError)> {
        let wanted = match *config.container.runtime {
            RuntimeChoice::Fixed(kind) => kind,
            RuntimeChoice::Auto => ran_last?,
        };
        let (kind, error) = self.tried.iter().find(|(kind, _)| *kind == wanted)?;
        error.passes_by_itself().then_some((*kind, error))
    }
}

/// A runtime, or why it cannot even be asked.
pub type Candidate = Result<Arc<dyn ContainerRuntime>, RuntimeError>;

/// The runtimes of this version in the order in which `auto` tries them.
const KINDS: [RuntimeKind; 3] = [RuntimeKind::Docker, RuntimeKind::Podman, RuntimeKind::Sandbox];

/// Every runtime of this version, whatever the configuration chooses among them; `only` one of them when it is named, and the
/// others are not asked then.
pub async fn every_runtime(home: &Home, config: &Config, only: Option<RuntimeKind>) -> Vec<(RuntimeKind, Candidate)> {
    let mut candidates = Vec::new();
    for kind in KINDS.into_iter().filter(|kind| only.is_none_or(|only| only == *kind)) {
        candidates.push((kind, connect(kind, home, config, SandboxMode::Auto).await));
    }
    candidates
}

/// Chooses by starting something with each candidate.
///
/// # Errors
/// [`NoRuntime`] with every reason.
pub async fn choose(home: &Home, config: &Config, isolation: Isolation) -> Result<Chosen, NoRuntime> {
    choose_among(config, isolation, |kind, mode| connect_proven(kind, home, config, mode).boxed()).await
}

/// How long a service that can wait for its runtime does so before it takes messages.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// [`choose`], but a runtime that was configured and hangs is not waited for longer than a service can go without taking
/// messages: it counts as one that does not answer.
pub(super) async fn choose_soon(home: &Home, config: &Config, isolation: Isolation) -> Result<Chosen, NoRuntime> {
    soon(config, choose(home, config, isolation)).await
}

async fn soon(config: &Config, choice: impl Future<Output = Result<Chosen, NoRuntime>>) -> Result<Chosen, NoRuntime> {
    let RuntimeChoice::Fixed(kind) = *config.container.runtime else { return choice.await };
    tokio::time::timeout(FIRST_ANSWER_WITHIN, choice).await.unwrap_or_else(|_| {
        let reason = format!("it did not answer within {} seconds", FIRST_ANSWER_WITHIN.as_secs());
        let remedy = "`nanoclaw doctor` looks into it".to_owned();
        Err(NoRuntime { tried: vec![(kind, RuntimeError::Unavailable { runtime: kind, reason, remedy })] })
    })
}

/// Asks one runtime that is waited for.
pub(super) async fn ask(kind: RuntimeKind, home: &Home, config: &Config) -> Result<Chosen, RuntimeError> {
    let (runtime, capabilities) = usable(connect_proven(kind, home, config, SandboxMode::Auto).await, config).await?;
    Ok(Chosen { runtime, capabilities, because: because_awaited(config) })
}

/// Why a runtime is waited for.
pub(super) fn because_awaited(config: &Config) -> String {
    match *config.container.runtime {
        RuntimeChoice::Fixed(_) => config.container.runtime.source.to_string(),
        RuntimeChoice::Auto => "it ran the last container, and nothing else works".to_owned(),
    }
}

/// Where a runtime listens, if it does.
pub(super) fn socket_of(kind: RuntimeKind) -> Option<PathBuf> {
    match kind {
        RuntimeKind::Docker | RuntimeKind::Podman => Some(EngineRuntime::default_socket(kind)),
        RuntimeKind::Sandbox | RuntimeKind::Fake => None,
    }
}

/// The choice itself; `connect` gives the candidates.
async fn choose_among<'a>(
    config: &Config,
    isolation: Isolation,
    connect: impl Fn(RuntimeKind, SandboxMode) -> BoxFuture<'a, Candidate>,
) -> Result<Chosen, NoRuntime> {
    let (mut tried, mut passed_over) = (Vec::new(), Vec::new());
    let kinds = match *config.container.runtime {
        RuntimeChoice::Auto => KINDS.to_vec(),
        RuntimeChoice::Fixed(kind) => vec![kind],
    };
    for kind in kinds {
        let candidate = connect(kind, SandboxMode::Auto).await;
        match usable(candidate, config).await {
            Ok((runtime, capabilities)) => {
                let because = because(config, &passed_over);
                return Ok(Chosen { runtime, capabilities, because });
            }
            Err(error) => {
                passed_over.push(format!("{kind}: {}", without_remedy(&error)));
                tried.push((kind, error));
            }
        }
    }
    if isolation == Isolation::Waived {
        let plain = connect(RuntimeKind::Sandbox, SandboxMode::Unsafe).await;
        match usable(plain, config).await {
            Ok((runtime, capabilities)) => {
                tracing::warn!(
                    "agents run WITHOUT ISOLATION, as --unsafe-no-sandbox asks: they can read and change all your files, and no canary \
                     looks after them"
                );
                let because = "nothing here can isolate, and --unsafe-no-sandbox was given".to_owned();
                return Ok(Chosen { runtime, capabilities, because });
            }
            Err(error) => tried.push((RuntimeKind::Sandbox, error)),
        }
    }
    Err(NoRuntime { tried })
}

async fn usable(
    candidate: Candidate,
    config: &Config,
) -> Result<(Arc<dyn ContainerRuntime>, Capabilities), RuntimeError> {
    let runtime = candidate?;
    let capabilities = runtime.probe().await?;
    // An engine without the image starts no agent. One that was configured is used all the same: the image may come.
    // So is one that would refuse every container for want of a limit; that is found at the first start then, and told.
    if *config.container.runtime == RuntimeChoice::Auto {
        if matches!(runtime.kind(), RuntimeKind::Docker | RuntimeKind::Podman)
            && let Some(what) = missing_limit(&capabilities, config)
        {
            let remedy = "`[container]` of nanoclaw.toml can say \"none\" for it".to_owned();
            return Err(RuntimeError::NotEnforced { what: what.to_owned(), remedy });
        }
        let image = image_for(runtime.kind(), &config.container.image);
        match runtime.ensure_image(&image).await {
            // It is fetched for the first run.
            Err(RuntimeError::NoImage { .. }) if *config.images.pull != Pull::Never && says_where_from(&image) => {}
            there => there?,
        }
    }
    Ok((runtime, capabilities))
}

/// A limit that containers have by the configuration and that would not be in force.
fn missing_limit(capabilities: &Capabilities, config: &Config) -> Option<&'static str> {
    let asked = &config.container;
    [
        (asked.memory_bytes.is_some() && !capabilities.memory_limit, "the memory limit"),
        (asked.pids.is_some() && !capabilities.pids_limit, "the limit on processes"),
        (asked.milli_cpus.is_some() && !capabilities.cpu_limit, "the limit on processor time"),
    ]
    .into_iter()
    .find_map(|(missing, what)| missing.then_some(what))
}

/// What is wrong, in few words; `nanoclaw doctor` says what to do.
fn without_remedy(error: &RuntimeError) -> String {
    match error {
        RuntimeError::Unavailable { reason, .. } => reason.clone(),
        RuntimeError::NoImage { image } => format!("there is no image {image}"),
        RuntimeError::NotEnforced { what, .. } => format!("{what} would not be in force"),
        other => other.to_string(),
    }
}

fn because(config: &Config, passed_over: &[String]) -> String {
    if *config.container.runtime != RuntimeChoice::Auto {
        return config.container.runtime.source.to_string();
    }
    match passed_over {
        [] => "the first that works".to_owned(),
        reasons => format!("the first that works; not {}", reasons.join("; not ")),
    }
}

/// The same, with a canary before its first container. Not where isolation was waived: there is none that could be shown.
async fn connect_proven(kind: RuntimeKind, home: &Home, config: &Config, mode: SandboxMode) -> Candidate {
    let runtime = connect(kind, home, config, mode).await?;
    if mode == SandboxMode::Unsafe {
        return Ok(runtime);
    }
    Ok(Arc::new(ProvenRuntime::new(runtime, proof(kind, home, config))))
}

/// What canaries in this runtime are sent with.
#[must_use]
pub fn proof(kind: RuntimeKind, home: &Home, config: &Config) -> Proof {
    let container = &config.container;
    Proof {
        runner: programs::runner(&config.agent, Purpose::of(kind), &ProcessEnvironment)
            .filter(|runner| runner.is_file()),
        profile: HardeningProfile {
            user: container_user(config),
            limits: Limits {
                memory_bytes: *container.memory_bytes,
                pids: *container.pids,
                milli_cpus: *container.milli_cpus,
            },
            tmp_bytes: *container.tmp_bytes,
        },
        image: image_for(kind, &container.image),
        cache: Cache::in_store(&home.store()),
    }
}

async fn connect(kind: RuntimeKind, home: &Home, config: &Config, mode: SandboxMode) -> Candidate {
    match kind {
        RuntimeKind::Docker | RuntimeKind::Podman => {
            let socket = EngineRuntime::default_socket(kind);
            let engine = EngineRuntime::connect(kind, &socket).await?;
            let engine = engine.with_probe_image(config.container.image.value.clone());
            Ok(Arc::new(engine.with_relabelling(relabelling(home, *config.container.selinux_relabel))))
        }
        RuntimeKind::Sandbox => {
            // Limits that cannot be in force are left out of the plan where they are defaults, and shown as left out; one
            // that somebody configured is refused.
            let settings = SandboxSettings {
                mode,
                accept_missing_limits: false,
                ..SandboxSettings::new(home.store().join("sandbox"))
            };
            Ok(Arc::new(SandboxRuntime::new(settings)))
        }
        RuntimeKind::Fake => Err(RuntimeError::Unavailable {
            runtime: kind,
            reason: "this version does not have it".to_owned(),
            remedy: "set container.runtime to \"docker\", \"podman\" or \"sandbox\"".to_owned(),
        }),
    }
}

/// The folders of `home` that containers are given, by how they are used.
fn relabelling(home: &Home, wanted: SelinuxRelabel) -> Relabelling {
    let own = || {
        let of_groups = ["sessions", "ipc", "gateway"].map(|name| home.store().join(name));
        std::iter::once(home.groups()).chain(of_groups).collect::<Vec<_>>()
    };
    match wanted {
        SelinuxRelabel::None => Relabelling::default(),
        SelinuxRelabel::Shared => Relabelling { private: Vec::new(), shared: own() },
        SelinuxRelabel::Private => Relabelling { private: own(), shared: vec![home.global()] },
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, path::Path};

    use nanoclaw_core::{runtime::Exit, testing::FakeRuntime};

    use super::*;
    use crate::config::environment_of;

    fn configured(text: &str) -> Config {
        Config::parse(Path::new("nanoclaw.toml"), text, Path::new("/home"), &environment_of([])).unwrap()
    }

    fn works() -> FakeRuntime {
        FakeRuntime::new(|_| async { Exit::Unknown })
    }

    fn unavailable(kind: RuntimeKind) -> RuntimeError {
        RuntimeError::Unavailable { runtime: kind, reason: format!("no {kind}"), remedy: "none".to_owned() }
    }

    /// Chooses where `give` says what each candidate is; also returns what was asked for, in order.
    async fn choose_with(
        config: &Config,
        isolation: Isolation,
        give: impl Fn(RuntimeKind, SandboxMode) -> Result<FakeRuntime, RuntimeError>,
    ) -> (Result<Chosen, NoRuntime>, Vec<(RuntimeKind, SandboxMode)>) {
        let asked = RefCell::default();
        let chosen = choose_among(config, isolation, |kind, mode| {
            let list: &RefCell<Vec<_>> = &asked;
            list.borrow_mut().push((kind, mode));
            let candidate = give(kind, mode).map(|runtime| Arc::new(runtime) as Arc<dyn ContainerRuntime>);
            async { candidate }.boxed()
        });
        (chosen.await, asked.take())
    }

    const DOCKER: (RuntimeKind, SandboxMode) = (RuntimeKind::Docker, SandboxMode::Auto);
    const PODMAN: (RuntimeKind, SandboxMode) = (RuntimeKind::Podman, SandboxMode::Auto);
    const SANDBOX: (RuntimeKind, SandboxMode) = (RuntimeKind::Sandbox, SandboxMode::Auto);
    const UNSAFE: (RuntimeKind, SandboxMode) = (RuntimeKind::Sandbox, SandboxMode::Unsafe);

    #[test]
    fn every_folder_of_the_home_that_a_container_is_given_can_be_labelled_and_the_shared_one_is_so_for_all() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let group = nanoclaw_core::group::GroupFolder::new("family").unwrap();
        let private = relabelling(&home, SelinuxRelabel::Private);
        assert_eq!(private.shared, [home.global()]);
        let given = [home.group(&group), home.sessions(&group), home.mailbox(&group), home.gateway(&group)];
        for source in given {
            assert!(private.private.iter().any(|folder| source.starts_with(folder)), "{}", source.display());
        }
        let shared = relabelling(&home, SelinuxRelabel::Shared);
        assert_eq!((shared.private, shared.shared), (Vec::new(), private.private));
        assert_eq!(relabelling(&home, SelinuxRelabel::None), Relabelling::default());
    }

    #[tokio::test]
    async fn the_first_that_works_is_taken_and_no_other_is_asked() {
        let (chosen, asked) = choose_with(&configured(""), Isolation::Required, |_, _| Ok(works())).await;
        assert_eq!(chosen.unwrap().because, "the first that works");
        assert_eq!(asked, [DOCKER]);
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_passed_over_and_named() {
        let (chosen, asked) = choose_with(&configured(""), Isolation::Required, |kind, _| match kind {
            RuntimeKind::Sandbox => Ok(works()),
            _ => Err(unavailable(kind)),
        })
        .await;
        assert_eq!(chosen.unwrap().because, "the first that works; not docker: no docker; not podman: no podman");
        assert_eq!(asked, [DOCKER, PODMAN, SANDBOX]);
    }

    #[tokio::test]
    async fn an_engine_without_the_image_is_passed_over_unless_it_was_asked_for() {
        let give = |kind, _| match kind {
            RuntimeKind::Docker => Ok(works().without_images()),
            _ => Ok(works()),
        };
        let (chosen, asked) = choose_with(&configured(""), Isolation::Required, give).await;
        let image = &*configured("").container.image;
        let because = format!("the first that works; not docker: there is no image {image}");
        assert_eq!(chosen.unwrap().because, because);
        assert_eq!(asked, [DOCKER, PODMAN]);

        let docker = configured("[container]\nruntime = \"docker\"");
        let (chosen, asked) = choose_with(&docker, Isolation::Required, give).await;
        assert_eq!(chosen.unwrap().because, "nanoclaw.toml:2");
        assert_eq!(asked, [DOCKER]);
    }

    #[tokio::test]
    async fn an_engine_without_limits_is_no_choice_unless_they_are_given_up() {
        let capabilities = works().probe().await.unwrap();
        let none = Capabilities { memory_limit: false, pids_limit: false, cpu_limit: false, ..capabilities };
        assert_eq!(missing_limit(&none, &configured("")), Some("the memory limit"));
        let without_processor = Capabilities { memory_limit: true, pids_limit: true, ..none.clone() };
        assert_eq!(missing_limit(&without_processor, &configured("")), Some("the limit on processor time"));
        let given_up = configured("[container]\nmemory = \"none\"\npids = \"none\"\ncpus = \"none\"");
        assert_eq!(missing_limit(&none, &given_up), None);
        let all = Capabilities { memory_limit: true, pids_limit: true, cpu_limit: true, ..none };
        assert_eq!(missing_limit(&all, &configured("")), None);
    }

    #[tokio::test]
    async fn a_configured_runtime_has_no_substitute() {
        let config = configured("[container]\nruntime = \"docker\"");
        let (chosen, asked) = choose_with(&config, Isolation::Required, |kind, _| match kind {
            RuntimeKind::Docker => Err(unavailable(kind)),
            _ => Ok(works()),
        })
        .await;
        let error = chosen.err().unwrap();
        assert_eq!(error.tried.len(), 1);
        assert_eq!(error.to_string(), "no runtime works here: docker is not available: no docker; none");
        assert_eq!(asked, [DOCKER]);
    }

    #[tokio::test]
    async fn without_isolation_nothing_starts_unless_the_operator_waived_it() {
        let only_unsafe = |kind, mode| match mode {
            SandboxMode::Unsafe => Ok(works()),
            _ => Err(unavailable(kind)),
        };
        let (chosen, asked) = choose_with(&configured(""), Isolation::Required, only_unsafe).await;
        let no_runtime = chosen.err().unwrap();
        let wanted = "no runtime works here: docker: no docker; podman: no podman; sandbox: no sandbox";
        assert_eq!(no_runtime.to_string(), wanted, "a clause for each");
        assert!(no_runtime.help().unwrap().contains("nanoclaw doctor"));
        assert_eq!(asked, [DOCKER, PODMAN, SANDBOX]);

        let (chosen, asked) = choose_with(&configured(""), Isolation::Waived, only_unsafe).await;
        assert!(chosen.unwrap().because.contains("--unsafe-no-sandbox was given"));
        assert_eq!(asked, [DOCKER, PODMAN, SANDBOX, UNSAFE]);
    }

    #[tokio::test]
    async fn a_waiver_changes_nothing_where_isolation_works() {
        let (_, asked) = choose_with(&configured(""), Isolation::Waived, |kind, _| match kind {
            RuntimeKind::Docker => Err(unavailable(kind)),
            _ => Ok(works()),
        })
        .await;
        assert_eq!(asked, [DOCKER, PODMAN]);
    }

    #[tokio::test]
    async fn f37_the_configured_runtime_is_waited_for_where_that_can_help() {
        let docker = configured("[container]\nruntime = \"docker\"");
        let refused_with = |error: RuntimeError| NoRuntime { tried: vec![(RuntimeKind::Docker, error)] };
        let passing = [
            unavailable(RuntimeKind::Docker),
            RuntimeError::TimedOut { action: "look inside a container" },
            RuntimeError::Other { action: "look for the image", reason: "Docker said 500: shutting down".to_owned() },
        ];
        for error in passing {
            let no_runtime = refused_with(error.clone());
            let (kind, said) = no_runtime.worth_waiting_for(&docker, None).unwrap();
            assert_eq!((kind, said.to_string()), (RuntimeKind::Docker, error.to_string()));
        }
        let for_a_person = [
            RuntimeError::NotEnforced { what: "the memory limit".to_owned(), remedy: "none".to_owned() },
            RuntimeError::BadMount { path: "/x".into(), reason: "it is not there".to_owned() },
            RuntimeError::BadCommand { command: "/bin/sh".to_owned(), reason: "it is not there".to_owned() },
            RuntimeError::NoImage { image: docker.container.image.value.clone() },
        ];
        for error in for_a_person {
            assert!(refused_with(error.clone()).worth_waiting_for(&docker, None).is_none(), "{error}");
        }
    }

    #[tokio::test]
    async fn f37_where_the_first_that_works_is_taken_only_the_one_that_ran_last_is_waited_for() {
        let auto = configured("");
        let tried = [RuntimeKind::Docker, RuntimeKind::Sandbox].map(|kind| (kind, unavailable(kind)));
        let no_runtime = NoRuntime { tried: tried.to_vec() };
        let waited_for = |ran_last| no_runtime.worth_waiting_for(&auto, ran_last).map(|(kind, _)| kind);
        assert_eq!(waited_for(None), None, "a fresh machine is told what to install");
        assert_eq!(waited_for(Some(RuntimeKind::Docker)), Some(RuntimeKind::Docker));
        assert_eq!(waited_for(Some(RuntimeKind::Podman)), None, "it was not tried");
    }

    #[tokio::test(start_paused = true)]
    async fn f37_a_configured_runtime_that_hangs_holds_up_no_service() {
        let docker = configured("[container]\nruntime = \"docker\"");
        let no_runtime = soon(&docker, std::future::pending()).await.err().unwrap();
        let (_, error) = no_runtime.worth_waiting_for(&docker, None).unwrap();
        assert!(error.to_string().contains("did not answer within 10 seconds"), "{error}");
    }
}
