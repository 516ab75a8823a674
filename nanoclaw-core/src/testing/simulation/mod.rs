//! The whole orchestrator under simulated calamity, from one seed, in virtual time, on one thread.
//!
//! [`play`] runs the real [`Orchestrator`](crate::orchestrator::Orchestrator) over a store in memory, real mailbox folders,
//! containers that are futures, and chat services that remember what a person saw. A seed decides who writes what when
//! and everything that goes wrong: hosts that crash before or after any call of a port and at any time, or are restarted in
//! order; stores, channels, runtimes and launchers that fail, dawdle, or do what they are asked and say that they failed;
//! messages that the platform delivers again; containers that die, hang, fail or leave; an engine that takes all of them
//! along, or does not answer for minutes while they go on, or names them twice, or starts one when the host that asked for it is
//! gone; containers that can be neither stopped nor removed for minutes, dead or alive; a commit that comes after its host's
//! death, when others serve; a clock that jumps; journals with rubbish, lies and links in them; groups that are removed,
//! added again, frozen and thawed; containers that are started ahead, in half of the seeds, of what changes meanwhile; operators who decide about turns and messages, not always rightly. Then the faults stop,
//! things settle, and it is checked that
//!
//! * every message that wakes is answered once, or given up with a notice in its chat, and never both;
//! * each chat sees its messages in the order of its outbox, and as often as its channel can promise (below);
//! * there never were more containers alive than allowed, and never two of one group, which would share its mailbox;
//! * nobody starves: all is settled within half an hour of virtual time after the last fault;
//! * each due time of a task is claimed once at most and has one outcome; what is done was answered, and is shown by one run alone;
//! * a file that is sent is what its agent gave, and the host has it for as long as it may be sent;
//! * nothing leaks: no container, dead or alive, no open run or turn, no file that nobody needs, and no worker of a host that
//!   has ended;
//! * one more host over the same store says nothing new.
//!
//! Each chat has its own kind of channel, agent and history, drawn from the seed, and what it is promised hangs on it:
//!
//! * A channel that deduplicates shows a message once, and so does one that looks up, unless it has forgotten. One that can do
//!   neither is told of a message again only after a send of which nobody knew the end, and only if that is wished
//!   ([`WhenUnknown`](crate::orchestrator::WhenUnknown)); otherwise such a message is unknown, and never shown again but by a
//!   person's decision. Nothing is unknown whose end the host was told.
//! * An agent of ours answers each message in one reply of the run that counts as having answered it, or is silent on purpose.
//!   One of v1 names no messages: other runs may have answered too, when what they said was lost, and a message is handed over
//!   no more once it counts as answered. Only while no agent of its group was ever heard it may be handed more while it owes
//!   an answer, and what it takes then before its host has read that it is done with the last prompt may count as
//!   answered too early; no other message does.
//! * What waits in a group that is removed gets no answer any more, what comes afterwards is refused, and what is written once
//!   it is added again is answered. A frozen group starts nothing.
//! * What an operator drops may be answered all the same by an agent that has it. What is tried again is a copy.
//!
//! A port that does what it is asked and says that it failed changes nothing of this: the person in the chat cannot tell
//! whether an error was told. A message whose acceptance was told as failed comes again from its platform and is answered
//! once; a block whose commit was told as failed is tried again and found committed; a notice, a request or a send likewise.
//!
//! The same seed gives the same history, event for event: there is no other source of chance, no other thread, and no
//! kernel that tells of files (whoever writes one tells whoever watches; closing an inotify instance takes milliseconds).
//! A history takes about five of them.

mod agent;
mod chats;
mod check;
mod dice;
mod hostile;
mod hosts;
mod operators;
mod plan;
mod ports;
mod spool;
mod tasks;
mod world;

use std::{path::Path, sync::Arc};

use self::{
    check::check,
    dice::Dice,
    hosts::Lasting,
    plan::Plan,
    world::{World, panics},
};
use super::{FakeRuntime, MemoryStore};
use crate::{
    mailbox::{Watcher, in_process},
    store::Store,
    time::{Timestamp, test_clock},
};

/// What happened in a seed, or in many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Facts {
    /// Hosts that were started.
    pub hosts: u64,
    /// Containers whose start was tried.
    pub runs: u64,
    /// Messages that people wrote.
    pub messages: u64,
    /// Of those that wake: answered.
    pub answered: u64,
    /// Of those that wake: given up, and told so.
    pub given_up: u64,
    /// Messages that people saw, each as often as they saw it.
    pub shown: u64,
    /// Those that they saw again, where that cannot be helped or was asked for.
    pub repeated: u64,
    /// Of those that people saw: with a file.
    pub files: u64,
    /// Messages of which nobody knows in the end whether they were shown.
    pub unknown: u64,
    /// Due times of tasks that were claimed.
    pub fired: u64,
    /// Of those, done.
    pub done: u64,
}

impl std::ops::AddAssign for Facts {
    fn add_assign(&mut self, other: Self) {
        self.hosts += other.hosts;
        self.runs += other.runs;
        self.messages += other.messages;
        self.answered += other.answered;
        self.given_up += other.given_up;
        self.shown += other.shown;
        self.repeated += other.repeated;
        self.files += other.files;
        self.unknown += other.unknown;
        self.fired += other.fired;
        self.done += other.done;
    }
}

/// A seed, played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Played {
    /// What happened; the error says which promise was broken.
    pub outcome: Result<Facts, String>,
    /// Every event in order, each with the virtual time in seconds; empty unless it was asked for.
    pub trace: Vec<String>,
}

/// Whether the events of a seed are to be written down, which costs time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// They are.
    Kept,
    /// They are not.
    Dropped,
}

/// Plays one seed on the calling thread.
///
/// # Panics
/// Within a tokio runtime, and when the machine gives no temporary folder.
#[must_use]
pub fn play(seed: u64, trace: Trace) -> Played {
    let before = panics();
    in_process::begin();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread needs nothing but file descriptors");
    let mut played = runtime.block_on(play_here(seed, trace));
    test_clock::set(None);
    in_process::end();
    if panics() > before && played.outcome.is_ok() {
        played.outcome = Err("panic: a worker panicked; see standard error".to_owned());
    }
    played
}

async fn play_here(seed: u64, trace: Trace) -> Played {
    test_clock::set(Some(Timestamp::from_ms(1_772_600_000_000)));
    let folder = temporary_folder();
    let mut dice = Dice::new(seed);
    let plan = Plan::draw(&mut dice);
    let watcher = Watcher::new().expect("no kernel is asked");
    let world = Arc::new(World::new(plan, dice, folder.path().to_owned(), watcher, trace == Trace::Kept));
    world.note(|| format!("seed {seed}: {:?}", world.plan));
    let store = Arc::new(MemoryStore::new());
    for group in &world.plan.groups {
        store.add_group(&chats::group(group)).await.expect("planned groups differ");
    }
    let agents = world.clone();
    let runtime = FakeRuntime::new(move |container| agent::live(agents.clone(), container));
    let runtime = if world.plan.keeps_dead { runtime.keeping_dead() } else { runtime };
    let runtime = Arc::new(if world.plan.lists_twice { runtime.listing_twice() } else { runtime });
    let install = store.install_id().await.expect("the store in memory knows its id");
    let lasting = Lasting { world: world.clone(), store, runtime, install };
    let outcome = match hosts::play(&lasting).await {
        Ok(hosts) => check(&lasting, hosts).await,
        Err(broken) => Err(broken),
    };
    Played { outcome, trace: world.trace() }
}

/// In memory where there is such a folder: nothing here has to outlive the process.
fn temporary_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = tempfile::Builder::new().prefix("nanoclaw-simulation-").tempdir_in(memory);
    folder.or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}
