//! How a container ended, as far as an engine tells.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    errors::Error as EngineError,
    models::ContainerWaitResponse,
    query_parameters::{EventsOptionsBuilder, WaitContainerOptionsBuilder},
};
use futures_util::StreamExt;
use nanoclaw_core::runtime::{ContainerId, Exit};
use tokio::time::timeout;

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

/// Waits for the next exit of a container that was created and not yet started.
///
/// The request goes out when this is first polled. "Next exit" is the one condition that means the same before and after
/// the start and at every engine; "not running" is true before it, and "removed" loses the code at Podman.
pub(super) async fn next_exit(docker: Docker, id: ContainerId, marks: KillMarks) -> Exit {
    exit(docker, id, marks, "next-exit").await
}

/// Waits for the exit of a container that was running a moment ago.
///
/// "Next exit" would wait for ever for one that has ended since; "not running" is true at once then.
pub(super) async fn exit_of_running(docker: Docker, id: ContainerId, marks: KillMarks) -> Exit {
    exit(docker, id, marks, "not-running").await
}

async fn exit(docker: Docker, id: ContainerId, marks: KillMarks, condition: &str) -> Exit {
    let watched = marks.watch(id);
    let since = SystemTime::now();
    let options = WaitContainerOptionsBuilder::default().condition(condition).build();
    let mut wait = Box::pin(docker.wait_container(watched.id.as_str(), Some(options)));
    let code = match wait.next().await {
        Some(Ok(ContainerWaitResponse { status_code, error: None })) => status_code,
        // Every code but 0 comes as an error.
        Some(Err(EngineError::DockerContainerWaitError { code, error })) if error.is_empty() => code,
        other => {
            tracing::warn!(container = %watched.id, ?other, "nobody can tell how a container ended");
            return Exit::Unknown;
        }
    };
    match code {
        KILLED if !watched.killed() && ran_out_of_memory(&docker, &watched.id, since).await => Exit::OutOfMemory,
        code => i32::try_from(code).map_or(Exit::Unknown, Exit::of_code),
    }
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
