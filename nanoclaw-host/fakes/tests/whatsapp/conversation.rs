//! What people and the bot say to each other.

use nanoclaw_fakes::whatsapp::FakeWhatsApp;
use whatsapp_rust::prelude::*;

use crate::bot::{ANN, BOB, Bot, FAMILY, TEAM};

#[tokio::test]
async fn what_is_said_in_groups_and_privately_is_heard_with_who_said_it_and_answered() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    whatsapp.group(TEAM, "Team");
    let mut bot = Bot::ready(&whatsapp).await;
    for (chat, who, name) in [(FAMILY, ANN, "Ann"), (FAMILY, BOB, "Bob"), (TEAM, ANN, "Ann"), (BOB, BOB, "Bob")] {
        for turn in 1..=2 {
            let id = whatsapp.say(chat, who, &format!("hello {turn} from {name}"));
            let heard = bot.heard().await;
            assert_eq!(heard.text(), format!("hello {turn} from {name}"));
            assert_eq!((heard.id.as_str(), heard.info.push_name.as_str()), (id.as_str(), name));
            assert_eq!(heard.info.source.chat.to_string(), chat);
            assert_eq!(heard.info.source.sender.to_string(), who);
            whatsapp.wait_until("it says that it has it", |seen| seen.received(&id) > 0).await;
            let answer = format!("hello {turn}, {name}");
            bot.send(chat, wa::Message::text(answer.as_str()), &format!("3EB0{chat}{who}{turn}"))
                .await
                .expect("it is sent");
            whatsapp.wait_until("an answer", |seen| seen.posted(chat).contains(&answer)).await;
        }
    }
    assert_eq!(whatsapp.posted(FAMILY), ["hello 1, Ann", "hello 2, Ann", "hello 1, Bob", "hello 2, Bob"]);
    assert_eq!((whatsapp.posted(TEAM).len(), whatsapp.posted(BOB).len()), (2, 2));
    let seen = whatsapp.seen();
    assert!(seen.unreadable.is_empty(), "{:?}", seen.unreadable);
    assert_eq!((seen.repeats, whatsapp.waiting()), (0, Vec::new()));
    bot.end().await;
}
