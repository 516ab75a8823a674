//! `nanoclaw import`: moves in from NanoClaw v1. Shows what becomes of everything first, and asks.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use nanoclaw_core::{group::TriggerPolicy, time::Timestamp};
use serde::Serialize;

use super::{
    Place,
    failure::with_help,
    output::{self, BOLD, Columns, DIM, YELLOW},
};
use crate::{
    config::{Environment as _, ProcessEnvironment},
    home::{HomeLock, LockError, initialise},
    import::{Destination, GroupRow, Here, Plan, PlanView, Rules, State, Step, read::read},
    stores::sqlite::SqliteStore,
};

/// What `import` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Move in from NanoClaw v1\n\nReads the folder that NanoClaw v1 was run from, shows what becomes of everything in it, and asks. Nothing in \
    the folder is changed. Stop v1 first, and our service. It can be done again: what is here already stays as it is, and an import that was interrupted is \
    completed.",
    after_long_help = "\
Examples:
  nanoclaw import ~/nanoclaw --dry-run     what would be imported, and what cannot be
  nanoclaw import ~/nanoclaw               the same, then asks, then imports

docs/moving-in.md says what becomes of what."
)]
pub(super) struct ImportArgs {
    /// The folder of NanoClaw v1: the one with store/messages.db, groups/ and data/
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Import without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show the plan, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// What v1 had not answered is answered here if it is no older than this
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = within)]
    answer_within: Duration,
    /// Print JSON; imports only with --yes
    #[arg(long)]
    json: bool,
}

fn within(text: &str) -> Result<Duration, String> {
    let span = text.parse::<jiff::SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.ok_or_else(|| "it is a time such as 30m, 1h or 2d 12h".to_owned())
}

/// The plan, and whether it was carried out.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    imported: bool,
    #[serde(flatten)]
    plan: &'a PlanView,
}

pub(super) async fn run(args: ImportArgs, place: &Place) -> anyhow::Result<()> {
    let home = place.home()?;
    let environment = ProcessEnvironment;
    // Where v1 looks, whatever XDG_CONFIG_HOME says.
    let private = environment.get("HOME").map(|user| PathBuf::from(user).join(".config/nanoclaw"));
    let v1 = read(&args.folder, private.as_deref()).await?;

    let config = place.config(&home)?;
    // Held until the end: what is planned is so when it is done.
    let mut lock = if home.exists() { Some(HomeLock::acquire(&home).map_err(in_use)?) } else { None };
    let mut store = match lock.is_some() && home.database().exists() {
        true => Some(SqliteStore::open(&home.database()).await?),
        false => None,
    };
    let here = Here::of(&home, &config, store.as_ref(), &v1).await?;
    let rules = Rules { now: Timestamp::now(), answer_within: args.answer_within };
    let Plan { view, steps } = Plan::of(&v1, &here, &rules);
    if !args.json {
        show(&view)?;
    }
    let wanted = !steps.is_empty() && !args.dry_run && (args.yes || (!args.json && confirmed()?));
    if wanted {
        initialise(&home)?;
        if lock.is_none() {
            lock = Some(HomeLock::acquire(&home).map_err(in_use)?);
        }
        let store = match &store {
            Some(store) => store,
            None => store.insert(SqliteStore::open(&home.database()).await?),
        };
        take(&steps, &Destination { home: &home, store, environment: &environment }).await?;
    }
    if let Some(store) = &store {
        store.close().await;
    }
    drop(lock);
    if args.json {
        return output::json(&Shown { imported: wanted, plan: &view });
    }
    Ok(output::line(match (steps.is_empty(), wanted) {
        (true, _) => "\nThere is nothing to do: what can be imported is here.".to_owned(),
        (false, false) => "\nNothing was changed.".to_owned(),
        (false, true) => format!(
            "\n{BOLD}Imported.{BOLD:#} {}",
            output::hanging(
                "`nanoclaw doctor` says what works here, `nanoclaw run` starts the service. Leave NanoClaw v1 stopped: two programs with \
                 one account take each other's messages.",
                0
            )
        ),
    })?)
}

fn in_use(error: LockError) -> anyhow::Error {
    match &error {
        LockError::Held { pid, home } => {
            let pid = pid.map(|pid| format!(", or end process {pid}")).unwrap_or_default();
            with_help(
                format!("the service runs on {}, and a home is imported into while it does not", home.display()),
                format!("stop it (`nanoclaw service stop`{pid}), import, and start it again"),
            )
        }
        LockError::Failed { .. } => error.into(),
    }
}

/// Takes the steps, one after the other.
async fn take(steps: &[Step], into: &Destination<'_>) -> anyhow::Result<()> {
    let terminal = output::stderr_is_terminal();
    for (number, step) in steps.iter().enumerate() {
        if terminal {
            output::rewrite(&format!("{}/{} {}", number + 1, steps.len(), step.describe()));
        }
        let taken = step.take(into).await;
        if terminal && (taken.is_err() || number + 1 == steps.len()) {
            output::rewrite("");
        }
        taken?;
        #[cfg(feature = "failpoints")]
        crate::failpoints::kill_after_step(number + 1);
    }
    Ok(())
}

/// Asks on the terminal; where there is none, nobody agrees.
fn confirmed() -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        output::line("\nThere is no terminal to ask on; --yes imports.")?;
        return Ok(false);
    }
    let mut out = std::io::stdout().lock();
    write!(out, "\nImport? [y/N] ").and_then(|()| out.flush())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

fn show(plan: &PlanView) -> anyhow::Result<()> {
    let (from, home) = (plan.from.display(), plan.home.display());
    output::line(output::clean(&format!("NanoClaw v1 at {from}, into the home {home}:\n")))?;
    groups(plan)?;
    tasks(plan)?;
    others(plan)?;
    what_is_left(plan)?;
    Ok(output::line(format!("\n{}", output::hanging(&plan.rule(), 0)))?)
}

fn word(state: State) -> String {
    match state {
        State::New => "new",
        State::Here => "here",
        State::Left => "not taken",
    }
    .to_owned()
}

fn groups(plan: &PlanView) -> anyhow::Result<()> {
    if plan.groups.is_empty() {
        return Ok(output::line("There are no groups.")?);
    }
    let mut columns =
        Columns::new(["GROUP", "CHAT", "WAKES ON", "MESSAGES", "TO ANSWER", "SESSION", "TASKS", "FILES", ""]);
    for row in &plan.groups {
        let GroupRow { folder, answered, said, to_answer, context, .. } = row;
        let tasks = plan.tasks.iter().filter(|task| task.group == *folder && task.state != State::Left).count();
        let shown_folder = if row.main { format!("{folder} (main)") } else { folder.clone() };
        columns.row([
            shown_folder,
            row.chat.clone(),
            match &row.trigger {
                None => String::new(),
                Some(TriggerPolicy::Always) => "every message".to_owned(),
                Some(TriggerPolicy::AssistantName) => "its name".to_owned(),
                Some(TriggerPolicy::Words(words)) => words.clone(),
            },
            (answered + said + to_answer + context).to_string(),
            to_answer.to_string(),
            if row.session.is_some() { "goes on" } else { "" }.to_owned(),
            tasks.to_string(),
            if row.files > 0 { format!("{}, {}", row.files, output::size(row.bytes)) } else { String::new() },
            word(row.state),
        ]);
    }
    Ok(columns.print()?)
}

fn tasks(plan: &PlanView) -> anyhow::Result<()> {
    if plan.tasks.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let mut columns = Columns::new(["TASK", "GROUP", "SCHEDULE", "DUE NEXT", "RUNS", ""]);
    for row in &plan.tasks {
        let due = match (&row.next_due, row.status) {
            (Some(due), _) => due.clone(),
            (None, Some(status)) => status.word().to_owned(),
            (None, None) => String::new(),
        };
        let prompt = output::shortened(&row.prompt, 32);
        columns.row([prompt, row.group.clone(), row.schedule.clone(), due, row.runs.to_string(), word(row.state)]);
    }
    Ok(columns.print()?)
}

fn others(plan: &PlanView) -> anyhow::Result<()> {
    if !plan.settings.is_empty() || !plan.secrets.is_empty() {
        output::line("")?;
        let mut columns = Columns::new(["FROM .env", "BECOMES", ""]);
        for row in plan.settings.iter().chain(&plan.secrets) {
            columns.row([row.name.clone(), row.becomes.clone(), word(row.state)]);
        }
        columns.print()?;
    }
    if !plan.lists.is_empty() {
        output::line("")?;
        let mut columns = Columns::new(["LIST", ""]);
        for row in &plan.lists {
            columns.row([row.path.display().to_string(), word(row.state)]);
        }
        columns.print()?;
    }
    if plan.chats > 0 {
        output::line(format!("\nChats that were seen, and are noted with their names: {}.", plan.chats))?;
    }
    Ok(())
}

fn what_is_left(plan: &PlanView) -> anyhow::Result<()> {
    let groups = plan.groups.iter().filter_map(|row| Some((format!("the group {}", row.folder), row.why.as_ref()?)));
    let tasks =
        plan.tasks.iter().filter_map(|row| Some((format!("the task {} of {}", row.id, row.group), row.why.as_ref()?)));
    let named = plan.settings.iter().chain(&plan.secrets);
    let named = named.filter_map(|row| Some((row.name.clone(), row.why.as_ref()?)));
    let mut all: Vec<(String, Option<String>)> =
        groups.chain(tasks).chain(named).map(|(what, why)| (format!("{what}: {why}"), None)).collect();
    all.extend(plan.left.iter().map(|left| (left.what.clone(), left.help.clone())));
    if all.is_empty() {
        return Ok(());
    }
    output::line(format!("\n{YELLOW}Not as it was:{YELLOW:#}"))?;
    for (what, help) in all {
        output::line(format!("- {}", output::hanging(&output::clean(&what), 2)))?;
        if let Some(help) = help {
            output::line(format!("  {DIM}{}{DIM:#}", output::hanging(&output::clean(&help), 2)))?;
        }
    }
    Ok(())
}
