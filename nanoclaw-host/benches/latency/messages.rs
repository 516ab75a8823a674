//! What the host itself adds: to a message on its way in, to a follow-up, and to a reply on its way out.

use std::time::Duration;

use crate::{
    figures::Figure,
    house::{Agent, House, Mark},
};

/// Samples that are thrown away: the first ones meet cold caches and new files.
const WARM_UP: usize = 20;

const OFFLINE: &str = "[agent]\nprovider = \"offline\"\n";
const WITH_GATEWAY: &str = "[agent]\nprovider = \"claude\"\n";

pub(crate) fn measure(samples: usize) -> Vec<Figure> {
    // What `nanoclaw` itself runs on.
    let runtime = nanoclaw_host::cli::event_loop().unwrap();
    runtime.block_on(async {
        let mut figures = Vec::new();
        eprintln!("{samples} runs of a container that starts at once");
        let runs = new_runs(OFFLINE, samples).await;
        figures.push(Figure::times("accept: message handed in to committed", &runs.accept));
        figures.push(Figure::times("message accepted to prompt whole in a new container", &runs.prompt).under(3.0));
        figures.push(Figure::times("the same from before the message's own commit", &runs.whole));
        eprintln!("{samples} runs with a gateway");
        let runs = new_runs(WITH_GATEWAY, samples).await;
        figures.push(Figure::times("message accepted to prompt, group with a gateway", &runs.prompt).under(3.0));
        eprintln!("{samples} follow-ups");
        let turns = follow_ups(Agent::Stays, samples).await;
        figures.push(Figure::times("follow-up accepted to file seen by the live agent", &turns.seen).under(2.0));
        figures.push(Figure::times("block written to the stream to channel asked to send", &turns.reply).under(3.0));
        eprintln!("{samples} follow-ups with a journal");
        let turns = follow_ups(Agent::StaysWithJournal, samples).await;
        let name = "block written to journal and stream to channel asked to send";
        figures.push(Figure::times(name, &turns.reply).under(3.0));
        figures.push(Figure::times("whole turn of a live agent: handed in to channel asked to send", &turns.whole));
        figures
    })
}

#[derive(Default)]
struct Runs {
    accept: Vec<Duration>,
    prompt: Vec<Duration>,
    whole: Vec<Duration>,
}

/// A message to an idle group, again and again: each starts a container.
async fn new_runs(config: &str, samples: usize) -> Runs {
    let mut house = House::new(config, Agent::Once).await;
    let mut runs = Runs::default();
    for number in 0..WARM_UP + samples {
        let (before, accepted) = house.accept(&format!("run-{number}")).await;
        let prompted = house.marked(Mark::Prompted).await;
        house.marked(Mark::Sent).await;
        house.state("idle").await;
        if number >= WARM_UP {
            runs.accept.push(accepted - before);
            runs.prompt.push(prompted.saturating_duration_since(accepted));
            runs.whole.push(prompted - before);
        }
    }
    house.end().await;
    runs
}

#[derive(Default)]
struct Turns {
    seen: Vec<Duration>,
    reply: Vec<Duration>,
    whole: Vec<Duration>,
}

/// A message to a group whose agent rests, again and again: each becomes a file for it.
async fn follow_ups(agent: Agent, samples: usize) -> Turns {
    let mut house = House::new(OFFLINE, agent).await;
    house.accept("first").await;
    house.marked(Mark::Sent).await;
    house.state("resting").await;
    let mut turns = Turns::default();
    for number in 0..WARM_UP + samples {
        let (before, accepted) = house.accept(&format!("follow-up-{number}")).await;
        let seen = house.marked(Mark::FollowedUp).await;
        let spoke = house.marked(Mark::Speaks).await;
        let sent = house.marked(Mark::Sent).await;
        house.state("resting").await;
        if number >= WARM_UP {
            turns.seen.push(seen.saturating_duration_since(accepted));
            turns.reply.push(sent - spoke);
            turns.whole.push(sent - before);
        }
    }
    house.end().await;
    turns
}
