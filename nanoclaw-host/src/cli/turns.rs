//! `nanoclaw turns`: shows what is being answered, what waits and what was set aside, and resolves it.

use jiff::tz::TimeZone;
use nanoclaw_core::{message::Wakes, time::Timestamp};

use super::{
    Place,
    output::{self, BOLD, Columns, DIM},
};
use crate::admin::types::{TurnDetails, TurnState, TurnView};

/// What can be done with turns.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A turn is what an agent is asked at once: one or more messages of a group. Its name is the group's folder
and the number of its last message, such as family/17.

Examples:
  nanoclaw turns list                what waits, and why
  nanoclaw turns show family/17      what was said, and what went wrong
  nanoclaw turns retry family/17     have it tried again, at once
  nanoclaw turns drop family/17      go on without it")]
pub(super) enum TurnsCommand {
    /// List what is being answered, what waits, and what was set aside after the last try
    List {
        /// Of this group only: its folder, or its chat id
        group: Option<String>,
        /// Also what was set aside and is retried or dropped since
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one turn with its messages and what went wrong
    Show {
        /// Its name, such as family/17
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a turn tried again: what waits at once, what was set aside as if it were said again
    Retry {
        /// Its name, such as family/17
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        id: Option<String>,
        /// All that wait or were set aside
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Go on without a turn; its messages are kept and marked
    Drop {
        /// Its name, such as family/17
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: TurnsCommand, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let zone = &config.time.zone.value;
    match command {
        TurnsCommand::List { group, all, json } => {
            let turns = home.turns(group.as_deref(), all).await?;
            if json { output::json(&turns) } else { list(&turns, zone) }
        }
        TurnsCommand::Show { id, json } => {
            let turn = home.turn(&id).await?;
            if json { output::json(&turn) } else { show(&turn, zone) }
        }
        TurnsCommand::Retry { id, all: _, json } => {
            let tried = home.retry_turns(id.as_deref()).await?;
            if json {
                return output::json(&tried);
            }
            if tried.is_empty() {
                return Ok(output::line("Nothing waits and nothing was set aside.")?);
            }
            let when = if home.is_service() { "now" } else { "when the service runs" };
            for turn in tried {
                output::line(format!("{BOLD}{}{BOLD:#} is tried again {when}.", turn.id))?;
            }
            Ok(())
        }
        TurnsCommand::Drop { id, json } => {
            let dropped = home.drop_turn(&id).await?;
            if json {
                return output::json(&dropped);
            }
            let id = &dropped.id;
            Ok(output::line(format!(
                "{BOLD}{id}{BOLD:#} is dropped; its messages are kept, and `nanoclaw turns retry {id}` says them again."
            ))?)
        }
    }
}

fn list(turns: &[TurnView], zone: &TimeZone) -> anyhow::Result<()> {
    if turns.is_empty() {
        output::line("Everything is answered.")?;
        return Ok(());
    }
    let mut columns = Columns::new(["TURN", "STATE", "TRIES", "NEXT TRY", "WHY"]);
    for turn in turns {
        columns.row([
            turn.id.clone(),
            state(turn),
            turn.tries.to_string(),
            turn.next_try_at_ms.map_or_else(|| "-".to_owned(), |at| moment(at, zone)),
            turn.reason.as_deref().map_or_else(|| "-".to_owned(), |reason| output::shortened(reason, 160)),
        ]);
    }
    columns.print()?;
    if turns.iter().any(|turn| turn.state == TurnState::SetAside) {
        output::line(format!(
            "{DIM}`nanoclaw turns retry TURN` has one that was set aside tried again, `nanoclaw turns drop TURN` goes on \
             without it{DIM:#}"
        ))?;
    }
    Ok(())
}

fn show(details: &TurnDetails, zone: &TimeZone) -> anyhow::Result<()> {
    let TurnDetails { turn, messages } = details;
    output::line(format!("{BOLD}{}{BOLD:#}", turn.id))?;
    let mut facts = vec![("state", state(turn)), ("group", turn.group.to_string())];
    if let Some(run) = turn.run {
        facts.push(("run", format!("#{run}; `nanoclaw logs {}` shows what it logged", turn.group)));
    }
    if turn.tries > 0 {
        facts.push(("tries", turn.tries.to_string()));
    }
    if let Some(at) = turn.next_try_at_ms {
        facts.push(("next try", moment(at, zone)));
    }
    if let Some(at) = turn.since_ms {
        facts.push(("since", output::time(at, zone)));
    }
    if let Some(reason) = &turn.reason {
        facts.push(("why", reason.clone()));
    }
    for (label, value) in facts {
        output::line(format!("  {label:<12}{}", output::hanging(&output::clean(&value), 14)))?;
    }
    output::line("")?;
    for message in messages {
        let (sender, at) = (output::clean(&message.sender_name), output::time(message.sent_at_ms, zone));
        let context = if message.wakes == Wakes::No { " (context)" } else { "" };
        output::line(format!("{BOLD}{sender}{BOLD:#} {DIM}#{} {at}{context}{DIM:#}", message.seq))?;
        output::line(format!("  {}", output::hanging(&output::clean(&message.text), 2)))?;
    }
    Ok(())
}

fn state(turn: &TurnView) -> String {
    match turn.trouble {
        Some(trouble) => format!("{} ({trouble})", turn.state.word()),
        None => turn.state.word().to_owned(),
    }
}

/// A moment in the near future: with seconds, since some are that near, and with its day when that is not today.
fn moment(at: Timestamp, zone: &TimeZone) -> String {
    let zoned = |at: Timestamp| jiff::Timestamp::from_millisecond(at.as_ms()).map(|at| at.to_zoned(zone.clone()));
    match (zoned(at), zoned(Timestamp::now())) {
        (Ok(moment), Ok(now)) if moment.date() == now.date() => moment.strftime("%H:%M:%S").to_string(),
        (Ok(moment), _) => moment.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (Err(_), _) => at.to_string(),
    }
}
