//! The chat services that the host itself connects to: which are used, and keeping them connected.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    channels::{
        ports::{ChannelHost, Intake},
        status::ChannelWatch,
    },
    config::Config,
    files::Spool,
    home::Home,
};

/// Starts those that are used, as workers among `workers` that end with `stop`.
pub(super) fn start(
    home: &Home,
    config: &Config,
    intake: &Arc<dyn Intake>,
    host: &Arc<dyn ChannelHost>,
    spool: &Arc<Spool>,
    stop: &CancellationToken,
    workers: &mut JoinSet<()>,
) -> Vec<ChannelWatch> {
    #[cfg_attr(not(feature = "service-client"), expect(unused_mut, reason = "a build without services has none"))]
    let mut watches = Vec::new();
    #[cfg(feature = "discord")]
    {
        use crate::{
            channels::discord::{self, DiscordParts, DiscordSettings},
            config::Enabled,
        };
        let discord = &config.channels.discord;
        if *discord.enabled != Enabled::No {
            let parts = DiscordParts {
                settings: DiscordSettings {
                    required: *discord.enabled == Enabled::Yes,
                    api_url: discord.api_url.value.clone(),
                },
                credentials: config.credentials.clone(),
                intake: intake.clone(),
                host: host.clone(),
                files: Some(spool.clone()),
            };
            let (watch, keeping) = discord::start(parts, stop.clone());
            workers.spawn(keeping);
            watches.push(watch);
        }
    }
    #[cfg(feature = "slack")]
    {
        use crate::{
            channels::slack::{self, SlackParts, SlackSettings},
            config::Enabled,
        };
        let slack = &config.channels.slack;
        if *slack.enabled != Enabled::No {
            let parts = SlackParts {
                settings: SlackSettings {
                    required: *slack.enabled == Enabled::Yes,
                    api_url: slack.api_url.value.clone(),
                },
                credentials: config.credentials.clone(),
                intake: intake.clone(),
                host: host.clone(),
                files: Some(spool.clone()),
            };
            let (watch, keeping) = slack::start(parts, stop.clone());
            workers.spawn(keeping);
            watches.push(watch);
        }
    }
    #[cfg(feature = "telegram")]
    {
        use crate::{
            channels::telegram::{self, TelegramParts, TelegramSettings},
            config::Enabled,
        };
        let telegram = &config.channels.telegram;
        if *telegram.enabled != Enabled::No {
            let parts = TelegramParts {
                settings: TelegramSettings {
                    required: *telegram.enabled == Enabled::Yes,
                    state: home.auth().join("telegram.db"),
                },
                credentials: config.credentials.clone(),
                intake: intake.clone(),
                host: host.clone(),
                files: Some(spool.clone()),
            };
            let (watch, keeping) = telegram::start(parts, stop.clone());
            workers.spawn(keeping);
            watches.push(watch);
        }
    }
    #[cfg(not(feature = "service-client"))]
    let _ = (config, intake, host, spool, stop, workers);
    #[cfg(not(feature = "telegram"))]
    let _ = home;
    watches
}
