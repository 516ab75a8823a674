//! What survives the end of the program, of the host, and of connections, wherever it comes.

use nanoclaw_fakes::whatsapp::Fault;
use rustix::process::Signal;
use serde_json::json;

use crate::house::{ANN, BOB, FAMILY, House, TEAM};

#[tokio::test]
async fn killed_between_hearing_and_acknowledging_it_hears_again() {
    let mut house = House::begin().await;
    house.host.hold();
    let heard = house.said(FAMILY, ANN, "remember me").await;
    let id = heard["id"].as_str().unwrap();
    house.kill().await;
    assert_eq!(house.whatsapp.seen().received(id), 0);
    house.start();
    let again = house.host.message(id).await;
    assert_eq!(again, heard);
    house.host.accept(&again);
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
}

#[tokio::test]
async fn killed_between_sending_and_telling_it_says_nothing_twice() {
    let mut house = House::begin().await;
    let send = json!({"type": "send", "key": "k", "chat": FAMILY, "text": "once"});
    house.whatsapp.fail_next("message", Fault::Slow);
    house.host.say(send.clone());
    house.whatsapp.wait_until("it is said", |seen| !seen.posted(FAMILY).is_empty()).await;
    house.kill().await;
    house.start();
    house.ready().await;
    let sent = house.send(send).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    let seen = house.whatsapp.seen();
    assert_eq!((seen.posted(FAMILY), seen.repeats), (vec!["once".to_owned()], 1));
}

#[tokio::test]
async fn what_is_said_while_it_is_away_comes_in_order_when_it_is_back() {
    let mut house = House::begin().await;
    house.said(FAMILY, ANN, "hello").await;
    house.key_is_kept().await;
    house.kill().await;
    let ids: Vec<_> = (0..5).map(|n| house.whatsapp.say(FAMILY, ANN, &format!("line {n}"))).collect();
    house.whatsapp.say(TEAM, BOB, "in the other");
    house.start();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(house.host.message(id).await["text"], format!("line {n}"));
    }
    house.whatsapp.wait_until("all is acknowledged", |seen| ids.iter().all(|id| seen.received(id) > 0)).await;
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_the_conversation_goes_on() {
    let house = House::begin().await;
    house.said(FAMILY, ANN, "hello").await;
    house.whatsapp.drop_connections();
    house.host.heard("it says so", |line| line["type"] == "status" && line["state"] == "connecting").await;
    let id = house.whatsapp.say(FAMILY, ANN, "are you there?");
    // Said without a connection: it waits for one.
    let sent = house.send(json!({"type": "send", "key": "k", "chat": FAMILY, "text": "yes"})).await;
    assert_eq!(sent["type"], "sent", "{sent}");
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(&id) > 0).await;
    assert_eq!(house.whatsapp.posted(FAMILY), ["yes"]);
}

#[tokio::test]
async fn an_answer_whose_connection_breaks_is_said_once() {
    let house = House::begin().await;
    for (n, fault) in [Fault::DropBefore, Fault::DropAfter].into_iter().enumerate() {
        house.whatsapp.fail_next("message", fault);
        let send = json!({"type": "send", "key": format!("k{n}"), "chat": FAMILY, "text": format!("answer {n}")});
        let mut end = house.send(send.clone()).await;
        while end["type"] == "failed" {
            assert_eq!(end["permanent"], json!(null), "{end}");
            end = house.send(send.clone()).await;
        }
        assert_eq!(end["type"], "sent", "{end}");
        // The key for the group was lost with the first try of all: who cannot read the second asks for it again.
        let all: Vec<_> = (0..=n).map(|n| format!("answer {n}")).collect();
        house.whatsapp.wait_until("it is read", |seen| seen.posted(FAMILY) == all).await;
    }
}

#[tokio::test]
async fn a_host_that_comes_back_hears_what_it_did_not_accept_and_how_things_stand() {
    let house = House::begin().await;
    house.host.hold();
    let heard = house.said(FAMILY, ANN, "hello").await;
    house.host.hang_up();
    let again = house.host.message(heard["id"].as_str().unwrap()).await;
    assert_eq!(again, heard);
    house.host.accept(&again);
    let id = heard["id"].as_str().unwrap();
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
    assert_eq!(house.host.lines("status").last(), Some(&json!({"type": "status", "state": "connected"})));
    assert_eq!(house.host.lines("hello").len(), 2);
}

#[tokio::test]
async fn a_message_that_the_host_cannot_store_is_said_again() {
    let house = House::begin().await;
    house.host.hold();
    let heard = house.said(FAMILY, ANN, "hello").await;
    let full =
        json!({"type": "error", "reason": "the disk is full", "chat": heard["chat"], "id": heard["id"], "retry": true});
    house.host.say(full);
    let again = house.host.message(heard["id"].as_str().unwrap()).await;
    assert_eq!(again, heard);
    // Never taken: let go, so that it does not come for ever.
    let never = json!({"type": "error", "reason": "it is strange", "chat": heard["chat"], "id": heard["id"]});
    house.host.say(never);
    let id = heard["id"].as_str().unwrap();
    house.whatsapp.wait_until("it is acknowledged", |seen| seen.received(id) == 1).await;
}

#[tokio::test]
async fn it_ends_when_it_is_asked_to_and_begins_where_it_was() {
    let mut house = House::begin().await;
    house.said(FAMILY, ANN, "hello").await;
    house.signal(Signal::TERM);
    let (status, log) = house.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    house.host.heard_all();
    house.start();
    house.ready().await;
    house.said(FAMILY, ANN, "again").await;
    house.host.hold();
    let held = house.said(FAMILY, ANN, "and held").await;
    house.close_stdin();
    let (status, log) = house.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    let id = held["id"].as_str().unwrap();
    assert_eq!(house.whatsapp.waiting(), [id], "what the host has not accepted comes again");
}
