//! `nanoclaw doctor`: what works on this machine and what does not, each failure with its remedy.

mod attachments;
mod channels;
mod checks;
mod images;
mod mounts;
mod provider;
mod senders;
mod skills;

use std::process::ExitCode;

use serde::Serialize;

use super::{
    Place,
    output::{self, DIM, GREEN, RED, YELLOW},
};
use crate::{config::Config, home::Home, programs::Purpose};

/// What `doctor` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Check what works on this machine and what does not\n\nEnds with 1 when a check failed; each failure \
    says what to do. Starts a container for a moment\nwith each runtime, and changes nothing."
)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and somebody should know this.
    Warning,
    /// It does not work.
    Failed,
    /// It could not be looked at, because of another failure.
    Skipped,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// Its name, the same in every version.
    name: &'static str,
    outcome: Outcome,
    /// What was found.
    detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, detail: detail.into(), help: None }
    }

    fn warning(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Warning, detail: detail.into(), help: Some(help.into()) }
    }

    fn failed(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Failed, detail: detail.into(), help: Some(help.into()) }
    }

    fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Skipped, detail: detail.into(), help: None }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    checks: Vec<Check>,
}

/// What is wrong with that on which everything else in `home`, which is made, stands: what, and what to do.
pub(super) async fn troubles_of_machine(home: &Home, config: &Config) -> Vec<(String, String)> {
    let failed = checks::of_machine(home, config).await.into_iter().filter(|check| check.outcome == Outcome::Failed);
    failed.map(|check| (format!("{}: {}", check.name, check.detail), check.help.unwrap_or_default())).collect()
}

/// What is wrong with what thinks, and what to do; `None`: nothing. `purpose` is what programs are for on the runtime that is used.
pub(super) fn trouble_of_provider(config: &Config, purpose: Option<Purpose>) -> Option<(String, String)> {
    let check = provider::check(config, purpose);
    (check.outcome == Outcome::Failed).then(|| (check.detail, check.help.unwrap_or_default()))
}

pub(super) async fn run(args: DoctorArgs, place: &Place) -> anyhow::Result<ExitCode> {
    let checks = checks::all(place).await?;
    let ok = checks.iter().all(|check| check.outcome != Outcome::Failed);
    if args.json {
        output::json(&Report { ok, checks })?;
    } else {
        for check in checks {
            print(&check)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where what was found begins, after the outcome and the name.
const MARGIN: usize = 26;

fn print(check: &Check) -> Result<(), output::OutputError> {
    let (style, word) = match check.outcome {
        Outcome::Ok => (GREEN, "ok"),
        Outcome::Warning => (YELLOW, "warning"),
        Outcome::Failed => (RED, "failed"),
        Outcome::Skipped => (DIM, "skipped"),
    };
    let detail = output::hanging(&output::clean(&check.detail), MARGIN);
    output::line(format!("{style}{word:<8}{style:#}  {:<16}{detail}", check.name))?;
    if let Some(help) = &check.help {
        let help = output::hanging(&output::clean(help), MARGIN + "help: ".len());
        output::line(format!("{:MARGIN$}{GREEN}help:{GREEN:#} {help}", ""))?;
    }
    Ok(())
}
