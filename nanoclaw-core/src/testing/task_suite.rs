//! What [`Tasks`] must do, as checks that run against every implementation. Each is given an empty store.
//!
//! One passes by instantiating [`task_suite!`](crate::task_suite) with a function that makes an empty one.

#![expect(clippy::unwrap_used, reason = "a check is a test: it fails by panicking")]

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::{
    chat::ChatId,
    delivery::{Answered, DeliveryKey, NewDelivery},
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    run::{BlockNumber, RunEnding, RunId, RunKind, RunNumber, TaskId},
    runtime::RuntimeKind,
    schedule::Schedule,
    store::{BlockCommit, NewRun, StopWork, Stopped, Store},
    tasks::{
        CatchUp, Claim, Firing, FiringEnd, FiringState, FiringWord, NewFiring, NewTask, Overlap, Task, TaskChange,
        TaskContext, TaskHealth, TaskStatus, TaskTerms, TaskUpdate, Tasks,
    },
    time::Timestamp,
};

/// A store that keeps tasks too.
pub trait TaskStore: Store + Tasks {}

impl<T: Store + Tasks> TaskStore for T {}

/// Makes one `#[tokio::test]` per promise of [`Tasks`](crate::tasks::Tasks).
///
/// `$make` names a function `async fn() -> (Arc<dyn TaskStore>, impl Sized)` that makes an empty store; the second value is
/// kept until the end.
#[macro_export]
macro_rules! task_suite {
    ($make:path) => {
        $crate::task_suite! { @checks $make;
            a_task_comes_back_whole_and_the_same_request_is_the_same_task
            tasks_are_listed_by_group_and_those_that_were_cancelled_are_not
            the_earliest_active_task_is_known_and_those_that_are_due_come_in_order
            f56_a_due_time_is_claimed_once
            what_is_due_while_an_earlier_time_is_not_done_is_skipped_or_waits
            what_was_claimed_is_begun_by_a_run_that_is_opened_for_it_and_once
            what_an_agent_says_is_kept_with_its_firing
            what_is_tried_again_waits_for_its_time
            what_waits_for_a_later_time_is_brought_forward_when_the_clock_was_set_back
            a_task_that_was_due_for_the_last_time_is_completed_when_that_is_done
            the_end_of_a_run_is_told_with_it_and_once
            f59_a_task_that_is_cancelled_keeps_its_record_and_nothing_of_it_runs_any_more
            f60_a_task_that_is_resumed_is_due_when_it_is_told_and_what_waited_was_skipped
            a_task_that_is_changed_is_changed_in_what_was_said_only
            a_task_runs_by_hand_beside_its_due_times
            what_is_asked_for_by_hand_under_one_key_is_fired_once
            stopping_ends_the_firing_that_runs_and_its_task_stays
            stopping_a_run_whose_agent_has_answered_leaves_its_firing_done
            a_group_that_is_removed_takes_no_task_with_it
        }
    };
    (@checks $make:path; $($check:ident)*) => {
        $(
            #[tokio::test]
            async fn $check() {
                let (store, _kept) = $make().await;
                $crate::testing::task_suite::$check(&*store).await;
            }
        )*
    };
}

const MINUTE: i64 = 60_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_ms(1_772_600_400_000 + minutes * MINUTE)
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

fn key(text: &str) -> DeliveryKey {
    DeliveryKey::new(text).unwrap()
}

fn chat(group: &str) -> ChatId {
    ChatId::new(format!("tg:{group}")).unwrap()
}

fn new_task(group: &str, key: &str, first_due: Timestamp) -> NewTask {
    NewTask {
        key: DeliveryKey::new(key).unwrap(),
        group: folder(group),
        created_by: folder("main"),
        prompt: format!("prompt of {key}"),
        schedule: Schedule::Every(Duration::from_secs(300)),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        first_due,
        terms: TaskTerms::default(),
        script: None,
    }
}

/// A task of the registered group `one`, due at minute 5.
async fn added(store: &dyn TaskStore) -> TaskId {
    let group = Group {
        folder: folder("one"),
        chat: chat("one"),
        name: "One".to_owned(),
        trigger: TriggerPolicy::AssistantName,
        role: GroupRole::Ordinary,
        added_at: at(0),
    };
    store.add_group(&group).await.unwrap();
    store.add(&new_task("one", "first", at(5)), at(0)).await.unwrap()
}

async fn task(store: &dyn TaskStore, id: &TaskId) -> Task {
    Tasks::task(store, id).await.unwrap().unwrap()
}

fn waits(due: Timestamp) -> NewFiring {
    NewFiring { due, state: FiringState::Waiting, remark: None }
}

fn claim(task: &TaskId, due: Timestamp, next_due: Option<Timestamp>) -> Claim {
    Claim { task: task.clone(), due, firings: vec![waits(due)], overlap: Overlap::Skip, next_due }
}

fn run(number: u32) -> RunId {
    RunId { group: folder("one"), number: RunNumber(number) }
}

/// A run of the task, to be opened at that time.
fn of_task(task: &TaskId, number: u32, at: Timestamp) -> NewRun {
    NewRun { id: run(number), kind: RunKind::Task(task.clone()), runtime: RuntimeKind::Fake, handed: None, at }
}

/// What the run of that number begins, and there is something.
async fn begins(store: &dyn TaskStore, task: &TaskId, number: u32, at: Timestamp) -> Firing {
    store.begin(&of_task(task, number, at)).await.unwrap().unwrap().1
}

/// The task's time of minute 5, begun by run 1.
async fn begun(store: &dyn TaskStore, task: &TaskId) -> RunId {
    store.claim(&claim(task, at(5), Some(at(10))), at(5)).await.unwrap().unwrap();
    begins(store, task, 1, at(5)).await;
    run(1)
}

async fn states(store: &dyn TaskStore, task: &TaskId) -> Vec<FiringState> {
    let mut firings = store.firings(task, 100).await.unwrap();
    firings.reverse();
    firings.into_iter().map(|firing| firing.state).collect()
}

async fn ended(store: &dyn TaskStore, run: &RunId, change: impl FnOnce(FiringEnd) -> FiringEnd) -> bool {
    let (_, firing) = store.firing_of(run).await.unwrap().unwrap();
    let end = FiringEnd {
        firing: firing.id,
        state: FiringState::Done,
        not_before: None,
        fault: false,
        remark: None,
        health: TaskHealth::default(),
        pause: None,
        notice: None,
    };
    store.end(&change(end), at(6)).await.unwrap()
}

/// See [`Tasks::add`].
pub async fn a_task_comes_back_whole_and_the_same_request_is_the_same_task(store: &dyn TaskStore) {
    let terms = TaskTerms { context: TaskContext::Own, catch_up: CatchUp::All, overlap: Overlap::Queue, silent: true };
    let schedule = Schedule::Cron("0 9 * * MON-FRI".to_owned());
    let script = Some("echo '{}'".to_owned());
    let new = NewTask { schedule, terms, script, ..new_task("one", "first", at(5)) };
    let id = store.add(&new, at(1)).await.unwrap();
    assert_eq!(store.add(&new_task("two", "first", at(9)), at(2)).await.unwrap(), id);
    let wanted = Task {
        id: id.clone(),
        group: new.group,
        created_by: new.created_by,
        prompt: new.prompt,
        schedule: new.schedule,
        zone: new.zone,
        anchor: at(5),
        terms,
        script: new.script,
        status: TaskStatus::Active,
        paused_why: None,
        next_due: Some(at(5)),
        health: TaskHealth::default(),
        created_at: at(1),
    };
    assert_eq!(task(store, &id).await, wanted);
    assert_eq!(Tasks::task(store, &TaskId::new("another").unwrap()).await.unwrap(), None);
}

/// See [`Tasks::list`].
pub async fn tasks_are_listed_by_group_and_those_that_were_cancelled_are_not(store: &dyn TaskStore) {
    let mut ids = Vec::new();
    for (group, key) in [("one", "a"), ("two", "b"), ("one", "c"), ("one", "d")] {
        ids.push(store.add(&new_task(group, key, at(5)), at(0)).await.unwrap());
    }
    store.change(&ids[2], &TaskChange::Cancel, at(1)).await.unwrap();
    let listed = async |group: Option<&GroupFolder>, limit| -> Vec<TaskId> {
        store.list(group, limit).await.unwrap().into_iter().map(|task| task.id).collect()
    };
    assert_eq!(listed(None, 10).await, [ids[0].clone(), ids[1].clone(), ids[3].clone()]);
    assert_eq!(listed(Some(&folder("one")), 10).await, [ids[0].clone(), ids[3].clone()]);
    assert_eq!(listed(None, 1).await, [ids[0].clone()]);
    // Of those, some are due for the last time and done.
    store.claim(&Claim { firings: Vec::new(), ..claim(&ids[0], at(5), None) }, at(5)).await.unwrap();
    store.change(&ids[3], &TaskChange::Pause { why: None }, at(5)).await.unwrap();
    let standing = async |group: Option<&GroupFolder>, limit| -> Vec<TaskId> {
        store.standing(group, limit).await.unwrap().into_iter().map(|task| task.id).collect()
    };
    assert_eq!(standing(None, 10).await, [ids[1].clone(), ids[3].clone()]);
    assert_eq!(standing(Some(&folder("one")), 10).await, [ids[3].clone()]);
    assert_eq!(standing(None, 1).await, [ids[1].clone()]);
}

/// See [`Tasks::earliest_due`] and [`Tasks::due`].
pub async fn the_earliest_active_task_is_known_and_those_that_are_due_come_in_order(store: &dyn TaskStore) {
    assert_eq!(store.earliest_due().await.unwrap(), None);
    let mut ids = Vec::new();
    for (key, due) in [("a", 9), ("b", 3), ("c", 6), ("d", 1)] {
        ids.push(store.add(&new_task("one", key, at(due)), at(0)).await.unwrap());
    }
    store.change(&ids[3], &TaskChange::Pause { why: None }, at(0)).await.unwrap();
    assert_eq!(store.earliest_due().await.unwrap(), Some(at(3)));
    let due = async |now, limit| -> Vec<TaskId> {
        store.due(now, limit).await.unwrap().into_iter().map(|task| task.id).collect()
    };
    assert_eq!(due(at(6), 10).await, [ids[1].clone(), ids[2].clone()]);
    assert_eq!(due(at(9), 1).await, [ids[1].clone()]);
    assert_eq!(due(at(2), 10).await, []);
}

/// See [`Tasks::claim`].
pub async fn f56_a_due_time_is_claimed_once(store: &dyn TaskStore) {
    let id = added(store).await;
    let waiting = store.claim(&claim(&id, at(5), Some(at(10))), at(5)).await.unwrap().unwrap();
    assert_eq!((waiting.len(), waiting[0].due, waiting[0].state), (1, at(5), FiringState::Waiting));
    assert_eq!(task(store, &id).await.next_due, Some(at(10)));
    assert_eq!(store.claim(&claim(&id, at(5), Some(at(10))), at(5)).await.unwrap(), None, "it was claimed");
    // A clock that was set back, or a schedule that was changed: the same time comes again.
    store.change(&id, &TaskChange::Resume { next_due: at(5) }, at(6)).await.unwrap();
    let again = store.claim(&Claim { overlap: Overlap::Queue, ..claim(&id, at(5), Some(at(10))) }, at(6)).await;
    assert_eq!(again.unwrap(), Some(Vec::new()));
    assert_eq!(states(store, &id).await, [FiringState::Waiting]);
    store.change(&id, &TaskChange::Pause { why: None }, at(6)).await.unwrap();
    assert_eq!(store.claim(&claim(&id, at(10), None), at(10)).await.unwrap(), None, "it rests");
}

/// See [`Claim::overlap`].
pub async fn what_is_due_while_an_earlier_time_is_not_done_is_skipped_or_waits(store: &dyn TaskStore) {
    let id = added(store).await;
    begun(store, &id).await;
    let skipped = store.claim(&claim(&id, at(10), Some(at(15))), at(10)).await.unwrap();
    assert_eq!(skipped, Some(Vec::new()));
    let queued = Claim { overlap: Overlap::Queue, ..claim(&id, at(15), Some(at(20))) };
    assert_eq!(store.claim(&queued, at(15)).await.unwrap().unwrap().len(), 1);
    assert_eq!(states(store, &id).await, [FiringState::Running, FiringState::Skipped, FiringState::Waiting]);
    assert!(store.has_waiting(&id).await.unwrap());
    let skipped = &store.firings(&id, 2).await.unwrap()[1];
    assert_eq!((skipped.ended_at, skipped.remark.is_some()), (Some(at(10)), true));
    let made_up = NewFiring { remark: Some("why".to_owned()), state: FiringState::Skipped, ..waits(at(19)) };
    let claim = Claim { firings: vec![made_up], overlap: Overlap::Queue, ..claim(&id, at(20), None) };
    assert_eq!(store.claim(&claim, at(20)).await.unwrap(), Some(Vec::new()));
    assert_eq!(store.firings(&id, 1).await.unwrap()[0].remark.as_deref(), Some("why"));
}

/// See [`Tasks::begin`].
pub async fn what_was_claimed_is_begun_by_a_run_that_is_opened_for_it_and_once(store: &dyn TaskStore) {
    let id = added(store).await;
    let begin = async |number, minute| store.begin(&of_task(&id, number, at(minute))).await;
    let open = async || store.open_runs().await.unwrap().into_iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!(store.last_claimed().await.unwrap(), None);
    assert_eq!(begin(1, 5).await.unwrap(), None, "it is not due");
    assert_eq!(open().await, []);
    let queue = |due, next| Claim { overlap: Overlap::Queue, ..claim(&id, due, Some(next)) };
    store.claim(&queue(at(5), at(10)), at(5)).await.unwrap();
    store.claim(&queue(at(10), at(15)), at(10)).await.unwrap();
    assert_eq!(store.last_claimed().await.unwrap(), Some(at(10)));
    let of_chat = NewRun { kind: RunKind::Chat, ..of_task(&id, 1, at(11)) };
    assert_eq!(store.begin(&of_chat).await.unwrap(), None, "it is of no task");
    let (task, firing) = begin(2, 11).await.unwrap().unwrap();
    assert_eq!((task.id.clone(), firing.due, firing.tries), (id.clone(), at(5), 1), "the oldest");
    assert_eq!((firing.state, firing.run, firing.started_at), (FiringState::Running, Some(RunNumber(2)), Some(at(11))));
    assert_eq!(begin(3, 12).await.unwrap(), None, "one at a time");
    assert_eq!(open().await, [run(2)], "the run goes on that is at the other");
    assert_eq!(store.firing_of(&run(2)).await.unwrap(), Some((task, firing.clone())));
    assert_eq!(store.running().await.unwrap(), [firing]);
    assert_eq!(store.waiting().await.unwrap().len(), 1);
    assert_eq!(store.firing_of(&run(7)).await.unwrap(), None);
    // With a number that was taken before nothing is begun.
    assert!(ended(store, &run(2), |end| end).await);
    assert!(begin(2, 13).await.is_err());
    assert_eq!(store.waiting().await.unwrap().len(), 1);
    assert_eq!((begins(store, &id, 3, at(13)).await.due, open().await), (at(10), vec![run(3)]));
}

/// A block about a firing.
fn says(number: u32, text: Option<&str>, cost_micros: Option<i64>) -> BlockCommit {
    BlockCommit {
        number: BlockNumber(number),
        reply: None,
        answers: None,
        session: None,
        taken: None,
        names_messages: false,
        firing: Some(FiringWord { text: text.map(str::to_owned), remark: None, cost_micros }),
        at: at(6),
    }
}

/// See [`BlockCommit::firing`].
pub async fn what_an_agent_says_is_kept_with_its_firing(store: &dyn TaskStore) {
    let id = added(store).await;
    let run = begun(store, &id).await;
    let say = async |number, text, cost| store.commit_block(&run, &says(number, text, cost)).await.unwrap();
    say(1, Some("one"), Some(3)).await;
    say(1, Some("one"), Some(3)).await;
    say(2, Some("two"), None).await;
    say(3, None, Some(4)).await;
    let (_, firing) = store.firing_of(&run).await.unwrap().unwrap();
    assert_eq!((firing.text.as_deref(), firing.cost_micros, firing.answered), (Some("one\n\ntwo"), Some(7), true));
    store.close_run(&run, &RunEnding::TimedOut, at(7)).await.unwrap();
    say(4, Some("late"), None).await;
    let (_, firing) = store.firing_of(&run).await.unwrap().unwrap();
    assert_eq!(firing.text.as_deref(), Some("one\n\ntwo"), "what it says after its run is closed is late");
    assert_eq!(store.recover().await.unwrap()[0].failures, 0, "a task's failure is not the chat's");
}

/// See [`Tasks::end`].
pub async fn what_is_tried_again_waits_for_its_time(store: &dyn TaskStore) {
    let id = added(store).await;
    let run = begun(store, &id).await;
    let again = |end| FiringEnd {
        state: FiringState::Waiting,
        not_before: Some(at(8)),
        fault: true,
        remark: Some("crashed".to_owned()),
        health: TaskHealth { failures: 0, wrong_since: Some(at(5)) },
        ..end
    };
    assert!(ended(store, &run, again).await);
    let firing = store.waiting().await.unwrap().remove(0);
    assert_eq!((firing.faults, firing.not_before, firing.remark.as_deref()), (1, at(8), Some("crashed")));
    assert_eq!(task(store, &id).await.health.wrong_since, Some(at(5)));
    assert_eq!(store.begin(&of_task(&id, 2, at(7))).await.unwrap(), None);
    let firing = begins(store, &id, 2, at(8)).await;
    assert_eq!((firing.tries, firing.started_at), (2, Some(at(5))), "when the first run of it began");
    assert_eq!(firing.remark.as_deref(), Some("crashed"));
    store.commit_block(&run, &says(1, Some("late"), None)).await.unwrap();
    store.commit_block(&self::run(2), &says(1, Some("done"), None)).await.unwrap();
    let firing = store.firings(&id, 1).await.unwrap().remove(0);
    assert_eq!((firing.text.as_deref(), firing.remark), (Some("done"), None), "what it failed of is over");
}

/// See [`Tasks::bring_forward`], and [`Claim::firings`].
pub async fn what_waits_for_a_later_time_is_brought_forward_when_the_clock_was_set_back(store: &dyn TaskStore) {
    let id = added(store).await;
    store.claim(&claim(&id, at(5), Some(at(500))), at(5)).await.unwrap();
    store.bring_forward(at(2)).await.unwrap();
    let firing = begins(store, &id, 1, at(2)).await;
    assert_eq!((firing.due, firing.not_before), (at(5), at(2)));
    store.bring_forward(at(1)).await.unwrap();
    assert_eq!(store.running().await.unwrap()[0].not_before, at(2), "it does not wait");
    // The task itself is due earlier again, but not for a time that was claimed.
    let earlier = Claim { firings: Vec::new(), ..claim(&id, at(500), Some(at(5))) };
    assert_eq!(store.claim(&earlier, at(2)).await.unwrap(), Some(Vec::new()));
    assert_eq!(task(store, &id).await.next_due, Some(at(5)));
    assert_eq!(store.claim(&claim(&id, at(5), Some(at(10))), at(5)).await.unwrap(), Some(Vec::new()));
    assert_eq!(states(store, &id).await, [FiringState::Running]);
}

/// See [`Tasks::end`].
pub async fn a_task_that_was_due_for_the_last_time_is_completed_when_that_is_done(store: &dyn TaskStore) {
    let id = added(store).await;
    store.claim(&claim(&id, at(5), None), at(5)).await.unwrap();
    assert_eq!(task(store, &id).await.status, TaskStatus::Active, "it is still to be done");
    assert_eq!(store.earliest_due().await.unwrap(), None);
    begins(store, &id, 1, at(5)).await;
    assert!(ended(store, &run(1), |end| end).await);
    assert_eq!(task(store, &id).await.status, TaskStatus::Completed);
    // And one of which the only time was left out.
    let other = store.add(&new_task("one", "other", at(5)), at(0)).await.unwrap();
    let skipped = NewFiring { state: FiringState::Skipped, ..waits(at(5)) };
    store.claim(&Claim { firings: vec![skipped], ..claim(&other, at(5), None) }, at(9)).await.unwrap();
    assert_eq!(task(store, &other).await.status, TaskStatus::Completed);
}

/// See [`FiringEnd`].
pub async fn the_end_of_a_run_is_told_with_it_and_once(store: &dyn TaskStore) {
    let id = added(store).await;
    let run = begun(store, &id).await;
    let (_, firing) = store.firing_of(&run).await.unwrap().unwrap();
    let notice = NewDelivery {
        key: DeliveryKey::alert("task/wrong/1"),
        chat: chat("one"),
        text: "it failed".to_owned(),
        file: None,
        answers: None,
    };
    let failed = FiringEnd {
        firing: firing.id,
        state: FiringState::Failed,
        not_before: None,
        fault: true,
        remark: Some("crashed".to_owned()),
        health: TaskHealth { failures: 5, wrong_since: Some(at(5)) },
        pause: Some("it failed".to_owned()),
        notice: Some(notice),
    };
    assert!(store.end(&failed, at(6)).await.unwrap());
    assert!(!store.end(&FiringEnd { state: FiringState::Done, ..failed }, at(7)).await.unwrap());
    let firing = store.firings(&id, 1).await.unwrap().remove(0);
    assert_eq!((firing.state, firing.ended_at, firing.faults), (FiringState::Failed, Some(at(6)), 1));
    let task = task(store, &id).await;
    assert_eq!((task.status, task.paused_why.as_deref()), (TaskStatus::Paused, Some("it failed")));
    assert_eq!(task.health, TaskHealth { failures: 5, wrong_since: Some(at(5)) });
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1);
}

/// See [`TaskChange::Cancel`].
pub async fn f59_a_task_that_is_cancelled_keeps_its_record_and_nothing_of_it_runs_any_more(store: &dyn TaskStore) {
    let id = added(store).await;
    let run = begun(store, &id).await;
    let queued = Claim { overlap: Overlap::Queue, ..claim(&id, at(10), Some(at(15))) };
    store.claim(&queued, at(10)).await.unwrap();
    let (_, running) = store.firing_of(&run).await.unwrap().unwrap();
    let cancelled = store.change(&id, &TaskChange::Cancel, at(11)).await.unwrap().unwrap();
    assert_eq!((cancelled.status, cancelled.next_due), (TaskStatus::Cancelled, None));
    assert_eq!(states(store, &id).await, [FiringState::Cancelled; 2]);
    assert_eq!(store.firing_of(&run).await.unwrap(), None);
    let late = FiringEnd {
        firing: running.id,
        state: FiringState::Done,
        not_before: None,
        fault: false,
        remark: None,
        health: TaskHealth::default(),
        pause: None,
        notice: None,
    };
    assert!(!store.end(&late, at(12)).await.unwrap(), "its run's end changes nothing");
    for change in [TaskChange::Cancel, TaskChange::Resume { next_due: at(20) }, TaskChange::Pause { why: None }] {
        assert_eq!(store.change(&id, &change, at(12)).await.unwrap(), None);
    }
    assert_eq!(store.fire_now(&id, &key("late"), at(12)).await.unwrap(), None);
}

/// See [`TaskChange::Pause`] and [`TaskChange::Resume`].
pub async fn f60_a_task_that_is_resumed_is_due_when_it_is_told_and_what_waited_was_skipped(store: &dyn TaskStore) {
    let id = added(store).await;
    store.claim(&claim(&id, at(5), Some(at(10))), at(5)).await.unwrap();
    let paused = store.change(&id, &TaskChange::Pause { why: Some("why".to_owned()) }, at(6)).await.unwrap().unwrap();
    assert_eq!((paused.status, paused.paused_why.as_deref()), (TaskStatus::Paused, Some("why")));
    assert_eq!(states(store, &id).await, [FiringState::Skipped]);
    let resumed = store.change(&id, &TaskChange::Resume { next_due: at(60) }, at(58)).await.unwrap().unwrap();
    assert_eq!((resumed.status, resumed.paused_why, resumed.next_due), (TaskStatus::Active, None, Some(at(60))));
    // A run that was at it when it was paused goes on.
    store.claim(&claim(&id, at(60), Some(at(65))), at(60)).await.unwrap();
    begins(store, &id, 1, at(60)).await;
    store.change(&id, &TaskChange::Pause { why: None }, at(61)).await.unwrap();
    assert_eq!(states(store, &id).await, [FiringState::Skipped, FiringState::Running]);
}

/// See [`TaskUpdate`].
pub async fn a_task_that_is_changed_is_changed_in_what_was_said_only(store: &dyn TaskStore) {
    let id = added(store).await;
    let before = task(store, &id).await;
    let change = async |update| store.change(&id, &TaskChange::Update(update), at(1)).await.unwrap().unwrap();
    let changed = change(TaskUpdate { prompt: Some("another".to_owned()), ..TaskUpdate::default() }).await;
    assert_eq!(changed, Task { prompt: "another".to_owned(), ..before.clone() });
    let changed = change(TaskUpdate { script: Some(Some("true".to_owned())), ..TaskUpdate::default() }).await;
    assert_eq!(changed.script.as_deref(), Some("true"));
    let changed = change(TaskUpdate { script: Some(None), ..TaskUpdate::default() }).await;
    assert_eq!(changed.script, None);
    let terms = TaskTerms { silent: true, ..TaskTerms::default() };
    assert_eq!(change(TaskUpdate { terms: Some(terms), ..TaskUpdate::default() }).await.terms, terms);
    let tokyo = jiff::tz::TimeZone::get("Asia/Tokyo").unwrap();
    let changed = change(TaskUpdate { zone: Some(tokyo.clone()), ..TaskUpdate::default() }).await;
    assert_eq!((changed.zone, changed.next_due), (tokyo, before.next_due));
    let daily = Schedule::Cron("0 9 * * *".to_owned());
    let update = TaskUpdate { schedule: Some((daily.clone(), at(30))), ..TaskUpdate::default() };
    let changed = change(update.clone()).await;
    assert_eq!((changed.schedule, changed.anchor, changed.next_due), (daily, at(30), Some(at(30))));
    // One that was completed is active again.
    store.claim(&Claim { firings: Vec::new(), ..claim(&id, at(30), None) }, at(30)).await.unwrap();
    assert_eq!(task(store, &id).await.status, TaskStatus::Completed);
    assert_eq!(change(update).await.status, TaskStatus::Active);
}

fn stopping(key: &str) -> StopWork {
    let texts = ["was stopped", "stopped", "the task too", "nothing"].map(str::to_owned);
    let [reason, stopped, task_stopped, nothing] = texts;
    let command = Answered::default();
    StopWork { key: DeliveryKey::new(key).unwrap(), command, reason, stopped, task_stopped, nothing }
}

async fn to_send(store: &dyn TaskStore) -> Vec<String> {
    store.pending_deliveries().await.unwrap().into_iter().map(|row| row.delivery.text).collect()
}

/// See [`Store::stop_work`].
pub async fn stopping_ends_the_firing_that_runs_and_its_task_stays(store: &dyn TaskStore) {
    let id = added(store).await;
    let group = folder("one");
    store.claim(&claim(&id, at(5), Some(at(10))), at(5)).await.unwrap();
    let stopped = store.stop_work(&group, &stopping("early"), at(5)).await.unwrap();
    assert_eq!((stopped, states(store, &id).await), (Stopped::Nothing, vec![FiringState::Waiting]));
    begins(store, &id, 1, at(5)).await;
    let stopped = store.stop_work(&group, &stopping("stop"), at(6)).await.unwrap();
    assert_eq!(stopped, Stopped::Work { through: None, run: None, task: Some(id.clone()) });
    let firing = &store.firings(&id, 1).await.unwrap()[0];
    assert_eq!(
        (firing.state, firing.ended_at, firing.remark.as_deref()),
        (FiringState::Cancelled, Some(at(6)), Some("was stopped"))
    );
    assert_eq!(store.firing_of(&run(1)).await.unwrap(), None, "nothing more becomes of it");
    assert_eq!(store.runs(None, 1).await.unwrap()[0].ending.as_deref(), Some(RunEnding::Stopped.word()));
    let task = task(store, &id).await;
    assert_eq!((task.status, task.next_due), (TaskStatus::Active, Some(at(10))));
    assert_eq!(to_send(store).await, ["nothing", "the task too"]);
    assert_eq!(store.stop_work(&group, &stopping("stop"), at(7)).await.unwrap(), Stopped::Before);
    // One that was due for the last time is completed by it. What waits of it, or of others, is not touched.
    store.claim(&claim(&id, at(10), None), at(10)).await.unwrap();
    begins(store, &id, 2, at(10)).await;
    let other = store.add(&new_task("one", "other", at(10)), at(10)).await.unwrap();
    store.fire_now(&other, &key("by hand"), at(10)).await.unwrap().unwrap();
    store.stop_work(&group, &stopping("again"), at(11)).await.unwrap();
    assert_eq!(self::task(store, &id).await.status, TaskStatus::Completed);
    assert_eq!(states(store, &other).await, [FiringState::Waiting]);
}

/// See [`Store::stop_work`].
pub async fn stopping_a_run_whose_agent_has_answered_leaves_its_firing_done(store: &dyn TaskStore) {
    let id = added(store).await;
    let run = begun(store, &id).await;
    store.commit_block(&run, &says(1, Some("done"), None)).await.unwrap();
    let stopped = store.stop_work(&folder("one"), &stopping("stop"), at(6)).await.unwrap();
    assert_eq!(stopped, Stopped::Work { through: None, run: None, task: Some(id.clone()) });
    let firing = &store.firings(&id, 1).await.unwrap()[0];
    assert_eq!((firing.state, firing.remark.as_deref()), (FiringState::Done, None));
}

/// See [`Tasks::fire_now`].
pub async fn a_task_runs_by_hand_beside_its_due_times(store: &dyn TaskStore) {
    let id = added(store).await;
    let first = store.fire_now(&id, &key("a"), at(1)).await.unwrap().unwrap();
    let second = store.fire_now(&id, &key("b"), at(1)).await.unwrap().unwrap();
    assert_eq!((first.due, first.state), (at(1), FiringState::Waiting));
    assert!(second.id > first.id && second.due > first.due);
    assert_eq!(task(store, &id).await.next_due, Some(at(5)));
    assert_eq!(store.fire_now(&TaskId::new("another").unwrap(), &key("c"), at(1)).await.unwrap(), None);
}

/// See [`Tasks::fire_now`].
pub async fn what_is_asked_for_by_hand_under_one_key_is_fired_once(store: &dyn TaskStore) {
    let id = added(store).await;
    let first = store.fire_now(&id, &key("a"), at(1)).await.unwrap().unwrap();
    assert_eq!(first.key, Some(key("a")));
    assert_eq!(store.waiting().await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(store.fire_now(&id, &key("a"), at(2)).await.unwrap(), Some(first.clone()));
    begins(store, &id, 1, at(3)).await;
    assert!(ended(store, &run(1), |end| end).await);
    let again = store.fire_now(&id, &key("a"), at(20)).await.unwrap().unwrap();
    assert_eq!((again.id, again.state), (first.id, FiringState::Done));
    assert_eq!(states(store, &id).await, [FiringState::Done]);
}

/// See [`Store::remove_group`].
pub async fn a_group_that_is_removed_takes_no_task_with_it(store: &dyn TaskStore) {
    let id = added(store).await;
    store.remove_group(&folder("one")).await.unwrap();
    assert_eq!(task(store, &id).await.status, TaskStatus::Active);
    assert_eq!(store.list(Some(&folder("one")), 5).await.unwrap().len(), 1);
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_check_is_instantiated_by_the_macro() {
        let source = include_str!("task_suite.rs");
        let checks = source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next());
        let (list, _) = source.split_once("(@checks").unwrap();
        for check in checks {
            assert!(list.lines().any(|line| line.trim() == check), "{check} is not in the list of the macro");
        }
    }
}
