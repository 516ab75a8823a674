//! When the local times of a cron expression are.
//!
//! The expression is asked for local times as if clocks never changed, and each of them is then looked up in the zone. So what a
//! change of the clock means is decided in one place, for cron as for single times.

use croner::Cron;
use jiff::{
    Span, civil,
    tz::{AmbiguousOffset, TimeZone},
};

use super::instant;
use crate::time::Timestamp;

/// No change of a clock is larger: a country may leave out a day.
const CHANGE_HOURS: i64 = 25;

/// The first time after `after`; `None` when there is none.
pub(super) fn next(cron: &Cron, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let every_hour = every_hour(cron);
    let mut local = local(after, zone)?;
    if change_is_near(after, zone) {
        local = local.checked_sub(Span::new().hours(CHANGE_HOURS)).ok()?;
    }
    let mut best: Option<Timestamp> = None;
    while let Some(time) = as_utc(local).and_then(|local| cron.find_next_occurrence(&local, false).ok()) {
        local = time.datetime();
        let moments = moments(local, every_hour, zone);
        best = moments.into_iter().flatten().filter(|at| *at > after).chain(best).min();
        // Later local times do not come earlier.
        if best.is_some() && moments[0] >= best {
            break;
        }
    }
    best
}

/// The last time by `by`; `None` when there is none.
pub(super) fn last(cron: &Cron, by: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let every_hour = every_hour(cron);
    let mut local = local(by, zone)?.checked_add(Span::new().seconds(1)).ok()?;
    if change_is_near(by, zone) {
        local = local.checked_add(Span::new().hours(CHANGE_HOURS)).ok()?;
    }
    let mut best: Option<Timestamp> = None;
    while let Some(time) = as_utc(local).and_then(|local| cron.find_previous_occurrence(&local, false).ok()) {
        local = time.datetime();
        let moments = moments(local, every_hour, zone);
        best = moments.into_iter().flatten().filter(|at| *at <= by).chain(best).max();
        // Earlier local times do not come later.
        let latest = moments.into_iter().flatten().max();
        if latest.is_some() && latest <= best {
            break;
        }
    }
    best
}

/// Whether the expression means every hour: then it goes on by the hour through a change of the clock, and names no local times.
fn every_hour(cron: &Cron) -> bool {
    // As the parser has it, where `@hourly` has become five fields.
    cron.as_str().split_whitespace().nth(1).is_some_and(|hours| hours.starts_with('*'))
}

/// When a local time is: once, twice, or not at all.
fn moments(time: civil::DateTime, every_hour: bool, zone: &TimeZone) -> [Option<Timestamp>; 2] {
    let again = match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Gap { .. } if every_hour => return [None, None],
        AmbiguousOffset::Fold { after, .. } if every_hour => after.to_timestamp(time).ok(),
        _ => None,
    };
    [instant(time, zone), again.map(|at| Timestamp::from_ms(at.as_millisecond()))]
}

fn change_is_near(at: Timestamp, zone: &TimeZone) -> bool {
    let Ok(at) = jiff::Timestamp::from_millisecond(at.as_ms()) else { return false };
    let near =
        |change: jiff::Timestamp| change.duration_since(at).abs() <= jiff::SignedDuration::from_hours(CHANGE_HOURS);
    let around = zone.preceding(at).next().into_iter().chain(zone.following(at).next());
    around.map(|change| change.timestamp()).any(near)
}

fn local(at: Timestamp, zone: &TimeZone) -> Option<civil::DateTime> {
    Some(zone.to_datetime(jiff::Timestamp::from_millisecond(at.as_ms()).ok()?))
}

fn as_utc(local: civil::DateTime) -> Option<jiff::Zoned> {
    local.to_zoned(TimeZone::UTC).ok()
}
