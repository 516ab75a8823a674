//! What the commands need of the rest of the host, in one place: the store, the runtimes, the service, images.

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use nanoclaw_core::{
    orchestrator::AtShutdown,
    runtime::{ContainerRuntime as _, ImageRef, RuntimeKind},
};
use tokio::{net::UnixStream, time::Instant};

use super::failure::with_help;
use crate::{
    admin::{AdminHandler, OnStore},
    app::{self, Isolation, Patience, supervisor},
    config::{Config, RuntimeChoice},
    gateway::Resolve,
    home::{Home, HomeLock, LockError},
    runtimes::engine_api::{EngineRuntime, image},
    stores::sqlite::{SqliteStore, is_damaged},
    unix_socket,
};

/// What the service can be told beyond the configuration, by `run` and by `chat`, which starts it when none runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub(super) struct ServeOptions {
    /// Start agents even where nothing can isolate them: they could read and change all your files
    #[arg(long)]
    pub(super) unsafe_no_sandbox: bool,
}

impl ServeOptions {
    fn isolation(self) -> Isolation {
        if self.unsafe_no_sandbox { Isolation::Waived } else { Isolation::Required }
    }
}

/// The value of `--runtime`.
pub(super) fn runtime(word: &str) -> Result<RuntimeKind, String> {
    [RuntimeKind::Docker, RuntimeKind::Podman, RuntimeKind::Sandbox]
        .into_iter()
        .find(|kind| kind.to_string() == word)
        .ok_or_else(|| "it is docker, podman or sandbox".to_owned())
}

/// A handler on the bare store of `home`, whose lock the caller holds.
pub(super) async fn open_store(home: &Home, config: &Config) -> anyhow::Result<Arc<dyn AdminHandler>> {
    let store = match SqliteStore::open(&home.database()).await {
        Ok(store) => Arc::new(store),
        Err(error) => return Err(with_backup(error.into(), home).await),
    };
    Ok(Arc::new(OnStore {
        store: store.clone(),
        tasks: store.clone(),
        ledger: Some(store),
        config: Arc::new(config.clone()),
        home: home.clone(),
        explainer: Arc::new(app::WithoutService { home: home.clone(), config: config.clone() }),
    }))
}

/// The same error; of a database that is damaged, with the last good backup as what to do.
pub(super) async fn with_backup(error: anyhow::Error, home: &Home) -> anyhow::Error {
    let damaged = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref().is_some_and(is_damaged);
    if !error.chain().any(damaged) {
        return error;
    }
    with_help(format!("{error:#}"), super::doctor::database::remedy(home).await)
}

/// Runs the service until it is asked to end; calls `ready` once, with the line to show, when it takes messages. `internet`
/// is the gateway's.
pub(super) async fn serve(
    lock: HomeLock,
    config: Config,
    options: ServeOptions,
    containers: AtShutdown,
    internet: Arc<dyn Resolve>,
    ready: impl FnOnce(&str) + Send,
) -> anyhow::Result<()> {
    let mut asked_to_end = std::pin::pin!(asked_to_end()?);
    let own_home = lock.home().clone();
    let home = own_home.root().display().to_string();
    tracing::info!(home, "starting");
    let host = tokio::select! {
        started = app::start_with(lock, config, options.isolation(), Patience::Wait, internet) => match started {
            Ok(host) => host,
            Err(error) => return Err(with_backup(error, &own_home).await),
        },
        // Nobody was let in yet, and whatever dies at whatever moment leaves what the next start begins with.
        () = &mut asked_to_end => {
            tracing::info!("ending before the start was done");
            return Ok(());
        }
    };
    ready(&format!("nanoclaw is ready: home {home}, runtime {}", host.runtime));
    {
        let supervised = async {
            let services = host.services_settled(SERVICES_SETTLE_WITHIN).await;
            supervisor::ready(&format!("runtime {}; channels: {services}", host.runtime));
            supervisor::keep_alive(|| host.answers()).await;
        };
        tokio::select! {
            () = supervised => {}
            () = &mut asked_to_end => {}
        }
    }
    supervisor::ending();
    tracing::info!(?containers, "ending: nothing new is taken, what is due is sent");
    host.end(containers).await;
    Ok(())
}

/// How long systemd is not told that the service is ready because chat services have neither let it in nor refused it.
const SERVICES_SETTLE_WITHIN: Duration = Duration::from_secs(20);

/// How long a host that has the home may take to start or to end before a conversation gives up on it. Ending takes the
/// longest: containers have their grace.
const HOST_CHANGES_WITHIN: Duration = Duration::from_secs(30);
const BETWEEN_TRIES: Duration = Duration::from_millis(50);

/// Talks in the terminal, with the running service or with one that is started for it; says with which code to end.
pub(super) async fn chat(
    args: super::chat::ChatArgs,
    home: Home,
    config: Config,
    options: ServeOptions,
) -> anyhow::Result<ExitCode> {
    let (host, stream) = reach(&home, config, options).await?;
    let talked = match stream {
        Ok(stream) => super::chat::run(args, stream).await,
        Err(error) => Err(error.into()),
    };
    if let Some(host) = host {
        // A conversation that brought its own host leaves nothing behind.
        host.end(AtShutdown::Stop).await;
    }
    Ok(talked?.into())
}

/// A connection of a terminal's to the host of `home`: to the one that runs, or to one that is started for it and that the caller ends.
pub(super) async fn reach(
    home: &Home,
    config: Config,
    options: ServeOptions,
) -> anyhow::Result<(Option<app::Host>, Result<UnixStream, unix_socket::SocketError>)> {
    let socket = home.local_socket();
    let deadline = Instant::now() + HOST_CHANGES_WITHIN;
    loop {
        match HomeLock::acquire(home) {
            Ok(lock) => {
                let started = app::start(lock, config, options.isolation(), Patience::Refuse).await;
                let host = match started {
                    Ok(host) => host,
                    Err(error) => return Err(with_backup(error, home).await),
                };
                return Ok((Some(host), unix_socket::connect(&socket).await));
            }
            // Whoever has the home is a service, or another conversation with a host of its own: talk to that. One that
            // starts or ends does not listen for a moment.
            Err(held @ LockError::Held { .. }) => match unix_socket::connect(&socket).await {
                Ok(stream) => return Ok((None, Ok(stream))),
                Err(_) if Instant::now() < deadline => tokio::time::sleep(BETWEEN_TRIES).await,
                Err(_) => return Err(held.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Resolves at the first TERM or INT.
pub(super) fn asked_to_end() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    })
}

/// The engine that keeps the images: the configured one, or the first that answers.
pub(super) async fn engine(config: &Config) -> anyhow::Result<EngineRuntime> {
    let connect = |kind| async move { EngineRuntime::connect(kind, &EngineRuntime::default_socket(kind)).await };
    let docker = match *config.container.runtime {
        RuntimeChoice::Fixed(RuntimeKind::Podman) => return Ok(connect(RuntimeKind::Podman).await?),
        RuntimeChoice::Fixed(_) => return Ok(connect(RuntimeKind::Docker).await?),
        RuntimeChoice::Auto => connect(RuntimeKind::Docker).await,
    };
    match docker {
        Ok(engine) => Ok(engine),
        // Where neither answers, Docker's remedy is the one that most people want.
        Err(error) => Ok(connect(RuntimeKind::Podman).await.map_err(|_| error)?),
    }
}

/// Bases that agents are known to work on, in the order in which they are looked for.
const KNOWN_BASES: [&str; 4] = ["node:22-slim", "debian:bookworm-slim", "debian:bookworm", "debian:12"];

/// Builds the agent image `name` on `base`, or on the first of the known ones that the engine has; tells how it goes.
pub(super) async fn build_image(
    config: &Config,
    name: &ImageRef,
    base: Option<&str>,
    claude: Option<&Path>,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> anyhow::Result<image::LocalImage> {
    let engine = engine(config).await?;
    let base = base_of(base, &engine, &KNOWN_BASES).await?;
    let build = image::Build { name: name.clone(), base, claude: claude.map(Path::to_owned) };
    image::build(&engine, &build, &|step| progress(&step.to_string()))
        .await
        .map_err(|error| with_remedy(error, &build.base))
}

/// Says what to do about a base that cannot be read.
pub(super) fn with_remedy(error: image::BuildError, base: &image::Base) -> anyhow::Error {
    match (&error, base) {
        // What debootstrap makes as root has files that nobody else can read.
        (image::BuildError::Unreadable(reason), image::Base::Folder(folder))
            if reason.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            let folder = folder.display();
            let help = format!("`sudo tar -C {folder} -cf root.tar .` makes a tar file, which --base takes as well");
            with_help(error.to_string(), help)
        }
        _ => error.into(),
    }
}

/// The base that was given, or the first of `known` that the engine has.
pub(super) async fn base_of(
    given: Option<&str>,
    engine: &EngineRuntime,
    known: &[&str],
) -> anyhow::Result<image::Base> {
    match given {
        Some(text) => {
            image::Base::of(text).map_err(|reason| with_help(reason, "give an image's name, a tar file or a folder"))
        }
        None => Ok(image::Base::Image(find_base(engine, known).await?)),
    }
}

async fn find_base(engine: &EngineRuntime, known: &[&str]) -> anyhow::Result<ImageRef> {
    for name in known {
        let name: ImageRef = name.parse()?;
        if engine.ensure_image(&name).await.is_ok() {
            return Ok(name);
        }
    }
    Err(with_help(
        format!("no base was given, and the engine has none of {}", known.join(", ")),
        "`docker pull debian:bookworm-slim` (or podman) fetches one; --base takes an image's name, a tar file or a root folder such as \
         debootstrap makes",
    ))
}
