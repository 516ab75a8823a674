//! The services of a crowd: what people do on them, what they show, and what goes wrong.

pub(crate) mod discord;
pub(crate) mod slack;
mod sockets;
pub(crate) mod telegram;
pub(crate) mod whatsapp;

use std::path::Path;

use nanoclaw_fakes::{discord::FakeDiscord, kill::Chance, slack::FakeSlack, telegram::FakeTelegram};
use nanoclaw_host::home::Home;

use self::{
    discord::Discord,
    slack::Slack,
    sockets::{Bridge, Terminals},
    telegram::Telegram,
    whatsapp::WhatsApp,
};

/// A service with so many chats, numbered from 0.
pub(crate) trait Service {
    /// The channel's name.
    fn name(&self) -> &'static str;

    /// A chat's id, as the host has it.
    fn address(&self, chat: usize) -> String;

    /// What it needs in the configuration.
    fn configuration(&self) -> String {
        String::new()
    }

    /// Whether it is welcome at the host; `None` where only the host knows.
    fn is_welcome(&self) -> Option<bool> {
        None
    }

    /// Somebody writes.
    fn say(&mut self, chat: usize, text: &str);

    /// Somebody writes in each of several chats, and the host is told in another order. `None`: in this one.
    fn say_reordered(&mut self, messages: &[(usize, String)]) -> Option<&'static str> {
        messages.iter().for_each(|(chat, text)| self.say(*chat, text));
        None
    }

    /// What was shown since this was asked last: chat and text.
    fn news(&mut self) -> Vec<(usize, String)>;

    /// A call is to go wrong, or something is told twice or never; what.
    fn trip(&mut self, chance: &mut Chance) -> &'static str;

    /// The connection is lost; how.
    fn lose_connections(&mut self, chance: &mut Chance) -> &'static str;

    /// Slow answers are let go.
    fn release(&mut self) {}

    /// Nothing goes wrong any more.
    fn be_well(&mut self) {}
}

/// One of each; `whatsapp` is the program that WhatsApp is reached by.
pub(super) async fn all_services(home: &Home, whatsapp: &Path, chats: usize) -> Vec<Box<dyn Service>> {
    vec![
        Box::new(Terminals::of(home, chats)),
        Box::new(Bridge::of(home)),
        Box::new(Slack::start(chats).await),
        Box::new(Discord::start(chats).await),
        Box::new(Telegram::start(home, chats).await),
        Box::new(WhatsApp::start(home, whatsapp, chats).await),
    ]
}

/// What all of them need in the configuration.
pub(super) fn configuration(services: &[Box<dyn Service>]) -> String {
    services.iter().map(|service| service.configuration()).collect()
}

/// What all of them need as credentials.
pub(super) fn credentials() -> String {
    let (bot, app) = (FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN);
    let (id, hash, token) = (FakeTelegram::API_ID, FakeTelegram::API_HASH, FakeTelegram::BOT_TOKEN);
    format!(
        "SLACK_BOT_TOKEN={bot}\nSLACK_APP_TOKEN={app}\nDISCORD_BOT_TOKEN={}\n\
         TELEGRAM_API_ID={id}\nTELEGRAM_API_HASH={hash}\nTELEGRAM_BOT_TOKEN={token}",
        FakeDiscord::BOT_TOKEN
    )
}

fn number_after(prefix: &str, id: &str) -> usize {
    id.strip_prefix(prefix).and_then(|number| number.parse().ok()).expect("it is one of ours")
}
