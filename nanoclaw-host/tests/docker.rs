//! The runtime docker against a real engine, with an image made from a static busybox.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

mod support;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    runtime::{
        Access, Container, ContainerRuntime, ContainerSpec, Exit, ImageRef, Mount, Output, RuntimeError, RuntimeKind,
        StopOutcome,
    },
    testing::runtime_suite::{SuiteContext, Verdict, check_all},
};
use nanoclaw_host::runtimes::engine_api::{
    EngineRuntime,
    image::{self, Base, Build, BuildStep},
};
use support::tampering::TamperingEngine;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(60);

/// A real engine with an image of the test's own, which goes when this does.
struct Engine {
    runtime: EngineRuntime,
    image: ImageRef,
    folder: tempfile::TempDir,
}

impl Engine {
    /// `None`, and a line that says so, without Docker or busybox.
    async fn get() -> Option<Self> {
        support::wanted("docker").or_skip("docker", Self::connect().await)
    }

    async fn connect() -> Result<Self, String> {
        let socket = EngineRuntime::default_socket(RuntimeKind::Docker);
        let runtime = EngineRuntime::connect(RuntimeKind::Docker, &socket).await.map_err(|error| error.to_string())?;
        let folder = support::scratch();
        let root = folder.path().join("root");
        support::busybox_root(&root)?;
        let image = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
        let build = Build { name: image.clone(), base: Base::Folder(root), claude: None };
        image::build(&runtime, &build, &|_| ()).await.map_err(|error| error.to_string())?;
        Ok(Self { runtime: runtime.with_probe_image(image.clone()), image, folder })
    }

    async fn suite(&self, runtime: &EngineRuntime) -> SuiteContext {
        let scratch = self.folder.path().join("scratch");
        let runtime = Arc::new(runtime.clone());
        SuiteContext::new(runtime, self.image.clone(), scratch, support::user(), support::install()).await.unwrap()
    }

    async fn remove(self) {
        remove_image(&self.runtime, &self.image).await;
    }
}

/// A container that has ended may still be on its way out, and holds its image until then.
async fn remove_image(runtime: &EngineRuntime, image: &ImageRef) {
    let removed = async {
        while image::remove(runtime, image).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, removed).await.expect("the image is let go");
}

async fn read_all(container: &mut Container) -> String {
    let mut all = Vec::new();
    while let Some(piece) = timeout(SOON, container.output.recv()).await.expect("the output ends") {
        let (Output::Stdout(bytes) | Output::Stderr(bytes)) = piece;
        all.extend_from_slice(&bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// Runs a spec that needs no input; its output and exit.
async fn run(runtime: &EngineRuntime, spec: &ContainerSpec) -> (String, Exit) {
    let mut container = runtime.start(spec).await.unwrap();
    let output = read_all(&mut container).await;
    (output, timeout(SOON, container.exit).await.expect("an exit comes"))
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_keeps_every_promise() {
    let Some(engine) = Engine::get().await else { return };
    let mut context = engine.suite(&engine.runtime).await;
    context.socket_client = Some(support::socket_client(engine.folder.path()).unwrap());
    let report = check_all(&context, 3, |promise, verdict| {
        if let Verdict::Broken(reason) = verdict {
            println!("BROKEN {}: {reason}", promise.name);
        }
    })
    .await;
    println!("{report}");
    let left = engine.runtime.list(&context.install).await.unwrap();
    engine.remove().await;
    assert_eq!(report.broken(), Vec::<String>::new());
    assert_eq!(left, []);
    assert_eq!(support::not_made(&report), ["a_limit_that_is_not_in_force_is_refused"], "every limit is in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_tells_what_a_container_saw() {
    let Some(engine) = Engine::get().await else { return };
    let capabilities = engine.runtime.probe().await.unwrap();
    let (again, beside) = tokio::join!(engine.runtime.probe(), engine.runtime.probe());
    engine.remove().await;
    assert_eq!((&again.unwrap(), &beside.unwrap()), (&capabilities, &capabilities), "probes do not meet");
    assert!(capabilities.description.starts_with("Docker "), "{capabilities:?}");
    assert!(capabilities.own_mounts && capabilities.own_network && capabilities.images, "{capabilities:?}");
    assert!(capabilities.outlive_host && capabilities.pids_limit && capabilities.memory_limit, "{capabilities:?}");
    assert!(!capabilities.remarks.iter().any(|remark| remark.contains("nothing was started")), "{capabilities:?}");
}

/// Another host on the engine may remove an image of its own between its being listed and its being used.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_passes_over_an_image_that_is_removed_before_it_is_looked_from() {
    let (Some(engine), Some(second)) = (Engine::get().await, Engine::get().await) else { return };
    let creations = Arc::new(AtomicUsize::new(0));
    let count = creations.clone();
    let gone = move |body: &mut serde_json::Value| {
        if count.fetch_add(1, Ordering::Relaxed) == 0 {
            body["Image"] = "nanoclaw-that-is-gone:latest".into();
        }
    };
    let socket = EngineRuntime::default_socket(RuntimeKind::Docker);
    let tampering = TamperingEngine::before(&socket, gone, |_| ());
    let unnamed = EngineRuntime::connect(RuntimeKind::Docker, &tampering.socket()).await.unwrap();
    let capabilities = unnamed.probe().await;
    engine.remove().await;
    second.remove().await;
    let capabilities = capabilities.unwrap();
    assert!(!capabilities.remarks.iter().any(|remark| remark.contains("nothing was started")), "{capabilities:?}");
    assert!(creations.load(Ordering::Relaxed) >= 2, "the first image was tried and another one after it");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_unavailable_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("docker.sock");
    let deaf = folder.path().join("deaf.sock");
    drop(std::os::unix::net::UnixListener::bind(&deaf).unwrap());
    for (socket, wanted) in [(&missing, "there is no socket"), (&deaf, "nobody listens")] {
        let Err(error) = EngineRuntime::connect(RuntimeKind::Docker, socket).await else { panic!("it connected") };
        let text = error.to_string();
        assert!(matches!(error, RuntimeError::Unavailable { .. }), "{text}");
        assert!(text.contains(wanted) && text.contains("systemctl start docker"), "{text}");
        assert!(text.contains(socket.to_str().unwrap()), "{text}");
    }
}

#[tokio::test]
async fn an_engine_that_is_forbidden_is_unavailable_with_another_remedy() {
    if rustix::process::getuid().is_root() {
        println!("skipped: needs an ordinary user, root is forbidden nothing");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let Err(error) = EngineRuntime::connect(RuntimeKind::Docker, &socket).await else { panic!("it connected") };
    let text = error.to_string();
    assert!(text.contains("permission denied") && text.contains("group docker"), "{text}");
}

/// Stands between the runtime and the engine, and can be cut.
struct Line {
    socket: PathBuf,
    worker: tokio::task::JoinHandle<()>,
}

impl Line {
    fn to_engine(folder: &Path) -> Self {
        let socket = folder.join("line.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let engine = EngineRuntime::default_socket(RuntimeKind::Docker);
        let worker = tokio::spawn(async move {
            // Dropped with the worker, and all connections with it.
            let mut connections = JoinSet::new();
            loop {
                let (mut ours, _) = listener.accept().await.unwrap();
                let engine = engine.clone();
                connections.spawn(async move {
                    let mut theirs = UnixStream::connect(engine).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await;
                });
            }
        });
        Self { socket, worker }
    }

    async fn cut(self) {
        self.worker.abort();
        let _ = self.worker.await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_leaves_nobody_waiting() {
    let Some(engine) = Engine::get().await else { return };
    let line = Line::to_engine(engine.folder.path());
    let remote = EngineRuntime::connect(RuntimeKind::Docker, &line.socket).await.unwrap();
    let remote = remote.with_probe_image(engine.image.clone());
    let context = engine.suite(&remote).await;
    let spec = context.spec("echo up; sleep 600");
    let mut container = remote.start(&spec).await.unwrap();
    assert_eq!(container.output.recv().await, Some(Output::Stdout("up\n".into())));

    line.cut().await;
    let exit = timeout(SOON, container.exit.clone()).await.expect("the exit resolves");
    assert_eq!(exit, Exit::Unknown, "nobody knows, and nobody says that it went well");
    assert_eq!(read_all(&mut container).await, "", "the output ends");
    let sent = timeout(SOON, container.stdin.send(b"x", Duration::from_secs(5))).await.expect("sending comes back");
    assert!(sent.is_err());
    let started = timeout(SOON, remote.start(&context.spec("true"))).await.expect("starting comes back");
    let Err(error) = started else { panic!("it started without an engine") };
    assert!(matches!(error, RuntimeError::Unavailable { .. }), "{error}");
    assert!(remote.list(&context.install).await.is_err(), "no list is not an empty list");

    // The container itself went on, and whoever has an engine finds it.
    let left = engine.runtime.list(&context.install).await.unwrap();
    assert_eq!(left.iter().map(|one| (&one.id, one.running)).collect::<Vec<_>>(), [(&container.id, true)]);
    let stopped = engine.runtime.stop(&container.id, Duration::ZERO).await.unwrap();
    assert_eq!(stopped, StopOutcome::Killed);
    engine.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_host_that_adopts_a_container_hears_its_errors_and_one_that_goes_holds_it_up_no_more() {
    let Some(engine) = Engine::get().await else { return };
    let context = engine.suite(&engine.runtime).await;
    let folder = engine.folder.path().join("shared");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // More than any buffer on the way holds, while the second of three hosts listens and reads nothing.
    let script = "echo up; wait_for() { until [ -e /shared/$1 ]; do sleep 0.05; done; }
                  wait_for one; echo one >&2
                  wait_for two; head -c 8000000 /dev/zero >&2
                  wait_for three; echo three >&2; exit 3";
    let mut spec = context.spec(script);
    spec.mounts.push(Mount { source: folder.clone(), target: "/shared".to_owned(), access: Access::ReadOnly });
    let mut container = engine.runtime.start(&spec).await.unwrap();
    assert_eq!(container.output.recv().await, Some(Output::Stdout("up\n".into())));
    let id = container.id.clone();
    drop(container);
    let tell = async |name: &str| {
        // An engine may say that it listens a moment before it does.
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(folder.join(name), "").unwrap();
    };
    let socket = EngineRuntime::default_socket(RuntimeKind::Docker);
    let host = async || EngineRuntime::connect(RuntimeKind::Docker, &socket).await.unwrap().adopt(&id).await.unwrap();

    let mut first = host().await;
    tell("one").await;
    let heard = timeout(SOON, first.errors.as_mut().unwrap().recv()).await.expect("it is heard");
    assert_eq!(heard, Some(Output::Stderr("one\n".into())));
    drop(first);
    let second = host().await;
    tell("two").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(second);
    let third = host().await;
    tell("three").await;
    let mut errors = third.errors.unwrap();
    let mut last = Vec::new();
    while let Some(piece) = timeout(SOON, errors.recv()).await.expect("its words end") {
        let Output::Stderr(bytes) = piece else { panic!("{piece:?}") };
        last.extend_from_slice(&bytes);
    }
    let exit = timeout(SOON, third.exit).await.expect("nobody holds it up");
    engine.remove().await;
    assert_eq!(exit, Exit::Code(3));
    assert!(last.ends_with(b"three\n"), "{:?}", String::from_utf8_lossy(&last[last.len().saturating_sub(100)..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_runs_out_in_a_child_is_told_too() {
    let Some(engine) = Engine::get().await else { return };
    let context = engine.suite(&engine.runtime).await;
    let mut spec = context.spec("tail /dev/zero; exit $?");
    spec.limits.memory_bytes = Some(32 << 20);
    let killed_by_us = context.spec("kill -9 -1; sleep 60 & kill -9 $!; wait $!; exit $?");
    let ((_, ran_out), (_, by_itself)) = tokio::join!(run(&engine.runtime, &spec), run(&engine.runtime, &killed_by_us));
    engine.remove().await;
    assert_eq!(ran_out, Exit::OutOfMemory);
    assert_eq!(by_itself, Exit::Signal(9), "the same code without the engine's word for it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mounted_below_a_read_only_mount_cannot_be_written_to() {
    let Some(engine) = Engine::get().await else { return };
    let source = engine.folder.path().join("project");
    let below = source.join("below");
    std::fs::create_dir_all(&below).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "mode=777", "below"]).arg(&below).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: needs the right to mount");
        return engine.remove().await;
    }
    let context = engine.suite(&engine.runtime).await;
    let mut spec = context.spec("echo x > /workspace/project/below/file && echo written; true");
    let target = "/workspace/project".to_owned();
    spec.mounts.push(Mount { source, target, access: Access::ReadOnly });
    let (output, _) = run(&engine.runtime, &spec).await;
    let arrived = below.join("file").exists();
    std::process::Command::new("umount").arg(&below).status().unwrap();
    engine.remove().await;
    assert!(!output.contains("written") && !arrived, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_built_from_a_folder_an_archive_and_an_image() {
    let Some(engine) = Engine::get().await else { return };
    let folder = engine.folder.path();
    let archive = folder.join("root.tar");
    let mut packed = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    packed.follow_symlinks(false);
    packed.append_dir_all(".", folder.join("root")).unwrap();
    packed.finish().unwrap();
    // As large as the real program is, it must not be held in memory; 64 MiB show the same.
    let claude = folder.join("claude");
    std::fs::write(
        &claude,
        [b"#!/bin/sh\necho \"2.1.329 (Claude Code)\"\nexit\n".as_slice(), &vec![b' '; 64 << 20]].concat(),
    )
    .unwrap();

    let context = engine.suite(&engine.runtime).await;
    for base in [Base::Archive(archive), Base::Image(engine.image.clone())] {
        let name = ImageRef::new(format!("nanoclaw-{}:built", support::install())).unwrap();
        let most_added = AtomicUsize::new(0);
        let build = Build { name: name.clone(), base: base.clone(), claude: Some(claude.clone()) };
        let built = image::build(&engine.runtime, &build, &|step| {
            if let BuildStep::Adding { bytes, .. } = step {
                most_added.fetch_max(usize::try_from(bytes).unwrap(), Ordering::Relaxed);
            }
        })
        .await
        .unwrap();
        assert_eq!((&built.name, built.has_claude), (&name, true));
        assert_eq!(built.base.as_deref(), Some(base.to_string().as_str()));
        assert!(most_added.load(Ordering::Relaxed) > 64 << 20, "progress was told");
        // The same image by another name, as two builds within a second can be, is listed by both.
        let other = ImageRef::new(format!("nanoclaw-{}:other", support::install())).unwrap();
        let tagged = std::process::Command::new("docker").args(["tag", name.as_str(), other.as_str()]).status();
        assert!(tagged.unwrap().success());
        let listed = image::list(&engine.runtime).await.unwrap();
        assert!(listed.contains(&built));
        assert!(listed.iter().any(|one| one.name == other && one.id == built.id), "{listed:?}");
        remove_image(&engine.runtime, &other).await;

        let script = "id -un; claude --version; ls -d /workspace/group /workspace/ipc /workspace/global \
                      /workspace/extra /nanoclaw/bin; stat -c %a /home/node; stat -c '%u %a' /usr/local/bin/claude; \
                      tail -n 1 /etc/passwd";
        let mut spec = context.spec(script);
        spec.image = name.clone();
        spec.user = nanoclaw_core::runtime::RunAs { uid: 1000, gid: 1000 };
        let (output, exit) = run(&engine.runtime, &spec).await;
        remove_image(&engine.runtime, &name).await;
        let wanted = "node\n2.1.329 (Claude Code)\n/nanoclaw/bin\n/workspace/extra\n/workspace/global\n/workspace/group\n\
                      /workspace/ipc\n777\n0 755\nnode:x:1000:1000:node:/home/node:/bin/sh\n";
        assert_eq!((output.as_str(), exit), (wanted, Exit::Code(0)), "from {base}");
    }
    engine.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_fails_leaves_nothing_and_says_why() {
    let Some(engine) = Engine::get().await else { return };
    let name = ImageRef::new(format!("nanoclaw-{}", support::install())).unwrap();
    let of = |base| Build { name: name.clone(), base, claude: None };
    let rubbish = engine.folder.path().join("rubbish.tar");
    std::fs::write(&rubbish, vec![7; 4096]).unwrap();
    let missing = engine.folder.path().join("missing.tar");
    let no_such = ImageRef::new("nanoclaw-no-such-base").unwrap();
    for (base, wanted) in [
        (Base::Archive(rubbish), "import the base"),
        (Base::Archive(missing), "missing.tar"),
        (Base::Image(no_such), "there is no image nanoclaw-no-such-base"),
    ] {
        let error = image::build(&engine.runtime, &of(base), &|_| ()).await.unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
        assert!(!image::list(&engine.runtime).await.unwrap().iter().any(|image| image.name == name));
    }
    engine.remove().await;
}
