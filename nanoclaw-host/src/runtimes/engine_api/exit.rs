//! How a container ended, as far as an engine tells.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    errors::Error as EngineError,
    models::ContainerWaitResponse,
    query_parameters::{EventsOptionsBuilder, WaitContainerOptionsBuilder},
};
use futures_util::StreamExt;
use nanoclaw_core::runtime::{ContainerId, ContainerRuntime as _, Exit, ExitWatch, exit_watch};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use super::{EngineRuntime, dialect::Dialect, memory::MemoryWatch};

/// How an engine tells of an end by KILL, see [`Exit`].
const KILLED: i64 = 128 + 9;
/// The engine reports a lack of memory about when the process ends, before or after.
const OOM_REPORT_WITHIN: Duration = Duration::from_millis(300);

/// Which containers this host killed itself, so that nobody looks for another reason.
#[derive(Debug, Clone, Default)]
pub(super) struct KillMarks(Arc<Mutex<Marks>>);

#[derive(Debug, Default)]
struct Marks {
    watched: HashSet<ContainerId>,
    killed: HashSet<ContainerId>,
}

impl KillMarks {
    /// Notes that `id` is about to be killed; forgotten when its exit is known.
    pub(super) fn mark(&self, id: &ContainerId) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.watched.contains(id) {
            marks.killed.insert(id.clone());
        }
    }

    fn watch(&self, id: ContainerId) -> Watched {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).watched.insert(id.clone());
        Watched { id, marks: self.clone() }
    }
}

struct Watched {
    id: ContainerId,
    marks: KillMarks,
}

impl Watched {
    fn killed(&self) -> bool {
        self.marks.0.lock().unwrap_or_else(PoisonError::into_inner).killed.contains(&self.id)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut marks = self.marks.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.watched.remove(&self.id);
        marks.killed.remove(&self.id);
    }
}

/// Exits that are awaited at Podman, where whoever hears of one first removes the container: others share what it heard.
#[derive(Clone, Default)]
pub(super) struct Awaited(Arc<Mutex<HashMap<ContainerId, AwaitedExit>>>);

struct AwaitedExit {
    exit: ExitWatch,
    /// `None` as long as, or where, its memory is not watched.
    memory: Option<MemoryWatch>,
}

impl Awaited {
    fn locked(&self) -> MutexGuard<'_, HashMap<ContainerId, AwaitedExit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose exit is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// A container that was created and not yet started.
    Created,
    /// One that was running a moment ago.
    Running,
}

impl Of {
    /// "Next exit" is the one condition that means the same before and after the start and at every engine: "not running" is
    /// true before it, and "removed" loses the code at Podman. For one that may have ended since it would wait for ever.
    fn condition(self) -> &'static str {
        match self {
            Self::Created => "next-exit",
            Self::Running => "not-running",
        }
    }
}

impl EngineRuntime {
    /// How the container ends. The engine is asked at once.
    pub(super) fn watch_exit(&self, id: &ContainerId, of: Of) -> ExitWatch {
        let (engine, id) = (self.clone(), id.clone());
        match self.dialect {
            Dialect::Docker => {
                let waiting = AbortOnDropHandle::new(tokio::spawn(async move { engine.exit(id, of).await }));
                exit_watch(async move { waiting.await.unwrap_or(Exit::Unknown) })
            }
            // Podman tells how a container ended as long as there is one, so it is not to remove itself, and somebody has to
            // see to that also when nobody waits for the exit any more.
            Dialect::Podman => {
                let mut awaited = self.exits.locked();
                if let Some(already) = awaited.get(&id) {
                    return already.exit.clone();
                }
                let (tell, told) = oneshot::channel();
                let exit = exit_watch(async move { told.await.unwrap_or(Exit::Unknown) });
                awaited.insert(id.clone(), AwaitedExit { exit: exit.clone(), memory: None });
                tokio::spawn(async move {
                    let exit = engine.exit_and_cause(&id, of).await;
                    let _ = tell.send(exit);
                    engine.exits.locked().remove(&id);
                    if exit != Exit::Unknown
                        && let Err(error) = engine.remove(&id).await
                    {
                        tracing::warn!(container = %id, %error, "a container that has ended is not removed");
                    }
                });
                exit
            }
        }
    }

    async fn exit(&self, id: ContainerId, of: Of) -> Exit {
        let watched = self.killed.watch(id);
        let since = SystemTime::now();
        match self.code(&watched.id, of).await {
            Some(KILLED) if !watched.killed() && ran_out_of_memory(&self.docker, &watched.id, since).await => {
                Exit::OutOfMemory
            }
            code => exit_of(code),
        }
    }

    /// The same from the container itself, which is still there, and from the kernel.
    async fn exit_and_cause(&self, id: &ContainerId, of: Of) -> Exit {
        let watched = self.killed.watch(id.clone());
        let waited = self.code(id, of).await;
        let state = self.docker.inspect_container(id.as_str(), None).await.ok().and_then(|found| found.state);
        let state = state.filter(|state| state.running != Some(true)).unwrap_or_default();
        let ran_out = || {
            let awaited = self.exits.locked();
            let memory = awaited.get(id).and_then(|awaited| awaited.memory.as_ref());
            state.oom_killed == Some(true) || memory.is_some_and(MemoryWatch::has_killed)
        };
        match state.exit_code.or(waited) {
            Some(KILLED) if !watched.killed() && ran_out() => Exit::OutOfMemory,
            code => exit_of(code),
        }
    }

    /// From now on the kernel tells when the container, whose exit is awaited, runs out of memory; for an engine that does not.
    /// `process` is its first process, as the engine knows it.
    pub(super) fn watch_memory(&self, id: &ContainerId, process: Option<i64>) {
        if self.dialect == Dialect::Docker {
            return;
        }
        let watch = match process.filter(|process| *process > 0) {
            Some(process) => MemoryWatch::new(process, id),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        self.about.tells_out_of_memory.store(watch.is_ok(), Ordering::Relaxed);
        match watch {
            Ok(watch) => {
                if let Some(awaited) = self.exits.locked().get_mut(id) {
                    awaited.memory = Some(watch);
                }
            }
            Err(error) => tracing::debug!(container = %id, %error, "that it runs out of memory would not be seen"),
        }
    }

    /// Waits; `None` when nobody can tell.
    async fn code(&self, id: &ContainerId, of: Of) -> Option<i64> {
        let options = WaitContainerOptionsBuilder::default().condition(of.condition()).build();
        let mut wait = Box::pin(self.docker.wait_container(id.as_str(), Some(options)));
        match wait.next().await {
            Some(Ok(ContainerWaitResponse { status_code, error: None })) => Some(status_code),
            // Every code but 0 comes as an error.
            Some(Err(EngineError::DockerContainerWaitError { code, error })) if error.is_empty() => Some(code),
            other => {
                tracing::warn!(container = %id, ?other, "nobody can tell how a container ended");
                None
            }
        }
    }
}

fn exit_of(code: Option<i64>) -> Exit {
    code.and_then(|code| i32::try_from(code).ok()).map_or(Exit::Unknown, Exit::of_code)
}

/// Asks the engine's recent events, which it keeps for a while, and so needs no subscription beforehand. The container
/// itself, which would know, has removed itself.
async fn ran_out_of_memory(docker: &Docker, id: &ContainerId, since: SystemTime) -> bool {
    let filters = HashMap::from([("container", vec![id.as_str()]), ("event", vec!["oom"])]);
    let options = EventsOptionsBuilder::default()
        .since(&unix_seconds(since - Duration::from_secs(1)))
        .until(&unix_seconds(SystemTime::now() + OOM_REPORT_WITHIN))
        .filters(&filters)
        .build();
    let mut events = Box::pin(docker.events(Some(options)));
    // Podman's answer stays open; the time is ours to keep.
    matches!(timeout(2 * OOM_REPORT_WITHIN, events.next()).await, Ok(Some(Ok(_))))
}

fn unix_seconds(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", since_epoch.as_secs(), since_epoch.subsec_nanos())
}
