//! `nanoclaw sessions`: the conversations of groups, what they take, and which one a chat goes on with.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use nanoclaw_core::{session::SessionName, time::Timestamp};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns},
};
use crate::{
    admin::{SessionView, SessionWish},
    home::Home,
    transcripts::{self, Transcript},
};

/// What can be done with sessions.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A group's chat goes on with one conversation at a time; `/session NAME` in the chat, or `use` here,
has it go on with another. A task with a conversation of its own has one called task:ID.

A transcript is what the agent itself has written of a conversation, as lines of JSON. Messages and
answers are kept by the host besides. None of these commands touches them, nor the group's folder
with its memory.

Examples:
  nanoclaw sessions list                       all, with their size and age
  nanoclaw sessions use family trip            the chat of family goes on with the conversation trip
  nanoclaw sessions reset family               its next message begins a new one
  nanoclaw sessions export family --to f.jsonl its transcript
  nanoclaw sessions delete family trip         the conversation and its transcript are gone")]
pub(super) enum SessionsCommand {
    /// List the conversations of all groups, or of one
    List {
        /// The group's folder, or its chat id
        group: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one conversation, and where its transcript is
    Show {
        #[command(flatten)]
        which: Which,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a chat go on with the conversation of this name, or begin it
    Use {
        /// The group's folder, or its chat id
        group: String,
        /// A word of letters, digits, - and _
        name: String,
    },
    /// Have a conversation begin anew; its transcript stays
    Reset {
        #[command(flatten)]
        which: Which,
    },
    /// Have a conversation begin anew and remove its transcript
    Delete {
        /// The group's folder, or its chat id
        group: String,
        /// Its name
        name: String,
        /// Do it; without this it is only said what would be removed
        #[arg(long)]
        yes: bool,
    },
    /// Write out a conversation's transcript
    Export {
        #[command(flatten)]
        which: Which,
        /// The file, which must not be there yet; else it is printed
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

/// Names a conversation.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The group's folder, or its chat id
    group: String,
    /// Its name; else the one with which the chat goes on
    name: Option<String>,
}

/// A conversation with what is on the disk of it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    view: SessionView,
    /// Bytes of its transcript; none when there is none, or it cannot be looked at.
    bytes: Option<u64>,
    /// When it was last written to.
    changed_at_ms: Option<Timestamp>,
    /// Where its transcript is.
    transcripts: Vec<PathBuf>,
    #[serde(skip)]
    files: Vec<Transcript>,
}

pub(super) async fn run(command: SessionsCommand, place: &Place) -> anyhow::Result<()> {
    let home = place.home()?;
    let (asked, config) = place.open().await?;
    let zone = &config.time.zone.value;
    match command {
        SessionsCommand::List { group, json } => {
            let views = asked.sessions(group.as_deref()).await?;
            let all = views.into_iter().map(|view| shown(&home, view)).collect::<anyhow::Result<Vec<_>>>()?;
            if json { output::json(&all) } else { list(&all, zone) }
        }
        SessionsCommand::Show { which, json } => {
            let one = find(&home, asked.sessions(Some(&which.group)).await?, which.name.as_deref())?;
            if json { output::json(&one) } else { show(&one, zone) }
        }
        SessionsCommand::Use { group, name } => {
            let name = SessionName::said(&name)?;
            let views = asked.change_session(&group, SessionWish::Use(name.clone())).await?;
            let begins = views.iter().any(|view| view.current && view.session.is_none());
            let how = if begins { "begins with its next message" } else { "goes on with its next message" };
            Ok(output::line(format!("In {BOLD}{}{BOLD:#} the conversation {name} {how}.", whose(&views, &group)))?)
        }
        SessionsCommand::Reset { which } => {
            let one = find(&home, asked.sessions(Some(&which.group)).await?, which.name.as_deref())?;
            asked.change_session(&which.group, SessionWish::Reset(one.view.name.clone())).await?;
            Ok(output::line(format!("{BOLD}{}{BOLD:#} begins anew.", one.view.name))?)
        }
        SessionsCommand::Delete { group, name, yes } => {
            let one = find(&home, asked.sessions(Some(&group)).await?, Some(&name))?;
            let what = match one.files.as_slice() {
                [] => "It has no transcript.".to_owned(),
                files => files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join("\n"),
            };
            if !yes {
                output::line(format!(
                    "This would end the conversation {BOLD}{name}{BOLD:#} for good and remove\n{what}"
                ))?;
                return Ok(output::line("Nothing is done yet; `--yes` does it.")?);
            }
            asked.change_session(&group, SessionWish::Reset(name.clone())).await?;
            for file in &one.files {
                file.remove().with_context(|| format!("cannot remove {}", file.path.display()))?;
            }
            Ok(output::line(format!("{BOLD}{name}{BOLD:#} is gone.\n{what}"))?)
        }
        SessionsCommand::Export { which, to } => {
            let one = find(&home, asked.sessions(Some(&which.group)).await?, which.name.as_deref())?;
            let Some(file) = one.files.iter().max_by_key(|file| file.changed) else {
                anyhow::bail!("the conversation {} has no transcript", one.view.name);
            };
            export(file, to.as_deref())
        }
    }
}

fn export(file: &Transcript, to: Option<&Path>) -> anyhow::Result<()> {
    let mut from = file.open().with_context(|| format!("cannot read {}", file.path.display()))?;
    let Some(to) = to else {
        let mut out = io::stdout().lock();
        return match io::copy(&mut from, &mut out).and_then(|_| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        };
    };
    let refused = || format!("cannot write {}", to.display());
    // It is what people said: for nobody else.
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).with_context(refused)?;
    let bytes = io::copy(&mut from, &mut new).with_context(refused)?;
    new.sync_all().with_context(refused)?;
    Ok(output::line(format!("{} has the transcript now, {}.", to.display(), output::size(bytes)))?)
}

fn find(home: &Home, views: Vec<SessionView>, name: Option<&str>) -> anyhow::Result<Shown> {
    let whose = views.first().map(|view| view.group.clone());
    let wanted = |view: &SessionView| name.map_or(view.current, |name| view.name.eq_ignore_ascii_case(name));
    match views.into_iter().find(wanted) {
        Some(view) => shown(home, view),
        None => {
            let group = whose.map_or_else(String::new, |group| group.to_string());
            anyhow::bail!(
                "the group {group} has no conversation {}; `nanoclaw sessions list {group}` shows them",
                name.unwrap_or("yet")
            )
        }
    }
}

fn shown(home: &Home, view: SessionView) -> anyhow::Result<Shown> {
    let files = match &view.session {
        None => Vec::new(),
        // What is somebody else's cannot be looked at; all the rest can be told.
        Some(session) => match transcripts::find(&home.sessions(&view.group), session) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
            found => found.with_context(|| format!("cannot look for the transcript of {}", view.name))?,
        },
    };
    Ok(Shown {
        view,
        bytes: (!files.is_empty()).then(|| files.iter().map(|file| file.bytes).sum()),
        changed_at_ms: files.iter().map(|file| file.changed).max(),
        transcripts: files.iter().map(|file| file.path.clone()).collect(),
        files,
    })
}

fn whose(views: &[SessionView], asked: &str) -> String {
    views.first().map_or_else(|| asked.to_owned(), |view| view.group.to_string())
}

fn list(all: &[Shown], zone: &TimeZone) -> anyhow::Result<()> {
    if all.is_empty() {
        return Ok(output::line("There are no groups yet; `nanoclaw groups add` adds one.")?);
    }
    let now = Timestamp::now();
    let mut columns = Columns::new(["GROUP", "CONVERSATION", "STATE", "SIZE", "LAST WRITTEN", "SESSION"]);
    for Shown { view, bytes, changed_at_ms, .. } in all {
        let state = match (view.current, &view.session) {
            (true, Some(_)) => "current",
            (true, None) => "current, not begun",
            (false, _) => "aside",
        };
        columns.row([
            view.group.to_string(),
            view.name.clone(),
            if view.name.starts_with("task:") { "of a task".to_owned() } else { state.to_owned() },
            bytes.map_or_else(|| "-".to_owned(), output::size),
            changed_at_ms.map_or_else(|| "-".to_owned(), |at| output::short_time(at, now, zone)),
            view.session.as_ref().map_or_else(|| "-".to_owned(), |session| output::shortened(session.as_str(), 36)),
        ]);
    }
    Ok(columns.print()?)
}

fn show(one: &Shown, zone: &TimeZone) -> anyhow::Result<()> {
    let Shown { view, bytes, changed_at_ms, transcripts, .. } = one;
    output::line(format!("{BOLD}{}{BOLD:#}", view.name))?;
    let mut facts = vec![("group", view.group.to_string())];
    facts.push(("current", if view.current { "yes" } else { "no" }.to_owned()));
    match &view.session {
        Some(session) => facts.push(("session", session.to_string())),
        None => facts.push(("session", "none: it begins with the next message".to_owned())),
    }
    if let Some(bytes) = bytes {
        facts.push(("size", output::size(*bytes)));
    }
    if let Some(at) = changed_at_ms {
        facts.push(("written", output::time(*at, zone)));
    }
    facts.extend(transcripts.iter().map(|path| ("transcript", path.display().to_string())));
    for (label, value) in facts {
        output::line(format!("  {label:<12}{}", output::hanging(&output::clean(&value), 14)))?;
    }
    Ok(())
}
