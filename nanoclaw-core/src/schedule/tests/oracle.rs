//! Cron against an oracle that knows nothing of how the times are found: it goes through every day of the calendar and takes the
//! local times that the fields name.

use std::collections::BTreeSet;

use jiff::{
    ToSpan as _,
    civil::{Date, Time, Weekday},
};
use proptest::{collection::btree_set, prelude::*};

use super::*;

/// Fields of an expression, as they are meant.
#[derive(Debug, Clone)]
struct Fields {
    minutes: BTreeSet<i8>,
    /// `None`: all.
    hours: Option<BTreeSet<i8>>,
    day_of_month: DayOfMonth,
    /// `None`: all.
    months: Option<BTreeSet<i8>>,
    day_of_week: DayOfWeek,
}

#[derive(Debug, Clone)]
enum DayOfMonth {
    Any,
    Days(BTreeSet<i8>),
    Last,
}

#[derive(Debug, Clone)]
enum DayOfWeek {
    Any,
    /// From 0, which is Sunday.
    Days(BTreeSet<i8>),
    /// Such a day, the so manieth of its month.
    Nth(i8, i8),
}

fn list(numbers: &BTreeSet<i8>) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

impl Fields {
    fn text(&self) -> String {
        let all_or = |numbers: &Option<BTreeSet<i8>>| numbers.as_ref().map_or_else(|| "*".to_owned(), list);
        let day_of_month = match &self.day_of_month {
            DayOfMonth::Any => "*".to_owned(),
            DayOfMonth::Days(days) => list(days),
            DayOfMonth::Last => "L".to_owned(),
        };
        let day_of_week = match &self.day_of_week {
            DayOfWeek::Any => "*".to_owned(),
            DayOfWeek::Days(days) => list(days),
            DayOfWeek::Nth(day, nth) => format!("{day}#{nth}"),
        };
        let (minutes, hours, months) = (list(&self.minutes), all_or(&self.hours), all_or(&self.months));
        format!("{minutes} {hours} {day_of_month} {months} {day_of_week}")
    }

    fn names(&self, date: Date) -> bool {
        let of_month = match &self.day_of_month {
            DayOfMonth::Any => None,
            DayOfMonth::Days(days) => Some(days.contains(&date.day())),
            DayOfMonth::Last => Some(date == date.last_of_month()),
        };
        let weekday = date.weekday().to_sunday_zero_offset();
        let of_week = match &self.day_of_week {
            DayOfWeek::Any => None,
            DayOfWeek::Days(days) => Some(days.contains(&weekday)),
            DayOfWeek::Nth(day, nth) => Some(weekday == *day && (date.day() - 1) / 7 + 1 == *nth),
        };
        let day = match (of_month, of_week) {
            (None, None) => true,
            (Some(one), None) | (None, Some(one)) => one,
            // As cron has always done it.
            (Some(of_month), Some(of_week)) => of_month || of_week,
        };
        day && self.months.as_ref().is_none_or(|months| months.contains(&date.month()))
    }

    /// The due times after `after` within so many days, in order.
    fn times(&self, after: Timestamp, days: i32, zone: &TimeZone) -> Vec<Timestamp> {
        let begin = jiff::Timestamp::from_millisecond(after.as_ms()).unwrap().to_zoned(zone.clone()).date();
        let end = begin.saturating_add(days.days());
        let all = BTreeSet::from_iter(0..24);
        let hours = self.hours.as_ref().unwrap_or(&all);
        let mut times = BTreeSet::new();
        for date in begin.yesterday().unwrap().series(1.day()).take_while(|date| *date <= end) {
            if self.names(date) {
                for (hour, minute) in
                    hours.iter().flat_map(|hour| self.minutes.iter().map(move |minute| (*hour, *minute)))
                {
                    moments(
                        date.to_datetime(Time::new(hour, minute, 0, 0).unwrap()),
                        self.hours.is_none(),
                        zone,
                        &mut times,
                    );
                }
            }
        }
        let last = end.to_zoned(zone.clone()).unwrap().timestamp().as_millisecond();
        times.into_iter().filter(|at| *at > after.as_ms() && *at < last).map(Timestamp::from_ms).collect()
    }
}

/// When a local time is, in milliseconds: the moment of the change of the clock when it is left out; when it comes twice, the
/// first time, and both times where every hour is meant.
fn moments(time: civil::DateTime, every_hour: bool, zone: &TimeZone, into: &mut BTreeSet<i64>) {
    let mut add = |at: jiff::Timestamp| into.insert(at.as_millisecond());
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => drop(add(offset.to_timestamp(time).unwrap())),
        AmbiguousOffset::Fold { before, after } => {
            add(before.to_timestamp(time).unwrap());
            if every_hour {
                add(after.to_timestamp(time).unwrap());
            }
        }
        AmbiguousOffset::Gap { .. } if every_hour => {}
        // The first local time of the clock that is in force then: found by going on minute by minute.
        AmbiguousOffset::Gap { .. } => {
            let mut later = time;
            while zone.to_ambiguous_timestamp(later).is_ambiguous() {
                later = later.saturating_add(1.minute());
            }
            add(zone.to_timestamp(later).unwrap());
        }
    }
}

fn fields() -> impl Strategy<Value = Fields> {
    let some = |from: i8, to: i8, most: usize| btree_set(from..=to, 1..=most);
    let day_of_month = prop_oneof![
        3 => Just(DayOfMonth::Any),
        3 => some(1, 31, 3).prop_map(DayOfMonth::Days),
        1 => Just(DayOfMonth::Last),
    ];
    let day_of_week = prop_oneof![
        3 => Just(DayOfWeek::Any),
        3 => some(0, 6, 3).prop_map(DayOfWeek::Days),
        1 => (0..=6_i8, 1..=5_i8).prop_map(|(day, nth)| DayOfWeek::Nth(day, nth)),
    ];
    let months = prop::option::of(some(1, 12, 4));
    let hours = prop_oneof![1 => Just(None), 4 => some(0, 23, 3).prop_map(Some), 2 => some(0, 3, 3).prop_map(Some)];
    (some(0, 59, 3), hours, day_of_month, months, day_of_week).prop_map(
        |(minutes, hours, day_of_month, months, day_of_week)| Fields {
            minutes,
            hours,
            day_of_month,
            months,
            day_of_week,
        },
    )
}

/// Zones of both halves of the earth, one whose clock changes by half an hour, one that changes at midnight, one that never does.
const ZONES: [&str; 6] =
    ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kolkata", "UTC"];

/// Some moment of the years from 2019 to 2032, often shortly before a change of the clock.
fn moment(zone: &TimeZone, days: i64, near_a_change: bool, hours_before: i64) -> Timestamp {
    let start = jiff::Timestamp::from_second(1_546_300_800 + days * 86_400).unwrap();
    match zone.following(start).next().filter(|_| near_a_change) {
        Some(change) => Timestamp::from_ms(change.timestamp().as_millisecond() - hours_before * 3_600_000),
        None => Timestamp::from_ms(start.as_millisecond() + hours_before * 3_600_000),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn cron_is_due_when_the_calendar_says_so(
        fields in fields(),
        zone in prop::sample::select(&ZONES[..]),
        days in 0..5000_i64,
        near_a_change in any::<bool>(),
        hours_before in 0..72_i64,
    ) {
        let zone = super::zone(zone);
        let after = moment(&zone, days, near_a_change, hours_before);
        let expected: Vec<_> = fields.times(after, 800, &zone).into_iter().take(40).collect();
        let schedule = Schedule::parse("cron", &fields.text()).unwrap();
        let found = schedule.times_after(after, &zone, expected.len());
        let shown = |times: &[Timestamp]| times.iter().map(|at| super::shown(*at, &zone)).collect::<Vec<_>>();
        prop_assert_eq!(shown(&found), shown(&expected), "{}", fields.text());
        // And the other way round.
        if let [.., before_last, last] = expected[..] {
            prop_assert_eq!(schedule.last_by(after, last, &zone), Some(last), "{}", fields.text());
            let just_before = last.minus(Duration::from_millis(1));
            prop_assert_eq!(schedule.last_by(after, just_before, &zone), Some(before_last), "{}", fields.text());
        }
    }
}

#[test]
fn leap_days_and_fifth_mondays_are_found() {
    let zone = super::zone("Europe/Berlin");
    for (text, expected) in [
        ("0 9 29 2 *", ["2028-02-29T08:00:00Z", "2032-02-29T08:00:00Z"]),
        ("0 9 * * 1#5", ["2026-03-30T07:00:00Z", "2026-06-29T07:00:00Z"]),
        ("30 23 L 2 *", ["2026-02-28T22:30:00Z", "2027-02-28T22:30:00Z"]),
    ] {
        let schedule = Schedule::parse("cron", text).unwrap();
        assert_eq!(schedule.times_after(at("2026-01-31T12:00:00Z"), &zone, 2), expected.map(at), "{text}");
    }
    assert_eq!(Weekday::Monday.to_sunday_zero_offset(), 1);
}
