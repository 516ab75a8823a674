//! What channels find out that the owner should know.

use std::time::Duration;

use nanoclaw_core::{
    chat::{ChannelName, ChatId},
    group::Group,
    time::Timestamp,
};

use crate::{
    echo,
    support::{House, folder},
};

fn chat(id: &str) -> ChatId {
    ChatId::new(id).unwrap()
}

fn channel() -> ChannelName {
    ChannelName::new("whatsapp").unwrap()
}

const THEN: Timestamp = Timestamp::from_ms(1_700_000_000_000);

#[tokio::test(start_paused = true)]
async fn the_owner_is_told_once_that_a_groups_chat_is_not_heard_any_more() {
    let house = House::new(echo).await;
    house.add_group("family", "test:family").await;
    let inbox = house.orchestrator.inbox();
    for _ in 0..2 {
        inbox.left(&chat("test:family"), "the assistant was removed from it", THEN).await;
    }
    let told = "I do not hear family any more, the chat test:family: the assistant was removed from it. What is written there does \
                not reach me, and what I say does not arrive.\n\nLet me in again and it goes on where it was. If it has ended, \
                `nanoclaw groups remove family` on the machine that I run on ends the group.";
    house.shown(&[told]).await;
    assert_eq!(house.channel.sent().last().unwrap().0, "test:main");

    // Services say it in several ways at once; what came before is another story once the chat was heard again.
    let later = THEN.plus(Duration::from_secs(1));
    inbox.left(&chat("test:family"), "it was deleted", later).await;
    house.write_to("test:family", "hello").await;
    inbox.left(&chat("test:family"), "it was deleted", later).await;
    house.shown_last_containing("it was deleted").await;
    house.write("hello").await;
    house.shown_last("heard hello").await;
    assert_eq!(house.channel.texts().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_word_to_the_owner_that_could_not_be_stored_is_told_at_the_next_occasion() {
    let house = House::new(echo).await;
    house.add_group("family", "test:family").await;
    let inbox = house.orchestrator.inbox();
    house.store.fail_writes("the disk is full");
    inbox.left(&chat("test:family"), "it was deleted", THEN).await;
    house.store.mend();
    for _ in 0..2 {
        inbox.left(&chat("test:family"), "it was deleted", THEN.plus(Duration::from_secs(9))).await;
    }
    house.write("hello").await;
    house.shown_last("heard hello").await;
    assert_eq!(house.channel.texts().len(), 2, "the owner was told once");
}

#[tokio::test(start_paused = true)]
async fn of_a_group_that_was_removed_and_added_anew_the_owner_is_told_anew() {
    let house = House::new(echo).await;
    house.add_group("family", "test:family").await;
    let family = Group::clone(&house.orchestrator.group(&folder("family")).unwrap());
    let inbox = house.orchestrator.inbox();
    inbox.left(&chat("test:family"), "it was deleted", THEN).await;
    house.orchestrator.remove_group(&family.folder).await.unwrap();
    let anew = Group { added_at: family.added_at.plus(Duration::from_secs(60)), ..family };
    house.orchestrator.add_group(anew).await.unwrap();
    for _ in 0..2 {
        inbox.left(&chat("test:family"), "it was archived", THEN.plus(Duration::from_secs(9))).await;
    }
    house.shown_last_containing("it was archived").await;
    assert_eq!(house.channel.texts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_a_chat_that_is_no_group_and_of_the_main_chat_itself_nobody_is_told() {
    let house = House::new(echo).await;
    let inbox = house.orchestrator.inbox();
    inbox.left(&chat("test:stranger"), "it was deleted", THEN).await;
    inbox.left(&chat("test:main"), "it was deleted", THEN).await;
    house.write("hello").await;
    house.shown(&["heard hello"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_owner_is_told_once_a_day_that_a_channel_is_refused() {
    let house = House::new(echo).await;
    let inbox = house.orchestrator.inbox();
    for _ in 0..2 {
        inbox.refused(&channel(), "the phone logged it out", "link it again", &|_| false).await;
    }
    house
        .shown(&["The channel whatsapp is not connected, and nothing arrives there until somebody sees to it: the phone logged it \
                  out\n\nWhat to do: link it again"])
        .await;
}

#[tokio::test(start_paused = true)]
async fn of_the_channel_that_carries_the_main_chat_nothing_is_said_when_it_is_too_late() {
    let house = House::new(echo).await;
    let inbox = house.orchestrator.inbox();
    inbox.refused(&channel(), "the phone logged it out", "link it again", &|chat| chat.as_str() == "test:main").await;
    house.write("hello").await;
    house.shown(&["heard hello"]).await;
}
