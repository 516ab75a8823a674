//! What a launcher has to say about a run, and a container that did not get what the host checked.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nanoclaw_core::{launch::LaunchNotice, protocol::mounts::MOUNT_CHANGED_CODE, runtime::Exit, store::Store as _};

use super::support::{Agent, House};

fn notice(key: &str, text: &str) -> LaunchNotice {
    LaunchNotice { key: key.to_owned(), text: text.to_owned() }
}

/// Answers once and ends.
async fn brief(mut agent: Agent) -> Exit {
    let heard = agent.heard();
    agent.say(1, &heard).await;
    Exit::Code(0)
}

#[tokio::test(start_paused = true)]
async fn what_a_launcher_has_to_say_is_told_to_the_owner_once() {
    let house = House::new(brief).await;
    house.add_group("family", "test:family").await;
    house.notices(vec![notice("mounts/1", "family runs without ~/x")]);
    house.write_to("test:family", "@Andy one").await;
    house.shown(&["family runs without ~/x", "heard @Andy one"]).await;
    assert_eq!(house.channel.sent()[0].0, "test:main", "the owner's chat, not the group's");
    house.state_of("family", "idle").await;
    house.write_to("test:family", "@Andy two").await;
    house.shown(&["family runs without ~/x", "heard @Andy one", "heard @Andy two"]).await;
    house.state_of("family", "idle").await;
    house.notices(vec![notice("mounts/2", "family runs without ~/y")]);
    house.write_to("test:family", "@Andy three").await;
    house.shown_last("heard @Andy three").await;
    assert!(house.channel.texts().contains(&"family runs without ~/y".to_owned()), "another thing is told");
}

#[tokio::test(start_paused = true)]
async fn without_a_main_group_the_groups_own_chat_is_told() {
    let house = House::empty(brief).await.start().await;
    house.add_group("family", "test:family").await;
    house.notices(vec![notice("mounts/1", "family runs without ~/x")]);
    house.write_to("test:family", "@Andy one").await;
    house.shown(&["family runs without ~/x", "heard @Andy one"]).await;
    assert_eq!(house.channel.sent()[0].0, "test:family");
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_mounts_are_not_what_was_checked_is_told_kept_and_tried_again() {
    let changed = Arc::new(AtomicBool::new(true));
    let house = House::new({
        let changed = changed.clone();
        move |agent: Agent| {
            let changed = changed.clone();
            async move {
                match changed.load(Ordering::SeqCst) {
                    true => Exit::Code(MOUNT_CHANGED_CODE.into()),
                    false => brief(agent).await,
                }
            }
        }
    })
    .await;
    house.write("hello").await;
    house.state("paused").await;
    house.shown_last_containing("main is not answered: something is not set up").await;
    house.shown_last_containing("a mount is not what was checked").await;
    assert!(house.store.set_aside(None, false, 10).await.unwrap().is_empty(), "it is no try");
    changed.store(false, Ordering::SeqCst);
    house.shown_last("heard hello").await;
}
