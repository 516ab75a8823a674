//! The loop that owns the dispatcher and every run's worker: tells the dispatcher what happened, does what it decides.

mod earlier;
mod giving_up;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::{
    sync::mpsc,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};

use self::giving_up::give_up;
use super::{
    Notice,
    alerts::Alerts,
    control::Input,
    directory::Directory,
    dispatcher::Dispatcher,
    event::{Action, Event, GroupStatus, RunWord},
    observer::Observer,
    recovery::{Survey, SurveyError},
    run::{self, Command, RunContext, RunSettings},
    telling::{Pause, tell_of_pause},
};
use crate::{
    delivery::DeliveryKey,
    group::{Group, GroupFolder},
    run::{RunEnding, RunId},
    store::StoredRun,
};

/// Commands that may wait for a worker: one begin, one feed, one close, one stop, one detach, and one to spare.
const COMMANDS: usize = 6;

/// Owns the dispatcher and every run's worker.
pub(super) struct Loop {
    dispatcher: Dispatcher,
    context: Arc<RunContext>,
    directory: Directory,
    events: mpsc::Sender<Input>,
    workers: JoinSet<Ended>,
    /// Which run a worker is for, by the worker's id, so that one that panics is known.
    running: HashMap<Id, (RunId, Work)>,
    runs: HashMap<RunId, mpsc::Sender<Command>>,
    /// Open runs of an earlier host of which nobody knows how they stand. They hold their slots and their commands wait,
    /// until that is known.
    held: BTreeMap<RunId, (StoredRun, mpsc::Receiver<Command>)>,
    look_again: LookAgain,
    /// What groups wait for the end of; may hold some that wait no more.
    paused: HashMap<GroupFolder, (Pause, Instant)>,
    /// Whoever counts.
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// What a run's worker is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Run,
    /// Cleaning up after one that failed.
    CleanUp,
}

/// Whether somebody has to look again which containers there are that nobody wants, or nobody knows.
enum LookAgain {
    No,
    /// Then, after as many tries.
    At(Instant, u32, Urgency),
    Looking(u32, AbortHandle),
}

/// Whether somebody waits for what is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    Pressing,
    Leisurely,
}

/// What a worker leaves when it ends.
enum Ended {
    /// Its last word.
    Run(RunWord),
    /// What an earlier host left, at last.
    Surveyed(Result<Survey, SurveyError>),
    /// Messages were given up, or not (the store failed).
    GaveUp(Option<Event>),
    /// People were told of a trouble.
    Told,
}

impl Loop {
    /// A loop that knows no group yet: [`take_in`](Self::take_in) comes first.
    pub(super) fn new(
        dispatcher: Dispatcher,
        context: Arc<RunContext>,
        directory: Directory,
        events: mpsc::Sender<Input>,
    ) -> Self {
        Self {
            dispatcher,
            context,
            directory,
            events,
            workers: JoinSet::new(),
            running: HashMap::new(),
            runs: HashMap::new(),
            held: BTreeMap::new(),
            look_again: LookAgain::No,
            paused: HashMap::new(),
            observer: None,
        }
    }

    /// Until the host is to end and every run is let go of.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while !self.dispatcher.drained() {
            let deadline = self.dispatcher.next_deadline();
            let look_again_at = match self.look_again {
                LookAgain::At(at, ..) => Some(at),
                LookAgain::No | LookAgain::Looking(..) => None,
            };
            // A tick leaves no deadline that has passed, and only so many workers can have ended: neither can keep the
            // queue, which has no end, from being heard.
            tokio::select! {
                biased;
                () = async { tokio::time::sleep_until(deadline.expect("guarded")).await }, if deadline.is_some() => {
                    self.handle(Event::Tick).await;
                }
                () = async { tokio::time::sleep_until(look_again_at.expect("guarded")).await }, if look_again_at.is_some() => {
                    self.survey_again();
                }
                Some(ended) = self.workers.join_next_with_id() => {
                    // A run's last words lie in the queue before its worker ends, and are heard before its end.
                    for _ in 0..inputs.len() {
                        if let Ok(input) = inputs.try_recv() {
                            self.take(input).await;
                        }
                    }
                    match ended {
                        Ok((_, Ended::Surveyed(result))) => self.surveyed(result).await,
                        ended => {
                            if let Some(event) = self.ended(ended) {
                                self.handle(event).await;
                            }
                        }
                    }
                }
                input = inputs.recv() => match input {
                    Some(input) => self.take(input).await,
                    None => break,
                },
            }
        }
        // Nothing but the notes of messages given up can be left.
        self.stop_looking();
        while self.workers.join_next().await.is_some() {}
    }

    async fn take(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.handle(event).await,
            Input::Status(answer) => {
                let _ = answer.send(self.status());
            }
        }
    }

    fn status(&self) -> Vec<GroupStatus> {
        let mut status = self.dispatcher.status();
        for group in &mut status {
            if self.held.keys().any(|run| run.group == group.group) {
                group.state = "held";
            }
        }
        status
    }

    async fn handle(&mut self, event: Event) {
        let ends = matches!(event, Event::Shutdown { .. });
        if let (Event::TryNow { group: None }, LookAgain::At(at, ..)) = (&event, &mut self.look_again) {
            // Whoever thinks that it works now means this as well.
            *at = Instant::now();
        }
        let message_of = match &event {
            Event::MessageWaiting { group, .. } if self.paused.contains_key(group) => Some(group.clone()),
            _ => None,
        };
        let now = Instant::now();
        if let Some(observer) = &self.observer {
            observer.heard(&event, now);
        }
        for action in self.dispatcher.handle(event, now) {
            if let Some(observer) = &self.observer {
                observer.decided(&action, now);
            }
            self.act(action);
        }
        if let Some(group) = message_of {
            self.remind(&group);
        }
        if ends {
            // Nobody can do anything about these; the next host looks again.
            self.stop_looking();
            for run in std::mem::take(&mut self.held).into_keys() {
                self.runs.remove(&run);
                self.dispatcher.handle(Event::Run { run, word: RunWord::Detached }, Instant::now());
            }
        }
    }

    /// Somebody wrote to a group: whoever watches is told when it still waits for the end of a trouble.
    fn remind(&mut self, group: &GroupFolder) {
        if !self.dispatcher.is_paused(group) {
            self.paused.remove(group);
            return;
        }
        if let (Some((pause, until)), Some(known)) = (self.paused.get(group), self.directory.get(group)) {
            let pause = Pause { retry_in: until.saturating_duration_since(Instant::now()), ..pause.clone() };
            let _ = self.context.notices.send(paused(&known, pause, None));
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { run, kind, prompt } => {
                let (sender, commands) = mpsc::channel(COMMANDS);
                self.runs.insert(run.clone(), sender);
                let group = self.directory.get(&run.group);
                let (context, events, id) = (self.context.clone(), self.events.clone(), run.clone());
                let worker = self.workers.spawn(async move {
                    let Some(group) = group else {
                        return Ended::Run(RunWord::Ended { ending: RunEnding::Stopped });
                    };
                    Ended::Run(run::run(context, group, id, kind, prompt, commands, events).await)
                });
                self.running.insert(worker.id(), (run, Work::Run));
            }
            Action::StandBy { run } => {
                let (sender, commands) = mpsc::channel(COMMANDS);
                self.runs.insert(run.clone(), sender);
                let group = self.directory.get(&run.group);
                let (context, events, id) = (self.context.clone(), self.events.clone(), run.clone());
                let worker = self.workers.spawn(async move {
                    let Some(group) = group else { return Ended::Run(RunWord::Unused { failed: false }) };
                    Ended::Run(run::stand_by(context, group, id, commands, events).await)
                });
                self.running.insert(worker.id(), (run, Work::Run));
            }
            Action::Begin { run, prompt } => self.command(&run, Command::Begin(prompt)),
            Action::Feed { run } => self.command(&run, Command::Feed),
            Action::Close { run } => self.command(&run, Command::Close),
            Action::Stop { run, why } => self.command(&run, Command::Stop(why)),
            Action::Detach { run } => self.command(&run, Command::Detach),
            Action::ReportFailure { group, reason, retry_in } => {
                tracing::warn!(%group, %reason, ?retry_in, "a run failed; trying again");
                if let Some(known) = self.directory.get(&group) {
                    let _ = self.context.notices.send(Notice::RunFailed {
                        group,
                        chat: known.chat.clone(),
                        reason,
                        retry_in,
                    });
                }
            }
            Action::Paused { run, trouble, reason, retry_in, tell } => {
                tracing::warn!(%run, %trouble, %reason, ?retry_in, "the group waits for this to be mended");
                let pause = Pause { trouble, reason, retry_in };
                self.paused.insert(run.group.clone(), (pause.clone(), Instant::now() + retry_in));
                let Some(group) = self.directory.get(&run.group) else { return };
                let alerts = Alerts {
                    store: self.context.store.clone(),
                    directory: self.directory.clone(),
                    nudges: self.context.nudges.clone(),
                };
                let context = self.context.clone();
                self.workers.spawn(async move {
                    let RunSettings { zone, login_help, .. } = &context.settings;
                    let told = tell_of_pause(&alerts, &group, &pause, tell, zone, login_help).await;
                    let _ = context.notices.send(paused(&group, pause, told));
                    Ended::Told
                });
            }
            Action::GiveUp { group, through, reason } => {
                let known = self.directory.get(&group);
                let context = self.context.clone();
                self.workers.spawn(async move {
                    let Some(known) = known else { return Ended::GaveUp(None) };
                    Ended::GaveUp(give_up(&context, &known, through, &reason).await)
                });
            }
        }
    }

    fn command(&self, run: &RunId, command: Command) {
        // The queue has room for every command that the dispatcher can give one run; a worker that has ended takes none,
        // and its end is on its way.
        if let Some(worker) = self.runs.get(run)
            && let Err(mpsc::error::TrySendError::Full(command)) = worker.try_send(command)
        {
            tracing::error!(%run, ?command, "a run's worker does not take commands");
        }
    }

    fn ended(&mut self, ended: Result<(Id, Ended), JoinError>) -> Option<Event> {
        let (id, word) = match ended {
            Ok((id, Ended::Run(word))) => (id, word),
            Ok((_, Ended::GaveUp(event))) => return event,
            Ok((_, Ended::Surveyed(_) | Ended::Told)) => return None,
            Err(error) if error.is_cancelled() => return None,
            Err(error) => (error.id(), self.failed(&error)?),
        };
        let (run, _) = self.running.remove(&id)?;
        self.runs.remove(&run);
        self.look_again(0);
        Some(Event::Run { run, word })
    }

    /// A worker panicked; the last word of its run, if it is over by that.
    fn failed(&mut self, error: &JoinError) -> Option<RunWord> {
        tracing::error!(%error, "a worker failed");
        if let LookAgain::Looking(tries, looking) = &self.look_again
            && looking.id() == error.id()
        {
            let tries = *tries;
            self.look_again = LookAgain::No;
            self.look_again(tries);
        }
        let (run, work) = self.running.get(&error.id()).cloned()?;
        if self.dispatcher.is_shutting_down() {
            // It stays open; the next host sees to it.
            return Some(RunWord::Detached);
        }
        if work == Work::CleanUp {
            // Once is enough. Whether its container lives is looked into before the group's next run, and by a survey.
            self.context.doubts.abandon(&run);
            return Some(RunWord::Ended { ending: run::worker_failed() });
        }
        self.running.remove(&error.id());
        let (sender, commands) = mpsc::channel(COMMANDS);
        self.runs.insert(run.clone(), sender);
        let (context, events, id) = (self.context.clone(), self.events.clone(), run.clone());
        let group = self.directory.get(&run.group);
        let worker =
            self.workers.spawn(async move { Ended::Run(run::clean_up(context, group, id, commands, events).await) });
        self.running.insert(worker.id(), (run, Work::CleanUp));
        None
    }
}

fn paused(group: &Group, pause: Pause, told: Option<DeliveryKey>) -> Notice {
    let Pause { trouble, reason, retry_in } = pause;
    Notice::Paused { group: group.folder.clone(), chat: group.chat.clone(), trouble, reason, retry_in, told }
}
