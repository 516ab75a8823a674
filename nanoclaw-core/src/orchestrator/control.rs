//! The loop that owns the dispatcher, and the handle by which others speak to it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Inbox, Notice,
    alerts::Alerts,
    channels::Channels,
    deliverer::{Deliverer, DeliverySettings, HeardLate, LateWords, Nudges},
    directory::Directory,
    dispatcher::{DispatchSettings, Dispatcher},
    event::{Action, AtShutdown, Event, GroupStatus, RunWord},
    recovery::{self, Survey, SurveyError},
    retry::runtime_retry_delay,
    run::{self, Adoptee, Command, Doubts, RunContext, RunSettings},
    telling::{Pause, of_given_up, tell_of_pause},
};
use crate::{
    causes::with_causes,
    channel::{Channel, SendError},
    chat::ChannelName,
    delivery::{DeliveryKey, NewDelivery, OutboxId, Sent},
    group::{Group, GroupFolder},
    launch::Launcher,
    mailbox::{MailboxError, Watcher},
    message::Seq,
    run::{RunEnding, RunId, RunNumber},
    runtime::ContainerRuntime,
    store::{
        DeliveryState, GiveUp, GroupRecovery, Resolution, Resolved, SetAside, SetAsideState, Store, StoreError,
        StoredRun, TurnResolution, TurnResolved,
    },
    time::Timestamp,
};

/// The ports that an orchestrator works with.
pub struct Parts {
    /// Keeps everything.
    pub store: Arc<dyn Store>,
    /// Runs containers.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Makes runs ready.
    pub launcher: Arc<dyn Launcher>,
}

/// The numbers and names that an orchestrator goes by.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who may run.
    pub dispatch: DispatchSettings,
    /// How a run goes.
    pub run: RunSettings,
    /// How messages are sent.
    pub delivery: DeliverySettings,
}

/// Why an orchestrator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Files cannot be watched.
    #[error(transparent)]
    Mailbox(#[from] MailboxError),
}

/// What the loop takes.
pub(super) enum Input {
    Event(Event),
    Status(oneshot::Sender<Vec<GroupStatus>>),
}

/// A handle to a running orchestrator. Cheap to clone.
#[derive(Clone)]
pub struct Orchestrator {
    store: Arc<dyn Store>,
    launcher: Arc<dyn Launcher>,
    directory: Directory,
    channels: Channels,
    nudges: Nudges,
    late: LateWords,
    notices: broadcast::Sender<Notice>,
    events: mpsc::Sender<Input>,
    inbox: Inbox,
}

/// The workers of an orchestrator: its owner waits for them. Dropping it ends them where they stand, as a crash does; so does
/// giving up the start.
pub struct Running {
    events: mpsc::Sender<Input>,
    inbox: Inbox,
    main_loop: AbortOnDropHandle<()>,
    deliverer: AbortOnDropHandle<()>,
    stop_delivering: CancellationToken,
}

/// Events that may wait for the loop; who brings more waits itself.
const QUEUE: usize = 1024;
/// Commands that may wait for a worker: one feed, one close, one stop, one detach, and one to spare.
const COMMANDS: usize = 5;
/// How long the start waits for what adopted containers have said.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How many surveys try soon to remove what is dead and hurts nobody, and the pause between the later ones.
const DEAD_SURVEYS: u32 = 6;
const DEAD_PAUSE: Duration = Duration::from_secs(10 * 60);
/// How long messages may take to be sent that are due when the host ends.
const DRAIN: Duration = Duration::from_secs(5);
/// The most messages that a chat is told of when they are set aside.
const MOST_TOLD_OF: u32 = 1000;

impl Orchestrator {
    /// Finishes what an earlier host left, then starts working. Channels are added afterwards.
    ///
    /// # Errors
    /// When the store or the mailbox watcher fails; nothing is running then.
    pub async fn start(parts: Parts, settings: Settings) -> Result<(Self, Running), StartError> {
        let (events, inputs) = mpsc::channel(QUEUE);
        let (notices, _) = broadcast::channel(QUEUE);
        let (directory, channels, nudges) = (Directory::default(), Channels::default(), Nudges::default());
        let late = LateWords::default();
        let inbox = Inbox::new(parts.store.clone(), directory.clone(), &settings.run.assistant_name, events.clone());
        let context = Arc::new(RunContext {
            store: parts.store.clone(),
            runtime: parts.runtime,
            launcher: parts.launcher.clone(),
            channels: channels.clone(),
            nudges: nudges.clone(),
            notices: notices.clone(),
            watcher: Watcher::new()?,
            settings: settings.run,
            doubts: Doubts::default(),
        });
        let mut main_loop = Loop {
            dispatcher: Dispatcher::new(settings.dispatch),
            context: context.clone(),
            directory: directory.clone(),
            events: events.clone(),
            workers: JoinSet::new(),
            running: HashMap::new(),
            runs: HashMap::new(),
            held: BTreeMap::new(),
            look_again: LookAgain::No,
            paused: HashMap::new(),
        };
        for group in parts.store.groups().await? {
            directory.insert(group);
        }
        let caught_up = main_loop.take_in(parts.store.open_runs().await?).await?;
        for row in parts.store.pending_deliveries().await? {
            nudges.chat(&row.delivery.chat);
        }
        let stop_delivering = CancellationToken::new();
        let deliverer = Deliverer {
            store: parts.store.clone(),
            channels: channels.clone(),
            nudges: nudges.clone(),
            late: late.clone(),
            alerts: Alerts { store: parts.store.clone(), directory: directory.clone(), nudges: nudges.clone() },
            settings: settings.delivery,
        };
        let running = Running {
            events: events.clone(),
            inbox: inbox.clone(),
            main_loop: AbortOnDropHandle::new(tokio::spawn(main_loop.run(inputs))),
            deliverer: AbortOnDropHandle::new(tokio::spawn(deliverer.run(stop_delivering.clone()))),
            stop_delivering,
        };
        // Before a channel can bring news: what was said while no host was there comes first.
        if tokio::time::timeout(CATCH_UP, join_all(caught_up)).await.is_err() {
            tracing::warn!("adopted containers said so much that it is still being committed");
        }
        Ok((
            Self {
                store: parts.store,
                launcher: parts.launcher,
                directory,
                channels,
                nudges,
                late,
                notices,
                events,
                inbox,
            },
            running,
        ))
    }

    /// Where channels hand in what people write.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// What happens from now on. A receiver that falls behind misses some.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.notices.subscribe()
    }

    /// Adds a channel and sends what waited for it. One of the same name is replaced.
    pub fn add_channel(&self, channel: Arc<dyn Channel>) {
        self.channels.add(channel);
        self.nudges.channel_connected();
    }

    /// Takes a channel away; what is to be sent to its chats waits.
    pub fn remove_channel(&self, name: &ChannelName) {
        self.channels.remove(name);
    }

    /// A channel can send again: what waited for it is tried.
    pub fn channel_connected(&self) {
        self.nudges.channel_connected();
    }

    /// Registers a group; from now on its messages are stored and answered.
    ///
    /// # Errors
    /// The store's: the chat, the folder or the main role is taken.
    pub async fn add_group(&self, group: Group) -> Result<(), StoreError> {
        // Asked first: were it to fail afterwards, the group would be registered and nobody would serve it.
        let last_run =
            self.store.runs(Some(&group.folder), 1).await?.first().map_or(RunNumber::ZERO, |run| run.id.number);
        let group = match self.store.add_group(&group).await {
            Ok(()) => group,
            Err(error) => self.added_all_the_same(&group).await.ok_or(error)?,
        };
        self.directory.insert(group.clone());
        let times = self.launcher.tuning(&group.folder).times;
        let event =
            Event::GroupAdded { group: group.folder, times, last_run, newest: Seq::ZERO, failures: 0, adopted: None };
        let _ = self.events.send(Input::Event(event)).await;
        Ok(())
    }

    /// The group as it is stored when it is, and nobody serves it: a commit of which an error was told had happened all the
    /// same, perhaps that of an earlier try.
    async fn added_all_the_same(&self, group: &Group) -> Option<Group> {
        if self.directory.get(&group.folder).is_some() {
            return None;
        }
        let stored = self.store.groups().await.ok()?;
        stored.into_iter().find(|stored| stored.folder == group.folder && stored.chat == group.chat)
    }

    /// Forgets a registration: its container is stopped, its folder and history stay. What waits for an answer gets none,
    /// also when the group is added again.
    ///
    /// # Errors
    /// The store's: there is no such group.
    pub async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError> {
        if let Err(error) = self.store.remove_group(folder).await {
            // As above: it is served here and may be registered no more.
            let known = self.directory.get(folder).is_some();
            let stored = self.store.groups().await;
            if !known || !stored.is_ok_and(|stored| stored.iter().all(|group| group.folder != *folder)) {
                return Err(error);
            }
        }
        self.directory.remove(folder);
        let _ = self.events.send(Input::Event(Event::GroupRemoved { group: folder.clone() })).await;
        Ok(())
    }

    /// The group of a folder, if it is registered.
    #[must_use]
    pub fn group(&self, folder: &GroupFolder) -> Option<Arc<Group>> {
        self.directory.get(folder)
    }

    /// The group of a chat, if it is registered.
    #[must_use]
    pub fn group_of(&self, chat: &crate::chat::ChatId) -> Option<Arc<Group>> {
        self.directory.of_chat(chat)
    }

    /// Tries a group that waits for the end of a trouble, or for its next try, at once; all of them when `None`.
    pub async fn try_now(&self, group: Option<&GroupFolder>) {
        let _ = self.events.send(Input::Event(Event::TryNow { group: group.cloned() })).await;
    }

    /// Stops a group until it is [thawed](Self::thaw): its container is stopped, what is written to it is kept and waits. It is
    /// not kept over the end of the host.
    pub async fn freeze(&self, group: &GroupFolder) {
        let _ = self.events.send(Input::Event(Event::Freeze { group: group.clone() })).await;
    }

    /// A group that was frozen is answered again, beginning with what waits.
    pub async fn thaw(&self, group: &GroupFolder) {
        let _ = self.events.send(Input::Event(Event::Thaw { group: group.clone() })).await;
    }

    /// Does what a person decided about an outgoing message.
    ///
    /// # Errors
    /// The store's.
    pub async fn resolve_delivery(&self, id: OutboxId, resolution: Resolution) -> Result<Resolved, StoreError> {
        let resolved = self.store.resolve_delivery(id, resolution, Timestamp::now()).await;
        let row = match &resolved {
            // Also when it is dropped: others may have waited behind it.
            Ok(Resolved::Done(row)) => Some(row.clone()),
            Ok(Resolved::Refused(_) | Resolved::NoRow) => None,
            // If it happened all the same, it is to be sent.
            Err(_) => self.store.delivery_at(id).await.ok().flatten(),
        };
        if let Some(row) = row {
            self.nudges.chat(&row.delivery.chat);
        }
        resolved
    }

    /// Takes what the channel of this name says of a send when nobody waits for it any more: of an earlier connection, an
    /// earlier host, or after the time-out. `Ok`: it was sent; `Err` with `Retry` or `Permanent`: no send of this key went
    /// out; any other error says nothing. Only rows of the channel's own chats are touched, and only while they are not
    /// settled: then one that was sent counts as sent, and one that may have been sent, and was not, is tried again or
    /// failed by the usual rules.
    ///
    /// # Errors
    /// The store's: the word may be said again. Also when too many words wait.
    pub async fn heard_late(
        &self,
        channel: &ChannelName,
        key: &DeliveryKey,
        word: Result<Sent, SendError>,
    ) -> Result<HeardLate, StoreError> {
        use DeliveryState::{Pending, Sending, Unknown};
        let Some(row) = self.store.delivery(key).await? else { return Ok(HeardLate::Nothing) };
        let chat = &row.delivery.chat;
        if self.channels.of(chat).is_none_or(|owner| owner.name() != channel) {
            return Ok(HeardLate::NotYours);
        }
        match (&word, row.state) {
            (Ok(_), Pending | Sending | Unknown) => {}
            (Err(SendError::Retry { .. } | SendError::Permanent { .. }), Sending | Unknown) => {}
            _ => return Ok(HeardLate::Nothing),
        }
        if !self.late.note(chat, row.delivery.id, word) {
            let reason = "too many words on earlier sends wait; say it again later".to_owned();
            return Err(StoreError::Failed { action: "note what became of a message", reason });
        }
        self.nudges.chat(chat);
        Ok(HeardLate::Taken)
    }

    /// Decides about what was set aside in a group up to the message `last`; what is retried wakes the agent.
    ///
    /// # Errors
    /// The store's.
    pub async fn resolve_set_aside(
        &self,
        group: &GroupFolder,
        last: Seq,
        resolution: TurnResolution,
    ) -> Result<TurnResolved, StoreError> {
        let resolved = self.store.resolve_set_aside(group, last, resolution, Timestamp::now()).await;
        let newest = match &resolved {
            Ok(TurnResolved::Retried { newest }) => *newest,
            // It may have happened all the same, now or at an earlier try of which an error was told.
            Ok(TurnResolved::Already(SetAsideState::Retried)) | Err(_) => self.waiting(group).await,
            Ok(TurnResolved::Dropped | TurnResolved::Already(_) | TurnResolved::Unknown) => None,
        };
        if let Some(seq) = newest {
            let _ = self.events.send(Input::Event(Event::MessageWaiting { group: group.clone(), seq })).await;
        }
        resolved
    }

    /// The newest message of a group that waits, by the store.
    async fn waiting(&self, group: &GroupFolder) -> Option<Seq> {
        let groups = self.store.recover().await.ok()?;
        groups.into_iter().find(|one| one.group.folder == *group)?.waiting
    }

    /// Goes on without the messages of a group that wait, up to `through`. Nobody is told; they are marked as dropped.
    ///
    /// # Errors
    /// The store's.
    pub async fn drop_waiting(&self, group: &GroupFolder, through: Seq) -> Result<Option<SetAside>, StoreError> {
        let dropped = self.store.give_up(group, &GiveUp::dropped(through), Timestamp::now()).await?;
        if let (Some(dropped), Some(known)) = (&dropped, self.directory.get(group)) {
            let (chat, reason) = (known.chat.clone(), dropped.reason.clone());
            let _ = self.notices.send(Notice::GaveUp { group: group.clone(), chat, through, reason });
        }
        let _ = self.events.send(Input::Event(Event::GaveUp { group: group.clone(), through })).await;
        Ok(dropped)
    }

    /// Where every group stands, by folder; empty when the orchestrator has ended.
    pub async fn status(&self) -> Vec<GroupStatus> {
        let (answer, status) = oneshot::channel();
        if self.events.send(Input::Status(answer)).await.is_err() {
            return Vec::new();
        }
        status.await.unwrap_or_default()
    }
}

impl Running {
    /// Aborting these ends all workers where they stand, as a crash does: nothing is stopped, sent or noted. They are gone
    /// soon after, at their next turn.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn abort_handles(&self) -> Vec<tokio::task::AbortHandle> {
        vec![self.main_loop.abort_handle(), self.deliverer.abort_handle()]
    }

    /// Takes no message any more, lets go of every container or stops it, sends what is due, and returns when nothing of this
    /// host runs any more: after `limit` and five seconds at the latest. A run that is just starting goes on until its prompt
    /// is written. What was not answered is pending at the next start, or with its agent.
    ///
    /// [`AtShutdown::Leave`] is for runtimes whose containers outlive the host.
    pub async fn shut_down(self, limit: Duration, containers: AtShutdown) {
        self.inbox.close();
        let deadline = Instant::now() + limit;
        let _ = tokio::time::timeout_at(deadline, self.events.send(Input::Event(Event::Shutdown { containers }))).await;
        let mut main_loop = self.main_loop;
        if tokio::time::timeout_at(deadline, &mut main_loop).await.is_err() {
            tracing::error!(?limit, "runs were not let go of in time; leaving them as they are");
            main_loop.abort();
        }
        self.stop_delivering.cancel();
        let mut deliverer = self.deliverer;
        if tokio::time::timeout(DRAIN, &mut deliverer).await.is_err() {
            tracing::error!("a message was still being sent; it is tried again at the next start");
            deliverer.abort();
        }
    }
}

/// Owns the dispatcher and every run's worker.
struct Loop {
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
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
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

    // --- what an earlier host left ----------------------------------------------------------------------------------

    /// Looks what became of the runs in `left` and makes the dispatcher know every group, those first whose runs go on or may
    /// go on. What is returned resolves when what the adopted ones said meanwhile is committed.
    async fn take_in(&mut self, left: Vec<StoredRun>) -> Result<Vec<oneshot::Receiver<()>>, StartError> {
        let Survey { adopted, held: left, left_over, .. } = match recovery::survey(&self.context, &left).await {
            Ok(survey) => survey,
            Err(SurveyError::Store(error)) => return Err(error.into()),
            Err(SurveyError::Runtime(error)) => {
                tracing::error!(error = with_causes(&error), "cannot learn which containers the last host left");
                let groups = self.context.store.groups().await?.into_iter().map(|group| group.folder);
                for group in groups.chain(left.iter().map(|run| run.id.group.clone())) {
                    self.context.doubts.note(&group);
                }
                Survey { held: left, ..Survey::default() }
            }
        };
        let mut recovered = self.context.store.recover().await?;
        let mut stand = HashMap::new();
        for run in adopted.iter().map(|adoptee| &adoptee.run).chain(&left) {
            // One whose group is removed has nobody to wait for it.
            if self.directory.get(&run.id.group).is_none() {
                continue;
            }
            let cursor = self.context.store.cursor(&run.id.group).await?;
            let turns = self.context.store.turns(&run.id).await?;
            stand.insert(run.id.group.clone(), run::stands(run, &turns, cursor));
        }
        recovered.sort_by_key(|group| !stand.contains_key(&group.group.folder));
        let mut caught_up = Vec::new();
        for adoptee in adopted {
            let (sender, commands) = mpsc::channel(COMMANDS);
            self.runs.insert(adoptee.run.id.clone(), sender);
            caught_up.push(self.adopt(adoptee, commands));
        }
        for run in &left {
            let (sender, commands) = mpsc::channel(COMMANDS);
            self.runs.insert(run.id.clone(), sender);
            self.held.insert(run.id.clone(), (run.clone(), commands));
        }
        // First, so that nothing is started in a slot that is taken.
        self.count_left_over(left_over, |run| recovered.iter().any(|known| known.group.folder == run.group)).await;
        for GroupRecovery { group, last_run, waiting, failures } in recovered {
            let event = Event::GroupAdded {
                times: self.context.launcher.tuning(&group.folder).times,
                last_run,
                newest: waiting.unwrap_or(Seq::ZERO),
                failures,
                adopted: stand.remove(&group.folder),
                group: group.folder,
            };
            self.handle(event).await;
        }
        self.look_again(0);
        Ok(caught_up)
    }

    /// Starts the worker of an adopted run. What it is to do waits in `commands`, be it that its group was removed meanwhile.
    fn adopt(&mut self, adoptee: Adoptee, commands: mpsc::Receiver<Command>) -> oneshot::Receiver<()> {
        let run = adoptee.run.id.clone();
        let (caught_up, seen) = oneshot::channel();
        let (context, events) = (self.context.clone(), self.events.clone());
        let worker = self
            .workers
            .spawn(async move { Ended::Run(run::adopt(context, adoptee, commands, events, caught_up).await) });
        self.running.insert(worker.id(), (run, Work::Run));
        seen
    }

    /// Says how many containers live, or may, that no group's run accounts for: those that a survey found, and those of held
    /// runs whose groups are not `known`.
    async fn count_left_over(&mut self, found: usize, known: impl Fn(&RunId) -> bool) {
        let of_nobody = self.held.keys().filter(|run| !known(run)).count();
        self.handle(Event::LeftOver { containers: found + of_nobody }).await;
    }

    fn survey_again(&mut self) {
        let LookAgain::At(_, tries, _) = self.look_again else { return };
        let context = self.context.clone();
        let left: Vec<StoredRun> = self.held.values().map(|(run, _)| run.clone()).collect();
        let looking = self.workers.spawn(async move { Ended::Surveyed(recovery::survey(&context, &left).await) });
        self.look_again = LookAgain::Looking(tries, looking);
    }

    async fn surveyed(&mut self, result: Result<Survey, SurveyError>) {
        let LookAgain::Looking(tries, _) = self.look_again else { return };
        self.look_again = LookAgain::No;
        let Survey { adopted, ended, held, left_over } = match result {
            Ok(survey) => survey,
            Err(error) => {
                tracing::error!(error = with_causes(&error), "it is still not known which containers there are");
                return self.look_again(tries);
            }
        };
        for adoptee in adopted {
            if let Some((_, commands)) = self.held.remove(&adoptee.run.id) {
                self.adopt(adoptee, commands);
            }
        }
        let mut ended: HashMap<RunId, RunEnding> = ended.into_iter().collect();
        let over: Vec<RunId> =
            self.held.keys().filter(|run| held.iter().all(|held| held.id != **run)).cloned().collect();
        for run in over {
            self.held.remove(&run);
            let ending = ended.remove(&run).unwrap_or(RunEnding::HostEnded);
            self.held_ended(run, RunWord::Ended { ending }).await;
        }
        let groups: Vec<GroupFolder> = self.held.keys().map(|run| run.group.clone()).collect();
        let unknown: Vec<GroupFolder> = groups.into_iter().filter(|group| !self.dispatcher.knows(group)).collect();
        self.count_left_over(left_over, |run| !unknown.contains(&run.group)).await;
        self.look_again(tries);
    }

    /// A held run is over, or nobody waits for it any more.
    async fn held_ended(&mut self, run: RunId, word: RunWord) {
        self.runs.remove(&run);
        // What it had said by then is answered.
        if let Ok(through) = self.context.store.cursor(&run.group).await {
            self.handle(Event::Run { run: run.clone(), word: RunWord::Answered { through } }).await;
        }
        self.handle(Event::Run { run, word }).await;
    }

    /// Plans the next survey if there is any need of one; `tries` were made for what is pressing.
    fn look_again(&mut self, tries: u32) {
        if self.dispatcher.is_shutting_down() {
            return;
        }
        let urgency =
            if self.held.is_empty() && !self.context.doubts.any() { Urgency::Leisurely } else { Urgency::Pressing };
        if urgency == Urgency::Leisurely && !self.context.doubts.any_dead() {
            return;
        }
        let tries = tries.saturating_add(1);
        let delay =
            if urgency == Urgency::Leisurely && tries > DEAD_SURVEYS { DEAD_PAUSE } else { runtime_retry_delay(tries) };
        let at = Instant::now() + delay;
        self.look_again = match self.look_again {
            LookAgain::No => LookAgain::At(at, tries, urgency),
            LookAgain::At(planned, _, Urgency::Leisurely) if urgency == Urgency::Pressing => {
                LookAgain::At(planned.min(at), tries, urgency)
            }
            // Who looks now plans anew when that is over.
            LookAgain::At(..) | LookAgain::Looking(..) => return,
        };
        if !self.held.is_empty() {
            let groups: Vec<_> = self.held.keys().map(|run| run.group.as_str()).collect();
            tracing::error!(
                ?groups,
                ?delay,
                "the groups whose runs were open wait until it is known whether their containers live"
            );
        }
    }

    fn stop_looking(&mut self) {
        if let LookAgain::Looking(_, looking) = std::mem::replace(&mut self.look_again, LookAgain::No) {
            looking.abort();
        }
    }

    // --- acting -----------------------------------------------------------------------------------------------------

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
        for action in self.dispatcher.handle(event, Instant::now()) {
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

/// Sets the messages aside, tells the chat, and says so; `None` when the store failed: the dispatcher tries them again later.
async fn give_up(context: &RunContext, group: &Group, through: Seq, reason: &str) -> Option<Event> {
    let folder = group.folder.clone();
    match set_aside(context, group, through, reason).await {
        Ok(Some(_)) => {
            tracing::error!(group = %folder, %through, reason, "messages are set aside; `nanoclaw turns list` shows them");
            context.nudges.chat(&group.chat);
            let (group, chat) = (folder.clone(), group.chat.clone());
            let _ = context.notices.send(Notice::GaveUp { group, chat, through, reason: reason.to_owned() });
        }
        // They were answered or dropped meanwhile.
        Ok(None) => {}
        Err(error) => {
            tracing::error!(group = %folder, %error, "cannot give up messages; they are tried again");
            // If it happened all the same, the notice is to be sent.
            context.nudges.chat(&group.chat);
            return None;
        }
    }
    Some(Event::GaveUp { group: folder, through })
}

async fn set_aside(
    context: &RunContext,
    group: &Group,
    through: Seq,
    reason: &str,
) -> Result<Option<SetAside>, StoreError> {
    let folder = &group.folder;
    let mut messages = context.store.messages_after(folder, Seq::ZERO, MOST_TOLD_OF).await?;
    messages.retain(|stored| stored.seq <= through);
    let text = of_given_up(folder, through, &messages, reason);
    let run = context.store.runs(Some(folder), 1).await?.first().map(|run| run.id.number);
    let notice = NewDelivery { key: DeliveryKey::gave_up(folder, through), chat: group.chat.clone(), text };
    let (reason, state) = (reason.to_owned(), SetAsideState::Kept);
    let given_up = GiveUp { through, reason, run, state, notice: Some(notice) };
    context.store.give_up(folder, &given_up, Timestamp::now()).await
}
