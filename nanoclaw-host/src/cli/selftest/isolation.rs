//! `nanoclaw selftest isolation`: what a container sees of its own walls, a line for each that is not there.

use std::process::ExitCode;

use nanoclaw_core::runtime::{ContainerRuntime, HardeningProfile, RuntimeError, RuntimeKind};
use serde::Serialize;

use crate::{
    app::{every_runtime, proof},
    cli::{
        Place,
        failure::with_help,
        output::{self, BOLD, DIM, GREEN, RED},
    },
    config::Config,
    home::Home,
    selftest::canary::{self, Report},
};

/// What `selftest isolation` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Show from inside a container that isolation is in force\n\nSends a canary with each runtime: a container with \
    the profile of agents' containers, in which our\nown program tries to break out. A service does the same once per runtime and \
    profile before it\nstarts anything. Ends with 1 when a wall is missing."
)]
pub(in crate::cli) struct IsolationArgs {
    /// Only this runtime; default: each that works here
    #[arg(long, value_name = "RUNTIME", value_parser = crate::cli::parts::runtime)]
    runtime: Option<RuntimeKind>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct All {
    ok: bool,
    runtimes: Vec<OfRuntime>,
}

#[derive(Debug, Serialize)]
struct OfRuntime {
    runtime: RuntimeKind,
    /// Product, version, mode; or why no canary could be sent.
    description: String,
    /// What the canary saw; `None` when none could be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    report: Option<Report>,
}

pub(super) async fn run(args: IsolationArgs, place: &Place) -> anyhow::Result<ExitCode> {
    let home = place.home()?;
    let config = place.config(&home)?;
    let mut runtimes = Vec::new();
    for (kind, candidate) in every_runtime(&home, &config, args.runtime).await {
        let sent = match candidate {
            Ok(runtime) => send(&*runtime, &home, &config).await,
            Err(error) => Err(error),
        };
        let of_runtime = match sent {
            Ok((description, report)) => OfRuntime { runtime: kind, description, report: Some(report) },
            Err(error) => OfRuntime { runtime: kind, description: error.to_string(), report: None },
        };
        if !args.json {
            print(&of_runtime)?;
        }
        runtimes.push(of_runtime);
    }
    if runtimes.iter().all(|runtime| runtime.report.is_none()) {
        let reasons: Vec<String> =
            runtimes.iter().map(|runtime| format!("{}: {}", runtime.runtime, runtime.description)).collect();
        return Err(with_help(
            format!("no canary could be sent: {}", reasons.join("; ")),
            "`nanoclaw doctor` says what works here".to_owned(),
        ));
    }
    let ok = runtimes.iter().filter_map(|runtime| runtime.report.as_ref()).all(|report| report.deviations.is_empty());
    if args.json {
        output::json(&All { ok, runtimes })?;
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn send(runtime: &dyn ContainerRuntime, home: &Home, config: &Config) -> Result<(String, Report), RuntimeError> {
    let capabilities = runtime.probe().await?;
    let proof = proof(runtime.kind(), home, config);
    let Some(runner) = &proof.runner else {
        return Err(RuntimeError::Unavailable {
            runtime: runtime.kind(),
            reason: "there is no agent-runner on this machine".to_owned(),
            remedy: "`cargo build --release -p agent-runner` builds it".to_owned(),
        });
    };
    let profile = proof.profile_where(&capabilities);
    let report = canary::send(runtime, &capabilities, &profile, &proof.image, runner).await?;
    Ok((capabilities.description, report))
}

fn print(of_runtime: &OfRuntime) -> Result<(), output::OutputError> {
    let OfRuntime { runtime, description, report } = of_runtime;
    let description = output::clean(description);
    let Some(report) = report else {
        return output::line(format!("{BOLD}{runtime}{BOLD:#}  {DIM}not shown: {description}{DIM:#}"));
    };
    output::line(format!("{BOLD}{runtime}{BOLD:#}  {DIM}{description}{DIM:#}"))?;
    output::line(format!("  {DIM}canary: {}{DIM:#}", report.profile))?;
    for (name, what) in HardeningProfile::ALWAYS {
        output::line(format!("  {DIM}{name:<16}{what}{DIM:#}"))?;
    }
    for deviation in &report.deviations {
        output::line(format!("  {RED}missing{RED:#} {}", output::clean(&deviation.to_string())))?;
    }
    match report.deviations.len() {
        0 => output::line(format!("  {GREEN}in force{GREEN:#}: nothing of it was missing")),
        missing => output::line(format!("  {RED}{missing} missing{RED:#}")),
    }
}
