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
            bytes(group.bytes_sent),
            bytes(group.bytes_received),
            group.input_tokens.to_string(),
            group.output_tokens.to_string(),
            group.cache_read_tokens.to_string(),
        ]);
    }
    Ok(columns.print()?)
}

/// Bytes for people: `512 B`, `1.5 MiB`.
fn bytes(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bytes_are_shown_in_the_unit_that_fits() {
        assert_eq!(super::bytes(512), "512 B");
        assert_eq!(super::bytes(1536), "1.5 KiB");
        assert_eq!(super::bytes(3 << 30), "3.0 GiB");
    }
}
