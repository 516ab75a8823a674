//! `nanoclaw gateway`: what each group used of the gateway since the service started.

use super::{
    Place,
    output::{self, Columns},
};

/// What `gateway` can be told.
#[derive(Debug, clap::Args)]
pub(super) struct GatewayArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: GatewayArgs, place: &Place) -> anyhow::Result<()> {
    let (home, _) = place.open().await?;
    let groups = home.gateway().await?;
    if args.json {
        return output::json(&groups);
    }
    if groups.is_empty() {
        return Ok(output::line("No group has used the gateway since the service started.")?);
    }
    let mut columns =
        Columns::new(["GROUP", "REQUESTS", "REFUSED", "SENT", "RECEIVED", "TOKENS IN", "TOKENS OUT", "FROM CACHE"]);
    for group in groups {
        columns.row([
            group.group.to_string(),
            group.requests.to_string(),
            group.refused.to_string(),
            output::size(group.bytes_sent),
            output::size(group.bytes_received),
            group.input_tokens.to_string(),
            group.output_tokens.to_string(),
            group.cache_read_tokens.to_string(),
        ]);
    }
    Ok(columns.print()?)
}
