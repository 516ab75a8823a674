//! What `doctor` says of the channels.

use super::Check;
use crate::{
    admin::types::{AdminError, ChannelStatus, ServiceStatus},
    cli::channels::troubles,
};

const NAME: &str = "channels";

/// The check: as the service that runs says, of which this is what it `said`; `None` when none answers.
pub(super) fn check(said: Option<&Result<Option<ServiceStatus>, AdminError>>) -> Check {
    match said {
        None => Check::ok(NAME, "none is connected, since no service runs"),
        Some(Ok(Some(service))) => of(&service.channels),
        Some(Ok(None)) => Check::ok(NAME, "a conversation in the terminal connects to none"),
        Some(Err(error)) => Check::skipped(NAME, error.message.clone()),
    }
}

/// A channel that waits for a person has failed; one that is tried again by itself is worth a look.
pub(super) fn of(channels: &[ChannelStatus]) -> Check {
    let (connected, not): (Vec<_>, Vec<_>) = channels.iter().partition(|channel| channel.connected);
    let Some(worst) = not.iter().max_by_key(|channel| channel.help.is_some()) else {
        let names = connected.iter().map(|channel| channel.name.as_str()).collect::<Vec<_>>().join(", ");
        return Check::ok(NAME, format!("connected: {names}"));
    };
    // Their first lines: what to do comes beside.
    let told = not.iter().filter_map(|channel| troubles(channel, |at| at.to_string()).into_iter().next());
    let told = told.collect::<Vec<_>>().join("; ");
    match &worst.help {
        Some(help) => Check::failed(NAME, told, help.clone()),
        None => Check::warning(NAME, told, "it is tried again by itself; `nanoclaw channels` shows how it goes on"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    fn waits(name: &str, help: Option<&str>) -> ChannelStatus {
        let (reason, help) = (Some("no route".to_owned()), help.map(str::to_owned));
        ChannelStatus { connected: false, reason, help, ..ChannelStatus::connected(name) }
    }

    #[test]
    fn a_channel_that_waits_for_a_person_is_a_failure_and_one_that_is_tried_again_is_none() {
        let local = || ChannelStatus::connected("local");
        assert_eq!(of(&[local(), ChannelStatus::connected("slack")]), Check::ok(NAME, "connected: local, slack"));
        let waiting = of(&[local(), waits("slack", None)]);
        assert_eq!((waiting.outcome, waiting.detail.as_str()), (Outcome::Warning, "slack is not connected: no route"));
        let refused = of(&[local(), waits("discord", Some("a token")), waits("slack", None)]);
        assert_eq!(refused.outcome, Outcome::Failed);
        assert_eq!(refused.detail, "discord is not connected: no route; slack is not connected: no route");
        assert_eq!(refused.help.as_deref(), Some("a token"));
    }
}
