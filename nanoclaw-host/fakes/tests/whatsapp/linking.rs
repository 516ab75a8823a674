//! How the client comes to be let in.

use std::sync::Arc;

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Handshake};
use wacore::store::InMemoryBackend;
use whatsapp_rust::prelude::Event;

use crate::bot::{ANN, Bot, FAMILY, linked};

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
