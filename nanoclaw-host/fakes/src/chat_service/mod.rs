//! A chat service with its bridge, by nothing but `docs/bridge-protocol.md`. It outlives every host: it connects again at
//! once, says a message again until it is accepted, and shows a reply once for each key, as services with a nonce do, or can be
//! asked whether it did.
//!
//! Each message has a text of its own and is expected to be answered by a line that names it, and every tenth has its agent
//! ask for a further message, so that the service knows exactly what was answered and sent, what twice, and what never. What
//! it was told is in its [`Ledger`].

mod connection;
mod ledger;
mod workload;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::Instant};

pub use ledger::{Ledger, Tally};
pub use workload::Odd;
pub(crate) use workload::{ODD_CHAT, TaskName, chat_id};

/// How the service behaves.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The host's socket.
    pub socket: PathBuf,
    /// How many chats it has; their ids are `kill:0`, `kill:1`, …
    pub chats: usize,
    /// How many messages are said in each.
    pub messages: usize,
    /// What it does with repeats.
    pub repeats: Repeats,
    /// The longest that it takes to send a reply; each takes a time of its own up to this.
    pub slowest_send: Duration,
    /// One send in so many fails, to be tried again soon; none when zero.
    pub fails_one_in: u64,
    /// What chance begins with: the same seed, the same behaviour.
    pub seed: u64,
}

/// What a service does with a message that is sent again with the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeats {
    /// It shows it once.
    Deduplicates,
    /// It shows it again; but it can be asked whether it was shown.
    Finds,
}

/// The running service. It ends when this is dropped.
pub struct ChatService {
    shared: Arc<Shared>,
    worker: JoinHandle<()>,
}

/// What the service and its connections share.
struct Shared {
    behaviour: Behaviour,
    ledger: Mutex<Ledger>,
    /// Whether it reads what the host says.
    reads: watch::Sender<bool>,
    /// Counts up when the ledger has changed.
    changed: watch::Sender<u64>,
    connected: watch::Sender<bool>,
}

impl ChatService {
    /// Starts a service in which nothing was said yet.
    #[must_use]
    pub fn start(behaviour: Behaviour) -> Self {
        let shared = Arc::new(Shared {
            ledger: Mutex::new(Ledger::new(behaviour.chats, behaviour.messages, behaviour.repeats, behaviour.seed)),
            behaviour,
            reads: watch::Sender::new(true),
            changed: watch::Sender::new(0),
            connected: watch::Sender::new(false),
        });
        let worker = tokio::spawn(connection::connect_for_ever(shared.clone()));
        Self { shared, worker }
    }

    /// People say up to `count` more messages, here and there.
    pub fn say(&self, count: usize) {
        self.shared.ledger().say(count);
        self.shared.changed();
    }

    /// Somebody says something odd, in a chat of its own.
    pub fn say_odd(&self, odd: Odd) {
        self.shared.ledger().say_odd(odd);
        self.shared.changed();
    }

    /// The files for which odd messages wait, by their names in the group's folder.
    #[must_use]
    pub fn awaited_files(&self) -> Vec<String> {
        self.shared.ledger().awaited_files()
    }

    /// Whether everything that people will ever say is said.
    #[must_use]
    pub fn all_said(&self) -> bool {
        self.shared.ledger().all_said()
    }

    /// What came of all that until now.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.ledger().tally()
    }

    /// How many answers of each task were shown, each key counted once.
    pub(crate) fn task_answers(&self) -> BTreeMap<TaskName, u64> {
        self.shared.ledger().task_answers()
    }

    /// Stops, or goes on, reading what the host says.
    pub fn read(&self, reads: bool) {
        self.shared.reads.send_replace(reads);
    }

    /// Waits until the bridge is connected; `false` when it is not within `limit`.
    pub async fn connected(&self, limit: Duration) -> bool {
        let mut connected = self.shared.connected.subscribe();
        matches!(tokio::time::timeout(limit, connected.wait_for(|connected| *connected)).await, Ok(Ok(_)))
    }

    /// Waits until all that was said is answered, and what agents asked for is shown; `false` when nothing new is accepted or answered for `patience`.
    pub async fn answered(&self, patience: Duration) -> bool {
        let mut changed = self.shared.changed.subscribe();
        let mut progress = self.tally().progress();
        let mut deadline = Instant::now() + patience;
        loop {
            changed.borrow_and_update();
            let tally = self.tally();
            if tally.is_settled() {
                return true;
            }
            if tally.progress() != progress {
                progress = tally.progress();
                deadline = Instant::now() + patience;
            }
            if tokio::time::timeout_at(deadline, changed.changed()).await.is_err() {
                return false;
            }
        }
    }
}

impl Drop for ChatService {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}
