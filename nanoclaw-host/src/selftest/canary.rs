//! Sends a canary: a container with the profile of agents' containers, in which our own program tries to break out and says what
//! came of it.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nanoclaw_core::{
    group::GroupFolder,
    protocol::environment::guest,
    run::{RunId, RunNumber},
    runtime::{
        Access, Capabilities, Container, ContainerRuntime, ContainerSpec, Deviation, Exit, GuestValue,
        HardeningProfile, HeldSources, ImageRef, InstallId, Labels, Mount, Output, RuntimeError,
        witness::{BoundSeen, CANARY_WORD, CanaryLine, Testimony, Walls, bounds_deviations},
    },
};
use serde::Serialize;
use tokio::time::timeout;

/// It takes one or two seconds; on a machine that is very busy, more.
const REPORTS_WITHIN: Duration = Duration::from_secs(60);
/// More than this no canary says.
const LONGEST_REPORT: usize = 1 << 20;
/// No canary lives so long: one that is older and has ended is nobody's. One that is younger may be another host's, which has
/// made it and is about to start it.
const LEFT_AFTER: Duration = Duration::from_secs(600);
/// The first word of a canary's name, of which the last is when it was made.
const NAME: &str = "nanoclaw-canary";
/// The installation of all canaries, which is nobody's: no host takes them for its own.
const INSTALL: &str = "nanoclawcanary";

static CANARIES: AtomicU32 = AtomicU32::new(1);

/// What a canary came back with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What confined it.
    pub profile: HardeningProfile,
    /// Everything that was not as it should be; empty when isolation is in force.
    pub deviations: Vec<Deviation>,
    /// What it saw of its walls.
    pub testimony: Testimony,
    /// The bounds, as it found them.
    pub bounds: Vec<BoundSeen>,
}

/// Sends one with the bounds that `profile` has, in small ([`HardeningProfile::in_small`]). `runner` is our agent-runner on
/// this machine.
///
/// # Errors
/// Those of a start; [`RuntimeError::Other`] when it came back with nothing to be understood.
pub async fn send(
    runtime: &dyn ContainerRuntime,
    capabilities: &Capabilities,
    profile: &HardeningProfile,
    image: &ImageRef,
    runner: &Path,
) -> Result<Report, RuntimeError> {
    let profile = profile.in_small();
    let spec = spec(&profile, image, runner)?;
    remove_leftovers(runtime, &spec.labels.install).await;
    let container = runtime.start(&spec).await?;
    let id = container.id.clone();
    let heard = timeout(REPORTS_WITHIN, listen(container)).await;
    // One that has ended removes itself, or is removed here.
    runtime.remove(&id).await?;
    let (lines, exit) = heard.map_err(|_| RuntimeError::TimedOut { action: "hear what a canary saw" })??;
    let walls = Walls { own_world: capabilities.own_mounts && capabilities.own_network };
    judge(profile, walls, lines, exit)
}

/// What the lines come to.
fn judge(profile: HardeningProfile, walls: Walls, lines: Vec<CanaryLine>, exit: Exit) -> Result<Report, RuntimeError> {
    let died_of_memory =
        lines.last() == Some(&CanaryLine::ReachesForMemory) && matches!(exit, Exit::OutOfMemory | Exit::Signal(9));
    let (mut testimony, mut bounds, mut done) = (None, Vec::new(), false);
    for line in lines {
        match line {
            CanaryLine::Saw(saw) => testimony = Some(*saw),
            CanaryLine::Bound(bound) => bounds.push(bound),
            CanaryLine::ReachesForMemory => {}
            CanaryLine::Done => done = true,
        }
    }
    if died_of_memory {
        bounds.push(BoundSeen::Memory { stopped: true });
        done = true;
    }
    let Some(testimony) = testimony.filter(|_| done) else {
        return Err(RuntimeError::Other {
            action: "hear what a canary saw",
            reason: format!("it ended by {exit} before it had said everything"),
        });
    };
    let mut deviations = testimony.deviations(&profile, walls, &own_namespaces());
    deviations.extend(bounds_deviations(&profile, &bounds));
    Ok(Report { profile, deviations, testimony, bounds })
}

fn spec(profile: &HardeningProfile, image: &ImageRef, runner: &Path) -> Result<ContainerSpec, RuntimeError> {
    let other = |reason: String| RuntimeError::Other { action: "send a canary", reason };
    // Unlike any other's, also of a host in another process namespace.
    let nanoseconds = since_1970().as_nanos();
    let number = CANARIES.fetch_add(1, Ordering::Relaxed);
    let runner = std::path::absolute(runner).map_err(|error| other(error.to_string()))?;
    Ok(ContainerSpec {
        name: format!("{NAME}-{}-{number}-{nanoseconds:x}", std::process::id()),
        image: image.clone(),
        command: vec![GuestValue::Path(guest::RUNNER.to_owned()), CANARY_WORD.into()],
        env: BTreeMap::new(),
        mounts: vec![Mount { source: runner, target: guest::RUNNER.to_owned(), access: Access::ReadOnly }],
        held: HeldSources::default(),
        workdir: "/".into(),
        user: profile.user,
        limits: profile.limits,
        tmp_bytes: profile.tmp_bytes,
        labels: Labels {
            install: InstallId::new(INSTALL).map_err(|error| other(error.to_string()))?,
            run: RunId {
                group: GroupFolder::new("canary").map_err(|error| other(error.to_string()))?,
                number: RunNumber(number),
            },
        },
    })
}

/// Removes canaries that ended and did not remove themselves, since their host died.
async fn remove_leftovers(runtime: &dyn ContainerRuntime, install: &InstallId) {
    // What is wrong with the runtime is told by the start.
    let left = runtime.list(install).await.unwrap_or_default();
    for canary in left.into_iter().filter(|canary| !canary.running && is_left(canary.id.as_str(), since_1970())) {
        let _ = runtime.remove(&canary.id).await;
    }
}

/// Whether the canary of this name is so old at `now` that nobody waits for it.
fn is_left(name: &str, now: Duration) -> bool {
    let made = name.strip_prefix(NAME).and_then(|rest| rest.rsplit('-').next());
    let made = made.and_then(|made| u128::from_str_radix(made, 16).ok());
    made.is_some_and(|made| now.as_nanos().saturating_sub(made) > LEFT_AFTER.as_nanos())
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// All that it says, and how it ended.
async fn listen(mut container: Container) -> Result<(Vec<CanaryLine>, Exit), RuntimeError> {
    container.stdin.close().await;
    let (mut said, mut complaint) = (Vec::new(), Vec::new());
    while let Some(piece) = container.output.recv().await {
        match piece {
            Output::Stdout(bytes) if said.len() < LONGEST_REPORT => said.extend_from_slice(&bytes),
            Output::Stderr(bytes) if complaint.len() < LONGEST_REPORT => complaint.extend_from_slice(&bytes),
            _ => {}
        }
    }
    let exit = container.exit.await;
    let lines: Vec<CanaryLine> = said
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map_while(|line| serde_json::from_slice(line).ok())
        .collect();
    if lines.is_empty() {
        let complaint = String::from_utf8_lossy(&complaint);
        let complaint: String = complaint.trim().chars().take(300).collect();
        return Err(RuntimeError::Other {
            action: "hear what a canary saw",
            reason: format!("it said nothing and ended by {exit}: {complaint}"),
        });
    }
    Ok((lines, exit))
}

fn own_namespaces() -> BTreeMap<String, String> {
    let entries = fs::read_dir("/proc/self/ns").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().into_string().ok()?, link.to_string_lossy().into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_that_another_host_has_only_just_made_is_not_taken_for_one_left_behind() {
        let made = Duration::from_secs(1_800_000_000);
        let name = format!("{NAME}-17-1-{:x}", made.as_nanos());
        assert!(!is_left(&name, made));
        assert!(!is_left(&name, made + LEFT_AFTER));
        assert!(is_left(&name, made + LEFT_AFTER + Duration::from_secs(1)));
        assert!(!is_left(&name, Duration::ZERO), "nor by a clock that is behind");
        assert!(!is_left(NAME, made) && !is_left("somebody-elses-container", made));
    }
}
