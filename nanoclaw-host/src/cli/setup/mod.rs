//! `nanoclaw setup`: everything, step by step, until a message is answered. What each step does is done by what the other commands use.

mod act;
mod ask;
mod look;
mod tell;

use std::{
    io::{IsTerminal as _, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use self::{
    act::{Acted, Actor},
    ask::{Reply, WhatNow},
    look::Looker,
    tell::Teller,
};
use super::{Place, auth::terminal::asked_to_end, failure::with_help};
use crate::{
    config::ProcessEnvironment,
    setup::{
        Answers, Found, Given, Key, Next, Origin, Outcome, Outline, Question, Step, Trouble, Walk, Way,
        answers::Mistake, decide,
    },
};

/// What `setup` can be told.
#[derive(Debug, clap::Args)]
#[command(
    long_about = "Set everything up, step by step, until a message is answered\n\nThe steps: machine, runtime, image, \
    credential, channel, assistant, main-group, service, message.\nWhat is done already is found and not asked again, so setup can \
    be ended and begun again at any time.\nOn a terminal it asks; with --non-interactive it takes answers from flags, from variables \
    NANOCLAW_SETUP_…,\nand from a file, and safe defaults for the rest.",
    after_long_help = "\
Answers come from a flag, else from the variable NANOCLAW_SETUP_<NAME>, else from the file of --answers. Secrets
have no flag, since every user of the machine could read it: NANOCLAW_SETUP_ANTHROPIC_API_KEY, or a line
`anthropic_api_key = \"…\"` in the file, which nobody else may be able to read; `--answers -` reads standard input.

Examples:
  nanoclaw setup
  nanoclaw setup --again credential
  nanoclaw setup --plan                               what would be done, and nothing is
  nanoclaw setup --non-interactive --name Bea --service no
  pass show nanoclaw | nanoclaw setup --non-interactive --answers -"
)]
pub(super) struct SetupArgs {
    /// Ask nothing: take answers from flags, environment and file, and safe defaults for the rest
    #[arg(long)]
    non_interactive: bool,
    /// A TOML file of answers, such as `channel = "telegram"`; `-` is standard input
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Leave these steps out
    #[arg(long, value_name = "STEP,…", value_delimiter = ',', conflicts_with = "only")]
    skip: Vec<Step>,
    /// Take these steps alone
    #[arg(long, value_name = "STEP,…", value_delimiter = ',')]
    only: Vec<Step>,
    /// Do these steps although they are done
    #[arg(long, value_name = "STEP,…", value_delimiter = ',')]
    again: Vec<Step>,
    /// Show what would be done, and change nothing
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// Print JSON; asks nothing
    #[arg(long)]
    json: bool,
    /// auto, docker, podman or sandbox
    #[arg(long, value_name = "WORD", help_heading = "Answers")]
    runtime: Option<String>,
    /// The image that is built where an engine has none: local (on a Debian that it has), slim, full, later
    #[arg(long, value_name = "WORD", help_heading = "Answers")]
    image: Option<String>,
    /// What it is built on: an image's name, a root file system as a tar file, or its folder
    #[arg(long, value_name = "BASE", help_heading = "Answers")]
    base: Option<String>,
    /// api-key, token, bearer, later; login on a terminal
    #[arg(long, value_name = "WORD", help_heading = "Answers")]
    credential: Option<String>,
    /// local, telegram, slack, discord or whatsapp
    #[arg(long, value_name = "WORD", help_heading = "Answers")]
    channel: Option<String>,
    /// The assistant's name
    #[arg(long, value_name = "NAME", help_heading = "Answers")]
    name: Option<String>,
    /// The owner's chat: local, pair (by a code), later, or its id, such as tg:12345
    #[arg(long, value_name = "CHAT", help_heading = "Answers")]
    main_chat: Option<String>,
    /// install or no
    #[arg(long, value_name = "WORD", help_heading = "Answers")]
    service: Option<String>,
    /// What is said to the assistant in the end
    #[arg(long, value_name = "TEXT", help_heading = "Answers")]
    message: Option<String>,
}

/// The person, or the system, asked the program to end.
#[derive(Debug, thiserror::Error)]
#[error("stopped")]
struct Stopped;

/// The code of a program that an interrupt ended.
const INTERRUPTED: u8 = 130;

pub(super) async fn run(args: SetupArgs, place: &Place) -> anyhow::Result<ExitCode> {
    let answers = gather(&args)?;
    let interactive = !(args.non_interactive || args.json || args.plan);
    if interactive && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(with_help(
            "setup asks its questions on a terminal, and there is none",
            "--non-interactive takes the answers from flags, environment or file, and safe defaults for the rest; --plan shows what it would do",
        ));
    }
    let steps: Vec<Step> = Step::ALL
        .into_iter()
        .filter(|step| !args.skip.contains(step) && (args.only.is_empty() || args.only.contains(step)))
        .collect();
    let (home, teller) = (place.home()?, Teller { json: args.json });
    if !interactive {
        let outline = outline(place, &args, &steps, &answers).await?;
        if args.plan {
            return tell::plan(&outline, &home, args.json);
        }
        if !outline.missing.is_empty() {
            return Err(missing(&outline.missing));
        }
    }
    let stop = CancellationToken::new();
    let ending = asked_to_end()?;
    let told = stop.clone();
    tokio::spawn(async move {
        ending.await;
        told.cancel();
    });
    let mut setup = Setup {
        walk: Walk::new(steps, args.again.iter().copied()),
        looker: Looker::new(place, home.clone(), true),
        actor: Actor { place, home: home.clone(), teller, stop: stop.clone() },
        interactive,
        answers,
        said: None,
    };
    match setup.go().await {
        Ok(()) => tell::summary(&setup.walk, setup.said.as_deref(), &home, teller),
        Err(error) if error.is::<Stopped>() || error.is::<super::auth::terminal::Interrupted>() => {
            teller.aside("Stopped. What is done stays; `nanoclaw setup` goes on from there.");
            Ok(ExitCode::from(INTERRUPTED))
        }
        Err(error) => Err(error),
    }
}

/// One run of it.
struct Setup<'a> {
    walk: Walk,
    looker: Looker<'a>,
    actor: Actor<'a>,
    interactive: bool,
    answers: Answers,
    /// What the assistant answered.
    said: Option<String>,
}

impl Setup<'_> {
    async fn go(&mut self) -> anyhow::Result<()> {
        'steps: while let Some(step) = self.walk.step() {
            self.actor.teller.heading(self.walk.position(), step)?;
            let choosing = self.walk.is_again() || self.answers.meant(Key::Runtime).is_some();
            let looked = tokio::select! {
                looked = self.looker.look(step, choosing) => looked?,
                () = self.actor.stop.cancelled() => return Err(Stopped.into()),
            };
            let outcome = loop {
                let way = Way {
                    again: self.walk.is_again(),
                    interactive: self.interactive,
                    changed: self.walk.has_changed(),
                };
                match decide(&looked, &self.answers, way) {
                    Next::Ask(question) => {
                        if !self.answer(&question).await? {
                            continue 'steps;
                        }
                    }
                    Next::Done(words) => break Outcome::Found(words),
                    Next::Left(left) => break Outcome::Left(left),
                    Next::Cannot(trouble) => break Outcome::Failed(trouble),
                    Next::Do(action) => {
                        let acted = self.actor.act(&action, &self.answers).await;
                        self.looker.forget();
                        match acted? {
                            Acted::Done(words) => break Outcome::Done(words),
                            Acted::Answered { words, answer } => {
                                self.said = Some(answer);
                                break Outcome::Done(words);
                            }
                            Acted::Failed(trouble) => break Outcome::Failed(trouble),
                        }
                    }
                }
            };
            self.actor.teller.outcome(&outcome)?;
            if matches!(outcome, Outcome::Failed(_)) {
                if !self.interactive {
                    self.walk.finish(outcome);
                    return Ok(());
                }
                match ask::what_now(&self.actor.stop).await? {
                    WhatNow::Again => {
                        self.walk.retry(&mut self.answers);
                        continue;
                    }
                    WhatNow::Later => {}
                    WhatNow::Stop => return Err(Stopped.into()),
                }
            }
            self.walk.finish(outcome);
        }
        Ok(())
    }

    /// Has a question answered; false when somebody went back instead.
    async fn answer(&mut self, question: &Question) -> anyhow::Result<bool> {
        if !self.interactive {
            let default = question.default.as_deref().ok_or_else(|| missing(std::slice::from_ref(question)))?;
            let given = Given::Word(default.to_owned());
            self.answers.give(question.key, given, Origin::Default);
            return Ok(true);
        }
        match ask::ask(question, &self.actor.stop).await? {
            Reply::Given(given) => {
                self.answers.give(question.key, given, Origin::Person);
                self.walk.asked(question.key);
                Ok(true)
            }
            Reply::Back if self.walk.back(&mut self.answers) => Ok(false),
            Reply::Back => {
                self.actor.teller.aside("This is the first question.");
                Ok(false)
            }
        }
    }
}

/// All steps beforehand.
async fn outline(place: &Place, args: &SetupArgs, steps: &[Step], answers: &Answers) -> anyhow::Result<Outline> {
    let mut looker = Looker::new(place, place.home()?, false).with_runtime(answers.meant(Key::Runtime));
    let mut found = Vec::new();
    for step in steps {
        let looked = looker.look(*step, false).await?;
        let unfit = matches!(&looked, Found::Machine { troubles, .. } if !troubles.is_empty());
        found.push((*step, looked));
        // What comes after stands on it.
        if unfit {
            break;
        }
    }
    Ok(Outline::of(&found, answers, |step| args.again.contains(&step)))
}

/// The answers of all sources.
fn gather(args: &SetupArgs) -> anyhow::Result<Answers> {
    let flags = [
        (Key::Runtime, &args.runtime),
        (Key::Image, &args.image),
        (Key::Base, &args.base),
        (Key::Credential, &args.credential),
        (Key::Channel, &args.channel),
        (Key::Name, &args.name),
        (Key::MainChat, &args.main_chat),
        (Key::Service, &args.service),
        (Key::Message, &args.message),
    ];
    let flags: Vec<(Key, &str)> = flags.iter().filter_map(|(key, text)| Some((*key, text.as_deref()?))).collect();
    let text = args.answers.as_deref().map(read).transpose()?;
    let file = args.answers.as_deref().zip(text.as_ref()).map(|(path, text)| (path, text.as_str()));
    let mut mistakes = Vec::new();
    let answers = Answers::gather(&flags, &ProcessEnvironment, file, &mut mistakes);
    if let Some(path) = args.answers.as_deref().filter(|path| *path != Path::new("-"))
        && answers.has_secret_of_a_file()
        && std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0)
    {
        let shown = path.display();
        let message = format!("it has a secret in it, and others can read it; run `chmod 600 {shown}`");
        mistakes.push(Mistake { place: shown.to_string(), message });
    }
    match mistakes.as_slice() {
        [] => Ok(answers),
        [only] => Err(with_help(format!("a mistake in the answers: {only}"), "correct it; nothing was changed")),
        all => {
            let lines: Vec<String> = all.iter().map(|mistake| format!("\n  {mistake}")).collect();
            let what = format!("{} mistakes in the answers:{}", all.len(), lines.concat());
            Err(with_help(what, "correct them all; nothing was changed"))
        }
    }
}

/// Longer than any file of answers.
const LONGEST_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let read = if path == Path::new("-") {
        std::io::stdin().take(LONGEST_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LONGEST_BYTES).read_to_string(&mut text))
    };
    read.map_err(|error| {
        with_help(
            format!("the answers in {} cannot be read: {error}", path.display()),
            "--answers names a TOML file, or - for standard input",
        )
    })?;
    Ok(text)
}

fn missing(questions: &[Question]) -> anyhow::Error {
    let lines: Vec<String> =
        questions.iter().map(|question| format!("\n  {}: by {}", question.key.name(), question.key.ways())).collect();
    let what = match questions.len() {
        1 => "an answer is missing:".to_owned(),
        many => format!("{many} answers are missing:"),
    };
    with_help(
        format!("{what}{}", lines.concat()),
        "give them, or leave their steps out with --skip; nothing was changed",
    )
}

/// The failure as what happened and what to do.
fn trouble(error: &anyhow::Error) -> Trouble {
    let help = super::failure::help(error).unwrap_or_else(|| "`nanoclaw doctor` looks further".to_owned());
    Trouble { what: format!("{error:#}"), help }
}
