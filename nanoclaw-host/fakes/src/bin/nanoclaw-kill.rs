//! Makes `docs/scorecard.md`: kills the real host, its containers, its engine and its disk while messages flow, and counts
//! what is lost and what is said twice. The harness is `nanoclaw_fakes::kill`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is its output, and how it goes is told besides"
)]

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use nanoclaw_fakes::kill::{self, Engine, Fault, On, Plan, Scorecard};

/// Kills nanoclaw in every way while messages flow, and counts what is lost and what is said twice.
///
/// Ends with 1 when anything was. Docker rows need root and dockerd, of which it starts one of its own; the row with the full disk needs
/// root.
#[derive(Parser)]
struct Arguments {
    /// The program under test, built with failpoints; agent-runner lies beside it
    #[arg(long, required_unless_present = "render")]
    program: Option<PathBuf>,
    /// On which runtimes; both when none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    runtime: Vec<On>,
    /// Which faults; all when none is named
    #[arg(long, value_enum, value_delimiter = ',')]
    fault: Vec<Fault>,
    /// Only these failpoints
    #[arg(long, value_delimiter = ',')]
    point: Vec<String>,
    /// At how many passings of each failpoint the host dies: the first, the third, …; default: 2 with the sandbox, 1 with Docker
    #[arg(long)]
    passings: Option<u32>,
    /// How often the fault of each other row happens, at least, in two homes or more; default: 60 with the sandbox, 30 with Docker
    #[arg(long)]
    kills: Option<u64>,
    /// How many groups there are
    #[arg(long, default_value_t = 20)]
    groups: usize,
    /// How many messages are said in each group
    #[arg(long, default_value_t = 50)]
    messages: usize,
    /// How many due times people ask for in the row of tasks with kills at random times
    #[arg(long, default_value_t = 1000)]
    due_times: usize,
    /// How many containers there are at once
    #[arg(long, default_value_t = 5)]
    cap: usize,
    /// What chance begins with
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where homes are made; a folder on a real disk with a short path. Homes in which something went wrong are left there
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Leave all homes there
    #[arg(long)]
    keep: bool,
    /// Write all figures here as JSON; rows that are there already and are not made now are kept
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the page here
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// A sentence for the page about how these rows were made
    #[arg(long)]
    note: Option<String>,
    /// Kill nothing: make the page of these rows, which --json wrote
    #[arg(long)]
    render: Vec<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    let arguments = Arguments::parse();
    if !arguments.render.is_empty() {
        return render(&arguments.render, arguments.markdown.as_deref(), arguments.note.as_deref());
    }
    let folder = arguments.folder.clone().unwrap_or_else(|| std::env::temp_dir().join("nanoclaw-kill"));
    std::fs::create_dir_all(&folder)?;
    let program = arguments.program.clone().context("--program is missing")?;
    let program = program.canonicalize().context("there is no such program under test")?;
    let interrupted = interruption()?;
    tokio::select! {
        made = make(&program, &folder, &arguments) => made,
        // What runs is dropped with the work, and killed by that.
        signal = interrupted => {
            eprintln!("ended by {signal}; homes are left in {}", folder.display());
            Ok(std::process::ExitCode::from(2))
        }
    }
}

/// Waits for a signal that ends programs: the hosts and daemons must end with this one, whose group they are not in.
fn interruption() -> anyhow::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let [mut interrupt, mut terminate, mut hang_up] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
            _ = hang_up.recv() => "SIGHUP",
        }
    })
}

/// What is asked for, for one runtime.
fn plan(on: On, program: &Path, folder: &Path, arguments: &Arguments) -> Plan {
    let full = Plan::full(on, program.to_owned(), folder.to_owned());
    Plan {
        groups: arguments.groups,
        messages: arguments.messages,
        due_times: arguments.due_times,
        cap: arguments.cap,
        kills: arguments.kills.unwrap_or(full.kills),
        points: arguments.point.clone(),
        passings: arguments.passings.unwrap_or(full.passings),
        seed: arguments.seed,
        keep: arguments.keep,
        ..full
    }
}

/// Makes the rows that are asked for.
async fn make(program: &Path, folder: &Path, arguments: &Arguments) -> anyhow::Result<std::process::ExitCode> {
    let mut card = match &arguments.json {
        Some(path) if path.exists() => serde_json::from_str(&std::fs::read_to_string(path)?)?,
        _ => kill::scorecard(&plan(On::Sandbox, program, folder, arguments)),
    };
    let runtimes = match arguments.runtime.is_empty() {
        true => vec![On::Sandbox, On::Docker],
        false => arguments.runtime.clone(),
    };
    for on in runtimes {
        let plan = plan(on, program, folder, arguments);
        let mut engine = match on {
            On::Sandbox => None,
            On::Docker => Some(Engine::start(&plan.folder.join("engine"), &plan.program).await?),
        };
        for fault in faults(&arguments.fault).into_iter().filter(|fault| fault.exists_on(on)) {
            eprintln!("{} on {on}", fault.describe());
            let row = kill::row(&plan, on, fault, &mut engine, &|line| eprintln!("  {line}")).await?;
            eprintln!(
                "  {} kills in {:.0} s, {}",
                row.kills,
                row.seconds,
                if row.is_clean() { "clean" } else { "NOT CLEAN" }
            );
            card.add(row);
            write(&card, arguments.json.as_deref(), arguments.markdown.as_deref(), arguments.note.as_deref())?;
        }
        if let Some(engine) = engine {
            engine.stop().await?;
        }
    }
    Ok(show(&card))
}

/// The rows of several runs as one page.
fn render(files: &[PathBuf], page: Option<&Path>, note: Option<&str>) -> anyhow::Result<std::process::ExitCode> {
    let mut all: Option<Scorecard> = None;
    for file in files {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let card: Scorecard = serde_json::from_str(&text)?;
        match &mut all {
            Some(all) => card.rows.into_iter().for_each(|row| all.add(row)),
            None => all = Some(card),
        }
    }
    let all = all.unwrap_or_default();
    write(&all, None, page, note)?;
    Ok(show(&all))
}

fn show(card: &Scorecard) -> std::process::ExitCode {
    println!("{}", card.table());
    for row in &card.rows {
        for trouble in &row.troubles {
            println!("{} on {}: {trouble}", row.fault.describe(), row.runtime);
        }
    }
    u8::from(!card.is_clean()).into()
}

fn faults(named: &[Fault]) -> Vec<Fault> {
    use Fault::{Channel, Containers, Disk, Engine, Failpoints, Freeze, Kill, Restart, TaskFailpoints, TaskKill};
    match named {
        [] => vec![Failpoints, Kill, Restart, Containers, Engine, Disk, Channel, Freeze, TaskFailpoints, TaskKill],
        some => some.to_vec(),
    }
}

/// After each row, so that an hour's work does not hang on the last one.
fn write(card: &Scorecard, json: Option<&Path>, page: Option<&Path>, note: Option<&str>) -> anyhow::Result<()> {
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(card)?)?;
    }
    if let Some(path) = page {
        std::fs::write(path, card.markdown(note))?;
    }
    Ok(())
}
