//! Connections and news that are lost, late, doubled, or out of order.

use grammers_client::{InvocationError, tl, update::Update};
use nanoclaw_fakes::telegram::{FakeTelegram, Fault};

use crate::bot::{ANN, Bot, FAMILY, TEAM, family, send_message};

#[tokio::test]
async fn what_was_said_during_an_outage_is_told_exactly_once_afterwards() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say(FAMILY, ANN, "f0");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["f0", "t0"]);

    telegram.refuse_connections(2);
    telegram.drop_connections();
    telegram.wait_until("the connection is gone", |seen| seen.open == 0).await;
    for text in ["f1", "f2"] {
        telegram.say(FAMILY, ANN, text);
    }
    telegram.say(TEAM, ANN, "t1");
    assert_eq!(bot.heard_texts(3).await, ["f1", "f2", "t1"]);
    assert_eq!(telegram.seen().refused, 2);

    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.say(FAMILY, ANN, "f3");
    telegram.say(TEAM, ANN, "t2");
    telegram.slice_differences(1);
    telegram.say(FAMILY, ANN, "f4");
    let mut bot = Bot::begin(&telegram, session).await;
    let mut heard = bot.heard_texts(3).await;
    heard.sort();
    assert_eq!(heard, ["f3", "f4", "t2"]);
    telegram.say(TEAM, ANN, "t3");
    assert_eq!(bot.heard_texts(1).await, ["t3"], "and nothing twice");
    bot.end().await;
}

#[tokio::test]
async fn doubled_and_reordered_news_are_heard_once_and_in_order() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    for chat in [FAMILY, TEAM] {
        telegram.say(chat, ANN, "0");
        assert_eq!(bot.heard_texts(1).await, ["0"]);
        telegram.hold_pushes();
        telegram.say(chat, ANN, "1");
        telegram.say(chat, ANN, "2");
        telegram.release_pushes_reversed();
        telegram.push_again();
        telegram.say(chat, ANN, "3");
        assert_eq!(bot.heard_texts(3).await, ["1", "2", "3"]);
    }
    bot.end().await;
}

// Apart from reordered news: once such a gap is closed, the library's clock runs out for it all the same, and takes away that of a gap that
// was found meanwhile.
#[tokio::test]
async fn lost_news_are_found_by_the_gap_that_they_leave() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    for chat in [FAMILY, TEAM] {
        telegram.say(chat, ANN, "0");
        assert_eq!(bot.heard_texts(1).await, ["0"]);
        telegram.hold_pushes();
        telegram.say(chat, ANN, "1");
        telegram.lose_pushes();
        telegram.say(chat, ANN, "2");
        assert_eq!(bot.heard_texts(2).await, ["1", "2"]);
    }
    bot.end().await;
}

#[tokio::test]
async fn a_message_of_the_same_random_id_is_shown_once_whatever_became_of_the_first() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    let bot = Bot::signed_in(&telegram).await;
    telegram.fail_next_in("messages.sendMessage", FAMILY, Fault::FloodWait { seconds: 3 });
    let limited = bot.send(family(), "once", 9).await.expect_err("it is to wait");
    assert!(matches!(&limited, InvocationError::Rpc(error) if error.name == "FLOOD_WAIT" && error.value == Some(3)));
    for (number, fault) in [Fault::DropBefore, Fault::DropAfter, Fault::Half].into_iter().enumerate() {
        telegram.fail_next("messages.sendMessage", fault.clone());
        assert!(bot.send(family(), "once", 9).await.is_err(), "{fault:?}");
        telegram.wait_until("the connection is gone", |seen| seen.open == 0).await;
        assert_eq!(telegram.posted(FAMILY).len(), number.min(1), "{fault:?}");
    }
    let again = bot.send(family(), "once", 9).await.expect("nothing is wrong any more");
    assert!(matches!(again, tl::enums::Updates::Updates(updates) if updates.updates.len() == 2));
    assert_eq!((telegram.posted(FAMILY), telegram.seen().repeats), (vec!["once".to_owned()], 2));

    telegram.fail_next("messages.sendMessage", Fault::Stuck);
    let (client, request) = (bot.client.clone(), send_message(family(), "later", 10));
    let first = tokio::spawn(async move { client.invoke(&request).await });
    telegram.wait_until("the second text", |seen| seen.count("messages.sendMessage") == 6).await;
    let meanwhile = bot.send(family(), "later", 10).await;
    assert!(meanwhile.is_err_and(|error| error.is("RANDOM_ID_DUPLICATE")));
    telegram.release();
    first.await.expect("it does not panic").expect("it is sent");
    assert_eq!(telegram.posted(FAMILY), ["once", "later"]);
    bot.end().await;
}

#[tokio::test]
async fn what_changed_while_the_bot_was_away_is_told_afterwards() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    let id = telegram.say(FAMILY, ANN, "helo");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["helo", "t0"]);
    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.edit(FAMILY, id, "hello");
    let removed = telegram.say(FAMILY, ANN, "never mind");
    telegram.delete(FAMILY, &[removed]);
    telegram.block(ANN, true);
    telegram.remove_bot(TEAM, ANN);
    let mut bot = Bot::begin(&telegram, session).await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(match bot.update().await {
            Update::MessageEdited(message) => format!("edited {}", message.text()),
            Update::MessageDeleted(deletion) => format!("deleted {:?}", deletion.messages()),
            Update::Raw(raw) => format!("{:?}", raw.raw).chars().take_while(|c| c.is_alphanumeric()).collect(),
            Update::NewMessage(message) => format!("new {}", message.text()),
            other => format!("{other:?}"),
        });
    }
    heard.sort();
    assert_eq!(heard, ["BotStopped", "ChannelParticipant", &format!("deleted [{removed}]"), "edited hello"]);
    bot.end().await;
}

#[tokio::test]
async fn what_is_forgotten_is_not_told_and_the_client_goes_on_from_there() {
    let telegram = FakeTelegram::start().await.expect("loopback");
    telegram.chat(FAMILY, "Family");
    telegram.chat(TEAM, "Team");
    let mut bot = Bot::signed_in(&telegram).await;
    telegram.say(FAMILY, ANN, "f0");
    telegram.say(TEAM, ANN, "t0");
    assert_eq!(bot.heard_texts(2).await, ["f0", "t0"]);
    let session = bot.end().await;
    telegram.wait_until("the bot is gone", |seen| seen.open == 0).await;
    telegram.say(FAMILY, ANN, "f1");
    telegram.say(TEAM, ANN, "t1");
    telegram.forget_changes();
    telegram.fail_next("updates.getDifference", Fault::Slow);
    let before = telegram.seen().count("updates.getDifference");
    let mut bot = Bot::begin(&telegram, session).await;
    {
        let waiting = bot.heard();
        tokio::pin!(waiting);
        let asked = telegram.wait_until("it asks", |seen| seen.count("updates.getDifference") > before);
        tokio::select! {
            () = asked => {}
            message = &mut waiting => panic!("{:?} came before the answer", message.text()),
        }
        telegram.release();
        let asked = telegram.wait_until("it asks of the team", |seen| seen.count("updates.getChannelDifference") > 0);
        tokio::select! {
            () = asked => {}
            message = &mut waiting => panic!("{:?} was forgotten", message.text()),
        }
        telegram.say(TEAM, ANN, "t2");
        assert_eq!(waiting.await.text(), "t2");
    }
    telegram.say(FAMILY, ANN, "f2");
    assert_eq!(bot.heard_texts(1).await, ["f2"]);
    bot.end().await;
}
