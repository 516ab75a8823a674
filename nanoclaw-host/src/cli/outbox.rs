//! `nanoclaw outbox`: shows the messages that go out, and does what a person decides about one.

use jiff::tz::TimeZone;
use nanoclaw_core::{
    chat::ChatId,
    store::{DeliveryState, Resolution},
};

use super::{
    Place,
    output::{self, BOLD, Columns, DIM},
};
use crate::admin::{DeliveryView, FileView, OutboxQuery};

/// What can be done with the outbox.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
States: pending (waits), sending, sent, failed (given up), unknown (nobody knows whether it was shown), dropped.

Examples:
  nanoclaw outbox list                  what waits and what is in trouble
  nanoclaw outbox show 17               all about one message
  nanoclaw outbox retry 17              send it (again)
  nanoclaw outbox drop 17               leave it unsent")]
pub(super) enum OutboxCommand {
    /// List the messages that are not sent: those that wait, failed, or may have been shown
    List {
        /// Also those that were sent or dropped
        #[arg(long, conflicts_with = "state")]
        all: bool,
        /// Only those in this state; can be repeated
        #[arg(long, value_name = "STATE", value_parser = state)]
        state: Vec<DeliveryState>,
        /// Only those to this chat
        #[arg(long)]
        chat: Option<ChatId>,
        /// The latest so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one message and how it stands
    Show(OneArgs),
    /// Send a message (again), at once: one that failed, that may have been shown, that was dropped, or that waits
    Retry(OneArgs),
    /// Do not send a message; it is kept and marked
    Drop(OneArgs),
}

/// One message.
#[derive(Debug, clap::Args)]
pub(super) struct OneArgs {
    /// Its number, as `outbox list` shows it, or its key
    message: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const NOT_SETTLED: [DeliveryState; 4] =
    [DeliveryState::Pending, DeliveryState::Sending, DeliveryState::Failed, DeliveryState::Unknown];

pub(super) async fn run(command: OutboxCommand, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let zone = &config.time.zone.value;
    match command {
        OutboxCommand::List { all, state, chat, limit, json } => {
            let states = match (all, state.is_empty()) {
                (true, _) => Vec::new(),
                (false, true) => NOT_SETTLED.to_vec(),
                (false, false) => state,
            };
            let messages = home.outbox(OutboxQuery { states, chat, limit }).await?;
            if json { output::json(&messages) } else { list(&messages, zone) }
        }
        OutboxCommand::Show(OneArgs { message, json }) => {
            let message = home.delivery(&message).await?;
            if json { output::json(&message) } else { show(&message, zone) }
        }
        OutboxCommand::Retry(OneArgs { message, json }) => {
            let message = home.resolve_delivery(&message, Resolution::SendAgain).await?;
            if json {
                return output::json(&message);
            }
            let (id, chat) = (message.id.0, output::clean(message.chat.as_str()));
            Ok(output::line(format!("The message {BOLD}{id}{BOLD:#} goes to {chat} as soon as its channel is there."))?)
        }
        OutboxCommand::Drop(OneArgs { message, json }) => {
            let message = home.resolve_delivery(&message, Resolution::Drop).await?;
            if json {
                return output::json(&message);
            }
            let id = message.id.0;
            Ok(output::line(format!(
                "The message {BOLD}{id}{BOLD:#} is dropped; `nanoclaw outbox retry {id}` sends it."
            ))?)
        }
    }
}

fn list(messages: &[DeliveryView], zone: &TimeZone) -> anyhow::Result<()> {
    if messages.is_empty() {
        output::line("There are none.")?;
        return Ok(());
    }
    let mut columns = Columns::new(["NUMBER", "CHAT", "STATE", "POSTED", "TRIES", "NEXT TRY", "LAST ERROR", "BEGINS"]);
    for message in messages {
        columns.row([
            message.id.0.to_string(),
            message.group.as_ref().map_or_else(|| message.chat.to_string(), ToString::to_string),
            word(message.state).to_owned(),
            output::time(message.posted_at_ms, zone),
            message.attempts.to_string(),
            message.next_try_at_ms.map_or_else(|| "-".to_owned(), |at| output::time(at, zone)),
            message.last_error.clone().unwrap_or_else(|| "-".to_owned()),
            message.begins.clone(),
        ]);
    }
    Ok(columns.print()?)
}

/// `report.pdf, application/pdf, 12.3 KiB, from out/report.pdf of family`.
fn file(file: &FileView) -> String {
    let FileView { name, media_type, bytes, group, path } = file;
    format!("{name}, {media_type}, {}, from {path} of {group}", output::size(*bytes))
}

fn show(message: &DeliveryView, zone: &TimeZone) -> anyhow::Result<()> {
    let id = message.id.0;
    output::line(format!("{BOLD}{id}{BOLD:#}"))?;
    let time = |at: Option<_>| at.map(|at| output::time(at, zone));
    for (label, value) in [
        ("state", Some(word(message.state).to_owned())),
        ("chat", Some(message.chat.to_string())),
        ("group", message.group.as_ref().map(ToString::to_string)),
        ("key", Some(message.key.to_string())),
        ("posted", time(Some(message.posted_at_ms))),
        ("tries", Some(message.attempts.to_string())),
        ("next try", time(message.next_try_at_ms)),
        ("last error", message.last_error.clone()),
        ("sent", time(message.sent_at_ms)),
        ("file", message.file.as_deref().map(file)),
        ("service's id", message.platform_id.as_ref().map(ToString::to_string)),
    ] {
        if let Some(value) = value {
            output::line(format!("  {label:<14}{}", output::clean(&value)))?;
        }
    }
    output::line(format!("\n{}", output::clean(message.text.as_deref().unwrap_or(&message.begins))))?;
    match message.state {
        DeliveryState::Unknown => output::line(format!(
            "\n{DIM}Nobody knows whether it was shown. `nanoclaw outbox retry {id}` sends it again, `nanoclaw outbox drop \
             {id}` leaves it as it is.{DIM:#}"
        ))?,
        DeliveryState::Failed => output::line(format!("\n{DIM}`nanoclaw outbox retry {id}` sends it.{DIM:#}"))?,
        DeliveryState::Pending | DeliveryState::Sending | DeliveryState::Sent | DeliveryState::Dropped => {}
    }
    Ok(())
}

const WORDS: [(&str, DeliveryState); 6] = [
    ("pending", DeliveryState::Pending),
    ("sending", DeliveryState::Sending),
    ("sent", DeliveryState::Sent),
    ("failed", DeliveryState::Failed),
    ("unknown", DeliveryState::Unknown),
    ("dropped", DeliveryState::Dropped),
];

fn word(state: DeliveryState) -> &'static str {
    WORDS.iter().find(|(_, of)| *of == state).map_or("?", |(word, _)| word)
}

fn state(text: &str) -> Result<DeliveryState, String> {
    let known = WORDS.iter().find(|(word, _)| *word == text).map(|(_, state)| *state);
    known.ok_or_else(|| format!("there are {}", WORDS.map(|(word, _)| word).join(", ")))
}
