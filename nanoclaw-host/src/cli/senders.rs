//! `nanoclaw senders`: who may speak to which agent, by the list of senders.

use std::process::ExitCode;

use nanoclaw_core::{
    chat::ChatId,
    message::{Author, SenderId},
    senders::{Allow, Others, SenderPolicy, SenderRule, SenderVerdict},
};
use serde::Serialize;

use super::{
    Place,
    output::{self, BOLD, Columns, DIM, GREEN, RED, YELLOW},
};
use crate::{admin::types::GroupView, senders::read};

/// What can be asked about senders.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
The list is ~/.config/nanoclaw/sender-allowlist.json (docs/senders.md). Without one everybody in a registered chat may
speak to its agent; with one that has a mistake nobody but you may.

Examples:
  nanoclaw senders check                                  is the list good, and what does it say
  nanoclaw senders check --chat family --sender 12345     what becomes of what this person writes there")]
pub(super) enum SendersCommand {
    /// Say whether the list of senders is good and what it says; ends with 1 when it is not, or the sender is not heard
    Check {
        /// Judge a sender in this chat: its id, or its group's folder
        #[arg(long, requires = "sender")]
        chat: Option<String>,
        /// The sender's id, as the service has it
        #[arg(long, requires = "chat")]
        sender: Option<SenderId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// What the list says, for programs.
#[derive(Debug, Serialize)]
struct Report {
    /// Where it is, or would be.
    file: Option<String>,
    /// How it stands: `none`, `good` or `bad`.
    list: &'static str,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The rules, the one for all other chats first; none when there is no list that can be used.
    rules: Vec<Rule>,
    /// What becomes of what the sender in question writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Rule {
    /// `None`: all chats that have no rule of their own.
    chat: Option<ChatId>,
    /// The chat's group, if it is one.
    group: Option<String>,
    /// `None`: everybody.
    allow: Option<Vec<SenderId>>,
    /// v1's word for what becomes of what others write.
    mode: &'static str,
}

pub(super) async fn run(command: SendersCommand, place: &Place) -> anyhow::Result<ExitCode> {
    let SendersCommand::Check { chat, sender, json } = command;
    let (home, config) = place.open().await?;
    let groups = home.groups().await?;
    let (senders, listed) = (config.senders.clone(), tokio::task::spawn_blocking(move || read(&config.senders)).await?);
    let verdict = match (chat, sender) {
        (Some(chat), Some(sender)) => {
            let policy = match &listed {
                Ok(list) => list.clone().unwrap_or_else(SenderPolicy::everybody),
                Err(_) => SenderPolicy::nobody(),
            };
            Some(word(&policy, &groups, &chat, &sender))
        }
        _ => None,
    };
    let (list, reason, rules) = match listed {
        Ok(None) => ("none", None, Vec::new()),
        Ok(Some(policy)) => ("good", None, rules(&policy, &groups)),
        Err(bad) => ("bad", Some(bad.reason), Vec::new()),
    };
    let file = senders.list.map(|file| file.display().to_string());
    let report = Report { file, list, reason, rules, verdict };
    if json {
        output::json(&report)?;
    } else {
        show(&report)?;
    }
    let heard = report.verdict.is_none_or(|verdict| verdict == HEARD);
    Ok(if report.list != "bad" && heard { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const HEARD: &str = "heard";

/// The word for what becomes of what `sender` writes in `chat`, an id or a folder.
fn word(policy: &SenderPolicy, groups: &[GroupView], chat: &str, sender: &SenderId) -> &'static str {
    let Some(group) = groups.iter().find(|group| group.folder.as_str() == chat || group.chat.as_str() == chat) else {
        return "unregistered";
    };
    match policy.verdict(&group.chat, sender, Author::Person) {
        SenderVerdict::Allowed => HEARD,
        SenderVerdict::KeptOnly => "context",
        SenderVerdict::Dropped => "dropped",
    }
}

fn rules(policy: &SenderPolicy, groups: &[GroupView]) -> Vec<Rule> {
    let rule = |chat: Option<&ChatId>, rule: &SenderRule| Rule {
        chat: chat.cloned(),
        group: groups.iter().find(|group| Some(&group.chat) == chat).map(|group| group.folder.to_string()),
        allow: match &rule.allow {
            Allow::All => None,
            Allow::These(senders) => Some(senders.iter().cloned().collect()),
        },
        mode: match rule.others {
            Others::Kept => "trigger",
            Others::Dropped => "drop",
        },
    };
    let of_chats = policy.chats.iter().map(|(chat, own)| rule(Some(chat), own));
    std::iter::once(rule(None, &policy.default)).chain(of_chats).collect()
}

fn show(report: &Report) -> anyhow::Result<()> {
    let file = output::clean(report.file.as_deref().unwrap_or("~/.config/nanoclaw/sender-allowlist.json"));
    match &report.reason {
        Some(reason) => {
            output::line(format!("{RED}bad:{RED:#} nobody but you may speak to agents. {}", output::clean(reason)))?;
        }
        None if report.list == "none" => {
            output::line(format!("{GREEN}no list:{GREEN:#} everybody in a registered chat may speak to its agent."))?;
            output::line(format!("{DIM}A list would be {file}; docs/senders.md shows one.{DIM:#}"))?;
        }
        None => {
            output::line(format!("{GREEN}good:{GREEN:#} {BOLD}{file}{BOLD:#}"))?;
            let mut columns = Columns::new(["CHAT", "GROUP", "MAY SPEAK", "WHAT OTHERS WRITE"]);
            for rule in &report.rules {
                let chat = rule.chat.as_ref().map_or("all others", ChatId::as_str).to_owned();
                let group = match (&rule.group, &rule.chat) {
                    (Some(group), _) => group.clone(),
                    (None, Some(_)) => "none, so nothing is kept".to_owned(),
                    (None, None) => "-".to_owned(),
                };
                let allowed = match &rule.allow {
                    None => "everybody".to_owned(),
                    Some(ids) if ids.is_empty() => "nobody but you".to_owned(),
                    Some(ids) => ids.iter().map(SenderId::as_str).collect::<Vec<_>>().join(", "),
                };
                let others = match (&rule.allow, rule.mode) {
                    (None, _) => "-",
                    (_, "drop") => "is not kept",
                    _ => "is context",
                };
                columns.row([chat, group, allowed, others.to_owned()]);
            }
            columns.print()?;
        }
    }
    if let Some(verdict) = report.verdict {
        let (style, said) = match verdict {
            HEARD => (GREEN, "what this sender writes there is taken"),
            "context" => (YELLOW, "what this sender writes there is kept as context, and wakes nobody"),
            "dropped" => (RED, "what this sender writes there is not kept"),
            _ => (RED, "that chat is no group, so nothing that is written there is kept"),
        };
        output::line(format!("{style}{verdict}:{style:#} {said}"))?;
    }
    Ok(())
}
