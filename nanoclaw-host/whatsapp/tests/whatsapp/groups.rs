//! Groups that change, and groups in which numbers are hidden.

use nanoclaw_fakes::whatsapp::{FakeWhatsApp, Said};
use serde_json::json;

use crate::house::{ANN, BOB, FAMILY, House};

const CLUB: &str = "120363000000000003@g.us";

#[tokio::test]
async fn a_new_name_and_a_new_group_are_told_and_that_the_account_was_removed() {
    let house = House::begin().await;
    house.whatsapp.rename(FAMILY, ANN, "Clan");
    let renamed = house.host.heard("the new name", |line| line["type"] == "chat" && line["name"] == "Clan").await;
    assert_eq!(renamed["chat"], FAMILY);
    house.whatsapp.group_without_bot(CLUB, "Club");
    house.whatsapp.add_bot(CLUB, ANN);
    let added = house.host.heard("the new group", |line| line["type"] == "chat" && line["chat"] == CLUB).await;
    assert_eq!(added, json!({"type": "chat", "chat": CLUB, "name": "Club", "is_group": true}));
    house.said(CLUB, BOB, "welcome").await;
    house.whatsapp.remove_bot(CLUB, ANN);
    let left = house.host.heard("the end of it", |line| line["left"] == true).await;
    assert_eq!((&left["chat"], &left["reason"]), (&json!(CLUB), &json!("the assistant's account was removed from it")));
    assert!(left["timestamp_ms"].as_i64().is_some_and(|at| at > 0), "{left}");
}

#[tokio::test]
async fn all_chats_are_told_again_when_the_host_asks() {
    let house = House::begin().await;
    house.host.heard("the group's name", |line| line["type"] == "chat" && line["chat"] == FAMILY).await;
    house.host.heard_all();
    house.host.say(json!({"type": "sync_groups"}));
    let again = house.host.heard("it again", |line| line["type"] == "chat" && line["chat"] == FAMILY).await;
    assert_eq!(again["name"], "Family");
}

#[tokio::test]
async fn where_numbers_are_hidden_people_are_who_they_are_and_answers_are_read() {
    let house = House::quiet().await;
    house.whatsapp.group_of_lids(CLUB, "Club");
    let mut house = house;
    house.link().await;
    house.start();
    house.ready().await;
    let said = Said::text("@900000000000001 hello").mention(FakeWhatsApp::BOT_LID);
    let id = house.whatsapp.say_more(CLUB, ANN, said);
    let heard = house.host.message(&id).await;
    assert_eq!((&heard["sender"], &heard["mentions"]), (&json!(ANN), &json!(["@900000000000001"])), "{heard}");
    let reply = json!({"id": id, "sender": ANN, "text": "hello"});
    let sent = house.send(json!({"type": "send", "key": "k", "chat": CLUB, "text": "hello", "reply_to": reply})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    let out = house.whatsapp.seen().sent[0].clone();
    let lid = house.whatsapp.lid_of(ANN);
    assert_eq!(
        (out.text.as_str(), out.answers.as_deref(), out.answered.as_deref()),
        ("hello", Some(&*id), Some(&*lid))
    );
}

#[tokio::test]
async fn what_could_not_be_read_at_first_is_asked_for_and_heard_once() {
    let house = House::begin().await;
    house.said(FAMILY, ANN, "hello").await;
    house.whatsapp.spoil_next();
    let id = house.whatsapp.say(FAMILY, ANN, "spoilt");
    assert_eq!(house.host.message(&id).await["text"], "spoilt");
    assert!(house.whatsapp.seen().retries(&id) > 0);
    assert_eq!(house.host.lines("message").iter().filter(|line| line["id"] == *id).count(), 1);
}
