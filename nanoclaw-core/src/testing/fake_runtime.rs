//! A runtime without containers: each "container" is a future that a test scripts. It works under paused time, fails on
//! demand, and counts, so that a test can ask whether there were ever too many.

mod commands;

use std::{
    collections::{BTreeMap, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::runtime::{
    AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
    ContainerStdin, ContainerSummary, Exit, ExitWatch, ImageRef, InstallId, Labels, Output, RuntimeError, RuntimeKind,
    StopOutcome, exit_watch,
};

/// What a container does: a future that ends when the container does. Killing the container drops it.
pub type FakeAgent = Arc<dyn Fn(FakeContainer) -> BoxFuture<'static, Exit> + Send + Sync>;

/// The inside of a fake container.
pub struct FakeContainer {
    /// What it was started from.
    pub spec: ContainerSpec,
    /// Its standard input.
    pub input: DuplexStream,
    /// Where its output goes; the output ends when the last clone is dropped.
    pub output: FakeOutput,
    /// Cancelled when it is asked to stop (TERM).
    pub stop: CancellationToken,
}

impl FakeContainer {
    /// Everything on standard input, up to its end.
    pub async fn read_input(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.input.read_to_end(&mut all).await;
        all
    }
}

/// The writing end of a fake container's output.
#[derive(Clone)]
pub struct FakeOutput {
    /// To whom it was handed when it was started.
    first: mpsc::Sender<Output>,
    /// To those who adopted it.
    later: Listeners,
}

type Listeners = Arc<Mutex<Vec<mpsc::Sender<Output>>>>;

impl FakeOutput {
    /// Writes to standard output; waits while nobody reads, and does nothing when nobody can any more.
    pub async fn stdout(&self, bytes: impl Into<Bytes>) {
        let _ = self.first.send(Output::Stdout(bytes.into())).await;
    }

    /// Whether anybody can still read it.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        !self.first.is_closed()
    }

    /// Writes to standard error, likewise; who adopted the container hears it too.
    pub async fn stderr(&self, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let _ = self.first.send(Output::Stderr(bytes.clone())).await;
        let later = {
            let mut later = lock(&self.later);
            later.retain(|listener| !listener.is_closed());
            later.clone()
        };
        for listener in later {
            let _ = listener.send(Output::Stderr(bytes.clone())).await;
        }
    }
}

/// The fake.
pub struct FakeRuntime {
    agent: FakeAgent,
    refuse: fn(&ContainerSpec) -> Option<RuntimeError>,
    capabilities: Capabilities,
    has_images: bool,
    start_takes: Duration,
    adopt_takes: Duration,
    lists_twice: bool,
    keeps_dead: bool,
    state: Arc<Mutex<State>>,
}

/// What a runtime is asked about containers that it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// To end this one.
    Stop(&'a ContainerId),
    /// To kill and remove this one.
    Remove(&'a ContainerId),
    /// To watch this one.
    Adopt(&'a ContainerId),
    /// To list them.
    List,
}

type Obstacle = Arc<dyn Fn(Asked<'_>) -> Option<RuntimeError> + Send + Sync>;

#[derive(Default)]
struct State {
    /// In an order that is the same every time.
    live: BTreeMap<ContainerId, Live>,
    most_live: usize,
    most_live_of_a_group: usize,
    obstacle: Option<Obstacle>,
    started: Vec<ContainerSpec>,
    next_failures: VecDeque<RuntimeError>,
    next_list_failures: VecDeque<RuntimeError>,
    image_id: Option<String>,
}

impl State {
    fn living(&self) -> impl Iterator<Item = &Live> {
        self.live.values().filter(|live| !live.dead)
    }
}

struct Live {
    labels: Labels,
    stop: CancellationToken,
    kill: CancellationToken,
    lose: CancellationToken,
    /// Cancelled when who started it is to see nothing more of it.
    unseen: CancellationToken,
    exit: Option<ExitWatch>,
    /// It has ended, and is listed until it is removed.
    dead: bool,
    /// Its output's, for as long as it has one.
    listeners: Weak<Mutex<Vec<mpsc::Sender<Output>>>>,
}

impl FakeRuntime {
    /// A runtime whose containers all do what `agent` does. It says that it offers everything.
    pub fn new<F>(agent: impl Fn(FakeContainer) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Exit> + Send + 'static,
    {
        Self {
            agent: Arc::new(move |container| agent(container).boxed()),
            refuse: |_| None,
            capabilities: Capabilities {
                description: "a fake".to_owned(),
                own_mounts: true,
                own_network: true,
                memory_limit: true,
                tells_out_of_memory: true,
                pids_limit: true,
                cpu_limit: true,
                images: true,
                outlive_host: true,
                remarks: Vec::new(),
            },
            has_images: true,
            start_takes: Duration::ZERO,
            adopt_takes: Duration::ZERO,
            lists_twice: false,
            keeps_dead: false,
            state: Arc::default(),
        }
    }

    /// A runtime that runs the command of each spec as a plain child process, with no isolation whatever, which it says.
    /// It keeps every promise of the suite that does not need the kernel's help.
    #[must_use]
    pub fn running_commands() -> Self {
        let capabilities = Capabilities {
            description: "plain child processes, for tests".to_owned(),
            own_mounts: false,
            own_network: false,
            memory_limit: false,
            tells_out_of_memory: false,
            pids_limit: false,
            cpu_limit: false,
            images: false,
            // As far as a test can tell: letting go of one does not end it.
            outlive_host: true,
            remarks: vec!["nothing is isolated".to_owned()],
        };
        Self { capabilities, refuse: commands::refuse, ..Self::new(commands::run) }
    }

    /// The same with this answer to [`ContainerRuntime::probe`].
    #[must_use]
    pub fn with_capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// The same, having no image that it is asked for.
    #[must_use]
    pub fn without_images(self) -> Self {
        Self { has_images: false, ..self }
    }

    /// The same, each start taking this long.
    #[must_use]
    pub fn with_slow_starts(self, start_takes: Duration) -> Self {
        Self { start_takes, ..self }
    }

    /// The same, taking this long until it watches a container of an earlier host.
    #[must_use]
    pub fn with_slow_adopts(self, adopt_takes: Duration) -> Self {
        Self { adopt_takes, ..self }
    }

    /// Makes the next start fail that has no failure waiting yet; once for each call.
    pub fn fail_next_start(&self, error: RuntimeError) {
        self.state().next_failures.push_back(error);
    }

    /// The same, naming every container twice when it lists them.
    #[must_use]
    pub fn listing_twice(self) -> Self {
        Self { lists_twice: true, ..self }
    }

    /// The same, listing containers that have ended until they are removed, as an engine does that was interrupted.
    #[must_use]
    pub fn keeping_dead(self) -> Self {
        Self { keeps_dead: true, ..self }
    }

    /// From now on these questions fail; nothing is done then.
    pub fn obstruct(&self, obstacle: impl Fn(Asked<'_>) -> Option<RuntimeError> + Send + Sync + 'static) {
        self.state().obstacle = Some(Arc::new(obstacle));
    }

    /// Nothing fails any more for that reason.
    pub fn clear_obstacle(&self) {
        self.state().obstacle = None;
    }

    /// Makes the next listing fail that has no failure waiting yet; once for each call.
    pub fn fail_next_list(&self, error: RuntimeError) {
        self.state().next_list_failures.push_back(error);
    }

    /// How many containers live now, counted from the beginning of their start.
    #[must_use]
    pub fn live(&self) -> usize {
        self.state().living().count()
    }

    /// How many have ended and are not removed.
    #[must_use]
    pub fn dead(&self) -> usize {
        self.state().live.values().filter(|live| live.dead).count()
    }

    /// Whether a container runs.
    #[must_use]
    pub fn is_running(&self, id: &ContainerId) -> bool {
        self.state().live.get(id).and_then(|live| live.exit.as_ref()).is_some_and(|exit| exit.peek().is_none())
    }

    /// How many there were at most at one time.
    #[must_use]
    pub fn most_live(&self) -> usize {
        self.state().most_live
    }

    /// How many lived at most at one time that were of one group.
    #[must_use]
    pub fn most_live_of_a_group(&self) -> usize {
        self.state().most_live_of_a_group
    }

    /// The specs of all starts that were tried, in order.
    #[must_use]
    pub fn specs(&self) -> Vec<ContainerSpec> {
        self.state().started.clone()
    }

    /// Takes every container away as an engine does that goes down: outputs end, exits are unknown.
    pub fn lose_all(&self) {
        for live in self.state().live.values() {
            live.lose.cancel();
        }
    }

    /// Ends what its starter sees of every container, as an engine does that goes down and leaves them running: exits are
    /// unknown.
    pub fn lose_sight(&self) {
        for live in self.state().live.values() {
            live.unseen.cancel();
        }
    }

    /// The first half of a start. What is created is gone again when it is dropped.
    ///
    /// # Errors
    /// As a start.
    pub fn create(&self, spec: &ContainerSpec) -> Result<Created, RuntimeError> {
        let id = ContainerId::new(spec.name.as_str())
            .map_err(|error| RuntimeError::Other { action: "name the container", reason: error.to_string() })?;
        let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
        let (lose, unseen) = (CancellationToken::new(), CancellationToken::new());
        let mut state = self.state();
        state.started.push(spec.clone());
        if let Some(error) = state.next_failures.pop_front() {
            return Err(error);
        }
        self.check(spec)?;
        if state.live.contains_key(&id) {
            let reason = format!("the name {id} is taken");
            return Err(RuntimeError::Other { action: "create the container", reason });
        }
        let live = Live {
            labels: spec.labels.clone(),
            stop: stop.clone(),
            kill: kill.clone(),
            lose: lose.clone(),
            unseen: unseen.clone(),
            exit: None,
            dead: false,
            listeners: Weak::new(),
        };
        state.live.insert(id.clone(), live);
        state.most_live = state.most_live.max(state.living().count());
        let of_group =
            |live: &&Live| live.labels.install == spec.labels.install && live.labels.run.group == spec.labels.run.group;
        state.most_live_of_a_group = state.most_live_of_a_group.max(state.living().filter(of_group).count());
        let listed = Listed { id, state: Arc::clone(&self.state), keeps_dead: self.keeps_dead };
        Ok(Created { spec: spec.clone(), listed, stop, kill, lose, unseen })
    }

    /// The second half.
    ///
    /// # Errors
    /// [`RuntimeError::Gone`] when it was removed meanwhile.
    pub fn begin(&self, created: Created) -> Result<Container, RuntimeError> {
        let Created { spec, listed, stop, kill, lose, unseen } = created;
        let id = listed.id.clone();
        if kill.is_cancelled() {
            return Err(RuntimeError::Gone { id });
        }
        let (stdin, input) = tokio::io::duplex(64 << 10);
        let (sender, output) = mpsc::channel(64);
        let listeners = Listeners::default();
        let heard = Arc::downgrade(&listeners);
        let inside = FakeContainer { spec, input, output: FakeOutput { first: sender, later: listeners }, stop };
        let running = AssertUnwindSafe((self.agent)(inside)).catch_unwind();
        let worker = tokio::spawn(async move {
            let _listed = listed;
            tokio::select! {
                biased;
                () = lose.cancelled() => Exit::Unknown,
                () = kill.cancelled() => Exit::Signal(9),
                // The panic's own message is on standard error; 101 is what a program that panics ends with.
                exit = running => exit.unwrap_or(Exit::Code(101)),
            }
        });
        let exit = exit_watch(async move { worker.await.unwrap_or(Exit::Unknown) });
        if let Some(live) = self.state().live.get_mut(&id) {
            live.exit = Some(exit.clone());
            live.listeners = heard;
        }
        let seen = exit_watch(async move {
            tokio::select! {
                biased;
                exit = exit => exit,
                () = unseen.cancelled() => Exit::Unknown,
            }
        });
        Ok(Container { id, stdin: ContainerStdin::new(stdin), output, exit: seen })
    }

    /// From now on every image is another one than before.
    pub fn change_images(&self, id: &str) {
        self.state().image_id = Some(id.to_owned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn obstructed(&self, asked: Asked<'_>) -> Result<(), RuntimeError> {
        let obstacle = self.state().obstacle.clone();
        obstacle.and_then(|obstacle| obstacle(asked)).map_or(Ok(()), Err)
    }

    fn check(&self, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let refused = |what: &str| {
            let remedy = "ask a runtime that can".to_owned();
            Err(RuntimeError::NotEnforced { what: what.to_owned(), remedy })
        };
        if spec.user.uid == 0 || spec.user.gid == 0 {
            return refused("an ordinary user");
        }
        if spec.limits.memory_bytes.is_some() && !self.capabilities.memory_limit {
            return refused("the memory limit");
        }
        if spec.limits.pids.is_some() && !self.capabilities.pids_limit {
            return refused("the limit on processes");
        }
        if spec.limits.milli_cpus.is_some() && !self.capabilities.cpu_limit {
            return refused("the limit on processor time");
        }
        match (self.refuse)(spec) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in a test's own closure must not hide behind a second one.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A container that does not run yet.
pub struct Created {
    spec: ContainerSpec,
    listed: Listed,
    stop: CancellationToken,
    kill: CancellationToken,
    lose: CancellationToken,
    unseen: CancellationToken,
}

impl Created {
    /// Leaves it as it is, until it is removed.
    pub fn leave(self) {
        std::mem::forget(self.listed);
    }
}

/// Takes a container off the list when it has ended or its start was given up.
struct Listed {
    id: ContainerId,
    state: Arc<Mutex<State>>,
    keeps_dead: bool,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        match state.live.get_mut(&self.id) {
            Some(live) if self.keeps_dead && live.exit.is_some() => live.dead = true,
            _ => drop(state.live.remove(&self.id)),
        }
    }
}

#[async_trait]
impl ContainerRuntime for FakeRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Fake
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        Ok(self.capabilities.clone())
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        if self.has_images { Ok(()) } else { Err(RuntimeError::NoImage { image: image.clone() }) }
    }

    async fn image_id(&self, _image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        Ok(self.state().image_id.clone())
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        let created = self.create(spec)?;
        if !self.start_takes.is_zero() {
            tokio::time::sleep(self.start_takes).await;
        }
        self.begin(created)
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        self.obstructed(Asked::Adopt(id))?;
        if !self.adopt_takes.is_zero() {
            tokio::time::sleep(self.adopt_takes).await;
        }
        let state = self.state();
        let live = state.live.get(id).filter(|live| !live.dead);
        let live = live.and_then(|live| Some((live.exit.clone()?, live.listeners.clone())));
        // Asked as an engine is, so that a test can end a container between two of its host's questions.
        let (exit, listeners) =
            live.filter(|(exit, _)| exit.peek().is_none()).ok_or_else(|| RuntimeError::Gone { id: id.clone() })?;
        let (sender, errors) = mpsc::channel(64);
        if let Some(listeners) = listeners.upgrade() {
            lock(&listeners).push(sender);
        }
        Ok(AdoptedContainer { exit, errors: Some(errors) })
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        self.obstructed(Asked::Stop(id))?;
        let (exit, kill) = match self.state().live.get(id) {
            Some(live) => {
                live.stop.cancel();
                (live.exit.clone(), live.kill.clone())
            }
            None => return Ok(StopOutcome::Gone),
        };
        let Some(exit) = exit else { return Ok(StopOutcome::Gone) };
        if tokio::time::timeout(grace, exit.clone()).await.is_ok() {
            return Ok(StopOutcome::Ended);
        }
        kill.cancel();
        exit.await;
        Ok(StopOutcome::Killed)
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.obstructed(Asked::Remove(id))?;
        let exit = {
            let mut state = self.state();
            let Some(live) = state.live.get(id) else { return Ok(()) };
            live.kill.cancel();
            let exit = live.exit.clone();
            if exit.is_none() {
                state.live.remove(id);
            }
            exit
        };
        if let Some(exit) = exit {
            exit.await;
        }
        self.state().live.remove(id);
        Ok(())
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        self.obstructed(Asked::List)?;
        let mut state = self.state();
        if let Some(error) = state.next_list_failures.pop_front() {
            return Err(error);
        }
        let ours = state.live.iter().filter(|(_, live)| live.labels.install == *install);
        let summary = |(id, live): (&ContainerId, &Live)| ContainerSummary {
            id: id.clone(),
            group: live.labels.run.group.clone(),
            number: live.labels.run.number,
            running: !live.dead && live.exit.as_ref().is_some_and(|exit| exit.peek().is_none()),
        };
        let once: Vec<ContainerSummary> = ours.map(summary).collect();
        Ok(if self.lists_twice { [once.clone(), once].concat() } else { once })
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        if self.state().live.contains_key(id) { Ok(None) } else { Err(RuntimeError::Gone { id: id.clone() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        runtime::RunAs,
        testing::runtime_suite::{SuiteContext, check_all},
    };

    fn install() -> InstallId {
        InstallId::new("0123456789abcdef").unwrap()
    }

    async fn context(runtime: FakeRuntime, scratch: &std::path::Path) -> SuiteContext {
        let image = ImageRef::new("none").unwrap();
        // Root is refused; as root the suite runs as somebody else, who must be able to reach the scratch folder.
        let own = rustix::process::getuid();
        let user = match own.is_root() {
            true => RunAs { uid: 1000, gid: 1000 },
            false => RunAs { uid: own.as_raw(), gid: rustix::process::getgid().as_raw() },
        };
        std::fs::set_permissions(scratch, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        SuiteContext::new(Arc::new(runtime), image, scratch.to_owned(), user, install()).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_fake_that_runs_commands_keeps_every_promise_it_makes() {
        let scratch = tempfile::tempdir().unwrap();
        let context = context(FakeRuntime::running_commands(), scratch.path()).await;
        let report = check_all(&context, 4, |_, _| ()).await;
        assert_eq!(report.broken(), Vec::<String>::new(), "\n{report}");
        assert!(report.kept() >= 25, "only {} promises were made\n{report}", report.kept());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_suite_notices_a_runtime_that_does_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let context = context(FakeRuntime::new(async |_| Exit::Code(0)), scratch.path()).await;
        let report = check_all(&context, 64, |_, _| ()).await;
        assert!(report.broken().len() > report.kept(), "it is not noticed\n{report}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_sees_its_input_and_is_heard() {
        let scratch = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new(async |mut inside: FakeContainer| {
            let input = inside.read_input().await;
            tokio::time::sleep(Duration::from_secs(3600)).await;
            inside.output.stdout(input).await;
            Exit::Code(4)
        });
        let context = context(runtime, scratch.path()).await;
        let mut container = context.runtime.start(&context.spec("")).await.unwrap();
        container.stdin.send(b"hello", Duration::from_secs(1)).await.unwrap();
        container.stdin.close().await;
        assert_eq!(container.output.recv().await, Some(Output::Stdout(Bytes::from_static(b"hello"))));
        assert_eq!(container.output.recv().await, None);
        assert_eq!(container.exit.await, Exit::Code(4));
    }

    #[tokio::test(start_paused = true)]
    async fn containers_are_counted_from_start_to_end() {
        let runtime = FakeRuntime::new(async |mut inside: FakeContainer| {
            inside.read_input().await;
            Exit::Code(0)
        });
        let scratch = tempfile::tempdir().unwrap();
        let runtime = Arc::new(runtime.with_slow_starts(Duration::from_secs(1)));
        let image = ImageRef::new("none").unwrap();
        let user = RunAs { uid: 1000, gid: 1000 };
        let context =
            SuiteContext::new(runtime.clone(), image, scratch.path().to_owned(), user, install()).await.unwrap();
        let (one, two) = (context.spec(""), context.spec(""));
        let (first, second) = tokio::join!(runtime.start(&one), runtime.start(&two));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((runtime.live(), runtime.most_live()), (2, 2));
        assert_eq!(runtime.stop(&first.id, Duration::from_secs(5)).await.unwrap(), StopOutcome::Killed);
        assert_eq!(first.exit.await, Exit::Signal(9));
        drop(second.stdin);
        assert_eq!(second.exit.await, Exit::Code(0));
        assert_eq!((runtime.live(), runtime.most_live()), (0, 2));
        assert_eq!(runtime.specs(), [one, two]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_fails_on_demand_and_only_then() {
        let scratch = tempfile::tempdir().unwrap();
        let runtime = FakeRuntime::new(async |_| Exit::Code(0));
        runtime.fail_next_start(RuntimeError::TimedOut { action: "start the container" });
        let context = context(runtime, scratch.path()).await;
        let spec = context.spec("");
        let first = context.runtime.start(&spec).await;
        assert!(matches!(first, Err(RuntimeError::TimedOut { .. })));
        assert!(context.runtime.start(&spec).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_runtime_leaves_nobody_waiting() {
        let scratch = tempfile::tempdir().unwrap();
        let runtime = Arc::new(FakeRuntime::new(|_| std::future::pending()));
        let image = ImageRef::new("none").unwrap();
        let user = RunAs { uid: 1000, gid: 1000 };
        let context =
            SuiteContext::new(runtime.clone(), image, scratch.path().to_owned(), user, install()).await.unwrap();
        let mut container = runtime.start(&context.spec("")).await.unwrap();
        runtime.lose_all();
        assert_eq!(container.exit.await, Exit::Unknown);
        assert_eq!(container.output.recv().await, None);
    }
}
