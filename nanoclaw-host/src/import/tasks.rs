//! What becomes of a task of v1. Pure.

use std::time::Duration;

use jiff::tz::TimeZone;
use nanoclaw_core::{
    delivery::DeliveryKey,
    group::GroupFolder,
    schedule::Schedule,
    tasks::{
        FiringState, MOST_KEPT, MOST_TEXT_BYTES, NewTask, TaskContext, TaskStatus, TaskTerms, asked::LONGEST_TEXT,
    },
    time::Timestamp,
};

use super::{
    plan::Rules,
    v1::{V1Run, V1Task},
};
use crate::stores::sqlite::{PastFiring, PastTask};

/// How the keys of tasks begin that were imported.
pub(super) const KEY: &str = "import/v1/";

/// The key of the task that v1 knows by this id.
pub(super) fn key_of(id: &str) -> Option<DeliveryKey> {
    DeliveryKey::new(format!("{KEY}{id}")).ok()
}

/// The task as it is kept here; `Err` says why it cannot be.
pub(super) fn moved(task: &V1Task, group: &GroupFolder, zone: &TimeZone, rules: &Rules) -> Result<PastTask, String> {
    let key = key_of(&task.id).ok_or("its id is no plain text")?;
    if zone.iana_name().is_none() {
        return Err("the zone here has no name; set time.zone in nanoclaw.toml, such as \"Europe/Berlin\"".to_owned());
    }
    for (what, text) in [("prompt", Some(&task.prompt)), ("script", task.script.as_ref())] {
        if text.is_some_and(|text| text.len() > LONGEST_TEXT) {
            return Err(format!("its {what} is longer than {LONGEST_TEXT} bytes"));
        }
    }
    if task.prompt.trim().is_empty() {
        return Err("its prompt is empty".to_owned());
    }
    let schedule = schedule(task, zone)?;
    let created_at = task.created_at.or(task.next_run).unwrap_or(rules.now);
    let anchor = task.next_run.unwrap_or(created_at);
    let (status, next_due, paused_why) = match task.status.as_str() {
        "completed" => (TaskStatus::Completed, None, None),
        "paused" => (TaskStatus::Paused, task.next_run.filter(|next| *next > rules.now), None),
        "active" => match next(task.next_run, &schedule, anchor, zone, rules) {
            Some(next) => (TaskStatus::Active, Some(next), None),
            None => (TaskStatus::Paused, None, Some(PASSED.to_owned())),
        },
        other => return Err(format!("its status is {other:?}, which is none that is known")),
    };
    let context = match task.context.as_deref() {
        Some("group") => TaskContext::Group,
        // What v1 takes for granted where nothing is said.
        _ => TaskContext::Isolated,
    };
    let task_here = NewTask {
        key,
        group: group.clone(),
        created_by: group.clone(),
        prompt: task.prompt.clone(),
        schedule,
        zone: zone.clone(),
        first_due: anchor,
        terms: TaskTerms { context, ..TaskTerms::default() },
        script: task.script.clone(),
    };
    Ok(PastTask { task: task_here, created_at, status, paused_why, next_due, firings: firings(&task.runs) })
}

const PASSED: &str = "its time had passed when it was imported; `nanoclaw tasks run` runs it, `nanoclaw tasks update` gives it another time";

fn schedule(task: &V1Task, zone: &TimeZone) -> Result<Schedule, String> {
    let parsed = Schedule::parse(&task.kind, &task.value).map_err(|error| error.to_string());
    if task.kind != "once" || parsed.is_ok() {
        return parsed;
    }
    // Early versions wrote the moment itself.
    let Ok(at) = task.value.trim().parse::<jiff::Timestamp>() else { return parsed };
    let local = at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S").to_string();
    Schedule::parse("once", &local).map_err(|error| error.to_string())
}

/// When an active task is due next: at its time, also when that passed a little while ago; one that passed long ago is not
/// made up for. `None` when there is no such time.
fn next(
    next_run: Option<Timestamp>,
    schedule: &Schedule,
    anchor: Timestamp,
    zone: &TimeZone,
    rules: &Rules,
) -> Option<Timestamp> {
    match next_run {
        Some(next) if next > rules.now || rules.is_recent(next) => Some(next),
        _ => match schedule {
            Schedule::Once(_) => None,
            Schedule::Cron(_) | Schedule::Every(_) => schedule.next_from(anchor, rules.now, zone),
        },
    }
}

/// The latest, no two at the same time.
fn firings(runs: &[V1Run]) -> Vec<PastFiring> {
    let skipped = runs.len().saturating_sub(MOST_KEPT as usize);
    let mut firings: Vec<PastFiring> = Vec::new();
    for run in &runs[skipped..] {
        let begun = run.at.minus(Duration::from_millis(run.duration_ms));
        let after = firings.last().map_or(begun, |last| begun.max(last.due.plus(Duration::from_millis(1))));
        firings.push(PastFiring {
            due: after,
            ended: run.at.max(after),
            state: if run.success { FiringState::Done } else { FiringState::Failed },
            text: run.result.clone().map(cut),
            remark: run.error.clone().map(cut),
        });
    }
    firings
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MOST_TEXT_BYTES));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_772_627_400_000;

    fn rules() -> Rules {
        Rules { now: Timestamp::from_ms(NOW), answer_within: Duration::from_secs(3600) }
    }

    fn minutes(count: i64) -> Timestamp {
        Timestamp::from_ms(NOW + count * 60_000)
    }

    fn task(kind: &str, value: &str, next_run: Option<Timestamp>, status: &str) -> V1Task {
        V1Task {
            id: "task-1-abc".to_owned(),
            folder: "family".to_owned(),
            prompt: "say hello".to_owned(),
            kind: kind.to_owned(),
            value: value.to_owned(),
            next_run,
            status: status.to_owned(),
            created_at: Some(minutes(-10_000)),
            context: None,
            script: None,
            runs: Vec::new(),
        }
    }

    fn moved_here(task: &V1Task) -> Result<PastTask, String> {
        moved(task, &GroupFolder::new("family").unwrap(), &TimeZone::get("Europe/Berlin").unwrap(), &rules())
    }

    #[test]
    fn what_is_due_later_or_was_a_little_while_ago_is_due_then() {
        for next in [minutes(30), minutes(-59)] {
            let moved = moved_here(&task("cron", "0 9 * * *", Some(next), "active")).unwrap();
            assert_eq!((moved.status, moved.next_due), (TaskStatus::Active, Some(next)));
        }
    }

    #[test]
    fn what_was_due_long_ago_is_not_made_up_for() {
        let daily = moved_here(&task("cron", "0 9 * * *", Some(minutes(-120)), "active")).unwrap();
        assert_eq!(daily.status, TaskStatus::Active);
        assert_eq!(daily.next_due.unwrap().to_string(), "2026-03-05T08:00:00.000Z");
        let hourly = moved_here(&task("interval", "3600000", Some(minutes(-90)), "active")).unwrap();
        assert_eq!(hourly.next_due, Some(minutes(30)), "its beat stays");
        let once = moved_here(&task("once", "2026-03-04T10:00:00", Some(minutes(-210)), "active")).unwrap();
        assert_eq!((once.status, once.next_due), (TaskStatus::Paused, None));
        assert!(once.paused_why.is_some());
    }

    #[test]
    fn a_moment_in_place_of_a_local_time_is_that_moment() {
        let once = moved_here(&task("once", "2026-03-04T20:00:00.000Z", Some(minutes(450)), "active")).unwrap();
        assert_eq!(once.task.schedule.value(), "2026-03-04T21:00:00");
    }

    #[test]
    fn what_cannot_be_kept_is_refused_with_the_reason() {
        for (kind, value, status, part) in [
            ("cron", "0 0 9 * * *", "active", "cron expression"),
            ("interval", "soon", "active", "no interval"),
            ("lunar", "full moon", "active", "no kind of schedule"),
            ("cron", "0 9 * * *", "lost", "status"),
        ] {
            let error = moved_here(&task(kind, value, None, status)).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let silent = V1Task { prompt: " ".to_owned(), ..task("cron", "0 9 * * *", None, "active") };
        assert!(moved_here(&silent).is_err());
    }

    #[test]
    fn no_two_of_its_runs_are_at_the_same_time() {
        let run = |at, success| V1Run { at, duration_ms: 60_000, success, result: None, error: None };
        let runs = vec![run(minutes(-5), true), run(minutes(-5), false), run(minutes(-4), true)];
        let moved = moved_here(&V1Task { runs, ..task("cron", "0 9 * * *", None, "completed") }).unwrap();
        let due: Vec<i64> = moved.firings.iter().map(|firing| firing.due.as_ms() - NOW).collect();
        assert_eq!(due, [-360_000, -359_999, -300_000]);
        assert_eq!(moved.firings[1].state, FiringState::Failed);
    }
}
