//! The runtime podman against a real service of the test's own: rootful when root runs the tests, rootless otherwise.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    runtime::{Access, ContainerRuntime as _, Exit, ImageRef, Mount, RuntimeError, RuntimeKind},
    testing::runtime_suite::{SuiteContext, Verdict, check_all},
};
use nanoclaw_host::runtimes::engine_api::{
    EngineRuntime,
    image::{self, Base, Build},
};
use support::{podman::PodmanService, tampering::TamperingEngine};

/// `None`, and a line that says so, without Podman.
fn service() -> Option<PodmanService> {
    support::wanted("podman").or_skip("podman", PodmanService::start())
}

async fn busybox_image(runtime: &EngineRuntime, folder: &Path) -> ImageRef {
    let root = folder.join("busybox");
    support::busybox_root(&root).unwrap();
    let image = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
    let build = Build { name: image.clone(), base: Base::Folder(root), claude: None };
    image::build(runtime, &build, &|_| ()).await.unwrap();
    image
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_keeps_every_promise() {
    let Some(service) = service() else { return };
    let folder = support::scratch();
    let runtime = EngineRuntime::connect(RuntimeKind::Podman, &service.socket()).await.unwrap();
    let image = busybox_image(&runtime, folder.path()).await;
    let runtime = runtime.with_probe_image(image.clone());
    let scratch = folder.path().join("scratch");
    let mut context = SuiteContext::new(Arc::new(runtime.clone()), image, scratch, support::user(), support::install())
        .await
        .unwrap();
    context.socket_client = Some(support::socket_client(folder.path()).unwrap());
    let report = check_all(&context, 2, |promise, verdict| {
        if let Verdict::Broken(reason) = verdict {
            println!("BROKEN {}: {reason}", promise.name);
        }
    })
    .await;
    println!("{}\n{report}", context.capabilities.description);
    assert_eq!(report.broken(), Vec::<String>::new());
    assert_eq!(runtime.list(&context.install).await.unwrap(), []);
    let limits = context.capabilities.memory_limit && context.capabilities.pids_limit && context.capabilities.cpu_limit;
    if limits {
        assert_eq!(support::not_made(&report), ["a_limit_that_is_not_in_force_is_refused"], "every limit is in force");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_are_not_in_force_are_found_by_looking_and_refused() {
    let Some(service) = service() else { return };
    let folder = support::scratch();
    let runtime = EngineRuntime::connect(RuntimeKind::Podman, &service.socket()).await.unwrap();
    let image = busybox_image(&runtime, folder.path()).await;
    let runtime = runtime.with_probe_image(image.clone());
    let capabilities = runtime.probe().await.unwrap();
    if capabilities.memory_limit && capabilities.pids_limit && capabilities.cpu_limit {
        println!("skipped: needs a rootless Podman without delegated cgroups");
        return;
    }
    let scratch = folder.path().join("scratch");
    let context = SuiteContext::new(Arc::new(runtime.clone()), image, scratch, support::user(), support::install())
        .await
        .unwrap();
    let mut spec = context.spec("true");
    spec.limits.pids = Some(64);
    let Err(error) = runtime.start(&spec).await else { panic!("a limit that is not in force was taken") };
    assert!(matches!(error, RuntimeError::NotEnforced { .. }), "{error}");
    assert!(error.to_string().contains("nanoclaw.toml"), "{error}");
}

/// A rootless Podman that makes two at once may say that its user has no subordinate ids, or crash.
#[tokio::test(flavor = "multi_thread")]
async fn rootless_podman_is_asked_for_one_container_at_a_time() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: needs an ordinary user's Podman");
        return;
    }
    let Some(service) = service() else { return };
    let (asked, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = most.clone();
    let count = move |_: &mut serde_json::Value| {
        seen.fetch_max(asked.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Long enough for the others to come, if they do not wait.
        std::thread::sleep(Duration::from_millis(200));
        asked.fetch_sub(1, Ordering::SeqCst);
    };
    let counting = TamperingEngine::before(&service.socket(), count, |_| ());
    let folder = support::scratch();
    let runtime = EngineRuntime::connect(RuntimeKind::Podman, &counting.socket()).await.unwrap();
    let image = busybox_image(&runtime, folder.path()).await;
    let scratch = folder.path().join("scratch");
    let context = SuiteContext::new(
        Arc::new(runtime.with_probe_image(image.clone())),
        image,
        scratch,
        support::user(),
        support::install(),
    )
    .await
    .unwrap();
    most.store(0, Ordering::SeqCst);
    let specs: Vec<_> = (0..4).map(|_| context.spec("true")).collect();
    let started = futures_util::future::join_all(specs.iter().map(|spec| context.runtime.start(spec))).await;
    for container in started {
        assert_eq!(container.unwrap().exit.await, Exit::Code(0));
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

/// Podman's containers do not remove themselves, so that a host can be told how they ended. One that dies removes nothing.
#[test]
fn a_container_that_ended_without_a_host_is_found_by_the_next_one_and_can_be_removed() {
    let Some(service) = service() else { return };
    let folder = support::scratch();
    let (runtime_of_a_host, socket) = (|| tokio::runtime::Runtime::new().unwrap(), service.socket());
    let first = runtime_of_a_host();
    let (install, id) = first.block_on(async {
        let runtime = EngineRuntime::connect(RuntimeKind::Podman, &socket).await.unwrap();
        let image = busybox_image(&runtime, folder.path()).await;
        let (scratch, install) = (folder.path().join("scratch"), support::install());
        let runtime = Arc::new(runtime.with_probe_image(image.clone()));
        let context =
            SuiteContext::new(runtime.clone(), image, scratch.clone(), support::user(), install.clone()).await;
        let mut spec = context.unwrap().spec("until [ -e /go/now ]; do sleep 0.1; done; exit 3");
        spec.mounts.push(Mount { source: scratch, target: "/go".to_owned(), access: Access::ReadOnly });
        let container = runtime.start(&spec).await.unwrap();
        (install, container.id)
    });
    // The host dies, and then the container ends.
    first.shutdown_background();
    std::fs::write(folder.path().join("scratch/now"), "").unwrap();
    runtime_of_a_host().block_on(async {
        let runtime = EngineRuntime::connect(RuntimeKind::Podman, &socket).await.unwrap();
        let ended = async {
            loop {
                let listed = runtime.list(&install).await.unwrap();
                let [only] = listed.as_slice() else { panic!("wanted one container, got {listed:?}") };
                assert_eq!(only.id, id);
                if !only.running {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
        assert!(matches!(runtime.adopt(&id).await, Err(RuntimeError::Gone { .. })));
        runtime.remove(&id).await.unwrap();
        assert_eq!(runtime.list(&install).await.unwrap(), []);
    });
}
