use super::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::from_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn next(kind: &str, value: &str, after: &str, name: &str) -> Option<Timestamp> {
    Schedule::parse(kind, value).unwrap().next_after(at(after), &zone(name))
}

#[track_caller]
fn refused(kind: &str, value: &str, part: &str) {
    let error = Schedule::parse(kind, value).unwrap_err().to_string();
    assert!(error.contains(part), "{error}");
}

#[test]
fn cron_is_due_by_the_clock_of_its_zone() {
    let after = "2026-11-20T12:00:00Z";
    assert_eq!(next("cron", "0 9 * * 1-5", after, "Europe/Berlin"), Some(at("2026-11-23T08:00:00Z")));
    assert_eq!(next("cron", "0 9 * * MON-FRI", after, "America/New_York"), Some(at("2026-11-20T14:00:00Z")));
    assert_eq!(next("cron", "0 0 L * *", after, "UTC"), Some(at("2026-11-30T00:00:00Z")));
    assert_eq!(next("cron", "0 8 * * 1#1", after, "UTC"), Some(at("2026-12-07T08:00:00Z")));
    let schedule = Schedule::parse("cron", "*/20 * * * *").unwrap();
    let times: Vec<String> = schedule.times_after(at(after), &zone("UTC"), 3).iter().map(ToString::to_string).collect();
    assert_eq!(times, ["2026-11-20T12:20:00.000Z", "2026-11-20T12:40:00.000Z", "2026-11-20T13:00:00.000Z"]);
}

#[test]
fn what_is_no_cron_expression_is_refused_with_what_is_one() {
    for text in ["", "every day", "60 * * * *", "* * * *", "* * * * * *", "0 0 9 * * 1-5 2026", "0 25 * * *", "\u{0}"] {
        refused("cron", text, "it has five fields");
    }
    refused("cron", &"*".repeat(300), "too long");
    refused("daily", "0 9 * * *", "it is cron, interval or once");
}

#[test]
fn cron_that_never_fires_says_so() {
    let error = Schedule::parse("cron", "0 0 30 2 *").unwrap().first_after(at("2026-11-20T12:00:00Z"), &zone("UTC"));
    assert!(error.unwrap_err().to_string().contains("never due"));
}

#[test]
fn intervals_are_milliseconds_or_spans_of_a_second_at_least() {
    assert_eq!(Schedule::parse("interval", "300000").unwrap(), Schedule::Every(Duration::from_secs(300)));
    assert_eq!(Schedule::parse("interval", "1h 30m").unwrap(), Schedule::Every(Duration::from_secs(5400)));
    assert_eq!(Schedule::parse("interval", "5m").unwrap().value(), "300000");
    for text in ["0", "999", "0s", "-5m", "-1", "five minutes", "", "1e9", "99999999999999999999", "99999999999999"] {
        refused("interval", text, "an interval is a number of milliseconds");
    }
}

#[test]
fn a_time_is_local_and_has_no_zone() {
    let expected = Some(at("2026-12-01T08:00:00Z"));
    for text in ["2026-12-01T09:00:00", "2026-12-01 09:00", "2026-12-01T09:00"] {
        assert_eq!(next("once", text, "2026-11-20T12:00:00Z", "Europe/Berlin"), expected, "{text}");
    }
    for text in ["2026-12-01T09:00:00Z", "2026-12-01T09:00:00+01:00", "2026-12-01T09:00:00[Europe/Berlin]"] {
        refused("once", text, "has a zone in it");
    }
    for text in ["2026-12-01", "2026-02-30T09:00:00", "tomorrow at nine", "", "2026-12-01T25:00", "é"] {
        refused("once", text, "a time is local");
    }
    let past = Schedule::parse("once", "2020-01-01 09:00").unwrap();
    let error = past.first_after(at("2026-11-20T12:00:00Z"), &zone("Europe/Berlin")).unwrap_err().to_string();
    assert!(error.contains("has passed: it is Fri 2026-11-20 13:00 CET now"), "{error}");
}

#[test]
fn a_local_time_that_is_left_out_is_due_at_the_change_and_one_that_comes_twice_the_first_time() {
    let spring = next("once", "2026-03-29 02:30", "2026-03-01T00:00:00Z", "Europe/Berlin");
    assert_eq!(spring, Some(at("2026-03-29T01:00:00Z")));
    let autumn = next("once", "2026-10-25 02:30", "2026-10-01T00:00:00Z", "Europe/Berlin");
    assert_eq!(autumn, Some(at("2026-10-25T00:30:00Z")));
}

mod oracle;
