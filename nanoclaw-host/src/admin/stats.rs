//! What groups' runs came to, day by day in the configured zone.

use std::collections::BTreeMap;

use jiff::{ToSpan as _, Zoned, civil::Date, tz::TimeZone};
use nanoclaw_core::{group::GroupFolder, store::StoreError, time::Timestamp};

use super::types::{DayStats, GroupStats, Stats, StatsFigures};
use crate::stores::{Day, DayOfGroup, Ledger};

/// The most days that can be asked for: ten years.
pub(crate) const MOST_DAYS: u32 = 3660;

/// The last `count` days up to `now`, today included.
pub(super) async fn read(
    ledger: &dyn Ledger,
    group: Option<&GroupFolder>,
    count: u32,
    zone: &TimeZone,
    now: Timestamp,
) -> Result<Stats, StoreError> {
    let days = last_days(count.clamp(1, MOST_DAYS), zone, now);
    let windows: Vec<Day> = days.iter().map(|(_, window)| *window).collect();
    let mut groups: BTreeMap<GroupFolder, Vec<DayStats>> = BTreeMap::new();
    for found in ledger.days(group, &windows, now).await? {
        let DayOfGroup { group, day, runs, failed, container_ms, answered, messages, firings, task_cost_micros } =
            found;
        let figures = StatsFigures { messages, answered, runs, failed, container_ms, firings, task_cost_micros };
        groups.entry(group).or_default().push(DayStats { day: days[day].0.to_string(), figures });
    }
    let of = |(group, mut days): (GroupFolder, Vec<DayStats>)| {
        days.reverse();
        let total = days.iter().fold(StatsFigures::default(), |sum, day| sum.and(day.figures));
        GroupStats { group, total, days, gateway: None }
    };
    Ok(Stats { zone: zone.iana_name().map(str::to_owned), groups: groups.into_iter().map(of).collect() })
}

/// Days of the zone, which may have 23 or 25 hours, oldest first. Fewer at the end of the calendar.
fn last_days(count: u32, zone: &TimeZone, now: Timestamp) -> Vec<(Date, Day)> {
    let Ok(now) = jiff::Timestamp::from_millisecond(now.as_ms()) else { return Vec::new() };
    let today = now.to_zoned(zone.clone()).date();
    let begins = |date: Date| Some(moment(&date.to_zoned(zone.clone()).ok()?));
    let mut days: Vec<(Date, Day)> = (0..i64::from(count))
        .map_while(|back| {
            let date = today.checked_sub(back.days()).ok()?;
            Some((date, Day { from: begins(date)?, to: begins(date.tomorrow().ok()?)? }))
        })
        .collect();
    days.reverse();
    days
}

fn moment(at: &Zoned) -> Timestamp {
    Timestamp::from_ms(at.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_the_zones_and_follow_on_each_other_when_clocks_change() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        // 2026-03-30 00:30 in Berlin; the day before had 23 hours.
        let now = "2026-03-29T22:30:00Z".parse::<jiff::Timestamp>().unwrap();
        let days = last_days(3, &zone, Timestamp::from_ms(now.as_millisecond()));
        let told: Vec<_> =
            days.iter().map(|(date, Day { from, to })| (date.to_string(), to.since(*from).as_secs() / 3600)).collect();
        let expected = [("2026-03-28", 24), ("2026-03-29", 23), ("2026-03-30", 24)];
        assert_eq!(told, expected.map(|(day, hours)| (day.to_owned(), hours)));
        assert!(days.windows(2).all(|two| two[0].1.to == two[1].1.from), "{days:?}");
    }
}
