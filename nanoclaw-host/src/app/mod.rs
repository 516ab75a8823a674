//! The one place where all parts meet: starts a host in the order in which things must happen, and ends it in the reverse.
//!
//! The order matters: the store before anything that could lose a word; what a dead host left is finished before a channel
//! can bring news (fault F12); the control socket last, because who can connect to it takes the host for ready.

mod admin;
mod choose;
mod explain;
mod machine;
mod ports;
mod reception;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use nanoclaw_core::{
    channel::{Channel, SendError},
    chat::ChannelName,
    delivery::{DeliveryKey, Sent},
    orchestrator::{
        AtShutdown, DeliverySettings, DispatchSettings, HeardLate, Orchestrator, Parts, RunSettings, Running, Settings,
    },
    store::{Store, StoreError},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use choose::{Candidate, Chosen, Isolation, NoRuntime, choose, every_runtime};
pub use explain::WithoutService;

use crate::{
    admin::OnStore,
    channels::{
        bridge::{BridgeConfig, BridgeListener},
        local::{LocalChannel, LocalListener},
        ports::ChannelHost,
    },
    config::Config,
    gateway::{Gateway, Upstream, tls},
    home::{HomeLock, initialise},
    launcher::HostLauncher,
    stores::sqlite::SqliteStore,
    unix_socket::Listener,
};

/// How long runs may take to be let go of, or to end, when the host does; what is not answered by then is pending at the next
/// start.
const LONGEST_END: Duration = Duration::from_secs(20);

/// A running host. [`end`](Self::end) it; dropping it leaves its workers to the runtime.
pub struct Host {
    running: Running,
    sockets: JoinSet<()>,
    /// Where people and commands come in.
    stop_intake: CancellationToken,
    /// Where replies go out as well.
    stop_bridges: CancellationToken,
    outlive_host: bool,
    /// What it runs containers with, and why, a line.
    pub runtime: String,
    // Last, so that the home is free only when everything has ended.
    _lock: HomeLock,
}

/// Starts a host on the home that `lock` holds. It is ready when this returns.
///
/// # Errors
/// What keeps it from starting, with the remedy; nothing is left running.
pub async fn start(lock: HomeLock, config: Config, isolation: Isolation) -> anyhow::Result<Host> {
    tls::install_provider();
    let (home, config) = (lock.home().clone(), Arc::new(config));
    initialise(&home)?;
    // Both take their time and neither needs the other. Each is waited for, so that no half of one is left when the other
    // fails.
    let database = home.database();
    let (store, chosen) = tokio::join!(SqliteStore::open(&database), choose(&home, &config, isolation));
    let store: Arc<dyn Store> = ports::store(Arc::new(store?));
    let chosen = chosen?;
    let outlive_host = chosen.capabilities.outlive_host;
    let containers = ports::runtime(chosen.runtime.clone());
    let runtime = format!("{} ({})", chosen.capabilities.description, chosen.because);
    tracing::info!(runtime = %chosen.runtime.kind(), because = chosen.because, "runtime chosen: {}", chosen.capabilities.description);
    for remark in &chosen.capabilities.remarks {
        tracing::warn!(runtime = %chosen.runtime.kind(), "{remark}");
    }

    let launcher = Arc::new(HostLauncher {
        machine: Arc::new(machine::of(&config, &chosen)),
        gateway: Arc::new(Gateway::new(upstream(&config))?),
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
            ..DispatchSettings::default()
        },
        run: RunSettings {
            assistant_name: config.assistant.name.value.clone(),
            zone: config.time.zone.value.clone(),
            login_help: "Put a line ANTHROPIC_API_KEY=... or CLAUDE_CODE_OAUTH_TOKEN=... into \
                         ~/.config/nanoclaw/credentials (mode 0600) and restart nanoclaw; `nanoclaw doctor` checks it."
                .to_owned(),
            ..RunSettings::default()
        },
        delivery: DeliverySettings { when_unknown: *config.delivery.when_unknown, ..DeliverySettings::default() },
    };
    let parts =
        Parts { store: store.clone(), runtime: containers.clone(), launcher: ports::launcher(launcher.clone()) };
    let (orchestrator, running) = Orchestrator::start(parts, settings).await?;

    let (stop_intake, stop_bridges) = (CancellationToken::new(), CancellationToken::new());
    let mut sockets = JoinSet::new();
    let intake = Arc::new(orchestrator.inbox());
    let channel_host: Arc<dyn ChannelHost> = Arc::new(orchestrator.clone());
    let on_store =
        OnStore { store: store.clone(), config: config.clone(), home: home.clone(), explainer: launcher.clone() };

    let local = Arc::new(LocalChannel::new());
    orchestrator.add_channel(ports::channel(local.clone()));
    let reception = Arc::new(reception::Front { on_store: on_store.clone(), orchestrator: orchestrator.clone() });
    let terminals = LocalListener::bind(&home.local_socket(), local, intake.clone(), channel_host.clone(), reception)?;
    sockets.spawn(terminals.serve(orchestrator.notices(), stop_intake.clone()));

    let bridges = BridgeListener::bind(&home.bridge_socket(), BridgeConfig::default(), intake, channel_host)?;
    let connected = bridges.bridges();
    sockets.spawn(bridges.serve(stop_bridges.clone()));

    let control = Listener::bind(&home.admin_socket())?;
    let handler = admin::OnService::new(on_store, orchestrator, containers, runtime.clone(), connected);
    sockets.spawn(crate::admin::serve(control, Arc::new(handler), stop_intake.clone()));

    Ok(Host { running, sockets, stop_intake, stop_bridges, outlive_host, runtime, _lock: lock })
}

impl Host {
    /// Ends the host: nothing new comes in, containers are let go of or stopped, replies that are due are sent. Containers
    /// that cannot outlive the host are stopped in any case.
    pub async fn end(mut self, containers: AtShutdown) {
        let containers = if self.outlive_host { containers } else { AtShutdown::Stop };
        self.stop_intake.cancel();
        self.running.shut_down(LONGEST_END, containers).await;
        self.stop_bridges.cancel();
        while self.sockets.join_next().await.is_some() {}
    }
}

fn upstream(config: &Config) -> Upstream {
    use crate::{config::CredentialKind, gateway::Credential};
    let credential = config.credential.as_ref().map(|credential| match credential.kind {
        CredentialKind::ApiKey => Credential::ApiKey(credential.secret.clone()),
        CredentialKind::OAuthToken | CredentialKind::AuthToken => Credential::Bearer(credential.secret.clone()),
    });
    Upstream::new(config.model.base_url.as_str(), credential)
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
