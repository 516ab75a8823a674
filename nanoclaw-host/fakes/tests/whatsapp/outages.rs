//! Connections and messages that are lost, late, or doubled.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Fault};
use whatsapp_rust::prelude::*;

use crate::bot::{ANN, BOB, Bot, FAMILY, linked};

#[tokio::test]
async fn what_was_said_while_the_client_was_away_is_told_at_its_next_login() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let store = linked(&whatsapp).await;
    whatsapp.rename(FAMILY, BOB, "Our family");
    let early = whatsapp.say(FAMILY, ANN, "before it ever came");
    let mut bot = Bot::ready_with(&whatsapp, store.clone()).await;
    bot.hears_only("before it ever came").await;
    whatsapp.wait_until("it says that it has it", |seen| seen.received(&early) == 1).await;
    bot.end().await;
    whatsapp.wait_until("it is gone", |seen| seen.open == 0).await;
    for text in ["1", "2", "3"] {
        whatsapp.say(FAMILY, ANN, text);
    }
    let last = whatsapp.say(BOB, BOB, "privately");
    assert_eq!(whatsapp.waiting().len(), 4);

    let mut bot = Bot::ready_with(&whatsapp, store.clone()).await;
    let mut heard = Vec::new();
    for _ in 0..4 {
        let next = bot.heard().await;
        assert!(next.info.is_offline, "{next:?}");
        heard.push(next.text().to_owned());
    }
    let (private, family): (Vec<_>, Vec<_>) = heard.into_iter().partition(|text| text == "privately");
    assert_eq!((family, private.len()), (vec!["1".to_owned(), "2".to_owned(), "3".to_owned()], 1));
    whatsapp.wait_until("it says that it has all", |seen| seen.received(&last) > 0).await;
    whatsapp.say(FAMILY, ANN, "4");
    bot.hears_only("4").await;
    bot.end().await;

    let mut bot = Bot::ready_with(&whatsapp, store).await;
    whatsapp.say(FAMILY, ANN, "5");
    bot.hears_only("5").await;
    assert!(!whatsapp.seen().queries.is_empty());
    bot.end().await;
}

#[tokio::test]
async fn what_the_client_did_not_say_that_it_has_is_told_again() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, ANN] {
        whatsapp.fail_next("receipt", Fault::DropBefore);
        let id = whatsapp.say(chat, ANN, "lost receipt");
        bot.hears_only("lost receipt").await;
        // It comes again, and hears what it has heard already: it says so.
        whatsapp.wait_until("it says that it has it", |seen| seen.received(&id) == 1).await;
        assert!(whatsapp.waiting().is_empty());
        whatsapp.say(chat, ANN, "next");
        bot.hears_only("next").await;
    }
    bot.end().await;
}

#[tokio::test]
async fn a_message_is_told_twice_on_command() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    let id = whatsapp.say(FAMILY, ANN, "again");
    whatsapp.say_twice(FAMILY, &id);
    let (first, second) = (bot.heard().await, bot.heard().await);
    assert_eq!((first.text(), second.text(), &first.id, &second.id), ("again", "again", &id, &id));
    bot.end().await;
}

#[tokio::test]
async fn a_message_of_the_same_id_is_shown_once_whatever_became_of_the_first() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for (chat, number) in [(FAMILY, 1), (ANN, 2)] {
        for (fault, shown) in [(Fault::DropBefore, 0), (Fault::DropAfter, 1), (Fault::DropAfter, 1)] {
            let connections = whatsapp.seen().connections;
            whatsapp.fail_next("message", fault.clone());
            // The library says that it is sent as soon as it is written.
            let _ = bot.send(chat, wa::Message::text("once"), &format!("3EB0BB0{number}")).await;
            whatsapp.wait_until("it came again", |seen| seen.connections > connections && seen.open == 1).await;
            bot.event("it is connected", |event| matches!(event, Event::Connected(_)).then_some(())).await;
            // With the first, the key is lost by which people read what is said in the group: they ask for it.
            whatsapp.wait_until("it is shown", |seen| seen.posted(chat).len() == shown).await;
        }
        let repeats = whatsapp.seen().repeats;
        bot.send(chat, wa::Message::text("once"), &format!("3EB0BB0{number}")).await.expect("it is sent");
        whatsapp.wait_until("it is sent again", |seen| seen.repeats == repeats + 1).await;
        assert_eq!((whatsapp.posted(chat), repeats), (vec!["once".to_owned()], 2 * number - 1));
    }
    bot.end().await;
}

#[tokio::test]
async fn a_refused_message_and_a_slow_one_are_acknowledged_so() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    let error = |event: &Event| match event {
        Event::ServerAck(ack) if ack.class.as_deref() == Some("message") => Some((ack.id.clone(), ack.error.clone())),
        _ => None,
    };
    let _ = bot.send(FAMILY, wa::Message::text("first"), "3EB0CC00").await;
    assert_eq!(bot.event("it is taken", error).await, ("3EB0CC00".to_owned(), None));
    whatsapp.fail_next("message", Fault::Error(479));
    let _ = bot.send(FAMILY, wa::Message::text("refused"), "3EB0CC01").await;
    let acknowledged = bot.event("it is refused", error).await;
    assert_eq!(acknowledged, ("3EB0CC01".to_owned(), Some("479".to_owned())));
    assert_eq!(whatsapp.posted(FAMILY), ["first"]);

    whatsapp.fail_next("message", Fault::Slow);
    let _ = bot.send(FAMILY, wa::Message::text("slow"), "3EB0CC02").await;
    whatsapp.wait_until("it is sent", |seen| seen.posted(FAMILY) == ["first", "slow"]).await;
    let _ = bot.send(FAMILY, wa::Message::text("next"), "3EB0CC03").await;
    assert_eq!(bot.event("the next is taken", error).await, ("3EB0CC03".to_owned(), None));
    whatsapp.release();
    assert_eq!(bot.event("the slow one is taken", error).await, ("3EB0CC02".to_owned(), None));
    bot.end().await;
}
