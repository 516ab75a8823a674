//! Canaries in real runtimes: where isolation is in force they come back well, where it is not they say what is missing, and then
//! nothing is started.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

#[allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "written for the end-to-end tests, of which this needs a part"
)]
#[path = "e2e/programs.rs"]
mod programs;
mod support;

use std::{fs, path::Path, sync::Arc};

use nanoclaw_core::{
    runtime::{
        ContainerRuntime, HardeningProfile, ImageRef, Limits, RuntimeError, RuntimeKind, hardening::in_one_line,
        witness::BoundSeen,
    },
    testing::runtime_suite::SuiteContext,
};
use nanoclaw_host::{
    runtimes::{
        engine_api::{
            EngineRuntime,
            image::{self, Base, Build},
        },
        sandbox::{HOST_IMAGE, SandboxMode, SandboxRuntime, SandboxSettings},
    },
    selftest::{Cache, Proof, ProvenRuntime, canary},
};
use support::podman::PodmanService;

/// As groups have it by default.
fn profile() -> HardeningProfile {
    HardeningProfile {
        user: support::user(),
        limits: Limits { memory_bytes: Some(2 << 30), pids: Some(256), milli_cpus: Some(1500) },
        tmp_bytes: 256 << 20,
    }
}

fn sandbox(mode: SandboxMode, state: &Path) -> SandboxRuntime {
    let settings =
        SandboxSettings { helper: programs::NANOCLAW.into(), mode, ..SandboxSettings::new(state.to_owned()) };
    SandboxRuntime::new(settings)
}

fn proof(folder: &Path, image: ImageRef, runner: &Path) -> Proof {
    Proof { runner: Some(runner.to_owned()), profile: profile(), image, cache: Cache::in_store(folder) }
}

fn host_image() -> ImageRef {
    ImageRef::new(HOST_IMAGE).unwrap()
}

/// Sends a canary with every bound that the runtime can enforce; everything has to be in force.
async fn comes_back_well(runtime: &dyn ContainerRuntime, image: &ImageRef, runner: &Path) {
    let folder = support::scratch();
    let capabilities = runtime.probe().await.unwrap();
    let profile = proof(folder.path(), image.clone(), runner).profile_where(&capabilities);
    let report = canary::send(runtime, &capabilities, &profile, image, runner).await.unwrap();
    assert_eq!(report.deviations, [], "{report:#?}");
    assert_eq!(report.bounds.len(), 3, "{:?}", report.bounds);
    if profile.limits.pids.is_some() {
        assert!(matches!(report.bounds[0], BoundSeen::Pids(Some(2..=64))), "{:?}", report.bounds);
    }
    assert!(report.testimony.connections.len() >= 4 && report.testimony.connections.values().all(|error| *error > 0));
}

async fn comes_back_well_from_engine(kind: RuntimeKind) {
    let name = kind.to_string();
    let podman = match kind {
        RuntimeKind::Podman => match support::wanted(&name).or_skip(&name, PodmanService::start()) {
            None => return,
            service => service,
        },
        _ => None,
    };
    let socket = podman.as_ref().map_or_else(|| EngineRuntime::default_socket(kind), PodmanService::socket);
    let connected = EngineRuntime::connect(kind, &socket).await;
    let Some(runtime) = support::wanted(&name).or_skip(&name, connected) else { return };
    let folder = support::scratch();
    let root = folder.path().join("root");
    support::busybox_root(&root).unwrap();
    let image = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
    let build = Build { name: image.clone(), base: Base::Folder(root), claude: None };
    image::build(&runtime, &build, &|_| ()).await.unwrap();
    comes_back_well(&runtime.clone().with_probe_image(image.clone()), &image, programs::static_runner()).await;
    while image::remove(&runtime, &image).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_comes_back_well_from_docker() {
    comes_back_well_from_engine(RuntimeKind::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_comes_back_well_from_podman() {
    comes_back_well_from_engine(RuntimeKind::Podman).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_comes_back_well_from_the_sandbox() {
    let folder = support::scratch();
    let runtime = sandbox(SandboxMode::Namespaces, &folder.path().join("state"));
    let Some(_) = support::wanted("sandbox").or_skip("sandbox", runtime.probe().await) else { return };
    comes_back_well(&runtime, &host_image(), programs::runner()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_in_no_sandbox_at_all_says_so() {
    let folder = support::scratch();
    let runtime = sandbox(SandboxMode::Unsafe, &folder.path().join("state"));
    let Some(_) = support::wanted("sandbox").or_skip("sandbox", runtime.probe().await) else { return };
    let mut capabilities = runtime.probe().await.unwrap();
    // As if it gave what namespaces give.
    (capabilities.own_mounts, capabilities.own_network) = (true, true);
    let mut loose = profile();
    loose.limits = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    let report = canary::send(&runtime, &capabilities, &loose, &host_image(), programs::runner()).await.unwrap();
    let told = in_one_line(&report.deviations);
    for point in ["system calls", "processes", "net namespace", "mnt namespace", "pid namespace"] {
        assert!(told.contains(&format!("{point}: ")), "{point} is not among {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_where_a_canary_found_a_wall_missing() {
    let folder = support::scratch();
    let plain = sandbox(SandboxMode::Unsafe, &folder.path().join("state"));
    let Some(_) = support::wanted("sandbox").or_skip("sandbox", plain.probe().await) else { return };
    let proof = proof(folder.path(), host_image(), programs::runner());
    let context = SuiteContext::new(
        Arc::new(sandbox(SandboxMode::Unsafe, &folder.path().join("state"))),
        host_image(),
        folder.path().join("scratch"),
        support::user(),
        support::install(),
    )
    .await
    .unwrap();
    let proven = ProvenRuntime::new(Arc::new(plain), proof.clone());
    let refused = proven.probe().await.expect_err("it is available");
    assert!(matches!(refused, RuntimeError::NotEnforced { .. }), "{refused}");
    assert!(refused.to_string().contains("system calls: ") && refused.to_string().contains("selftest isolation"));
    let mut spec = context.spec("echo x > /tmp/nanoclaw-must-not-run");
    spec.limits = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    let refused = proven.start(&spec).await.err().expect("it was started");
    assert!(matches!(refused, RuntimeError::NotEnforced { .. }), "{refused}");
    assert!(!folder.path().join("canary.json").exists(), "a failure is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_canary_showed_is_not_shown_again_and_another_profile_is() {
    let folder = support::scratch();
    let state = folder.path().join("state");
    let make = || Arc::new(sandbox(SandboxMode::Namespaces, &state));
    let Some(capabilities) = support::wanted("sandbox").or_skip("sandbox", make().probe().await) else { return };
    let proof = proof(folder.path(), host_image(), programs::runner());
    let file = folder.path().join("canary.json");
    ProvenRuntime::new(make(), proof.clone()).probe().await.unwrap();
    assert!(proof.shown_at(RuntimeKind::Sandbox, &capabilities).is_some());
    let first = fs::read(&file).unwrap();
    // Of the next host: a canary would leave a later time.
    let next = ProvenRuntime::new(make(), proof.clone());
    next.probe().await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), first);

    let context =
        SuiteContext::new(make(), host_image(), folder.path().join("scratch"), support::user(), support::install());
    let context = context.await.unwrap();
    let mut spec = context.spec("true");
    spec.limits = Limits { pids: Some(99), ..proof.profile_where(&capabilities).limits };
    next.remove(&next.start(&spec).await.unwrap().id).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), first, "other numbers are no other walls");
    spec.name += "-2";
    spec.limits = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    next.remove(&next.start(&spec).await.unwrap().id).await.unwrap();
    assert_ne!(fs::read(&file).unwrap(), first, "without bounds it is another profile");
}
