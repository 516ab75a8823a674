//! An account becomes ours, and is given back.

use nanoclaw_whatsapp::store::{Account, peek};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::house::{ANN, FAMILY, House};

#[tokio::test]
async fn a_phone_reads_the_code_and_the_account_is_ours() {
    let mut house = House::quiet().await;
    let mut linking = house.command(&["link", "--in-words"]).spawn().unwrap();
    let mut told = BufReader::new(linking.stdout.take().unwrap()).lines();
    let mut all = Vec::new();
    while let Some(line) = told.next_line().await.unwrap() {
        if let Some(code) = line.strip_prefix("In words: ") {
            house.whatsapp.scan(code).unwrap();
        }
        all.push(line);
    }
    let output = linking.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(all.iter().any(|line| line.contains('█')) && all.iter().any(|line| line.contains("Linked devices")));
    assert_eq!(all.last().unwrap(), "Done: 15550009999@s.whatsapp.net is linked.");
    assert!(matches!(peek(&house.database()).await.unwrap(), Account::Linked { refused: None, .. }));
    let (code, _, error) = house.other(&["link"]).await;
    assert!(code == Some(1) && error.contains("is linked already"), "{error}");

    // What is said before the service runs is not lost.
    let id = house.whatsapp.say(FAMILY, ANN, "welcome");
    house.start();
    assert_eq!(house.host.message(&id).await["text"], "welcome");
}

#[tokio::test]
async fn a_code_is_typed_into_the_phone_and_the_account_is_ours() {
    let house = House::quiet().await;
    let mut linking = house.command(&["link", "--phone", "+1 555 000 9999"]).spawn().unwrap();
    let mut told = BufReader::new(linking.stdout.take().unwrap()).lines();
    let mut all = Vec::new();
    while let Some(line) = told.next_line().await.unwrap() {
        if let Some(code) = line.strip_prefix("The code: ") {
            assert_eq!(code.len(), 9, "eight letters and a dash: {code}");
            house.whatsapp.enter_code(code).unwrap();
        }
        all.push(line);
    }
    let output = linking.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(all.iter().all(|line| !line.contains('█')), "no QR code is shown");
    assert_eq!(all.last().unwrap(), "Done: 15550009999@s.whatsapp.net is linked.");
}

#[tokio::test]
async fn an_account_that_whatsapp_does_not_know_any_more_is_linked_again() {
    let house = House::quiet().await;
    house.link().await;
    house.refuse().await;
    let mut linking = house.command(&["link", "--in-words"]).spawn().unwrap();
    let mut told = BufReader::new(linking.stdout.take().unwrap()).lines();
    while let Some(line) = told.next_line().await.unwrap() {
        if let Some(code) = line.strip_prefix("In words: ") {
            house.whatsapp.scan(code).unwrap();
        }
    }
    assert_eq!(linking.wait().await.unwrap().code(), Some(0));
    assert!(matches!(peek(&house.database()).await.unwrap(), Account::Linked { refused: None, .. }));
}

#[tokio::test]
async fn an_account_is_given_back() {
    let house = House::quiet().await;
    house.link().await;
    let (code, told, error) = house.other(&["unlink"]).await;
    assert_eq!((code, told.trim()), (Some(0), "unlinked: 15550009999:7@s.whatsapp.net"), "{error}");
    assert!(!house.database().exists(), "nothing is left");
    assert_eq!(house.other(&["unlink"]).await.1.trim(), "no WhatsApp account is linked");
}
