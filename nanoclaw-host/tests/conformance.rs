//! The command `nanoclaw conformance`, and that the suite behind it notices a runtime that breaks a promise.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

mod support;

use std::{
    process::{Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::{
    runtime::{
        Access, AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec,
        ContainerStats, ContainerSummary, Exit, ImageRef, InstallId, Limits, Output as Piece, RuntimeError,
        RuntimeKind, StopOutcome, exit_watch,
    },
    testing::runtime_suite::{SuiteContext, Verdict, promises},
};
use nanoclaw_host::runtimes::sandbox::{SandboxMode, SandboxRuntime, SandboxSettings};
use serde_json::Value;
use tokio::sync::mpsc;

const NANOCLAW: &str = env!("CARGO_BIN_EXE_nanoclaw");

/// Runs `nanoclaw conformance` as a user with an empty home.
fn conformance(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(NANOCLAW);
    command.arg("conformance").args(arguments).env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin");
    command.current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn the_command_says_of_every_promise_what_became_of_it() {
    if sandbox(SandboxMode::Auto).await.is_none() {
        return;
    }
    let folder = support::scratch();
    let output = conformance(folder.path(), &["--runtime", "sandbox", "--json", "--at-once", "4"]);
    let printed = text(&output.stdout);
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    assert_eq!((report["ok"].as_bool(), output.status.code()), (Some(true), Some(0)), "{printed}");
    assert_eq!(text(&output.stderr), "");
    let [sandbox] = report["runtimes"].as_array().unwrap().as_slice() else { panic!("{printed}") };
    assert_eq!((sandbox["runtime"].as_str(), sandbox["ok"].as_bool()), (Some("sandbox"), Some(true)));
    assert!(sandbox["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0));
    let of_promises = sandbox["promises"].as_array().unwrap();
    let names: Vec<&str> = of_promises.iter().map(|promise| promise["name"].as_str().unwrap()).collect();
    assert_eq!(names, promises().iter().map(|promise| promise.name).collect::<Vec<_>>());
    let count = |verdict: &str| of_promises.iter().filter(|promise| promise["verdict"] == verdict).count();
    for (verdict, number) in [("kept", "kept"), ("not made", "not_made"), ("broken", "broken")] {
        assert_eq!(sandbox[number].as_u64(), Some(count(verdict) as u64), "{printed}");
    }
    for promise in of_promises {
        assert_eq!(promise.get("reason").is_some(), promise["verdict"] != "kept", "{promise}");
    }
    assert!(count("not made") > 0 && count("kept") > 40, "{printed}");
}

#[test]
fn a_runtime_that_is_not_there_is_no_success() {
    let folder = support::scratch();
    let missing = folder.path().join("docker.sock");
    let mut command = Command::new(NANOCLAW);
    command.args(["conformance", "--runtime", "docker"]).env_clear().env("HOME", folder.path());
    command.env("DOCKER_HOST", format!("unix://{}", missing.display()));
    let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(1), ""), "{said}");
    assert!(said.contains("docker cannot be checked") && said.contains("there is no socket"), "{said}");
}

/// What is done wrong by a runtime that is otherwise the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    SwapsPiecesOfOutput,
    LosesTheLastPiece,
    MixesTheStreams,
    SaysThatAllEndedWell,
    TakesAnyKillForLackOfMemory,
    NeverTellsLackOfMemory,
    KillsAtOnce,
    NeverKills,
    MountsAllWritable,
    MountsAllReadOnly,
    ForgetsLimits,
    AddsToTheEnvironment,
    StartsElsewhere,
    ListsNothing,
    ListsWhatIsNotAsked,
    DoesNotRemove,
    RemovesOthersToo,
    TellsErrorsAsOthers,
    FindsWhatIsGone,
    StartsOneInTen,
    HasNoIsolation,
}

/// The sandbox with a fault.
struct Faulty {
    sandbox: Arc<SandboxRuntime>,
    fault: Fault,
    installs: std::sync::Mutex<Vec<InstallId>>,
    starts: std::sync::atomic::AtomicUsize,
}

impl Faulty {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }
}

#[async_trait]
impl ContainerRuntime for Faulty {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Sandbox
    }

    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        let capabilities = self.sandbox.probe().await?;
        Ok(match self.fault {
            Fault::HasNoIsolation => Capabilities { own_mounts: true, own_network: true, ..capabilities },
            _ => capabilities,
        })
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.sandbox.ensure_image(image).await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        self.sandbox.image_id(image).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.installs.lock().unwrap().push(spec.labels.install.clone());
        let mut spec = spec.clone();
        match self.fault {
            Fault::MountsAllWritable => spec.mounts.iter_mut().for_each(|mount| mount.access = Access::ReadWrite),
            Fault::MountsAllReadOnly => spec.mounts.iter_mut().for_each(|mount| mount.access = Access::ReadOnly),
            Fault::ForgetsLimits => spec.limits = Limits { memory_bytes: None, pids: None, milli_cpus: None },
            Fault::AddsToTheEnvironment => drop(spec.env.insert("SECRET".to_owned(), "of the host".into())),
            Fault::StartsElsewhere => spec.workdir = "/tmp".into(),
            _ => {}
        }
        let number = self.starts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if self.is(Fault::StartsOneInTen) && !number.is_multiple_of(10) {
            return Err(RuntimeError::TimedOut { action: "start the container" });
        }
        let container = self.sandbox.start(&spec).await.map_err(|error| match self.fault {
            Fault::TellsErrorsAsOthers => RuntimeError::Other { action: "start", reason: error.to_string() },
            _ => error,
        })?;
        let Container { id, stdin, mut output, exit } = container;
        let fault = self.fault;
        let exit = exit_watch(async move {
            match (exit.await, fault) {
                (Exit::Code(_), Fault::SaysThatAllEndedWell) => Exit::Code(0),
                (Exit::Signal(9), Fault::TakesAnyKillForLackOfMemory) => Exit::OutOfMemory,
                (Exit::OutOfMemory, Fault::NeverTellsLackOfMemory) => Exit::Signal(9),
                (exit, _) => exit,
            }
        });
        let (queue, passed) = mpsc::channel(64);
        tokio::spawn(async move {
            let mut held = None;
            while let Some(piece) = output.recv().await {
                let piece = match (fault, piece) {
                    (Fault::MixesTheStreams, Piece::Stderr(bytes)) => Piece::Stdout(bytes),
                    (_, piece) => piece,
                };
                let late = matches!(fault, Fault::SwapsPiecesOfOutput | Fault::LosesTheLastPiece);
                match (late, held.take()) {
                    (false, _) => drop(queue.send(piece).await),
                    (true, None) => held = Some(piece),
                    (true, Some(before)) if fault == Fault::LosesTheLastPiece => {
                        let _ = queue.send(before).await;
                        held = Some(piece);
                    }
                    (true, Some(before)) => {
                        let _ = queue.send(piece).await;
                        let _ = queue.send(before).await;
                    }
                }
            }
            if let (Some(piece), Fault::SwapsPiecesOfOutput) = (held, fault) {
                let _ = queue.send(piece).await;
            }
        });
        Ok(Container { id, stdin, output: passed, exit })
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        match (self.fault, self.sandbox.adopt(id).await) {
            (Fault::FindsWhatIsGone, Err(_)) => {
                Ok(AdoptedContainer { exit: exit_watch(async { Exit::Unknown }), errors: None })
            }
            (_, adopted) => adopted,
        }
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        match self.fault {
            Fault::KillsAtOnce => self.sandbox.stop(id, Duration::ZERO).await,
            Fault::NeverKills => Err(RuntimeError::TimedOut { action: "stop" }),
            _ => self.sandbox.stop(id, grace).await,
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        if self.is(Fault::DoesNotRemove) {
            return Ok(());
        }
        if self.is(Fault::RemovesOthersToo) {
            let installs = self.installs.lock().unwrap().clone();
            for install in installs {
                for other in self.sandbox.list(&install).await? {
                    self.sandbox.remove(&other.id).await?;
                }
            }
        }
        self.sandbox.remove(id).await
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        match self.fault {
            Fault::ListsNothing => Ok(Vec::new()),
            Fault::ListsWhatIsNotAsked => {
                let mut all = Vec::new();
                let mut installs = self.installs.lock().unwrap().clone();
                installs.sort();
                installs.dedup();
                for install in installs {
                    all.extend(self.sandbox.list(&install).await?);
                }
                Ok(all)
            }
            _ => self.sandbox.list(install).await,
        }
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        self.sandbox.stats(id).await
    }
}

/// The sandbox, strict; `None`, and a line that says so, where there is none.
async fn sandbox(mode: SandboxMode) -> Option<(Arc<SandboxRuntime>, tempfile::TempDir)> {
    let folder = support::scratch();
    let settings = SandboxSettings {
        mode,
        helper: NANOCLAW.into(),
        accept_missing_limits: false,
        ..SandboxSettings::new(folder.path().join("state"))
    };
    let runtime = SandboxRuntime::new(settings);
    let probed = runtime.probe().await.map_err(|error| error.to_string());
    support::wanted("sandbox").or_skip("sandbox", probed)?;
    Some((Arc::new(runtime), folder))
}

/// Which promises a runtime with this fault has to break, of those that it makes here.
fn broken_by(fault: Fault) -> &'static [&'static str] {
    match fault {
        Fault::SwapsPiecesOfOutput => &["input_and_output_are_byte_exact", "errors_are_byte_exact"],
        Fault::LosesTheLastPiece => &["first_bytes_are_never_lost", "input_and_output_are_byte_exact"],
        Fault::MixesTheStreams => &["stdout_and_stderr_are_kept_apart", "errors_are_byte_exact"],
        Fault::SaysThatAllEndedWell => {
            &["an_exit_code_is_told_as_it_is", "who_survives_a_lack_of_memory_ends_as_it_ends"]
        }
        Fault::TakesAnyKillForLackOfMemory => &["a_killed_container_ended_by_a_signal"],
        Fault::NeverTellsLackOfMemory => {
            &["running_out_of_memory_is_told", "running_out_of_memory_is_told_through_an_init"]
        }
        Fault::KillsAtOnce => &["a_handler_of_term_has_its_say", "f34_a_deaf_container_is_killed_after_the_grace_time"],
        Fault::NeverKills => {
            &["f34_a_deaf_container_is_killed_after_the_grace_time", "what_has_ended_leaves_nothing_behind"]
        }
        Fault::MountsAllWritable => &["a_read_only_mount_cannot_be_changed", "a_mount_can_lie_in_another"],
        Fault::MountsAllReadOnly => &["f36_a_writable_mount_is_the_hosts_folder"],
        Fault::ForgetsLimits => &["processes_are_limited", "memory_is_limited", "processor_time_is_limited"],
        Fault::AddsToTheEnvironment => &["the_environment_is_what_was_asked"],
        Fault::StartsElsewhere => &["the_working_directory_is_what_was_asked"],
        Fault::ListsNothing => {
            &["f33_a_container_is_listed_by_its_own_install", "what_is_listed_can_be_removed_and_nothing_else_goes"]
        }
        Fault::ListsWhatIsNotAsked => {
            &["f33_a_container_is_listed_by_its_own_install", "what_is_listed_can_be_removed_and_nothing_else_goes"]
        }
        Fault::DoesNotRemove => {
            &["remove_returns_when_it_is_gone", "what_is_listed_can_be_removed_and_nothing_else_goes"]
        }
        Fault::RemovesOthersToo => &["what_is_listed_can_be_removed_and_nothing_else_goes"],
        Fault::TellsErrorsAsOthers => &[
            "a_missing_command_is_told_as_such",
            "a_missing_source_is_refused_and_not_made",
            "f38_a_missing_image_is_told_as_such",
        ],
        Fault::FindsWhatIsGone => &["adopting_what_has_ended_says_so", "what_has_ended_leaves_nothing_behind"],
        Fault::StartsOneInTen => &["many_can_start_at_once"],
        Fault::HasNoIsolation => &[
            "there_is_only_loopback_and_no_route",
            "there_are_no_privileges",
            "no_user_namespace_can_be_made",
            "the_root_is_read_only",
            "tmp_is_writable_private_and_bounded",
            "other_processes_are_not_seen",
        ],
    }
}

async fn is_noticed(fault: Fault) {
    let mode = if fault == Fault::HasNoIsolation { SandboxMode::Unsafe } else { SandboxMode::Auto };
    let Some((sandbox, folder)) = sandbox(mode).await else { return };
    let faulty = Faulty { sandbox, fault, installs: std::sync::Mutex::default(), starts: Default::default() };
    let image = ImageRef::new("host").unwrap();
    let scratch = folder.path().join("scratch");
    let context =
        SuiteContext::new(Arc::new(faulty), image, scratch, support::user(), support::install()).await.unwrap();
    for promise in promises().into_iter().filter(|promise| broken_by(fault).contains(&promise.name)) {
        // A promise that waits for what never comes gives up by itself; that takes longer than a test has.
        let verdict = tokio::time::timeout(Duration::from_secs(10), promise.check(&context)).await;
        let noticed = match &verdict {
            Err(_) | Ok(Verdict::Broken(_)) => true,
            // As an ordinary user some limits cannot be had, so nothing is promised of them.
            Ok(Verdict::NotMade(_)) => !rustix::process::geteuid().is_root(),
            Ok(Verdict::Kept) => false,
        };
        assert!(noticed, "{fault:?} is not noticed by {}: {verdict:?}", promise.name);
    }
}

macro_rules! are_noticed {
    ($($name:ident: $fault:ident),* $(,)?) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            is_noticed(Fault::$fault).await;
        }
    )* };
}

are_noticed! {
    output_out_of_order_is_noticed: SwapsPiecesOfOutput,
    lost_output_is_noticed: LosesTheLastPiece,
    mixed_streams_are_noticed: MixesTheStreams,
    a_failure_told_as_success_is_noticed: SaysThatAllEndedWell,
    a_kill_told_as_lack_of_memory_is_noticed: TakesAnyKillForLackOfMemory,
    lack_of_memory_told_as_a_kill_is_noticed: NeverTellsLackOfMemory,
    a_kill_without_grace_is_noticed: KillsAtOnce,
    a_stop_that_does_not_kill_is_noticed: NeverKills,
    a_writable_mount_that_should_not_be_is_noticed: MountsAllWritable,
    a_read_only_mount_that_should_not_be_is_noticed: MountsAllReadOnly,
    forgotten_limits_are_noticed: ForgetsLimits,
    a_foreign_variable_is_noticed: AddsToTheEnvironment,
    another_working_directory_is_noticed: StartsElsewhere,
    a_list_without_containers_is_noticed: ListsNothing,
    a_list_with_others_is_noticed: ListsWhatIsNotAsked,
    a_remove_that_does_nothing_is_noticed: DoesNotRemove,
    a_remove_that_takes_others_along_is_noticed: RemovesOthersToo,
    errors_without_their_type_are_noticed: TellsErrorsAsOthers,
    a_ghost_that_can_be_adopted_is_noticed: FindsWhatIsGone,
    starts_that_fail_under_load_are_noticed: StartsOneInTen,
    missing_isolation_is_noticed: HasNoIsolation,
}
