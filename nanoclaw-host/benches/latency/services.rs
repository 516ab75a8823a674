//! What a message costs on its way from a chat service to the agent, and a reply on its way back, with the service's real client
//! and a fake of the service on loopback, which runs by itself, on a thread of its own. WhatsApp's client is the program
//! `nanoclaw-whatsapp`, which speaks to the host over the bridge's socket.
//!
//! The first rows of each service are the host's own work, by the steps that it logs: from the moment when the client of the service has
//! a message in its hands to its prompt, and from the moment when a reply is read to its request at the service, which is later than on the
//! wire. In the other rows is more: on the way in, what the fake does from the moment when somebody writes, the socket, and what the
//! agent does to see it; on the way out, the block's way from the agent, with the file in its journal.

mod clients;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use nanoclaw_core::chat::ChatId;
use nanoclaw_host::{channels::ports::ServiceParts, config::CredentialsConfig, credentials::Credentials};
use tokio::{runtime::Runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

use self::clients::Client;
use crate::{
    crowd::services::{discord::Discord, slack::Slack, telegram::Telegram, whatsapp::WhatsApp},
    figures::Figure,
    house::{Agent, House, Mark, installation},
    program::Installation,
    steps::Steps,
};

/// Samples that are thrown away: the first ones meet cold caches and new files.
const WARM_UP: usize = 20;
const CONFIG: &str = "[agent]\nprovider = \"offline\"\n";
/// The chat that is written in.
const CHAT: usize = 0;

/// `whatsapp` is the program that WhatsApp is reached by.
pub(crate) fn measure(whatsapp: &Path, samples: usize) -> Vec<Figure> {
    let steps = Steps::install();
    let mut figures = Vec::new();
    figures.extend(of::<Slack>(whatsapp, samples, &steps));
    figures.extend(of::<Discord>(whatsapp, samples, &steps));
    figures.extend(of::<Telegram>(whatsapp, samples, &steps));
    if whatsapp.is_file() {
        figures.extend(of::<WhatsApp>(whatsapp, samples, &steps));
    } else {
        eprintln!("skipped: WhatsApp needs {}", whatsapp.display());
    }
    figures
}

fn of<C: Client>(whatsapp: &Path, samples: usize, steps: &Steps) -> Vec<Figure> {
    let name = C::NAME;
    eprintln!("{samples} runs and {samples} follow-ups by {name}");
    let runs = turns::<C>(whatsapp, Agent::Once, samples, steps);
    let follow_ups = turns::<C>(whatsapp, Agent::StaysWithJournal, samples, steps);
    let row = |what: &str, samples: &[Duration]| Figure::times(format!("{name}: {what}"), samples).under(3.0);
    vec![
        row("seen by the client to prompt written, new container", &runs.written),
        row("seen by the client to follow-up written, live agent", &follow_ups.written),
        row("reply decoded to request at the service", &follow_ups.replied),
        row("somebody writes to prompt whole in a new container", &runs.inside),
        row("somebody writes to follow-up file seen by the live agent", &follow_ups.inside),
        row("block written to journal and stream to post at the service", &follow_ups.posted),
    ]
}

#[derive(Default)]
struct Turns {
    /// From a message that the client sees to what is written for the agent.
    written: Vec<Duration>,
    /// From the decoded reply to the post at the service.
    replied: Vec<Duration>,
    /// From somebody who writes to the agent that sees it.
    inside: Vec<Duration>,
    /// From the agent that speaks to the post at the service.
    posted: Vec<Duration>,
}

/// A message and its answer, again and again: for an agent that answers once, each starts a container.
fn turns<C: Client>(whatsapp: &Path, agent: Agent, samples: usize, steps: &Steps) -> Turns {
    let fakes = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let installation = installation(CONFIG);
    let service = fakes.block_on(C::start(&installation.home, whatsapp));
    let posts = arrivals(&fakes, &service);
    // What `nanoclaw` itself runs on.
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    runtime.block_on(talk(installation, service, posts, agent, samples, steps))
}

async fn talk<C: Client>(
    installation: Installation,
    mut service: C,
    mut posts: mpsc::UnboundedReceiver<(Instant, SystemTime)>,
    agent: Agent,
    samples: usize,
    steps: &Steps,
) -> Turns {
    let (seen_first, written_as, rests) = match agent {
        Agent::Once => (Mark::Prompted, "prompt written", "idle"),
        Agent::Stays | Agent::StaysWithJournal => (Mark::FollowedUp, "follow-up written", "resting"),
    };
    let chat = service.address(CHAT);
    let mut house = House::of(installation, CONFIG, agent, &ChatId::new(&chat).unwrap()).await;
    let stop = CancellationToken::new();
    let client = service.connect(parts(&house, C::SECRETS), house.home(), steps, stop.clone()).await;

    let mut turns = Turns::default();
    for number in 0..=WARM_UP + samples {
        steps.begin();
        let said = Instant::now();
        service.say(CHAT, &format!("What is on my list for today? #{number}#"));
        // The first message of all is the prompt of the agent that stays.
        let mark = if number == 0 { Mark::Prompted } else { seen_first };
        let inside = house.marked(mark).await;
        let spoke = house.marked(Mark::Speaks).await;
        let (posted, posted_at) = posts.recv().await.unwrap();
        house.state(rests).await;
        if number <= WARM_UP {
            continue;
        }
        turns.inside.push(inside - said);
        turns.posted.push(posted - spoke);
        let seen = steps.first("seen", ("chat", &chat)).await;
        let committed = steps.first("committed", ("id", seen.field("id"))).await;
        let written = steps.first(written_as, ("through", committed.field("seq"))).await;
        let decoded = steps.first("reply decoded", ("run", written.field("run"))).await;
        // By one clock of the machine, which nothing sets back meanwhile.
        turns.written.push(written.at.duration_since(seen.at).unwrap());
        turns.replied.push(posted_at.duration_since(decoded.at).unwrap());
    }
    steps.end();
    stop.cancel();
    client.await.unwrap();
    house.end().await;
    turns
}

/// When each post arrived, by the clocks of the fake's own thread.
fn arrivals<C: Client>(fakes: &Runtime, service: &C) -> mpsc::UnboundedReceiver<(Instant, SystemTime)> {
    let (told, arrivals) = mpsc::unbounded_channel();
    let fake = service.fake();
    fakes.spawn(async move {
        for count in 1.. {
            C::posts(&fake, count).await;
            if told.send((Instant::now(), SystemTime::now())).is_err() {
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
