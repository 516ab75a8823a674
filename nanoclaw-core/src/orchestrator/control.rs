//! The loop that owns the dispatcher, and the handle by which others speak to it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::{Id, JoinHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    Inbox, Notice,
    channels::Channels,
    deliverer::{Deliverer, DeliverySettings, Nudges},
    directory::Directory,
    dispatcher::{DispatchSettings, Dispatcher},
    event::{Action, Event, GroupStatus, RunWord},
    recovery,
    run::{self, Command, RunContext, RunSettings},
};
use crate::{
    channel::Channel,
    chat::ChannelName,
    delivery::{DeliveryKey, NewDelivery},
    group::{Group, GroupFolder},
    launch::Launcher,
    mailbox::{MailboxError, Watcher},
    message::Seq,
    run::{RunEnding, RunId, RunNumber},
    runtime::ContainerRuntime,
    store::{Store, StoreError},
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
    notices: broadcast::Sender<Notice>,
    events: mpsc::Sender<Input>,
    inbox: Inbox,
}

/// The workers of an orchestrator: its owner waits for them.
pub struct Running {
    events: mpsc::Sender<Input>,
    main_loop: JoinHandle<()>,
    deliverer: JoinHandle<()>,
    stop_delivering: CancellationToken,
}

/// Events that may wait for the loop; who brings more waits itself.
const QUEUE: usize = 1024;
/// Commands that may wait for a worker: one feed, one close, one stop, and one to spare.
const COMMANDS: usize = 4;

impl Orchestrator {
    /// Finishes what an earlier host left, then starts working. Channels are added afterwards.
    ///
    /// # Errors
    /// When the store or the mailbox watcher fails; nothing is running then.
    pub async fn start(parts: Parts, settings: Settings) -> Result<(Self, Running), StartError> {
        let (events, inputs) = mpsc::channel(QUEUE);
        let (notices, _) = broadcast::channel(QUEUE);
        let (directory, channels, nudges) = (Directory::default(), Channels::default(), Nudges::default());
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
        });
        recovery::remove_orphans(&context).await?;
        let groups = recovery::groups(&context).await?;
        let mut main_loop = Loop {
            dispatcher: Dispatcher::new(settings.dispatch),
            context,
            directory: directory.clone(),
            events: events.clone(),
            workers: JoinSet::new(),
            running: HashMap::new(),
            runs: HashMap::new(),
        };
        for recovered in groups {
            directory.insert(recovered.group.clone());
            let event = Event::GroupAdded {
                times: main_loop.context.launcher.tuning(&recovered.group.folder).times,
                group: recovered.group.folder,
                last_run: recovered.last_run,
                newest: recovered.waiting.unwrap_or(Seq::ZERO),
                failures: recovered.failures,
            };
            main_loop.handle(event).await;
        }
        for row in parts.store.pending_deliveries().await? {
            nudges.chat(&row.delivery.chat);
        }
        let stop_delivering = CancellationToken::new();
        let deliverer = Deliverer {
            store: parts.store.clone(),
            channels: channels.clone(),
            nudges: nudges.clone(),
            settings: settings.delivery,
        };
        let running = Running {
            events: events.clone(),
            main_loop: tokio::spawn(main_loop.run(inputs)),
            deliverer: tokio::spawn(deliverer.run(stop_delivering.clone())),
            stop_delivering,
        };
        Ok((
            Self { store: parts.store, launcher: parts.launcher, directory, channels, nudges, notices, events, inbox },
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
        self.store.add_group(&group).await?;
        let last_run =
            self.store.runs(Some(&group.folder), 1).await?.first().map_or(RunNumber::ZERO, |run| run.id.number);
        self.directory.insert(group.clone());
        let times = self.launcher.tuning(&group.folder).times;
        let event = Event::GroupAdded { group: group.folder, times, last_run, newest: Seq::ZERO, failures: 0 };
        let _ = self.events.send(Input::Event(event)).await;
        Ok(())
    }

    /// Forgets a registration: its container is stopped, its folder and history stay.
    ///
    /// # Errors
    /// The store's: there is no such group.
    pub async fn remove_group(&self, folder: &GroupFolder) -> Result<(), StoreError> {
        self.store.remove_group(folder).await?;
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
    /// Stops every container, lets each message that is being sent finish, and returns when nothing runs any more, at the
    /// latest after `limit`. What was not answered is pending at the next start.
    pub async fn shut_down(self, limit: Duration) {
        let _ = self.events.send(Input::Event(Event::Shutdown)).await;
        let deadline = Instant::now() + limit;
        let mut main_loop = self.main_loop;
        if tokio::time::timeout_at(deadline, &mut main_loop).await.is_err() {
            tracing::error!(?limit, "containers did not end in time; leaving them");
            main_loop.abort();
        }
        self.stop_delivering.cancel();
        let mut deliverer = self.deliverer;
        if tokio::time::timeout_at(deadline + Duration::from_secs(5), &mut deliverer).await.is_err() {
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
    running: HashMap<Id, RunId>,
    runs: HashMap<RunId, mpsc::Sender<Command>>,
}

/// What a worker leaves when it ends.
enum Ended {
    Run(RunEnding),
    /// Messages were given up, or not (the store failed).
    GaveUp(Option<Event>),
}

impl Loop {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        while !self.dispatcher.drained() {
            let deadline = self.dispatcher.next_deadline();
            let event = tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Event(event)) => event,
                    Some(Input::Status(answer)) => {
                        let _ = answer.send(self.dispatcher.status());
                        continue;
                    }
                    None => break,
                },
                Some(ended) = self.workers.join_next_with_id() => match self.ended(ended) {
                    Some(event) => event,
                    None => continue,
                },
                () = async { tokio::time::sleep_until(deadline.expect("guarded")).await }, if deadline.is_some() => Event::Tick,
            };
            self.handle(event).await;
        }
        // Nothing but the notes of messages given up can be left.
        while self.workers.join_next().await.is_some() {}
    }

    async fn handle(&mut self, event: Event) {
        for action in self.dispatcher.handle(event, Instant::now()) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start { run, kind } => {
                let (sender, commands) = mpsc::channel(COMMANDS);
                self.runs.insert(run.clone(), sender);
                let group = self.directory.get(&run.group);
                let (context, events, id) = (self.context.clone(), self.events.clone(), run.clone());
                let worker = self.workers.spawn(async move {
                    let Some(group) = group else { return Ended::Run(RunEnding::Stopped) };
                    Ended::Run(run::run(context, group, id, kind, commands, events).await)
                });
                self.running.insert(worker.id(), run);
            }
            Action::Feed { run } => self.command(&run, Command::Feed),
            Action::Close { run } => self.command(&run, Command::Close),
            Action::Stop { run, why } => self.command(&run, Command::Stop(why)),
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

    fn ended(&mut self, ended: Result<(Id, Ended), tokio::task::JoinError>) -> Option<Event> {
        let (id, ending) = match ended {
            Ok((id, Ended::Run(ending))) => (id, ending),
            Ok((_, Ended::GaveUp(event))) => return event,
            Err(error) => {
                tracing::error!(%error, "a worker failed");
                (error.id(), RunEnding::Lost { reason: "its worker failed; see the log".to_owned() })
            }
        };
        let run = self.running.remove(&id)?;
        self.runs.remove(&run);
        Some(Event::Run { run, word: RunWord::Ended { ending } })
    }
}

/// Marks the messages, tells the chat, and says so; `None` when the store failed: the dispatcher tries them again later.
async fn give_up(context: &RunContext, group: &Group, through: Seq, reason: &str) -> Option<Event> {
    let text = format!(
        "I could not answer: the run {reason}. Your messages are kept; please write again once this is mended."
    );
    let notice = NewDelivery { key: DeliveryKey::gave_up(&group.folder, through), chat: group.chat.clone(), text };
    if let Err(error) = context.store.give_up(&group.folder, through, &notice, Timestamp::now()).await {
        tracing::error!(group = %group.folder, %error, "cannot give up messages; they are tried again");
        return None;
    }
    context.nudges.chat(&group.chat);
    let (folder, chat) = (group.folder.clone(), group.chat.clone());
    let notice = Notice::GaveUp { group: folder.clone(), chat, through, reason: reason.to_owned() };
    let _ = context.notices.send(notice);
    Some(Event::GaveUp { group: folder, through })
}
