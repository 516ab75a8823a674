//! The lists that agents of NanoClaw v1 look up in their mailbox: which tasks and which groups there are.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use nanoclaw_core::{
    delivery::DeliveryKey,
    run::TaskId,
    runtime::Exit,
    schedule::Schedule,
    store::Store,
    tasks::{NewTask, TaskChange, TaskTerms},
    time::{Timestamp, test_clock},
};
use serde_json::Value;

use crate::support::{Agent, House, folder, main_group, waiting};

const HOUR: Duration = Duration::from_secs(3600);

/// What an agent found in its mailbox before it read its prompt: its tasks, its groups.
type Found = Arc<Mutex<Vec<(Value, Value)>>>;

/// A house with the groups `main` and `other`, whose agents look before they answer.
async fn house() -> (House, Found) {
    test_clock::set(Some(Timestamp::from_ms(1_772_600_400_000)));
    let found = Found::default();
    let finds = found.clone();
    let house = House::empty(move |agent: Agent| {
        finds.lock().unwrap().push((agent.lying("current_tasks.json"), agent.lying("available_groups.json")));
        thinks(agent)
    });
    let house = house.await.with_tasks();
    house.store.add_group(&main_group()).await.unwrap();
    let house = house.start().await;
    house.add_group("other", "test:other").await;
    (house, found)
}

async fn thinks(agent: Agent) -> Exit {
    agent.thinks_for(Duration::ZERO).await
}

async fn add(house: &House, group: &str) -> TaskId {
    let task = NewTask {
        key: DeliveryKey::new(format!("key/{group}")).unwrap(),
        group: folder(group),
        created_by: folder("main"),
        prompt: format!("what {group} does"),
        schedule: Schedule::Every(HOUR),
        zone: jiff::tz::TimeZone::UTC,
        first_due: Timestamp::now().plus(HOUR),
        terms: TaskTerms::default(),
        script: None,
    };
    house.orchestrator.agenda().unwrap().add(&task).await.unwrap()
}

async fn change(house: &House, id: &TaskId, change: TaskChange) {
    house.orchestrator.agenda().unwrap().change(id, &change).await.unwrap().unwrap();
}

fn lying(house: &House, group: &str, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(house.mailbox(group).root().join(name)).unwrap()).unwrap()
}

/// Whose tasks are listed, and how they stand.
fn tasks(list: &Value) -> Vec<(String, String)> {
    let word = |task: &Value, name: &str| task[name].as_str().unwrap().to_owned();
    list.as_array().unwrap().iter().map(|task| (word(task, "groupFolder"), word(task, "status"))).collect()
}

fn expected(tasks: &[(&str, &str)]) -> Vec<(String, String)> {
    tasks.iter().map(|(group, status)| ((*group).to_owned(), (*status).to_owned())).collect()
}

async fn until_listed(house: &House, group: &str, wanted: &[(&str, &str)]) {
    let wanted = expected(wanted);
    waiting(&format!("{group} has {wanted:?}"), async || tasks(&lying(house, group, "current_tasks.json")) == wanted)
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_group_finds_its_own_tasks_and_the_main_group_all_before_they_are_asked_and_after_every_change() {
    let (house, found) = house().await;
    let mains = add(&house, "main").await;
    let others = add(&house, "other").await;
    house.write_to("test:other", "@Andy one").await;
    house.shown_last("heard @Andy one").await;
    house.write("two").await;
    house.shown_last("heard two").await;
    let seen = found.lock().unwrap().clone();
    assert_eq!(tasks(&seen[0].0), expected(&[("other", "active")]));
    assert_eq!(seen[0].0[0]["prompt"], "what other does");
    assert_eq!(tasks(&seen[1].0), expected(&[("main", "active"), ("other", "active")]));

    let untouched = house.mailbox("other").top().unwrap().mark("current_tasks.json").unwrap();
    change(&house, &mains, TaskChange::Pause { why: None }).await;
    until_listed(&house, "main", &[("main", "paused"), ("other", "active")]).await;
    let mark = house.mailbox("other").top().unwrap().mark("current_tasks.json").unwrap();
    assert_eq!(mark, untouched, "what others do is not its concern");
    change(&house, &others, TaskChange::Cancel).await;
    until_listed(&house, "other", &[]).await;
    until_listed(&house, "main", &[("main", "paused")]).await;
}

#[tokio::test(start_paused = true)]
async fn a_container_that_outlived_its_host_finds_what_the_next_host_changes() {
    let (house, _) = house().await;
    let id = add(&house, "main").await;
    house.write("one").await;
    house.shown_last("heard one").await;
    house.kill().await;
    let house = house.restart().await;
    change(&house, &id, TaskChange::Pause { why: None }).await;
    until_listed(&house, "main", &[("main", "paused")]).await;
    assert_eq!(house.runtime.specs().len(), 1, "the same container");
}

#[tokio::test(start_paused = true)]
async fn the_main_group_finds_which_chats_there_are_and_others_find_none() {
    let (house, found) = house().await;
    house.write_to("test:other", "@Andy one").await;
    house.shown_last("heard @Andy one").await;
    house.write("two").await;
    house.shown_last("heard two").await;
    let [of_other, of_main] = [0, 1].map(|run| found.lock().unwrap()[run].1.clone());
    assert_eq!(of_other["groups"], serde_json::json!([]));
    let registered = |list: &Value, chat: &str| {
        let entry = list["groups"].as_array().unwrap().iter().find(|entry| entry["jid"] == chat)?;
        entry["isRegistered"].as_bool()
    };
    assert_eq!(registered(&of_main, "test:other"), Some(true), "{of_main}");
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    waiting("it is registered no more", async || {
        registered(&lying(&house, "main", "available_groups.json"), "test:other") == Some(false)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_written_costs_its_run_nothing() {
    let (house, _) = house().await;
    house.write("one").await;
    house.shown_last("heard one").await;
    let list = house.mailbox("main").root().join("current_tasks.json");
    std::fs::remove_file(&list).unwrap();
    std::fs::create_dir_all(list.join("in the way")).unwrap();
    add(&house, "main").await;
    house.write("two").await;
    house.shown_last("heard two").await;
    assert_eq!(house.runtime.specs().len(), 1);
}
