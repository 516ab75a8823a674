use std::time::Duration;

use super::*;
use crate::{
    run::TaskId,
    schedule::shown,
    tasks::{TaskHealth, TaskStatus},
};

/// A Saturday, 13:00 in Berlin.
fn now() -> Timestamp {
    Timestamp::from_ms("2026-11-21T12:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn family() -> GroupFolder {
    GroupFolder::new("family").unwrap()
}

fn written(when: &str) -> Asked {
    Asked { prompt: Some("water".to_owned()), when: Some(When::Written(when.to_owned())), ..Asked::default() }
}

fn planned(asked: Asked) -> Result<NewTask, String> {
    let key = DeliveryKey::new("key").unwrap();
    let settings = TaskSettings::default();
    asked.new_task(key, (family(), family()), &berlin(), &settings, now()).map_err(|error| error.to_string())
}

/// Due every weekday at nine in Berlin.
fn task() -> Task {
    let new = planned(written("0 9 * * 1-5")).unwrap();
    Task {
        id: TaskId::new("task-1").unwrap(),
        group: family(),
        created_by: family(),
        prompt: new.prompt,
        schedule: new.schedule,
        zone: new.zone,
        anchor: new.first_due,
        terms: new.terms,
        script: None,
        status: TaskStatus::Active,
        paused_why: None,
        next_due: Some(new.first_due),
        health: TaskHealth::default(),
        created_at: now(),
    }
}

fn changed(asked: Asked) -> Result<TaskUpdate, String> {
    asked.update(&task(), &TaskSettings::default(), now()).map_err(|error| error.to_string())
}

#[test]
fn what_people_write_is_meant_in_the_zone_that_they_name_or_the_usual_one() {
    let due = |asked| planned(asked).map(|new| shown(new.first_due, &new.zone)).unwrap();
    assert_eq!(due(written("0 9 * * 1-5")), "Mon 2026-11-23 09:00 CET");
    let there = Asked { zone: Some("America/New_York".to_owned()), ..written("2026-12-01 09:00") };
    assert_eq!(due(there.clone()), "Tue 2026-12-01 09:00 EST");
    assert_eq!(planned(there).unwrap().zone.iana_name(), Some("America/New_York"));
    assert_eq!(due(Asked { zone: Some("UTC".to_owned()), ..written("in 2h") }), "Sat 2026-11-21 14:00 UTC");
    let of_v1 = When::OfKind { kind: Some("interval".to_owned()), value: Some("300000".to_owned()) };
    let of_v1 = planned(Asked { when: Some(of_v1), ..written("") }).unwrap();
    assert_eq!(of_v1.first_due, now().plus(Duration::from_secs(300)));
}

#[test]
fn what_cannot_be_is_refused_with_what_would_be_right() {
    let of = |kind: Option<&str>, value: Option<&str>| {
        let [kind, value] = [kind, value].map(|text| text.map(str::to_owned));
        Asked { when: Some(When::OfKind { kind, value }), ..written("") }
    };
    for (asked, part) in [
        (Asked { prompt: None, ..written("every 5m") }, "the prompt is empty"),
        (Asked { prompt: Some(" \n".to_owned()), ..written("every 5m") }, "the prompt is empty"),
        (Asked { prompt: Some("x".repeat(LONGEST_TEXT + 1)), ..written("every 5m") }, "Keep the rest in a file"),
        (Asked { script: Some("x".repeat(LONGEST_TEXT + 1)), ..written("every 5m") }, "the script has 65537 bytes"),
        (Asked { when: None, ..written("") }, "it was not said when"),
        (Asked { zone: Some("Mars/Olympus".to_owned()), ..written("every 5m") }, "a name such as Europe/Berlin"),
        (Asked { zone: Some(String::new()), ..written("every 5m") }, "there is no zone"),
        (written("every 30s"), "a task may be due every 1m at most"),
        (written("2020-01-01 09:00"), "has passed"),
        (written("0 0 30 2 *"), "never due"),
        (written("daily"), "is no schedule"),
        (of(None, Some("5m")), "needs a schedule_type"),
        (of(Some("cron"), None), "needs a schedule_value"),
        (of(Some("daily"), Some("9")), "it is cron, interval or once"),
    ] {
        let refused = planned(asked.clone()).unwrap_err();
        assert!(refused.contains(part), "{asked:?}: {refused}");
    }
}

#[test]
fn how_often_a_task_may_be_due_is_the_operators_to_say_for_cron_too() {
    let settings = TaskSettings { shortest_interval: Duration::from_secs(900), ..TaskSettings::default() };
    let key = DeliveryKey::new("key").unwrap();
    let told = |when| {
        let asked = written(when).new_task(key.clone(), (family(), family()), &berlin(), &settings, now());
        asked.map(drop).map_err(|error| error.to_string())
    };
    for when in ["every 15m", "*/15 * * * *", "0 9 * * *", "in 1m"] {
        assert_eq!(told(when), Ok(()), "{when}");
    }
    for when in ["every 14m", "*/10 * * * *", "0,5 9 * * *"] {
        assert!(told(when).unwrap_err().contains("every 15m at most"), "{when}");
    }
}

#[test]
fn an_update_changes_what_was_said_and_nothing_else() {
    let silent = TermsAsked { silent: Some(true), ..TermsAsked::default() };
    let update = changed(Asked { terms: silent, ..Asked::default() }).unwrap();
    let terms = TaskTerms { silent: true, ..TaskTerms::default() };
    assert_eq!(update, TaskUpdate { terms: Some(terms), ..TaskUpdate::default() });
    let update = changed(Asked { script: Some(String::new()), ..Asked::default() }).unwrap();
    assert_eq!(update, TaskUpdate { script: Some(None), ..TaskUpdate::default() });
    assert!(changed(Asked::default()).unwrap_err().contains("nothing was said that is to change"));
    assert!(changed(Asked { prompt: Some(" ".to_owned()), ..Asked::default() }).is_err());
    let of_its_kind = When::OfKind { kind: None, value: Some("30 8 * * *".to_owned()) };
    let update = changed(Asked { when: Some(of_its_kind), ..Asked::default() }).unwrap();
    assert_eq!(update.schedule.unwrap().0.value(), "30 8 * * *");
}

#[test]
fn a_task_that_moves_to_another_zone_keeps_its_local_times() {
    let moved = |task: &Task| {
        let asked = Asked { zone: Some("Asia/Tokyo".to_owned()), ..Asked::default() };
        asked.update(task, &TaskSettings::default(), now()).unwrap()
    };
    let update = moved(&task());
    let (zone, (schedule, first_due)) = (update.zone.unwrap(), update.schedule.unwrap());
    assert_eq!((schedule, shown(first_due, &zone)), (task().schedule, "Mon 2026-11-23 09:00 JST".to_owned()));
    let interval = Task { schedule: Schedule::Every(Duration::from_secs(300)), ..task() };
    assert_eq!(moved(&interval).schedule, None, "an interval goes on as it was");
}
