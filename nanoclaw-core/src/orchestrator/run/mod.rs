//! The worker of one run: owns a container from its first prompt to its removal.
//!
//! ```text
//!  open run ─▶ prepare ─▶ note the turn ─▶ start container ─▶ write prompt ─▶ serve ─▶ drain ─▶ close run ─▶ remove
//!                                                                             ▲   │
//!                            feed: note the turn, write the file ─────────────┘   └─ block: commit, then tell
//! ```
//!
//! A turn is noted before the agent can see it and a block is committed before anyone is told of it, so that whatever dies
//! in between, the store knows which messages are still owed an answer.
mod ending;
mod files;
mod hand;
mod live;
mod requests;
mod typing;
mod words;

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

use self::live::Live;
use super::{
    Notice,
    batch::next_batch,
    channels::Channels,
    control::Input,
    deliverer::Nudges,
    event::{Event, RunWord, StopReason},
};
use crate::{
    group::Group,
    launch::Launcher,
    mailbox::Watcher,
    message::Seq,
    run::{Retry, RunEnding, RunId, RunKind},
    runtime::{ContainerRuntime, RuntimeError},
    store::{NewRun, Store},
    time::Timestamp,
};

pub(super) use self::words::JOURNAL_LIMITS;

/// The numbers and names that runs go by.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// What the assistant is called.
    pub assistant_name: String,
    /// The zone in which the agent is told times.
    pub zone: jiff::tz::TimeZone,
    /// How long an agent that was asked to end may take before it is stopped.
    pub close_grace: Duration,
    /// How long a container that is stopped may take before it is killed.
    pub stop_grace: Duration,
    /// How long a container may take to read its prompt.
    pub stdin_limit: Duration,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            assistant_name: "Andy".to_owned(),
            zone: jiff::tz::TimeZone::UTC,
            close_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            stdin_limit: Duration::from_secs(60),
        }
    }
}

/// What all runs share.
pub(super) struct RunContext {
    pub(super) store: Arc<dyn Store>,
    pub(super) runtime: Arc<dyn ContainerRuntime>,
    pub(super) launcher: Arc<dyn Launcher>,
    pub(super) channels: Channels,
    pub(super) nudges: Nudges,
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) watcher: Watcher,
    pub(super) settings: RunSettings,
}

/// What the dispatcher asks of a run's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Feed,
    Close,
    Stop(StopReason),
}

/// Runs one container for `group` and returns how it ended, after everything it said is committed and it is removed.
pub(super) async fn run(
    context: Arc<RunContext>,
    group: Arc<Group>,
    id: RunId,
    kind: RunKind,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
) -> RunEnding {
    let words = Words { run: id.clone(), events };
    if let RunKind::Task(task) = &kind {
        let reason = format!("there is no task {task}");
        return RunEnding::NotStarted { reason, retry: Retry::Never };
    }
    let batch = match next_batch(
        &*context.store,
        &group.folder,
        Seq::ZERO,
        context.launcher.tuning(&group.folder).prompt,
        &context.settings.zone,
    )
    .await
    {
        Ok(Some(batch)) => batch,
        Ok(None) => {
            // Everything that waked is answered or given up by now: the dispatcher's knowledge is old.
            return match context.store.cursor(&group.folder).await {
                Ok(cursor) => {
                    words.say(RunWord::Answered { through: cursor }).await;
                    RunEnding::Finished
                }
                Err(error) => not_started(&error, Retry::Later),
            };
        }
        Err(error) => return not_started(&error, Retry::Later),
    };
    let new_run = NewRun { id: id.clone(), kind, runtime: context.runtime.kind(), at: Timestamp::now() };
    if let Err(error) = context.store.open_run(&new_run).await {
        return not_started(&error, Retry::Later);
    }
    tracing::info!(run = %id, runtime = %new_run.runtime, "run opened");
    let ending = match Live::start(&context, &group, &id, &batch, &words).await {
        Ok((live, container)) => live.serve(container, commands).await,
        Err(ending) => ending,
    };
    close(&*context.store, &id, &ending).await;
    ending
}

async fn close(store: &dyn Store, id: &RunId, ending: &RunEnding) {
    if ending.is_failure() {
        tracing::warn!(run = %id, "the run {ending}");
    } else {
        tracing::info!(run = %id, "the run {ending}");
    }
    // A run that cannot be closed now is closed as lost when the group's next one is opened.
    if let Err(error) = store.close_run(id, ending, Timestamp::now()).await {
        tracing::error!(run = %id, %error, "cannot note that the run has ended");
    }
}

pub(super) fn not_started(error: &dyn std::fmt::Display, retry: Retry) -> RunEnding {
    RunEnding::NotStarted { reason: error.to_string(), retry }
}

/// Whether a runtime's refusal can pass by itself.
pub(super) fn retry_of(error: &RuntimeError) -> Retry {
    match error {
        RuntimeError::Unavailable { .. }
        | RuntimeError::TimedOut { .. }
        | RuntimeError::Gone { .. }
        | RuntimeError::Other { .. } => Retry::Later,
        RuntimeError::NoImage { .. }
        | RuntimeError::BadCommand { .. }
        | RuntimeError::BadMount { .. }
        | RuntimeError::NotEnforced { .. } => Retry::Never,
    }
}

/// The worker's voice.
pub(super) struct Words {
    run: RunId,
    events: mpsc::Sender<Input>,
}

impl Words {
    pub(super) async fn say(&self, word: RunWord) {
        // When the loop has ended nobody needs to know any more.
        let _ = self.events.send(Input::Event(Event::Run { run: self.run.clone(), word })).await;
    }
}
