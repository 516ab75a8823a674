//! An engine that makes a weaker container than it is asked for starts nothing: shown with real engines behind a socket that
//! rewrites what is said to them.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use nanoclaw_core::{
    runtime::{Access, ContainerRuntime as _, ContainerSpec, ImageRef, Mount, RuntimeError, RuntimeKind},
    testing::runtime_suite::SuiteContext,
};
use nanoclaw_host::runtimes::engine_api::{
    EngineRuntime,
    image::{self, Base, Build},
};
use serde_json::{Value, json};
use support::{podman::PodmanService, tampering::TamperingEngine};

/// A real engine with an image of the test's own.
struct Engine {
    kind: RuntimeKind,
    socket: PathBuf,
    runtime: EngineRuntime,
    image: ImageRef,
    folder: tempfile::TempDir,
    _podman: Option<PodmanService>,
}

impl Engine {
    /// `None`, and a line that says so, without it.
    async fn get(kind: RuntimeKind) -> Option<Self> {
        let name = kind.to_string();
        let podman = match kind {
            RuntimeKind::Podman => Some(support::wanted(&name).or_skip(&name, PodmanService::start())?),
            _ => None,
        };
        let socket = podman.as_ref().map_or_else(|| EngineRuntime::default_socket(kind), PodmanService::socket);
        let runtime = support::wanted(&name).or_skip(&name, EngineRuntime::connect(kind, &socket).await)?;
        let folder = support::scratch();
        let root = folder.path().join("root");
        support::busybox_root(&root).unwrap();
        let image = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
        let build = Build { name: image.clone(), base: Base::Folder(root), claude: None };
        image::build(&runtime, &build, &|_| ()).await.unwrap();
        let runtime = runtime.with_probe_image(image.clone());
        Some(Self { kind, socket, runtime, image, folder, _podman: podman })
    }

    /// A context in which `runtime` is under test.
    async fn suite(&self, runtime: &EngineRuntime) -> SuiteContext {
        let runtime = Arc::new(runtime.clone());
        let scratch = self.folder.path().join("scratch");
        SuiteContext::new(runtime, self.image.clone(), scratch, support::user(), support::install()).await.unwrap()
    }

    /// What comes of a start when what is created and what is told of it are changed so.
    async fn start_changed(
        &self,
        context: &SuiteContext,
        created: impl Fn(&mut Value) + Send + Sync + 'static,
        told: impl Fn(&mut Value) + Send + Sync + 'static,
    ) -> Result<(), RuntimeError> {
        let tampering = TamperingEngine::before(&self.socket, created, told);
        let runtime = EngineRuntime::connect(self.kind, &tampering.socket()).await?;
        let spec = self.spec(context);
        let started = runtime.start(&spec).await;
        let left = self.runtime.list(&context.install).await.unwrap();
        match started {
            Ok(container) => runtime.remove(&container.id).await,
            Err(error) => {
                assert_eq!(left, [], "a refused container is left");
                Err(error)
            }
        }
    }

    /// A container that waits for its input.
    fn spec(&self, context: &SuiteContext) -> ContainerSpec {
        let mut spec = context.spec("cat");
        let source = self.folder.path().join("scratch");
        spec.mounts.push(Mount { source, target: "/workspace/group".to_owned(), access: Access::ReadOnly });
        spec.env.insert("TZ".to_owned(), "UTC".into());
        spec
    }

    async fn remove(self) {
        while image::remove(&self.runtime, &self.image).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// What is made of a request, or of an answer, on its way.
type Change = fn(&mut Value);

/// Each line: what is made of the request, and what the refusal speaks of.
fn weaker() -> Vec<(&'static str, Change)> {
    fn host<'a>(body: &'a mut Value, key: &str) -> &'a mut Value {
        &mut body["HostConfig"][key]
    }
    vec![
        ("network", |body| *host(body, "NetworkMode") = json!("host")),
        ("capabilities", |body| *host(body, "CapDrop") = json!([])),
        ("capabilities", |body| *host(body, "CapAdd") = json!(["NET_ADMIN"])),
        ("privileged", |body| *host(body, "Privileged") = json!(true)),
        ("new privileges", |body| *host(body, "SecurityOpt") = json!([])),
        ("security options", |body| {
            *host(body, "SecurityOpt") = json!(["no-new-privileges:true", "seccomp=unconfined"]);
        }),
        ("root", |body| *host(body, "ReadonlyRootfs") = json!(false)),
        ("pid namespace", |body| *host(body, "PidMode") = json!("host")),
        ("ipc namespace", |body| *host(body, "IpcMode") = json!("host")),
        ("uts namespace", |body| *host(body, "UTSMode") = json!("host")),
        ("devices", |body| {
            *host(body, "Devices") =
                json!([{"PathOnHost": "/dev/full", "PathInContainer": "/dev/x", "CgroupPermissions": "rwm"}]);
        }),
        ("groups", |body| *host(body, "GroupAdd") = json!(["999"])),
        ("memory", |body| {
            *host(body, "Memory") = json!(0);
            *host(body, "MemorySwap") = json!(0);
        }),
        ("pids", |body| *host(body, "PidsLimit") = json!(0)),
        ("milli cpus", |body| *host(body, "NanoCpus") = json!(0)),
        ("tmpfs /tmp", |body| *host(body, "Tmpfs") = json!({"/tmp": "rw,exec,nosuid,nodev,size=16777216"})),
        ("mounts", |body| {
            let more = json!({"Type": "bind", "Source": "/etc", "Target": "/host-etc", "ReadOnly": true});
            host(body, "Mounts").as_array_mut().unwrap().push(more);
        }),
        ("engine", |body| {
            let more = json!({"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/x"});
            host(body, "Mounts").as_array_mut().unwrap().push(more);
        }),
        ("mounts", |body| host(body, "Mounts")[0]["ReadOnly"] = json!(false)),
        ("user", |body| body["User"] = json!("0:0")),
        ("environment", |body| body["Env"].as_array_mut().unwrap().push(json!("ANTHROPIC_API_KEY=sk-canary"))),
        ("environment", |body| body["Env"] = json!(["TZ=Mars"])),
    ]
}

async fn every_weakened_container_is_refused(kind: RuntimeKind) {
    let Some(engine) = Engine::get(kind).await else { return };
    let context = engine.suite(&engine.runtime).await;
    engine.start_changed(&context, |_| (), |_| ()).await.expect("what is passed on unchanged is started");
    let mut wrong = Vec::new();
    for (point, change) in weaker() {
        let limited = match point {
            "memory" => context.capabilities.memory_limit,
            "pids" => context.capabilities.pids_limit,
            "milli cpus" => context.capabilities.cpu_limit,
            // Podman 4 takes this key from nobody, so that there is nothing weaker to be refused.
            "ipc namespace" => kind == RuntimeKind::Docker,
            // Rootless Podman mounts a device's file and tells of no device; what its user may not open nobody inside can.
            "devices" => kind == RuntimeKind::Docker || rustix::process::geteuid().is_root(),
            "engine" => Path::new("/var/run/docker.sock").exists(),
            _ => true,
        };
        if !limited {
            continue;
        }
        match engine.start_changed(&context, change, |_| ()).await {
            Err(error @ RuntimeError::NotEnforced { .. }) => {
                let text = error.to_string();
                if !text.contains(&format!("{point}: ")) || text.contains("sk-canary") {
                    wrong.push(format!("{point}: {text}"));
                }
            }
            Err(error) => wrong.push(format!("{point}: {error}")),
            Ok(()) => wrong.push(format!("{point}: it was started")),
        }
    }
    engine.remove().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_that_docker_makes_weaker_is_refused() {
    every_weakened_container_is_refused(RuntimeKind::Docker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_container_that_podman_makes_weaker_is_refused() {
    every_weakened_container_is_refused(RuntimeKind::Podman).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_also_lies_is_caught_by_looking_at_the_process() {
    let Some(engine) = Engine::get(RuntimeKind::Docker).await else { return };
    let context = engine.suite(&engine.runtime).await;
    let lies: [(&str, Change, Change); 3] = [
        (
            "CapBnd",
            |body| body["HostConfig"]["CapDrop"] = json!([]),
            |told| told["HostConfig"]["CapDrop"] = json!(["ALL"]),
        ),
        (
            "system calls",
            |body| body["HostConfig"]["SecurityOpt"] = json!(["no-new-privileges:true", "seccomp=unconfined"]),
            |told| told["HostConfig"]["SecurityOpt"] = json!(["no-new-privileges:true"]),
        ),
        (
            "net namespace",
            |body| body["HostConfig"]["NetworkMode"] = json!("host"),
            |told| told["HostConfig"]["NetworkMode"] = json!("none"),
        ),
    ];
    let mut results = Vec::new();
    for (point, created, told) in lies {
        results.push((point, engine.start_changed(&context, created, told).await));
    }
    engine.remove().await;
    for (point, result) in results {
        let text = result.expect_err("it was started").to_string();
        assert!(text.contains(&format!("{point}: ")), "{point}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_declares_a_volume_gets_no_writable_folder_beyond_ours() {
    let Some(engine) = Engine::get(RuntimeKind::Docker).await else { return };
    let context = engine.suite(&engine.runtime).await;
    // As if the image said it: an engine makes an anonymous volume of each.
    let declared = |body: &mut Value| body["Volumes"] = json!({"/data": {}});
    let refused = engine.start_changed(&context, declared, |_| ()).await;
    engine.remove().await;
    let text = refused.expect_err("it was started").to_string();
    assert!(text.contains("/data") && text.contains("VOLUME"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_costs_a_start_little() {
    let Some(engine) = Engine::get(RuntimeKind::Docker).await else { return };
    let context = engine.suite(&engine.runtime).await;
    let docker = bollard_of(&engine.socket);
    let (mut starts, mut looks) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let began = Instant::now();
        let container = engine.runtime.start(&engine.spec(&context)).await.unwrap();
        starts.push(began.elapsed());
        let began = Instant::now();
        docker.inspect_container(container.id.as_str(), None).await.unwrap();
        looks.push(began.elapsed());
        engine.runtime.remove(&container.id).await.unwrap();
    }
    engine.remove().await;
    starts.sort();
    looks.sort();
    let (start, look) = (starts[5], looks[5]);
    println!("a start takes {start:?}, of which each of two inspections {look:?}");
    assert!(look * 10 < start, "two inspections take a fifth of a start or more: {look:?} of {start:?}");
}

fn bollard_of(socket: &Path) -> bollard::Docker {
    bollard::Docker::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).unwrap()
}
