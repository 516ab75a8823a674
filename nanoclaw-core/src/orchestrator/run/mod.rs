//! The worker of one run: owns a container from its first prompt to its removal.
//!
//! ```text
//!  open run ─▶ prepare ─▶ note the turn ─▶ start container ─▶ write prompt ─▶ serve ─▶ drain ─▶ see it gone ─▶ close run
//!                                                                             ▲   │
//!                            feed: note the turn, write the file ─────────────┘   └─ block: commit, then tell
//! ```
//!
//! A turn is noted before the agent can see it and a block is committed before anyone is told of it, so that whatever dies
//! in between, the store knows which messages are still owed an answer.

mod adopt;
mod beats;
mod clean_up;
mod complaints;
mod doubts;
mod effort;
mod ending;
mod errand;
mod files;
mod hand;
mod leftover;
mod lists;
mod live;
mod requests;
mod standby;
mod tries;
mod typing;
mod words;

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast, mpsc};

use self::live::{Left, Live, named_before};
use super::{
    Notice,
    agenda::Agenda,
    alerts::Alerts,
    batch::{Batch, Missing, PromptLimits, Wanted, next_batch},
    channels::Channels,
    control::Input,
    deliverer::Nudges,
    event::{Event, PromptSize, RunWord, StopReason},
    lists::Lists,
    registrar::Registrar,
};
use crate::{
    delivery::DeliveryKey,
    group::Group,
    launch::{LaunchNotice, Launcher},
    mailbox::Watcher,
    message::Seq,
    run::{Retry, RunEnding, RunId, RunKind, Trouble},
    runtime::{ContainerRuntime, ContainerSpec, RuntimeError},
    store::{NewRun, Store},
    time::Timestamp,
};

pub(super) use self::{
    adopt::{Adoptee, adopt, finish, stands},
    clean_up::{clean_up, worker_failed},
    complaints::in_short,
    doubts::Doubts,
    errand::Errand,
    files::off_the_loop,
    leftover::{Known, remedy},
    live::Held,
    standby::stand_by,
};

/// The numbers and names that runs go by.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// What the assistant is called.
    pub assistant_name: String,
    /// The zone in which the agent is told times.
    pub zone: jiff::tz::TimeZone,
    /// What the owner is told to do when the login for the model does not work: sentences.
    pub login_help: String,
    /// How long an agent that was asked to end may take before it is stopped.
    pub close_grace: Duration,
    /// How long a container that is stopped may take before it is killed.
    pub stop_grace: Duration,
    /// How long a container may take to read its prompt.
    pub stdin_limit: Duration,
    /// How long an agent that gives signs of life may go without one before its container is stopped. Several times
    /// [`BEAT_INTERVAL`](crate::protocol::alive::BEAT_INTERVAL).
    pub beat_limit: Duration,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            assistant_name: "Andy".to_owned(),
            zone: jiff::tz::TimeZone::UTC,
            login_help: "`nanoclaw doctor` says what is wrong with it and where it goes.".to_owned(),
            close_grace: Duration::from_secs(30),
            stop_grace: Duration::from_secs(10),
            stdin_limit: Duration::from_secs(60),
            beat_limit: Duration::from_secs(30),
        }
    }
}

/// The pauses between tries to close a run.
const CLOSE_PAUSES: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(3)];

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
    pub(super) doubts: Doubts,
    pub(super) alerts: Alerts,
    pub(super) registrar: Registrar,
    pub(super) lists: Lists,
    /// `None`: this host does not schedule.
    pub(super) agenda: Option<Agenda>,
}

impl RunContext {
    /// Tells the owner in the main chat, and the group's own people when there is none.
    async fn tell(&self, group: &Group, notices: Vec<LaunchNotice>) {
        let main = self.alerts.directory.main();
        let chat = main.as_ref().map_or(&group.chat, |main| &main.chat);
        for LaunchNotice { key, text } in notices {
            self.alerts.chat(chat, DeliveryKey::alert(format!("launch/{}/{key}", group.folder)), text).await;
        }
    }
}

/// What the dispatcher asks of a run's worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Use the container that was started ahead.
    Begin(PromptSize),
    Feed,
    Close,
    Stop(StopReason),
    /// Let go of the container, which goes on.
    Detach,
}

/// Runs one container for `group` and returns the worker's last word: how the run ended, after everything it said is
/// committed and its container is gone; or that the worker has let go of it.
pub(super) async fn run(
    context: Arc<RunContext>,
    group: Arc<Group>,
    id: RunId,
    kind: RunKind,
    prompt: PromptSize,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Input>,
) -> RunWord {
    let words = Words { run: id.clone(), events };
    match start_and_serve(&context, &group, &id, kind, prompt, &mut commands, &words).await {
        Left::Ended(ending) => RunWord::Ended { ending },
        Left::Running => RunWord::Detached,
    }
}

async fn start_and_serve(
    context: &RunContext,
    group: &Group,
    id: &RunId,
    kind: RunKind,
    prompt: PromptSize,
    commands: &mut mpsc::Receiver<Command>,
    words: &Words,
) -> Left {
    if let RunKind::Task(task) = kind {
        return errand::start_and_serve(context, group, id, task, commands, words).await;
    }
    let wanted = wanted(context, group, Seq::ZERO, limits_of(context, group, prompt));
    let batch = match next_batch(&*context.store, wanted, &Missing::new()).await {
        Ok(Some(batch)) => batch,
        Ok(None) => {
            // Everything that waked is answered or given up by now: the dispatcher's knowledge is old.
            return Left::Ended(match context.store.cursor(&group.folder).await {
                Ok(cursor) => {
                    words.say(RunWord::Answered { through: cursor }).await;
                    RunEnding::Finished
                }
                Err(error) => not_started(&error, HOST),
            });
        }
        Err(error) => return Left::Ended(not_started(&error, HOST)),
    };
    // A batch with files may have to be made anew, which is known later.
    let first_turn = batch.files.is_empty().then_some(batch.handed);
    let new_run =
        NewRun { id: id.clone(), kind, runtime: context.runtime.kind(), handed: first_turn, at: Timestamp::now() };
    // Neither needs the other. What is made ready for a run that cannot be opened is made ready anew for the next.
    let ready = make_ready(context, group, id, &new_run.kind, words);
    let (opened, ready, named) = tokio::join!(context.store.open_run(&new_run), ready, named_before(context, group));
    if let Err(error) = opened {
        let ending = not_started(&error, HOST);
        // It may be open all the same. When this fails too, whoever opens the group's next run closes it, or the next host.
        let _ = context.store.close_run(id, &ending, Timestamp::now()).await;
        return Left::Ended(ending);
    }
    tracing::info!(run = %id, runtime = %new_run.runtime, standby = false, "run opened");
    let started = async {
        let (live, spec) = ready?;
        live.start(&spec, prompt, batch, named?).await
    };
    let left = match started.await {
        Ok((live, container)) => live.serve(container, commands).await,
        Err(ending) => Left::Ended(ending),
    };
    leave(&*context.store, id, &left).await;
    left
}

/// Has everything made ready around the run of `id` for which the store need not know of it.
async fn make_ready<'a>(
    context: &'a RunContext,
    group: &'a Group,
    id: &'a RunId,
    kind: &RunKind,
    words: &'a Words,
) -> Result<(Live<'a>, ContainerSpec), RunEnding> {
    let prepared = context.launcher.prepare(group, id, kind).await;
    let launch = prepared.map_err(|error| RunEnding::NotStarted { reason: error.reason, retry: error.retry })?;
    let (mut live, spec) = Live::prepare(context, group, id, launch, words).await?;
    live.begin_lists();
    Ok((live, spec))
}

/// Closes the run if it is over.
async fn leave(store: &dyn Store, id: &RunId, left: &Left) {
    match left {
        Left::Ended(ending) => close(store, id, ending).await,
        Left::Running => tracing::info!(run = %id, "the run goes on without this host"),
    }
}

/// The messages beyond `after`, this many of them.
fn wanted<'a>(context: &'a RunContext, group: &'a Group, after: Seq, limits: PromptLimits) -> Wanted<'a> {
    Wanted { group: &group.folder, after, limits, zone: &context.settings.zone }
}

/// Puts the files of a batch where the agent finds them ([`batch::bring_files`](super::batch::bring_files)).
async fn bring_files(
    context: &RunContext,
    wanted: Wanted<'_>,
    batch: Batch,
) -> Result<Option<Batch>, crate::store::StoreError> {
    super::batch::bring_files(&*context.registrar.launcher, &*context.store, wanted, batch).await
}

/// How much is handed over at a time.
fn limits_of(context: &RunContext, group: &Group, prompt: PromptSize) -> PromptLimits {
    let mut limits = context.launcher.tuning(&group.folder).prompt;
    if prompt == PromptSize::Single {
        limits.messages = 1;
    }
    limits
}

async fn close(store: &dyn Store, id: &RunId, ending: &RunEnding) {
    if ending.is_failure() {
        // It may have the agent's last words in it.
        tracing::warn!(run = %id, "the run {}", complaints::in_short(&ending.to_string()));
    } else {
        tracing::info!(run = %id, "the run {ending}");
    }
    note_closed(store, id, ending).await;
}

async fn note_closed(store: &dyn Store, id: &RunId, ending: &RunEnding) {
    for pause in CLOSE_PAUSES.into_iter().map(Some).chain([None]) {
        let Err(error) = store.close_run(id, ending, Timestamp::now()).await else { return };
        tracing::error!(run = %id, %error, "cannot note that the run has ended");
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            // It is closed as lost when the group's next one is opened, or when the host starts.
            None => return,
        }
    }
}

pub(super) fn not_started(error: &dyn std::fmt::Display, retry: Retry) -> RunEnding {
    RunEnding::NotStarted { reason: error.to_string(), retry }
}

/// The runtime or the store does not do just now what it is asked.
pub(super) const HOST: Retry = Retry::WhenMended { trouble: Trouble::Host, after: None };

/// Whether a runtime's refusal can pass by itself.
pub(super) fn retry_of(error: &RuntimeError) -> Retry {
    if error.passes_by_itself() { HOST } else { Retry::WhenMended { trouble: Trouble::Setup, after: None } }
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
