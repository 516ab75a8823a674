//! The handle by which others speak to an orchestrator: what it is made of, what can be asked of it, how it ends.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Inbox, Notice,
    agenda::Agenda,
    alerts::Alerts,
    channels::Channels,
    commands::Commands,
    deliverer::{Deliverer, DeliverySettings, HeardLate, LateWords, Nudges},
    directory::Directory,
    dispatcher::{DispatchSettings, Dispatcher},
    doorkeeper::Doorkeeper,
    event::{AtShutdown, Event, GroupStatus},
    lists::{Changed, Lists},
    main_loop::Loop,
    observer::Observer,
    pairings::Pairings,
    registrar::Registrar,
    run::{Doubts, RunContext, RunSettings},
    scheduler::Scheduler,
};
use crate::{
    causes::with_causes,
    channel::{Channel, SendError},
    chat::ChannelName,
    clock::WallClock,
    delivery::{DeliveryKey, OutboxId, Sent},
    group::{Group, GroupFolder},
    launch::Launcher,
    mailbox::{MailboxError, Watcher},
    message::Seq,
    pairing::{Pairing, PairingId},
    runtime::ContainerRuntime,
    senders::{Senders, UnknownPrivate},
    store::{
        DeliveryState, GiveUp, NextSession, Resolution, Resolved, SessionEnded, SetAside, SetAsideState, Store,
        StoreError, TurnResolution, TurnResolved,
    },
    tasks::{TaskSettings, Tasks},
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
    /// What scheduled tasks need; `None`: this host does not schedule, and tells agents that ask so.
    pub scheduling: Option<Scheduling>,
    /// Who may speak to agents; `None`: everybody may.
    pub senders: Option<Arc<dyn Senders>>,
}

/// What scheduled tasks need.
pub struct Scheduling {
    /// Keeps them. It is the store.
    pub tasks: Arc<dyn Tasks>,
    /// Says when their time has come.
    pub clock: Arc<dyn WallClock>,
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
    /// What strangers are told.
    pub unknown_private: UnknownPrivate,
    /// What scheduled tasks go by.
    pub tasks: TaskSettings,
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
    registrar: Registrar,
    agenda: Option<Agenda>,
    pairings: Pairings,
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
    scheduler: Option<AbortOnDropHandle<()>>,
    deliverer: AbortOnDropHandle<()>,
    stop_scheduling: CancellationToken,
    stop_delivering: CancellationToken,
}

/// Events that may wait for the loop; who brings more waits itself.
const QUEUE: usize = 1024;
/// How long the start waits for what adopted containers have said.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long messages may take to be sent that are due when the host ends.
const DRAIN: Duration = Duration::from_secs(5);
impl Orchestrator {
    /// Finishes what an earlier host left, then starts working. Channels are added afterwards.
    ///
    /// # Errors
    /// When the store or the mailbox watcher fails; nothing is running then.
    pub async fn start(parts: Parts, settings: Settings) -> Result<(Self, Running), StartError> {
        Self::start_observed(parts, settings, None).await
    }

    /// The same, with somebody who hears what the loop hears and decides.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_observed(
        parts: Parts,
        settings: Settings,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<(Self, Running), StartError> {
        let (events, inputs) = mpsc::channel(QUEUE);
        let (notices, _) = broadcast::channel(QUEUE);
        let (directory, channels, nudges) = (Directory::default(), Channels::default(), Nudges::default());
        let late = LateWords::default();
        let alerts = Alerts { store: parts.store.clone(), directory: directory.clone(), nudges: nudges.clone() };
        let doorkeeper = Doorkeeper::new(parts.senders, settings.unknown_private, alerts.clone());
        let lists = Lists::default();
        let registrar = Registrar {
            store: parts.store.clone(),
            launcher: parts.launcher.clone(),
            directory: directory.clone(),
            lists: lists.clone(),
            events: events.clone(),
        };
        let (pokes, poked) = mpsc::unbounded_channel();
        let (tasks, clock) = parts.scheduling.map(|Scheduling { tasks, clock }| (tasks, clock)).unzip();
        let agenda = tasks.map(|tasks| Agenda {
            tasks,
            settings: settings.tasks,
            directory: directory.clone(),
            nudges: nudges.clone(),
            lists: lists.clone(),
            events: events.clone(),
            pokes,
        });
        let pairings = Pairings::new(parts.store.clone(), registrar.clone(), nudges.clone());
        let inbox = Inbox::new(
            alerts.clone(),
            doorkeeper.clone(),
            Commands {
                store: parts.store.clone(),
                agenda: agenda.clone(),
                nudges: nudges.clone(),
                events: events.clone(),
                notices: notices.clone(),
            },
            pairings.clone(),
            &settings.run.assistant_name,
            events.clone(),
        );
        let (watcher, without) = Watcher::new_or_rescan();
        if let Some(error) = without {
            // A container of this user that an earlier host left may hold all that there are; it must not keep us from starting.
            tracing::warn!(
                error = with_causes(&error),
                "mailboxes are looked at all the time instead of being watched"
            );
        }
        let context = Arc::new(RunContext {
            registrar: registrar.clone(),
            lists,
            agenda: agenda.clone(),
            store: parts.store.clone(),
            runtime: parts.runtime,
            launcher: parts.launcher.clone(),
            channels: channels.clone(),
            nudges: nudges.clone(),
            notices: notices.clone(),
            watcher,
            settings: settings.run,
            doubts: Doubts::default(),
            alerts: alerts.clone(),
        });
        let mut main_loop =
            Loop::new(Dispatcher::new(settings.dispatch), context.clone(), directory.clone(), events.clone());
        main_loop.observer = observer;
        for group in parts.store.groups().await? {
            directory.insert(group);
        }
        // A list that is bad is told of now, and not when somebody waits for an answer.
        doorkeeper.policy().await;
        let caught_up = main_loop.take_in(parts.store.open_runs().await?).await?;
        for row in parts.store.pending_deliveries().await? {
            nudges.chat(&row.delivery.chat);
        }
        let (stop_scheduling, stop_delivering) = (CancellationToken::new(), CancellationToken::new());
        let scheduler = agenda.clone().zip(clock).map(|(agenda, clock)| {
            let scheduler = Scheduler::new(agenda, parts.store.clone(), clock, poked);
            AbortOnDropHandle::new(tokio::spawn(scheduler.run(stop_scheduling.clone())))
        });
        let deliverer = Deliverer {
            store: parts.store.clone(),
            channels: channels.clone(),
            nudges: nudges.clone(),
            late: late.clone(),
            alerts,
            settings: settings.delivery,
        };
        let running = Running {
            events: events.clone(),
            inbox: inbox.clone(),
            main_loop: AbortOnDropHandle::new(tokio::spawn(main_loop.run(inputs))),
            scheduler,
            deliverer: AbortOnDropHandle::new(tokio::spawn(deliverer.run(stop_delivering.clone()))),
            stop_scheduling,
            stop_delivering,
        };
        // Before a channel can bring news: what was said while no host was there comes first.
        if tokio::time::timeout(CATCH_UP, join_all(caught_up)).await.is_err() {
            tracing::warn!("adopted containers said so much that it is still being committed");
        }
        let store = parts.store;
        let orchestrator =
            Self { store, registrar, agenda, pairings, directory, channels, nudges, late, notices, events, inbox };
        Ok((orchestrator, running))
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
        self.registrar.add(group).await
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
        self.registrar.lists.say(Changed::Groups);
        // At once: what the loop starts for a group that is not in the directory ends in the same moment, again and again.
        let _ = self.events.send(Input::Event(Event::GroupRemoved { group: folder.clone() })).await;
        if let Some(agenda) = &self.agenda
            && let Err(error) = agenda.group_removed(folder).await
        {
            tracing::warn!(group = %folder, %error, "cannot put the group's tasks to rest; trying again");
            agenda.doubt();
        }
        Ok(())
    }

    /// Ends the conversation of a group's chat, which goes on with the next. A run that is live answers what it has and ends.
    ///
    /// # Errors
    /// The store's: there is no such group.
    pub async fn end_session(&self, group: &GroupFolder, next: &NextSession) -> Result<SessionEnded, StoreError> {
        let ended = self.store.end_session(group, next, None, Timestamp::now()).await;
        // Also when an error is told: it may have happened all the same.
        if !matches!(ended, Ok(SessionEnded::Same)) {
            let _ = self.events.send(Input::Event(Event::SessionEnded { group: group.clone() })).await;
        }
        ended
    }

    /// Begins a pairing: its code is heard from now on, and that of the last one is void.
    ///
    /// # Errors
    /// The store's.
    pub async fn begin_pairing(&self, pairing: &Pairing) -> Result<(), StoreError> {
        self.pairings.begin(pairing).await
    }

    /// Waits until the pairing of this id is over: its code was written, or is void for whatever reason. Returns the last
    /// pairing as it is then; one of another id took its place, or it was never there. Nothing is lost when it is dropped.
    ///
    /// # Errors
    /// The store's.
    pub async fn pairing_over(&self, id: &PairingId) -> Result<Option<Pairing>, StoreError> {
        self.pairings.over(id).await
    }

    /// Makes the code of this pairing void, unless it is over. Returns the last pairing as it is then.
    ///
    /// # Errors
    /// The store's.
    pub async fn withdraw_pairing(&self, id: &PairingId) -> Result<Option<Pairing>, StoreError> {
        self.pairings.withdraw(id).await
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

    /// What is scheduled; `None`: this host does not schedule.
    #[must_use]
    pub fn agenda(&self) -> Option<&Agenda> {
        self.agenda.as_ref()
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

    /// Waits until the loop has come to this question: for ever, when it is stuck. `false`: it has ended.
    pub async fn answers(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        self.events.send(Input::Status(answer)).await.is_ok() && answered.await.is_ok()
    }
}

impl Running {
    /// Aborting these ends all workers where they stand, as a crash does: nothing is stopped, sent or noted. They are gone
    /// soon after, at their next turn.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn abort_handles(&self) -> Vec<tokio::task::AbortHandle> {
        let scheduler = self.scheduler.iter().map(AbortOnDropHandle::abort_handle);
        scheduler.chain([self.main_loop.abort_handle(), self.deliverer.abort_handle()]).collect()
    }

    /// Takes no message any more, lets go of every container or stops it, sends what is due, and returns when nothing of this
    /// host runs any more: after `limit` and five seconds at the latest. A run that is just starting goes on until its prompt
    /// is written. What was not answered is pending at the next start, or with its agent.
    ///
    /// [`AtShutdown::Leave`] is for runtimes whose containers outlive the host.
    pub async fn shut_down(self, limit: Duration, containers: AtShutdown) {
        self.inbox.close();
        self.stop_scheduling.cancel();
        let deadline = Instant::now() + limit;
        let _ = tokio::time::timeout_at(deadline, self.events.send(Input::Event(Event::Shutdown { containers }))).await;
        let mut main_loop = self.main_loop;
        if tokio::time::timeout_at(deadline, &mut main_loop).await.is_err() {
            tracing::error!(?limit, "runs were not let go of in time; leaving them as they are");
            main_loop.abort();
        }
        if let Some(scheduler) = self.scheduler {
            // It may have something to say to a loop that has ended.
            scheduler.abort();
        }
        self.stop_delivering.cancel();
        let mut deliverer = self.deliverer;
        if tokio::time::timeout(DRAIN, &mut deliverer).await.is_err() {
            tracing::error!("a message was still being sent; it is tried again at the next start");
            deliverer.abort();
        }
    }
}
