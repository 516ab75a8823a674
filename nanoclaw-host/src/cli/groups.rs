//! `nanoclaw groups`: shows, adds and removes groups.

pub(super) mod pair;

use jiff::tz::TimeZone;
use nanoclaw_core::{
    chat::{ChatId, ChatKind},
    group::{GroupFolder, GroupRole, TriggerPolicy},
};

use super::{
    Place,
    output::{self, BOLD, Columns},
};
use crate::admin::types::{GroupDetails, GroupView, NewGroup, RunView};

/// What can be done with groups.
#[derive(Debug, clap::Subcommand)]
pub(super) enum GroupsCommand {
    /// List all groups
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one group and how things stand in it
    Show {
        /// The group's folder, or its chat id
        group: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Register a chat as a group
    Add(AddArgs),
    /// Make a code; the private chat in which somebody writes it becomes the main group
    Pair(pair::PairArgs),
    /// Forget a group's registration; its folder and messages stay
    Remove {
        /// The group's folder, or its chat id
        group: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the chats that were ever seen, registered or not
    Chats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What `groups add` can be told.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  nanoclaw groups add local:main --name Me --main
  nanoclaw groups add tg:-100123 --name Family
  nanoclaw groups add slack:C0123 --name Support --folder support --trigger '!bot'

`nanoclaw groups chats` lists the chats that were seen, with their ids.")]
pub(super) struct AddArgs {
    /// The chat's id, such as tg:-100123 or 1203@g.us
    chat: ChatId,
    /// The name people know the group by
    #[arg(long)]
    name: String,
    /// Its folder under groups/; default: made of the service and the name
    #[arg(long)]
    folder: Option<GroupFolder>,
    /// Wake the agent on messages that start with these words; default: @ and the assistant's name
    #[arg(long, value_name = "WORDS", conflicts_with_all = ["no_trigger", "main"])]
    trigger: Option<String>,
    /// Wake the agent on every message
    #[arg(long)]
    no_trigger: bool,
    /// This is the owner's own chat: no trigger, more rights; there is one
    #[arg(long)]
    main: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: GroupsCommand, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let zone = &config.time.zone.value;
    match command {
        GroupsCommand::List { json } => {
            let groups = home.groups().await?;
            if json { output::json(&groups) } else { list(&groups) }
        }
        GroupsCommand::Show { group, json } => {
            let group = home.group(&group).await?;
            if json { output::json(&group) } else { show(&group, zone) }
        }
        GroupsCommand::Add(args) => {
            let json = args.json;
            let added = home.add_group(args.into_group()).await?;
            if json {
                return output::json(&added);
            }
            let GroupView { folder, name, .. } = &added;
            let name = output::clean(name);
            Ok(output::line(format!("Added {BOLD}{folder}{BOLD:#} ({name}); its memory is in groups/{folder}/."))?)
        }
        GroupsCommand::Pair(args) => pair::run(args, &*home, zone).await,
        GroupsCommand::Remove { group, json } => {
            let removed = home.remove_group(&group).await?;
            if json {
                return output::json(&removed);
            }
            let folder = &removed.folder;
            Ok(output::line(format!("Removed {BOLD}{folder}{BOLD:#}; groups/{folder}/ and its messages are kept."))?)
        }
        GroupsCommand::Chats { json } => {
            let chats = home.chats().await?;
            if json {
                return output::json(&chats);
            }
            let mut columns = Columns::new(["CHAT", "NAME", "KIND", "CHANNEL", "LAST SEEN", "GROUP"]);
            for chat in chats {
                columns.row([
                    chat.chat.to_string(),
                    chat.name.unwrap_or_default(),
                    chat.kind.map_or_else(String::new, |kind| match kind {
                        ChatKind::Group => "group".to_owned(),
                        ChatKind::Private => "private".to_owned(),
                    }),
                    chat.channel,
                    output::time(chat.last_seen_ms, zone),
                    chat.group.map_or_else(String::new, |group| group.to_string()),
                ]);
            }
            Ok(columns.print()?)
        }
    }
}

impl AddArgs {
    fn into_group(self) -> NewGroup {
        let trigger = match self.trigger {
            Some(words) => Some(TriggerPolicy::Words(words)),
            None if self.no_trigger => Some(TriggerPolicy::Always),
            None => None,
        };
        let role = if self.main { GroupRole::Main } else { GroupRole::Ordinary };
        NewGroup { chat: self.chat, name: self.name, folder: self.folder, trigger, role }
    }
}

fn list(groups: &[GroupView]) -> anyhow::Result<()> {
    if groups.is_empty() {
        output::line("There are no groups yet. `nanoclaw groups add CHAT --name NAME` adds one.")?;
        return Ok(());
    }
    let mut columns = Columns::new(["GROUP", "NAME", "CHAT", "TRIGGER", "ROLE"]);
    for group in groups {
        let trigger = match (&group.role, &group.trigger) {
            (GroupRole::Main, _) | (_, TriggerPolicy::Always) => "every message".to_owned(),
            (_, TriggerPolicy::AssistantName) => "the assistant's name".to_owned(),
            (_, TriggerPolicy::Words(words)) => words.clone(),
        };
        columns.row([
            group.folder.to_string(),
            group.name.clone(),
            group.chat.to_string(),
            trigger,
            role(group.role).to_owned(),
        ]);
    }
    Ok(columns.print()?)
}

fn show(details: &GroupDetails, zone: &TimeZone) -> anyhow::Result<()> {
    let GroupDetails { group, wakes_on, path, unanswered, runs } = details;
    output::line(format!("{BOLD}{}{BOLD:#}", group.folder))?;
    for (label, value) in [
        ("role", role(group.role).to_owned()),
        ("name", group.name.clone()),
        ("chat", group.chat.to_string()),
        ("wakes on", wakes_on.clone()),
        ("folder", path.display().to_string()),
        ("added", output::time(group.added_at_ms, zone)),
        ("unanswered", format!("{unanswered} messages")),
    ] {
        output::line(format!("  {label:<12}{}", output::clean(&value)))?;
    }
    if !runs.is_empty() {
        output::line(format!("\n{BOLD}latest runs{BOLD:#}"))?;
        let mut columns = Columns::new(["RUN", "STARTED", "RUNTIME", "ENDED"]);
        for run in runs {
            let RunView { number, runtime, started_at_ms, .. } = run;
            let started = output::time(*started_at_ms, zone);
            columns.row([number.to_string(), started, runtime.to_string(), ending(run)]);
        }
        columns.print()?;
    }
    Ok(())
}

/// The longest ending that a column shows.
const LONGEST_ENDING_CHARS: usize = 120;

/// How a run ended, as it fits into a column: in its own words, which say more than the bare one, on one line.
pub(super) fn ending(run: &RunView) -> String {
    let (word, detail) = match (&run.ending, &run.detail) {
        (None, _) => return "open".to_owned(),
        (Some(word), detail) => (word.replace('_', " "), detail.as_deref().unwrap_or_default()),
    };
    let words: Vec<&str> = detail.split_whitespace().collect();
    let detail = words.join(" ");
    match detail.strip_prefix("was ").unwrap_or(&detail) {
        "" => word,
        short if short.chars().count() <= LONGEST_ENDING_CHARS => short.to_owned(),
        long => long.chars().take(LONGEST_ENDING_CHARS - 1).chain(['…']).collect(),
    }
}

fn role(role: GroupRole) -> &'static str {
    match role {
        GroupRole::Main => "main",
        GroupRole::Ordinary => "ordinary",
    }
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::{run::RunNumber, runtime::RuntimeKind, time::Timestamp};

    use super::*;

    fn ended(word: &str, detail: &str) -> String {
        ending(&RunView {
            number: RunNumber::ZERO.next(),
            runtime: RuntimeKind::Sandbox,
            started_at_ms: Timestamp::from_ms(0),
            ended_at_ms: Some(Timestamp::from_ms(1)),
            ending: Some(word.to_owned()),
            detail: Some(detail.to_owned()),
        })
    }

    #[test]
    fn an_ending_is_said_once_and_on_one_line() {
        assert_eq!(ended("stopped", "was stopped"), "stopped");
        assert_eq!(ended("failed", "failed: no login"), "failed: no login");
        assert_eq!(ended("timed_out", ""), "timed out");
        assert_eq!(ended("crashed", "ended with exit code 3: a\n  b"), "ended with exit code 3: a b");
        assert_eq!(ended("lost", &"é".repeat(200)).chars().count(), LONGEST_ENDING_CHARS);
    }
}
