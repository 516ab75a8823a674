//! How a container ended, as far as an engine tells.

use std::{
    collections::HashMap,
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

/// Why a container may end by KILL, of those whose exits are awaited; forgotten when an exit is known.
#[derive(Debug, Clone, Default)]
pub(super) struct Causes(Arc<Mutex<HashMap<ContainerId, Cause>>>);

#[derive(Debug, Default)]
struct Cause {
    /// This host killed it, so that nobody looks for another reason.
    killed: bool,
    /// `None` as long as, or where, its memory is not watched.
    memory: Option<MemoryWatch>,
}

impl Causes {
    /// Notes that `id` is about to be killed.
    pub(super) fn mark_killed(&self, id: &ContainerId) {
        if let Some(cause) = self.locked().get_mut(id) {
            cause.killed = true;
        }
    }

    fn watch_memory(&self, id: &ContainerId, watch: MemoryWatch) {
        if let Some(cause) = self.locked().get_mut(id) {
            cause.memory = Some(watch);
        }
    }

    fn watch(&self, id: ContainerId) -> Watched {
        self.locked().insert(id.clone(), Cause::default());
        Watched { id, causes: self.clone() }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<ContainerId, Cause>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watched {
    id: ContainerId,
    causes: Causes,
}

impl Watched {
    /// Taken out, since it is asked once and asking waits.
    fn cause(&self) -> Cause {
        self.causes.locked().get_mut(&self.id).map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.causes.locked().remove(&self.id);
    }
}

/// Exits that are awaited at Podman, where whoever hears of one first removes the container: others share what it heard.
#[derive(Clone, Default)]
pub(super) struct Awaited(Arc<Mutex<HashMap<ContainerId, ExitWatch>>>);

impl Awaited {
    fn locked(&self) -> MutexGuard<'_, HashMap<ContainerId, ExitWatch>> {
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
                    return already.clone();
                }
                let (tell, told) = oneshot::channel();
                let exit = exit_watch(async move { told.await.unwrap_or(Exit::Unknown) });
                awaited.insert(id.clone(), exit.clone());
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
        let watched = self.causes.watch(id);
        let since = SystemTime::now();
        let code = self.code(&watched.id, of).await;
        if code != Some(KILLED) {
            return exit_of(code);
        }
        let cause = watched.cause();
        let ran_out = match (cause.killed, &cause.memory) {
            (true, _) => false,
            // The engine hears of it on the same way as we do, and may miss it when the container ends at once.
            (false, Some(memory)) if memory.has_killed().await => true,
            (false, _) => says_that_memory_ran_out(&self.docker, &watched.id, since).await,
        };
        if ran_out { Exit::OutOfMemory } else { exit_of(code) }
    }

    /// The same from the container itself, which is still there, and from the kernel.
    async fn exit_and_cause(&self, id: &ContainerId, of: Of) -> Exit {
        let watched = self.causes.watch(id.clone());
        let waited = self.code(id, of).await;
        let state = self.docker.inspect_container(id.as_str(), None).await.ok().and_then(|found| found.state);
        let state = state.filter(|state| state.running != Some(true)).unwrap_or_default();
        let code = state.exit_code.or(waited);
        if code != Some(KILLED) {
            return exit_of(code);
        }
        let cause = watched.cause();
        let ran_out = match (cause.killed, &cause.memory) {
            (true, _) => false,
            (false, _) if state.oom_killed == Some(true) => true,
            (false, Some(memory)) => memory.has_killed().await,
            (false, None) => false,
        };
        if ran_out { Exit::OutOfMemory } else { exit_of(code) }
    }

    /// From now on the kernel tells us when the container, whose exit is awaited, runs out of memory.
    /// `process` is its first process, as the engine knows it.
    pub(super) fn watch_memory(&self, id: &ContainerId, process: Option<i64>) {
        let watch = match process.filter(|process| *process > 0) {
            Some(process) => MemoryWatch::new(process, id),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if self.dialect == Dialect::Podman {
            // Docker tells also what we do not see ourselves.
            self.about.tells_out_of_memory.store(watch.is_ok(), Ordering::Relaxed);
        }
        match watch {
            Ok(watch) => self.causes.watch_memory(id, watch),
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
async fn says_that_memory_ran_out(docker: &Docker, id: &ContainerId, since: SystemTime) -> bool {
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
