//! Schedules against a table that another program has computed, in another language, with time zones and a search of its own:
//! `make.py`, which says what is due when.
//!
//! Two cron libraries of PyPI were asked about its 497 rows of cron (`make.py --against`). Where the clock does not change (177), `cronsim` 2.8
//! and `croniter` 7.0 say the same of all that they take; what they refuse is `FRI-SUN` (the one), `5L` (the other) and days that never
//! come. Where it changes (320), `cronsim`, whose rules are Debian's, says the same of 305; the others are asked about from
//! within the hour that comes twice, have `*` for minutes of a named hour, which Debian does not make up for, or are Lord Howe's half hour.

#![allow(clippy::unwrap_used, reason = "what a test builds on must be there")]

use std::time::Duration;

use jiff::tz::TimeZone;
use nanoclaw_core::{schedule::Schedule, time::Timestamp};

/// A line of the table.
struct Row {
    line: &'static str,
    schedule: Schedule,
    zone: TimeZone,
    anchor: Timestamp,
    from: Timestamp,
    due: Vec<Timestamp>,
}

/// How many due times a row has, unless there are no more.
const IN_A_ROW: usize = 5;

fn rows() -> impl Iterator<Item = Row> {
    include_str!("times.tsv").lines().filter(|line| !line.starts_with('#')).map(row)
}

fn row(line: &'static str) -> Row {
    let [kind, value, zone, anchor, from, due] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
    let from = at(from);
    Row {
        line,
        schedule: Schedule::parse(kind, value).unwrap(),
        zone: TimeZone::get(zone).unwrap(),
        anchor: if anchor == "-" { from } else { at(anchor) },
        from,
        due: due.split(' ').filter(|due| *due != "-").map(at).collect(),
    }
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn just_before(at: Timestamp) -> Timestamp {
    at.minus(Duration::from_millis(1))
}

fn halfway(from: Timestamp, to: Timestamp) -> Timestamp {
    Timestamp::from_ms(i64::midpoint(from.as_ms(), just_before(to).as_ms()))
}

#[test]
fn what_another_calendar_says_is_due_is_due_and_nothing_else() {
    assert!(rows().count() > 500, "the table is whole");
    let mut wrong = Vec::new();
    for Row { line, schedule, zone, anchor, from, due } in rows() {
        let next = |after| schedule.next_from(anchor, after, &zone);
        let mut after = from;
        for due in &due {
            // Whenever one looks.
            for looked in [after, halfway(after, *due), just_before(*due)] {
                let found = next(looked);
                if found != Some(*due) {
                    wrong.push(format!("after {looked} {found:?}, not {due}: {line}"));
                }
            }
            after = *due;
        }
        if let (true, Some(more)) = (due.len() < IN_A_ROW, next(after)) {
            wrong.push(format!("{more} besides: {line}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_last_time_by_any_moment_is_the_one_that_was_due_before_it() {
    let mut wrong = Vec::new();
    for Row { line, schedule, zone, anchor, due, .. } in rows() {
        for pair in due.windows(2) {
            for by in [pair[0], halfway(pair[0], pair[1]), just_before(pair[1])] {
                let found = schedule.last_by(anchor, by, &zone);
                if found != Some(pair[0]) {
                    wrong.push(format!("by {by} {found:?}, not {}: {line}", pair[0]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
