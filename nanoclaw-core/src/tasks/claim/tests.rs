use jiff::tz::TimeZone;

use super::*;
use crate::{
    group::GroupFolder,
    run::TaskId,
    schedule::Schedule,
    tasks::{TaskHealth, TaskStatus, TaskTerms},
};

const MINUTE: i64 = 60_000;

/// Thu 2026-01-01 00:00 in Berlin, and so many minutes.
fn at(minutes: i64) -> Timestamp {
    Timestamp::from_ms(1_767_222_000_000 + minutes * MINUTE)
}

fn task(schedule: &str, kind: &str, due: Timestamp, catch_up: CatchUp) -> Task {
    let group = GroupFolder::new("one").unwrap();
    Task {
        id: TaskId::new("task-1").unwrap(),
        created_by: group.clone(),
        group,
        prompt: "p".to_owned(),
        schedule: Schedule::parse(kind, schedule).unwrap(),
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        anchor: due,
        terms: TaskTerms { catch_up, ..TaskTerms::default() },
        script: None,
        status: TaskStatus::Active,
        paused_why: None,
        next_due: Some(due),
        health: TaskHealth::default(),
        created_at: at(0),
    }
}

/// The times that are run for, those that are skipped, and the next.
fn claimed(task: &Task, now: Timestamp) -> (Vec<i64>, Vec<i64>, Option<i64>) {
    let minutes = |time: Timestamp| (time.as_ms() - at(0).as_ms()) / MINUTE;
    let claim = claim_of(task, now).unwrap();
    let of = |state| claim.firings.iter().filter(move |new| new.state == state).map(|new| minutes(new.due)).collect();
    (of(FiringState::Waiting), of(FiringState::Skipped), claim.next_due.map(minutes))
}

fn remark(task: &Task, now: Timestamp) -> Option<String> {
    claim_of(task, now).unwrap().firings.into_iter().find_map(|new| new.remark)
}

#[test]
fn a_task_that_is_due_is_claimed_for_that_time_and_due_next_by_its_schedule() {
    for policy in [CatchUp::Skip, CatchUp::Once, CatchUp::All] {
        let task = task("5m", "interval", at(5), policy);
        assert_eq!(claim_of(&task, at(4)), None);
        assert_eq!(claimed(&task, at(5)), (vec![5], vec![], Some(10)));
        assert_eq!(claimed(&task, at(5).plus(LATE)), (vec![5], vec![], Some(10)), "a little late");
        assert_eq!(remark(&task, at(5)), None);
    }
    let once = task("2026-01-01 09:00", "once", at(540), CatchUp::Once);
    assert_eq!(claimed(&once, at(540)), (vec![540], vec![], None));
}

#[test]
fn f58_an_interval_counts_from_its_first_time_whenever_it_is_run() {
    let task = Task { next_due: Some(at(10)), ..task("5m", "interval", at(5), CatchUp::Once) };
    assert_eq!(claimed(&task, Timestamp::from_ms(at(10).as_ms() + 59_999)).2, Some(15));
    assert_eq!(claimed(&task, at(13)).2, Some(15));
    assert_eq!(claimed(&task, at(15)), (vec![15], vec![], Some(20)));
}

#[test]
fn what_was_missed_is_made_up_for_once_or_not_or_each_as_the_task_says() {
    let after_a_day = at(5 + 24 * 60 + 3);
    let once = task("60m", "interval", at(5), CatchUp::Once);
    assert_eq!(claimed(&once, after_a_day), (vec![5 + 24 * 60], vec![], Some(5 + 25 * 60)));
    assert!(remark(&once, after_a_day).unwrap().starts_with("it stands for earlier times as well"));
    let skip = task("60m", "interval", at(5), CatchUp::Skip);
    assert_eq!(claimed(&skip, after_a_day), (vec![], vec![5 + 24 * 60], Some(5 + 25 * 60)));
    assert!(remark(&skip, after_a_day).unwrap().starts_with("this time and earlier ones passed"));
    let all = task("60m", "interval", at(5), CatchUp::All);
    let (fired, skipped, next) = claimed(&all, after_a_day);
    assert_eq!((fired.len(), fired[0], fired[9]), (MOST_CAUGHT_UP, 5 + 15 * 60, 5 + 24 * 60));
    assert_eq!((skipped, next), (vec![], Some(5 + 25 * 60)));
    assert_eq!(claim_of(&all, after_a_day).unwrap().overlap, Overlap::Queue, "one after the other");
    assert!(remark(&all, after_a_day).unwrap().starts_with("it stands for earlier times as well"));
    let a_few = at(5 + 3 * 60);
    assert_eq!(claimed(&all, a_few), (vec![5, 65, 125, 185], vec![], Some(245)));
    assert_eq!(remark(&all, a_few), None);
}

#[test]
fn the_time_that_has_come_is_run_for_whatever_was_missed_before_it() {
    // Nothing was looked at for an hour, and now it is due again.
    for policy in [CatchUp::Skip, CatchUp::Once] {
        let task = task("60m", "interval", at(0), policy);
        assert_eq!(claimed(&task, at(60)), (vec![60], vec![], Some(120)));
        assert!(remark(&task, at(60)).unwrap().starts_with("it stands for earlier times"));
    }
    assert_eq!(claimed(&task("60m", "interval", at(0), CatchUp::All), at(60)), (vec![0, 60], vec![], Some(120)));
}

#[test]
fn a_single_time_that_was_missed_is_late_or_skipped() {
    let at_nine = |policy| task("2026-01-01 09:00", "once", at(540), policy);
    assert_eq!(claimed(&at_nine(CatchUp::Once), at(5000)), (vec![540], vec![], None));
    assert_eq!(claimed(&at_nine(CatchUp::All), at(5000)), (vec![540], vec![], None));
    assert_eq!(claimed(&at_nine(CatchUp::Skip), at(5000)), (vec![], vec![540], None));
    assert_eq!(remark(&at_nine(CatchUp::Skip), at(5000)).unwrap(), "this time passed while no host was running");
}

#[test]
fn a_host_that_was_off_for_years_makes_up_for_the_last_time() {
    let years = at(5 * 366 * 24 * 60);
    let task = task("* * * * *", "cron", at(1), CatchUp::Once);
    let (fired, _, next) = claimed(&task, years);
    assert_eq!((fired, next), (vec![5 * 366 * 24 * 60], Some(5 * 366 * 24 * 60 + 1)));
    let all = Task { terms: TaskTerms { catch_up: CatchUp::All, ..task.terms }, ..task };
    assert_eq!(claimed(&all, years).0.len(), MOST_CAUGHT_UP);
    // One that is due once a year, and was not within the last days.
    let yearly = super::tests::task("0 9 1 1 *", "cron", at(540), CatchUp::Once);
    let (fired, _, next) = claimed(&yearly, at(540 + 400 * 24 * 60));
    assert_eq!((fired, next), (vec![540 + 365 * 24 * 60], Some(540 + 2 * 365 * 24 * 60)));
}

#[test]
fn times_are_those_of_the_tasks_zone_through_both_changes_of_the_clock() {
    // 2026-03-29 in Berlin: 02:30 does not exist, and is due at 03:00, the moment of the change (01:00 UTC).
    let day = 24 * 60;
    let spring = 87 * day; // 2026-03-29 00:00 CET
    let task = task("30 2 * * *", "cron", at(spring - day + 150), CatchUp::Once);
    let (_, _, next) = claimed(&task, at(spring - day + 150));
    assert_eq!(next, Some(spring + 120));
    let task = Task { next_due: Some(at(spring + 120)), ..task };
    let (fired, _, next) = claimed(&task, at(spring + 120));
    assert_eq!((fired, next), (vec![spring + 120], Some(spring + day + 90)), "02:30 CEST of the next day");
    // 2026-10-25: 02:30 exists twice, and is due the first time.
    let autumn = 297 * day - 60; // 2026-10-25 00:00 CEST
    let task = Task { next_due: Some(at(autumn + 150)), ..task };
    let (fired, _, next) = claimed(&task, at(autumn + 150));
    assert_eq!((fired, next), (vec![autumn + 150], Some(autumn + day + 60 + 150)));
}
