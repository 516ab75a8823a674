//! The chat services that the host itself connects to: which are used, and keeping them connected.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::workers::Workers;
#[cfg(feature = "discord")]
use crate::channels::discord;
#[cfg(feature = "slack")]
use crate::channels::slack;
#[cfg(feature = "telegram")]
use crate::channels::telegram;
#[cfg(feature = "service-client")]
use crate::{channels::ports::ServiceParts, config::Enabled};
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
    workers: &mut Workers,
) -> Vec<ChannelWatch> {
    #[cfg_attr(not(feature = "service-client"), expect(unused_mut, reason = "a build without services has none"))]
    let mut watches = Vec::new();
    #[cfg(feature = "service-client")]
    let needs = Needs { config, intake, host, spool };
    #[cfg(feature = "discord")]
    if let Some(required) = wanted(*config.channels.discord.enabled) {
        let api_url = config.channels.discord.api_url.value.clone();
        let parts = needs.parts(discord::DiscordSettings { required, api_url });
        let (watch, keeping) = discord::start(parts, stop.clone());
        workers.spawn(watch.name.to_string(), keeping);
        watches.push(watch);
    }
    #[cfg(feature = "slack")]
    if let Some(required) = wanted(*config.channels.slack.enabled) {
        let api_url = config.channels.slack.api_url.value.clone();
        let parts = needs.parts(slack::SlackSettings { required, api_url });
        let (watch, keeping) = slack::start(parts, stop.clone());
        workers.spawn(watch.name.to_string(), keeping);
        watches.push(watch);
    }
    #[cfg(feature = "telegram")]
    if let Some(required) = wanted(*config.channels.telegram.enabled) {
        let state = home.auth().join("telegram.db");
        let parts = needs.parts(telegram::TelegramSettings { required, state });
        let (watch, keeping) = telegram::start(parts, stop.clone());
        workers.spawn(watch.name.to_string(), keeping);
        watches.push(watch);
    }
    #[cfg(not(feature = "service-client"))]
    let _ = (config, intake, host, spool, stop, workers);
    #[cfg(not(feature = "telegram"))]
    let _ = home;
    watches
}

/// What every service is given.
#[cfg(feature = "service-client")]
struct Needs<'a> {
    config: &'a Config,
    intake: &'a Arc<dyn Intake>,
    host: &'a Arc<dyn ChannelHost>,
    spool: &'a Arc<Spool>,
}

#[cfg(feature = "service-client")]
impl Needs<'_> {
    fn parts<S>(&self, settings: S) -> ServiceParts<S> {
        ServiceParts {
            settings,
            credentials: self.config.credentials.clone(),
            intake: self.intake.clone(),
            host: self.host.clone(),
            files: Some(self.spool.clone()),
        }
    }
}

/// `None`: it is not used. Otherwise whether somebody said that it should be.
#[cfg(feature = "service-client")]
fn wanted(enabled: Enabled) -> Option<bool> {
    (enabled != Enabled::No).then_some(enabled == Enabled::Yes)
}
