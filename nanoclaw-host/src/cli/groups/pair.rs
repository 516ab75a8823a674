//! `nanoclaw groups pair`: a code by which a private chat becomes a group, and who wrote it.

use jiff::tz::TimeZone;
use nanoclaw_core::group::{GroupFolder, GroupRole};

use crate::{
    admin::{
        AdminHandler,
        types::{AdminError, NewPairing, PairingState, PairingView},
    },
    cli::{
        failure::with_help,
        output::{self, BOLD},
        parts::asked_to_end,
    },
};

/// What `groups pair` can be told.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
The code holds for ten minutes and five wrong tries, in all chats together. The first who writes it in a private
chat with the assistant has that chat registered; a new code makes the old one void. While it is waited for,
Ctrl-C makes it void.

Examples:
  nanoclaw groups pair
  nanoclaw groups pair --ordinary --folder ann --name Ann")]
pub(in crate::cli) struct PairArgs {
    /// The name people know the group by; default: Main, or the folder
    #[arg(long)]
    name: Option<String>,
    /// Its folder under groups/; default: main
    #[arg(long, required_if_eq("ordinary", "true"))]
    folder: Option<GroupFolder>,
    /// Make the chat an ordinary group, and not the main group
    #[arg(long)]
    ordinary: bool,
    /// Print the code and do not wait until somebody writes it
    #[arg(long)]
    no_wait: bool,
    /// Print JSON: the code, and when it is over how it ended
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) async fn run(args: PairArgs, home: &dyn AdminHandler, zone: &TimeZone) -> anyhow::Result<()> {
    let (no_wait, json) = (args.no_wait, args.json);
    // Before the code is there, so that no signal comes between.
    let asked_to_end = asked_to_end()?;
    let pairing = home.pair(args.into_pairing()?).await?;
    if json {
        output::json(&pairing)?
    } else {
        show(&pairing, no_wait, zone)?
    }
    if no_wait {
        return Ok(());
    }
    let state = tokio::select! {
        state = home.pairing_over(&pairing.id) => state.map_err(|error| gone(&error, &pairing, zone))?,
        // It says how it stands: somebody may have written the code at this moment.
        () = asked_to_end => home.withdraw_pairing(&pairing.id).await?,
    };
    if json {
        output::json(&state)?;
    }
    told(&state, json)
}

impl PairArgs {
    /// For the main group, waited for.
    pub(in crate::cli) fn main() -> Self {
        Self { name: None, folder: None, ordinary: false, no_wait: false, json: false }
    }

    fn into_pairing(self) -> anyhow::Result<NewPairing> {
        let (role, folder) = match (self.ordinary, self.folder) {
            (false, Some(folder)) => (GroupRole::Main, folder),
            (false, None) => (GroupRole::Main, GroupFolder::new("main")?),
            (true, Some(folder)) => (GroupRole::Ordinary, folder),
            (true, None) => return Err(with_help("an ordinary group needs a folder", "add --folder NAME")),
        };
        let name = self.name.unwrap_or_else(|| match role {
            GroupRole::Main => "Main".to_owned(),
            GroupRole::Ordinary => folder.to_string(),
        });
        Ok(NewPairing { folder, name, role })
    }
}

fn show(pairing: &PairingView, no_wait: bool, zone: &TimeZone) -> anyhow::Result<()> {
    let PairingView { code, tries, .. } = pairing;
    let until = output::time(pairing.ends_at_ms, zone);
    output::line(format!("\n    {BOLD}{code}{BOLD:#}\n"))?;
    output::line(format!(
        "Write this code to the assistant, in a private chat on any service that is connected. It holds until {until}\n\
         and for {tries} wrong tries; the first who writes it has that chat."
    ))?;
    if !no_wait {
        output::line("Waiting for it; Ctrl-C makes it void.")?;
    }
    Ok(())
}

fn gone(error: &AdminError, pairing: &PairingView, zone: &TimeZone) -> anyhow::Error {
    let until = output::time(pairing.ends_at_ms, zone);
    with_help(
        format!("cannot tell what becomes of the code: {error}"),
        format!(
            "it holds until {until} whenever the service runs; `nanoclaw groups list` shows the group once it was written"
        ),
    )
}

/// Says how it ended; a failure unless it was claimed.
fn told(state: &PairingState, json: bool) -> anyhow::Result<()> {
    let again = "`nanoclaw groups pair` makes a new code";
    match state {
        PairingState::Claimed { chat, folder } => {
            if !json {
                let chat = output::clean(chat.as_str());
                output::line(format!(
                    "{chat} is now the group {BOLD}{folder}{BOLD:#}; its memory is in groups/{folder}/."
                ))?;
            }
            Ok(())
        }
        PairingState::Refused { chat, reason } => {
            let message = format!("the code was written in {chat}, which cannot be registered: {reason}");
            Err(with_help(message, "`nanoclaw groups list` shows all groups"))
        }
        PairingState::Withdrawn => Err(with_help("the code was withdrawn and is void", again)),
        PairingState::TriesUsedUp => {
            let message = "too many wrong codes were written to the assistant, so the code is void";
            Err(with_help(message, "`nanoclaw groups pair` makes a new code; the log says in which chats"))
        }
        PairingState::TimeOver => Err(with_help("nobody wrote the code in time, so it is void", again)),
        PairingState::Replaced => Err(with_help("somebody asked for another code, so this one is void", again)),
        // The machine's clock was set back while it was waited for.
        PairingState::Open { .. } => Err(with_help(
            "the code holds longer than it was waited for",
            "`nanoclaw groups list` shows what became of it",
        )),
    }
}
