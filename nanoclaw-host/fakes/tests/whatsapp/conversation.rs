//! What people and the bot say to each other.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Said, Sent};
use wa::message::protocol_message::Type;
use whatsapp_rust::{prelude::*, send::RevokeType};

use crate::bot::{ANN, BOB, Bot, FAMILY, Heard, TEAM, jid};

/// What a message says of others: the id and the author of what it quotes, and whom it mentions.
fn context(heard: &Heard) -> (Option<String>, Option<String>, Vec<String>) {
    let text = heard.message.extended_text_message.as_option().expect("it has a context");
    let context = text.context_info.as_option().expect("it has a context");
    (context.stanza_id.clone(), context.participant.clone(), context.mentioned_jid.clone())
}

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

#[tokio::test]
async fn mentions_and_quotes_are_heard_and_the_bots_own_are_seen() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    let asked = Said::text("@15550009999 who is there?").mention(FakeWhatsApp::BOT).mention(FakeWhatsApp::BOT_LID);
    let question = whatsapp.say_more(FAMILY, ANN, asked);
    let heard = bot.heard().await;
    let mentioned = vec![FakeWhatsApp::BOT.to_owned(), FakeWhatsApp::BOT_LID.to_owned()];
    assert_eq!((heard.text(), context(&heard)), ("@15550009999 who is there?", (None, None, mentioned)));

    let quoting = wa::ContextInfo {
        stanza_id: Some(question.clone()),
        participant: Some(ANN.to_owned()),
        quoted_message: MessageField::some((*heard.message).clone()),
        mentioned_jid: vec![BOB.to_owned()],
        ..Default::default()
    };
    bot.send(FAMILY, wa::Message::text_with_context("me, @15550001002", quoting), "3EB0AA01")
        .await
        .expect("it is sent");
    whatsapp.wait_until("an answer", |seen| seen.sent.len() == 1).await;
    let sent = Sent {
        chat: FAMILY.to_owned(),
        id: "3EB0AA01".to_owned(),
        text: "me, @15550001002".to_owned(),
        answers: Some(question),
        answered: Some(ANN.to_owned()),
        mentions: vec![BOB.to_owned()],
        ..Sent::default()
    };
    assert_eq!(whatsapp.seen().sent, [sent]);

    whatsapp.say_more(FAMILY, BOB, Said::text("and I").answer("3EB0AA01"));
    let heard = bot.heard().await;
    let quoted = (Some("3EB0AA01".to_owned()), Some(FakeWhatsApp::BOT.to_owned()), vec![]);
    assert_eq!((heard.text(), context(&heard)), ("and I", quoted));
    bot.end().await;
}

#[tokio::test]
async fn what_people_and_the_bot_change_afterwards_is_told_with_what_it_was() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for (chat, who) in [(FAMILY, ANN), (BOB, BOB)] {
        let id = whatsapp.say(chat, who, "helo");
        assert_eq!(bot.heard().await.text(), "helo");
        let change = whatsapp.edit(chat, &id, "hello");
        let heard = bot.heard().await;
        let wrapped = heard.message.edited_message.as_option().and_then(|wrapped| wrapped.message.as_option());
        let change_of = wrapped.unwrap_or(&heard.message).protocol_message.as_option().expect("it is a change");
        let key = change_of.key.as_option().expect("it says of what");
        assert_eq!((heard.id, key.id.as_deref()), (change, Some(id.as_str())));
        assert_eq!(change_of.edited_message.as_option().and_then(|now| now.text_content()), Some("hello"));

        bot.send(chat, wa::Message::text("helo"), "3EB0AA02").await.expect("it is sent");
        let now = wa::Message::text("hello");
        bot.client.edit_message(jid(chat), "3EB0AA02", now).await.expect("it is changed");
        whatsapp.wait_until("a change", |seen| seen.posted(chat).len() == 2).await;
        let seen = whatsapp.seen();
        let last = seen.sent.last().expect("something was sent");
        assert_eq!((last.text.as_str(), last.edits.as_deref()), ("hello", Some("3EB0AA02")));
    }
    bot.end().await;
}

#[tokio::test]
async fn what_people_and_the_bot_remove_is_told() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, ANN] {
        let id = whatsapp.say(chat, ANN, "a secret");
        bot.hears_only("a secret").await;
        let removal = whatsapp.delete(chat, &id);
        let heard = bot.heard().await;
        let change = heard.message.protocol_message.as_option().expect("it is a change");
        let of = change.key.as_option().and_then(|key| key.id.clone());
        assert_eq!((heard.id, change.r#type, of), (removal, Some(Type::REVOKE), Some(id)));
        bot.send(chat, wa::Message::text("mine"), "3EB0AA05").await.expect("it is sent");
        bot.client.revoke_message(jid(chat), "3EB0AA05", RevokeType::Sender).await.expect("it is removed");
        let removed = (chat.to_owned(), "3EB0AA05".to_owned());
        whatsapp.wait_until("it is removed", |seen| seen.removed.contains(&removed)).await;
        assert_eq!(whatsapp.posted(chat), ["mine"]);
    }
    bot.end().await;
}

#[tokio::test]
async fn what_the_owner_writes_by_the_phone_is_heard_as_the_bots_own() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    whatsapp.group_of_lids(TEAM, "Team");
    let mut bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, TEAM, ANN] {
        let id = whatsapp.say(chat, FakeWhatsApp::BOT, "from my phone");
        let heard = bot.next().await;
        assert_eq!((heard.text(), &heard.id), ("from my phone", &id));
        assert!(heard.info.source.is_from_me, "{:?}", heard.info.source);
        assert_eq!(heard.info.source.chat.to_string(), chat);
        whatsapp.wait_until("it says that it has it", |seen| seen.waiting == 0).await;
    }
    bot.end().await;
}

#[tokio::test]
async fn what_people_tell_all_that_know_them_and_other_kinds_of_messages_are_heard() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    whatsapp.say(FakeWhatsApp::STATUS, ANN, "on holiday");
    let heard = bot.heard().await;
    assert_eq!((heard.text(), heard.info.source.chat.to_string()), ("on holiday", FakeWhatsApp::STATUS.to_owned()));
    assert_eq!(heard.info.source.sender.to_string(), ANN);
    let place = wa::message::LocationMessage { name: Some("Home".to_owned()), ..Default::default() };
    let place = wa::Message { location_message: MessageField::some(place), ..Default::default() };
    whatsapp.say_message(FAMILY, ANN, place);
    let heard = bot.heard().await;
    let place = heard.message.location_message.as_option().and_then(|place| place.name.as_deref());
    assert_eq!(place, Some("Home"));
    whatsapp.wait_until("it says that it has all", |seen| seen.waiting == 0).await;
    bot.end().await;
}

#[tokio::test]
async fn typing_is_seen() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, ANN] {
        bot.client.chatstate().send_composing(&jid(chat)).await.expect("it is said");
        bot.client.chatstate().send_paused(&jid(chat)).await.expect("it is said");
    }
    whatsapp.wait_until("it types", |seen| seen.typing.len() == 4).await;
    let said = |chat: &str, state: &str| (chat.to_owned(), state.to_owned());
    let typing = [said(FAMILY, "composing"), said(FAMILY, "paused"), said(ANN, "composing"), said(ANN, "paused")];
    assert_eq!(whatsapp.seen().typing, typing);
    bot.end().await;
}

#[tokio::test]
async fn where_numbers_are_hidden_everybody_has_another_address() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group_of_lids(TEAM, "Team");
    let mut bot = Bot::ready(&whatsapp).await;
    let lid = whatsapp.lid_of(ANN);
    for turn in 1..=2 {
        let said = Said::text(&format!("@900000000000001 hello {turn}")).mention(FakeWhatsApp::BOT_LID);
        whatsapp.say_more(TEAM, ANN, said);
        let heard = bot.heard().await;
        assert_eq!(heard.text(), format!("@900000000000001 hello {turn}"));
        let source = &heard.info.source;
        assert_eq!(
            (source.sender.to_string(), source.sender_alt.as_ref().map(ToString::to_string)),
            (lid.clone(), Some(ANN.to_owned()))
        );
        bot.send(TEAM, wa::Message::text(format!("hello {turn}")), &format!("3EB0AA0{turn}"))
            .await
            .expect("it is sent");
        whatsapp.wait_until("an answer", |seen| seen.posted(TEAM).len() == turn).await;
    }
    // Who is known by both addresses is the same in private.
    whatsapp.say(ANN, ANN, "and here?");
    bot.hears_only("and here?").await;
    bot.send(ANN, wa::Message::text("here too"), "3EB0AA03").await.expect("it is sent");
    whatsapp.wait_until("an answer", |seen| seen.posted(ANN) == ["here too"]).await;
    let seen = whatsapp.seen();
    assert!(seen.unreadable.is_empty(), "{:?}", seen.unreadable);
    bot.end().await;
}

#[tokio::test]
async fn a_key_that_begins_a_conversation_is_handed_out_once() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    let left = whatsapp.seen().keys_left;
    for (count, (chat, who)) in [(FAMILY, ANN), (FAMILY, BOB), (ANN, ANN)].into_iter().enumerate() {
        whatsapp.say(chat, who, "hello");
        bot.hears_only("hello").await;
        assert_eq!(left - whatsapp.seen().keys_left, (count + 1).min(2), "one for each person");
    }
    bot.end().await;
}

#[tokio::test]
async fn a_client_with_few_keys_left_is_told_and_uploads_more() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    let mut bot = Bot::ready(&whatsapp).await;
    let at_first = whatsapp.seen().keys_left;
    for number in 0..=at_first - 10 {
        let who = format!("1555000{number:04}@s.whatsapp.net");
        whatsapp.person(&who, "Somebody");
        whatsapp.say(&who, &who, "hello");
        bot.hears_only("hello").await;
    }
    whatsapp.wait_until("it uploads more", |seen| seen.keys_left > 10).await;
    bot.end().await;
}

#[tokio::test]
async fn the_client_is_told_that_somebody_read_what_it_sent() {
    let whatsapp = FakeWhatsApp::start().await.expect("loopback");
    whatsapp.group(FAMILY, "Family");
    let mut bot = Bot::ready(&whatsapp).await;
    for chat in [FAMILY, ANN] {
        bot.send(chat, wa::Message::text("read this"), "3EB0AA06").await.expect("it is sent");
        whatsapp.wait_until("it is sent", |seen| seen.posted(chat).len() == 1).await;
        whatsapp.read(chat, ANN, "3EB0AA06");
        let read = |event: &Event| match event {
            Event::Receipt(receipt) => Some((receipt.source.chat.to_string(), receipt.message_ids.clone())),
            _ => None,
        };
        assert_eq!(bot.event("it is read", read).await, (chat.to_owned(), vec!["3EB0AA06".to_owned()]));
        whatsapp.wait_until("it says that it has it", |seen| seen.waiting == 0).await;
    }
    bot.end().await;
}
