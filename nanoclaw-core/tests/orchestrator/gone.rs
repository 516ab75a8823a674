//! Runs end when their containers are gone, however long that takes and whoever asks for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    run::RunNumber,
    runtime::{ContainerRuntime, ContainerSpec, Exit, RuntimeError, RuntimeKind},
    store::{SetAsideState, Store},
    testing::fake_runtime::Asked,
};
use tokio::time::Instant;

use super::support::{Agent, House, folder, main_group, waiting};

const LONG: Duration = Duration::from_secs(600);

/// Thinks for ten minutes about each prompt; ends when it is asked to.
async fn slow(agent: Agent) -> Exit {
    agent.thinks_for(LONG).await
}

/// Answers at once. The first one never ends by itself.
async fn first_is_deaf(mut agent: Agent) -> Exit {
    let heard = agent.heard();
    agent.say(1, &heard).await;
    if agent.input.run_number == Some(RunNumber(1)) && agent.input.group_folder == folder("main") {
        std::future::pending::<()>().await;
    }
    agent.until_closed().await
}

fn busy() -> RuntimeError {
    RuntimeError::Other { action: "remove the container", reason: "device or resource busy".to_owned() }
}

fn away() -> RuntimeError {
    let (reason, remedy) = ("nobody listens".to_owned(), "start it".to_owned());
    RuntimeError::Unavailable { runtime: RuntimeKind::Fake, reason, remedy }
}

/// Nothing can be stopped or removed.
fn nothing_ends(asked: Asked<'_>) -> Option<RuntimeError> {
    matches!(asked, Asked::Stop(_) | Asked::Remove(_)).then(busy)
}

/// What ended cannot be removed.
fn nothing_goes(asked: Asked<'_>) -> Option<RuntimeError> {
    matches!(asked, Asked::Remove(_)).then(busy)
}

async fn endings(house: &House) -> Vec<Option<String>> {
    house.store.runs(Some(&folder("main")), 10).await.unwrap().into_iter().map(|run| run.ending).collect()
}

/// A house with one slot whose main group's container is to end and does not.
async fn stuck() -> House {
    let house = House::with_slots(1, first_is_deaf).await;
    house.add_group("other", "test:other").await;
    house.runtime.obstruct(nothing_ends);
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.write_to("test:other", "@Andy two").await;
    house.write("three").await;
    house.state("stopping").await;
    tokio::time::sleep(2 * LONG).await;
    house
}

#[tokio::test(start_paused = true)]
async fn f24_a_run_ends_when_its_container_is_gone_however_long_stopping_and_removing_fail() {
    let house = stuck().await;
    house.state("stopping").await;
    assert_eq!((house.runtime.live(), house.runtime.specs().len()), (1, 1), "its slot is not free, its group waits");
    assert_eq!(house.store.open_runs().await.unwrap().len(), 1);
    house.runtime.clear_obstacle();
    house.shown(&["heard one", "heard @Andy two", "heard three"]).await;
    assert_eq!((house.runtime.most_live(), house.runtime.most_live_of_a_group()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn f26_a_host_that_ends_lets_go_of_a_container_that_cannot_be_ended_and_the_next_host_sees_to_it() {
    let house = stuck().await;
    let before = Instant::now();
    house.let_go().await;
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    assert_eq!((house.runtime.live(), endings(&house).await), (1, vec![None]), "its run is open");
    house.runtime.clear_obstacle();
    let house = house.restart().await;
    house.write("four").await;
    waiting("the first is gone", async || house.runtime.specs().len() >= 2).await;
    waiting("all is answered", async || house.store.unanswered(&folder("main")).await.unwrap() == 0).await;
    assert_eq!((house.runtime.most_live(), house.runtime.most_live_of_a_group()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_that_cannot_be_removed_keeps_nobody_waiting_and_is_removed_when_it_can_be() {
    let empty = House::empty(first_is_deaf).await.map_runtime(|runtime| runtime.keeping_dead());
    empty.store.add_group(&main_group()).await.unwrap();
    let house = empty.start().await;
    house.runtime.obstruct(nothing_goes);
    house.write("one").await;
    house.shown(&["heard one"]).await;
    let before = Instant::now();
    house.runtime.lose_all();
    waiting("it is dead", async || house.runtime.dead() == 1).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert!(before.elapsed() < Duration::from_secs(60), "{:?}", before.elapsed());
    assert_eq!((house.runtime.live(), house.runtime.dead()), (1, 1));
    tokio::time::sleep(LONG).await;
    house.write("three").await;
    house.shown(&["heard one", "heard two", "heard three"]).await;
    house.runtime.clear_obstacle();
    waiting("the dead one is removed", async || house.runtime.dead() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn f24_a_container_that_goes_on_while_its_engine_is_away_keeps_its_group_and_what_it_says_counts() {
    let house = House::new(slow).await;
    house.write("one").await;
    house.state("busy").await;
    house.runtime.obstruct(|_| Some(away()));
    house.runtime.lose_sight();
    house.state("stopping").await;
    house.write("two").await;
    tokio::time::sleep(2 * LONG).await;
    assert_eq!((house.runtime.live(), house.runtime.specs().len()), (1, 1), "nobody knows that it is gone");
    house.runtime.clear_obstacle();
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(endings(&house).await, [None, Some("lost".to_owned())]);
    assert_eq!(house.runtime.most_live_of_a_group(), 1);
}

/// A container of the main group's, of a run that is over, and the number of slots.
async fn left_over(slots: usize) -> House {
    let house = House::with_slots(slots, first_is_deaf).await;
    house.add_group("other", "test:other").await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    let mut spec: ContainerSpec = house.runtime.specs()[0].clone();
    house.state("idle").await;
    spec.name = "of-a-run-that-is-over".to_owned();
    spec.labels.run.number = RunNumber(1);
    let mut container = house.runtime.start(&spec).await.unwrap();
    let input = r#"{"prompt": "", "groupFolder": "main", "chatJid": "test:main", "isMain": true, "runNumber": 1}"#;
    container.stdin.send(input.as_bytes(), LONG).await.unwrap();
    container.stdin.close().await;
    house.kill().await;
    let leftover = container.id.clone();
    house.runtime.obstruct(move |asked| match asked {
        Asked::Stop(id) | Asked::Remove(id) if *id == leftover => Some(busy()),
        _ => None,
    });
    house
}

#[tokio::test(start_paused = true)]
async fn f24_f33_a_container_of_a_run_that_is_over_is_tried_until_it_is_gone_and_its_group_starts_no_other_before() {
    let house = left_over(2).await;
    let house = house.restart().await;
    house.write("two").await;
    house.write_to("test:other", "@Andy three").await;
    house.state("paused").await;
    waiting("others are served", async || house.channel.texts().contains(&"heard @Andy three".to_owned())).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(house.runtime.most_live_of_a_group(), 1);
    house.runtime.clear_obstacle();
    house.shown_last("heard two").await;
    assert_eq!((house.runtime.most_live(), house.runtime.most_live_of_a_group()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn f33_a_container_that_could_not_be_removed_at_the_start_is_removed_though_nobody_writes() {
    let house = left_over(2).await;
    let house = house.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!(house.runtime.live(), 1);
    house.runtime.clear_obstacle();
    waiting("it is gone", async || house.runtime.live() == 0).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_of_no_run_takes_a_slot_until_it_is_gone() {
    let house = left_over(1).await;
    let house = house.restart().await;
    house.write_to("test:other", "@Andy two").await;
    tokio::time::sleep(LONG).await;
    house.state_of("other", "waiting").await;
    house.runtime.clear_obstacle();
    house.shown(&["heard one", "heard @Andy two"]).await;
    assert_eq!(house.runtime.most_live(), 1);
}

/// A group at work whose host was killed and whose next host is just taking over its container.
async fn being_taken_over() -> House {
    let empty = House::empty(slow).await.map_runtime(|runtime| runtime.with_slow_adopts(Duration::from_secs(10)));
    empty.store.add_group(&main_group()).await.unwrap();
    let house = empty.start().await;
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy one").await;
    house.state_of("other", "busy").await;
    house.kill().await;
    house.runtime.fail_next_list(RuntimeError::TimedOut { action: "list the containers" });
    let house = house.restart().await;
    house.state_of("other", "held").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    house
}

#[tokio::test(start_paused = true)]
async fn f26_a_group_that_is_removed_while_its_container_is_taken_over_has_it_ended() {
    let house = being_taken_over().await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    assert_eq!(house.runtime.live(), 1);
    waiting("it is gone", async || house.runtime.live() == 0).await;
    waiting("its run is closed", async || house.store.open_runs().await.unwrap().is_empty()).await;
    assert!(house.channel.texts().is_empty());
}

#[tokio::test(start_paused = true)]
async fn f24_a_group_that_is_removed_and_added_again_while_its_container_is_taken_over_never_has_two() {
    let house = being_taken_over().await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    house.add_group("other", "test:other").await;
    house.write_to("test:other", "@Andy two").await;
    house.shown(&["heard @Andy two"]).await;
    assert_eq!((house.runtime.specs().len(), house.runtime.most_live_of_a_group()), (2, 1));
}

/// Answers ten minutes later, the first time; then at once.
async fn slow_first(agent: Agent) -> Exit {
    if agent.input.run_number == Some(RunNumber(1)) { slow(agent).await } else { first_is_deaf(agent).await }
}

#[tokio::test(start_paused = true)]
async fn f14_f24_the_container_of_a_worker_that_panics_is_gone_before_the_next_one_starts() {
    let house = House::new(slow_first).await;
    house.runtime.obstruct(nothing_ends);
    house.channel.on_typing(|| panic!("as the test asked for"));
    house.write("one").await;
    house.state("stopping").await;
    tokio::time::sleep(LONG / 2).await;
    assert_eq!((house.runtime.live(), house.runtime.specs().len()), (1, 1));
    assert_eq!(endings(&house).await, [None], "its run is open");
    house.runtime.clear_obstacle();
    house.shown(&["heard one"]).await;
    assert_eq!(house.runtime.most_live_of_a_group(), 1);
    assert_eq!(endings(&house).await, [None, Some("failed".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn f14_what_an_agent_said_and_asked_for_when_its_worker_panicked_is_shown_once() {
    let house = House::new(async |mut agent: Agent| {
        if agent.input.run_number == Some(RunNumber(1)) {
            // Nobody reads it: the worker panics at the first sign of typing, which comes before.
            let heard = agent.heard();
            agent.journal(1, &heard);
            let request = br#"{"type": "message", "chatJid": "test:main", "text": "by the way"}"#;
            agent.mailbox.messages().unwrap().write("1.json", request).unwrap();
            return agent.until_closed().await;
        }
        let heard = agent.heard();
        agent.say(1, &heard).await;
        agent.until_closed().await
    })
    .await;
    house.runtime.obstruct(|asked| matches!(asked, Asked::List).then(away));
    house.channel.on_typing(|| panic!("as the test asked for"));
    house.write("one").await;
    tokio::time::sleep(LONG).await;
    house.runtime.clear_obstacle();
    waiting("all is answered", async || house.store.unanswered(&folder("main")).await.unwrap() == 0).await;
    house.write("two").await;
    house.shown_last("heard two").await;
    let mut texts = house.channel.texts();
    texts.sort_unstable();
    assert_eq!(texts, ["by the way", "heard one", "heard two"]);
}

#[tokio::test(start_paused = true)]
async fn f14_what_makes_its_worker_panic_each_time_is_set_aside_in_the_end() {
    let house = House::new(first_is_deaf).await;
    for run in 1..=6 {
        house.panic_at_next_launch();
        if run == 1 {
            house.write("one").await;
        }
        waiting("its worker panics", async || {
            let runs = house.store.runs(None, 10).await.unwrap();
            runs.len() == run && runs[0].ending.is_some()
        })
        .await;
    }
    house.shown_last_containing("its worker failed").await;
    let set_aside = house.store.set_aside(None, false, 10).await.unwrap();
    assert_eq!((set_aside.len(), set_aside[0].state), (1, SetAsideState::Kept));
    house.write("two").await;
    house.shown_last("heard two").await;
}

#[tokio::test(start_paused = true)]
async fn f14_cleaning_up_that_panics_as_well_ends_the_run_and_its_container_is_gone_before_the_next() {
    let house = House::new(slow_first).await;
    let (armed, panics) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let (armed_here, counted) = (armed.clone(), panics.clone());
    house.runtime.obstruct(move |asked| {
        if matches!(asked, Asked::Remove(_)) && armed_here.swap(false, Ordering::SeqCst) {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("as the test asked for");
        }
        None
    });
    house.channel.on_typing(|| panic!("as the test asked for"));
    house.write("one").await;
    house.shown(&["heard one"]).await;
    assert_eq!((panics.load(Ordering::SeqCst), house.runtime.most_live_of_a_group()), (1, 1));
    assert_eq!(house.runtime.specs().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn f24_a_start_that_may_have_left_a_container_behind_is_looked_into_before_the_next() {
    let house = House::new(first_is_deaf).await;
    // The engine got further than it could tell: the container of the run that "did not start" is there.
    house.runtime.fail_next_start(RuntimeError::TimedOut { action: "start the container" });
    house.write("one").await;
    waiting("it was tried", async || house.runtime.specs().len() == 1).await;
    let spec = house.runtime.specs()[0].clone();
    let mut container = house.runtime.start(&spec).await.unwrap();
    let input = r#"{"prompt": "", "groupFolder": "main", "chatJid": "test:main", "isMain": true, "runNumber": 1}"#;
    container.stdin.send(input.as_bytes(), LONG).await.unwrap();
    container.stdin.close().await;
    house.shown_last_containing("heard one").await;
    assert_eq!(house.runtime.most_live_of_a_group(), 1);
}
