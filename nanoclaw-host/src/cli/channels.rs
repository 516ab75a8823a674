//! `nanoclaw channels`: how the service stands with chat services.

use nanoclaw_core::time::Timestamp;

use super::{
    Place,
    failure::with_help,
    output::{self, Columns, YELLOW},
};
use crate::admin::types::ChannelStatus;

/// What `channels` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct ChannelsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: ChannelsArgs, place: &Place) -> anyhow::Result<()> {
    let (home, config) = place.open().await?;
    let Some(service) = home.status().await?.service else {
        let message = "no service runs, and channels are connected while one does";
        return Err(with_help(message, "`nanoclaw run` starts it"));
    };
    if args.json {
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
