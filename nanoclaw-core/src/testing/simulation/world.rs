//! What lives longer than any host: chance, time, the trace, what people saw.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    chats::ChatLog,
    dice::{Dice, Rate},
    plan::{Plan, Rates},
    spool::Spool,
};
use crate::{
    attachment::ATTACHMENTS_DIR, group::GroupFolder, mailbox::Watcher, protocol::input::FileInPrompt,
    runtime::ContainerId,
};

/// How long containers may be stuck after the last fault.
pub(super) const STUCK_BEYOND: Duration = Duration::from_secs(60);

/// Everything that hosts, agents, people and the checks share.
pub(super) struct World {
    pub(super) plan: Plan,
    /// The folder in which the mailboxes are.
    pub(super) root: PathBuf,
    /// Agents learn of their files by this one.
    pub(super) watcher: Watcher,
    pub(super) chats: Mutex<ChatLog>,
    /// Paths of files that were brought into their group's folder.
    pub(super) brought: Mutex<BTreeSet<String>>,
    pub(super) spool: Spool,
    epoch: Instant,
    stormy: AtomicBool,
    engine_away: AtomicBool,
    /// Until when these can be neither stopped nor removed.
    stuck: Mutex<BTreeMap<ContainerId, Duration>>,
    /// Whoever waits for a time is told that the clock was set.
    pub(super) clock_set: Notify,
    dice: Mutex<Dice>,
    trace: Option<Mutex<Vec<String>>>,
}

impl World {
    pub(super) fn new(plan: Plan, dice: Dice, root: PathBuf, watcher: Watcher, traced: bool) -> Self {
        let chats = Mutex::new(ChatLog::default());
        let trace = traced.then(Mutex::default);
        let epoch = Instant::now();
        Self {
            plan,
            root,
            watcher,
            chats,
            brought: Mutex::default(),
            spool: Spool::default(),
            epoch,
            stormy: AtomicBool::new(true),
            engine_away: AtomicBool::new(false),
            stuck: Mutex::default(),
            clock_set: Notify::new(),
            dice: Mutex::new(dice),
            trace,
        }
    }

    /// Notes what happens, for whoever reads the trace of a seed that failed.
    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            lock(trace).push(format!("{:>9.3} {}", self.epoch.elapsed().as_secs_f64(), what()));
        }
    }

    /// A promise is broken.
    pub(super) fn broken(&self, what: impl FnOnce() -> String) {
        let what = what();
        self.note(|| format!("!!! {what}"));
        self.chats().broken.push(what);
    }

    pub(super) fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|trace| lock(trace).clone()).unwrap_or_default()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub(super) fn chats(&self) -> MutexGuard<'_, ChatLog> {
        lock(&self.chats)
    }

    /// Looks at a prompt as its agent gets it: every file that it names must be there, and be told of besides.
    pub(super) fn check_files(&self, text: &str, files: &[FileInPrompt]) {
        let brought = lock(&self.brought);
        let named = text.matches(&format!(": {ATTACHMENTS_DIR}/")).count();
        if named != files.len() {
            self.broken(|| format!("files: a prompt names {named} and {} are told of: {text}", files.len()));
        }
        for FileInPrompt { path, .. } in files {
            if !text.contains(path.as_str()) || !brought.contains(path) {
                self.broken(|| format!("files: {path} is not where the agent is told that it is: {text}"));
            }
        }
    }

    /// From now on nothing goes wrong any more.
    pub(super) fn calm_down(&self) {
        self.stormy.store(false, Ordering::Relaxed);
        self.engine_away.store(false, Ordering::Relaxed);
        self.note(|| "--- no more faults ---".to_owned());
    }

    pub(super) fn is_stormy(&self) -> bool {
        self.stormy.load(Ordering::Relaxed)
    }

    pub(super) fn set_engine_away(&self, away: bool) {
        self.engine_away.store(away && self.is_stormy(), Ordering::Relaxed);
    }

    pub(super) fn is_engine_away(&self) -> bool {
        self.engine_away.load(Ordering::Relaxed)
    }

    /// Decides whether a container that has just started will not go when it is to.
    pub(super) fn maybe_stuck(&self, container: &ContainerId) {
        if self.fault(|rates| rates.stuck) {
            let until = self.elapsed() + Duration::from_secs(self.between(10, 300));
            let until = until.min(self.plan.stormy + STUCK_BEYOND);
            self.note(|| format!("{container} cannot be stopped or removed until {:.3}", until.as_secs_f64()));
            lock(&self.stuck).insert(container.clone(), until);
        }
    }

    pub(super) fn is_stuck(&self, container: &ContainerId) -> bool {
        lock(&self.stuck).get(container).is_some_and(|until| self.elapsed() < *until)
    }

    /// What the containers of a group are made of now.
    pub(super) fn configured(&self, group: &GroupFolder) -> String {
        let changes = self.plan.changes_every.map_or(0, |every| self.elapsed().as_secs() / every.as_secs().max(1));
        format!("{group} {changes}")
    }

    /// Whether this goes wrong now.
    pub(super) fn fault(&self, rate: impl Fn(&Rates) -> Rate) -> bool {
        self.is_stormy() && lock(&self.dice).chance(rate(&self.plan.rates))
    }

    /// Whether this happens now, faults or not.
    pub(super) fn chance(&self, rate: impl Fn(&Rates) -> Rate) -> bool {
        lock(&self.dice).chance(rate(&self.plan.rates))
    }

    pub(super) fn between(&self, low: u64, high: u64) -> u64 {
        lock(&self.dice).between(low, high)
    }

    pub(super) fn one_of<T: Copy>(&self, choices: &[T]) -> T {
        lock(&self.dice).one_of(choices)
    }

    /// Lets some time pass, between these bounds in milliseconds.
    pub(super) async fn pause(&self, low_ms: u64, high_ms: u64) {
        let pause = self.between(low_ms, high_ms);
        if pause > 0 {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// One host process: from its start to its end or crash. What its ports are asked after that is never answered.
pub(super) struct Host {
    pub(super) world: Arc<World>,
    pub(super) number: u32,
    dead: AtomicBool,
    died: Notify,
}

impl Host {
    pub(super) fn new(world: Arc<World>, number: u32) -> Self {
        Self { world, number, dead: AtomicBool::new(false), died: Notify::new() }
    }

    /// The process is gone. Its workers are cleared away by whoever [waits](Self::death) for this.
    pub(super) fn die(&self, why: impl FnOnce() -> String) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            self.world.note(|| format!("h{} CRASHES {}", self.number, why()));
            self.died.notify_waiters();
        }
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Returns once the host is dead.
    pub(super) async fn death(&self) {
        let mut died = std::pin::pin!(self.died.notified());
        died.as_mut().enable();
        if !self.is_dead() {
            died.await;
        }
    }

    /// Stays here for ever if the host is dead.
    async fn while_alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Calls a port: `effect` is what the port does. On the way there and back the host may die, or the call take a while,
    /// or fail as `faults` says, with the error that `refuse` makes.
    pub(super) async fn call<T, E: std::fmt::Display>(
        &self,
        what: impl Fn() -> String,
        faults: CallFaults,
        effect: impl Future<Output = Result<T, E>>,
        refuse: impl Fn(String) -> E,
    ) -> Result<T, E> {
        self.while_alive().await;
        let (world, number) = (&self.world, self.number);
        self.maybe_slow().await;
        if world.fault(|rates| rates.crash) {
            self.die(|| format!("before {}", what()));
            self.while_alive().await;
        }
        if world.fault(faults.fails) {
            world.note(|| format!("h{number} {} FAILS", what()));
            return Err(refuse(NOT_DONE.to_owned()));
        }
        world.note(|| format!("h{number} {}", what()));
        let result = effect.await;
        self.while_alive().await;
        if world.fault(|rates| rates.crash) {
            self.die(|| format!("after {}", what()));
            self.while_alive().await;
        }
        if let Err(error) = &result {
            world.note(|| format!("h{number} {} says: {error}", what()));
        }
        self.maybe_slow().await;
        if result.is_ok() && world.fault(faults.lies) {
            world.note(|| format!("h{number} {} was done, but is told to have FAILED", what()));
            return Err(refuse("simulated: done, but not told".to_owned()));
        }
        result
    }

    async fn maybe_slow(&self) {
        if self.world.fault(|rates| rates.slow) {
            self.world.pause(0, 80).await;
            self.while_alive().await;
        }
    }
}

/// Why a call failed whose effect there was not.
pub(super) const NOT_DONE: &str = "simulated: not done";

/// How a call can fail.
#[derive(Clone, Copy)]
pub(super) struct CallFaults {
    /// It is not done.
    pub(super) fails: fn(&Rates) -> Rate,
    /// It is done, and an error is told.
    pub(super) lies: fn(&Rates) -> Rate,
}

pub(super) fn never(_: &Rates) -> Rate {
    0
}

/// Nothing that panics while it holds one of these locks leaves half a change that matters to a run that has failed anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// How many panics there were on this thread. tokio keeps them to itself, and a worker of the orchestrator that panics
/// is a fault even when nobody misses it.
pub(super) fn panics() -> u32 {
    static COUNT: Once = Once::new();
    COUNT.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            others(info);
        }));
    });
    PANICS.get()
}
