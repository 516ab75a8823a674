//! Sees containers gone: a run is over when its container is, and not before.
//!
//! A container shares its group's mailbox and counts against the limit for as long as it lives. So ending it is tried for as
//! long as it takes, and nobody takes an engine's silence for success: a container is *gone* when the runtime has removed it
//! or does not name it any more, and *dead* when its end was seen or the runtime names it as not running. What is dead hurts
//! nobody; when it cannot be removed (an engine's "device or resource busy" may last until the machine restarts) its run
//! ends all the same.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::mpsc, time::Instant};

use super::{Command, RunContext, Words};
use crate::{
    orchestrator::{event::RunWord, retry::runtime_retry_delay},
    run::RunId,
    runtime::{ContainerId, ContainerRuntime, ContainerSummary, Exit, RuntimeError, RuntimeKind, StopOutcome},
    store::Store,
};

/// How often the removal of a dead container is tried before it is left to the next survey.
pub(super) const DEAD_TRIES: u32 = 3;
/// How long a container may withstand its end before an operator is told.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How long a host that ends waits for a removal that is under way.
const LET_GO_WITHIN: Duration = Duration::from_secs(2);
/// How long the end of a container that was stopped may take to be seen.
const END_SEEN_WITHIN: Duration = Duration::from_secs(5);

/// What became of a container that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is gone, or certainly dead.
    Over,
    /// It may live. This host ends; the next one sees to it.
    LetGo,
}

/// How the runtime knows a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::orchestrator) enum Known {
    Gone,
    Dead,
    Alive,
}

impl Known {
    /// What a listing says about a container. One that is listed twice is one.
    pub(in crate::orchestrator) fn of(container: &ContainerId, listed: &[ContainerSummary]) -> Self {
        let mut known = Self::Gone;
        for one in listed.iter().filter(|one| one.id == *container) {
            known = if one.running || known == Self::Alive { Self::Alive } else { Self::Dead };
        }
        known
    }
}

/// What a person can do about a container that does not go.
pub(in crate::orchestrator) fn remedy(kind: RuntimeKind, container: &ContainerId) -> String {
    match kind {
        RuntimeKind::Docker => format!("docker rm -f {container}"),
        RuntimeKind::Podman => format!("podman rm -f {container}"),
        RuntimeKind::Sandbox | RuntimeKind::Fake => "end its processes, or restart the machine".to_owned(),
    }
}

/// A container of which nothing is wanted any more but that it goes.
pub(super) struct Leftover<'a> {
    context: &'a RunContext,
    words: &'a Words,
    container: &'a ContainerId,
    dead: bool,
    patience: Patience,
}

impl<'a> Leftover<'a> {
    /// `exit` is how it was seen to end.
    pub(super) fn new(context: &'a RunContext, words: &'a Words, container: &'a ContainerId, exit: Exit) -> Self {
        let patience = Patience::new(&words.run, context.runtime.kind());
        Self { context, words, container, dead: exit != Exit::Unknown, patience }
    }

    /// Removes the container, trying again for as long as it may live. `leaving` says that the host ends; it may also come
    /// to end meanwhile.
    pub(super) async fn see_gone(mut self, commands: &mut mpsc::Receiver<Command>, leaving: bool) -> Fate {
        let mut let_go_at = leaving.then(|| Instant::now() + LET_GO_WITHIN);
        loop {
            let tried = {
                let mut attempt = pin!(self.attempt());
                loop {
                    tokio::select! {
                        biased;
                        tried = &mut attempt => break Some(tried),
                        () = sleep_until(let_go_at) => break None,
                        Some(command) = commands.recv() => if command == Command::Detach {
                            let_go_at.get_or_insert_with(|| Instant::now() + LET_GO_WITHIN);
                        },
                    }
                }
            };
            let pause = match tried {
                Some(Ok(())) => return Fate::Over,
                Some(Err(Remains { dead, error })) => {
                    self.dead |= dead;
                    self.patience.failed(self.container, &error)
                }
                None => Duration::ZERO,
            };
            if self.dead && (let_go_at.is_some() || self.patience.tries >= DEAD_TRIES) {
                let (run, container) = (&self.words.run, self.container);
                tracing::error!(%run, %container, "the container is dead and cannot be removed; it is left to the next survey");
                self.context.doubts.note_dead(self.container);
                return Fate::Over;
            }
            if let_go_at.is_some() {
                return Fate::LetGo;
            }
            if self.patience.tries == 1 {
                self.words.say(RunWord::Ending).await;
            }
            if wait(commands, pause).await == Waited::Detached {
                let_go_at = Some(Instant::now());
            }
        }
    }

    async fn attempt(&self) -> Result<(), Remains> {
        let (context, container) = (self.context, self.container);
        let Err(error) = context.runtime.remove(container).await else { return Ok(()) };
        if self.dead {
            return Err(Remains { dead: true, error });
        }
        let stopped = context.runtime.stop(container, context.settings.stop_grace).await.is_ok();
        match known(&*context.runtime, &*context.store, container).await {
            Some(Known::Gone) => Ok(()),
            Some(Known::Dead) => Err(Remains { dead: true, error }),
            Some(Known::Alive) | None => Err(Remains { dead: stopped, error }),
        }
    }
}

/// A try that came to nothing.
struct Remains {
    dead: bool,
    error: RuntimeError,
}

/// The stopping of a container whose run goes on being heard, tried again for as long as its end is not seen.
pub(super) struct Stopping {
    patience: Patience,
    begun: bool,
    now: Option<BoxFuture<'static, Result<(), RuntimeError>>>,
}

impl Stopping {
    pub(super) fn new(run: &RunId, kind: RuntimeKind) -> Self {
        Self { patience: Patience::new(run, kind), begun: false, now: None }
    }

    /// Begins a try, the next one after a pause, unless one goes on.
    pub(super) fn begin(&mut self, context: &RunContext, container: &ContainerId) {
        if self.now.is_some() {
            return;
        }
        let failed = self.patience.tries;
        let pause = if failed == 0 { Duration::ZERO } else { runtime_retry_delay(failed) };
        self.begun = true;
        let (runtime, store) = (context.runtime.clone(), context.store.clone());
        let (container, grace) = (container.clone(), context.settings.stop_grace);
        self.now = Some(Box::pin(async move {
            tokio::time::sleep(pause).await;
            stop(&*runtime, &*store, &container, grace).await?;
            // Its end is on its way; when it does not come, nobody will tell it.
            tokio::time::sleep(END_SEEN_WITHIN).await;
            Ok(())
        }));
    }

    /// Whether the container is being stopped.
    pub(super) fn begun(&self) -> bool {
        self.begun
    }

    /// Whether a try came to nothing.
    pub(super) fn has_failed(&self) -> bool {
        self.patience.tries > 0
    }

    /// Waits for the end of a try, for ever when there is none; whether the container has ended, though nobody saw it.
    pub(super) async fn done(&mut self, container: &ContainerId) -> bool {
        let tried = match &mut self.now {
            Some(stopping) => stopping.await,
            None => std::future::pending().await,
        };
        self.now = None;
        match tried {
            Ok(()) => true,
            Err(error) => {
                let _ = self.patience.failed(container, &error);
                false
            }
        }
    }
}

async fn stop(
    runtime: &dyn ContainerRuntime,
    store: &dyn Store,
    container: &ContainerId,
    grace: Duration,
) -> Result<(), RuntimeError> {
    match runtime.stop(container, grace).await {
        Ok(StopOutcome::Killed) => {
            tracing::warn!(%container, ?grace, "the container did not end when stopped and was killed");
            return Ok(());
        }
        Ok(StopOutcome::Ended | StopOutcome::Gone) => return Ok(()),
        Err(error) => tracing::error!(%container, %error, "cannot stop the container; trying to remove it"),
    }
    let Err(error) = runtime.remove(container).await else { return Ok(()) };
    match known(runtime, store, container).await {
        Some(Known::Gone | Known::Dead) => Ok(()),
        Some(Known::Alive) | None => Err(error),
    }
}

/// How the runtime knows the container; `None` when it does not tell.
async fn known(runtime: &dyn ContainerRuntime, store: &dyn Store, container: &ContainerId) -> Option<Known> {
    let install = store.install_id().await.ok()?;
    let listed = runtime.list(&install).await.ok()?;
    Some(Known::of(container, &listed))
}

/// The containers of one run, each once.
///
/// # Errors
/// When the store or the runtime does not tell.
pub(super) async fn containers_of(context: &RunContext, run: &RunId) -> Result<Vec<ContainerId>, String> {
    let install = context.store.install_id().await.map_err(|error| error.to_string())?;
    let listed = context.runtime.list(&install).await.map_err(|error| error.to_string())?;
    let of_run = listed.into_iter().filter(|one| one.group == run.group && one.number == run.number);
    Ok(of_run.map(|one| (one.id, ())).collect::<BTreeMap<_, _>>().into_keys().collect())
}

/// How long a container has withstood its end, and who was told.
struct Patience {
    run: RunId,
    kind: RuntimeKind,
    tries: u32,
    since: Option<Instant>,
    told: bool,
}

impl Patience {
    fn new(run: &RunId, kind: RuntimeKind) -> Self {
        Self { run: run.clone(), kind, tries: 0, since: None, told: false }
    }

    /// A try failed; returns the pause before the next one.
    fn failed(&mut self, container: &ContainerId, error: &RuntimeError) -> Duration {
        self.tries += 1;
        let pause = runtime_retry_delay(self.tries);
        tracing::warn!(run = %self.run, %container, %error, ?pause, "the container is not known to be gone; trying again");
        let since = self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= STUCK_AFTER && !self.told {
            self.told = true;
            let remedy = remedy(self.kind, container);
            tracing::error!(
                run = %self.run, %container, %error, remedy,
                "a container cannot be ended; its group waits and its slot is taken until it is gone"
            );
        }
        pause
    }
}

/// What ended a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    Over,
    /// The host ends.
    Detached,
}

/// Lets some time pass. Of the commands only one means something to a run that is ending.
pub(super) async fn wait(commands: &mut mpsc::Receiver<Command>, pause: Duration) -> Waited {
    let mut over = pin!(tokio::time::sleep(pause));
    loop {
        tokio::select! {
            biased;
            Some(command) = commands.recv() => if command == Command::Detach {
                return Waited::Detached;
            },
            () = &mut over => return Waited::Over,
        }
    }
}

pub(super) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group::GroupFolder, run::RunNumber};

    fn listed(name: &str, running: bool) -> ContainerSummary {
        let group = GroupFolder::new("family").unwrap();
        ContainerSummary { id: ContainerId::new(name).unwrap(), group, number: RunNumber(1), running }
    }

    #[test]
    fn a_container_is_gone_when_it_is_not_listed_and_dead_when_it_is_listed_as_not_running() {
        let container = ContainerId::new("c").unwrap();
        assert_eq!(Known::of(&container, &[]), Known::Gone);
        assert_eq!(Known::of(&container, &[listed("other", true)]), Known::Gone);
        assert_eq!(Known::of(&container, &[listed("other", true), listed("c", false)]), Known::Dead);
        assert_eq!(Known::of(&container, &[listed("c", true)]), Known::Alive);
    }

    #[test]
    fn a_container_that_is_listed_twice_is_alive_if_either_says_so() {
        let container = ContainerId::new("c").unwrap();
        assert_eq!(Known::of(&container, &[listed("c", true), listed("c", false)]), Known::Alive);
        assert_eq!(Known::of(&container, &[listed("c", false), listed("c", true)]), Known::Alive);
        assert_eq!(Known::of(&container, &[listed("c", false), listed("c", false)]), Known::Dead);
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_is_told_once_a_container_has_withstood_its_end_for_a_minute() {
        let run = RunId { group: GroupFolder::new("family").unwrap(), number: RunNumber(1) };
        let (container, began) = (ContainerId::new("c").unwrap(), Instant::now());
        let error = RuntimeError::TimedOut { action: "remove the container" };
        let mut patience = Patience::new(&run, RuntimeKind::Docker);
        for _ in 0..8 {
            let pause = patience.failed(&container, &error);
            assert_eq!(patience.told, began.elapsed() >= STUCK_AFTER, "{:?}", began.elapsed());
            tokio::time::sleep(pause).await;
        }
        assert!(patience.told);
    }

    #[test]
    fn the_remedy_is_a_command_of_the_runtime() {
        let container = ContainerId::new("c").unwrap();
        assert_eq!(remedy(RuntimeKind::Docker, &container), "docker rm -f c");
        assert_eq!(remedy(RuntimeKind::Podman, &container), "podman rm -f c");
    }
}
