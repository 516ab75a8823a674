//! `nanoclaw conformance`: what each runtime of this machine promises, checked with real containers, a line for each.

use std::{path::PathBuf, process::ExitCode, time::Instant};

use anyhow::Context as _;
use nanoclaw_core::{
    runtime::{ImageRef, InstallId, RuntimeKind},
    testing::runtime_suite::{Promise, SocketClient, SuiteContext, Verdict, check_all, promises},
};
use serde::Serialize;

use super::{
    Place,
    failure::with_help,
    output::{self, BOLD, DIM, GREEN, RED},
    parts,
};
use crate::{
    app::{Candidate, container_user, every_runtime},
    config::{Config, ProcessEnvironment},
    launcher::image_for,
    programs::{self, Linkage, Purpose},
};

/// What `conformance` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Check what the runtimes of this machine promise, with real containers\n\nStarts some two hundred small \
    containers with each runtime, which takes a minute or two, and\nremoves them. Ends with 1 when a promise is not kept. What \
    a runtime says that it cannot do is\nno promise, and shown as \"not made\". docs/runtimes.md has more."
)]
pub(super) struct ConformanceArgs {
    /// Only this runtime; default: each that works here
    #[arg(long, value_name = "RUNTIME", value_parser = parts::runtime)]
    runtime: Option<RuntimeKind>,
    /// The image of the containers, with a shell in it; default: the configured one
    #[arg(long)]
    image: Option<ImageRef>,
    /// How many promises to check at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    at_once: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    runtimes: Vec<OfRuntime>,
}

#[derive(Debug, Serialize)]
struct OfRuntime {
    runtime: RuntimeKind,
    /// Product, version, mode; or why it cannot be checked.
    description: String,
    /// Whether it is there and keeps everything that it promises.
    ok: bool,
    /// How long the check took.
    seconds: f64,
    kept: usize,
    not_made: usize,
    broken: usize,
    promises: Vec<OfPromise>,
}

#[derive(Debug, Serialize)]
struct OfPromise {
    name: &'static str,
    summary: &'static str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl OfPromise {
    fn new(promise: &Promise, verdict: &Verdict) -> Self {
        let (verdict, reason) = match verdict {
            Verdict::Kept => ("kept", None),
            Verdict::NotMade(reason) => ("not made", Some((*reason).to_owned())),
            Verdict::Broken(reason) => ("broken", Some(reason.clone())),
        };
        Self { name: promise.name, summary: promise.summary, verdict, reason }
    }
}

pub(super) async fn run(args: ConformanceArgs, place: &Place) -> anyhow::Result<ExitCode> {
    let home = place.home()?;
    let config = place.config(&home)?;
    let mut runtimes = Vec::new();
    for (kind, candidate) in every_runtime(&home, &config, args.runtime).await {
        let of_runtime = check(kind, candidate, &args, &config).await?;
        let Some(of_runtime) = of_runtime else { return Ok(ExitCode::from(INTERRUPTED)) };
        if args.runtime.is_some() && of_runtime.promises.is_empty() {
            return Err(with_help(
                format!("{kind} cannot be checked: {}", of_runtime.description),
                "`nanoclaw doctor` says what works here".to_owned(),
            ));
        }
        runtimes.push(of_runtime);
    }
    if runtimes.iter().all(|runtime| runtime.promises.is_empty()) {
        return Err(with_help(
            "nothing here can run containers".to_owned(),
            "`nanoclaw doctor` says what to do".to_owned(),
        ));
    }
    let ok = runtimes.iter().all(|runtime| runtime.promises.is_empty() || runtime.ok);
    if args.json {
        output::json(&Report { ok, runtimes })?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The exit code of whoever is ended by the terminal.
const INTERRUPTED: u8 = 130;

/// Checks one runtime and, unless JSON is wanted, prints each verdict when it is known. `None` when the terminal ended it;
/// nothing is left of it either way.
async fn check(
    kind: RuntimeKind,
    candidate: Candidate,
    args: &ConformanceArgs,
    config: &Config,
) -> anyhow::Result<Option<OfRuntime>> {
    let absent = |description: String| -> anyhow::Result<Option<OfRuntime>> {
        if !args.json && args.runtime.is_none() {
            let told = output::hanging(&output::clean(&description), MARGIN);
            let name = kind.to_string();
            output::line(format!("{BOLD}{name:<8}{BOLD:#}  {DIM}not checked: {told}{DIM:#}\n"))?;
        }
        let (seconds, kept, not_made, broken) = (0.0, 0, 0, 0);
        Ok(Some(OfRuntime {
            runtime: kind,
            description,
            ok: false,
            seconds,
            kept,
            not_made,
            broken,
            promises: Vec::new(),
        }))
    };
    let runtime = match candidate {
        Ok(runtime) => runtime,
        Err(error) => return absent(error.to_string()),
    };
    let image = args.image.clone().unwrap_or_else(|| image_for(kind, &config.container.image));
    if let Err(error) = runtime.ensure_image(&image).await {
        return absent(error.to_string());
    }
    let scratch = scratch_folder()?;
    let install = InstallId::new(format!("conformance{}", std::process::id())).context("an install id")?;
    let user = container_user(config);
    let mut context = match SuiteContext::new(runtime, image, scratch.0.clone(), user, install).await {
        Ok(context) => context,
        Err(reason) => return absent(reason),
    };
    context.socket_client = socket_client(config);
    if !args.json {
        let told = output::hanging(&context.capabilities.description, MARGIN);
        let name = kind.to_string();
        output::line(format!("{BOLD}{name:<8}{BOLD:#}  {told}"))?;
    }
    let (began, all) = (Instant::now(), promises().len());
    let show_progress = output::stderr_is_terminal();
    let (mut printed, mut done) = (Ok(()), 0);
    let report = {
        let checking = check_all(&context, args.at_once, |promise, verdict| {
            done += 1;
            if show_progress {
                output::rewrite("");
            }
            if !args.json && printed.is_ok() {
                printed = print(promise, verdict);
            }
            if show_progress {
                output::rewrite(&format!("{kind}: {done} of {all} promises checked"));
            }
        });
        tokio::select! {
            report = checking => Some(report),
            _ = tokio::signal::ctrl_c() => None,
        }
    };
    if show_progress {
        output::rewrite("");
    }
    // A broken promise may have left something, and an end in the middle has.
    let cleaned = context.clean_up().await;
    cleaned.with_context(|| format!("{kind}: cannot remove the containers of install {}", context.install))?;
    let Some(report) = report else { return Ok(None) };
    printed?;
    let (kept, broken) = (report.kept(), report.broken().len());
    let not_made = report.verdicts.len() - kept - broken;
    let seconds = began.elapsed().as_secs_f64();
    if !args.json {
        output::line(format!("{kept} kept, {not_made} not made, {broken} broken, in {seconds:.0} s\n"))?;
    }
    let promises = report.verdicts.iter().map(|(promise, verdict)| OfPromise::new(promise, verdict)).collect();
    let description = context.capabilities.description.clone();
    Ok(Some(OfRuntime { runtime: kind, description, ok: broken == 0, seconds, kept, not_made, broken, promises }))
}

/// Where what is said of a promise begins, after the verdict.
const MARGIN: usize = 10;

fn print(promise: &Promise, verdict: &Verdict) -> Result<(), output::OutputError> {
    let (style, word, reason) = match verdict {
        Verdict::Kept => (GREEN, "kept", None),
        Verdict::NotMade(reason) => (DIM, "not made", Some((*reason).to_owned())),
        Verdict::Broken(reason) => (RED, "BROKEN", Some(output::clean(reason))),
    };
    let told = match reason {
        Some(reason) => format!("{}: {reason}", promise.name),
        None => format!("{}  {}", promise.name, promise.summary),
    };
    output::line(format!("{style}{word:<8}{style:#}  {}", output::hanging(&told, MARGIN)))
}

/// Our own runner can do it, where it is static.
fn socket_client(config: &Config) -> Option<SocketClient> {
    let program = programs::runner(&config.agent, Purpose::AnyImage, &ProcessEnvironment)?;
    matches!(programs::linkage(&program), Ok(Linkage::Static)).then_some(SocketClient { program, arguments: "connect" })
}

/// A folder that any user can pass through; removed when dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn scratch_folder() -> anyhow::Result<Scratch> {
    use std::os::unix::fs::DirBuilderExt as _;
    let path = std::env::temp_dir().join(format!("nanoclaw-conformance-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o755).create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(Scratch(path))
}
