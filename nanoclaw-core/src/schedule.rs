//! When a task is due: what people and agents write, checked, and the next time of it in a zone.
//!
//! Pure: the clock and the zone are given. Times are local to the zone. A local time that a change of the clock leaves out is
//! due at the moment of the change; one that comes twice is due the first time. Cron expressions for every hour name no local
//! times: they are due at each hour that there is.

mod calendar;

use std::{fmt, str::FromStr as _, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Zoned, civil,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::time::Timestamp;

/// The shortest interval that there is. How often a task may be due is decided where it is
/// [asked for](crate::tasks::asked).
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// The longest one: ten years.
const LONGEST_INTERVAL: Duration = Duration::from_secs(10 * 366 * 24 * 3600);
/// How many of its next times are looked at to tell how often it is due.
const GAPS_LOOKED_AT: usize = 24;
/// The most bytes of what somebody writes as a schedule.
const LONGEST_VALUE: usize = 200;

/// What is wrong with a schedule, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadSchedule(String);

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// By the five fields of cron: minute, hour, day of the month, month, day of the week; with names, ranges, steps, `L` and
    /// `#`. As it was written.
    Cron(String),
    /// Again and again, so far apart, counted from the time it was made.
    Every(Duration),
    /// One time, in the zone of the task.
    Once(civil::DateTime),
}

impl Schedule {
    /// Reads the schedule `value` of the kind `cron`, `interval` or `once`. An interval is a whole number of milliseconds
    /// (v1's) or a span such as `5m` or `1h 30m`; a time is local, such as `2026-12-01T09:00:00` or `2026-12-01 09:00`.
    ///
    /// # Errors
    /// [`BadSchedule`]. Whether there is a time at which it is due is [`next_after`](Self::next_after)'s to say.
    pub fn parse(kind: &str, value: &str) -> Result<Self, BadSchedule> {
        let value = value.trim();
        if value.len() > LONGEST_VALUE {
            return Err(BadSchedule(format!("the schedule is too long: it may have {LONGEST_VALUE} characters")));
        }
        match kind {
            "cron" => {
                cron(value)?;
                Ok(Self::Cron(value.to_owned()))
            }
            "interval" => interval(value).map(Self::Every),
            "once" => once(value).map(Self::Once),
            _ => {
                let kind: String = kind.chars().take(40).collect();
                Err(BadSchedule(format!("there is no kind of schedule {kind:?}; it is cron, interval or once")))
            }
        }
    }

    /// Reads what a person writes, whatever its kind: `every 5m`, `in 2h`, `2026-12-01 09:00`, `0 9 * * 1-5`.
    ///
    /// # Errors
    /// [`BadSchedule`], which says what can be written.
    pub fn read(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Self, BadSchedule> {
        let text = text.trim();
        let after = |word: &str| {
            let (first, rest) = text.split_once(char::is_whitespace)?;
            first.eq_ignore_ascii_case(word).then_some(rest)
        };
        if let Some(interval) = after("every") {
            return Self::parse("interval", interval);
        }
        if let Some(span) = after("in") {
            let unclear = || BadSchedule(format!("{text:?} is no time; a span is such as `in 10m` or `in 1h 30m`"));
            let span = jiff::SignedDuration::from_str(span).ok().and_then(|span| Duration::try_from(span).ok());
            let span = span.filter(|span| *span <= LONGEST_INTERVAL).ok_or_else(unclear)?;
            // Schedules have whole seconds: the next one, so that none has passed.
            let at = zoned(now.plus(span).plus(Duration::from_millis(999)), zone).ok_or_else(unclear)?.datetime();
            return at.with().subsec_nanosecond(0).build().map(Self::Once).map_err(|_| unclear());
        }
        if text.starts_with(|c: char| c.is_ascii_digit()) && text.get(4..5) == Some("-") {
            return Self::parse("once", text);
        }
        Self::parse("cron", text).map_err(|error| match text.split_whitespace().count() {
            5 => error,
            _ => BadSchedule(format!(
                "{text:?} is no schedule; it is `every 5m`, `in 2h`, a local time such as `2026-12-01 09:00`, or five fields of \
                 cron such as `0 9 * * 1-5` for weekdays at nine"
            )),
        })
    }

    /// The first time after `after` at which it is due; `None` when there is none. Intervals count from `after`.
    #[must_use]
    pub fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Cron(text) => calendar::next(&cron(text).ok()?, after, zone),
            Self::Every(interval) => Some(after.plus(*interval)),
            Self::Once(time) => instant(*time, zone).filter(|at| *at > after),
        }
    }

    /// The first time after `after`, by intervals that count from `anchor`, so that they never drift (fault F58); `None` when
    /// there is none.
    #[must_use]
    pub fn next_from(&self, anchor: Timestamp, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let Self::Every(interval) = self else { return self.next_after(after, zone) };
        let interval = i64::try_from(interval.as_millis()).ok().filter(|interval| *interval > 0)?;
        let passed = after.as_ms().saturating_sub(anchor.as_ms());
        let next = match passed {
            ..0 => anchor.as_ms(),
            _ => anchor.as_ms().saturating_add((passed / interval + 1).saturating_mul(interval)),
        };
        Some(Timestamp::from_ms(next))
    }

    /// The last time by `by`, by intervals that count from `anchor`; `None` when there is none.
    #[must_use]
    pub fn last_by(&self, anchor: Timestamp, by: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(interval) => {
                let interval = i64::try_from(interval.as_millis()).ok().filter(|interval| *interval > 0)?;
                let passed = by.as_ms().checked_sub(anchor.as_ms()).filter(|passed| *passed >= 0)?;
                Some(Timestamp::from_ms(anchor.as_ms() + passed / interval * interval))
            }
            Self::Once(time) => instant(*time, zone).filter(|at| *at <= by),
            Self::Cron(text) => calendar::last(&cron(text).ok()?, by, zone),
        }
    }

    /// The next times, at most `count`, in order.
    #[must_use]
    pub fn times_after(&self, after: Timestamp, zone: &TimeZone, count: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let mut last = after;
        while times.len() < count
            && let Some(next) = self.next_after(last, zone)
        {
            times.push(next);
            last = next;
        }
        times
    }

    /// The times from `first` on, at most `count`, by intervals that count from `anchor`.
    #[must_use]
    pub fn times_from(&self, anchor: Timestamp, first: Timestamp, zone: &TimeZone, count: usize) -> Vec<Timestamp> {
        std::iter::successors(Some(first), |last| self.next_from(anchor, *last, zone)).take(count).collect()
    }

    /// The shortest time between two of its next times, as far as one looks ahead: 24 of them; `None` when it is due once.
    #[must_use]
    pub fn shortest_gap(&self, after: Timestamp, zone: &TimeZone) -> Option<Duration> {
        match self {
            Self::Every(interval) => Some(*interval),
            Self::Once(_) => None,
            Self::Cron(_) => {
                let times = self.times_after(after, zone, GAPS_LOOKED_AT);
                let gaps = times.windows(2).map(|pair| pair[1].as_ms().saturating_sub(pair[0].as_ms()));
                gaps.min().map(|gap| Duration::from_millis(gap.unsigned_abs()))
            }
        }
    }

    /// The first time after `now`, or why there is none.
    ///
    /// # Errors
    /// [`BadSchedule`]: the time has passed, or it is one that never comes.
    pub fn first_after(&self, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, BadSchedule> {
        self.next_after(now, zone).ok_or_else(|| {
            BadSchedule(match self {
                Self::Once(_) => format!("{self} has passed: it is {} now", shown(now, zone)),
                _ => format!("{self} is never due: there is no such day"),
            })
        })
    }

    /// The word for its kind: `cron`, `interval` or `once`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cron(_) => "cron",
            Self::Every(_) => "interval",
            Self::Once(_) => "once",
        }
    }

    /// Its value as v1 writes it: the expression, milliseconds, or the local time.
    #[must_use]
    pub fn value(&self) -> String {
        match self {
            Self::Cron(text) => text.clone(),
            Self::Every(interval) => interval.as_millis().to_string(),
            Self::Once(time) => time.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cron(text) => write!(f, "the cron expression {text:?}"),
            Self::Every(interval) => match jiff::SignedDuration::try_from(*interval) {
                Ok(interval) => write!(f, "every {interval:#}"),
                Err(_) => write!(f, "every {interval:?}"),
            },
            Self::Once(time) => write!(f, "{}", time.strftime("%Y-%m-%d %H:%M:%S")),
        }
    }
}

/// A time as people read it: `Tue 2026-12-01 09:00 CET`.
#[must_use]
pub fn shown(at: Timestamp, zone: &TimeZone) -> String {
    match zoned(at, zone) {
        Some(zoned) => zoned.strftime("%a %Y-%m-%d %H:%M %Z").to_string(),
        None => at.to_string(),
    }
}

fn zoned(at: Timestamp, zone: &TimeZone) -> Option<Zoned> {
    Some(jiff::Timestamp::from_millisecond(at.as_ms()).ok()?.to_zoned(zone.clone()))
}

fn cron(text: &str) -> Result<Cron, BadSchedule> {
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| {
        BadSchedule(format!(
            "{text:?} is no cron expression ({error}); it has five fields: minute, hour, day of the month, month, day of the \
             week, such as `0 9 * * 1-5` for weekdays at nine or `*/15 * * * *` for every quarter of an hour"
        ))
    })
}

fn interval(text: &str) -> Result<Duration, BadSchedule> {
    let bad = |what: &str| {
        BadSchedule(format!("{text:?} {what}; an interval is a number of milliseconds, or a span such as 5m or 1h 30m"))
    };
    let text = text.strip_prefix("every ").unwrap_or(text).trim();
    let interval = match text.parse::<u64>() {
        Ok(milliseconds) => Duration::from_millis(milliseconds),
        Err(_) => {
            let span = jiff::SignedDuration::from_str(text).map_err(|_| bad("is no interval"))?;
            Duration::try_from(span).map_err(|_| bad("is no interval"))?
        }
    };
    match interval {
        interval if interval < SHORTEST_INTERVAL => Err(bad("is too short")),
        interval if interval > LONGEST_INTERVAL => Err(bad("is too long")),
        interval => Ok(interval),
    }
}

fn once(text: &str) -> Result<civil::DateTime, BadSchedule> {
    let bad = |what: &str| {
        BadSchedule(format!(
            "{text:?} {what}; a time is local and without a zone, such as 2026-12-01T09:00:00 or 2026-12-01 09:00"
        ))
    };
    // What stands after the date; a date has `-` in it too.
    let time = text.get(10..).unwrap_or_default();
    if text.get(..10).is_some_and(|date| date.contains(|c: char| c.is_ascii_alphabetic())) {
        return Err(bad("is no time"));
    }
    if time.contains(['Z', 'z', '+', '-', '[']) {
        return Err(bad("has a zone in it"));
    }
    if time.len() < "T09:00".len() {
        return Err(bad("has no time of day"));
    }
    text.parse().map_err(|_| bad("is no time that there is"))
}

/// The moment of a local time.
fn instant(time: civil::DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(time);
    let at = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok()?,
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok()?,
        AmbiguousOffset::Gap { before, .. } => {
            // The clock that was in force says a moment after the change; the change itself is the last one by then.
            let behind = before.to_timestamp(time).ok()?;
            let after = behind.checked_add(jiff::SignedDuration::from_secs(1)).ok()?;
            zone.preceding(after).next().map_or(behind, |change| change.timestamp())
        }
    };
    Some(Timestamp::from_ms(at.as_millisecond()))
}

#[cfg(test)]
mod tests;
