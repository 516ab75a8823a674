//! A runtime that is not there when the host starts (fault F37): stands in for it, and keeps asking until it answers.
//!
//! Whatever is asked of the stand-in meanwhile gets the runtime's own words for an answer, so that the orchestrator keeps
//! what waits, and holds what an earlier host left, as it does when a runtime goes away later.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use nanoclaw_core::{
    mailbox::{FolderWatch, Watcher},
    orchestrator::Orchestrator,
    runtime::{
        AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
        ContainerSummary, ImageRef, InstallId, RuntimeError, RuntimeKind, StopOutcome,
    },
    time::Timestamp,
};
use tokio::sync::watch;

use super::choose::Chosen;
use crate::{
    launcher::Machine,
    panics::{FAULT_PAUSE, caught},
};

/// The longest pause between two questions.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What is known of a runtime that is waited for.
#[derive(Debug, Clone)]
pub(super) struct Away {
    /// Which.
    pub(super) kind: RuntimeKind,
    /// Since when this host waits for it.
    pub(super) since: Timestamp,
    /// What came back last.
    pub(super) error: RuntimeError,
    /// When it is asked again at the latest; `None` while it is being asked.
    pub(super) next_try: Option<Timestamp>,
}

/// The runtime, or what is known of it while it is away. Once it is there it stays so here: one that goes away later says
/// so itself.
pub(super) type Presence = watch::Receiver<Result<Arc<Chosen>, Away>>;

/// Stands in for a runtime that may be away.
pub(super) struct AwaitedRuntime {
    pub(super) kind: RuntimeKind,
    pub(super) presence: Presence,
}

impl AwaitedRuntime {
    fn here(&self) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
        match &*self.presence.borrow() {
            Ok(chosen) => Ok(chosen.runtime.clone()),
            Err(away) => Err(away.error.clone()),
        }
    }
}

#[async_trait]
impl ContainerRuntime for AwaitedRuntime {
    fn kind(&self) -> RuntimeKind {
        self.kind
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        self.here()?.probe().await
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.here()?.ensure_image(image).await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        self.here()?.image_id(image).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.here()?.start(spec).await
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        self.here()?.adopt(id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        self.here()?.stop(id, grace).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.here()?.remove(id).await
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        self.here()?.list(install).await
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        self.here()?.stats(id).await
    }
}

/// Asks the runtime once: connects and probes.
pub(super) type Ask = Box<dyn Fn() -> BoxFuture<'static, Result<Chosen, RuntimeError>> + Send + Sync>;

/// Asks until the runtime answers; the one that sets what the stand-in and the launcher know.
pub(super) struct Waiting {
    /// What is told to all others.
    pub(super) presence: watch::Sender<Result<Arc<Chosen>, Away>>,
    /// What the launcher is told.
    pub(super) machine: watch::Sender<Result<Arc<Machine>, RuntimeError>>,
    /// What becomes of a runtime that is there.
    pub(super) machine_of: Box<dyn Fn(&Chosen) -> Machine + Send + Sync>,
    /// Asks once.
    pub(super) ask: Ask,
    /// Where it will listen, so that it is asked at once when it does.
    pub(super) socket: Option<PathBuf>,
}

impl Waiting {
    /// Returns when the runtime is there and everything that waits for it is being tried.
    pub(super) async fn run(self, orchestrator: Orchestrator) {
        self.until_here().await;
        orchestrator.try_now(None).await;
    }

    /// Asks, pauses for longer and longer, asks again; at once when its socket comes. A fault of ours costs a question.
    async fn until_here(&self) {
        let mut pauses = Pauses::default();
        while let Err(panicked) = caught(self.until_answered(&mut pauses)).await {
            tracing::error!(error = %panicked, "asking whether the runtime is there failed; it is asked again");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    async fn until_answered(&self, pauses: &mut Pauses) {
        let mut socket = self.socket.as_deref().map(Socket::watch);
        loop {
            let pause = pauses.next();
            self.presence.send_modify(|presence| {
                if let Err(away) = presence {
                    away.next_try = Some(Timestamp::now().plus(pause));
                }
            });
            let came = async {
                match &mut socket {
                    Some(socket) => socket.comes().await,
                    None => std::future::pending().await,
                }
            };
            if tokio::time::timeout(pause, came).await.is_ok() {
                // It may need a moment more until it answers.
                *pauses = Pauses::default();
            }
            self.presence.send_modify(|presence| {
                if let Err(away) = presence {
                    away.next_try = None;
                }
            });
            match (self.ask)().await {
                Ok(chosen) => return self.is_here(chosen),
                Err(error) => self.is_away(error),
            }
        }
    }

    fn is_here(&self, chosen: Chosen) {
        chosen.log();
        // The launcher first: whoever finds the runtime there may start a run with it.
        let known = Arc::new((self.machine_of)(&chosen));
        self.machine.send_modify(|machine| *machine = Ok(known));
        self.presence.send_modify(|presence| *presence = Ok(Arc::new(chosen)));
    }

    fn is_away(&self, error: RuntimeError) {
        self.machine.send_modify(|machine| *machine = Err(error.clone()));
        self.presence.send_modify(|presence| {
            let Err(away) = presence else { return };
            // The same again and again is told once.
            if away.error.to_string() == error.to_string() {
                tracing::debug!(runtime = %away.kind, %error, "the runtime is still away");
            } else {
                tracing::warn!(runtime = %away.kind, %error, "the runtime is still away, for another reason");
            }
            away.error = error;
        });
    }
}

/// One second, then twice as long each time up to [`LONGEST_PAUSE`]. There is one host and one runtime, so no two would
/// come back together: no jitter.
#[derive(Default)]
struct Pauses {
    given: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        let pause = Duration::from_secs(1 << self.given.min(5)).min(LONGEST_PAUSE);
        self.given += 1;
        pause
    }
}

/// Tells when a socket comes to be, or is another one than before.
struct Socket {
    path: PathBuf,
    /// What lay there when it was looked at last.
    known: Option<Identity>,
    /// `None` when its folder cannot be watched, or is not there.
    folder: Option<FolderWatch>,
}

/// Device, inode and change time of a file.
type Identity = (u64, u64, i64, i64);

impl Socket {
    fn watch(path: &Path) -> Self {
        let known = identity(path);
        // `/var/run` is a link on most machines.
        let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
        let folder = folder.and_then(|folder| Watcher::new().ok()?.watch(&folder).ok());
        Self { path: path.to_owned(), known, folder }
    }

    /// Resolves when something is at its path that was not there before. Cancel-safe.
    async fn comes(&mut self) {
        let Some(folder) = &mut self.folder else { return std::future::pending().await };
        loop {
            let now = identity(&self.path);
            if now != self.known {
                self.known = now;
                if now.is_some() {
                    return;
                }
            }
            folder.changed().await;
        }
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        os::unix::fs::symlink,
        sync::{Mutex, atomic},
    };

    use futures_util::FutureExt as _;
    use nanoclaw_core::{
        mailbox::RESCAN,
        runtime::{Exit, RunAs},
        testing::FakeRuntime,
    };
    use tokio::time::Instant;

    use super::*;
    use crate::launcher::{MachineWatch, MissingLimits};

    fn away(reason: &str) -> RuntimeError {
        let (runtime, remedy) = (RuntimeKind::Fake, "start it".to_owned());
        RuntimeError::Unavailable { runtime, reason: reason.to_owned(), remedy }
    }

    async fn here() -> Chosen {
        let runtime = FakeRuntime::new(|_| async { Exit::Unknown });
        let capabilities = runtime.probe().await.unwrap();
        Chosen { runtime: Arc::new(runtime), capabilities, because: "it is a test".to_owned() }
    }

    fn machine(chosen: &Chosen) -> Machine {
        Machine {
            runtime: chosen.runtime.kind(),
            runtime_because: chosen.because.clone(),
            capabilities: chosen.capabilities.clone(),
            user: RunAs { uid: 1000, gid: 1000 },
            runner: None,
            claude: None,
            missing_limits: MissingLimits::Refuse,
        }
    }

    /// A runtime that says these things and then is there; when it was asked.
    struct Scene {
        waiting: Waiting,
        runtime: AwaitedRuntime,
        machine: MachineWatch,
        asked: Arc<Mutex<Vec<Instant>>>,
    }

    fn scene(says: impl IntoIterator<Item = RuntimeError>) -> Scene {
        let first = Away { kind: RuntimeKind::Fake, since: Timestamp::now(), error: away("gone"), next_try: None };
        let (presence_sender, presence) = watch::channel(Err(first));
        let (machine_sender, machine_watch) = watch::channel(Err(away("gone")));
        let says = Mutex::new(says.into_iter().collect::<VecDeque<_>>());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (at, known) = (asked.clone(), machine_watch.clone());
        let waiting = Waiting {
            presence: presence_sender,
            machine: machine_sender,
            machine_of: Box::new(machine),
            ask: Box::new(move || {
                assert!(known.borrow().is_err(), "nothing is known before it answers");
                at.lock().unwrap().push(Instant::now());
                let said = says.lock().unwrap().pop_front();
                async {
                    match said {
                        Some(error) => Err(error),
                        None => Ok(here().await),
                    }
                }
                .boxed()
            }),
            socket: None,
        };
        Scene { waiting, runtime: AwaitedRuntime { kind: RuntimeKind::Fake, presence }, machine: machine_watch, asked }
    }

    #[tokio::test(start_paused = true)]
    async fn f37_a_runtime_that_is_away_is_asked_more_and_more_rarely_until_it_answers() {
        let scene = scene((0..8).map(|_| away("gone")));
        let began = Instant::now();
        scene.waiting.until_here().await;
        let mut last = began;
        let pauses: Vec<u64> = scene
            .asked
            .lock()
            .unwrap()
            .iter()
            .map(|at| {
                let pause = at.duration_since(last);
                last = *at;
                pause.as_millis().div_ceil(1000).try_into().unwrap()
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30, 30]);
        assert!(scene.machine.borrow().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn f37_meanwhile_the_stand_in_says_what_the_runtime_says_and_then_does_what_it_does() {
        let install = InstallId::new("0123456789").unwrap();
        let scene =
            scene([away("permission denied"), RuntimeError::NotEnforced { what: "x".into(), remedy: "y".into() }]);
        let refused = async || scene.runtime.list(&install).await.unwrap_err().to_string();
        assert_eq!(refused().await, away("gone").to_string());
        let heard = atomic::AtomicUsize::new(0);
        let watching = async {
            let mut presence = scene.runtime.presence.clone();
            while presence.changed().await.is_ok() {
                if presence.borrow_and_update().is_ok() {
                    assert!(scene.machine.borrow().is_ok(), "the launcher is ready before a run can start");
                    return;
                }
                let said = refused().await;
                assert_eq!(said, scene.machine.borrow().as_ref().unwrap_err().to_string(), "both say the same");
                heard.fetch_add(usize::from(said.contains("permission denied")), atomic::Ordering::Relaxed);
            }
        };
        tokio::join!(scene.waiting.until_here(), watching);
        assert!(heard.into_inner() > 0, "its latest words are passed on");
        assert_eq!(scene.runtime.list(&install).await.unwrap(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_while_it_is_asked_for_costs_a_question() {
        let mut scene = scene([]);
        let ask = std::mem::replace(&mut scene.waiting.ask, Box::new(|| unreachable!()));
        let questions = atomic::AtomicUsize::new(0);
        scene.waiting.ask = Box::new(move || {
            let number = questions.fetch_add(1, atomic::Ordering::Relaxed);
            assert!(number >= 3, "a fault of ours");
            ask()
        });
        let began = Instant::now();
        scene.waiting.until_here().await;
        assert!(scene.machine.borrow().is_ok());
        assert!(scene.runtime.here().is_ok());
        assert!(began.elapsed() > Duration::from_secs(1 + 2 + 4 + 8), "faults do not make it ask more often");
    }

    #[tokio::test]
    async fn f37_a_socket_is_seen_when_it_comes_also_in_a_folder_behind_a_link() {
        let place = tempfile::tempdir().unwrap();
        std::fs::create_dir(place.path().join("run")).unwrap();
        symlink(place.path().join("run"), place.path().join("link")).unwrap();
        let path = place.path().join("link/engine.sock");
        let mut socket = Socket::watch(&path);
        assert!(socket.comes().now_or_never().is_none(), "there is none");
        std::fs::write(place.path().join("run/other"), "").unwrap();
        assert!(
            tokio::time::timeout(Duration::from_millis(50), socket.comes()).await.is_err(),
            "another file is nothing"
        );
        let began = Instant::now();
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        socket.comes().await;
        assert!(began.elapsed() < RESCAN, "it was told of, not found by looking again");
        assert!(socket.comes().now_or_never().is_none(), "it is seen once");
        // The engine is restarted: another socket at the same place.
        drop(listener);
        std::fs::remove_file(&path).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        tokio::time::timeout(RESCAN * 2, socket.comes()).await.unwrap();
    }
}
