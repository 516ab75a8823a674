//! A group on Discord: the real program against a fake Discord.

use std::ops::Deref;

use nanoclaw_fakes::discord::FakeDiscord;
use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::until,
};

/// A fake Discord with the channel 20, and what it runs on.
struct Discord {
    fake: FakeDiscord,
    _runtime: tokio::runtime::Runtime,
}

impl Deref for Discord {
    type Target = FakeDiscord;
    fn deref(&self) -> &FakeDiscord {
        &self.fake
    }
}

/// A home whose one group is the channel 20, in the sandbox.
fn place() -> Option<(Place, Discord)> {
    let place = Place::on(On::Sandbox)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = runtime.block_on(FakeDiscord::start()).unwrap();
    fake.channel("20", "family");
    place.configure(&format!("[channels.discord]\napi_url = \"{}\"\n", fake.api_url()));
    place.credential(&format!("DISCORD_BOT_TOKEN={}", FakeDiscord::BOT_TOKEN));
    place.run(["groups", "add", "dc:20", "--name", "Family"]).succeeded();
    Some((place, Discord { fake, _runtime: runtime }))
}

fn posted(discord: &Discord, count: usize) -> Vec<String> {
    until("the answers are posted", || Some(discord.posted("20")).filter(|posted| posted.len() >= count))
}

#[test]
fn a_group_on_discord_has_the_same_conversation_as_a_terminal() {
    let Some((place, discord)) = place() else { return };
    let service = place.service();
    discord.say("20", "11", "this is context");
    discord.say("20", "12", "<@99> good morning");
    assert_eq!(posted(&discord, 1), ["heard this is context\nheard @Andy good morning"]);
    discord.drop_connections();
    discord.say("20", "11", "<@99> and a follow-up");
    assert_eq!(posted(&discord, 2)[1..], ["heard @Andy and a follow-up"]);
    assert_eq!(place.rows("SELECT sender_name FROM messages ORDER BY seq"), ["Ann", "Bob", "Ann"]);

    // The follow-up may have come by the old connection: the new one is waited for.
    until("it is connected again", || {
        let channels = place.json(["channels", "--json"]);
        let state = channels.as_array()?.iter().find(|channel| channel["name"] == "discord")?;
        (discord.seen().resumed.len() == 1 && state["connected"] == true).then_some(())
    });
    assert!(place.run(["channels"]).succeeded().contains("discord"));
    let status = place.json(["ps", "--json"]);
    assert_eq!(status["groups"][0]["connected"], true, "{status}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));

    // What is said while no host is there is answered by the next one.
    discord.say("20", "12", "<@99> are you there?");
    let service = place.service();
    assert_eq!(posted(&discord, 3)[2..], ["heard @Andy are you there?"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));

    // Nobody was told the token.
    let log = std::fs::read_dir(place.home().root().join("store/logs")).unwrap();
    for entry in log.flatten().filter(|entry| entry.path().is_file()) {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(FakeDiscord::BOT_TOKEN), "{text}");
    }
}

#[test]
fn a_host_killed_between_send_and_record_says_nothing_twice_on_discord() {
    let Some((place, discord)) = place() else { return };
    let dying = place.service_that_dies_at("channel.send.after:1");
    discord.say("20", "11", "<@99> good morning");
    assert_eq!(dying.ended().code, None, "it was killed");
    assert_eq!(discord.posted("20").len(), 1, "it was sent, and nobody wrote that down");
    // The next host comes so late that Discord itself would show it twice.
    discord.forget_nonces();
    let service = place.service();
    discord.say("20", "11", "<@99> and again");
    let posted = posted(&discord, 2);
    assert_eq!(posted, ["heard @Andy good morning", "heard @Andy and again"]);
    assert_eq!(place.rows("SELECT state FROM outbox ORDER BY id")[0], "sent");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
