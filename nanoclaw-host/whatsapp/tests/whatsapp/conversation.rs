//! People and the assistant, when nothing goes wrong.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Said};
use serde_json::json;
use waproto::whatsapp::{Message, MessageKey, message};
use whatsapp_rust::buffa::MessageField;

use crate::house::{ANN, BOB, FAMILY, House, TEAM};

#[tokio::test]
async fn a_message_of_a_group_reaches_the_host_and_its_answer_the_group() {
    let house = House::begin().await;
    let family = house.host.heard("the group's name", |line| line["type"] == "chat" && line["chat"] == FAMILY).await;
    assert_eq!(family, json!({"type": "chat", "chat": FAMILY, "name": "Family", "is_group": true}));
    let heard = house.said(FAMILY, ANN, "@Andy hello").await;
    assert_eq!((&heard["chat"], &heard["sender"], &heard["sender_name"]), (&json!(FAMILY), &json!(ANN), &json!("Ann")));
    assert_eq!((&heard["text"], &heard["is_group"]), (&json!("@Andy hello"), &json!(true)));
    let id = heard["id"].as_str().unwrap();
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
    house.host.say(json!({"type": "typing", "chat": FAMILY, "on": true}));
    let composing = (FAMILY.to_owned(), "composing".to_owned());
    house.whatsapp.wait_until("it is typing", |seen| seen.typing.contains(&composing)).await;
    let sent = house.send(json!({"type": "send", "key": "k1", "chat": FAMILY, "text": "**hello** Ann"})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    assert_eq!(house.whatsapp.posted(FAMILY), ["*hello* Ann"]);
    assert_eq!(house.whatsapp.seen().sent[0].id, sent["platform_id"].as_str().unwrap());
    // And on.
    assert_eq!(house.said(FAMILY, BOB, "me too").await["sender_name"], "Bob");
    let sent = house.send(json!({"type": "send", "key": "k2", "chat": FAMILY, "text": "and Bob"})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    assert_eq!(house.whatsapp.posted(FAMILY), ["*hello* Ann", "and Bob"]);
    assert!(house.whatsapp.seen().unreadable.is_empty());
}

#[tokio::test]
async fn the_log_names_the_steps_of_a_message_when_it_is_asked_to_and_never_a_text() {
    let mut house = House::quiet().await;
    house.tell("RUST_LOG", "info,nanoclaw::steps=debug");
    house.link().await;
    house.start();
    house.ready().await;
    let heard = house.said(FAMILY, ANN, "a secret").await;
    let id = heard["id"].as_str().unwrap();
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
    let sent = house.send(json!({"type": "send", "key": "k", "chat": FAMILY, "text": "a secret too"})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    house.close_stdin();
    let (_, log) = house.ended().await;
    let steps = log.lines().filter_map(|line| line.split_once("nanoclaw::steps: "));
    let mut steps = steps.map(|(_, step)| step.replace('"', ""));
    for step in [
        &format!("seen chat={FAMILY} id={id}"),
        &format!("decrypted and kept chat={FAMILY} id={id}"),
        &format!("handed to the host chat={FAMILY} id={id}"),
        &format!("taken by the host chat={FAMILY} id={id}"),
        &format!("to be sent chat={FAMILY} key=k"),
        "on the wire key=k id=3EB0",
        "acknowledged key=k id=3EB0",
    ] {
        assert!(steps.any(|line| line.starts_with(step)), "{step} is not in its place: {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[tokio::test]
async fn a_private_chat_is_known_by_the_number_and_the_name() {
    let house = House::begin().await;
    let heard = house.said(ANN, ANN, "hello").await;
    assert_eq!((&heard["chat"], &heard["sender"], &heard["is_group"]), (&json!(ANN), &json!(ANN), &json!(false)));
    let chats = house.host.lines("chat");
    assert!(chats.contains(&json!({"type": "chat", "chat": ANN, "name": "Ann", "is_group": false})), "{chats:?}");
    let reply = json!({"id": heard["id"], "sender": ANN, "text": "hello"});
    let sent =
        house.send(json!({"type": "send", "key": "k", "chat": ANN, "text": "hello Ann", "reply_to": reply})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    let seen = house.whatsapp.seen();
    assert_eq!(
        (seen.sent[0].text.as_str(), &seen.sent[0].answers),
        ("hello Ann", &None),
        "a private answer quotes nothing"
    );
}

#[tokio::test]
async fn a_mention_of_the_account_is_told_by_either_of_its_addresses() {
    let house = House::begin().await;
    for (address, part) in [(FakeWhatsApp::BOT, "@15550009999"), (FakeWhatsApp::BOT_LID, "@900000000000001")] {
        let said = Said::text(&format!("hello {part}")).mention(address);
        let heard = house.host.message(&house.whatsapp.say_more(FAMILY, ANN, said)).await;
        assert_eq!((&heard["text"], &heard["mentions"]), (&json!(format!("hello {part}")), &json!([part])));
    }
    // Somebody who wrote before has a name, and nobody else is mentioned.
    house.said(FAMILY, BOB, "I am here").await;
    let said = Said::text("ask @15550001002 or @15550009").mention(BOB);
    let heard = house.host.message(&house.whatsapp.say_more(FAMILY, ANN, said)).await;
    assert_eq!((&heard["text"], &heard["mentions"]), (&json!("ask @Bob or @15550009"), &json!(null)));
}

#[tokio::test]
async fn a_reply_tells_what_it_is_to_and_an_answer_quotes_in_a_group() {
    let house = House::begin().await;
    let first = house.said(FAMILY, ANN, "who has the key?").await;
    let id = first["id"].as_str().unwrap();
    let reply = house.whatsapp.say_more(FAMILY, BOB, Said::text("I have").answer(id));
    let heard = house.host.message(&reply).await;
    assert_eq!(heard["reply_to"], json!({"id": id, "sender_name": "Ann", "text": "who has the key?"}));
    let answer = json!({"id": reply, "sender": BOB, "text": "I have"});
    let sent =
        house.send(json!({"type": "send", "key": "k", "chat": FAMILY, "text": "good", "reply_to": answer})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    let out = house.whatsapp.seen().sent[0].clone();
    assert_eq!(
        (out.text.as_str(), out.answers.as_deref(), out.answered.as_deref()),
        ("good", Some(&*reply), Some(BOB))
    );
    // To the assistant's own words.
    let answered = house.whatsapp.say_more(FAMILY, ANN, Said::text("is it?").answer(&out.id));
    assert_eq!(house.host.message(&answered).await["reply_to"]["sender_name"], "Andy");
}

#[tokio::test]
async fn a_change_is_a_new_line_that_calls_nobody() {
    let house = House::begin().await;
    let id = house.whatsapp.say(FAMILY, ANN, "at five");
    house.host.message(&id).await;
    let change = house.whatsapp.edit(FAMILY, &id, "at six");
    let heard = house.host.message(&format!("{id}/edited/{change}")).await;
    assert_eq!((&heard["text"], &heard["mentions"]), (&json!("[edited] at six"), &json!(null)));
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(&change) > 0).await;
}

#[tokio::test]
async fn a_long_answer_goes_out_in_pieces_in_their_order() {
    let house = House::begin().await;
    let text = "one paragraph of words\n\n".repeat(4000);
    let sent = house.send(json!({"type": "send", "key": "k", "chat": FAMILY, "text": text})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    let posted = house.whatsapp.posted(FAMILY);
    assert_eq!(posted.len(), 2);
    assert!(posted.iter().all(|piece| piece.encode_utf16().count() <= 65_536));
    assert_eq!(posted.concat().matches("one paragraph of words").count(), 4000);
}

#[tokio::test]
async fn a_message_is_acknowledged_only_when_the_host_has_it_and_one_chat_does_not_hold_up_another() {
    let house = House::begin().await;
    house.host.hold();
    let first = house.said(FAMILY, ANN, "first").await;
    let second = house.whatsapp.say(FAMILY, ANN, "second");
    let other = house.said(TEAM, BOB, "other").await;
    let (first_id, other_id) = (first["id"].as_str().unwrap(), other["id"].as_str().unwrap());
    assert_eq!(house.whatsapp.waiting(), [first_id, &second, other_id], "nothing is accepted");
    house.host.accept(&other);
    house.whatsapp.wait_until("the other is acknowledged", |seen| seen.received(other_id) > 0).await;
    assert_eq!(house.whatsapp.seen().received(first_id), 0);
    let said = house.host.lines("message");
    assert!(said.iter().all(|line| line["id"] != second.as_str()), "it waits for the first of its chat");
    house.host.accept(&first);
    house.whatsapp.wait_until("all is acknowledged", |seen| seen.received(&second) > 0).await;
    assert_eq!(house.whatsapp.seen().received(first_id), 1);
}

#[tokio::test]
async fn what_whatsapp_tells_twice_has_the_same_id_both_times_and_is_acknowledged_both_times() {
    let house = House::begin().await;
    let heard = house.said(FAMILY, ANN, "hello").await;
    let id = heard["id"].as_str().unwrap();
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
    house.whatsapp.say_twice(FAMILY, id);
    house.whatsapp.wait_until("it is acknowledged again", |seen| seen.received(id) == 2).await;
    // The same chat and id is the same message to the host.
    assert!(house.host.lines("message").iter().all(|line| line["id"] == id));
}

#[tokio::test]
async fn a_chat_that_cannot_be_is_refused_for_good() {
    let house = House::begin().await;
    for chat in ["status@broadcast", "somebody", "1@newsletter"] {
        let failed = house.send(json!({"type": "send", "key": chat, "chat": chat, "text": "hello"})).await;
        assert_eq!((&failed["type"], &failed["permanent"]), (&json!("failed"), &json!(true)), "{failed}");
    }
}

#[tokio::test]
async fn what_the_account_writes_itself_statuses_and_reactions_are_acknowledged_and_not_told() {
    let house = House::begin().await;
    let first = house.said(FAMILY, ANN, "hello").await;
    let key = MessageKey { id: first["id"].as_str().map(str::to_owned), ..MessageKey::default() };
    let reaction = message::ReactionMessage {
        key: MessageField::some(key),
        text: Some("+".to_owned()),
        ..message::ReactionMessage::default()
    };
    let reaction = Message { reaction_message: MessageField::some(reaction), ..Message::default() };
    let not_told = [
        house.whatsapp.say(FAMILY, FakeWhatsApp::BOT, "by the phone"),
        house.whatsapp.say(FakeWhatsApp::STATUS, ANN, "a status"),
        house.whatsapp.say_message(FAMILY, ANN, reaction),
        house.whatsapp.delete(FAMILY, first["id"].as_str().unwrap()),
    ];
    house.said(FAMILY, ANN, "the last").await;
    for id in &not_told {
        house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) > 0).await;
    }
    let texts: Vec<_> = house.host.lines("message").iter().map(|line| line["text"].clone()).collect();
    assert_eq!(texts, ["hello", "the last"]);
}
