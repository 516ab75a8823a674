//! The clients of chat services, each with the fake of its service.

use std::{path::Path, process::Stdio, sync::Arc};

use nanoclaw_fakes::{discord::FakeDiscord, slack::FakeSlack, telegram::FakeTelegram, whatsapp::FakeWhatsApp};
use nanoclaw_host::{
    channels::{
        bridge::{BridgeConfig, BridgeListener},
        discord::{self, DiscordSettings},
        ports::ServiceParts,
        slack::{self, SlackSettings},
        status::{ChannelState, ChannelWatch},
        telegram::{self, TelegramSettings},
    },
    home::Home,
};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    crowd::services::{Service, discord::Discord, slack::Slack, telegram::Telegram, whatsapp::WhatsApp},
    steps::Steps,
};

/// The client of a service.
pub(super) trait Client: Service + Sized {
    const NAME: &'static str;
    const SECRETS: &'static [(&'static str, &'static str)];
    type Fake: Send + Sync + 'static;

    /// The fake alone, with one chat, for a client in `home`.
    async fn start(home: &Home, whatsapp: &Path) -> Self;

    fn fake(&self) -> Arc<Self::Fake>;

    /// Waits until there are so many posts.
    fn posts(fake: &Self::Fake, count: usize) -> impl Future<Output = ()> + Send;

    /// Connects; what serves the connection, until `stop`.
    async fn connect(
        &self,
        parts: ServiceParts<()>,
        home: &Home,
        steps: &Steps,
        stop: CancellationToken,
    ) -> JoinHandle<()>;
}

fn with<S>(parts: ServiceParts<()>, settings: S) -> ServiceParts<S> {
    let ServiceParts { settings: (), credentials, intake, host, files } = parts;
    ServiceParts { settings, credentials, intake, host, files }
}

async fn connected<F>((watch, client): (ChannelWatch, F)) -> JoinHandle<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let client = tokio::spawn(client);
    watch.wait_for(ChannelState::is_connected).await.unwrap();
    client
}

impl Client for Slack {
    const NAME: &'static str = "Slack";
    const SECRETS: &'static [(&'static str, &'static str)] =
        &[(slack::BOT_TOKEN, FakeSlack::BOT_TOKEN), (slack::APP_TOKEN, FakeSlack::APP_TOKEN)];
    type Fake = FakeSlack;

    async fn start(_: &Home, _: &Path) -> Self {
        Self::start(1).await
    }

    fn fake(&self) -> Arc<FakeSlack> {
        self.fake.clone()
    }

    async fn posts(fake: &FakeSlack, count: usize) {
        fake.wait_until("a post", |seen| seen.posts.len() >= count).await;
    }

    async fn connect(&self, parts: ServiceParts<()>, _: &Home, _: &Steps, stop: CancellationToken) -> JoinHandle<()> {
        let settings = SlackSettings { required: true, api_url: self.fake.api_url().parse().unwrap() };
        connected(slack::start(with(parts, settings), stop)).await
    }
}

impl Client for Discord {
    const NAME: &'static str = "Discord";
    const SECRETS: &'static [(&'static str, &'static str)] = &[("DISCORD_BOT_TOKEN", FakeDiscord::BOT_TOKEN)];
    type Fake = FakeDiscord;

    async fn start(_: &Home, _: &Path) -> Self {
        Self::start(1).await
    }

    fn fake(&self) -> Arc<FakeDiscord> {
        self.fake.clone()
    }

    async fn posts(fake: &FakeDiscord, count: usize) {
        fake.wait_until("a post", |seen| seen.posts.len() >= count).await;
    }

    async fn connect(&self, parts: ServiceParts<()>, _: &Home, _: &Steps, stop: CancellationToken) -> JoinHandle<()> {
        let settings = DiscordSettings { required: true, api_url: self.fake.api_url().parse().unwrap() };
        connected(discord::start(with(parts, settings), stop)).await
    }
}

impl Client for Telegram {
    const NAME: &'static str = "Telegram";
    const SECRETS: &'static [(&'static str, &'static str)] = &[
        ("TELEGRAM_API_ID", "12345"),
        ("TELEGRAM_API_HASH", FakeTelegram::API_HASH),
        ("TELEGRAM_BOT_TOKEN", FakeTelegram::BOT_TOKEN),
    ];
    type Fake = FakeTelegram;

    async fn start(home: &Home, _: &Path) -> Self {
        Self::start(home, 1).await
    }

    fn fake(&self) -> Arc<FakeTelegram> {
        self.fake.clone()
    }

    async fn posts(fake: &FakeTelegram, count: usize) {
        fake.wait_until("a message", |seen| seen.sent.len() >= count).await;
    }

    async fn connect(
        &self,
        parts: ServiceParts<()>,
        home: &Home,
        _: &Steps,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let settings = TelegramSettings { required: true, state: home.auth().join("telegram.db") };
        connected(telegram::start(with(parts, settings), stop)).await
    }
}

impl Client for WhatsApp {
    const NAME: &'static str = "WhatsApp";
    const SECRETS: &'static [(&'static str, &'static str)] = &[];
    type Fake = FakeWhatsApp;

    async fn start(home: &Home, whatsapp: &Path) -> Self {
        Self::start(home, whatsapp, 1).await
    }

    fn fake(&self) -> Arc<FakeWhatsApp> {
        self.fake.clone()
    }

    async fn posts(fake: &FakeWhatsApp, count: usize) {
        fake.wait_until("a message", |seen| seen.sent.len() >= count).await;
    }

    async fn connect(
        &self,
        parts: ServiceParts<()>,
        home: &Home,
        steps: &Steps,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let ServiceParts { intake, host, .. } = parts;
        let listener = BridgeListener::bind(&home.bridge_socket(), BridgeConfig::default(), intake, host).unwrap();
        let mut program = Command::new(&self.script);
        // Not as a part of something larger: its log has times then.
        program.arg("run").arg("--home").arg(home.root()).env_remove("JOURNAL_STREAM");
        program.env("RUST_LOG", format!("warn,{}=debug", nanoclaw_core::steps::STEPS));
        let mut program = program.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
        let steps = steps.clone();
        let client = tokio::spawn(async move {
            let hearing = async {
                while let Ok(Some(line)) = log.next_line().await {
                    if !steps.hear(&line) {
                        eprintln!("{line}");
                    }
                }
            };
            // Its log ends with it.
            tokio::join!(hearing, async {
                listener.serve(stop).await;
                program.kill().await.unwrap();
            });
        });
        self.fake.wait_until("it is connected", |seen| seen.active > 0 && seen.keys_left > 0).await;
        client
    }
}
