//! A host's ports to what outlives it: the store, the runtime, and the house around a run.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    chats::{Told, repeat_of},
    spool::Fresh,
    world::{CallFaults, Host, NOT_DONE, World, lock, never},
};
use crate::{
    attachment::{NewFile, SpoolName},
    channel::Repeat,
    chat::{ChatId, ChatMetadata},
    clock::{SteadyClock, WallClock},
    delivery::{DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder},
    launch::{KeptFile, Launch, LaunchError, Launcher, Rejoined, Tuning},
    mailbox::{GroupFile, Mailbox},
    message::{InboundMessage, PlatformMessageId, Seq, StoredMessage, Wakes},
    orchestrator::{GroupTimes, PromptLimits, WhenUnknown},
    pairing::{Heard, Pairing, PairingId, SaidCode},
    protocol::environment::guest,
    run::{Handed, Retry, RunEnding, RunId, RunKind, TaskId},
    runtime::{
        Access, AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec,
        ContainerStats, ContainerSummary, HeldSources, ImageRef, InstallId, Labels, Limits, Mount, RunAs, RuntimeError,
        RuntimeKind, StopOutcome,
    },
    session::SessionId,
    store::{
        Accepted, AfterTry, BlockCommit, BlockOutcome, DeliveryFilter, GiveUp, GroupRecovery, GroupSessions, NewRun,
        NextSession, Resolution, Resolved, SessionContext, SessionEnded, SetAside, StopWork, Stopped, Store,
        StoreError, StoredDelivery, StoredRun, StoredTurn, TurnResolution, TurnResolved,
    },
    tasks::{Claim, Firing, FiringEnd, NewTask, Task, TaskChange, Tasks},
    testing::{FakeRuntime, MemoryStore, fake_runtime::Created},
    time::Timestamp,
};

// --- the store --------------------------------------------------------------------------------------------------------

pub(super) struct SimulatedStore {
    pub(super) host: Arc<Host>,
    pub(super) inner: Arc<MemoryStore>,
    closes_failed: AtomicU32,
}

impl SimulatedStore {
    pub(super) fn new(host: Arc<Host>, inner: Arc<MemoryStore>) -> Self {
        Self { host, inner, closes_failed: AtomicU32::new(0) }
    }
}

/// Every method is the inner store's, called through [`Host::call`]; `others` are written out.
macro_rules! store_calls {
    (others { $($other:item)* } $(fn $name:ident($($argument:ident: $type:ty),*) -> $ok:ty;)*) => {
        #[async_trait]
        impl Store for SimulatedStore {
            $($other)*

            $(async fn $name(&self, $($argument: $type),*) -> Result<$ok, StoreError> {
                let what = || {
                    #[allow(unused_mut, reason = "some methods take no argument")]
                    let mut text = stringify!($name).to_owned();
                    $(text.push_str(&short(&$argument));)*
                    text
                };
                let refuse = |reason| StoreError::Failed { action: stringify!($name), reason };
                self.host.call(what, STORE_FAULTS, self.inner.$name($($argument),*), refuse).await
            })*
        }
    };
}

store_calls! {
    others {
        async fn commit_block(&self, run: &RunId, block: &BlockCommit) -> Result<BlockOutcome, StoreError> {
            let (host, store) = (self.host.clone(), self.inner.clone());
            let mut late = LateCommit { host, store, commit: Some((run.clone(), block.clone())) };
            let what = || format!("commit_block{}{}", short(&run), short(&block));
            let refuse = |reason| StoreError::Failed { action: "commit_block", reason };
            let effect = async {
                late.commit = None;
                let outcome = self.inner.commit_block(run, block).await?;
                let committed = &mut self.host.world.chats().committed;
                let last = committed.entry(run.clone()).or_default();
                *last = block.number.0.max(*last);
                Ok(outcome)
            };
            let result = self.host.call(what, STORE_FAULTS, effect, refuse).await;
            late.commit = None;
            result
        }

        async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError> {
            let effect = async {
                let cursor = self.inner.cursor(folder).await?;
                self.inner.remove_group(folder).await?;
                self.host.world.chats().left.entry(folder.clone()).or_default().push((cursor, None));
                Ok(())
            };
            let refuse = |reason| StoreError::Failed { action: "remove_group", reason };
            self.host.call(|| format!("remove_group {folder}"), STORE_FAULTS, effect, refuse).await
        }

        async fn add_group(&self, group: &Group) -> Result<(), StoreError> {
            let folder = &group.folder;
            let effect = async {
                self.inner.add_group(group).await?;
                let cursor = self.inner.cursor(folder).await?;
                if let Some((_, end)) = self.host.world.chats().left.entry(folder.clone()).or_default().last_mut() {
                    *end = Some(cursor);
                }
                Ok(())
            };
            let refuse = |reason| StoreError::Failed { action: "add_group", reason };
            self.host.call(|| format!("add_group {folder}"), STORE_FAULTS, effect, refuse).await
        }

        /// A host tries four times, and leaves a run that it cannot close to whoever opens the group's next one, or the next host.
        /// There may be neither, so the third time it is done.
        async fn close_run(&self, run: &RunId, ending: &RunEnding, at: Timestamp) -> Result<(), StoreError> {
            let faults = if self.closes_failed.load(Ordering::Relaxed) < 2 { STORE_FAULTS } else { NO_FAULTS };
            let what = || format!("close_run{}{}{}", short(&run), short(&ending), short(&at));
            let refuse = |reason| StoreError::Failed { action: "close_run", reason };
            let closed = self.host.call(what, faults, self.inner.close_run(run, ending, at), refuse).await;
            match &closed {
                Ok(()) => self.closes_failed.store(0, Ordering::Relaxed),
                Err(_) => {
                    self.closes_failed.fetch_add(1, Ordering::Relaxed);
                }
            }
            closed
        }

        async fn delivery_failed(
            &self,
            id: OutboxId,
            error: &str,
            after: &AfterTry,
            at: Timestamp,
        ) -> Result<(), StoreError> {
            let effect = async {
                if matches!(after, AfterTry::Ask(_)) && let Some(row) = self.inner.delivery_at(id).await? {
                    self.check_doubt(&row);
                }
                self.inner.delivery_failed(id, error, after, at).await
            };
            let what = || format!("delivery_failed {}{}", id.0, short(after));
            let refuse = |reason| StoreError::Failed { action: "delivery_failed", reason };
            self.host.call(what, STORE_FAULTS, effect, refuse).await
        }
    }
    fn install_id() -> InstallId;
    fn note_chat(chat: &ChatMetadata) -> ();
    fn chats() -> Vec<ChatMetadata>;
    fn groups() -> Vec<Group>;
    fn recover() -> Vec<GroupRecovery>;
    fn begin_pairing(pairing: &Pairing) -> ();
    fn pairing() -> Option<Pairing>;
    fn withdraw_pairing(id: &PairingId) -> ();
    fn hear_code(code: &SaidCode, at: Timestamp) -> Heard;
    fn accept(message: &InboundMessage, wakes: Wakes, at: Timestamp) -> Accepted;
    fn said_until(chat: &ChatId) -> Option<Timestamp>;
    fn threads_since(chat: &ChatId, since: Timestamp, limit: u32) -> Vec<PlatformMessageId>;
    fn messages_after(group: &GroupFolder, after: Seq, limit: u32) -> Vec<StoredMessage>;
    fn unanswered(group: &GroupFolder) -> u64;
    fn cursor(group: &GroupFolder) -> Seq;
    fn given_up(group: &GroupFolder, limit: u32) -> Vec<StoredMessage>;
    fn files_in_use() -> Vec<SpoolName>;
    fn open_run(run: &NewRun) -> ();
    fn hand_over(run: &RunId, handed: Handed, at: Timestamp) -> ();
    fn turns_taken(run: &RunId, through: Seq, at: Timestamp) -> ();
    fn give_up(group: &GroupFolder, given_up: &GiveUp, at: Timestamp) -> Option<SetAside>;
    fn set_aside(group: Option<&GroupFolder>, resolved: bool, limit: u32) -> Vec<SetAside>;
    fn resolve_set_aside(group: &GroupFolder, last: Seq, resolution: TurnResolution, at: Timestamp) -> TurnResolved;
    fn messages_between(chat: &ChatId, messages: Handed, limit: u32) -> Vec<StoredMessage>;
    fn runs(group: Option<&GroupFolder>, limit: u32) -> Vec<StoredRun>;
    fn open_runs() -> Vec<StoredRun>;
    fn turns(run: &RunId) -> Vec<StoredTurn>;
    fn session(group: &GroupFolder, context: &SessionContext) -> Option<SessionId>;
    fn forget_session(run: &RunId, context: &SessionContext) -> ();
    fn sessions(group: &GroupFolder) -> Option<GroupSessions>;
    fn drop_session(group: &GroupFolder, context: &SessionContext) -> bool;
    fn end_session(group: &GroupFolder, next: &NextSession, answer: Option<&NewDelivery>, at: Timestamp) -> SessionEnded;
    fn stop_work(group: &GroupFolder, stop: &StopWork, at: Timestamp) -> Stopped;
    fn post(delivery: &NewDelivery, at: Timestamp) -> OutboxId;
    fn pending_deliveries() -> Vec<StoredDelivery>;
    fn pending_deliveries_of(chat: &ChatId, limit: u32) -> Vec<StoredDelivery>;
    fn delivery_sent(id: OutboxId, sent: &Sent, at: Timestamp) -> ();
    fn delivery_begun(id: OutboxId) -> ();
    fn delivery_postponed(id: OutboxId) -> ();
    fn delivery_not_sent(id: OutboxId, error: &str, after: &AfterTry, at: Timestamp) -> ();
    fn resolve_delivery(id: OutboxId, resolution: Resolution, at: Timestamp) -> Resolved;
    fn delivery_at(id: OutboxId) -> Option<StoredDelivery>;
    fn deliveries(filter: &DeliveryFilter, limit: u32) -> Vec<StoredDelivery>;
    fn delivery(key: &DeliveryKey) -> Option<StoredDelivery>;
}

impl SimulatedStore {
    /// A message becomes unknown: is it?
    fn check_doubt(&self, row: &StoredDelivery) {
        let world = &self.host.world;
        let (key, chat) = (&row.delivery.key, &row.delivery.chat);
        let last = world.chats().sends.get(key).and_then(|log| log.last);
        let known = matches!(last, Some((host, Told::Sent | Told::NotSent)) if host == self.host.number);
        let asks = world.plan.when_unknown == WhenUnknown::Ask && !key.is_alert();
        if known || !asks || repeat_of(chat) == Repeat::Deduplicated {
            world.broken(|| format!("doubt: {key} becomes unknown, and the host was told {last:?}"));
        }
    }
}

const STORE_FAULTS: CallFaults = CallFaults { fails: |rates| rates.store_fails, lies: |rates| rates.store_lies };

/// A commit that a host was about to make when it was taken for dead. It may come while others serve the chats, when its run
/// is over: then it must change nothing.
struct LateCommit {
    host: Arc<Host>,
    store: Arc<MemoryStore>,
    commit: Option<(RunId, BlockCommit)>,
}

impl Drop for LateCommit {
    fn drop(&mut self) {
        let Some((run, block)) = self.commit.take().filter(|_| self.host.is_dead()) else { return };
        let (world, number, store) = (self.host.world.clone(), self.host.number, self.store.clone());
        tokio::spawn(async move {
            world.pause(0, 60_000).await;
            // In time it may as well have come before the host's death, or not at all.
            if store.open_runs().await.is_ok_and(|open| open.iter().all(|open| open.id != run)) {
                let outcome = store.commit_block(&run, &block).await;
                world.note(|| format!("h{number} commits a block of {run} after its death: {outcome:?}"));
            }
        });
    }
}

/// An argument as the trace shows it.
fn short(argument: &dyn std::fmt::Debug) -> String {
    let text = format!(" {argument:?}");
    if text.len() > 160 { format!("{}…", text.chars().take(160).collect::<String>()) } else { text }
}

/// How long a start may be under way.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

// --- tasks ------------------------------------------------------------------------------------------------------------

pub(super) struct SimulatedTasks {
    pub(super) host: Arc<Host>,
    pub(super) inner: Arc<MemoryStore>,
}

/// The same as `store_calls`, for tasks.
macro_rules! task_calls {
    (others { $($other:item)* } $(fn $name:ident($($argument:ident: $type:ty),*) -> $ok:ty;)*) => {
        #[async_trait]
        impl Tasks for SimulatedTasks {
            $($other)*

            $(async fn $name(&self, $($argument: $type),*) -> Result<$ok, StoreError> {
                let what = || {
                    #[allow(unused_mut, reason = "some methods take no argument")]
                    let mut text = concat!("tasks.", stringify!($name)).to_owned();
                    $(text.push_str(&short(&$argument));)*
                    text
                };
                let refuse = |reason| StoreError::Failed { action: stringify!($name), reason };
                self.host.call(what, STORE_FAULTS, Tasks::$name(&*self.inner, $($argument),*), refuse).await
            })*
        }
    };
}

task_calls! {
    others {
        async fn begin(&self, run: &NewRun) -> Result<Option<(Task, Firing)>, StoreError> {
            let effect = async {
                let begun = self.inner.begin(run).await?;
                if let Some((_, firing)) = &begun {
                    self.host.world.chats().begun.insert(run.id.clone(), firing.id);
                }
                Ok(begun)
            };
            let refuse = |reason| StoreError::Failed { action: "begin", reason };
            self.host.call(|| format!("tasks.begin{}", short(run)), STORE_FAULTS, effect, refuse).await
        }
    }
    fn add(task: &NewTask, at: Timestamp) -> TaskId;
    fn task(id: &TaskId) -> Option<Task>;
    fn list(group: Option<&GroupFolder>, limit: u32) -> Vec<Task>;
    fn standing(group: Option<&GroupFolder>, limit: u32) -> Vec<Task>;
    fn change(id: &TaskId, change: &TaskChange, at: Timestamp) -> Option<Task>;
    fn earliest_due() -> Option<Timestamp>;
    fn due(now: Timestamp, limit: u32) -> Vec<Task>;
    fn claim(claim: &Claim, at: Timestamp) -> Option<Vec<Firing>>;
    fn fire_now(id: &TaskId, key: &DeliveryKey, at: Timestamp) -> Option<Firing>;
    fn waiting() -> Vec<Firing>;
    fn bring_forward(now: Timestamp) -> ();
    fn has_waiting(task: &TaskId) -> bool;
    fn running() -> Vec<Firing>;
    fn firing_of(run: &RunId) -> Option<(Task, Firing)>;
    fn end(end: &FiringEnd, at: Timestamp) -> bool;
    fn last_claimed() -> Option<Timestamp>;
    fn firings(task: &TaskId, limit: u32) -> Vec<Firing>;
}

/// The wall clock, which is set now and then.
pub(super) struct SimulatedClock(pub(super) Arc<World>);

#[async_trait]
impl WallClock for SimulatedClock {
    async fn until(&self, at: Option<Timestamp>) {
        let mut set = std::pin::pin!(self.0.clock_set.notified());
        set.as_mut().enable();
        tokio::select! {
            biased;
            () = set => {}
            () = SteadyClock.until(at) => {}
        }
    }
}

// --- the runtime ------------------------------------------------------------------------------------------------------

pub(super) struct SimulatedRuntime {
    pub(super) host: Arc<Host>,
    pub(super) inner: Arc<FakeRuntime>,
    failures_in_a_row: AtomicU32,
    /// Containers that this host has taken over and not asked to end.
    adopted: Mutex<BTreeSet<ContainerId>>,
}

impl SimulatedRuntime {
    pub(super) fn new(host: Arc<Host>, inner: Arc<FakeRuntime>) -> Self {
        Self { host, inner, failures_in_a_row: AtomicU32::new(0), adopted: Mutex::default() }
    }

    /// A runtime that fails for ever leaves nothing to check; this one does what it is asked at the third time.
    async fn call<T>(
        &self,
        what: String,
        effect: impl Future<Output = Result<T, RuntimeError>>,
    ) -> Result<T, RuntimeError> {
        let fails = if self.failures_in_a_row.load(Ordering::Relaxed) < 2 {
            |rates: &super::plan::Rates| rates.runtime_fails
        } else {
            never
        };
        let faults = CallFaults { fails, lies: never };
        let effect = async {
            self.answers()?;
            effect.await
        };
        let result = self.host.call(|| what.clone(), faults, effect, |reason| other("do it", reason)).await;
        match &result {
            Ok(_) => self.failures_in_a_row.store(0, Ordering::Relaxed),
            Err(_) => {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }
}

impl SimulatedRuntime {
    fn answers(&self) -> Result<(), RuntimeError> {
        let (reason, remedy) = ("nobody listens".to_owned(), "start it".to_owned());
        let away = RuntimeError::Unavailable { runtime: self.inner.kind(), reason, remedy };
        if self.host.world.is_engine_away() { Err(away) } else { Ok(()) }
    }

    fn gives_way(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let busy = || other("end the container", "device or resource busy".to_owned());
        if self.host.world.is_stuck(id) { Err(busy()) } else { Ok(()) }
    }

    /// A host does not remove a container that it has taken over and that has done nothing wrong.
    fn check_adopted(&self, id: &ContainerId) {
        let world = &self.host.world;
        if lock(&self.adopted).contains(id) && self.inner.is_running(id) {
            world.broken(|| format!("murder: h{} removes {id}, which it has adopted", self.host.number));
        }
    }

    /// A group that is frozen starts nothing, but for what was being started.
    fn check_frozen(&self, group: &GroupFolder) {
        let world = &self.host.world;
        let frozen = world.chats().frozen.get(group).copied();
        if let Some((host, since)) = frozen
            && host == self.host.number
            && world.elapsed() > since + STARTS_WITHIN
        {
            world.broken(|| format!("thaw: {group} is frozen and starts a container"));
        }
    }

    async fn start_in_steps(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.answers()?;
        let (host, engine) = (self.host.clone(), self.inner.clone());
        let mut start = HalfStarted { host, engine, created: Some(self.inner.create(spec)?) };
        if self.host.world.fault(|rates| rates.slow) {
            self.host.world.pause(0, 2000).await;
        }
        let created = start.created.take().expect("nobody else takes it");
        let container = self.inner.begin(created)?;
        self.host.world.maybe_stuck(&container.id);
        Ok(container)
    }
}

/// A start that is under way. When its host dies, its container stays as it is, or the engine, which was asked already,
/// starts it a little later.
struct HalfStarted {
    host: Arc<Host>,
    engine: Arc<FakeRuntime>,
    created: Option<Created>,
}

impl Drop for HalfStarted {
    fn drop(&mut self) {
        let Some(created) = self.created.take() else { return };
        let (world, engine, number) = (self.host.world.clone(), self.engine.clone(), self.host.number);
        if world.one_of(&[true, false]) {
            world.note(|| format!("h{number} leaves a container that is created and not started"));
            created.leave();
            return;
        }
        tokio::spawn(async move {
            world.pause(0, 20_000).await;
            world.note(|| format!("the engine starts what h{number} had asked for"));
            let _ = engine.begin(created);
        });
    }
}

fn other(action: &'static str, reason: String) -> RuntimeError {
    RuntimeError::Other { action, reason }
}

#[async_trait]
impl ContainerRuntime for SimulatedRuntime {
    fn kind(&self) -> RuntimeKind {
        self.inner.kind()
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        self.inner.probe().await
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.inner.ensure_image(image).await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        self.call(format!("identify {image}"), self.inner.image_id(image)).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.check_frozen(&spec.labels.run.group);
        if self.host.world.fault(|rates| rates.start_hopeless) {
            let missing = RuntimeError::NoImage { image: spec.image.clone() };
            return self
                .host
                .call(
                    || format!("start {} hopeless", spec.name),
                    NO_FAULTS,
                    async { Err(missing.clone()) },
                    |reason| other("start", reason),
                )
                .await;
        }
        // It does not lie: a start that fails leaves no container, by the port's contract.
        let faults = CallFaults { fails: |rates| rates.start_fails, lies: never };
        let what = || format!("start {}", spec.name);
        self.host.call(what, faults, self.start_in_steps(spec), |reason| other("start", reason)).await
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        let adopted = self.call(format!("adopt {id}"), self.inner.adopt(id)).await?;
        lock(&self.adopted).insert(id.clone());
        Ok(adopted)
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        lock(&self.adopted).remove(id);
        let stop = async {
            self.gives_way(id)?;
            self.inner.stop(id, grace).await
        };
        self.call(format!("stop {id}"), stop).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.check_adopted(id);
        let remove = async {
            self.gives_way(id)?;
            self.inner.remove(id).await
        };
        self.call(format!("remove {id}"), remove).await
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        self.call("list".to_owned(), self.inner.list(install)).await
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        self.inner.stats(id).await
    }
}

const NO_FAULTS: CallFaults = CallFaults { fails: never, lies: never };

// --- the house around a run -------------------------------------------------------------------------------------------

pub(super) struct SimulatedLauncher {
    pub(super) host: Arc<Host>,
    pub(super) install: InstallId,
    pub(super) runtime: Arc<SimulatedRuntime>,
    pub(super) fresh: Fresh,
}

fn container_name(run: &RunId) -> String {
    format!("nanoclaw-{}-{}", run.group, run.number)
}

#[async_trait]
impl Launcher for SimulatedLauncher {
    fn mailbox(&self, group: &GroupFolder) -> PathBuf {
        self.host.world.root.join(group.as_str())
    }

    fn group_folder(&self, group: &GroupFolder) -> PathBuf {
        self.host.world.root.join("groups").join(group.as_str())
    }

    fn tuning(&self, _group: &GroupFolder) -> Tuning {
        let times = GroupTimes {
            idle: self.host.world.plan.idle,
            run: Duration::from_secs(60),
            turn: Duration::from_secs(120),
        };
        Tuning { times, prompt: PromptLimits { messages: 3, context: 2, ..PromptLimits::default() } }
    }

    async fn prepare(&self, group: &Group, run: &RunId, _kind: &RunKind) -> Result<Launch, LaunchError> {
        let faults = CallFaults { fails: |rates| rates.launch_fails, lies: |rates| rates.launch_fails };
        let refuse = |reason| LaunchError { reason, retry: Retry::Later };
        self.host.call(|| format!("prepare {run}"), faults, self.make(group, run), refuse).await
    }

    async fn fingerprint(&self, group: &Group, run: &RunId, _kind: &RunKind) -> Result<String, LaunchError> {
        let faults = CallFaults { fails: |rates| rates.launch_fails, lies: |rates| rates.launch_fails };
        let refuse = |reason| LaunchError { reason, retry: Retry::Later };
        let text = async { Ok(self.host.world.configured(&group.folder)) };
        self.host.call(|| format!("fingerprint {run}"), faults, text, refuse).await
    }

    async fn rejoin(&self, group: &Group, run: &RunId) -> Result<Rejoined, LaunchError> {
        let faults = CallFaults { fails: |rates| rates.launch_fails, lies: |rates| rates.launch_fails };
        let refuse = |reason| LaunchError { reason, retry: Retry::Later };
        let rejoined = async {
            let mailbox = self.mailbox(&group.folder);
            Ok(Rejoined { mailbox, log: Box::new(std::io::sink()), guard: Box::new(()) })
        };
        let rejoined = self.host.call(|| format!("rejoin {run}"), faults, rejoined, refuse).await;
        if rejoined.is_err()
            && let Ok(container) = ContainerId::new(container_name(run))
        {
            // It is removed, since nobody can go on with it.
            lock(&self.runtime.adopted).remove(&container);
        }
        rejoined
    }

    async fn bring_files(&self, _group: &GroupFolder, files: &[NewFile]) -> Vec<Option<String>> {
        let refuse = |reason| LaunchError { reason, retry: Retry::Later };
        let faults = CallFaults { fails: never, lies: never };
        let what = || format!("bring {} files", files.len());
        let brought = async {
            let bring = |new: &NewFile| {
                if self.host.world.fault(|rates| rates.launch_fails) {
                    return Some(NOT_DONE.to_owned());
                }
                lock(&self.host.world.brought).insert(new.path.clone());
                None
            };
            Ok(files.iter().map(bring).collect())
        };
        self.host.call(what, faults, brought, refuse).await.unwrap_or_default()
    }

    async fn keep_file(&self, _group: &GroupFolder, file: GroupFile) -> Result<KeptFile, String> {
        let faults = CallFaults { fails: |rates| rates.launch_fails, lies: |rates| rates.launch_fails };
        let what = format!("keep {}", file.name);
        let kept = async {
            let content = std::io::read_to_string(file.file).map_err(|error| error.to_string())?;
            Ok(self.host.world.spool.keep(content, &self.fresh))
        };
        self.host.call(|| what.clone(), faults, kept, |reason| reason).await
    }
}

impl SimulatedLauncher {
    async fn make(&self, group: &Group, run: &RunId) -> Result<Launch, LaunchError> {
        let mailbox = self.mailbox(&group.folder);
        let failed = |error: &dyn std::fmt::Display| LaunchError { reason: error.to_string(), retry: Retry::Later };
        Mailbox::new(&mailbox).create().map_err(|error| failed(&error))?;
        let spec = ContainerSpec {
            name: container_name(run),
            image: ImageRef::new("simulated").map_err(|error| failed(&error))?,
            command: vec!["agent".into()],
            env: Default::default(),
            mounts: vec![Mount {
                source: mailbox.clone(),
                target: guest::IPC_DIR.to_owned(),
                access: Access::ReadWrite,
            }],
            held: HeldSources::default(),
            workdir: guest::GROUP_DIR.into(),
            user: RunAs { uid: 1000, gid: 1000 },
            limits: Limits { memory_bytes: None, pids: None, milli_cpus: None },
            tmp_bytes: 1 << 20,
            labels: Labels { install: self.install.clone(), run: run.clone() },
        };
        Ok(Launch { spec, mailbox, log: Box::new(std::io::sink()), guard: Box::new(()), notices: Vec::new() })
    }
}
