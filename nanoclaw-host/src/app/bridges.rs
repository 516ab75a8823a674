//! The bridges that the host itself runs: which they are, and what they are told.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use nanoclaw_core::chat::ChannelName;
use tokio_util::sync::CancellationToken;

use super::workers::Workers;
use crate::{
    channels::{
        bridge::Claim,
        program::{self, BridgeProgram, TryAgain},
        status::ChannelWatch,
    },
    config::{Config, Enabled, ProcessEnvironment, WhatsAppConfig},
    home::Home,
    programs,
};

/// The program that is WhatsApp's client.
const WHATSAPP: &str = "nanoclaw-whatsapp";
const LINK: &str = "`nanoclaw channels link whatsapp` links a phone";
const INSTALL: &str = "install it beside `nanoclaw` (docs/channels/whatsapp.md), or name it by channels.whatsapp.program in nanoclaw.toml; \
                       then `nanoclaw channels link whatsapp`";

/// Where WhatsApp's program is; `None`: nowhere. A configured path is returned whether it is there or not.
pub(crate) fn whatsapp_program(config: &WhatsAppConfig) -> Option<PathBuf> {
    programs::companion(WHATSAPP, config.program.value.as_deref(), &ProcessEnvironment)
}

/// Starts those that are used, as workers among `workers` that end with `stop`.
pub(super) fn start(
    home: &Home,
    config: &Config,
    stop: &CancellationToken,
    workers: &mut Workers,
) -> (Vec<ChannelWatch>, BTreeMap<ChannelName, TryAgain>) {
    let (mut watches, mut waiting) = (Vec::new(), BTreeMap::new());
    if *config.channels.whatsapp.enabled != Enabled::No {
        let again = TryAgain::default();
        let (watch, running) = program::start(whatsapp(home, &config.channels.whatsapp), again.clone(), stop.clone());
        workers.spawn(watch.name.to_string(), running);
        waiting.insert(watch.name.clone(), again);
        watches.push(watch);
    }
    (watches, waiting)
}

fn whatsapp(home: &Home, config: &WhatsAppConfig) -> BridgeProgram {
    let words = ["run", "--supervised", "--home"].map(OsString::from);
    let suffixes = ["@g.us", "@s.whatsapp.net", "@lid"].map(str::to_owned).to_vec();
    let (settings, state) = (config.clone(), home.auth().join("whatsapp.db"));
    let required = *config.enabled == Enabled::Yes;
    BridgeProgram {
        name: ChannelName::new("whatsapp").expect("a plain word is a channel's name"),
        claim: Claim::new(Vec::new(), suffixes).expect("the suffixes have the form that claims want"),
        program: Box::new(move || whatsapp_program(&settings)),
        arguments: words.into_iter().chain([home.root().into()]).collect(),
        needs: Box::new(move || (!required && !state.exists()).then(|| format!("no phone is linked; {LINK}"))),
        install: INSTALL.to_owned(),
        remedy: LINK.to_owned(),
    }
}
