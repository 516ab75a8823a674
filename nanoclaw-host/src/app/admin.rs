//! What the running service answers on its control socket: the store's answers, and what only the orchestrator knows.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    group::GroupFolder,
    message::Seq,
    orchestrator::{Agenda, GroupStatus, Orchestrator},
    pairing::{MOST_TRIES, Pairing, PairingId},
    runtime::{ContainerRuntime, ContainerSummary, RuntimeError},
    store::{Resolution, StoreError, TurnResolution, TurnResolved},
    time::Timestamp,
};
use tokio::time::Instant;

use super::{
    awaited::{Away, Presence},
    credentials::{self, Keeper},
    health::{Lookout, has_container},
};
use crate::{
    admin::{
        AddTask, AdminHandler, DeliveryView, OnStore, OutboxQuery, Resolver, SessionView, SessionWish, Standing,
        Standings, TaskDetails, TaskView, TaskWish, outbox, sessions, tasks,
        types::{
            AdminError, ChannelStatus, ChatView, CleanedView, CredentialCheck, CredentialsView, ErrorKind, Explanation,
            GroupDetails, GroupState, GroupView, NewGroup, NewPairing, PairingState, PairingView, RuntimeAway,
            ServiceStatus, Stats, Status, TurnDetails, TurnView,
        },
    },
    channels::{
        bridge::{Bridges, Gone},
        local,
        program::TryAgain,
        status::{ChannelState, ChannelWatch},
    },
    credentials::Ask,
    gateway::GroupCounts,
    home,
    images::Images,
    random,
};

/// The channels that come and go, beside the terminal.
pub(super) struct Channels {
    pub(super) bridges: Bridges,
    pub(super) services: Vec<ChannelWatch>,
    /// Bridges that the host itself runs.
    pub(super) programs: Vec<ChannelWatch>,
    /// By which they are tried again.
    pub(super) waiting_programs: BTreeMap<ChannelName, TryAgain>,
}

impl Channels {
    /// All but the terminal: services, programs, and bridges that are connected.
    pub(super) fn watches(&self) -> Vec<ChannelWatch> {
        let bridges = self.bridges.connected();
        // Of a program that is connected to us the bridge knows more.
        let is_here = |program: &&ChannelWatch| !bridges.iter().any(|bridge| bridge.name == program.name);
        let programs = self.programs.iter().filter(is_here);
        self.services.iter().chain(programs).chain(&bridges).cloned().collect()
    }

    /// Bridges that left, but for programs, which the host starts again.
    pub(super) fn gone(&self) -> Vec<Gone> {
        let is_program = |gone: &Gone| self.programs.iter().any(|program| program.name == gone.name);
        self.bridges.gone().into_iter().filter(|gone| !is_program(gone)).collect()
    }

    /// How all of them stand; of services that nobody uses, nothing.
    pub(super) fn all(&self) -> Vec<ChannelStatus> {
        let watches = self.watches();
        let rest = watches.iter().filter_map(|watch| ChannelStatus::of(&watch.name, watch.state()));
        std::iter::once(ChannelStatus::connected(local::name().as_str())).chain(rest).collect()
    }

    /// Whether `chat` is one of a channel's that is used, connected or not, or of a bridge's that left.
    pub(super) fn know(&self, chat: &ChatId) -> bool {
        let used = |watch: &ChannelWatch| !matches!(watch.state(), ChannelState::Unused { .. });
        local::is_local(chat)
            || self.watches().iter().any(|watch| watch.carries(chat) && used(watch))
            || self.gone().iter().any(|gone| gone.carried(chat))
    }

    /// Whether somebody carries `chat` now.
    fn carry(&self, chat: &ChatId) -> bool {
        local::is_local(chat)
            || self
                .services
                .iter()
                .chain(&self.bridges.connected())
                .any(|channel| channel.carries(chat) && channel.state().is_connected())
    }
}

pub(super) struct OnService {
    on_store: OnStore,
    orchestrator: Orchestrator,
    runtime: Arc<dyn ContainerRuntime>,
    presence: Presence,
    channels: Arc<Channels>,
    keeper: Keeper,
    images: Images,
    lookout: Arc<Lookout>,
}

impl OnService {
    pub(super) fn new(lookout: Arc<Lookout>, images: Images) -> Self {
        Self {
            on_store: lookout.on_store.clone(),
            orchestrator: lookout.orchestrator.clone(),
            runtime: lookout.runtime.clone(),
            presence: lookout.presence.clone(),
            channels: lookout.channels.clone(),
            keeper: lookout.keeper.clone(),
            images,
            lookout,
        }
    }

    fn agenda(&self) -> Result<&Agenda, AdminError> {
        self.orchestrator
            .agenda()
            .ok_or_else(|| AdminError::new(ErrorKind::Failed, "this service does not run scheduled tasks"))
    }

    /// The runtime in words, and why nothing can run in it now if that is so.
    async fn about_runtime(&self) -> (String, Option<RuntimeAway>, HashMap<GroupFolder, u64>) {
        let away = match &*self.presence.borrow() {
            Ok(chosen) => Ok(chosen.description()),
            Err(away) => Err((away.kind.to_string(), RuntimeAway::from(away))),
        };
        match away {
            Err((kind, away)) => (kind, Some(away), HashMap::new()),
            // One that was there and does not answer now must not keep people from hearing how things stand.
            Ok(description) => match tokio::time::timeout(RUNTIME_ANSWERS_WITHIN, self.memory()).await {
                Ok(Ok(memory)) => (description, None, memory),
                Ok(Err(error)) => (description, Some(RuntimeAway::now(error)), HashMap::new()),
                Err(_) => {
                    let error = RuntimeError::TimedOut { action: "list the containers" };
                    (description, Some(RuntimeAway::now(error)), HashMap::new())
                }
            },
        }
    }

    /// What the containers of this installation use now; what the runtime does not know is left out.
    async fn memory(&self) -> Result<HashMap<GroupFolder, u64>, RuntimeError> {
        let Ok(install) = self.on_store.store.install_id().await else { return Ok(HashMap::new()) };
        let mut used = HashMap::new();
        for ContainerSummary { id, group, .. } in self.runtime.list(&install).await? {
            if let Ok(Some(stats)) = self.runtime.stats(&id).await {
                used.insert(group, stats.memory_bytes);
            }
        }
        Ok(used)
    }
}

#[async_trait]
impl AdminHandler for OnService {
    async fn status(&self) -> Result<Status, AdminError> {
        let mut status = self.on_store.status().await?;
        // One that stands still must not keep people from hearing that it does, and what hangs is waited for once.
        let ((_, known), health, (runtime, runtime_away, memory)) =
            tokio::join!(self.lookout.groups(), self.lookout.report(), self.about_runtime());
        let standings = standings(&known);
        let now = Instant::now();
        let states: HashMap<_, _> = known
            .into_iter()
            .map(|status| (status.group, (status.state, now.saturating_duration_since(status.since))))
            .collect();
        let containers = states.values().filter(|(state, _)| has_container(state));
        status.service = Some(ServiceStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at_ms: self.lookout.started_at,
            health: Some(health),
            runtime,
            runtime_away,
            containers: u32::try_from(containers.count()).unwrap_or(u32::MAX),
            max_containers: *self.on_store.config.limits.max_concurrent_containers,
            channels: self.channels.all(),
        });
        let chats: HashMap<_, _> =
            self.on_store.store.groups().await?.into_iter().map(|g| (g.folder, g.chat)).collect();
        for group in &mut status.groups {
            group.connected = chats.get(&group.folder).map(|chat| self.channels.carry(chat));
            if let Some((word, lasts)) = states.get(&group.folder) {
                group.state = GroupState::of_word(word);
                group.since_ms = Some(Timestamp::now().minus(*lasts));
            }
            if let Some(standing) = standings.get(&group.folder) {
                (group.trouble, group.next_try_at_ms) = (standing.trouble, standing.next_try);
            }
            group.memory_bytes = memory.get(&group.folder).copied();
        }
        Ok(status)
    }

    async fn groups(&self) -> Result<Vec<GroupView>, AdminError> {
        self.on_store.groups().await
    }

    async fn group(&self, group: &str) -> Result<GroupDetails, AdminError> {
        self.on_store.group(group).await
    }

    async fn add_group(&self, new: NewGroup) -> Result<GroupView, AdminError> {
        let group = self.on_store.new_group(new).await?;
        self.orchestrator.add_group(group.clone()).await?;
        if let Err(error) = home::write_group_memory(&self.on_store.home, &group) {
            tracing::warn!(group = %group.folder, %error, "the group's folder is made when it first runs");
        }
        Ok(group.into())
    }

    async fn remove_group(&self, group: &str) -> Result<GroupView, AdminError> {
        let group = self.on_store.find(group).await?;
        self.orchestrator.remove_group(&group.folder).await?;
        Ok(group.into())
    }

    async fn pair(&self, new: NewPairing) -> Result<PairingView, AdminError> {
        let registers = self.on_store.registers(new).await?;
        let random = || {
            random::random()
                .map_err(|error| AdminError::new(ErrorKind::Failed, format!("/dev/urandom cannot be read: {error}")))
        };
        let (pairing, code) = Pairing::begin(random()?, random()?, registers, Timestamp::now());
        self.orchestrator.begin_pairing(&pairing).await?;
        Ok(PairingView { id: pairing.id, code: code.shown(), ends_at_ms: pairing.ends_at, tries: MOST_TRIES })
    }

    async fn pairing_over(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        let last = self.orchestrator.pairing_over(id).await?;
        Ok(PairingState::of(id, last.as_ref(), Timestamp::now()))
    }

    async fn withdraw_pairing(&self, id: &PairingId) -> Result<PairingState, AdminError> {
        let last = self.orchestrator.withdraw_pairing(id).await?;
        Ok(PairingState::of(id, last.as_ref(), Timestamp::now()))
    }

    async fn connect_channel(&self, channel: &ChannelName) -> Result<(), AdminError> {
        if let Some(program) = self.channels.waiting_programs.get(channel) {
            program.now();
        }
        Ok(())
    }

    async fn chats(&self) -> Result<Vec<ChatView>, AdminError> {
        self.on_store.chats().await
    }

    async fn explain(&self, group: &str) -> Result<Explanation, AdminError> {
        self.on_store.explain(group).await
    }

    async fn outbox(&self, query: OutboxQuery) -> Result<Vec<DeliveryView>, AdminError> {
        self.on_store.outbox(query).await
    }

    async fn delivery(&self, message: &str) -> Result<DeliveryView, AdminError> {
        self.on_store.delivery(message).await
    }

    async fn resolve_delivery(&self, message: &str, resolution: Resolution) -> Result<DeliveryView, AdminError> {
        let row = outbox::find(&*self.on_store.store, message).await?;
        let resolved = self.orchestrator.resolve_delivery(row.delivery.id, resolution).await?;
        outbox::resolved(&*self.on_store.store, message, resolution, resolved).await
    }

    async fn turns(&self, group: Option<&str>, all: bool) -> Result<Vec<TurnView>, AdminError> {
        self.on_store.turns_with(group, all, &self.standings().await).await
    }

    async fn turn(&self, id: &str) -> Result<TurnDetails, AdminError> {
        self.on_store.turn_with(id, &self.standings().await).await
    }

    async fn retry_turns(&self, id: Option<&str>) -> Result<Vec<TurnView>, AdminError> {
        self.images.forget_failures();
        self.on_store.retry_with(id, self).await
    }

    async fn drop_turn(&self, id: &str) -> Result<TurnView, AdminError> {
        self.on_store.drop_with(id, self).await
    }

    async fn tasks(&self, group: Option<&str>) -> Result<Vec<TaskView>, AdminError> {
        self.on_store.tasks(group).await
    }

    async fn task(&self, id: &str, limit: u32) -> Result<TaskDetails, AdminError> {
        self.on_store.task(id, limit).await
    }

    async fn add_task(&self, new: AddTask) -> Result<TaskView, AdminError> {
        let group = self.on_store.find(&new.group).await?;
        let (agenda, zone) = (self.agenda()?, &self.on_store.config.time.zone.value);
        tasks::add(agenda, new, group.folder, zone, agenda.settings()).await
    }

    async fn change_task(&self, id: &str, wish: TaskWish) -> Result<TaskView, AdminError> {
        let agenda = self.agenda()?;
        tasks::change(agenda, id, wish, agenda.settings()).await
    }

    async fn sessions(&self, group: Option<&str>) -> Result<Vec<SessionView>, AdminError> {
        self.on_store.sessions(group).await
    }

    async fn change_session(&self, group: &str, wish: SessionWish) -> Result<Vec<SessionView>, AdminError> {
        let group = self.on_store.find(group).await?;
        sessions::change(&*self.on_store.store, &self.orchestrator, &group, wish).await
    }

    async fn stats(&self, group: Option<&str>, days: u32) -> Result<Stats, AdminError> {
        let mut stats = self.on_store.stats(group, days).await?;
        let mut counts: HashMap<_, _> =
            self.keeper.gateway.counts().into_iter().map(|counts| (counts.group.clone(), counts)).collect();
        for group in &mut stats.groups {
            group.gateway = counts.remove(&group.group);
        }
        Ok(stats)
    }

    async fn gateway(&self) -> Result<Vec<GroupCounts>, AdminError> {
        Ok(self.keeper.gateway.counts())
    }

    async fn cleanup(&self, dry_run: bool) -> Result<Vec<CleanedView>, AdminError> {
        self.on_store.cleanup(dry_run).await
    }

    async fn credentials(&self) -> Result<CredentialsView, AdminError> {
        Ok(CredentialsView::of(&self.keeper.credentials))
    }

    async fn check_credentials(&self) -> Result<CredentialCheck, AdminError> {
        Ok(credentials::check(&self.keeper.gateway, &self.keeper.credentials).await)
    }

    async fn reload_credentials(&self) -> Result<CredentialsView, AdminError> {
        Ok(self.keeper.reload(Ask::Everything).await)
    }
}

#[async_trait]
impl Resolver for OnService {
    async fn standings(&self) -> Standings {
        standings(&self.orchestrator.status().await)
    }

    async fn resolve(&self, group: &GroupFolder, last: Seq, wish: TurnResolution) -> Result<TurnResolved, StoreError> {
        self.orchestrator.resolve_set_aside(group, last, wish).await
    }

    async fn try_now(&self, group: &GroupFolder) {
        self.orchestrator.try_now(Some(group)).await;
    }

    async fn drop_waiting(&self, group: &GroupFolder, through: Seq) -> Result<(), StoreError> {
        self.orchestrator.drop_waiting(group, through).await.map(drop)
    }
}

/// How long the runtime may take to tell what its containers use.
const RUNTIME_ANSWERS_WITHIN: Duration = Duration::from_secs(5);

impl RuntimeAway {
    pub(super) fn now(error: RuntimeError) -> Self {
        let (reason, help) = match error {
            RuntimeError::Unavailable { reason, remedy, .. } => (reason, remedy),
            error => (error.to_string(), "`nanoclaw doctor` looks into it".to_owned()),
        };
        Self { since_ms: None, reason, help, next_try_at_ms: None }
    }
}

impl From<&Away> for RuntimeAway {
    fn from(away: &Away) -> Self {
        Self { since_ms: Some(away.since), next_try_at_ms: away.next_try, ..Self::now(away.error.clone()) }
    }
}

/// The groups that do not get their answers just now.
fn standings(known: &[GroupStatus]) -> Standings {
    let (now, wall) = (Instant::now(), Timestamp::now());
    let waits = |status: &&GroupStatus| matches!(status.state, "paused" | "backing off" | "held");
    known
        .iter()
        .filter(waits)
        .map(|status| {
            // The deadline of one that is held is its agent's.
            let next_try = status
                .deadline
                .filter(|_| status.state != "held")
                .map(|at| wall.plus(at.saturating_duration_since(now)));
            let standing = Standing {
                trouble: status.trouble,
                backing_off: status.state == "backing off",
                held: status.state == "held",
                next_try,
            };
            (status.group.clone(), standing)
        })
        .collect()
}
