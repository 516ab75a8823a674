//! How the client comes to be let in.

use std::sync::Arc;

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Handshake};
use wacore::store::InMemoryBackend;
use whatsapp_rust::{pair_code::PairCodeOptions, prelude::Event};

use crate::bot::{ANN, Bot, FAMILY, linked};

/// A code to type, of the account's number.
fn typed() -> PairCodeOptions {
    PairCodeOptions { phone_number: "+1 555 000 9999".to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_device_is_linked_when_the_phone_scans_its_code_and_is_connected_at_once() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let store = Arc::new(InMemoryBackend::new());
    let mut bot = Bot::begin(&whatsapp, store.clone()).await;
    let code = bot
        .event("a code is shown", |event| match event {
            Event::PairingQrCode(shown) => Some(shown.code.clone()),
            _ => None,
        })
        .await;
    let nobody = whatsapp.scan("2@fake-9-1,AA==,AA==,AA==,1");
    assert!(nobody.is_err(), "a code that nobody shows");
    let began = std::time::Instant::now();
    whatsapp.scan(&code).expect("it is the client's");
    bot.event("it is linked", |event| matches!(event, Event::PairSuccess(_)).then_some(())).await;
    bot.event("it is connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    // Without the key of the phone it waits for 10 s.
    assert!(began.elapsed().as_secs() < 8, "it waited for the phone: {:?}", began.elapsed());
    let seen = whatsapp.seen();
    // What the first handshake showed is not kept by a device that is not linked yet.
    assert_eq!((seen.pairings, seen.logins, seen.handshakes), (1, 1, vec![Handshake::Xx, Handshake::Xx]));
    whatsapp.say(FAMILY, ANN, "welcome");
    assert_eq!(bot.heard_texts(1).await, ["welcome"]);
    bot.end().await;

    let mut bot = Bot::ready_with(&whatsapp, store).await;
    assert_eq!(whatsapp.seen().handshakes.last(), Some(&Handshake::Ik));
    whatsapp.say(FAMILY, ANN, "again");
    assert_eq!(bot.heard_texts(1).await, ["again"]);
    bot.end().await;
}

#[tokio::test]
async fn a_device_whose_store_was_seeded_logs_in_without_a_certificate() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let store = linked(&whatsapp).await;
    let bot = Bot::ready_with(&whatsapp, store.clone()).await;
    assert_eq!(bot.client.pn().map(|pn| pn.to_string()).as_deref(), Some(FakeWhatsApp::BOT_DEVICE));
    assert_eq!(bot.client.lid().map(|lid| lid.to_string()).as_deref(), Some(FakeWhatsApp::BOT_LID_DEVICE));
    bot.end().await;
    whatsapp.wait_until("it is gone", |seen| seen.open == 0).await;
    Bot::ready_with(&whatsapp, store).await.end().await;
    assert_eq!(whatsapp.seen().handshakes, [Handshake::Ik, Handshake::Ik]);
}

#[tokio::test]
async fn a_device_is_linked_when_its_code_is_typed_into_the_phone() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    assert!(whatsapp.enter_code("ABCD-1234").is_err(), "nobody shows a code");
    let store = Arc::new(InMemoryBackend::new());
    let mut bot = Bot::begin_with(&whatsapp, store, Some(typed())).await;
    let shown = |event: &Event| match event {
        Event::PairingCode(shown) => Some(shown.code.clone()),
        _ => None,
    };
    let code = bot.event("a code is shown", shown).await;
    let dashed = format!("{}-{}", &code[..4], &code[4..]);
    whatsapp.enter_code(&dashed).expect("it is shown");
    bot.event("it is linked", |event| matches!(event, Event::PairSuccess(_)).then_some(())).await;
    bot.event("it is connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
    assert_eq!((whatsapp.seen().pairings, whatsapp.seen().logins), (1, 1));
    whatsapp.say(FAMILY, ANN, "welcome");
    assert_eq!(bot.heard_texts(1).await, ["welcome"]);
    bot.end().await;
}

#[tokio::test]
async fn a_wrong_code_links_nothing_and_the_right_one_still_does_not_after_it() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let mut bot = Bot::begin_with(&whatsapp, Arc::new(InMemoryBackend::new()), Some(typed())).await;
    bot.event("a code is shown", |event| matches!(event, Event::PairingCode(_)).then_some(())).await;
    whatsapp.enter_code("AAAA-1111").expect("a code is shown");
    whatsapp.wait_until("the client answers", |seen| seen.count("md set link_code_companion_reg") == 2).await;
    assert_eq!(whatsapp.seen().pairings, 0);
    bot.end().await;
}

#[tokio::test]
async fn a_client_that_unlinks_itself_is_not_let_in_any_more() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let store = linked(&whatsapp).await;
    let bot = Bot::ready_with(&whatsapp, store.clone()).await;
    bot.client.logout().await;
    whatsapp.wait_until("it is gone", |seen| seen.open == 0).await;
    let mut bot = Bot::begin(&whatsapp, store).await;
    let refused = |event: &Event| match event {
        Event::LoggedOut(out) => Some(out.on_connect),
        _ => None,
    };
    assert!(bot.event("it is refused", refused).await, "at its login");
    assert_eq!((whatsapp.seen().logins, whatsapp.seen().failures), (1, 1));
    bot.end().await;
}
