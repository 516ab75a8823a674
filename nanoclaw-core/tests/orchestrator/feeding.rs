//! Follow-ups while the store or the mailbox fails: whichever step fails, the agent's work goes on, and each message is
//! handed over once.

use std::time::Duration;

use nanoclaw_core::{
    message::Seq,
    protocol::input::follow_up_name,
    run::{RunId, RunNumber},
    runtime::Exit,
    store::Store,
    testing::Effect,
};
use tokio::time::Instant;

use super::support::{Agent, House, block, folder, waiting};

/// Thinks for a minute about each prompt, then answers as our init does: journal first.
async fn thoughtful(agent: Agent) -> Exit {
    agent.thinks_for(Duration::from_secs(60)).await
}

fn first_run() -> RunId {
    RunId { group: folder("main"), number: RunNumber(1) }
}

/// The agent is at work on the first message.
async fn at_work() -> House {
    let house = House::new(thoughtful).await;
    house.write("one").await;
    house.state("busy").await;
    house
}

async fn ending(house: &House) -> Option<String> {
    house.store.runs(Some(&folder("main")), 10).await.unwrap().pop().unwrap().ending
}

/// Both are answered by the one container, each in a turn of its own.
async fn goes_on(house: &House) {
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 1, "the run was not ended");
    assert_eq!(house.store.turns(&first_run()).await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn f07_messages_that_cannot_be_read_now_are_handed_over_when_they_can_and_the_run_goes_on() {
    let house = at_work().await;
    house.store.fail_next_messages("busy");
    house.write("two").await;
    goes_on(&house).await;
}

#[tokio::test(start_paused = true)]
async fn f03_a_follow_up_that_cannot_be_noted_now_is_handed_over_when_it_can_and_the_run_goes_on() {
    for effect in [Effect::NotDone, Effect::Done] {
        let house = at_work().await;
        house.store.fail_next_hand_overs(4, effect);
        house.write("two").await;
        goes_on(&house).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f03_a_follow_up_that_cannot_have_its_name_now_gets_it_when_it_can_and_the_run_goes_on() {
    let house = at_work().await;
    let in_the_way = house.mailbox("main").input().unwrap().path().join(follow_up_name(Seq(2)));
    std::fs::create_dir_all(in_the_way.join("not empty")).unwrap();
    house.write("two").await;
    waiting("the turn is noted", async || house.store.turns(&first_run()).await.unwrap().len() == 2).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(in_the_way).unwrap();
    goes_on(&house).await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_follow_up_cannot_be_handed_over_comes_after_it() {
    let house = at_work().await;
    house.store.fail_next_hand_overs(5, Effect::Done);
    house.write("two").await;
    let input = house.mailbox("main").input().unwrap();
    waiting("the follow-up is staged", async || !input.staged().unwrap().is_empty()).await;
    house.write("three").await;
    house.shown_last("heard three").await;
    assert_eq!(house.channel.texts(), ["heard one", "heard two", "heard three"]);
    assert_eq!(house.runtime.specs().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn f03_a_store_that_takes_no_follow_up_for_half_a_minute_ends_the_run_and_the_next_one_answers() {
    for effect in [Effect::NotDone, Effect::Done] {
        let house = at_work().await;
        let start = Instant::now();
        house.store.fail_next_hand_overs(8, effect);
        house.write("two").await;
        waiting("the run ends", async || ending(&house).await.is_some()).await;
        assert_eq!(ending(&house).await.as_deref(), Some("lost"));
        assert!((25..40).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        house.shown(&["heard one + two"]).await;
        assert_eq!(house.runtime.specs().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_meanwhile_is_heard_at_once_and_the_next_run_answers() {
    for effect in [Effect::NotDone, Effect::Done] {
        let house = House::new(async |mut agent: Agent| {
            agent.answer(|texts| Some(format!("heard {texts}"))).await;
            tokio::time::sleep(Duration::from_secs(20)).await;
            Exit::Code(0)
        })
        .await;
        house.write("one").await;
        house.shown(&["heard one"]).await;
        // The pauses are longer than what is left of the agent's life: 6.4 seconds, then 12.8.
        tokio::time::sleep(Duration::from_secs(11)).await;
        let start = Instant::now();
        house.store.fail_next_hand_overs(7, effect);
        house.write("two").await;
        waiting("the run ends", async || ending(&house).await.is_some()).await;
        assert_eq!(ending(&house).await.as_deref(), Some("finished"));
        assert!(start.elapsed() < Duration::from_secs(11), "{:?}", start.elapsed());
        house.shown(&["heard one", "heard two"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f03_a_host_that_goes_while_nobody_knows_whether_a_follow_up_is_noted_leaves_it_to_the_next_one() {
    for effect in [Effect::NotDone, Effect::Done] {
        for dies in [true, false] {
            let house = at_work().await;
            house.store.fail_next_hand_overs(1, effect);
            house.write("two").await;
            let input = house.mailbox("main").input().unwrap();
            waiting("the follow-up is staged", async || !input.staged().unwrap().is_empty()).await;
            let start = Instant::now();
            match dies {
                true => house.kill().await,
                false => house.let_go().await,
            }
            assert!(start.elapsed() < Duration::from_secs(5), "commands are heard meanwhile");
            let noted = house.store.turns(&first_run()).await.unwrap().len() == 2;
            assert_eq!(noted, effect == Effect::Done);
            let house = house.restart().await;
            goes_on(&house).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f03_an_agent_of_v1_that_dies_at_its_second_message_loses_none_since_it_had_only_the_first() {
    // Silent about what it was asked, and dead at what came meanwhile: one word for all it has would have answered both.
    let house = House::new(async |mut agent: Agent| {
        let dies = agent.texts().contains(&"one".to_owned());
        tokio::time::sleep(Duration::from_secs(60)).await;
        if !dies {
            agent.write(&block(Some(&format!("re {}", agent.texts().join(" + "))))).await;
        }
        agent.write(&block(None)).await;
        if agent.follow_up().await && dies {
            return Exit::Code(1);
        }
        Exit::Code(0)
    })
    .await;
    house.write("zero").await;
    house.shown(&["re zero"]).await;
    house.state("idle").await;
    house.write("one").await;
    house.state("busy").await;
    house.write("two").await;
    house.shown(&["re zero", "re two"]).await;
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
}
