//! Scheduled tasks: due, run, answered, and what becomes of them when runs fail and hosts die.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use nanoclaw_core::{
    delivery::{Answered, DeliveryKey},
    message::InboundMessage,
    orchestrator::Receipt,
    protocol::{alive::BEAT_FILE, dollars::Dollars, output::FailureKind},
    run::{RunKind, TaskId},
    runtime::Exit,
    schedule::Schedule,
    store::{SessionContext, StopWork, Stopped, Store},
    tasks::{
        CatchUp, Firing, FiringState, NewTask, Overlap, Task, TaskChange, TaskContext, TaskSettings, TaskStatus,
        TaskTerms, Tasks, claim::MOST_CAUGHT_UP,
    },
    time::{Timestamp, test_clock},
};

use crate::support::{Agent, House, block, folder, main_group, set_clock, waiting};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// A task of the main group that is due every five minutes.
fn every_five_minutes() -> NewTask {
    NewTask {
        key: DeliveryKey::new("request/main/1/1").unwrap(),
        group: folder("main"),
        created_by: folder("main"),
        prompt: "water the plants".to_owned(),
        schedule: Schedule::Every(5 * MINUTE),
        zone: jiff::tz::TimeZone::UTC,
        first_due: Timestamp::now().plus(5 * MINUTE),
        terms: TaskTerms::default(),
        script: None,
    }
}

/// A house whose containers all do what `agent` does, where the clock goes as the test's does.
async fn house<F: Future<Output = Exit> + Send + 'static>(
    agent: impl Fn(Agent) -> F + Clone + Send + Sync + 'static,
) -> House {
    test_clock::set(Some(Timestamp::from_ms(1_772_600_400_000)));
    let house = House::empty(agent).await.with_tasks();
    house.store.add_group(&main_group()).await.unwrap();
    house.start().await
}

/// Does a task at once and ends, as our agents do; chats with people until it is asked to end.
async fn obliging(mut agent: Agent) -> Exit {
    if agent.input.is_scheduled_task == Some(true) {
        agent.say(1, &block(Some(&format!("done: {}", agent.input.prompt)))).await;
        return Exit::Code(0);
    }
    agent.thinks_for(Duration::ZERO).await
}

async fn add(house: &House, task: &NewTask) -> TaskId {
    house.orchestrator.agenda().unwrap().add(task).await.unwrap()
}

/// Somebody wants a task now, for the time of this number.
fn by_hand(number: u32) -> DeliveryKey {
    DeliveryKey::new(format!("by hand {number}")).unwrap()
}

async fn change(house: &House, id: &TaskId, change: TaskChange) -> Task {
    house.orchestrator.agenda().unwrap().change(id, &change).await.unwrap().unwrap()
}

async fn task(house: &House, id: &TaskId) -> Task {
    Tasks::task(&*house.store, id).await.unwrap().unwrap()
}

/// Oldest first.
async fn firings(house: &House, id: &TaskId) -> Vec<Firing> {
    let mut firings = house.store.firings(id, 1000).await.unwrap();
    firings.reverse();
    firings
}

async fn states(house: &House, id: &TaskId) -> Vec<FiringState> {
    firings(house, id).await.into_iter().map(|firing| firing.state).collect()
}

async fn until_states(house: &House, id: &TaskId, wanted: &[FiringState]) {
    waiting(&format!("{wanted:?}"), async || states(house, id).await == wanted).await;
}

#[tokio::test(start_paused = true)]
async fn f56_a_task_runs_once_for_each_of_its_times_and_says_what_came_of_it() {
    let house = house(obliging).await;
    let new = every_five_minutes();
    let id = add(&house, &new).await;
    waiting("three times", async || house.channel.texts().len() == 3).await;
    assert_eq!(house.channel.texts(), ["done: water the plants"; 3]);
    waiting("the third is noted", async || states(&house, &id).await == [FiringState::Done; 3]).await;
    let firings = firings(&house, &id).await;
    let due = firings.iter().map(|firing| firing.due);
    assert!(due.eq((0..3).map(|times| new.first_due.plus(times * 5 * MINUTE))), "{firings:?}");
    assert_eq!((firings[0].text.as_deref(), firings[0].tries), (Some("done: water the plants"), 1));
    let late = firings[2].started_at.unwrap().as_ms() - firings[2].due.as_ms();
    assert!(late < 1000, "{late} ms");
    let runs = house.store.runs(Some(&folder("main")), 10).await.unwrap();
    assert_eq!(runs.iter().filter(|run| run.kind == RunKind::Task(id.clone())).count(), 3);
    assert_eq!(task(&house, &id).await.next_due, Some(new.first_due.plus(3 * 5 * MINUTE)));
}

#[tokio::test(start_paused = true)]
async fn a_chat_that_rests_yields_to_its_groups_task_and_messages_wait_for_its_end() {
    let house = house(|mut agent: Agent| async move {
        if agent.input.is_scheduled_task.is_none() {
            return agent.thinks_for(Duration::ZERO).await;
        }
        tokio::time::sleep(3 * MINUTE).await;
        agent.say(1, &block(Some("done"))).await;
        Exit::Code(0)
    })
    .await;
    house.write("one").await;
    house.shown(&["heard one"]).await;
    house.state("resting").await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    house.write("two").await;
    house.shown(&["heard one", "done", "heard two"]).await;
    assert_eq!(house.runtime.specs().len(), 3, "each has a container of its own");
    assert_eq!(house.runtime.most_live(), 1, "never two of a group at once");
}

#[tokio::test(start_paused = true)]
async fn f63_a_task_goes_on_with_the_groups_conversation_its_own_or_none_as_it_was_made() {
    let seen = Arc::<Mutex<Vec<Option<String>>>>::default();
    let sessions = seen.clone();
    let house = house(move |mut agent: Agent| {
        let seen = seen.clone();
        async move {
            seen.lock().unwrap().push(agent.input.session_id.as_ref().map(ToString::to_string));
            let session = format!("s-{}", agent.input.run_number.unwrap());
            let answered = agent.input.last_seq;
            agent.say(1, &block(Some("done")).session(&session).answered(answered)).await;
            Exit::Code(0)
        }
    })
    .await;
    let kept = async |context| {
        let session = house.store.session(&folder("main"), &context).await.unwrap();
        session.map(|session| session.to_string())
    };
    house.write("one").await;
    house.idle().await;
    assert_eq!(kept(SessionContext::Chat).await.as_deref(), Some("s-1"));
    let agenda = house.orchestrator.agenda().unwrap();
    let mut number = 1;
    for (context, twice) in [
        (TaskContext::Group, [Some("s-1"), Some("s-2")]),
        (TaskContext::Isolated, [None, None]),
        (TaskContext::Own, [None, Some("s-6")]),
    ] {
        let key = DeliveryKey::new(context.word()).unwrap();
        let id =
            add(&house, &NewTask { key, terms: TaskTerms { context, ..TaskTerms::default() }, ..every_five_minutes() })
                .await;
        change(&house, &id, TaskChange::Pause { why: None }).await;
        for resumed in twice {
            agenda.fire_now(&id, &by_hand(number)).await.unwrap().unwrap();
            number += 1;
            waiting("it is done", async || states(&house, &id).await.last() == Some(&FiringState::Done)).await;
            house.idle().await;
            assert_eq!(sessions.lock().unwrap().pop().unwrap().as_deref(), resumed, "{context:?}, run {number}");
        }
    }
    assert_eq!(kept(SessionContext::Chat).await.as_deref(), Some("s-3"), "only the group's own tasks have changed it");
}

#[tokio::test(start_paused = true)]
async fn a_silent_task_is_recorded_and_says_nothing_in_the_chat() {
    let house = house(obliging).await;
    let terms = TaskTerms { silent: true, ..TaskTerms::default() };
    let id = add(&house, &NewTask { terms, ..every_five_minutes() }).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    assert_eq!(firings(&house, &id).await[0].text.as_deref(), Some("done: water the plants"));
    assert_eq!(house.channel.texts(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_script_lets_the_agent_sleep_is_done_and_what_others_cost_is_recorded() {
    let house = house(|mut agent: Agent| async move {
        let mut said = block(agent.input.script.is_none().then_some("done"));
        match agent.input.script {
            Some(_) => said.0.woke = Some(false),
            None => said.0.cost_usd = Some(Dollars::from_millionths(1250)),
        }
        agent.say(1, &said).await;
        Exit::Code(0)
    })
    .await;
    let sleeps = add(&house, &NewTask { script: Some("true".to_owned()), ..every_five_minutes() }).await;
    let key = DeliveryKey::new("two").unwrap();
    let wakes = add(&house, &NewTask { key, ..every_five_minutes() }).await;
    until_states(&house, &sleeps, &[FiringState::Done]).await;
    until_states(&house, &wakes, &[FiringState::Done]).await;
    let asleep = &firings(&house, &sleeps).await[0];
    assert_eq!((asleep.text.as_deref(), asleep.remark.as_deref()), (None, Some("its script let the agent sleep")));
    assert_eq!(firings(&house, &wakes).await[0].cost_micros, Some(1250));
    assert_eq!(house.channel.texts(), ["done"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_due_while_it_runs_is_skipped_or_waits_as_it_was_made() {
    let house = house(|mut agent: Agent| async move {
        tokio::time::sleep(7 * MINUTE).await;
        agent.say(1, &block(Some("done"))).await;
        Exit::Code(0)
    })
    .await;
    use FiringState::{Done, Running, Skipped, Waiting};
    let skips = add(&house, &every_five_minutes()).await;
    until_states(&house, &skips, &[Done, Skipped, Running]).await;
    change(&house, &skips, TaskChange::Cancel).await;
    house.idle().await;
    let terms = TaskTerms { overlap: Overlap::Queue, ..TaskTerms::default() };
    let key = DeliveryKey::new("queue").unwrap();
    let queues = add(&house, &NewTask { key, terms, ..every_five_minutes() }).await;
    until_states(&house, &queues, &[Done, Running]).await;
    until_states(&house, &queues, &[Done, Done, Running, Waiting]).await;
    assert_eq!(house.runtime.most_live(), 1);
}

#[tokio::test(start_paused = true)]
async fn f57_a_task_that_fails_is_tried_again_told_of_once_and_rests_in_the_end() {
    let house = house(|agent: Agent| async move {
        agent.output.stderr("no luck").await;
        Exit::Code(3)
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    waiting("it rests", async || task(&house, &id).await.status == TaskStatus::Paused).await;
    waiting("that is told", async || house.channel.texts().len() == 2).await;
    let texts = house.channel.texts();
    assert!(texts[0].contains("The task “water the plants” failed: its run ended with code 3: no luck"), "{texts:?}");
    assert!(texts[1].contains("failed 5 times in a row and rests now"), "{texts:?}");
    let failed: Vec<Firing> =
        firings(&house, &id).await.into_iter().filter(|one| one.state == FiringState::Failed).collect();
    assert_eq!(failed.len(), TaskSettings::default().failures_before_rest as usize);
    assert!(failed.iter().all(|firing| firing.tries == 3), "{failed:?}");
    assert!(task(&house, &id).await.paused_why.unwrap().contains("failed 5 times in a row"));
    assert_eq!(house.store.recover().await.unwrap()[0].failures, 0, "it says nothing about the chat");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_meets_a_login_that_does_not_work_waits_is_told_of_once_and_is_done_when_it_works() {
    let tries = Arc::new(AtomicU32::new(0));
    let tried = tries.clone();
    let house = house(move |mut agent: Agent| {
        let tries = tries.clone();
        async move {
            if tries.fetch_add(1, Ordering::SeqCst) < 4 {
                agent.say(1, &block(None).error("not logged in", FailureKind::Login)).await;
                return Exit::Code(1);
            }
            agent.say(1, &block(Some("done"))).await;
            Exit::Code(0)
        }
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    house.shown_last("done").await;
    assert_eq!((tried.load(Ordering::SeqCst), house.channel.texts().len()), (5, 2));
    assert!(house.channel.texts()[0].contains("could not be done: its run failed: not logged in"));
    waiting("all is well", async || task(&house, &id).await.health.wrong_since.is_none()).await;
    let first = &firings(&house, &id).await[0];
    assert_eq!((first.state, first.tries, first.faults), (FiringState::Done, 5, 0));
}

#[tokio::test(start_paused = true)]
async fn f60_a_task_that_is_cancelled_ends_its_run_and_keeps_its_record() {
    let house = house(|mut agent: Agent| async move {
        agent.stop.clone().cancelled_owned().await;
        agent.say(1, &block(Some("late"))).await;
        Exit::Code(143)
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    change(&house, &id, TaskChange::Cancel).await;
    house.idle().await;
    assert_eq!(states(&house, &id).await, [FiringState::Cancelled]);
    tokio::time::sleep(60 * MINUTE).await;
    assert_eq!((states(&house, &id).await.len(), house.runtime.specs().len()), (1, 1), "it is not due any more");
}

/// At a task until it is stopped, and then says something all the same.
async fn never_done(mut agent: Agent) -> Exit {
    if agent.input.is_scheduled_task.is_none() {
        return agent.thinks_for(Duration::ZERO).await;
    }
    agent.stop.clone().cancelled_owned().await;
    agent.say(1, &block(Some("late"))).await;
    Exit::Code(143)
}

async fn command(house: &House, text: &str) -> InboundMessage {
    let message = house.message("test:main", text);
    let receipt = house.orchestrator.inbox().accept(message.clone()).await.unwrap();
    assert!(matches!(receipt, Receipt::Obeyed { .. }), "{receipt:?}");
    message
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_run_of_a_task_which_is_not_tried_again_and_runs_at_its_next_time() {
    let house = house(never_done).await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    let stop = command(&house, "/stop").await;
    house.shown_last_containing("Stopped the task that was running.").await;
    house.idle().await;
    let firing = &firings(&house, &id).await[0];
    let remark = firing.remark.as_deref();
    assert_eq!((firing.state, remark), (FiringState::Cancelled, Some("was stopped by somebody in the chat")));
    let task = task(&house, &id).await;
    assert_eq!((task.status, task.health.failures), (TaskStatus::Active, 0));
    until_states(&house, &id, &[FiringState::Cancelled, FiringState::Running]).await;
    // The platform says it again, and it stops nothing more.
    house.orchestrator.inbox().accept(stop).await.unwrap();
    house.state("busy").await;
    assert_eq!(states(&house, &id).await, [FiringState::Cancelled, FiringState::Running]);
    assert_eq!(house.channel.texts().len(), 1, "{:?}", house.channel.texts());
}

#[tokio::test(start_paused = true)]
async fn stop_drops_the_messages_that_wait_for_a_task_too_and_what_waits_of_the_task_has_its_turn() {
    let house = house(never_done).await;
    let terms = TaskTerms { overlap: Overlap::Queue, ..TaskTerms::default() };
    let id = add(&house, &NewTask { terms, ..every_five_minutes() }).await;
    until_states(&house, &id, &[FiringState::Running, FiringState::Waiting]).await;
    house.write("one").await;
    command(&house, "/stop").await;
    house.shown_last_containing("is dropped.\n\nStopped the task").await;
    waiting("the next has its turn", async || {
        states(&house, &id).await[..2] == [FiringState::Cancelled, FiringState::Running]
    })
    .await;
    assert_eq!(house.store.unanswered(&folder("main")).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_dies_when_it_has_stored_the_stop_of_a_task_neither_runs_it_again_nor_hears_of_it() {
    let house = house(never_done).await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    let stop = StopWork {
        key: "stop".parse().unwrap(),
        command: Answered::default(),
        reason: "was stopped".to_owned(),
        stopped: "Stopped.".to_owned(),
        task_stopped: "Stopped the task.".to_owned(),
        nothing: "Nothing.".to_owned(),
    };
    let stopped = house.store.stop_work(&folder("main"), &stop, Timestamp::now()).await.unwrap();
    assert_eq!(stopped, Stopped::Work { through: None, run: None, task: Some(id.clone()) });
    house.kill().await;
    let house = house.restart().await;
    waiting("its container is gone", async || house.runtime.live() == 0).await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(states(&house, &id).await, [FiringState::Cancelled]);
    assert_eq!((house.channel.texts(), house.runtime.specs().len()), (vec!["Stopped the task.".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn f60_a_task_that_rests_is_not_due_and_goes_on_at_its_next_time() {
    let house = house(obliging).await;
    let new = every_five_minutes();
    let id = add(&house, &new).await;
    change(&house, &id, TaskChange::Pause { why: None }).await;
    tokio::time::sleep(62 * MINUTE).await;
    assert_eq!(states(&house, &id).await, []);
    let next_due = task(&house, &id).await.next_after(Timestamp::now()).unwrap();
    assert_eq!(next_due, new.first_due.plus(60 * MINUTE), "as if it had never rested");
    change(&house, &id, TaskChange::Resume { next_due }).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    assert_eq!(firings(&house, &id).await[0].due, next_due);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_done_its_task_and_goes_on_is_asked_to_end() {
    let house = house(|mut agent: Agent| async move {
        agent.write(&block(Some("done"))).await;
        agent.until_closed().await
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    house.idle().await;
    let firing = &firings(&house, &id).await[0];
    let took = firing.ended_at.unwrap().as_ms() - firing.started_at.unwrap().as_ms();
    assert!((10_000..30_000).contains(&took), "{took} ms");
}

#[tokio::test(start_paused = true)]
async fn who_writes_does_not_wait_for_what_a_task_that_is_done_has_in_the_background() {
    let house = house(|mut agent: Agent| async move {
        if agent.input.is_scheduled_task.is_none() {
            return agent.thinks_for(Duration::ZERO).await;
        }
        let beats = agent.mailbox.alive().unwrap();
        tokio::spawn(async move {
            for _ in 0..120 {
                beats.write_fleeting(BEAT_FILE, b"").unwrap();
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        });
        tokio::time::sleep(MINUTE).await;
        agent.say(1, &block(Some("done"))).await;
        agent.until_closed().await
    })
    .await;
    let once = Schedule::parse("once", "2026-03-04 05:05").unwrap();
    let id = add(&house, &NewTask { schedule: once, ..every_five_minutes() }).await;
    house.shown(&["done"]).await;
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(states(&house, &id).await, [FiringState::Running], "nobody wants its container");
    let (written, _) = (tokio::time::Instant::now(), house.write("one").await);
    house.shown(&["done", "heard one"]).await;
    assert!(written.elapsed() < MINUTE, "{:?}", written.elapsed());
    assert_eq!(states(&house, &id).await, [FiringState::Done]);
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_without_a_word_has_not_done_its_task() {
    let tries = Arc::new(AtomicU32::new(0));
    let house = house(move |mut agent: Agent| {
        let tries = tries.clone();
        async move {
            if tries.fetch_add(1, Ordering::SeqCst) > 0 {
                agent.say(1, &block(None)).await;
            }
            Exit::Code(0)
        }
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    let firing = &firings(&house, &id).await[0];
    assert_eq!((firing.tries, firing.text.as_deref()), (2, None), "nothing to say is an answer, no word is none");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_killed_while_a_task_runs_costs_nothing_and_doubles_nothing() {
    let house = house(|mut agent: Agent| async move {
        tokio::time::sleep(4 * MINUTE).await;
        agent.say(1, &block(Some("done"))).await;
        Exit::Code(0)
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    house.kill().await;
    let house = house.restart().await;
    house.shown(&["done"]).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    assert_eq!((firings(&house, &id).await[0].tries, house.runtime.specs().len()), (1, 1), "the same container");
    // And when it is done while no host is there.
    until_states(&house, &id, &[FiringState::Done, FiringState::Running]).await;
    house.state("busy").await;
    house.kill().await;
    tokio::time::sleep(4 * MINUTE + Duration::from_secs(30)).await;
    let house = house.restart().await;
    house.shown(&["done", "done"]).await;
    waiting("it is noted", async || states(&house, &id).await[..2] == [FiringState::Done; 2]).await;
    assert_eq!(firings(&house, &id).await[1].tries, 1);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_died_with_its_host_is_made_up_for_and_one_that_had_answered_is_not() {
    let house = house(|mut agent: Agent| async move {
        let number = agent.input.run_number.unwrap().0;
        if number == 1 {
            std::future::pending::<()>().await;
        }
        agent.say(1, &block(Some(&format!("done by run {number}")))).await;
        if number == 2 {
            std::future::pending::<()>().await;
        }
        Exit::Code(0)
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.state("busy").await;
    house.kill().await;
    house.runtime.lose_all();
    let house = house.restart().await;
    house.shown(&["done by run 2"]).await;
    house.kill().await;
    house.runtime.lose_all();
    let house = house.restart().await;
    until_states(&house, &id, &[FiringState::Done]).await;
    let first = &firings(&house, &id).await[0];
    assert_eq!(first.tries, 2);
    house.shown(&["done by run 2"]).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_due_while_no_host_was_there_is_made_up_for_once() {
    let house = house(obliging).await;
    let id = add(&house, &every_five_minutes()).await;
    house.kill().await;
    tokio::time::sleep(63 * MINUTE).await;
    let house = house.restart().await;
    until_states(&house, &id, &[FiringState::Done]).await;
    let firing = &firings(&house, &id).await[0];
    assert!(firing.remark.as_ref().unwrap().starts_with("it stands for earlier times as well"), "{firing:?}");
    until_states(&house, &id, &[FiringState::Done; 2]).await;
    assert_eq!(house.channel.texts().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn f57_the_tasks_of_a_group_that_is_removed_rest() {
    let house = house(obliging).await;
    house.add_group("other", "test:other").await;
    let id = add(&house, &NewTask { group: folder("other"), ..every_five_minutes() }).await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    let task = task(&house, &id).await;
    assert_eq!(task.status, TaskStatus::Paused);
    assert_eq!(task.paused_why.as_deref(), Some("its group is not registered any more"));
    // Also when it was removed while nobody looked.
    let stranger = NewTask { key: DeliveryKey::new("two").unwrap(), group: folder("nobody"), ..every_five_minutes() };
    let id = add(&house, &stranger).await;
    waiting("it rests", async || self::task(&house, &id).await.status == TaskStatus::Paused).await;
    assert_eq!(states(&house, &id).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_single_time_is_run_for_and_then_the_task_is_completed() {
    let house = house(obliging).await;
    let schedule = Schedule::parse("once", "2026-03-04 05:05").unwrap();
    let id = add(&house, &NewTask { schedule, ..every_five_minutes() }).await;
    waiting("it is completed", async || task(&house, &id).await.status == TaskStatus::Completed).await;
    assert_eq!(states(&house, &id).await, [FiringState::Done]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_for_a_while_costs_no_due_time() {
    let house = house(obliging).await;
    let id = add(&house, &every_five_minutes()).await;
    house.store.fail_writes("the disk is full");
    tokio::time::sleep(6 * MINUTE).await;
    assert_eq!(states(&house, &id).await, []);
    house.store.mend();
    until_states(&house, &id, &[FiringState::Done]).await;
    assert_eq!(house.channel.texts(), ["done: water the plants"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_clock_jumps_ahead_by_a_year_what_passed_is_made_up_for_as_each_task_was_made() {
    use FiringState::{Done, Skipped};
    let house = house(obliging).await;
    let new = every_five_minutes();
    let mut ids = Vec::new();
    for catch_up in [CatchUp::Once, CatchUp::Skip, CatchUp::All] {
        let key = DeliveryKey::new(catch_up.word()).unwrap();
        ids.push(
            add(&house, &NewTask { key, terms: TaskTerms { catch_up, ..TaskTerms::default() }, ..new.clone() }).await,
        );
    }
    for id in &ids {
        until_states(&house, id, &[Done]).await;
    }
    set_clock(new.first_due.plus(YEAR + 2 * MINUTE));
    until_states(&house, &ids[0], &[Done, Done]).await;
    until_states(&house, &ids[1], &[Done, Skipped]).await;
    until_states(&house, &ids[2], &[Done; 1 + MOST_CAUGHT_UP]).await;
    let latest = new.first_due.plus(YEAR);
    for id in &ids {
        let due: Vec<_> = firings(&house, id).await.into_iter().map(|firing| firing.due).collect();
        assert!(due.is_sorted() && due.last() == Some(&latest), "{due:?}");
        assert_eq!(task(&house, id).await.next_due, Some(latest.plus(5 * MINUTE)));
    }
    // And on it goes.
    for (id, past) in ids.iter().zip([vec![Done, Done], vec![Done, Skipped], vec![Done; 1 + MOST_CAUGHT_UP]]) {
        until_states(&house, id, &[past, vec![Done]].concat()).await;
    }
    assert_eq!(house.channel.texts().len(), 3 + 1 + MOST_CAUGHT_UP + 3);
}

#[tokio::test(start_paused = true)]
async fn when_the_clock_is_set_back_by_a_day_no_time_is_run_for_twice() {
    let house = house(obliging).await;
    let new = every_five_minutes();
    let id = add(&house, &new).await;
    until_states(&house, &id, &[FiringState::Done; 3]).await;
    set_clock(Timestamp::now().minus(DAY));
    tokio::time::sleep(DAY - MINUTE).await;
    assert_eq!(states(&house, &id).await, [FiringState::Done; 3], "all of it was before");
    until_states(&house, &id, &[FiringState::Done; 4]).await;
    let due = firings(&house, &id).await.into_iter().map(|firing| firing.due);
    assert!(due.eq((0..4).map(|times| new.first_due.plus(times * 5 * MINUTE))));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_a_year_ahead_for_a_while_does_not_hold_tasks_up_for_a_year() {
    let house = house(obliging).await;
    let new = every_five_minutes();
    let id = add(&house, &new).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    let right = Timestamp::now();
    set_clock(right.plus(YEAR));
    until_states(&house, &id, &[FiringState::Done; 2]).await;
    set_clock(right);
    until_states(&house, &id, &[FiringState::Done; 4]).await;
    let due: Vec<_> = firings(&house, &id).await.into_iter().map(|firing| firing.due).collect();
    let expected = [Duration::ZERO, YEAR, 5 * MINUTE, 10 * MINUTE].map(|after| new.first_due.plus(after));
    assert_eq!(due, expected);
    assert_eq!(house.channel.texts().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_right_while_no_host_lives_does_not_hold_tasks_up_either() {
    let house = house(obliging).await;
    let new = every_five_minutes();
    let id = add(&house, &new).await;
    until_states(&house, &id, &[FiringState::Done]).await;
    let right = Timestamp::now();
    set_clock(right.plus(YEAR));
    until_states(&house, &id, &[FiringState::Done; 2]).await;
    house.kill().await;
    set_clock(right);
    let house = house.restart().await;
    until_states(&house, &id, &[FiringState::Done; 3]).await;
    assert_eq!(firings(&house, &id).await[2].due, new.first_due.plus(5 * MINUTE));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_not_held_up_by_a_clock_that_is_set_back() {
    let tries = Arc::new(AtomicU32::new(0));
    let house = house(move |agent: Agent| {
        let tries = tries.clone();
        async move {
            if agent.input.is_scheduled_task != Some(true) {
                return agent.thinks_for(10 * MINUTE).await;
            }
            if tries.fetch_add(1, Ordering::SeqCst) == 0 {
                return Exit::Code(3);
            }
            obliging(agent).await
        }
    })
    .await;
    let id = add(&house, &every_five_minutes()).await;
    // For its group.
    house.write("one").await;
    until_states(&house, &id, &[FiringState::Waiting]).await;
    set_clock(Timestamp::now().minus(DAY));
    house.shown(&["heard one"]).await;
    // For the next try.
    waiting("it was tried", async || firings(&house, &id).await[0].faults == 1).await;
    set_clock(Timestamp::now().minus(DAY));
    house.shown_last("done: water the plants").await;
    until_states(&house, &id, &[FiringState::Done]).await;
    assert_eq!(firings(&house, &id).await[0].tries, 2);
}

#[tokio::test(start_paused = true)]
async fn f57_what_a_run_was_at_whose_group_is_removed_is_left_out_and_waits_for_nobody() {
    let house = house(|agent: Agent| async move {
        agent.stop.cancelled().await;
        Exit::Code(0)
    })
    .await;
    house.add_group("other", "test:other").await;
    let id = add(&house, &NewTask { group: folder("other"), ..every_five_minutes() }).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.orchestrator.remove_group(&folder("other")).await.unwrap();
    until_states(&house, &id, &[FiringState::Skipped]).await;
    let by_hand = house.orchestrator.agenda().unwrap().fire_now(&id, &by_hand(1)).await.unwrap();
    assert!(by_hand.is_some());
    until_states(&house, &id, &[FiringState::Skipped; 2]).await;
}

#[tokio::test(start_paused = true)]
async fn f57_what_a_run_was_at_whose_group_is_gone_when_a_host_comes_back_is_left_out() {
    let house = house(|agent: Agent| async move {
        agent.stop.cancelled().await;
        Exit::Code(0)
    })
    .await;
    house.add_group("other", "test:other").await;
    let id = add(&house, &NewTask { group: folder("other"), ..every_five_minutes() }).await;
    until_states(&house, &id, &[FiringState::Running]).await;
    house.kill().await;
    house.store.remove_group(&folder("other")).await.unwrap();
    let house = house.restart().await;
    until_states(&house, &id, &[FiringState::Skipped]).await;
    assert_eq!(task(&house, &id).await.status, TaskStatus::Paused);
}
