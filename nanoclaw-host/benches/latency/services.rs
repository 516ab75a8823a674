//! What a message costs on its way from a chat service to the agent, and a reply on its way back, with the service's real client
//! and a fake of the service on loopback, which runs by itself, on a thread of its own.
//!
//! More is in the figures than the host's own work: on the way in, what the fake does from the moment when somebody writes, the
//! socket, and what the agent does to see it; on the way out, the block's way from the agent, the socket, and what the fake does
//! to take the call in.

use std::{collections::BTreeMap, ffi::OsString, sync::Arc, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::chat::ChatId;
use nanoclaw_fakes::{discord::FakeDiscord, slack::FakeSlack, telegram::FakeTelegram};
use nanoclaw_host::{
    channels::{
        discord::{self, DiscordSettings},
        ports::ServiceParts,
        slack::{self, SlackSettings},
        status::{ChannelState, ChannelWatch},
        telegram::{self, TelegramSettings},
    },
    config::CredentialsConfig,
    credentials::Credentials,
    home::Home,
};
use tokio::{
    runtime::{Handle, Runtime},
    sync::mpsc,
    task::{JoinHandle, block_in_place},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    figures::Figure,
    house::{Agent, House, Mark},
    telegram_state,
};

/// Samples that are thrown away: the first ones meet cold caches and new files.
const WARM_UP: usize = 20;
const CONFIG: &str = "[agent]\nprovider = \"offline\"\n";

pub(crate) fn measure(samples: usize) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(of::<Slack>(samples));
    figures.extend(of::<Discord>(samples));
    figures.extend(of::<Telegram>(samples));
    figures
}

fn of<S: Service>(samples: usize) -> Vec<Figure> {
    let name = S::NAME;
    eprintln!("{samples} runs and {samples} follow-ups by {name}");
    let fakes = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    // What `nanoclaw` itself runs on.
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    let runs = runtime.block_on(turns::<S>(&fakes, Agent::Once, samples));
    let follow_ups = runtime.block_on(turns::<S>(&fakes, Agent::StaysWithJournal, samples));
    vec![
        Figure::times(format!("{name}: somebody writes to prompt whole in a new container"), &runs.seen).under(3.0),
        Figure::times(format!("{name}: somebody writes to follow-up file seen by the live agent"), &follow_ups.seen)
            .under(3.0),
        Figure::times(format!("{name}: block written to journal and stream to post at the service"), &follow_ups.reply)
            .under(3.0),
    ]
}

/// A service, its fake, and the host's client of it.
#[async_trait]
trait Service: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const CHAT: &'static str;
    const SECRETS: &'static [(&'static str, &'static str)];

    /// The fake alone, with the chat.
    async fn start() -> Self;

    /// The client begins; the watch tells when it is connected.
    async fn connect(
        &self,
        parts: ServiceParts<()>,
        home: &Home,
        stop: CancellationToken,
    ) -> (ChannelWatch, JoinHandle<()>);

    /// Somebody writes in the chat.
    fn say(&self, text: &str);

    /// Waits until there are so many posts.
    async fn posts(&self, count: usize);
}

#[derive(Default)]
struct Turns {
    seen: Vec<Duration>,
    reply: Vec<Duration>,
}

/// A message and its answer, again and again: for an agent that answers once, each starts a container.
async fn turns<S: Service>(fakes: &Runtime, agent: Agent, samples: usize) -> Turns {
    let (seen_first, rests) = match agent {
        Agent::Once => (Mark::Prompted, "idle"),
        Agent::Stays | Agent::StaysWithJournal => (Mark::FollowedUp, "resting"),
    };
    let mut house = House::of(CONFIG, agent, &ChatId::new(S::CHAT).unwrap()).await;
    let service = Arc::new(fakes.spawn(S::start()).await.unwrap());
    let stop = CancellationToken::new();
    let (watch, client) = service.connect(parts(&house, S::SECRETS), house.home(), stop.clone()).await;
    watch.wait_for(ChannelState::is_connected).await.unwrap();
    let mut posts = arrivals(fakes, service.clone());

    let mut turns = Turns::default();
    for number in 0..=WARM_UP + samples {
        let said = Instant::now();
        service.say(&format!("What is on my list for today? #{number}#"));
        // The first message of all is the prompt of the agent that stays.
        let mark = if number == 0 { Mark::Prompted } else { seen_first };
        let seen = house.marked(mark).await;
        let spoke = house.marked(Mark::Speaks).await;
        let posted = posts.recv().await.unwrap();
        house.state(rests).await;
        if number > WARM_UP {
            turns.seen.push(seen - said.into_std());
            turns.reply.push(posted.into_std() - spoke);
        }
    }
    stop.cancel();
    client.await.unwrap();
    house.end().await;
    turns
}

/// When each post arrived, by the clock of the fake's own thread.
fn arrivals<S: Service>(fakes: &Runtime, service: Arc<S>) -> mpsc::UnboundedReceiver<Instant> {
    let (told, arrivals) = mpsc::unbounded_channel();
    fakes.spawn(async move {
        for count in 1.. {
            service.posts(count).await;
            if told.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    arrivals
}

fn parts(house: &House, secrets: &[(&'static str, &'static str)]) -> ServiceParts<()> {
    let environment: BTreeMap<String, OsString> =
        secrets.iter().map(|(name, secret)| ((*name).to_owned(), secret.into())).collect();
    let (mut mistakes, mut remarks) = (Vec::new(), Vec::new());
    let credentials = Credentials::read(&environment, &CredentialsConfig::default(), &mut mistakes, &mut remarks);
    let orchestrator = house.orchestrator();
    let intake = Arc::new(orchestrator.inbox());
    ServiceParts { settings: (), credentials, intake, host: Arc::new(orchestrator.clone()), files: None }
}

fn with<S>(parts: ServiceParts<()>, settings: S) -> ServiceParts<S> {
    let ServiceParts { settings: (), credentials, intake, host, files } = parts;
    ServiceParts { settings, credentials, intake, host, files }
}

struct Slack(FakeSlack);

#[async_trait]
impl Service for Slack {
    const NAME: &'static str = "Slack";
    const CHAT: &'static str = "slack:C1";
    const SECRETS: &'static [(&'static str, &'static str)] =
        &[(slack::BOT_TOKEN, FakeSlack::BOT_TOKEN), (slack::APP_TOKEN, FakeSlack::APP_TOKEN)];

    async fn start() -> Self {
        let fake = FakeSlack::start().await.unwrap();
        fake.conversation("C1", "general");
        Self(fake)
    }

    async fn connect(
        &self,
        parts: ServiceParts<()>,
        _: &Home,
        stop: CancellationToken,
    ) -> (ChannelWatch, JoinHandle<()>) {
        let settings = SlackSettings { required: true, api_url: self.0.api_url().parse().unwrap() };
        let (watch, client) = slack::start(with(parts, settings), stop);
        (watch, tokio::spawn(client))
    }

    fn say(&self, text: &str) {
        self.0.say("C1", "U1", text);
    }

    async fn posts(&self, count: usize) {
        self.0.wait_until("a post", |seen| seen.posts.len() >= count).await;
    }
}

struct Discord(FakeDiscord);

#[async_trait]
impl Service for Discord {
    const NAME: &'static str = "Discord";
    const CHAT: &'static str = "dc:20";
    const SECRETS: &'static [(&'static str, &'static str)] = &[("DISCORD_BOT_TOKEN", FakeDiscord::BOT_TOKEN)];

    async fn start() -> Self {
        let fake = FakeDiscord::start().await.unwrap();
        fake.channel("20", "general");
        Self(fake)
    }

    async fn connect(
        &self,
        parts: ServiceParts<()>,
        _: &Home,
        stop: CancellationToken,
    ) -> (ChannelWatch, JoinHandle<()>) {
        let settings = DiscordSettings { required: true, api_url: self.0.api_url().parse().unwrap() };
        let (watch, client) = discord::start(with(parts, settings), stop);
        (watch, tokio::spawn(client))
    }

    fn say(&self, text: &str) {
        self.0.say("20", "11", text);
    }

    async fn posts(&self, count: usize) {
        self.0.wait_until("a post", |seen| seen.posts.len() >= count).await;
    }
}

struct Telegram(FakeTelegram);

const CLUB: i64 = FakeTelegram::SUPERGROUP - 55;

#[async_trait]
impl Service for Telegram {
    const NAME: &'static str = "Telegram";
    const CHAT: &'static str = "tg:-1000000000055";
    const SECRETS: &'static [(&'static str, &'static str)] = &[
        ("TELEGRAM_API_ID", "12345"),
        ("TELEGRAM_API_HASH", FakeTelegram::API_HASH),
        ("TELEGRAM_BOT_TOKEN", FakeTelegram::BOT_TOKEN),
    ];

    async fn start() -> Self {
        let fake = FakeTelegram::start().await.unwrap();
        fake.chat(CLUB, "Club");
        Self(fake)
    }

    async fn connect(
        &self,
        parts: ServiceParts<()>,
        home: &Home,
        stop: CancellationToken,
    ) -> (ChannelWatch, JoinHandle<()>) {
        let state = home.auth().join("telegram.db");
        // What it awaits cannot be moved between threads.
        let access = self.0.access();
        block_in_place(|| Handle::current().block_on(telegram_state::know(&state, &access)));
        let (watch, client) = telegram::start(with(parts, TelegramSettings { required: true, state }), stop);
        (watch, tokio::spawn(client))
    }

    fn say(&self, text: &str) {
        self.0.say(CLUB, 1001, text);
    }

    async fn posts(&self, count: usize) {
        self.0.wait_until("a message", |seen| seen.sent.len() >= count).await;
    }
}
