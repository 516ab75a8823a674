//! The hostile self-test on every runtime that is wanted, and with walls missing on purpose: a judge that finds nothing where
//! something is there to be found is worth nothing.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

#[path = "e2e/programs.rs"]
#[allow(dead_code, unreachable_pub, reason = "a part of it is used here")]
mod programs;
mod support;

use std::{collections::BTreeMap, ffi::OsString, path::Path, sync::Arc};

use nanoclaw_core::runtime::{ContainerRuntime, ImageRef, RuntimeKind};
use nanoclaw_host::{
    runtimes::{
        engine_api::{
            EngineRuntime,
            image::{self, Base, Build},
        },
        sandbox::{SandboxRuntime, SandboxSettings},
    },
    selftest::hostile::{
        Settings, Size, Weakness,
        report::{Report, Verdict},
        run,
    },
};
use support::podman::PodmanService;

/// A runtime, and what goes away after it.
struct Ground {
    runtime: Arc<dyn ContainerRuntime>,
    image: Option<(EngineRuntime, ImageRef)>,
    environment: BTreeMap<String, OsString>,
    _podman: Option<PodmanService>,
    _folder: tempfile::TempDir,
}

impl Ground {
    /// `None`, and a line that says so, where the runtime is missing.
    async fn of(kind: RuntimeKind) -> Option<Self> {
        let name = kind.to_string();
        let wanted = support::wanted(&name);
        wanted.or_skip(&name, Ok::<(), String>(()))?;
        let folder = support::scratch();
        let mut environment = BTreeMap::new();
        let mut podman = None;
        if kind == RuntimeKind::Sandbox {
            let settings = SandboxSettings {
                helper: programs::NANOCLAW.into(),
                ..SandboxSettings::new(folder.path().join("state"))
            };
            let runtime = SandboxRuntime::new(settings);
            wanted.or_skip(&name, runtime.probe().await)?;
            let runtime: Arc<dyn ContainerRuntime> = Arc::new(runtime);
            return Some(Self { runtime, image: None, environment, _podman: None, _folder: folder });
        }
        let mut socket = EngineRuntime::default_socket(kind);
        if kind == RuntimeKind::Podman {
            let service = wanted.or_skip(&name, PodmanService::start())?;
            socket = service.socket();
            environment.insert("XDG_RUNTIME_DIR".to_owned(), service.runtime_folder().into());
            podman = Some(service);
        }
        let engine = wanted.or_skip(&name, EngineRuntime::connect(kind, &socket).await)?;
        let image = busybox_image(&engine, folder.path()).await;
        let runtime = engine.clone().with_probe_image(image.clone());
        Some(Self {
            runtime: Arc::new(runtime),
            image: Some((engine, image)),
            environment,
            _podman: podman,
            _folder: folder,
        })
    }

    fn settings(&self) -> Settings {
        let runner = if self.image.is_some() { programs::static_runner() } else { programs::runner() };
        Settings {
            runtime: self.runtime.clone(),
            image: self.image.as_ref().map(|(_, image)| image.clone()),
            program: programs::NANOCLAW.into(),
            runner: Some(runner.to_owned()),
            environment: self.environment.clone(),
            size: Size::Short,
            attacks: Vec::new(),
            weaknesses: Vec::new(),
        }
    }

    async fn gone(self) {
        if let Some((engine, image)) = &self.image {
            image::remove(engine, image).await.unwrap();
        }
    }
}

async fn busybox_image(engine: &EngineRuntime, folder: &Path) -> ImageRef {
    let root = folder.join("busybox");
    support::busybox_root(&root).unwrap();
    let name = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
    let build = Build { name: name.clone(), base: Base::Folder(root), claude: None };
    image::build(engine, &build, &|_| ()).await.unwrap();
    name
}

async fn nothing_is_found(kind: RuntimeKind) {
    let Some(ground) = Ground::of(kind).await else { return };
    let report = run(ground.settings(), &|step| println!("{step}")).await.unwrap();
    println!("{}\n{}", report.markdown(), report.figures());
    assert!(report.found().is_empty(), "{:#?}", report.found());
    assert!(report.count(Verdict::Contained) > 300, "{}", report.figures());
    let gave_up: Vec<_> = report.cases.iter().filter(|case| case.name == "the attack as a whole").collect();
    assert!(gave_up.is_empty(), "every attack comes to its end: {gave_up:?}");
    ground.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malicious_agent_in_the_sandbox_gains_nothing() {
    nothing_is_found(RuntimeKind::Sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malicious_agent_in_docker_gains_nothing() {
    nothing_is_found(RuntimeKind::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malicious_agent_in_podman_gains_nothing() {
    nothing_is_found(RuntimeKind::Podman).await;
}

/// The names of what is found when these walls are missing and this is attacked.
async fn found_without(weaknesses: &[Weakness], attacks: &[&str]) -> Option<(Report, Vec<String>)> {
    let ground = Ground::of(RuntimeKind::Sandbox).await?;
    let mut settings = ground.settings();
    settings.weaknesses = weaknesses.to_vec();
    settings.attacks = attacks.iter().map(|attack| (*attack).to_owned()).collect();
    let report = run(settings, &|_| ()).await.unwrap();
    let names = report.found().into_iter().map(|case| case.name.clone()).collect();
    ground.gone().await;
    Some((report, names))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_mount_is_found_by_the_hunter() {
    let Some((report, found)) = found_without(&[Weakness::SecretInMount], &["hunt"]).await else { return };
    assert!(found.contains(&"every file in its own mounts".to_owned()), "{found:?}");
    assert!(!report.ok);
    assert!(report.found().iter().any(|case| case.detail.contains("leftbehind")), "{:?}", report.found());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_in_a_mount_and_a_changed_file_and_a_reached_listener_are_found() {
    let weaknesses = [Weakness::SocketInMount, Weakness::FileChanged, Weakness::ListenerReached];
    let Some((_, found)) = found_without(&weaknesses, &["exfiltrate"]).await else { return };
    for name in [
        "any other socket that can be seen",
        "files, owners and modes outside the attacker's folders",
        "connections and datagrams that reached the host's listeners",
    ] {
        assert!(found.contains(&name.to_owned()), "{name}: {found:?}");
    }
}

/// What is found of a gateway that leaves out this check, beside `names`.
async fn is_found_without(wall: &'static str, names: &[&str]) {
    let Some((report, found)) = found_without(&[Weakness::NoWall(wall)], &["tunnel"]).await else { return };
    for name in names {
        assert!(found.iter().any(|one| one.starts_with(name)), "{name}: {:#?}", report.found());
    }
    assert!(!report.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_to_any_address_is_found() {
    is_found_without(
        "addresses",
        &[
            "a name that changes its answer, by CONNECT",
            "a name that changes its answer, by plain HTTP",
            "where the gateway went beside allowed hosts and ports",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_goes_to_any_host_is_found() {
    is_found_without(
        "allow-list",
        &[
            "CONNECT other.nanoclaw.test:443",
            "plain HTTP to other.nanoclaw.test",
            "a second request on the connection of an allowed one, to a host that is not listed",
            "where the gateway went beside allowed hosts and ports",
            "names that the gateway asked about beside the allowed ones",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_does_not_look_into_tls_is_found() {
    is_found_without(
        "tls-name",
        &[
            "TLS on port 443 that names another host",
            "TLS on port 8443 that names another host",
            "what allowed hosts were told that nobody was to tell them",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_looser_than_promised_are_found() {
    let Some((report, found)) = found_without(&[Weakness::LooseLimits], &["exhaust"]).await else { return };
    let not_limited =
        |name: &str| report.cases.iter().any(|case| case.name == name && case.verdict == Verdict::NotApplicable);
    for name in ["processes", "threads", "memory"] {
        assert!(found.contains(&name.to_owned()) || not_limited(name), "{name}: {found:?}");
    }
}
