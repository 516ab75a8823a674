//! Containers that are started ahead: used once, or gone without anybody noticing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    attachment::{Attachment, Fetched, SpoolName, SpooledFile},
    message::InboundMessage,
    protocol::{environment::AHEAD, input::Ahead},
    runtime::{Exit, RuntimeError},
    store::Store,
    testing::fake_runtime::FakeContainer,
};

use crate::support::{Agent, EmptyHouse, House, block, folder, main_group, waiting};

/// Answers one prompt with `heard …` and ends, so that its group is idle again.
async fn answers_once(mut agent: Agent) -> Exit {
    agent.answer(|text| Some(format!("heard {text}"))).await;
    Exit::Code(0)
}

/// The same, of a container that waits for its prompt first.
async fn reads_and_answers_once(mut container: FakeContainer) -> Exit {
    let input = container.read_input().await;
    match serde_json::from_slice(&input) {
        Ok(input) => answers_once(Agent::of(container, input)).await,
        Err(_) => Exit::Code(1),
    }
}

/// A house with the main group, a container ahead for as many groups, and an agent that answers once.
async fn house(groups: usize, slots: usize) -> EmptyHouse {
    let house = House::empty(answers_once).await.with_standby(groups, slots);
    house.store.add_group(&main_group()).await.unwrap();
    house
}

/// Has one message answered, after which a container waits for the next.
async fn one_is_answered_and_another_waits(house: &House) {
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("standby").await;
}

/// The numbers of the main group's containers that were started.
fn started(house: &House) -> Vec<u32> {
    house.runtime.specs().iter().map(|spec| spec.labels.run.number.0).collect()
}

/// How the main group's runs ended, the first first.
async fn endings(house: &House) -> Vec<String> {
    let mut runs = house.store.runs(Some(&folder("main")), 100).await.unwrap();
    runs.reverse();
    runs.into_iter().map(|run| run.ending.unwrap_or_else(|| "open".to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_container_waits_for_a_group_that_was_used_and_its_next_message_goes_to_it() {
    let house =
        house(1, 5).await.map_runtime(|runtime| runtime.with_slow_starts(Duration::from_secs(20))).start().await;
    one_is_answered_and_another_waits(&house).await;
    assert_eq!((started(&house), house.runtime.live()), (vec![1, 2], 1));

    let began = tokio::time::Instant::now();
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "its container was there: {:?}", began.elapsed());
    house.state("standby").await;
    assert_eq!(started(&house), [1, 2, 3], "two was answered by the one that waited, and another waits");
    assert_eq!(endings(&house).await, ["finished", "finished", "open"]);
    let turns = house.store.turns(&house.runtime.specs()[1].labels.run).await.unwrap();
    assert_eq!(turns.len(), 1, "what it was handed is noted");
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_while_it_is_started_goes_to_it() {
    let house =
        house(1, 5).await.map_runtime(|runtime| runtime.with_slow_starts(Duration::from_secs(20))).start().await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("preparing").await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(started(&house)[..2], [1, 2]);
    assert_eq!(house.runtime.most_live_of_a_group(), 1);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn turned_off_nothing_is_ever_started_ahead() {
    let house = house(0, 5).await.start().await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.idle().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((started(&house), house.runtime.live()), (vec![1], 0));
    assert_eq!(endings(&house).await, ["finished"], "no row is written for it");
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_never_used_has_none() {
    let house = house(3, 5).await.start().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(house.runtime.specs().len(), 0);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_slot_is_left_for_others_and_whoever_comes_finds_one() {
    let house = house(2, 2).await.start().await;
    house.add_group("other", "test:other").await;
    house.add_group("third", "test:third").await;
    one_is_answered_and_another_waits(&house).await;
    // The free slot is taken at once, and what waits gives way so that there is one for the next.
    house.write_to("test:other", "@Andy two").await;
    house.write_to("test:third", "@Andy three").await;
    waiting("all answered", async || house.channel.texts().len() == 3).await;
    assert!(house.runtime.most_live() <= 2, "the limit holds");
    house.shut_down().await;
    assert_eq!(house.runtime.live(), 0);
}

#[tokio::test(start_paused = true)]
async fn with_one_slot_there_is_none_to_spare() {
    let house = house(2, 1).await.start().await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(started(&house), [1]);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_started_from_an_old_configuration_is_not_used() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.change_configuration("another");
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(endings(&house).await[..3], ["finished", "stopped", "finished"], "the second was thrown away");
    let turns = house.store.turns(&house.runtime.specs()[1].labels.run).await.unwrap();
    assert!(turns.is_empty(), "nothing was handed to it");
    assert_eq!(house.runtime.most_live_of_a_group(), 1, "it was gone before the next one came");
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_started_from_an_old_image_is_not_used_and_is_made_anew_by_itself() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.runtime.change_images("sha256:2");
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(endings(&house).await[..3], ["finished", "stopped", "finished"]);
    house.state("standby").await;
    house.runtime.change_images("sha256:3");
    waiting("another one waits", async || started(&house).len() == 5).await;
    house.state("standby").await;
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_dies_while_it_waits_is_nobodys_failure() {
    let waited = Arc::new(AtomicU32::new(0));
    let seen = waited.clone();
    let house = house(1, 5).await.map_runtime(move |_| {
        nanoclaw_core::testing::FakeRuntime::new(move |container: FakeContainer| {
            let seen = seen.clone();
            async move {
                // The second dies at once; all others read their prompt.
                if container.spec.labels.run.number.0 == 2 {
                    seen.fetch_add(1, Ordering::Relaxed);
                    return Exit::Signal(9);
                }
                reads_and_answers_once(container).await
            }
        })
    });
    let house = house.start().await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    let answered = tokio::time::Instant::now();
    house.state("standby").await;
    waiting("after a pause another waits", async || started(&house) == [1, 2, 3]).await;
    house.state("standby").await;
    assert!(answered.elapsed() >= Duration::from_secs(4), "not at once: {:?}", answered.elapsed());
    assert_eq!(waited.load(Ordering::Relaxed), 1);
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    let failures = house.store.recover().await.unwrap()[0].failures;
    assert_eq!(failures, 0);
    assert_eq!(endings(&house).await[..3], ["finished", "stopped", "finished"]);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_started_is_nobodys_failure_and_is_tried_again_after_a_while() {
    let house = House::empty(|agent| async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        answers_once(agent).await
    });
    let house = house.await.with_standby(1, 5);
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start().await;
    house.write("one").await;
    house.state("busy").await;
    house.runtime.fail_next_start(RuntimeError::TimedOut { action: "start the container" });
    house.state("standby").await;
    assert_eq!(endings(&house).await, ["finished", "stopped", "open"]);
    assert_eq!(house.channel.texts(), ["heard one"], "nobody was told");
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_host_left_waiting_is_removed_and_never_taken_over() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.kill().await;
    let house = house.restart().await;
    house.state("standby").await;
    assert_eq!(house.runtime.live(), 1, "the one of the new host");
    assert_eq!(started(&house), [1, 2, 3], "no number is given twice");
    assert_eq!(endings(&house).await, ["finished", "host_ended", "open"]);
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(house.store.recover().await.unwrap()[0].failures, 0);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_ends_in_order_removes_it_whatever_becomes_of_the_others() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.let_go().await;
    assert_eq!(house.runtime.live(), 0);
    assert_eq!(endings(&house).await, ["finished", "stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_removed_or_frozen_loses_it() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.orchestrator.freeze(&folder("main")).await;
    house.state("frozen").await;
    assert_eq!(house.runtime.live(), 0);
    house.orchestrator.thaw(&folder("main")).await;
    house.state("standby").await;
    house.orchestrator.remove_group(&folder("main")).await.unwrap();
    waiting("it is gone", async || house.runtime.live() == 0).await;
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_day_after_its_last_use_a_group_has_none() {
    let house = house(1, 5).await.start().await;
    one_is_answered_and_another_waits(&house).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    house.idle().await;
    assert_eq!(house.runtime.live(), 0);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_a_dying_container_did_not_take_goes_to_the_next_and_is_nobodys_failure() {
    let house = house(1, 5).await.map_runtime(|_| {
        nanoclaw_core::testing::FakeRuntime::new(|container: FakeContainer| async move {
            if container.spec.labels.run.number.0 == 2 {
                // Its input is gone, and its end is seen a moment later.
                drop(container.input);
                tokio::time::sleep(Duration::from_secs(30)).await;
                return Exit::Signal(9);
            }
            reads_and_answers_once(container).await
        })
    });
    let house = house.start().await;
    one_is_answered_and_another_waits(&house).await;
    house.write("two").await;
    house.shown(&["heard one", "heard two"]).await;
    assert_eq!(endings(&house).await[..3], ["finished", "host_ended", "finished"]);
    assert_eq!(house.store.recover().await.unwrap()[0].failures, 0);
    assert_eq!(house.channel.texts(), ["heard one", "heard two"], "nobody was told of anything");
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_with_the_session_and_has_the_files_of_its_messages() {
    let house = House::empty(|mut agent| async move {
        let session = agent.input.session_id.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let said = block(Some(&format!("{session}, {} files", agent.files.len())))
            .answered(agent.input.last_seq)
            .session("s-1");
        agent.write(&said).await;
        Exit::Code(0)
    });
    let house = house.await.with_standby(1, 5);
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start().await;
    house.write("one").await;
    house.shown(&["none, 0 files"]).await;
    house.state("standby").await;
    let spool = SpoolName::new("content").unwrap();
    let file = SpooledFile { spool, media_type: "image/png".to_owned(), bytes: 7 };
    let photo = Attachment { kind: "photo".to_owned(), name: Some("a.png".to_owned()), fetched: Fetched::Yes(file) };
    let message = InboundMessage { attachments: vec![photo], ..house.message("test:main", "two") };
    house.orchestrator.inbox().accept(message).await.unwrap();
    house.shown(&["none, 0 files", "s-1, 1 files"]).await;
    assert_eq!(house.group_file("main", "attachments/2-1-a.png"), "content");
    assert_eq!(started(&house)[..2], [1, 2]);
    assert_eq!(endings(&house).await[..2], ["finished", "finished"]);
    house.shut_down().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_told_what_is_known_of_its_input_and_a_container_that_has_its_input_at_once_is_told_nothing() {
    let house = House::empty(|mut agent| async move {
        let known = serde_json::to_string(&agent.input.ahead()).unwrap();
        agent.write(&block(Some(&known)).answered(agent.input.last_seq).session("s-1")).await;
        Exit::Code(0)
    });
    let house = house.await.with_standby(1, 5);
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start().await;
    house.write("one").await;
    house.state("standby").await;
    house.write("two").await;
    waiting("both are answered", async || house.channel.texts().len() == 2).await;
    let specs = house.runtime.specs();
    assert_eq!(specs[0].env.get(AHEAD), None);
    let told = specs[1].env[AHEAD].as_str();
    assert_eq!(house.channel.texts()[1], told, "its input said the same");
    let told: Ahead = serde_json::from_str(told).unwrap();
    assert_eq!(told.session_id.as_ref().map(|session| session.as_str()), Some("s-1"));
    assert_eq!((told.group_folder, told.chat_jid.as_str(), told.is_main), (folder("main"), "test:main", true));
    house.shut_down().await;
}
