//! Messages that somebody could not read.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Fault};
use whatsapp_rust::prelude::*;

use crate::bot::{ANN, BOB, Bot, FAMILY};

#[tokio::test]
async fn what_the_client_cannot_read_is_said_again_when_it_asks() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, BOB] {
        let who = if chat == FAMILY { ANN } else { BOB };
        for text in ["as the first", "later"] {
            whatsapp.spoil_next();
            let id = whatsapp.say(chat, who, text);
            let heard = bot.heard().await;
            assert_eq!((heard.text(), heard.id.as_str()), (text, id.as_str()));
            assert_eq!(whatsapp.seen().retries(&id), 1, "{text} in {chat}");
            whatsapp.wait_until("it says that it has it", |seen| seen.received(&id) > 0).await;
            whatsapp.say(chat, who, "and then");
            bot.hears_only("and then").await;
        }
    }
    bot.end().await;
}

#[tokio::test]
async fn what_the_client_asked_for_in_vain_it_asks_for_again() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for fault in [Fault::DropBefore, Fault::DropAfter] {
        whatsapp.spoil_next();
        whatsapp.fail_next("receipt", fault.clone());
        let id = whatsapp.say(FAMILY, ANN, "hello");
        bot.hears_only("hello").await;
        whatsapp.wait_until("it says that it has it", |seen| seen.waiting == 0).await;
        assert_eq!(whatsapp.seen().retries(&id), 1, "{fault:?}");
    }
    bot.end().await;
}

#[tokio::test]
async fn what_people_cannot_read_the_client_says_again() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, BOB] {
        for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
            if number == 1 {
                whatsapp.misread_next();
            }
            bot.send(chat, wa::Message::text(text), &format!("3EB0EE0{number}")).await.expect("it is sent");
            whatsapp.wait_until(text, |seen| seen.posted(chat).len() == number + 1).await;
        }
        assert_eq!(whatsapp.posted(chat), ["one", "two", "three"]);
        assert_eq!(whatsapp.seen().unreadable.len(), if chat == FAMILY { 2 } else { 3 }, "each once");
    }
    bot.end().await;
}
