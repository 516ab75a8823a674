//! `nanoclaw selftest hostile`: an actively malicious agent in real containers, and what came of it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use nanoclaw_core::runtime::{ImageRef, RuntimeKind};

use crate::{
    app::every_runtime,
    cli::{
        Place,
        failure::with_help,
        output::{self, BOLD, DIM, GREEN, RED},
    },
    config::{Environment as _, ProcessEnvironment},
    programs::{self, Purpose},
    selftest::hostile::{
        ATTACKS, Settings, Size,
        report::{Case, Report, Verdict},
        run as attack,
    },
};

/// What `selftest hostile` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Attack from inside real containers, with an agent that does everything it can\n\nStarts a service in a home of \
    its own, plants secrets all around it, and lets a malicious agent look for\nthem, look for a way out, starve the others \
    and speak in their name. Takes some minutes and is felt on\na small machine. Ends with 1 when anything was found. \
    docs/security.md says what is protected and\nwhat is not."
)]
pub(in crate::cli) struct HostileArgs {
    /// The runtime to attack
    #[arg(long, value_name = "RUNTIME", value_parser = crate::cli::parts::runtime)]
    runtime: RuntimeKind,
    /// The image of the containers; default: the configured one
    #[arg(long)]
    image: Option<ImageRef>,
    /// Only these attacks
    #[arg(long, value_name = "ATTACK", value_delimiter = ',', value_parser = ATTACKS)]
    only: Vec<String>,
    /// Fill and flood as much as a real attacker would: half a gibibyte of disk, a gibibyte of output
    #[arg(long)]
    full: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the result into this document, in the place of the last one for the same runtime and kind of user
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// The variables by which the service finds engines.
const PASSED_ON: [&str; 3] = ["XDG_RUNTIME_DIR", "TMPDIR", "NANOCLAW_AGENT_RUNNER"];

pub(super) async fn run(args: HostileArgs, place: &Place) -> anyhow::Result<ExitCode> {
    let home = place.home()?;
    let mut config = place.config(&home)?;
    if let Some(image) = &args.image {
        // What the runtime can bound is found out with it, too.
        config.container.image.value = image.clone();
    }
    let candidate = every_runtime(&home, &config, Some(args.runtime)).await.pop();
    let (_, runtime) = candidate.context("this version does not know the runtime")?;
    let runtime = runtime.map_err(|error| with_help(error.to_string(), "`nanoclaw doctor` says what works here"))?;
    let passed_on = PASSED_ON.into_iter().filter_map(|name| Some((name.to_owned(), ProcessEnvironment.get(name)?)));
    let settings = Settings {
        image: args
            .image
            .clone()
            .or_else(|| config.container.image.is_explicit().then(|| config.container.image.value.clone())),
        program: std::env::current_exe().context("cannot tell where this program is")?,
        runner: programs::runner(&config.agent, Purpose::of(args.runtime), &ProcessEnvironment),
        environment: passed_on.collect::<BTreeMap<_, _>>(),
        size: if args.full { Size::Full } else { Size::Short },
        attacks: args.only.clone(),
        weaknesses: Vec::new(),
        runtime,
    };
    let report = attack(settings, &|step| output::note(step)).await?;
    if let Some(path) = &args.report {
        write_into(path, &report).with_context(|| format!("cannot write the report into {}", path.display()))?;
    }
    if args.json {
        output::json(&report)?
    } else {
        print(&report)?
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(report: &Report) -> anyhow::Result<()> {
    let mut attack = "";
    for case in &report.cases {
        if case.attack != attack {
            attack = &case.attack;
            output::line(format!("{BOLD}{attack}{BOLD:#}"))?;
        }
        output::line(line_of(case))?;
    }
    output::line("")?;
    for talk in &report.under_attack {
        let quiet = report.quiet.iter().find(|quiet| quiet.group == talk.group);
        let quiet =
            quiet.map(|quiet| format!(" (quiet {:.0} / {:.0})", quiet.p50_ms, quiet.p99_ms)).unwrap_or_default();
        output::line(format!(
            "{}: {} of {} replies; p50 / p99 {:.0} / {:.0} ms{quiet}, slowest {:.0} ms",
            talk.group, talk.got, talk.due, talk.p50_ms, talk.p99_ms, talk.longest_ms
        ))?;
    }
    output::line(format!("\n{}  {}", report.description, report.figures()))?;
    Ok(())
}

fn line_of(case: &Case) -> String {
    let style = match case.verdict {
        Verdict::Contained => GREEN,
        Verdict::Found => RED,
        Verdict::Own | Verdict::NotApplicable => DIM,
    };
    let (word, detail) = (case.verdict.as_str(), output::clean(&case.detail));
    format!("{style}{word:<14}{style:#}  {}  {DIM}{detail}{DIM:#}", output::clean(&case.name))
}

/// Puts the report into the document: between the marks of its title, or at the end.
fn write_into(path: &Path, report: &Report) -> std::io::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    std::fs::write(path, replaced(&text, &report.title(), &report.markdown()))
}

fn replaced(document: &str, title: &str, part: &str) -> String {
    let (begin, end) = (format!("<!-- hostile: {title} -->\n"), format!("<!-- end of hostile: {title} -->\n"));
    let whole = format!("{begin}{part}{end}");
    match (document.split_once(&begin), document.split_once(&end)) {
        (Some((before, _)), Some((_, after))) => format!("{before}{whole}{after}"),
        _ => format!("{document}\n{whole}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_takes_the_place_of_the_last_one_of_its_kind() {
        let first = replaced("# Security\n", "docker as root", "one\n");
        let second = replaced(&first, "sandbox as root", "two\n");
        let third = replaced(&second, "docker as root", "three\n");
        assert!(third.starts_with("# Security\n") && third.contains("two\n") && third.contains("three\n"), "{third}");
        assert!(!third.contains("one\n"), "{third}");
        assert_eq!(third.matches("<!-- hostile: docker as root -->").count(), 1);
    }
}
