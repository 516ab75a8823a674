//! `nanoclaw channels`: how the service stands with chat services, and linking those that want a phone.

use std::process::Command;

use nanoclaw_core::{chat::ChannelName, time::Timestamp};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Place,
    failure::with_help,
    output::{self, Columns, YELLOW},
};
use crate::{admin::types::ChannelStatus, app::bridges::whatsapp_program, config::Enabled};

/// What `channels` can be told.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct ChannelsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<ChannelsCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum ChannelsCommand {
    /// Link a phone: the assistant is one of its linked devices from then on
    Link(LinkArgs),
}

#[derive(Debug, clap::Args)]
struct LinkArgs {
    /// The service
    service: Linkable,
    /// Link by a code that is typed on the phone with this number, instead of a QR code that it scans
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
}

/// The services that are linked by a phone.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Linkable {
    /// WhatsApp
    #[value(name = "whatsapp")]
    WhatsApp,
}

pub(super) async fn run(args: ChannelsArgs, place: &Place) -> anyhow::Result<()> {
    match args.command {
        None => list(args.json, place).await,
        Some(ChannelsCommand::Link(LinkArgs { service: Linkable::WhatsApp, phone })) => {
            link_whatsapp(phone, place).await
        }
    }
}

/// Has WhatsApp's program do it, and the service that runs connect then.
pub(super) async fn link_whatsapp(phone: Option<String>, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let Some(program) = whatsapp_program(&config.channels.whatsapp) else {
        return Err(with_help(
            "there is no program nanoclaw-whatsapp beside `nanoclaw` or on the PATH",
            "docs/channels/whatsapp.md says where it comes from",
        ));
    };
    let mut command = Command::new(&program);
    command.arg("link").arg("--home").arg(place.existing_home()?.root());
    if let Some(number) = phone {
        command.arg("--phone").arg(number);
    }
    // Ctrl-C goes to both: the program ends by it, and we after the program.
    let _interrupts = signal(SignalKind::interrupt())?;
    let ended = tokio::task::block_in_place(|| command.status())
        .map_err(|error| anyhow::anyhow!("{} cannot be started: {error}", program.display()))?;
    if !ended.success() {
        return Err(anyhow::anyhow!("no phone was linked"));
    }
    if *config.channels.whatsapp.enabled == Enabled::No {
        return Ok(output::line(
            "WhatsApp is switched off: `enabled = false` in [channels.whatsapp] of nanoclaw.toml",
        )?);
    }
    let whatsapp = ChannelName::new("whatsapp").expect("a plain word is a channel's name");
    home.connect_channel(&whatsapp).await?;
    let connects = if home.status().await?.service.is_some() {
        "The service connects it now; `nanoclaw channels` shows how it stands."
    } else {
        "`nanoclaw run` connects it."
    };
    Ok(output::line(connects)?)
}

async fn list(as_json: bool, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let Some(service) = home.status().await?.service else {
        let message = "no service runs, and channels are connected while one does";
        return Err(with_help(message, "`nanoclaw run` starts it"));
    };
    if as_json {
        return output::json(&service.channels);
    }
    let zone = &config.time.zone.value;
    let mut columns = Columns::new(["CHANNEL", "STATE", "SINCE"]);
    for channel in &service.channels {
        let since = channel.since_ms.map_or_else(|| "-".to_owned(), |since| output::time(since, zone));
        let state = if channel.connected { "connected" } else { "not connected" };
        columns.row([output::clean(&channel.name), state.to_owned(), since]);
    }
    columns.print()?;
    for channel in &service.channels {
        for line in troubles(channel, |at| output::time(at, zone)) {
            output::line(format!("{YELLOW}{}{YELLOW:#}", output::hanging(&line, 0)))?;
        }
    }
    Ok(())
}

/// What is wrong with a channel and what to do, a line each; none when it is connected.
pub(super) fn troubles(channel: &ChannelStatus, time: impl Fn(Timestamp) -> String) -> Vec<String> {
    let Some(reason) = &channel.reason else { return Vec::new() };
    let next = channel.next_try_at_ms.map(|at| format!("; next try {}", time(at))).unwrap_or_default();
    let told = format!("{} is not connected: {}{next}", output::clean(&channel.name), output::clean(reason));
    let help = channel.help.as_deref().map(|help| format!("What to do: {}", output::clean(help)));
    std::iter::once(told).chain(help).collect()
}
