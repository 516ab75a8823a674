//! What ends a client's connection, for a while or for good.

use nanoclaw_fakes::whatsapp::FakeWhatsApp;
use whatsapp_rust::prelude::*;

use crate::bot::{ANN, Bot, FAMILY, linked};

#[tokio::test]
async fn a_client_comes_again_after_connections_were_dropped_refused_or_ended() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    whatsapp.refuse_connections(1);
    whatsapp.drop_connections();
    whatsapp.wait_until("it comes again", |seen| (seen.refused, seen.active) == (1, 2)).await;
    whatsapp.say(FAMILY, ANN, "1");
    bot.hears_only("1").await;
    whatsapp.end_stream(515);
    whatsapp.wait_until("it comes again", |seen| seen.active == 3).await;
    whatsapp.say(FAMILY, ANN, "2");
    bot.hears_only("2").await;
    bot.end().await;
}

#[tokio::test]
async fn who_is_unlinked_by_the_phone_is_told_so_and_stays_out() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let store = linked(&whatsapp).await;
    let mut bot = Bot::ready_with(&whatsapp, store.clone()).await;
    whatsapp.log_out();
    let told = |event: &Event| match event {
        Event::LoggedOut(out) => Some(out.on_connect),
        _ => None,
    };
    assert!(!bot.event("it is told", told).await, "in its stream");
    bot.end().await;
    let mut bot = Bot::begin(&whatsapp, store).await;
    assert!(bot.event("it is told", told).await, "at its login");
    assert_eq!((whatsapp.seen().logins, whatsapp.seen().failures), (1, 1));
    bot.end().await;
}

#[tokio::test]
async fn a_second_connection_of_the_same_device_takes_the_place_of_the_first() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let store = linked(&whatsapp).await;
    let mut first = Bot::ready_with(&whatsapp, store.clone()).await;
    let replaced = |event: &Event| matches!(event, Event::StreamReplaced(_)).then_some(());
    let mut second = Bot::ready_with(&whatsapp, store).await;
    first.event("it is replaced", replaced).await;
    whatsapp.wait_until("there is one", |seen| seen.open == 1).await;
    whatsapp.replace();
    second.event("it is replaced", replaced).await;
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn bans_and_old_versions_are_told_at_the_login() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let store = linked(&whatsapp).await;
    let bot = Bot::ready_with(&whatsapp, store.clone()).await;
    whatsapp.ban(3600);
    // Dropped, it comes again, and is refused.
    let mut bot = bot;
    let banned = |event: &Event| match event {
        Event::TemporaryBan(ban) => Some(ban.expire.num_seconds()),
        _ => None,
    };
    assert_eq!(bot.event("it is banned", banned).await, 3600);
    bot.end().await;
    whatsapp.outdate();
    let mut bot = Bot::begin(&whatsapp, store.clone()).await;
    bot.event("it is too old", |event| matches!(event, Event::ClientOutdated(_)).then_some(())).await;
    bot.end().await;
    whatsapp.allow_logins();
    Bot::ready_with(&whatsapp, store).await.end().await;
}
