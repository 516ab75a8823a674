//! The one place where all parts meet: starts a host in the order in which things must happen, and ends it in the reverse.
//!
//! The order matters: the store before anything that could lose a word; what a dead host left is finished before a channel
//! can bring news (fault F12); the control socket last, because who can connect to it takes the host for ready.

mod admin;
mod awaited;
pub(crate) mod bridges;
mod choose;
pub(crate) mod credentials;
mod explain;
mod health;
mod machine;
mod ports;
mod reception;
mod services;
mod setup_token;
pub(crate) mod supervisor;
mod workers;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use futures_util::{FutureExt as _, future::join_all};
use nanoclaw_core::{
    causes::with_causes,
    channel::{Channel, SendError},
    chat::ChannelName,
    delivery::{DeliveryKey, Sent},
    orchestrator::{
        AtShutdown, DeliverySettings, DispatchSettings, HeardLate, Orchestrator, Parts, RunSettings, Running,
        Scheduling, Settings,
    },
    runtime::{ContainerRuntime, RuntimeKind},
    store::{Store, StoreError},
    tasks::Tasks,
    time::Timestamp,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use choose::{Candidate, Chosen, Isolation, NoRuntime, Patience, choose, every_runtime, proof};
pub use explain::WithoutService;
pub use machine::container_user;
pub(crate) use setup_token::{Setup, SetupError, TERMINAL};

use self::{
    awaited::{AwaitedRuntime, Away, Presence, Waiting},
    choose::{ask, because_awaited, choose_soon, socket_of},
    credentials::{Keeper, Reminder, upstream},
    health::Lookout,
    workers::Workers,
};
use crate::{
    admin::OnStore,
    channels::{
        bridge::{BridgeConfig, BridgeListener},
        local::{LocalChannel, LocalListener},
        ports::{ChannelHost, Intake},
        status::{ChannelState, ChannelWatch},
    },
    config::Config,
    credentials::Ask,
    files::{Outgoing, Spool, sweep},
    gateway::{Gateway, GatewayError, Resolve, SystemResolver, tls},
    health::{
        http::{self as health_http, Door},
        probe::CredentialProbe,
    },
    home::{Home, HomeLock, initialise},
    images::Images,
    launcher::{HostLauncher, MachineWatch, Told},
    metrics::{Deliveries, Runs},
    retention,
    senders::SenderList,
    stores::{Ledger, sqlite::SqliteStore},
    unix_socket::Listener,
    wall_clock::SystemClock,
};

/// How long runs may take to be let go of, or to end, when the host does; what is not answered by then is pending at the next
/// start.
const LONGEST_END: Duration = Duration::from_secs(20);
/// How long sockets, services and programs of bridges may take to end after that. Each has a limit of its own, which is shorter.
const LONGEST_GOODBYE: Duration = Duration::from_secs(20);

/// A running host. [`end`](Self::end) it; dropping it leaves its workers to the runtime.
pub struct Host {
    orchestrator: Orchestrator,
    running: Running,
    /// The chat services that it connects to, by itself or by a program.
    services: Vec<ChannelWatch>,
    workers: Workers,
    /// Asks a runtime that was away at the start until it answers.
    waiting: Option<AbortOnDropHandle<()>>,
    presence: Presence,
    /// Where people and commands come in.
    stop_intake: CancellationToken,
    /// Where replies go out as well.
    stop_bridges: CancellationToken,
    /// What it runs containers with, and why, or that it waits for it: a line.
    pub runtime: String,
    // Last, so that the home is free only when everything has ended.
    _lock: HomeLock,
}

/// Starts a host on the home that `lock` holds. It is ready when this returns: with [`Patience::Wait`] also when the runtime
/// is away, which is then waited for.
///
/// # Errors
/// What keeps it from starting, with the remedy; nothing is left running.
pub async fn start(lock: HomeLock, config: Config, isolation: Isolation, patience: Patience) -> anyhow::Result<Host> {
    start_with(lock, config, isolation, patience, Arc::new(SystemResolver)).await
}

/// The same; `internet` is what names mean to the gateway, and where its connections lead: another than the system's is for
/// tests.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    lock: HomeLock,
    config: Config,
    isolation: Isolation,
    patience: Patience,
    internet: Arc<dyn Resolve>,
) -> anyhow::Result<Host> {
    tls::install_provider();
    let (home, config) = (lock.home().clone(), Arc::new(config));
    initialise(&home)?;
    // Both take their time and neither needs the other. Each is waited for, so that no half of one is left when the other
    // fails.
    let database = home.database();
    let choice = async {
        match patience {
            Patience::Wait => choose_soon(&home, &config, isolation).await,
            Patience::Refuse => choose(&home, &config, isolation).await,
        }
    };
    let (store, chosen) = tokio::join!(SqliteStore::open(&database), choice);
    let kept = Arc::new(store?);
    let tasks: Arc<dyn Tasks> = ports::tasks(kept.clone());
    let ledger: Arc<dyn Ledger> = kept.clone();
    let store: Arc<dyn Store> = ports::store(kept);
    let found = match (chosen, patience) {
        (Err(no_runtime), Patience::Wait) => find_later(no_runtime, &*store, &home, &config).await?,
        (chosen, _) => found_now(chosen?, &config),
    };
    let Found { runtime: containers, presence, machine, waiting, line: runtime } = found;
    warn_of_other_runtimes(&*store, containers.kind()).await?;
    let containers = ports::runtime(containers);

    if config.credentials.command().is_some()
        && let Err(problem) = config.credentials.reload(Ask::Everything).await
    {
        // What is asked meanwhile is kept, and tried again when there is a credential.
        tracing::error!(problem, "the credentials cannot be read");
    }
    let gateway = Arc::new(gateway(&config, internet)?);
    let spool = Spool::open(&home.files(), config.files.limits())
        .with_context(|| format!("cannot make {}, where files of messages wait", home.files().display()))?;
    let spool = Arc::new(spool);
    let launcher = Arc::new(HostLauncher {
        told: Told::default(),
        outgoing: Some(Outgoing::new(spool.clone(), store.clone())),
        images: Images::new(home.root(), &config.images),
        machine,
        gateway: gateway.clone(),
        install: store.install_id().await?,
        home: home.clone(),
        config: config.clone(),
    });
    let settings = Settings {
        dispatch: DispatchSettings {
            max_containers: usize::try_from(*config.limits.max_concurrent_containers)
                .ok()
                .and_then(std::num::NonZeroUsize::new)
                .context("limits.max_concurrent_containers must be at least 1")?,
            standby: config.standby.settings(),
            ..DispatchSettings::default()
        },
        run: RunSettings {
            assistant_name: config.assistant.name.value.clone(),
            zone: config.time.zone.value.clone(),
            login_help: "On the host, `nanoclaw auth set` stores an API key and `nanoclaw auth setup-token` a \
                         subscription's token, which is used at once; `nanoclaw auth status --check` tells whether the \
                         model takes it."
                .to_owned(),
            ..RunSettings::default()
        },
        delivery: DeliverySettings { when_unknown: *config.delivery.when_unknown, ..DeliverySettings::default() },
        unknown_private: *config.senders.unknown_private,
        tasks: config.tasks.settings(),
    };
    let parts = Parts {
        store: store.clone(),
        runtime: containers.clone(),
        launcher: ports::launcher(launcher.clone()),
        scheduling: Some(Scheduling { tasks: tasks.clone(), clock: Arc::new(SystemClock) }),
        senders: Some(Arc::new(SenderList::new(config.senders.clone()))),
    };
    let (runs, deliveries) = (Arc::<Runs>::default(), Deliveries::default());
    let (orchestrator, running) = Orchestrator::start_observed(parts, settings, Some(runs.clone())).await?;

    let (stop_intake, stop_bridges) = (CancellationToken::new(), CancellationToken::new());
    let mut workers = Workers::default();
    let intake: Arc<dyn Intake> = Arc::new(orchestrator.inbox());
    let attached = Attached { orchestrator: orchestrator.clone(), deliveries: deliveries.clone() };
    let channel_host: Arc<dyn ChannelHost> = Arc::new(attached.clone());
    let on_store = OnStore {
        store: store.clone(),
        tasks,
        ledger: Some(ledger.clone()),
        config: config.clone(),
        home: home.clone(),
        explainer: launcher.clone(),
    };

    let local = Arc::new(LocalChannel::new(&home.groups()));
    attached.add_channel(local.clone());
    let reception = Arc::new(reception::Front { on_store: on_store.clone(), orchestrator: orchestrator.clone() });
    let terminals = LocalListener::bind(&home.local_socket(), local, intake.clone(), channel_host.clone(), reception)?;
    workers.spawn("terminals", terminals.serve(orchestrator.notices(), stop_intake.clone()));

    let sweeping = stop_intake.clone().run_until_cancelled_owned(sweep::keep(spool.clone(), store.clone()));
    workers.spawn("the sweep of files", async move {
        sweeping.await;
    });
    if let Some(tidier) = on_store.tidier() {
        let tidying = retention::keep(tidier, config.time.zone.value.clone());
        let tidying = stop_intake.clone().run_until_cancelled_owned(tidying);
        workers.spawn("the tidying of each night", async move {
            tidying.await;
        });
    }
    let services = services::start(&home, &config, &intake, &channel_host, &spool, &stop_intake, &mut workers);
    for service in &services {
        workers.spawn(format!("refusals of {}", service.name), service.clone().tell_of_refusals(intake.clone()));
    }
    let mut bridge_config = BridgeConfig { files: Some(spool), ..BridgeConfig::default() };
    bridge_config.reserved.extend(services.iter().map(ChannelWatch::reservation));
    let bridges = BridgeListener::bind(&home.bridge_socket(), bridge_config, intake.clone(), channel_host)?;
    let (programs, waiting_programs) = bridges::start(&home, &config, &stop_bridges, &mut workers);
    for program in &programs {
        workers.spawn(format!("refusals of {}", program.name), program.clone().tell_of_refusals(intake.clone()));
    }
    let every_service = services.iter().chain(&programs).cloned().collect();
    let channels = admin::Channels { bridges: bridges.bridges(), services, programs, waiting_programs };
    workers.spawn("bridges", bridges.serve(stop_bridges.clone()));

    let keeper = Keeper {
        credentials: config.credentials.clone(),
        gateway,
        orchestrator: orchestrator.clone(),
        config: config.clone(),
    };
    let watching = stop_intake.clone().run_until_cancelled_owned(keeper.clone().keep());
    workers.spawn("the watch over credentials", async move {
        watching.await;
    });

    let reminder = Reminder {
        credentials: config.credentials.clone(),
        store: store.clone(),
        orchestrator: orchestrator.clone(),
        zone: config.time.zone.value.clone(),
    };
    let reminding = stop_intake.clone().run_until_cancelled_owned(reminder.keep());
    workers.spawn("the reminder of the credential's age", async move {
        reminding.await;
    });

    let lookout = Arc::new(Lookout {
        on_store,
        ledger,
        orchestrator: orchestrator.clone(),
        runtime: containers,
        presence: presence.clone(),
        channels: Arc::new(channels),
        keeper,
        runs,
        deliveries,
        started_at: Timestamp::now(),
        probe: CredentialProbe::default(),
        last: tokio::sync::Mutex::default(),
    });
    let socket = Door::Socket(Listener::bind(&home.health_socket())?);
    workers.spawn("the health socket", health_http::serve(socket, lookout.clone(), stop_intake.clone()));
    if let Some(listen) = &config.health.listen {
        let port = TcpListener::bind(listen.value).await.with_context(|| {
            format!("cannot listen on {}, which health.listen names ({})", listen.value, listen.source)
        })?;
        workers.spawn("the health port", health_http::serve(Door::Port(port), lookout.clone(), stop_intake.clone()));
    }

    let control = Listener::bind(&home.admin_socket())?;
    let handler = admin::OnService::new(lookout, launcher.images.clone());
    workers.spawn("the control socket", crate::admin::serve(control, Arc::new(handler), stop_intake.clone()));

    let asking = orchestrator.clone();
    let waiting = waiting.map(|waiting| AbortOnDropHandle::new(tokio::spawn(waiting.run(asking))));
    let services = every_service;
    Ok(Host {
        orchestrator,
        running,
        services,
        workers,
        waiting,
        presence,
        stop_intake,
        stop_bridges,
        runtime,
        _lock: lock,
    })
}

/// The runtime as it was found at the start.
struct Found {
    runtime: Arc<dyn ContainerRuntime>,
    presence: Presence,
    machine: MachineWatch,
    /// Who has to ask it until it answers.
    waiting: Option<Waiting>,
    line: String,
}

fn found_now(chosen: Chosen, config: &Config) -> Found {
    chosen.log();
    Found {
        runtime: chosen.runtime.clone(),
        line: chosen.description(),
        machine: watch::channel(Ok(Arc::new(machine::of(config, &chosen)))).1,
        presence: watch::channel(Ok(Arc::new(chosen))).1,
        waiting: None,
    }
}

/// A stand-in for the runtime that is worth waiting for.
async fn find_later(
    no_runtime: NoRuntime,
    store: &dyn Store,
    home: &Home,
    config: &Arc<Config>,
) -> anyhow::Result<Found> {
    let ran_last = store.runs(None, 1).await?.first().map(|run| run.runtime);
    let Some((kind, error)) = no_runtime.worth_waiting_for(config, ran_last) else { return Err(no_runtime.into()) };
    let because = because_awaited(config);
    tracing::error!(
        runtime = %kind, because, error = with_causes(error),
        "the runtime is away: messages are kept, and answered when it is there"
    );
    let away = Away { kind, since: Timestamp::now(), error: error.clone(), next_try: None };
    let line = format!("{kind} ({because}), which is away: messages are kept, and answered when it is there; {error}");
    let (presence_sender, presence) = watch::channel(Err(away));
    let (machine_sender, machine) = watch::channel(Err(error.clone()));
    let (home, for_asking, for_machine) = (home.clone(), config.clone(), config.clone());
    let waiting = Waiting {
        presence: presence_sender,
        machine: machine_sender,
        machine_of: Box::new(move |chosen| machine::of(&for_machine, chosen)),
        ask: Box::new(move || {
            let (home, config) = (home.clone(), for_asking.clone());
            async move { ask(kind, &home, &config).await }.boxed()
        }),
        socket: socket_of(kind),
    };
    let runtime = Arc::new(AwaitedRuntime { kind, presence: presence.clone() });
    Ok(Found { runtime, presence, machine, waiting: Some(waiting), line })
}

/// Containers of another runtime than `chosen` may live for a moment more and are out of reach: somebody should know.
async fn warn_of_other_runtimes(store: &dyn Store, chosen: RuntimeKind) -> anyhow::Result<()> {
    let mut groups = BTreeMap::<_, Vec<_>>::new();
    for run in store.open_runs().await?.into_iter().filter(|run| run.runtime != chosen) {
        groups.entry(run.runtime.to_string()).or_default().push(run.id.to_string());
    }
    for (other, runs) in groups {
        tracing::warn!(
            runtime = other,
            ?runs,
            "runs of an earlier service were in {other} and now {chosen} is used: their containers are not taken over, and end by \
             themselves within seconds; what they were asked is asked again, and what is left of them is removed \
             when {other} is used again"
        );
    }
    Ok(())
}

impl Host {
    /// Waits until the orchestrator's loop has come to this question: for ever, when it is stuck. `false`: it has ended.
    pub async fn answers(&self) -> bool {
        self.orchestrator.answers().await
    }

    /// Waits until every chat service is connected, or has said why it is not, or `most` has passed. Returned is what should be
    /// known of them in a line: those that are connected, and what is the matter with the others.
    pub async fn services_settled(&self, most: Duration) -> String {
        let settled = |state: &ChannelState| !matches!(state, ChannelState::Connecting);
        let all = self.services.iter().map(|service| service.wait_for(settled));
        let _ = tokio::time::timeout(most, join_all(all)).await;
        let told = self.services.iter().filter_map(|service| {
            let how = match service.state() {
                ChannelState::Unused { .. } => return None,
                ChannelState::Connecting => "connecting".to_owned(),
                ChannelState::Connected { .. } => "connected".to_owned(),
                ChannelState::Waiting { reason, .. } | ChannelState::Refused { reason, .. } => reason,
                ChannelState::Ended => "ended".to_owned(),
            };
            Some(format!("{}: {how}", service.name))
        });
        // Terminals and bridges come by themselves.
        std::iter::once("local: connected".to_owned()).chain(told).collect::<Vec<_>>().join("; ")
    }

    /// Ends the host: nothing new comes in, containers are let go of or stopped, replies that are due are sent. Containers
    /// that cannot outlive the host are stopped in any case.
    pub async fn end(mut self, containers: AtShutdown) {
        // First of all: nothing is to begin any more.
        drop(self.waiting.take());
        let outlive_host = match &*self.presence.borrow() {
            Ok(chosen) => chosen.capabilities.outlive_host,
            // It was never there for this host, which has no container; what earlier ones left is left alone.
            Err(Away { .. }) => true,
        };
        let containers = if outlive_host { containers } else { AtShutdown::Stop };
        self.stop_intake.cancel();
        self.running.shut_down(LONGEST_END, containers).await;
        self.stop_bridges.cancel();
        let late = self.workers.end(LONGEST_GOODBYE).await;
        if !late.is_empty() {
            tracing::error!(
                at_work = late.join(", "), limit = ?LONGEST_GOODBYE,
                "not everything ended with the host in time; it is left in the middle, and what was not stored comes again"
            );
        }
    }
}

fn gateway(config: &Config, internet: Arc<dyn Resolve>) -> Result<Gateway, GatewayError> {
    let private = &config.gateway.private.value;
    Gateway::with(upstream(config), config.further_upstreams(), private, internet)
}

#[async_trait]
impl ChannelHost for Orchestrator {
    fn add_channel(&self, channel: Arc<dyn Channel>) {
        Orchestrator::add_channel(self, ports::channel(channel));
    }

    fn remove_channel(&self, name: &ChannelName) {
        Orchestrator::remove_channel(self, name);
    }

    fn channel_connected(&self, _name: &ChannelName) {
        Orchestrator::channel_connected(self);
    }

    async fn heard_late(
        &self,
        name: &ChannelName,
        key: &DeliveryKey,
        word: Result<Sent, SendError>,
    ) -> Result<HeardLate, StoreError> {
        Orchestrator::heard_late(self, name, key, word).await
    }
}

/// The orchestrator, to which each channel is given with its sends counted.
#[derive(Clone)]
struct Attached {
    orchestrator: Orchestrator,
    deliveries: Deliveries,
}

#[async_trait]
impl ChannelHost for Attached {
    fn add_channel(&self, channel: Arc<dyn Channel>) {
        ChannelHost::add_channel(&self.orchestrator, self.deliveries.counting(channel));
    }

    fn remove_channel(&self, name: &ChannelName) {
        self.orchestrator.remove_channel(name);
    }

    fn channel_connected(&self, _name: &ChannelName) {
        self.orchestrator.channel_connected();
    }

    async fn heard_late(
        &self,
        name: &ChannelName,
        key: &DeliveryKey,
        word: Result<Sent, SendError>,
    ) -> Result<HeardLate, StoreError> {
        self.orchestrator.heard_late(name, key, word).await
    }
}
