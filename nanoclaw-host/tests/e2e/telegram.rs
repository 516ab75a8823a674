//! A group on Telegram: the real program against a fake Telegram.

use std::ops::Deref;

use nanoclaw_fakes::telegram::FakeTelegram;
use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::until,
    telegram_state,
};

const ANN: i64 = 1001;
const BOB: i64 = 1002;
const CLUB: i64 = FakeTelegram::SUPERGROUP - 55;

/// A fake Telegram with the supergroup "Club", and what it runs on.
struct Telegram {
    fake: FakeTelegram,
    _runtime: tokio::runtime::Runtime,
}

impl Deref for Telegram {
    type Target = FakeTelegram;
    fn deref(&self) -> &FakeTelegram {
        &self.fake
    }
}

/// A home whose one group is that supergroup, in the sandbox.
fn place() -> Option<(Place, Telegram)> {
    let place = Place::on(On::Sandbox)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = runtime.block_on(FakeTelegram::start()).unwrap();
    fake.chat(CLUB, "Club");
    place.configure("[channels.telegram]\nenabled = true\n");
    let (id, hash, token) = (FakeTelegram::API_ID, FakeTelegram::API_HASH, FakeTelegram::BOT_TOKEN);
    place.credential(&format!("TELEGRAM_API_ID={id}\nTELEGRAM_API_HASH={hash}\nTELEGRAM_BOT_TOKEN={token}"));
    runtime.block_on(telegram_state::know(&place.home().auth().join("telegram.db"), &fake.access()));
    place.run(["groups", "add", "tg:-1000000000055", "--name", "Club"]).succeeded();
    Some((place, Telegram { fake, _runtime: runtime }))
}

fn posted(telegram: &Telegram, count: usize) -> Vec<String> {
    until("the answers are there", || Some(telegram.posted(CLUB)).filter(|posted| posted.len() >= count))
}

/// Waits until the program says that it is connected.
fn connected(place: &Place) {
    until("it is connected", || {
        let channels = place.json(["channels", "--json"]);
        let state = channels.as_array()?.iter().find(|channel| channel["name"] == "telegram")?;
        (state["connected"] == true).then_some(())
    });
}

#[test]
fn a_group_on_telegram_has_the_same_conversation_as_a_terminal() {
    let Some((place, telegram)) = place() else { return };
    let service = place.service();
    connected(&place);
    telegram.say(CLUB, ANN, "this is context");
    telegram.say(CLUB, BOB, "@andy_bot good morning");
    assert_eq!(posted(&telegram, 1), ["heard this is context\nheard @Andy good morning"]);
    telegram.drop_connections();
    telegram.say(CLUB, ANN, "@andy_bot and a follow-up");
    assert_eq!(posted(&telegram, 2)[1..], ["heard @Andy and a follow-up"]);
    assert_eq!(place.rows("SELECT sender_name FROM messages ORDER BY seq"), ["Ann", "Bob", "Ann"]);
    assert!(telegram.seen().actions.iter().any(|(chat, _)| *chat == CLUB), "that it is at work is shown");
    assert!(place.run(["channels"]).succeeded().contains("telegram"));
    let status = place.json(["ps", "--json"]);
    assert_eq!(status["groups"][0]["connected"], true, "{status}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));

    // Nobody was told the token or the hash.
    let log = std::fs::read_dir(place.home().root().join("store/logs")).unwrap();
    for entry in log.flatten().filter(|entry| entry.path().is_file()) {
        let text = std::fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(FakeTelegram::BOT_TOKEN) && !text.contains(FakeTelegram::API_HASH), "{text}");
    }
}

#[test]
fn a_host_killed_between_send_and_record_says_nothing_twice_on_telegram() {
    let Some((place, telegram)) = place() else { return };
    let dying = place.service_that_dies_at("channel.send.after:1");
    connected(&place);
    telegram.say(CLUB, ANN, "@andy_bot good morning");
    assert_eq!(dying.ended().code, None, "it was killed");
    assert_eq!(telegram.posted(CLUB).len(), 1, "it was sent, and nobody wrote that down");
    let service = place.service();
    connected(&place);
    telegram.say(CLUB, ANN, "@andy_bot and again");
    assert_eq!(posted(&telegram, 2), ["heard @Andy good morning", "heard @Andy and again"]);
    assert_eq!(place.rows("SELECT state FROM outbox ORDER BY id")[0], "sent");
    assert_eq!(telegram.seen().repeats, 1, "it was sent again, and shown once");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

#[test]
fn a_host_killed_between_receive_and_acknowledge_hears_it_again_and_answers_once_on_telegram() {
    let Some((place, telegram)) = place() else { return };
    // Committed, and nobody noted up to where Telegram was heard.
    let dying = place.service_that_dies_at("store.accept.after:1");
    connected(&place);
    telegram.say(CLUB, ANN, "@andy_bot message 0");
    assert_eq!(dying.ended().code, None, "it was killed");
    // Not even committed.
    telegram.say(CLUB, ANN, "@andy_bot message 1");
    assert_eq!(place.service_that_dies_at("store.accept.before:2").ended().code, None, "it was killed");
    let service = place.service();
    let answers = until("both are answered", || {
        let posted = telegram.posted(CLUB).join("\n");
        (posted.contains("message 0") && posted.contains("message 1")).then_some(posted)
    });
    assert_eq!(answers.matches("message 0").count() + answers.matches("message 1").count(), 2, "{answers}");
    assert_eq!(place.rows("SELECT CAST(count(*) AS TEXT) FROM messages"), ["2"]);
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
