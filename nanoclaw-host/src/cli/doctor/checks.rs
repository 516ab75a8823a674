//! The checks, in the order in which one would look.

use std::{sync::Arc, time::Duration};

use nanoclaw_core::{
    runtime::{Capabilities, ContainerRuntime, RuntimeError, RuntimeKind},
    time::Timestamp,
};

use super::{
    Check, attachments, channels, containers, credentials,
    database::{self, Database},
    files, images, live, machine, mounts, provider, senders, skills, tasks,
};
use crate::{
    admin::{
        AdminHandler as _, Client,
        types::{AdminError, ServiceStatus, TurnState},
    },
    app::{self, Isolation},
    cli::{Place, output},
    config::{Config, ConfigErrors, ProcessEnvironment, RuntimeChoice},
    health::{self, Health, Thresholds},
    home::{Home, HomeLock, LockError},
    launcher::image_for,
    programs::{self, Linkage, Purpose},
    runtimes::sandbox::HOST_IMAGE,
};

/// Every check, in the order in which they are shown; with those that ask somebody for real when `live` is set.
pub(super) async fn all(place: &Place, live: bool) -> anyhow::Result<Vec<Check>> {
    let home = place.home()?;
    let read = Config::load(&home, &ProcessEnvironment);
    let mut checks = vec![writable(&home)];
    let mut asked = None;
    let mut found: Database = Ok(None);
    if home.exists() {
        asked = self::asked(&home).await;
        found = database::look(&home).await;
        checks.extend([files::folders(&home), files::permissions(&home), files::file_system(&home)]);
        checks.push(disk(&home, read.as_ref().ok()).await);
        checks.push(database::check(&home, &found).await);
        let running = matches!(&asked, Some(Ok(Some(_))));
        checks.push(service(&home, asked.as_ref()));
        checks.push(files::sockets(&home, running));
        checks.push(containers::identity(&home, read.as_ref().ok(), &found).await);
        checks.push(turns(place, &home).await);
        checks.push(tasks::check(place, &home).await);
        checks.push(channels::check(asked.as_ref()));
    } else {
        checks.extend(OF_A_HOME.map(|name| Check::skipped(name, "there is no home")));
    }
    checks.extend([machine::docker_group(&machine::Membership::read()), machine::linger(&home)]);
    match read {
        Ok(config) => checks.extend(of_configuration(&home, config, &found, live).await?),
        Err(mistakes) => {
            let (of_credentials, others) = credentials::parted(&mistakes);
            match others.is_empty() {
                true => checks.push(Check::ok("config", "there is no mistake in nanoclaw.toml or the environment")),
                false => checks.push(mistaken(&ConfigErrors { mistakes: others })),
            }
            match of_credentials.is_empty() {
                true => checks.push(Check::skipped("credentials", "the configuration cannot be read")),
                false => checks.push(credentials::mistaken(&of_credentials)),
            }
            checks.extend(OF_CONFIGURATION.map(|name| Check::skipped(name, "the configuration cannot be read")));
        }
    }
    if live {
        checks.push(live::every_channel(asked.as_ref()));
    }
    Ok(checks)
}

/// What is looked at where there is a home.
const OF_A_HOME: [&str; 11] = [
    "folders",
    "permissions",
    "file-system",
    "disk",
    "database",
    "service",
    "sockets",
    "identity",
    "turns",
    "tasks",
    "channels",
];

/// What is looked at where the configuration can be read, besides the runtimes one by one.
const OF_CONFIGURATION: [&str; 17] = [
    "zone",
    "clock",
    "runtime",
    "user-namespaces",
    "limits",
    "isolation",
    "orphans",
    "image",
    "group-images",
    "runner",
    "provider",
    "mount-allowlist",
    "mount-secrets",
    "senders",
    "skills",
    "attachments",
    "live-model",
];

async fn of_configuration(home: &Home, config: Config, found: &Database, live: bool) -> anyhow::Result<Vec<Check>> {
    let now = Timestamp::now();
    let mut checks = vec![configuration(home, &config), credentials::check(&config, now), zone(&config)];
    checks.push(database::clock(found, now, &config.time.zone));
    let Runtimes { checks: of_runtimes, chosen, sandbox } = runtimes(home, &config).await;
    checks.extend(of_runtimes);
    let kind = chosen.as_ref().map(|working| working.runtime.kind());
    checks.push(machine::user_namespaces(&machine::Namespaces {
        root: rustix::process::geteuid().is_root(),
        sandbox,
        chosen: kind,
        refused_by: machine::refused_by(),
    }));
    let capable = chosen.as_ref().map(|working| (working.runtime.kind(), &working.capabilities));
    checks.push(machine::limits(&config, capable));
    checks.push(isolation(home, &config, chosen.as_ref()));
    checks.push(containers::orphans(home, found, chosen.as_ref().map(|working| &working.runtime)).await);
    checks.push(image(&config, chosen.as_ref()).await);
    checks.push(images::of_groups(home, &config, kind).await);
    checks.push(runner(&config, chosen.as_ref()));
    checks.push(provider::check(&config, chosen.as_ref().map(Working::purpose)));
    let (of_home, of_config) = (home.clone(), config.clone());
    let of_files = move || {
        let mut checks = mounts::checks(&of_home, &of_config);
        checks.push(senders::check(&of_config.senders));
        checks.push(skills::check(&of_home, &of_config));
        checks.push(attachments::check(&of_home));
        checks
    };
    checks.extend(tokio::task::spawn_blocking(of_files).await?);
    if live {
        checks.push(live::model(home, &config).await);
    }
    Ok(checks)
}

/// Those that have to pass before anything else is set up in a home that is made.
pub(super) async fn of_machine(home: &Home, config: &Config) -> Vec<Check> {
    let asked = asked(home).await;
    vec![writable(home), service(home, asked.as_ref()), disk(home, Some(config)).await, runner(config, None)]
}

fn writable(home: &Home) -> Check {
    let root = home.root().display();
    if !home.exists() {
        return Check::failed("home", format!("there is no home at {root}"), "`nanoclaw init` makes one");
    }
    let folder = if home.store().exists() { home.store() } else { home.root().to_owned() };
    let probe = folder.join(format!(".doctor-{}", std::process::id()));
    let tried = std::fs::OpenOptions::new().write(true).create_new(true).open(&probe);
    let _ = std::fs::remove_file(&probe);
    match tried {
        Ok(_) => Check::ok("home", format!("{root} is there and can be written to")),
        Err(error) => Check::failed(
            "home",
            format!("{} cannot be written to: {error}", folder.display()),
            "it must be on a writable disk and belong to this user; --home DIR names another home",
        ),
    }
}

/// What whoever has the home says of its service; `None` when nobody answers.
async fn asked(home: &Home) -> Option<Result<Option<ServiceStatus>, AdminError>> {
    let client = Client::connect(home).await.ok()?;
    Some(client.status().await.map(|status| status.service))
}

fn service(home: &Home, asked: Option<&Result<Option<ServiceStatus>, AdminError>>) -> Check {
    if let Some(asked) = asked {
        return match asked {
            Ok(Some(service)) => {
                let runs = format!("version {} runs as process {}", service.version, service.pid);
                match &service.runtime_away {
                    None => Check::ok("service", runs),
                    Some(away) => {
                        let detail = format!("{runs} and keeps messages until its runtime answers: {}", away.reason);
                        Check::warning("service", detail, away.help.clone())
                    }
                }
            }
            Ok(None) => Check::ok("service", "a conversation in the terminal has the home"),
            Err(error) => Check::failed("service", error.message.clone(), "restart it; its log says what it is doing"),
        };
    }
    match HomeLock::acquire(home) {
        Ok(_) => Check::ok("service", "none runs"),
        Err(error @ LockError::Held { .. }) => {
            Check::failed("service", format!("{error}, but does not answer on its control socket"), error.help())
        }
        Err(error) => Check::failed("service", error.to_string(), error.help()),
    }
}

/// By the rule of the service's health, so that both say the same.
async fn disk(home: &Home, config: Option<&Config>) -> Check {
    const NAME: &str = "disk";
    let wanted = config.map_or_else(Thresholds::default, |config| config.health.thresholds()).free_space;
    let folder = if home.store().exists() { home.store() } else { home.root().to_owned() };
    // One that is gone may never answer.
    let asked = tokio::task::spawn_blocking(move || health::room(&folder));
    let found = match tokio::time::timeout(DISK_WITHIN, asked).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", DISK_WITHIN.as_secs())),
    };
    let judged = health::judge_disk(&found, wanted);
    let (detail, help) = (judged.reason.unwrap_or_default(), judged.help.unwrap_or_default());
    let help = || format!("{help}; `nanoclaw cleanup` removes what nobody needs any more");
    match judged.status {
        Health::Ok => Check::ok(NAME, detail),
        Health::Degraded => Check::warning(NAME, detail, help()),
        Health::Failing => Check::failed(NAME, detail, help()),
    }
}

const DISK_WITHIN: Duration = Duration::from_secs(5);

/// Whether everything that was asked is answered or under way.
async fn turns(place: &Place, home: &Home) -> Check {
    if !home.database().exists() {
        return Check::ok("turns", "nothing was said yet");
    }
    // What keeps the home from being asked is told by other checks.
    let Ok((home, _)) = place.open().await else { return Check::skipped("turns", "the home cannot be asked") };
    let turns = match home.turns(None, false).await {
        Ok(turns) => turns,
        Err(error) => return Check::skipped("turns", error.message),
    };
    let count = |state: TurnState| turns.iter().filter(|turn| turn.state == state).count();
    let (aside, paused) = (count(TurnState::SetAside), count(TurnState::Paused));
    let detail = match (aside, paused) {
        (0, 0) => return Check::ok("turns", "nothing is set aside and nothing waits for the end of a trouble"),
        (aside, 0) => format!("{aside} set aside after the last try"),
        (0, paused) => format!("{paused} waiting for the end of a trouble"),
        (aside, paused) => format!("{aside} set aside after the last try, {paused} waiting for the end of a trouble"),
    };
    Check::warning(
        "turns",
        detail,
        "`nanoclaw turns list` shows them, `nanoclaw turns retry --all` has them tried again",
    )
}

fn configuration(home: &Home, config: &Config) -> Check {
    let file = home.config_file();
    let detail = match file.exists() {
        true => format!("{} is well formed", file.display()),
        false => "there is no nanoclaw.toml; everything stands at its default".to_owned(),
    };
    match config.remarks.as_slice() {
        [] => Check::ok("config", detail),
        remarks => Check::warning("config", remarks.join("\n"), "nothing has to be done if that is meant so"),
    }
}

fn mistaken(mistakes: &ConfigErrors) -> Check {
    Check::failed("config", mistakes.to_string(), "correct them all; nanoclaw.sample.toml and `nanoclaw init` show how")
}

fn zone(config: &Config) -> Check {
    let zone = &config.time.zone;
    let name = zone.iana_name().unwrap_or("a zone without a name");
    if zone.iana_name().is_none() {
        return Check::warning(
            "zone",
            format!("times are shown in {name} ({})", zone.source),
            "set [time] zone to a name such as \"Europe/Berlin\"",
        );
    }
    Check::ok("zone", format!("{name} ({})", zone.source))
}

/// A runtime that works here.
struct Working {
    runtime: Arc<dyn ContainerRuntime>,
    capabilities: Capabilities,
}

impl Working {
    fn purpose(&self) -> Purpose {
        Purpose::of(self.runtime.kind())
    }
}

/// What was found of the runtimes.
struct Runtimes {
    /// One for each, and one for the choice.
    checks: Vec<Check>,
    /// What was chosen, by the rules of a real start.
    chosen: Option<Working>,
    /// Whether the sandbox gives containers a world of their own; or why it cannot be used.
    sandbox: Option<Result<bool, String>>,
}

async fn runtimes(home: &Home, config: &Config) -> Runtimes {
    let choice = *config.container.runtime;
    let (mut checks, mut sandbox) = (Vec::new(), None);
    for (kind, runtime) in app::every_runtime(home, config, None).await {
        let name = check_name(kind);
        let probed = match runtime {
            Ok(runtime) => runtime.probe().await,
            Err(error) => Err(error),
        };
        if kind == RuntimeKind::Sandbox {
            let own_world = probed.as_ref().map(|found| found.own_mounts && found.own_network);
            sandbox = Some(own_world.map_err(without_remedy));
        }
        checks.push(match probed {
            Ok(Capabilities { description, remarks, .. }) if remarks.is_empty() => Check::ok(name, &description),
            Ok(Capabilities { description, remarks, .. }) => Check::warning(
                name,
                format!("{description}\n{}", remarks.join("\n")),
                "nothing has to be done if that is good enough",
            ),
            Err(error) if choice == RuntimeChoice::Fixed(kind) => {
                Check::failed(name, error.to_string(), "or take another with [container] runtime")
            }
            Err(error) => Check::skipped(name, error.to_string()),
        });
    }
    match app::choose(home, config, Isolation::Required).await {
        Ok(chosen) => {
            let detail = format!("{} is used ({})", chosen.runtime.kind(), chosen.because);
            checks.push(Check::ok("runtime", detail));
            let chosen = Some(Working { runtime: chosen.runtime, capabilities: chosen.capabilities });
            Runtimes { checks, chosen, sandbox }
        }
        Err(no_runtime) => {
            // What a canary found is in none of the lines above, which ask the runtime alone.
            for (kind, error) in &no_runtime.tried {
                if matches!(error, RuntimeError::NotEnforced { .. }) {
                    let help = format!("`nanoclaw selftest isolation --runtime {kind}` shows it again");
                    checks.push(Check::failed("isolation", error.to_string(), help));
                }
            }
            let (detail, help) = match choice {
                RuntimeChoice::Fixed(kind) => (
                    format!("{kind}, which {} asks for, does not work", config.container.runtime.source),
                    "the lines above say why; `nanoclaw run` waits for it if it can come by itself",
                ),
                RuntimeChoice::Auto => (
                    "nothing here can run containers".to_owned(),
                    "install docker (`apt install docker.io`), or allow user namespaces for the sandbox; the lines above \
                     say why",
                ),
            };
            checks.push(Check::failed("runtime", detail, help));
            Runtimes { checks, chosen: None, sandbox }
        }
    }
}

fn without_remedy(error: &RuntimeError) -> String {
    match error {
        RuntimeError::Unavailable { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

fn check_name(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Docker => "runtime-docker",
        RuntimeKind::Podman => "runtime-podman",
        RuntimeKind::Sandbox => "runtime-sandbox",
        RuntimeKind::Fake => "runtime-fake",
    }
}

/// Whether a canary has shown that the chosen runtime isolates; it was sent by the choice if none had been.
fn isolation(home: &Home, config: &Config, chosen: Option<&Working>) -> Check {
    let Some(working) = chosen else { return Check::skipped("isolation", "there is no runtime") };
    let kind = working.runtime.kind();
    let help = format!("`nanoclaw selftest isolation --runtime {kind}` sends a canary and says what it sees");
    let proof = app::proof(kind, home, config);
    match proof.shown_at(kind, &working.capabilities) {
        Some(at) => {
            let at = output::time(at, &config.time.zone);
            Check::ok("isolation", format!("in force, as a canary saw {at}; user, network, rights, files and bounds"))
        }
        None => Check::warning("isolation", "no canary could be sent yet, so nothing would be started", help),
    }
}

async fn image(config: &Config, chosen: Option<&Working>) -> Check {
    let Some(working) = chosen else { return Check::skipped("image", "there is no runtime") };
    let kind = working.runtime.kind();
    // What a run would take: an engine's image is nothing to the sandbox.
    let image = image_for(kind, &config.container.image);
    if working.purpose() == Purpose::ThisMachine && image.as_str() == HOST_IMAGE {
        return Check::ok("image", format!("{kind} needs none"));
    }
    match working.runtime.ensure_image(&image).await {
        Ok(()) => match images::outdated(config, kind, &image).await {
            None => Check::ok("image", format!("{image} is there")),
            Some(detail) => Check::ok("image", detail),
        },
        Err(error) => Check::failed("image", error.to_string(), "`nanoclaw image build` builds it"),
    }
}

fn runner(config: &Config, chosen: Option<&Working>) -> Check {
    let remedy =
        "`cargo build --release` makes it beside nanoclaw; [agent] runner in nanoclaw.toml names another place";
    let purpose = chosen.map_or(Purpose::ThisMachine, Working::purpose);
    let Some(path) = programs::runner(&config.agent, purpose, &ProcessEnvironment) else {
        return Check::failed("runner", "the program agent-runner was not found", remedy);
    };
    let shown = path.display();
    match programs::linkage(&path) {
        Ok(Linkage::Static) => Check::ok("runner", format!("{shown}, static")),
        Ok(Linkage::Dynamic) if purpose == Purpose::AnyImage => Check::warning(
            "runner",
            format!("{shown} is not static, so it runs only in images that have the libraries of this machine"),
            "`cargo static-runner` makes one that runs in any",
        ),
        Ok(Linkage::Dynamic) => Check::ok("runner", format!("{shown}, with this machine's libraries")),
        Err(reason) => Check::failed("runner", format!("{shown} {reason}"), remedy),
    }
}
