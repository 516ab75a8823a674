//! What is shown: each step as it goes, the plan, and how everything stands in the end.

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    cli::output::{self, BOLD, DIM, GREEN, OutputError, RED, YELLOW},
    config::{ProcessEnvironment, private_folder},
    home::Home,
    setup::{Intent, Left, Outcome, Outline, Step, Trouble, Walk},
};

/// Tells on standard output, or with `--json` on standard error, where programs look for nothing.
#[derive(Clone, Copy)]
pub(super) struct Teller {
    pub(super) json: bool,
}

impl Teller {
    pub(super) fn heading(self, (at, of): (usize, usize), step: Step) -> Result<(), OutputError> {
        self.line(&format!("{BOLD}{at}/{of} {}{BOLD:#} {DIM}({step}){DIM:#}", step.title()))
    }

    pub(super) fn line(self, text: &str) -> Result<(), OutputError> {
        if self.json {
            output::styled_step(text);
            return Ok(());
        }
        output::line(text)
    }

    /// Something on the way.
    pub(super) fn aside(self, text: &str) {
        output::note(&output::hanging(text, 0));
    }

    pub(super) fn outcome(self, outcome: &Outcome) -> Result<(), OutputError> {
        let hung = |text: &str| output::hanging(&output::clean(text), 2);
        match outcome {
            Outcome::Found(words) => self.line(&format!("  {DIM}{}{DIM:#}", hung(words))),
            Outcome::Done(words) => self.line(&format!("  {GREEN}{}{GREEN:#}", hung(words))),
            Outcome::Left(Left { why, commands }) => {
                self.line(&format!("  {YELLOW}{}{YELLOW:#}", hung(why)))?;
                self.line(&format!("  {}", hung(&format!("later: {}", of_commands(commands)))))
            }
            Outcome::Failed(Trouble { what, help }) => {
                self.line(&format!("  {RED}{}{RED:#}", hung(what)))?;
                self.line(&format!("  {}", hung(&format!("help: {help}"))))
            }
        }
    }
}

fn of_commands(commands: &[&str]) -> String {
    commands.iter().map(|command| format!("`{command}`")).collect::<Vec<_>>().join(", or ")
}

/// A step, for programs.
#[derive(Debug, Serialize)]
struct Row {
    step: &'static str,
    /// `done` (before), `changed` (now), `would` (by a plan), `left`, `failed`.
    outcome: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<&'static str>,
}

impl Row {
    fn new(step: Step, outcome: &'static str, detail: String) -> Self {
        Self { step: step.name(), outcome, detail, help: None, commands: Vec::new() }
    }

    fn left(step: Step, left: &Left) -> Self {
        Self { commands: left.commands.clone(), ..Self::new(step, "left", left.why.clone()) }
    }

    fn failed(step: Step, trouble: &Trouble) -> Self {
        Self { help: Some(trouble.help.clone()), ..Self::new(step, "failed", trouble.what.clone()) }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    home: String,
    steps: Vec<Row>,
    /// The names of the answers that are missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missing: Vec<String>,
    /// What the assistant answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
}

fn code(ok: bool) -> ExitCode {
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shows what would be done.
pub(super) fn plan(outline: &Outline, home: &Home, json: bool) -> anyhow::Result<ExitCode> {
    let row = |(step, intent): &(Step, Intent)| match intent {
        Intent::Done(words) => Row::new(*step, "done", words.clone()),
        Intent::Will(action) => Row::new(*step, "would", action.describe()),
        Intent::Left(left) => Row::left(*step, left),
        Intent::Cannot(trouble) => Row::failed(*step, trouble),
    };
    let steps: Vec<Row> = outline.steps.iter().map(row).collect();
    let missing: Vec<String> = outline.missing.iter().map(|question| question.key.name()).collect();
    let ok = missing.is_empty() && steps.iter().all(|row| row.outcome != "failed");
    if json {
        output::json(&Report { ok, home: home.root().display().to_string(), steps, missing, answer: None })?;
        return Ok(code(ok));
    }
    output::line(format!("With these answers, in the home {BOLD}{}{BOLD:#}:", home.root().display()))?;
    steps.iter().try_for_each(print)?;
    for question in &outline.missing {
        let ways = output::hanging(&format!("{}: by {}", question.key.name(), question.key.ways()), 12);
        output::line(format!("{RED}{:<12}{RED:#}{ways}", "missing"))?;
    }
    output::line("Nothing was changed.")?;
    Ok(code(ok))
}

fn print(row: &Row) -> Result<(), OutputError> {
    let style = match row.outcome {
        "done" | "changed" => GREEN,
        "failed" => RED,
        "left" => YELLOW,
        _ => BOLD,
    };
    let commands = if row.commands.is_empty() { String::new() } else { format!(": {}", of_commands(&row.commands)) };
    let detail = output::hanging(&output::clean(&format!("{}{commands}", row.detail)), 21);
    output::line(format!("{style}{:<8}{style:#} {:<12}{detail}", row.outcome, row.step))?;
    match &row.help {
        Some(help) => output::line(format!("{:21}help: {}", "", output::hanging(&output::clean(help), 27))),
        None => Ok(()),
    }
}

/// Shows how everything stands in the end.
pub(super) fn summary(walk: &Walk, said: Option<&str>, home: &Home, teller: Teller) -> anyhow::Result<ExitCode> {
    let row = |(step, outcome): (Step, &Outcome)| match outcome {
        Outcome::Found(words) => Row::new(step, "done", words.clone()),
        Outcome::Done(words) => Row::new(step, "changed", words.clone()),
        Outcome::Left(left) => Row::left(step, left),
        Outcome::Failed(trouble) => Row::failed(step, trouble),
    };
    let steps: Vec<Row> = walk.outcomes().into_iter().map(row).collect();
    let ok = steps.iter().all(|row| row.outcome != "failed");
    let root = home.root().display().to_string();
    if teller.json {
        output::json(&Report { ok, home: root, steps, missing: Vec::new(), answer: said.map(str::to_owned) })?;
        return Ok(code(ok));
    }
    output::line(format!("\n{BOLD}How it stands{BOLD:#}"))?;
    steps.iter().try_for_each(print)?;
    output::line(format!("\n{BOLD}Where things are{BOLD:#}"))?;
    let credentials =
        private_folder(&ProcessEnvironment).map(|folder| folder.join("credentials").display().to_string());
    for (what, at) in [
        ("home", root),
        ("configuration", home.config_file().display().to_string()),
        ("memory", home.groups().display().to_string()),
        ("credentials", credentials.unwrap_or_else(|| "nowhere: HOME is not set".to_owned())),
        ("log", home.log_file().display().to_string()),
    ] {
        output::line(format!("  {what:<15}{}", output::clean(&at)))?;
    }
    let last = match (ok, said) {
        (false, _) => format!(
            "{RED}It is not done.{RED:#} `nanoclaw setup` goes on where it failed, `nanoclaw doctor` looks further."
        ),
        (true, Some(said)) => {
            let said = output::shortened(&output::clean(said), 200);
            format!("{GREEN}It works.{GREEN:#} You were answered: {}", output::hanging(&said, 0))
        }
        (true, None) => "Nothing was said to the assistant this time; `nanoclaw chat` talks to it.".to_owned(),
    };
    output::line(format!("\n{last}"))?;
    Ok(code(ok))
}
