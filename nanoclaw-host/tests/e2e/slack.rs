//! A group on Slack: the real program against a fake Slack.

use std::ops::Deref;

use nanoclaw_fakes::slack::FakeSlack;
use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::until,
};

/// A fake Slack with the conversation C1, and what it runs on.
struct Slack {
    fake: FakeSlack,
    _runtime: tokio::runtime::Runtime,
}

impl Deref for Slack {
    type Target = FakeSlack;
    fn deref(&self) -> &FakeSlack {
        &self.fake
    }
}

/// A home whose one group is the conversation C1, in the sandbox.
fn place() -> Option<(Place, Slack)> {
    let place = Place::on(On::Sandbox)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = runtime.block_on(FakeSlack::start()).unwrap();
    fake.conversation("C1", "family");
    place.configure(&format!("[channels.slack]\napi_url = \"{}\"\n", fake.api_url()));
    let (bot, app) = (FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN);
    place.credential(&format!("SLACK_BOT_TOKEN={bot}\nSLACK_APP_TOKEN={app}"));
    place.run(["groups", "add", "slack:C1", "--name", "Family"]).succeeded();
    Some((place, Slack { fake, _runtime: runtime }))
}

fn posted(slack: &Slack, count: usize) -> Vec<String> {
    until("the answers are posted", || Some(slack.posted("C1")).filter(|posted| posted.len() >= count))
}

#[test]
fn a_group_on_slack_has_the_same_conversation_as_a_terminal() {
    let Some((place, slack)) = place() else { return };
    let service = place.service();
    slack.say("C1", "U1", "this is context");
    slack.say("C1", "U2", "<@UBOT> good morning");
    assert_eq!(posted(&slack, 1), ["heard this is context\nheard @Andy good morning"]);
    slack.drop_connections();
    slack.say("C1", "U1", "<@UBOT> and a follow-up");
    assert_eq!(posted(&slack, 2)[1..], ["heard @Andy and a follow-up"]);
    assert_eq!(place.rows("SELECT sender_name FROM messages ORDER BY seq"), ["Ann", "Bob", "Ann"]);

    // The follow-up may have come by the old connection: the new one is waited for.
    until("it is connected again", || {
        let channels = place.json(["channels", "--json"]);
        let state = channels.as_array()?.iter().find(|channel| channel["name"] == "slack")?;
        (slack.seen().connections == 2 && state["connected"] == true).then_some(())
    });
    assert!(place.run(["channels"]).succeeded().contains("slack"));
    let status = place.json(["ps", "--json"]);
    assert_eq!(status["groups"][0]["connected"], true, "{status}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));

    // Nobody was told the tokens.
    let log = std::fs::read_dir(place.home().root().join("store/logs")).unwrap();
    for entry in log.flatten().filter(|entry| entry.path().is_file()) {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(FakeSlack::BOT_TOKEN) && !text.contains(FakeSlack::APP_TOKEN), "{text}");
    }
}

#[test]
fn a_host_killed_between_send_and_record_says_nothing_twice_on_slack() {
    let Some((place, slack)) = place() else { return };
    let dying = place.service_that_dies_at("channel.send.after:1");
    slack.say("C1", "U1", "<@UBOT> good morning");
    assert_eq!(dying.ended().code, None, "it was killed");
    assert_eq!(slack.posted("C1").len(), 1, "it was sent, and nobody wrote that down");
    let service = place.service();
    slack.say("C1", "U1", "<@UBOT> and again");
    let posted = posted(&slack, 2);
    assert_eq!(posted, ["heard @Andy good morning", "heard @Andy and again"]);
    assert_eq!(place.rows("SELECT state FROM outbox ORDER BY id")[0], "sent");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
