//! Who may speak: the operator's list, and what strangers are told.

use std::time::Duration;

use nanoclaw_core::{
    chat::ChatKind,
    message::{Author, InboundMessage, Wakes},
    orchestrator::Receipt,
    senders::{Allow, BadSenders, Others, SenderPolicy, SenderRule, UnknownPrivate},
    store::Store,
};

use crate::{
    echo,
    support::{EmptyHouse, House, folder, main_group},
};

/// Ann alone may, what becomes of others is `others`.
fn ann_alone(others: Others) -> SenderPolicy {
    let allow = Allow::These([ann().parse().unwrap()].into());
    SenderPolicy { default: SenderRule { allow, others }, ..SenderPolicy::everybody() }
}

fn ann() -> &'static str {
    "ann"
}

fn bad(version: &str) -> BadSenders {
    BadSenders { reason: "/etc/list: it is not JSON".to_owned(), version: version.to_owned() }
}

async fn empty() -> EmptyHouse {
    let house = House::empty(echo).await;
    house.store.add_group(&main_group()).await.unwrap();
    house
}

fn from(house: &House, sender: &str, text: &str) -> InboundMessage {
    InboundMessage { sender: sender.parse().unwrap(), ..house.message("test:main", text) }
}

async fn accept(house: &House, message: InboundMessage) -> Receipt {
    house.orchestrator.inbox().accept(message).await.unwrap()
}

async fn stored(house: &House) -> Vec<(String, Wakes)> {
    let messages = house.store.messages_after(&folder("main"), Default::default(), 100).await.unwrap();
    messages.into_iter().map(|stored| (stored.message.text, stored.wakes)).collect()
}

/// The texts that were sent to a chat.
fn told(house: &House, chat: &str) -> Vec<String> {
    house.channel.sent().into_iter().filter(|(to, _)| to == chat).map(|(_, text)| text).collect()
}

#[tokio::test(start_paused = true)]
async fn what_a_sender_writes_who_is_to_be_dropped_is_kept_nowhere_however_often_it_comes() {
    let (house, _) = empty().await.with_senders(Ok(ann_alone(Others::Dropped)));
    let house = house.start().await;
    let message = from(&house, "eve", "a secret");
    for _ in 0..2 {
        assert_eq!(accept(&house, message.clone()).await, Receipt::Dropped);
    }
    assert_eq!(stored(&house).await, []);
    assert!(house.store.chats().await.unwrap().iter().any(|chat| chat.chat.as_str() == "test:main"));
    // So a channel need not fetch its files.
    let inbox = house.orchestrator.inbox();
    let not_kept =
        async |chat: &str, sender: &str| inbox.not_kept(&chat.parse().unwrap(), &sender.parse().unwrap()).await;
    assert!(not_kept("test:main", "eve").await.is_some_and(|why| why.contains("its sender")));
    assert!(not_kept("test:other", ann()).await.is_some_and(|why| why.contains("no group")));
    assert_eq!(not_kept("test:main", ann()).await, None);
    accept(&house, from(&house, ann(), "hello")).await;
    house.shown(&["heard hello"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_sender_writes_who_may_not_trigger_is_context_of_what_comes_next() {
    let (house, _) = empty().await.with_senders(Ok(ann_alone(Others::Kept)));
    let house = house.start().await;
    let receipt = accept(&house, from(&house, "eve", "nice weather")).await;
    assert!(matches!(receipt, Receipt::Stored { wakes: Wakes::No, .. }), "{receipt:?}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(house.runtime.specs().len(), 0, "somebody was woken");
    accept(&house, from(&house, ann(), "what did eve say?")).await;
    house.shown(&["heard nice weather + what did eve say?"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_list_holds_for_the_next_message() {
    let (house, senders) = empty().await.with_senders(Ok(ann_alone(Others::Dropped)));
    let house = house.start().await;
    assert_eq!(accept(&house, from(&house, "eve", "one")).await, Receipt::Dropped);
    senders.set(Ok(SenderPolicy::everybody()));
    accept(&house, from(&house, "eve", "two")).await;
    house.shown(&["heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn f69_while_the_list_is_bad_nobody_but_the_owner_triggers_and_nothing_is_lost() {
    let (house, senders) = empty().await.with_senders(Err(bad("1")));
    let house = house.start().await;
    let receipt = accept(&house, from(&house, ann(), "hello")).await;
    assert!(matches!(receipt, Receipt::Stored { wakes: Wakes::No, .. }), "{receipt:?}");
    assert_eq!(house.runtime.specs().len(), 0, "somebody was woken");
    accept(&house, InboundMessage { author: Author::Owner, ..from(&house, "me", "are you there?") }).await;
    house.shown_last("heard hello + are you there?").await;
    senders.set(Ok(ann_alone(Others::Kept)));
    accept(&house, from(&house, ann(), "again")).await;
    house.shown_last("heard again").await;
}

#[tokio::test(start_paused = true)]
async fn f69_the_owner_is_told_once_of_each_mistake_in_the_list_at_once_and_whatever_restarts() {
    let (house, senders) = empty().await.with_senders(Err(bad("1")));
    let house = house.start().await;
    house.shown_last_containing("Nobody but you is answered").await;
    assert!(told(&house, "test:main")[0].contains("/etc/list: it is not JSON"));
    accept(&house, from(&house, ann(), "one")).await;
    accept(&house, from(&house, ann(), "two")).await;
    house.shut_down().await;
    let house = house.restart().await;
    accept(&house, from(&house, ann(), "three")).await;
    senders.set(Err(bad("2")));
    accept(&house, from(&house, ann(), "four")).await;
    house.tried(2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(told(&house, "test:main").len(), 2, "{:?}", house.channel.sent());
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_told_nothing_unless_that_is_configured() {
    let house = empty().await.start().await;
    write_privately(&house, "test:stranger").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(house.channel.sent().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_told_once_how_the_owner_registers_the_chat() {
    let house = empty().await.with_strangers(UnknownPrivate::Hint).start().await;
    for _ in 0..3 {
        write_privately(&house, "test:stranger").await;
    }
    house.tried(1).await;
    let hint = &told(&house, "test:stranger")[0];
    assert!(hint.contains("nanoclaw groups add 'test:stranger'"), "{hint}");
    house.shut_down().await;
    let house = house.restart().await;
    write_privately(&house, "test:stranger").await;
    // A chat of several people is told nothing.
    let group = InboundMessage { chat_kind: Some(ChatKind::Group), ..house.message("test:many", "hello") };
    accept(&house, group).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.channel.sent().len(), 1, "{:?}", house.channel.sent());
}

#[tokio::test(start_paused = true)]
async fn strangers_without_number_make_the_host_say_no_more_than_twenty_hints_a_day() {
    let house = empty().await.with_strangers(UnknownPrivate::Hint).start().await;
    for number in 0..100 {
        write_privately(&house, &format!("test:s{number}")).await;
    }
    house.tried(20).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.channel.sent().len(), 20);
}

async fn write_privately(house: &House, chat: &str) {
    let message = InboundMessage { chat_kind: Some(ChatKind::Private), ..house.message(chat, "hello") };
    assert_eq!(accept(house, message).await, Receipt::Unregistered);
}
