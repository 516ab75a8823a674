//! The embedded sandbox against the real kernel: what holds for every runtime is in the contract suite; here is what only this
//! one promises. Runs as root and as an ordinary user.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "all of this file is tests")]

#[path = "sandbox/held.rs"]
mod held;
#[path = "sandbox/look.rs"]
mod look;
mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use held::{
    a_race_for_the_path_is_lost, many_can_be_held_and_parts_of_them_covered,
    what_was_checked_is_mounted_whatever_became_of_its_path, what_was_removed_is_not_replaced_by_what_has_its_name,
};
use look::{
    a_container_as_it_was_asked_for_is_found_to_be_that, a_limit_that_somebody_lifts_before_the_look_is_found,
    whatever_a_helper_gets_wrong_is_found_and_nothing_runs,
};
use nanoclaw_core::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    runtime::{
        Access, Container, ContainerRuntime, ContainerSpec, Exit, ExitWatch, GuestValue, HeldSources, ImageRef,
        InstallId, Labels, Limits, Mount, Output, RunAs, RuntimeError, StopOutcome,
    },
    testing::runtime_suite::{Need, Report, SuiteContext, check_all},
};
use nanoclaw_host::runtimes::sandbox::{SandboxMode, SandboxRuntime, SandboxSettings};
use tempfile::TempDir;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(30);

/// A sandbox of one mode, a folder for the test, and the user that containers run as.
struct Bench {
    runtime: SandboxRuntime,
    mode: SandboxMode,
    folder: TempDir,
    user: RunAs,
}

impl Bench {
    /// `None`, and a word about it, where this mode is not to be had and need not be.
    async fn of(mode: SandboxMode) -> Option<Self> {
        let folder = support::scratch();
        let user = support::user();
        chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
        let runtime = SandboxRuntime::new(settings(mode, folder.path().join("state")));
        let probed = runtime.probe().await;
        let (name, wanted) = wanted(mode);
        wanted.or_skip(name, probed)?;
        Some(Self { runtime, mode, folder, user })
    }

    fn spec(&self, name: &str, command: &[&str]) -> ContainerSpec {
        let run = RunId { group: GroupFolder::new("family").unwrap(), number: RunNumber(7) };
        ContainerSpec {
            name: name.to_owned(),
            image: ImageRef::new("host").unwrap(),
            command: command.iter().map(|&word| word.into()).collect(),
            env: BTreeMap::new(),
            mounts: Vec::new(),
            held: HeldSources::default(),
            workdir: "/tmp".into(),
            user: self.user,
            limits: Limits { memory_bytes: None, pids: None, milli_cpus: None },
            tmp_bytes: 16 << 20,
            labels: Labels { install: install(), run },
        }
    }

    fn shell(&self, name: &str, script: &str) -> ContainerSpec {
        self.spec(name, &["/bin/sh", "-c", script])
    }

    /// A folder of the host, owned by the containers' user, seen at `target`.
    fn mount(&self, name: &str, target: &str, access: Access) -> Mount {
        let source = self.folder.path().join(name);
        fs::create_dir_all(&source).unwrap();
        chown(&source, Some(self.user.uid), Some(self.user.gid)).unwrap();
        Mount { source, target: target.to_owned(), access }
    }

    /// Runs it without input to its end.
    async fn run(&self, spec: &ContainerSpec) -> Done {
        let container = self.runtime.start(spec).await.unwrap();
        container.stdin.close().await;
        Done::of(container.output, container.exit).await
    }

    /// Why it is not started.
    async fn refusal(&self, spec: &ContainerSpec) -> RuntimeError {
        match self.runtime.start(spec).await {
            Ok(_) => panic!("it was started"),
            Err(error) => error,
        }
    }
}

fn settings(mode: SandboxMode, state: PathBuf) -> SandboxSettings {
    // A copy of the tests that is run elsewhere, by another user, brings the program along.
    let helper = std::env::var_os("NANOCLAW_TEST_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_nanoclaw").into());
    SandboxSettings { helper: helper.into(), mode, ..SandboxSettings::new(state) }
}

/// Which word of `NANOCLAW_TEST_RUNTIMES` asks for `mode`, and what it says. Wanting the sandbox means wanting its best mode;
/// bubblewrap is a package of its own, and the others depend on the kernel's age.
fn wanted(mode: SandboxMode) -> (&'static str, support::Wanted) {
    let name = if mode == SandboxMode::Bubblewrap { "bubblewrap" } else { "sandbox" };
    match support::wanted(name) {
        support::Wanted::Required if mode == SandboxMode::LandlockOnly => (name, support::Wanted::IfPresent),
        wanted => (name, wanted),
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn install() -> InstallId {
    InstallId::new("sandboxtest1").unwrap()
}

/// All that a container wrote, and how it ended.
#[derive(Debug)]
struct Done {
    stdout: String,
    stderr: String,
    exit: Exit,
}

impl Done {
    async fn of(mut output: mpsc::Receiver<Output>, exit: ExitWatch) -> Self {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let all = async {
            while let Some(piece) = output.recv().await {
                match piece {
                    Output::Stdout(bytes) => stdout.extend_from_slice(&bytes),
                    Output::Stderr(bytes) => stderr.extend_from_slice(&bytes),
                }
            }
            exit.await
        };
        let exit = tokio::time::timeout(PATIENCE, all).await.expect("the container ends");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { stdout: text(stdout), stderr: text(stderr), exit }
    }
}

/// Waits until the output has brought `word`.
async fn hear(container: &mut Container, word: &str) {
    let mut heard = String::new();
    while !heard.contains(word) {
        match tokio::time::timeout(PATIENCE, container.output.recv()).await {
            Ok(Some(Output::Stdout(bytes) | Output::Stderr(bytes))) => heard.push_str(&String::from_utf8_lossy(&bytes)),
            Ok(None) | Err(_) => panic!("waited for {word:?}, heard {heard:?}"),
        }
    }
}

/// A number of seconds to sleep that no other process on the machine sleeps.
fn mark(digit: u32) -> String {
    format!("{digit}{:08}", std::process::id())
}

/// The processes other than this one, whoever's they are, with `mark` in their arguments: "pid: arguments".
fn processes_with(mark: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) && pid != std::process::id() {
            found.push(format!("{pid}: {line}"));
        }
    }
    found
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks all promises of the contract in `mode`, with the image that is made of a test's folder.
async fn check_promises(mode: SandboxMode, image: fn(&Path) -> Result<ImageRef, String>) -> Option<Report> {
    let bench = Bench::of(mode).await?;
    let (name, wanted) = wanted(mode);
    let image = wanted.or_skip(name, image(bench.folder.path()))?;
    // Strict, as the contract is: what is not in force is refused.
    let state = bench.folder.path().join("strict");
    let strict = SandboxSettings { accept_missing_limits: false, ..settings(mode, state) };
    let scratch = bench.folder.path().join("scratch");
    let runtime = Arc::new(SandboxRuntime::new(strict));
    let install = support::install();
    let mut context =
        SuiteContext::new(runtime.clone(), image, scratch, bench.user, install.clone()).await.expect("it was probed");
    // Without sockets there is nothing to promise about them.
    if mode != SandboxMode::LandlockOnly {
        context.socket_client = Some(support::socket_client(bench.folder.path()).expect("rustc builds it"));
    }
    let report = check_all(&context, 3, |_, _| ()).await;
    println!("{report}");
    assert_eq!(runtime.list(&install).await.unwrap(), []);
    Some(report)
}

fn host_image(_: &Path) -> Result<ImageRef, String> {
    ImageRef::new("host").map_err(|error| error.to_string())
}

fn busybox_image(folder: &Path) -> Result<ImageRef, String> {
    let root = folder.join("busybox");
    support::busybox_root(&root)?;
    ImageRef::new(root.display().to_string()).map_err(|error| error.to_string())
}

async fn keeps_every_promise(mode: SandboxMode) {
    let Some(report) = check_promises(mode, host_image).await else { return };
    assert_eq!(report.broken(), Vec::<String>::new());
    // Its containers end with the host; and an ordinary user has no memory limit and no processor limit.
    let lacking: &[Need] = match is_root() {
        true => &[Need::OutlivesHost, Need::MissingLimit],
        false => &[Need::OutlivesHost, Need::MemoryLimit, Need::TellsOutOfMemory, Need::CpuLimit],
    };
    let made = report.verdicts.iter().filter(|(promise, _)| !lacking.contains(&promise.needs)).count();
    assert_eq!(report.kept(), made, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_every_promise_with_the_hosts_programs() {
    keeps_every_promise(SandboxMode::Namespaces).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bubblewrap_keeps_every_promise_with_the_hosts_programs() {
    keeps_every_promise(SandboxMode::Bubblewrap).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_every_promise_with_an_image() {
    let Some(report) = check_promises(SandboxMode::Namespaces, busybox_image).await else { return };
    assert_eq!(report.broken(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn bubblewrap_keeps_every_promise_with_an_image() {
    let Some(report) = check_promises(SandboxMode::Bubblewrap, busybox_image).await else { return };
    assert_eq!(report.broken(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_keeps_every_promise_it_makes_without_namespaces() {
    let Some(report) = check_promises(SandboxMode::LandlockOnly, host_image).await else { return };
    assert_eq!(report.broken(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_only_isolation_is_missing() {
    let Some(report) = check_promises(SandboxMode::Unsafe, host_image).await else { return };
    let broken = report.broken();
    let expected = ["a_read_only_mount_cannot_be_changed"];
    assert!(broken.iter().all(|line| expected.iter().any(|name| line.starts_with(name))), "{broken:?}");
}

/// Makes a test of each of these for each way to have namespaces.
macro_rules! with_namespaces_of_either_kind {
    ($($test:ident),+ $(,)?) => {
        mod namespaces {
            $(#[tokio::test]
            async fn $test() {
                if let Some(bench) = super::Bench::of(super::SandboxMode::Namespaces).await {
                    super::$test(bench).await;
                }
            })+
        }
        mod bubblewrap {
            $(#[tokio::test]
            async fn $test() {
                if let Some(bench) = super::Bench::of(super::SandboxMode::Bubblewrap).await {
                    super::$test(bench).await;
                }
            })+
        }
    };
}

with_namespaces_of_either_kind! {
    a_probe_says_what_is_in_force,
    sixteen_mebibytes_go_through_unchanged_both_ways,
    output_goes_on_after_the_end_of_input,
    a_fault_of_the_command_comes_through_as_its_signal,
    a_missing_command_is_named,
    a_command_is_found_in_the_path,
    a_container_that_listens_ends_by_its_own_word,
    a_deaf_container_is_killed_with_all_its_children,
    output_ends_with_the_container_though_a_grandchild_holds_the_pipe,
    a_name_is_taken_once_at_a_time,
    an_abandoned_container_does_not_live_for_ever,
    containers_end_with_their_runtime,
    forty_containers_start_at_once,
    a_bad_mount_is_named,
    mounts_are_writable_or_not_as_asked_and_files_belong_to_the_user,
    a_place_is_never_made_in_a_folder_of_the_host,
    only_its_own_world_can_be_written_and_seen,
    an_unpacked_root_folder_is_an_image,
    there_is_loopback_and_nothing_else,
    no_privilege_is_left_and_none_can_be_gained,
    nothing_of_the_hosts_environment_is_passed_on,
    root_is_never_the_user,
    the_limit_on_processes_is_in_force_for_each_container,
    a_container_over_its_memory_limit_is_reported_as_such,
    what_is_used_is_told_and_groups_are_removed,
    a_start_that_nobody_waits_for_leaves_no_control_group,
    processor_time_is_limited,
    a_limit_that_is_not_in_force_is_refused_unless_accepted,
    nothing_of_a_killed_host_lives_on,
    what_was_checked_is_mounted_whatever_became_of_its_path,
    what_was_removed_is_not_replaced_by_what_has_its_name,
    a_race_for_the_path_is_lost,
    many_can_be_held_and_parts_of_them_covered,
    a_container_as_it_was_asked_for_is_found_to_be_that,
    whatever_a_helper_gets_wrong_is_found_and_nothing_runs,
    a_limit_that_somebody_lifts_before_the_look_is_found,
}

async fn a_probe_says_what_is_in_force(bench: Bench) {
    let found = bench.runtime.probe().await.unwrap();
    println!("{found:#?}");
    assert!(found.own_mounts && found.own_network && found.images && !found.outlive_host);
    if !is_root() {
        assert!(!found.memory_limit && !found.cpu_limit, "an ordinary user cannot limit these");
        assert!(!found.remarks.is_empty());
    }
}

// Streams and ends

async fn sixteen_mebibytes_go_through_unchanged_both_ways(bench: Bench) {
    let mut container = bench.runtime.start(&bench.shell("bytes", "cat; echo end >&2")).await.unwrap();
    let sent: Vec<u8> = (0..16_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let to_send = sent.clone();
    let mut stdin = container.stdin;
    let writer = tokio::spawn(async move {
        for piece in to_send.chunks(1 << 20) {
            stdin.send(piece, PATIENCE).await.unwrap();
        }
        stdin.close().await;
    });
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = container.output.recv().await {
        match piece {
            Output::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            Output::Stderr(bytes) => stderr.extend_from_slice(&bytes),
        }
    }
    writer.await.unwrap();
    assert!(stdout == sent, "{} bytes came back", stdout.len());
    assert_eq!(stderr, b"end\n");
    assert_eq!(container.exit.await, Exit::Code(0));
}

async fn output_goes_on_after_the_end_of_input(bench: Bench) {
    let done = bench.run(&bench.shell("half", "cat; echo after; exit 7")).await;
    assert_eq!((done.stdout.as_str(), done.exit), ("after\n", Exit::Code(7)));
}

async fn a_fault_of_the_command_comes_through_as_its_signal(bench: Bench) {
    // The first process of a container cannot end itself by a signal; the kernel can.
    let exit = bench.run(&bench.shell("fault", "ulimit -t 1; while :; do :; done")).await.exit;
    assert!(matches!(exit, Exit::Signal(libc::SIGXCPU | libc::SIGKILL)), "{exit:?}");
}

async fn a_missing_command_is_named(bench: Bench) {
    for command in ["/no/such/program", "no-such-program", "/etc"] {
        match bench.refusal(&bench.spec("missing", &[command])).await {
            RuntimeError::BadCommand { command: named, .. } => assert_eq!(named, command),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(bench.runtime.list(&install()).await.unwrap(), [], "a container that never ran is listed");
}

async fn a_command_is_found_in_the_path(bench: Bench) {
    assert_eq!(bench.run(&bench.spec("path", &["sh", "-c", "exit 5"])).await.exit, Exit::Code(5));
}

async fn a_container_that_listens_ends_by_its_own_word(bench: Bench) {
    let spec = bench.shell("polite", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done");
    let mut container = bench.runtime.start(&spec).await.unwrap();
    hear(&mut container, "up").await;
    let listed = bench.runtime.list(&install()).await.unwrap();
    assert_eq!((listed.len(), &listed[0].id, listed[0].number), (1, &container.id, RunNumber(7)));
    assert_eq!(bench.runtime.stop(&container.id, PATIENCE).await.unwrap(), StopOutcome::Ended);
    assert_eq!(container.exit.clone().await, Exit::Code(3));
    assert_eq!(bench.runtime.list(&install()).await.unwrap(), []);
    hear(&mut container, "bye").await;
    assert_eq!(bench.runtime.stop(&container.id, PATIENCE).await.unwrap(), StopOutcome::Gone);
    bench.runtime.remove(&container.id).await.unwrap();
    assert!(matches!(bench.runtime.stats(&container.id).await, Err(RuntimeError::Gone { .. })));
}

async fn a_deaf_container_is_killed_with_all_its_children(bench: Bench) {
    let mark = mark(9);
    let script = format!("trap '' TERM; (setsid sleep {mark} &); echo up; while :; do sleep {mark}; done");
    let mut container = bench.runtime.start(&bench.shell("deaf", &script)).await.unwrap();
    hear(&mut container, "up").await;
    until("its children run", || processes_with(&format!("sleep {mark}")).len() >= 3).await;
    let outcome = bench.runtime.stop(&container.id, Duration::from_millis(200)).await.unwrap();
    assert_eq!(outcome, StopOutcome::Killed);
    assert_eq!(container.exit.clone().await, Exit::Signal(9));
    // Not "soon": when stop returns, it is so.
    assert_eq!(processes_with(&mark), [] as [String; 0]);
}

async fn output_ends_with_the_container_though_a_grandchild_holds_the_pipe(bench: Bench) {
    let mark = mark(4);
    let done = bench.run(&bench.shell("holder", &format!("(setsid sleep {mark} &); echo said"))).await;
    assert_eq!((done.stdout.as_str(), done.exit), ("said\n", Exit::Code(0)));
    assert_eq!(processes_with(&mark), [] as [String; 0]);
}

async fn a_name_is_taken_once_at_a_time(bench: Bench) {
    let spec = bench.shell("twice", "cat");
    let container = bench.runtime.start(&spec).await.unwrap();
    assert!(matches!(bench.refusal(&spec).await, RuntimeError::Other { .. }));
    bench.runtime.remove(&container.id).await.unwrap();
    let again = bench.runtime.start(&spec).await.unwrap();
    bench.runtime.remove(&again.id).await.unwrap();
}

async fn an_abandoned_container_does_not_live_for_ever(bench: Bench) {
    let mark = mark(8);
    drop(bench.runtime.start(&bench.shell("abandoned", &format!("sleep {mark}; true"))).await.unwrap());
    until("the abandoned container is gone", || processes_with(&mark).is_empty()).await;
    while !bench.runtime.list(&install()).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn containers_end_with_their_runtime(bench: Bench) {
    let mark = mark(3);
    let mut container = bench.runtime.start(&bench.shell("owned", &format!("echo up; sleep {mark}"))).await.unwrap();
    hear(&mut container, "up").await;
    drop(bench.runtime);
    until("its container is gone", || processes_with(&mark).is_empty()).await;
    assert_eq!(tokio::time::timeout(PATIENCE, container.exit).await.unwrap(), Exit::Signal(9));
}

async fn forty_containers_start_at_once(bench: Bench) {
    let start = |number: i32| {
        let bench = &bench;
        async move {
            let script = format!("read word; echo \"{number} $word\"; exit {number}");
            let spec = bench.shell(&format!("parallel-{number}"), &script);
            let mut container = bench.runtime.start(&spec).await.unwrap();
            container.stdin.send(b"hello\n", PATIENCE).await.unwrap();
            (number, Done::of(container.output, container.exit).await)
        }
    };
    for (number, done) in futures_util::future::join_all((0..40).map(start)).await {
        assert_eq!(done.stdout, format!("{number} hello\n"), "{done:?}");
        assert_eq!(done.exit, Exit::Code(number));
    }
    assert_eq!(bench.runtime.list(&install()).await.unwrap(), []);
}

// Mounts and the root

async fn a_bad_mount_is_named(bench: Bench) {
    let here = bench.folder.path().to_owned();
    symlink("/etc", here.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(here.join("fifo")).status().unwrap().success());
    for (source, target) in [
        (here.join("link"), "/workspace"),
        (here.join("fifo"), "/workspace"),
        (here.join("missing"), "/workspace"),
        (PathBuf::from("relative"), "/workspace"),
        (here.clone(), "/"),
        (here.clone(), "/a/../b"),
        (here.clone(), "relative"),
        (here.clone(), "/proc/1"),
        (here.clone(), "/usr/bin/env/below-a-file"),
    ] {
        let mut spec = bench.shell("bad-mount", "true");
        spec.mounts = vec![Mount { source: source.clone(), target: target.to_owned(), access: Access::ReadOnly }];
        match bench.refusal(&spec).await {
            RuntimeError::BadMount { path, .. } => assert_eq!(path, source, "at {target}"),
            other => panic!("{source:?} at {target:?}: {other:?}"),
        }
    }
}

async fn mounts_are_writable_or_not_as_asked_and_files_belong_to_the_user(bench: Bench) {
    let readable = bench.mount("readable", "/workspace/global", Access::ReadOnly);
    let writable = bench.mount("writable", "/workspace/group", Access::ReadWrite);
    fs::write(readable.source.join("note"), "old\n").unwrap();
    let source = bench.folder.path().join("program");
    fs::write(&source, "#!/bin/sh\necho a program\n").unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(readable.source.join(".env"), "secret\n").unwrap();
    let hidden =
        Mount { source: "/dev/null".into(), target: "/workspace/global/.env".to_owned(), access: Access::ReadOnly };
    let program = Mount { source, target: "/usr/local/bin/a-program".to_owned(), access: Access::ReadOnly };
    let mut spec = bench.shell(
        "mounts",
        "pwd; cat /workspace/global/note; { echo x > /workspace/global/new; } 2>/dev/null || echo refused
         mkdir sub && echo mine > sub/made && mv sub/made made; a-program; ls /usr/bin/env
         cat /workspace/global/.env && echo nothing",
    );
    spec.workdir = "/workspace/group".into();
    spec.mounts = vec![readable.clone(), writable.clone(), program, hidden];
    let done = bench.run(&spec).await;
    assert_eq!(done.stdout, "/workspace/group\nold\nrefused\na program\n/usr/bin/env\nnothing\n", "{done:?}");
    assert!(!readable.source.join("new").exists());
    let made = fs::metadata(writable.source.join("made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (bench.user.uid, bench.user.gid));
}

async fn a_place_is_never_made_in_a_folder_of_the_host(bench: Bench) {
    let group = bench.mount("group", "/workspace/group", Access::ReadWrite);
    // An agent owns its group's folder, and could leave this behind for the next start.
    let elsewhere = bench.mount("elsewhere", "/unused", Access::ReadOnly);
    symlink(&elsewhere.source, group.source.join("extra")).unwrap();
    let over_link = bench.mount("inner", "/workspace/group/extra/place", Access::ReadOnly);
    let into_group = Mount { target: "/workspace/group/none/place".to_owned(), ..over_link.clone() };
    for inner in [over_link, into_group] {
        let mut spec = bench.shell("led-astray", "true");
        spec.mounts = vec![group.clone(), inner.clone()];
        match bench.refusal(&spec).await {
            RuntimeError::BadMount { path, .. } => assert_eq!(path, inner.source),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fs::read_dir(&elsewhere.source).unwrap().count(), 0);
    assert!(!group.source.join("none").exists());
}

async fn only_its_own_world_can_be_written_and_seen(bench: Bench) {
    let script = "
        for folder in / /etc /usr /usr/local /dev /proc/sys/kernel; do
            { echo x > $folder/hostname; } 2>/dev/null && echo \"wrote to $folder\"
        done
        for path in /root /home /var/log /boot /etc/shadow /etc/hostname /sys/kernel /run; do
            [ -e $path ] && echo \"sees $path\"
        done
        echo x > /tmp/x && echo x > /dev/shm/x && echo x > /dev/null && echo writes
        cp /bin/true /tmp/true; /tmp/true 2>/dev/null || echo 'nothing runs from /tmp'
        echo $(hostname) $(id -un) $$
        [ $(ls /proc | grep -c '^[0-9]') -lt 6 ] && echo alone
        head -c 20000000 /dev/zero > /tmp/big 2>/dev/null || echo '/tmp is bounded'
        cat /proc/keys /proc/kcore 2>/dev/null | head -c 1 | wc -c
    ";
    let done = bench.run(&bench.shell("world", script)).await;
    let wanted = "writes\nnothing runs from /tmp\nnanoclaw agent 1\nalone\n/tmp is bounded\n0\n";
    assert_eq!(done.stdout, wanted, "{done:?}");
}

async fn an_unpacked_root_folder_is_an_image(bench: Bench) {
    if !Path::new("/bin/busybox").exists() {
        return println!("skipped: needs /bin/busybox (busybox-static)");
    }
    let root = bench.folder.path().join("root");
    for folder in ["bin", "etc", "home/node", "proc", "tmp"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    symlink("busybox", root.join("bin/sh")).unwrap();
    fs::write(root.join("home/node/.profile"), "theirs\n").unwrap();
    let mut spec = bench.shell(
        "image",
        "busybox cat /home/node/.profile /home/node/.claude/state; busybox grep -c localhost /etc/hosts; busybox ls /
         { echo x > /home/node/x; } 2>/dev/null || echo refused; echo y > /home/node/.claude/y && echo kept",
    );
    spec.image = ImageRef::new(root.to_str().unwrap()).unwrap();
    let state = bench.mount("claude", "/home/node/.claude", Access::ReadWrite);
    fs::write(state.source.join("state"), "ours\n").unwrap();
    spec.mounts = vec![state.clone()];
    bench.runtime.ensure_image(&spec.image).await.unwrap();
    let done = bench.run(&spec).await;
    assert_eq!(done.stdout, "theirs\nours\n2\nbin\ndev\netc\nhome\nproc\ntmp\nrefused\nkept\n", "{done:?}");
    assert!(state.source.join("y").exists());
    assert!(!root.join("home/node/.claude").exists(), "a place was made in the image");
    let missing = ImageRef::new("/no/such/root").unwrap();
    assert!(matches!(bench.runtime.ensure_image(&missing).await, Err(RuntimeError::NoImage { .. })));
}

// Network, privilege, environment

async fn there_is_loopback_and_nothing_else(bench: Bench) {
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1; tail -n +2 /proc/net/route | wc -l";
    let done = bench.run(&bench.shell("network", script)).await;
    assert_eq!(done.stdout.split_whitespace().collect::<Vec<_>>(), ["lo", "0"], "{done:?}");
    if !Path::new("/usr/bin/python3").exists() {
        return println!("skipped the second half: needs python3");
    }
    let script = "
import socket
listener = socket.create_server(('127.0.0.1', 0))
socket.create_connection(listener.getsockname()).sendall(b'!')
print('loopback', listener.accept()[0].recv(1).decode())
for kind, to in [(socket.SOCK_STREAM, ('1.1.1.1', 443)), (socket.SOCK_DGRAM, ('8.8.8.8', 53))]:
    try:
        socket.socket(socket.AF_INET, kind).connect(to)
        print('went out to', to)
    except OSError as error:
        print('no way', error.errno)
for family in ('AF_VSOCK', 'AF_ALG', 'AF_PACKET'):
    try:
        socket.socket(getattr(socket, family), socket.SOCK_SEQPACKET if family == 'AF_ALG' else socket.SOCK_STREAM, 0)
        print('made', family)
    except PermissionError:
        print('no', family)
";
    let done = bench.run(&bench.spec("sockets", &["python3", "-c", script])).await;
    let unreachable = libc::ENETUNREACH;
    let wanted =
        format!("loopback !\nno way {unreachable}\nno way {unreachable}\nno AF_VSOCK\nno AF_ALG\nno AF_PACKET\n");
    assert_eq!(done.stdout, wanted, "{done:?}");
}

async fn no_privilege_is_left_and_none_can_be_gained(bench: Bench) {
    let script = "
        cat /proc/self/status
        unshare -U true 2>/dev/null && echo GAINED a user namespace
        unshare -m true 2>/dev/null && echo GAINED a mount namespace
        mount -t tmpfs none /tmp 2>/dev/null && echo GAINED a mount
        umount /tmp 2>/dev/null && echo GAINED an unmount
        chroot / true 2>/dev/null && echo GAINED a root
        nsenter -t 1 -m true 2>/dev/null && echo GAINED a namespace
        ls /proc/self/fd | tr '\\n' ' '
    ";
    let done = bench.run(&bench.shell("privilege", script)).await;
    let line = |text: String| assert!(done.stdout.lines().any(|line| line.trim_end() == text), "{text}: {done:?}");
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        line(format!("{name}:\t0000000000000000"));
    }
    line("SigBlk:\t0000000000000000".to_owned());
    let ignored = done.stdout.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    // Signals 32 and 33 are the C library's own; it lets nobody change them.
    let ignored = u64::from_str_radix(ignored, 16).unwrap() & !(3 << 31);
    assert_eq!(ignored, 0, "the container is deaf to signals");
    line("NoNewPrivs:\t1".to_owned());
    line("Seccomp:\t2".to_owned());
    let RunAs { uid, gid } = bench.user;
    line(format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"));
    line(format!("Gid:\t{gid}\t{gid}\t{gid}\t{gid}"));
    if is_root() {
        line("Groups:".to_owned());
    }
    assert!(!done.stdout.contains("GAINED"), "{done:?}");
    // The fourth is the folder that `ls` reads.
    assert!(done.stdout.ends_with("\n0 1 2 3 "), "a descriptor of the host is open inside: {done:?}");
}

async fn nothing_of_the_hosts_environment_is_passed_on(bench: Bench) {
    let name = format!("secretive-{}", std::process::id());
    let mut spec = bench.shell(&name, "env | sort; echo up; cat");
    spec.env = BTreeMap::from([
        ("MY_NAME".to_owned(), GuestValue::from("a b=c")),
        ("HERE".to_owned(), GuestValue::Path("/x".to_owned())),
    ]);
    let mut container = bench.runtime.start(&spec).await.unwrap();
    let helpers = processes_with(&name);
    assert_eq!(helpers.len(), 1, "{helpers:?}");
    assert!(!helpers[0].contains("a b=c"), "the plan is in the arguments: {helpers:?}");
    let pid = helpers[0].split(':').next().unwrap();
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"", "the helper has an environment");
    container.stdin.send(b"", PATIENCE).await.unwrap();
    container.stdin.close().await;
    let done = Done::of(container.output, container.exit).await;
    let wanted =
        "HERE=/x\nMY_NAME=a b=c\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/tmp\nup\n";
    assert_eq!(done.stdout, wanted, "{done:?}");
}

async fn root_is_never_the_user(bench: Bench) {
    let mut spec = bench.shell("root", "id");
    spec.user = RunAs { uid: 0, gid: 0 };
    assert!(matches!(bench.refusal(&spec).await, RuntimeError::NotEnforced { .. }));
    if !is_root() {
        spec.user = RunAs { uid: bench.user.uid + 1, ..bench.user };
        assert!(matches!(bench.refusal(&spec).await, RuntimeError::NotEnforced { .. }));
    }
}

// Limits

async fn the_limit_on_processes_is_in_force_for_each_container(bench: Bench) {
    if !bench.runtime.probe().await.unwrap().pids_limit {
        return println!("skipped: needs control groups, or Linux 5.14");
    }
    let mark = mark(2);
    let forks = |name: &'static str, number: u32, then: &str| {
        let script = format!("for i in $(seq {number}); do sleep {mark} & done; echo all; {then}");
        let mut spec = bench.shell(name, &script);
        spec.limits.pids = Some(20);
        spec
    };
    // One stays at its limit meanwhile: each has a count of its own.
    let mut within = bench.runtime.start(&forks("within", 19, "read word")).await.unwrap();
    hear(&mut within, "all").await;
    let beyond = bench.run(&forks("beyond", 20, "")).await;
    // A shell gives up when it cannot fork.
    assert!(!beyond.stdout.contains("all") && beyond.stderr.contains("fork"), "{beyond:?}");
    let again = bench.run(&forks("again", 19, "")).await;
    assert_eq!((again.stdout.as_str(), again.exit), ("all\n", Exit::Code(0)), "{again:?}");
    bench.runtime.remove(&within.id).await.unwrap();
}

async fn a_container_over_its_memory_limit_is_reported_as_such(bench: Bench) {
    if !bench.runtime.probe().await.unwrap().memory_limit {
        return println!("skipped: needs control groups (root)");
    }
    // `tail` keeps a line that does not end.
    let mut spec = bench.shell("hungry", "exec tail -n 1 /dev/zero");
    spec.limits = Limits { memory_bytes: Some(48 << 20), pids: Some(50), milli_cpus: Some(2000) };
    assert_eq!(bench.run(&spec).await.exit, Exit::OutOfMemory);
    // A child that was killed for memory is its own affair, unless the container ends of it.
    spec.command = vec!["sh".into(), "-c".into(), "tail -n 1 /dev/zero; echo $?".into()];
    let done = bench.run(&spec).await;
    assert_eq!((done.stdout.as_str(), done.exit), ("137\n", Exit::Code(0)));
    // Files in /tmp are memory too.
    spec.command = vec!["sh".into(), "-c".into(), "exec head -c 200000000 /dev/zero > /tmp/big".into()];
    spec.tmp_bytes = 400 << 20;
    assert_eq!(bench.run(&spec).await.exit, Exit::OutOfMemory);
    // A kill that has nothing to do with memory.
    spec.command = vec!["cat".into()];
    let container = bench.runtime.start(&spec).await.unwrap();
    bench.runtime.remove(&container.id).await.unwrap();
    assert_eq!(container.exit.await, Exit::Signal(9));
}

async fn what_is_used_is_told_and_groups_are_removed(bench: Bench) {
    let mark = mark(1);
    let mut spec = bench.shell("usage", &format!("echo up; cat; true {mark}"));
    spec.limits = Limits { memory_bytes: Some(100 << 20), pids: Some(50), milli_cpus: Some(500) };
    let mut container = bench.runtime.start(&spec).await.unwrap();
    hear(&mut container, "up").await;
    let stats = bench.runtime.stats(&container.id).await.unwrap();
    if !bench.runtime.probe().await.unwrap().memory_limit {
        assert_eq!(stats, None, "numbers were invented");
        return bench.runtime.remove(&container.id).await.unwrap();
    }
    let stats = stats.unwrap();
    assert!((1..=2).contains(&stats.pids), "the shell and perhaps cat: {stats:?}");
    assert!((1..100 << 20).contains(&stats.memory_bytes), "{stats:?}");
    let inside = processes_with(&format!("true {mark}"));
    let pid = inside[0].split(':').next().unwrap();
    let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = told.lines().find_map(|line| line.split_once("/nanoclaw/")).expect("it is in a group of ours").1;
    let groups = || {
        let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-name", name]).output();
        String::from_utf8(found.unwrap().stdout).unwrap()
    };
    assert_ne!(groups(), "");
    bench.runtime.remove(&container.id).await.unwrap();
    until("its control groups are gone", || groups().is_empty()).await;
}

async fn a_start_that_nobody_waits_for_leaves_no_control_group(bench: Bench) {
    if !bench.runtime.probe().await.unwrap().memory_limit {
        return println!("skipped: needs control groups (root)");
    }
    let mut spec = bench.shell("impatient", "cat");
    // By this odd limit its groups are known.
    let limit: u64 = (77 << 20) + (u64::from(std::process::id()) << 12);
    spec.limits.memory_bytes = Some(limit);
    for millis in 0..8 {
        let _ = tokio::time::timeout(Duration::from_millis(millis), bench.runtime.start(&spec)).await;
    }
    while !bench.runtime.list(&install()).await.unwrap().is_empty() {
        bench.runtime.remove(&bench.runtime.list(&install()).await.unwrap()[0].id).await.unwrap();
    }
    // Every start, a new one included, clears up what earlier ones had to leave.
    let groups = || {
        let files = ["memory.limit_in_bytes", "memory.max"];
        let parents = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", "*/nanoclaw/*"]).output();
        let parents = String::from_utf8(parents.unwrap().stdout).unwrap();
        let limits =
            parents.lines().flat_map(|parent| files.map(|file| fs::read_to_string(Path::new(parent).join(file))));
        limits.flatten().filter(|found| found.trim() == limit.to_string()).count()
    };
    until("the helpers of the dropped starts have ended", || processes_with("impatient").is_empty()).await;
    assert_eq!(bench.run(&bench.shell("patient", "exit 0")).await.exit, Exit::Code(0));
    until("the groups are gone", || groups() == 0).await;
}

async fn processor_time_is_limited(bench: Bench) {
    if !bench.runtime.probe().await.unwrap().cpu_limit {
        return println!("skipped: needs control groups (root)");
    }
    let mut spec = bench.shell("slow", "timeout 2 sh -c 'while :; do :; done'; times");
    spec.limits.milli_cpus = Some(100);
    let done = bench.run(&spec).await;
    // The last line is the children's processor time, user and system: "0m0.190000s 0m0.010000s".
    let last = done.stdout.lines().last().unwrap_or_default();
    let used: f64 =
        last.split(' ').map(|time| time.trim_start_matches("0m").trim_end_matches('s').parse::<f64>().unwrap()).sum();
    assert!(used < 1.0, "used {used} s of processor time in 2 s at 100 thousandths of a processor");
}

async fn a_limit_that_is_not_in_force_is_refused_unless_accepted(bench: Bench) {
    let found = bench.runtime.probe().await.unwrap();
    let state = bench.folder.path().join("strict");
    let strict = SandboxSettings { accept_missing_limits: false, ..settings(bench.mode, state) };
    let mut spec = bench.shell("limited", "true");
    spec.limits.memory_bytes = Some(256 << 20);
    match SandboxRuntime::new(strict).start(&spec).await.map(|_| ()) {
        Ok(()) => assert!(found.memory_limit),
        Err(RuntimeError::NotEnforced { what, .. }) => {
            assert!(!found.memory_limit, "it is in force");
            assert_eq!(what, "the memory limit");
        }
        Err(other) => panic!("{other}"),
    }
    if !is_root() {
        assert_eq!(bench.run(&spec).await.exit, Exit::Code(0), "an ordinary user's default is to accept");
    }
}

// The end of the host

/// Not a test: the host that is killed in the next ones, in a process of its own.
#[tokio::test]
#[ignore = "started by the tests of the killed host"]
async fn the_host_that_is_killed() {
    let Ok(script) = std::env::var("NANOCLAW_TEST_VICTIM") else { return };
    let mode = std::env::var("NANOCLAW_TEST_MODE").unwrap();
    let modes = [SandboxMode::Namespaces, SandboxMode::Bubblewrap, SandboxMode::LandlockOnly];
    let mode = modes.into_iter().find(|known| format!("{known:?}") == mode).unwrap();
    let bench = Bench::of(mode).await.unwrap();
    let mut held = Vec::new();
    for number in 0..3 {
        let mut container = bench.runtime.start(&bench.shell(&format!("victim-{number}"), &script)).await.unwrap();
        hear(&mut container, "up").await;
        held.push(container);
    }
    println!("all are up");
    std::future::pending::<()>().await;
}

async fn nothing_survives_a_killed_host(mode: SandboxMode, mark: String) {
    let mut host = Command::new(std::env::current_exe().unwrap());
    host.args(["--exact", "the_host_that_is_killed", "--ignored", "--nocapture"])
        .env("NANOCLAW_TEST_VICTIM", format!("(setsid sleep {mark} &); sleep {mark} & echo up; wait"))
        .env("NANOCLAW_TEST_MODE", format!("{mode:?}"))
        .stdout(Stdio::piped());
    let mut host = host.spawn().unwrap();
    let mut lines = BufReader::new(host.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("all are up")));
    until("all its processes run", || processes_with(&format!("sleep {mark}")).len() >= 9).await;
    // KILL: the host cannot do anything about it.
    let groups = format!("*/nanoclaw/{}-*", host.id());
    host.kill().unwrap();
    host.wait().unwrap();
    until("nothing of the killed host runs", || processes_with(&mark).is_empty()).await;
    if is_root() {
        // Its control groups are empty, or will be in a moment, and every next host removes what is.
        let folder = support::scratch();
        until("a next host has removed its control groups", || {
            let _next = SandboxRuntime::new(settings(mode, folder.path().to_owned()));
            let left = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", &groups]).output().unwrap();
            left.stdout.is_empty()
        })
        .await;
    }
}

async fn nothing_of_a_killed_host_lives_on(bench: Bench) {
    nothing_survives_a_killed_host(bench.mode, mark(7)).await;
}

#[tokio::test]
async fn nothing_of_a_killed_host_lives_on_without_namespaces() {
    if Bench::of(SandboxMode::LandlockOnly).await.is_some() {
        nothing_survives_a_killed_host(SandboxMode::LandlockOnly, mark(6)).await;
    }
}

// Other modes

#[tokio::test]
async fn without_namespaces_paths_are_the_hosts_and_there_is_no_way_out() {
    let Some(bench) = Bench::of(SandboxMode::LandlockOnly).await else { return };
    let found = bench.runtime.probe().await.unwrap();
    println!("{found:#?}");
    assert!(!found.own_mounts && !found.own_network && !found.images, "{found:?}");
    let group = bench.mount("group", "/workspace/group", Access::ReadWrite);
    let global = bench.mount("global", "/workspace/global", Access::ReadOnly);
    let secret = bench.mount("secret", "/unused", Access::ReadOnly);
    fs::write(secret.source.join("key"), "key").unwrap();
    let mut spec = bench.shell(
        "landlock",
        "pwd; echo made > made && mkdir a && mv made a/made && cat a/made
         { echo x > \"$GLOBAL/x\"; } 2>/dev/null || echo refused
         for path in \"$SECRET/key\" /etc/passwd /proc/version; do cat $path 2>/dev/null || echo hidden; done
         echo t > \"$TMPDIR/t\" && echo t > \"$OWN_TMP/u\" && echo temporary
         kill -0 $HOST 2>/dev/null || echo no signal
         python3 -c 'import socket; socket.socket(socket.AF_UNIX)' 2>/dev/null || echo no socket",
    );
    spec.mounts = vec![group.clone(), global];
    spec.workdir = GuestValue::Path("/workspace/group".to_owned());
    let path = |text: &str| GuestValue::Path(text.to_owned());
    let text = |text: &dyn ToString| GuestValue::Text(text.to_string());
    spec.env = BTreeMap::from([
        ("GLOBAL".to_owned(), path("/workspace/global")),
        ("OWN_TMP".to_owned(), path("/tmp")),
        ("SECRET".to_owned(), text(&secret.source.display())),
        ("HOST".to_owned(), text(&std::process::id())),
    ]);
    let done = bench.run(&spec).await;
    let here = group.source.display();
    let wanted = format!("{here}\nmade\nrefused\nhidden\nhidden\nhidden\ntemporary\nno signal\nno socket\n");
    assert_eq!(done.stdout, wanted, "{done:?}");
    let temporary = bench.folder.path().join("state/sandbox-tmp");
    until("its temporary folder is removed", || fs::read_dir(&temporary).unwrap().next().is_none()).await;
    for nested in [
        Mount { source: "/dev/null".into(), target: "/workspace/group/.env".to_owned(), access: Access::ReadOnly },
        Mount { source: group.source.join("a"), target: "/workspace/a".to_owned(), access: Access::ReadOnly },
    ] {
        let mut spec = bench.shell("nested", "true");
        spec.mounts = vec![group.clone(), nested];
        assert!(matches!(bench.refusal(&spec).await, RuntimeError::NotEnforced { .. }));
    }
    let mut image = bench.shell("image", "true");
    image.image = ImageRef::new("/usr").unwrap();
    assert!(matches!(bench.refusal(&image).await, RuntimeError::NotEnforced { .. }));
}

#[tokio::test]
async fn without_a_sandbox_a_container_still_ends_whole() {
    let Some(bench) = Bench::of(SandboxMode::Unsafe).await else { return };
    let found = bench.runtime.probe().await.unwrap();
    assert!(found.description.contains("NO ISOLATION") && !found.own_mounts && !found.own_network, "{found:?}");
    let mark = mark(5);
    let script = format!("(setsid sleep {mark} &); echo up; sleep {mark}");
    let mut container = bench.runtime.start(&bench.shell("unsafe", &script)).await.unwrap();
    hear(&mut container, "up").await;
    bench.runtime.remove(&container.id).await.unwrap();
    assert_eq!(processes_with(&mark), [] as [String; 0]);
}

// The choice

/// What a machine does not let us do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    /// Process namespaces the way we make them, while bubblewrap's way is allowed, as AppArmor does it by program.
    OursAlone,
    /// Every way to namespaces, and Landlock.
    Everything,
}

/// Makes this thread, and what it starts from now on, live on such a machine. The tests' runtimes have one thread, from which
/// a sandbox's own is started.
fn refuse(refused: Refused) {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let new_pid = u64::from(libc::CLONE_NEWPID.cast_unsigned());
    let asked = || {
        let equal = SeccompCmpOp::MaskedEq(new_pid);
        let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, equal, new_pid).unwrap();
        vec![SeccompRule::new(vec![condition]).unwrap()]
    };
    let mut rules = BTreeMap::from([(libc::SYS_unshare, asked())]);
    if refused == Refused::Everything {
        rules.insert(libc::SYS_clone, asked());
        rules.insert(libc::SYS_landlock_create_ruleset, vec![]);
    }
    let answer = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

#[tokio::test]
async fn namespaces_of_our_own_are_the_first_choice() {
    let Some(bench) = Bench::of(SandboxMode::Namespaces).await else { return };
    let auto = SandboxRuntime::new(settings(SandboxMode::Auto, bench.folder.path().join("auto")));
    let found = auto.probe().await.unwrap();
    assert_eq!(found.description, bench.runtime.probe().await.unwrap().description);
    assert!(found.description.contains("namespaces, seccomp"), "{found:?}");
}

#[tokio::test]
async fn bubblewrap_is_chosen_where_namespaces_are_refused_to_us() {
    let Some(_) = Bench::of(SandboxMode::Bubblewrap).await else { return };
    refuse(Refused::OursAlone);
    let Some(bench) = Bench::of(SandboxMode::Auto).await else { return };
    let found = bench.runtime.probe().await.unwrap();
    println!("{found:#?}");
    assert!(found.description.contains("bubblewrap 0."), "{found:?}");
    assert!(found.own_mounts && found.own_network && found.images, "{found:?}");
    let why = "the sandbox with namespaces cannot be used here: make a";
    assert!(found.remarks.iter().any(|remark| remark.starts_with(why)), "{found:?}");
    assert_eq!(bench.run(&bench.shell("second", "echo $$; exit 5")).await.stdout, "1\n");
}

#[tokio::test]
async fn landlock_alone_is_chosen_where_bubblewrap_is_missing_too() {
    let Some(bench) = Bench::of(SandboxMode::LandlockOnly).await else { return };
    refuse(Refused::OursAlone);
    let missing = PathBuf::from("no-such-bwrap");
    let settings =
        SandboxSettings { bubblewrap: missing, ..settings(SandboxMode::Auto, bench.folder.path().join("auto")) };
    let found = SandboxRuntime::new(settings).probe().await.unwrap();
    assert!(found.description.contains("no namespaces") && !found.own_network, "{found:?}");
    assert!(found.remarks.iter().any(|remark| remark.contains("there is no program no-such-bwrap")), "{found:?}");
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_a_remedy() {
    let folder = support::scratch();
    refuse(Refused::Everything);
    match SandboxRuntime::new(settings(SandboxMode::Auto, folder.path().to_owned())).probe().await {
        Err(RuntimeError::Unavailable { reason, remedy, .. }) => {
            println!("{reason}");
            for tried in ["with namespaces", "with bubblewrap", "with Landlock alone"] {
                assert!(reason.contains(&format!("the sandbox {tried} cannot be used here")), "{tried}: {reason}");
            }
            for hint in ["apt install bubblewrap", "AppArmor", "--unsafe-no-sandbox"] {
                assert!(remedy.contains(hint), "{hint}: {remedy}");
            }
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bubblewrap_that_fails_says_why() {
    let folder = support::scratch();
    let program = folder.path().join("bwrap");
    fs::write(&program, "#!/bin/sh\necho 'bwrap: no luck today' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let settings =
        SandboxSettings { bubblewrap: program, ..settings(SandboxMode::Bubblewrap, folder.path().to_owned()) };
    match SandboxRuntime::new(settings).probe().await {
        Err(RuntimeError::Unavailable { reason, .. }) => assert!(reason.contains("no luck today"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
