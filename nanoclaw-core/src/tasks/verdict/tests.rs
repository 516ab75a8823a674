use jiff::tz::TimeZone;

use super::*;
use crate::{
    group::GroupFolder,
    run::{RunNumber, TaskId},
    runtime::Exit,
    schedule::Schedule,
    tasks::{FiringId, TaskStatus, TaskTerms},
};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_ms(1_772_600_400_000 + seconds * 1000)
}

fn task() -> Task {
    let group = GroupFolder::new("one").unwrap();
    Task {
        id: TaskId::new("task-1").unwrap(),
        created_by: group.clone(),
        group,
        prompt: "water  the\nplants".to_owned(),
        schedule: Schedule::Every(Duration::from_secs(3600)),
        zone: TimeZone::UTC,
        anchor: at(0),
        terms: TaskTerms::default(),
        script: None,
        status: TaskStatus::Active,
        paused_why: None,
        next_due: Some(at(3600)),
        health: TaskHealth::default(),
        created_at: at(0),
    }
}

fn firing() -> Firing {
    Firing {
        id: FiringId(1),
        task: task().id,
        due: at(0),
        key: None,
        state: FiringState::Running,
        not_before: at(0),
        tries: 1,
        faults: 0,
        run: Some(RunNumber(1)),
        started_at: Some(at(0)),
        ended_at: None,
        answered: false,
        text: None,
        remark: None,
        cost_micros: None,
    }
}

/// By the usual numbers.
fn verdict(firing: &Firing, ending: &RunEnding) -> Verdict {
    super::verdict(firing, ending, &TaskSettings::default())
}

/// The same.
fn end_of(task: &Task, firing: &Firing, verdict: Verdict, chat: &ChatId, now: Timestamp) -> FiringEnd {
    super::end_of(task, firing, verdict, chat, &TaskSettings::default(), now)
}

fn crashed() -> RunEnding {
    RunEnding::Crashed { exit: Exit::Code(3), last_words: "no luck".to_owned() }
}

fn waits_for(trouble: Trouble, after: Option<Duration>) -> RunEnding {
    RunEnding::Failed { reason: "it must be mended".to_owned(), retry: Retry::WhenMended { trouble, after } }
}

fn chat() -> ChatId {
    ChatId::new("tg:one").unwrap()
}

fn pause(verdict: &Verdict) -> (Option<Duration>, bool) {
    match verdict {
        Verdict::Again { pause, fault, .. } => (Some(*pause), *fault),
        _ => (None, false),
    }
}

#[test]
fn what_was_answered_is_done_however_its_run_ended() {
    let firing = Firing { answered: true, ..firing() };
    for ending in [RunEnding::Finished, crashed(), RunEnding::TimedOut, RunEnding::HostEnded] {
        assert_eq!(verdict(&firing, &ending), Verdict::Done);
    }
    assert!(matches!(verdict(&super::tests::firing(), &RunEnding::Finished), Verdict::Again { fault: true, .. }));
}

#[test]
fn a_failure_is_tried_twice_more_and_what_cannot_succeed_is_not() {
    let after = |faults| verdict(&Firing { faults, ..firing() }, &crashed());
    assert_eq!(pause(&after(0)), (Some(Duration::from_secs(60)), true));
    assert_eq!(pause(&after(1)), (Some(Duration::from_secs(300)), true));
    assert!(matches!(after(2), Verdict::Failed { .. }));
    let refused = RunEnding::Failed { reason: "no".to_owned(), retry: Retry::Never };
    assert!(matches!(verdict(&firing(), &refused), Verdict::Failed { .. }));
}

#[test]
fn how_often_a_failure_is_tried_again_and_when_a_task_rests_is_the_operators_to_say() {
    let settings = TaskSettings { tries: 5, failures_before_rest: 1, ..TaskSettings::default() };
    let after = |faults| super::verdict(&Firing { faults, ..firing() }, &crashed(), &settings);
    let pauses = [0, 1, 2, 3].map(|faults| pause(&after(faults)).0.unwrap().as_secs());
    assert_eq!(pauses, [60, 300, 300, 300]);
    assert!(matches!(after(4), Verdict::Failed { .. }));
    assert!(super::end_of(&task(), &firing(), after(4), &chat(), &settings, at(0)).pause.is_some());
    let once = TaskSettings { tries: 1, ..settings };
    assert!(matches!(super::verdict(&firing(), &crashed(), &once), Verdict::Failed { .. }));
}

#[test]
fn what_is_not_its_fault_does_not_count_against_it() {
    let login = verdict(&firing(), &waits_for(Trouble::Login, None));
    assert_eq!(pause(&login), (Some(Duration::from_secs(600)), false));
    let quota = verdict(&firing(), &waits_for(Trouble::Quota, Some(Duration::from_secs(7200))));
    assert_eq!(pause(&quota), (Some(Duration::from_secs(7200)), false));
    let host = |tries| pause(&verdict(&Firing { tries, ..firing() }, &waits_for(Trouble::Host, None))).0.unwrap();
    assert_eq!([1, 2, 3, 99].map(host).map(|pause| pause.as_secs()), [5, 10, 20, 320]);
    assert_eq!(pause(&verdict(&firing(), &RunEnding::Stopped)), (Some(Duration::ZERO), false));
    // But one that takes its host with it each time must come to an end.
    assert_eq!(pause(&verdict(&firing(), &RunEnding::HostEnded)), (Some(Duration::ZERO), true));
    assert!(matches!(verdict(&Firing { faults: 2, ..firing() }, &RunEnding::HostEnded), Verdict::Failed { .. }));
}

#[test]
fn people_are_told_once_of_what_goes_wrong_until_it_goes_well_and_again_when_the_task_rests() {
    let mut task = task();
    let mut told = Vec::new();
    let most = TaskSettings::default().failures_before_rest;
    for number in 1..=most {
        let firing = Firing { due: at(i64::from(number) * 3600), faults: 2, ..firing() };
        let end = end_of(&task, &firing, verdict(&firing, &crashed()), &chat(), at(0));
        assert_eq!((end.state, end.health.failures), (FiringState::Failed, number));
        assert_eq!(end.pause.is_some(), number == most);
        task.health = end.health;
        told.extend(end.notice);
    }
    assert_eq!(told.len(), 2);
    assert_ne!(told[0].key, told[1].key);
    assert!(
        told[0].text.starts_with("The task “water the plants” failed: its run ended with code 3"),
        "{}",
        told[0].text
    );
    assert!(told[0].text.contains("It is due again at Wed 2026-03-04 06:00 UTC"), "{}", told[0].text);
    assert!(told[1].text.contains("failed 5 times in a row and rests now"), "{}", told[1].text);
    assert!(told[1].text.contains("`nanoclaw tasks resume task-1`"), "{}", told[1].text);
    let well = end_of(&task, &firing(), Verdict::Done, &chat(), at(0));
    assert_eq!((well.health, well.notice), (TaskHealth::default(), None));
}

#[test]
fn a_login_that_does_not_work_is_told_once_and_a_hiccup_is_not() {
    let of = |task: &Task, firing: &Firing, ending| end_of(task, firing, verdict(firing, &ending), &chat(), at(0));
    let mut task = task();
    let first = of(&task, &firing(), waits_for(Trouble::Login, None));
    assert_eq!((first.state, first.not_before, first.fault), (FiringState::Waiting, Some(at(600)), false));
    assert!(first.notice.is_some());
    task.health = first.health;
    assert_eq!(of(&task, &firing(), waits_for(Trouble::Login, None)).notice, None);
    let fine = super::tests::task();
    let hiccup = of(&fine, &firing(), waits_for(Trouble::Host, None));
    assert_eq!((hiccup.notice, hiccup.health), (None, TaskHealth::default()));
    let again = of(&fine, &Firing { tries: 3, ..firing() }, waits_for(Trouble::Host, None));
    assert!(again.notice.is_some());
    // What is tried again soon is nobody's concern.
    assert_eq!(of(&fine, &firing(), crashed()).notice, None);
}

#[test]
fn one_that_is_not_due_again_is_not_put_to_rest_but_said_how_to_run_again() {
    let health = TaskHealth { failures: 9, wrong_since: None };
    let task = Task { next_due: None, health, ..task() };
    let firing = Firing { faults: 2, ..firing() };
    let end = end_of(&task, &firing, verdict(&firing, &crashed()), &chat(), at(0));
    assert_eq!(end.pause, None);
    assert!(end.notice.unwrap().text.contains("`nanoclaw tasks run task-1` tries it once more"));
}
