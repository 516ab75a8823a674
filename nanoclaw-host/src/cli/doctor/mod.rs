//! `nanoclaw doctor`: what works on this machine and what does not, each failure with its remedy.

mod attachments;
mod channels;
mod checks;
mod containers;
mod credentials;
pub(super) mod database;
mod files;
mod fix;
mod images;
mod live;
mod machine;
mod mounts;
mod provider;
mod senders;
mod skills;
mod tasks;

use std::{path::Path, process::ExitCode};

use serde::Serialize;

use self::fix::{Fix, Fixed};
use super::{
    Place,
    output::{self, DIM, GREEN, RED, YELLOW},
};
use crate::{config::Config, home::Home, programs::Purpose};

/// What `doctor` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Check what works on this machine and what does not\n\nEnds with 1 when a check failed; each failure \
    says what to do. Starts a container for a moment\nwith each runtime, and changes nothing without --fix.",
    after_long_help = "docs/doctor.md says what each check looks at."
)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Ask the model by one small request, and the service that runs about each of its channels
    #[arg(long)]
    live: bool,
    /// Mend what can be mended safely: modes and owners of the home's own files, missing folders, sockets and containers that were left
    /// over; never data
    #[arg(long)]
    fix: bool,
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
    /// What `--fix` does about it.
    #[serde(skip)]
    fixes: Vec<Fix>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Ok, detail: detail.into(), help: None, fixes: Vec::new() }
    }

    fn warning(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Warning, detail: detail.into(), help: Some(help.into()), fixes: Vec::new() }
    }

    fn failed(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Failed, detail: detail.into(), help: Some(help.into()), fixes: Vec::new() }
    }

    fn skipped(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Skipped, detail: detail.into(), help: None, fixes: Vec::new() }
    }

    /// The same, with what `--fix` does about it.
    fn mended_by(self, fixes: Vec<Fix>) -> Self {
        Self { fixes, ..self }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    /// What `--fix` did, or could not do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fixed: Vec<Fixed>,
    /// As it is after that.
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
    let mut checks = checks::all(place, args.live).await?;
    let mut fixed = Vec::new();
    let fixes: Vec<_> =
        checks.iter_mut().flat_map(|check| check.fixes.drain(..).map(|fix| (check.name, fix))).collect();
    if args.fix && !fixes.is_empty() {
        let home = place.home()?;
        fixed = fix::apply(fixes, &home, place.config(&home).ok().as_ref()).await;
        checks = checks::all(place, args.live).await?;
    }
    let ok = checks.iter().all(|check| check.outcome != Outcome::Failed);
    if args.json {
        output::json(&Report { ok, fixed, checks })?;
    } else {
        for one in fixed {
            print_fixed(&one)?;
        }
        for check in checks {
            print(&check)?;
        }
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A path as a shell takes it for one word.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    match text.chars().all(plain) && !text.is_empty() {
        true => text.into_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn print_fixed(fixed: &Fixed) -> Result<(), output::OutputError> {
    let (style, word, why) = match &fixed.error {
        None => (GREEN, "fixed", String::new()),
        Some(error) => (RED, "not done", format!(": {error}")),
    };
    let did = output::hanging(&output::clean(&format!("{}{why}", fixed.did)), MARGIN);
    output::line(format!("{style}{word:<8}{style:#}  {:<16}{did}", fixed.check))
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
