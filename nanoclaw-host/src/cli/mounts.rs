//! `nanoclaw mounts`: what of this machine groups are shown, and why or why not.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use nanoclaw_core::{group::GroupRole, mounts::MountRequest, runtime::Access};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns, DIM, GREEN, RED, YELLOW},
};
use crate::mounts::{Allowed, Judge, Report, allow};

/// What can be asked about mounts.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A group asks for mounts in nanoclaw.toml; the allowlist, ~/.config/nanoclaw/mount-allowlist.json, decides.

Examples:
  nanoclaw mounts check ~/projects/site         would it be mounted, and why or why not
  nanoclaw mounts check ~/projects --rw --group family
  nanoclaw mounts list                          what groups ask for and what they get
  nanoclaw mounts allow ~/projects --rw         allow it and everything in it")]
pub(super) enum MountsCommand {
    /// Say whether a path could be mounted, with every rule that is asked; ends with 1 when it could not
    Check {
        /// The path on this machine, as it would be in nanoclaw.toml
        path: String,
        /// For this group (its folder, or its chat id); default: a group that is not the main one
        #[arg(long)]
        group: Option<String>,
        /// For writing too
        #[arg(long)]
        rw: bool,
        /// The name inside; default: the last part of the path
        #[arg(long)]
        name: Option<String>,
        /// With what looks like a secret in it covered
        #[arg(long)]
        hide_secrets: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List what groups ask for, and what they get
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Allow mounts of a folder and of everything in it; groups must still ask for them
    Allow {
        /// The folder or file, which must be there
        path: PathBuf,
        /// For writing too
        #[arg(long)]
        rw: bool,
    },
}

/// A mount of a group, for programs.
#[derive(Debug, Serialize)]
struct OfGroup {
    group: String,
    #[serde(flatten)]
    report: Report,
}

pub(super) async fn run(command: MountsCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        MountsCommand::Check { path, group, rw, name, hide_secrets, json } => {
            let role = match &group {
                Some(group) => place.open().await?.0.group(group).await?.group.role,
                None => GroupRole::Ordinary,
            };
            let access = if rw { Access::ReadWrite } else { Access::ReadOnly };
            // A shell has ~ and relative paths resolved; what is relative is meant from here.
            let host = match path.starts_with(['/', '~']) {
                true => path,
                false => std::path::absolute(&path)?.to_str().context("the path is not UTF-8")?.to_owned(),
            };
            let request = MountRequest { host, name, access, hide_secrets };
            let report = judged(place, role, vec![request]).await?.pop().context("there is no verdict")?;
            let code = if report.allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            if json {
                output::json(&report)?
            } else {
                show(&report)?
            }
            return Ok(code);
        }
        MountsCommand::List { json } => list(place, json).await?,
        MountsCommand::Allow { path, rw } => {
            let config = place.config(&place.home()?)?;
            let real = path.canonicalize().with_context(|| format!("{} cannot be allowed", path.display()))?;
            let access = if rw { Access::ReadWrite } else { Access::ReadOnly };
            let (file, done) = allow(&config.mounts, &real, access)?;
            let (file, real) = (output::clean(&file.to_string_lossy()), output::clean(&real.to_string_lossy()));
            let what = if rw { "reading and writing" } else { "reading" };
            output::line(match done {
                Allowed::Unchanged => format!("{BOLD}{real}{BOLD:#} is allowed for {what} already, in {file}."),
                Allowed::Added | Allowed::Changed => {
                    format!(
                        "Allowed {BOLD}{real}{BOLD:#} for {what}, in {file}. It holds from each group's next run on."
                    )
                }
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(place: &Place, json: bool) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let mut all = Vec::new();
    for group in home.groups().await? {
        let requests = config.for_group(&group.folder).mounts.value;
        for report in judged(place, group.role, requests).await? {
            all.push(OfGroup { group: group.folder.to_string(), report });
        }
        if let Some(project) = judged_project(place, group.role).await? {
            all.push(OfGroup { group: group.folder.to_string(), report: project });
        }
    }
    if json {
        return output::json(&all);
    }
    if all.is_empty() {
        output::line("No group asks for additional mounts; docs/mounts.md says how to.")?;
        return Ok(());
    }
    let mut columns = Columns::new(["GROUP", "ON THE HOST", "INSIDE", "ACCESS", "WHY"]);
    for OfGroup { group, report } in all {
        let access = report.access.map_or_else(|| "refused".to_owned(), |access| access.to_string());
        let why = report.reason.or(report.root).unwrap_or_default();
        columns.row([group, report.host, report.target.unwrap_or_else(|| "-".to_owned()), access, why]);
    }
    Ok(columns.print()?)
}

/// The verdicts on these requests.
async fn judged(place: &Place, role: GroupRole, requests: Vec<MountRequest>) -> anyhow::Result<Vec<Report>> {
    let home = place.home()?;
    let config = place.config(&home)?;
    let judging = tokio::task::spawn_blocking(move || {
        let judge = Judge { config: &config.mounts, home: &home, runtime: None, own_mounts: true };
        judge.all(&requests, role).iter().map(|judged| Report::of(judged, true)).collect()
    });
    Ok(judging.await?)
}

async fn judged_project(place: &Place, role: GroupRole) -> anyhow::Result<Option<Report>> {
    let home = place.home()?;
    let config = place.config(&home)?;
    let judging = tokio::task::spawn_blocking(move || {
        let judge = Judge { config: &config.mounts, home: &home, runtime: None, own_mounts: true };
        let host = config.mounts.project.value.as_ref()?.display().to_string();
        let verdict = judge.project(role)?;
        Some(Report::of_project(host, verdict.as_ref()))
    });
    Ok(judging.await?)
}

fn show(report: &Report) -> anyhow::Result<()> {
    let host = output::clean(&report.host);
    match (&report.target, report.access) {
        (Some(target), Some(access)) => {
            let (target, access) = (output::clean(target), crate::launcher::said(access));
            output::line(format!("{GREEN}yes:{GREEN:#} {BOLD}{host}{BOLD:#} can be mounted {access} at {target}"))?;
        }
        _ => {
            let reason = output::clean(report.reason.as_deref().unwrap_or_default());
            output::line(format!("{RED}no:{RED:#} {BOLD}{host}{BOLD:#} is not mounted, because {reason}"))?;
        }
    }
    for rule in &report.rules {
        let (style, word) = match (rule.passed, report.allowed) {
            (true, _) => (GREEN, "ok"),
            (false, true) => (YELLOW, "less"),
            (false, false) => (RED, "no"),
        };
        let found = output::hanging(&output::clean(&rule.found), 18);
        output::line(format!("  {style}{word:<4}{style:#}  {:<10}{found}", rule.name))?;
    }
    if let Some(secrets) = report.secrets.filter(|secrets| *secrets > 0) {
        output::line(format!(
            "\n{YELLOW}note:{YELLOW:#} {secrets} names in it look like secrets, which an agent could read; `nanoclaw doctor` \
             names those\nof mounts that groups ask for, and hide_secrets = true covers them."
        ))?;
    }
    if matches!(report.refusal, Some("not_under_allowed_root" | "no_allowlist")) {
        output::line(format!("{DIM}`nanoclaw mounts allow PATH` allows a folder and everything in it.{DIM:#}"))?;
    }
    Ok(())
}
