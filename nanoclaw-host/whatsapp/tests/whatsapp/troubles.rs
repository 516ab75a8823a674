//! What WhatsApp does not allow, and what the host is told then.

use serde_json::{Value, json};

use crate::house::{ANN, FAMILY, House};

async fn refused(house: &House) -> Value {
    house.host.heard("a refusal", |line| line["type"] == "status" && line["state"] == "refused").await
}

#[tokio::test]
async fn unlinked_by_the_phone_it_says_so_and_ends_and_does_not_try_again() {
    let mut house = House::begin().await;
    house.whatsapp.log_out();
    let told = refused(&house).await;
    assert!(told["remedy"].as_str().unwrap().contains("`nanoclaw channels link whatsapp`"), "{told}");
    let (status, log) = house.ended().await;
    assert_eq!(status.code(), Some(3), "{log}");
    let (_, told, _) = house.other(&["status", "--json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["linked"], &told["refused"]), (&json!(false), &json!("the device was unlinked")), "{told}");
    let connections = house.whatsapp.seen().connections;
    house.host.heard_all();
    house.start();
    assert_eq!(refused(&house).await["reason"], "the device was unlinked");
    assert_eq!(house.ended().await.0.code(), Some(3));
    assert_eq!(house.whatsapp.seen().connections, connections);
}

#[tokio::test]
async fn nothing_linked_is_said_to_the_host() {
    let mut house = House::quiet().await;
    house.start();
    assert_eq!(refused(&house).await["reason"], "no WhatsApp account is linked");
    let (status, log) = house.ended().await;
    assert_eq!(status.code(), Some(3), "{log}");
    assert!(log.ends_with("no WhatsApp account is linked; link it with `nanoclaw channels link whatsapp`\n"), "{log}");
    assert!(!house.database().exists(), "nothing is made of nothing");
}

#[tokio::test]
async fn a_second_process_on_the_same_account_is_refused_and_told_the_first_ones_id() {
    let house = House::begin().await;
    for command in [&["run"][..], &["link"], &["unlink"]] {
        let (code, _, error) = house.other(command).await;
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains("another process uses") && error.contains("(process "), "{error}");
    }
    let (code, told, _) = house.other(&["status", "--json"]).await;
    assert_eq!(code, Some(0), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told, serde_json::json!({"jid": "15550009999:7@s.whatsapp.net", "linked": true}));
    house.said(FAMILY, ANN, "the first goes on").await;
}

#[tokio::test]
async fn replaced_by_another_login_it_waits_and_says_so() {
    let mut house = House::quiet().await;
    house.tell("NANOCLAW_WHATSAPP_REPLACED_WAIT_MS", 1500);
    house.link().await;
    house.start();
    house.ready().await;
    let began = std::time::Instant::now();
    house.whatsapp.replace();
    let told = house.host.heard("why", |line| line["state"] == "connecting" && !line["reason"].is_null()).await;
    assert!(told["reason"].as_str().unwrap().contains("another program uses the same linked device"), "{told}");
    house.host.heard("it is back", |line| line["state"] == "connected").await;
    assert!(began.elapsed().as_millis() >= 1500, "it came back after {:?}", began.elapsed());
    house.said(FAMILY, ANN, "hello").await;
}

#[tokio::test]
async fn a_ban_says_how_long_it_is_and_is_waited_for() {
    let house = House::begin().await;
    house.whatsapp.ban(2);
    let told = refused(&house).await;
    assert!(told["reason"].as_str().unwrap().contains("bans this number for 2 s"), "{told}");
    assert!(told["remedy"].as_str().unwrap().contains("wait until the ban ends"), "{told}");
    house.whatsapp.allow_logins();
    house.host.heard("it is back", |line| line["state"] == "connected").await;
}

#[tokio::test]
async fn a_program_that_is_too_old_says_what_to_do() {
    let house = House::begin().await;
    house.whatsapp.outdate();
    assert_eq!(refused(&house).await["remedy"], "update NanoClaw");
}
