//! `[time]`: the zone in which times are shown and schedules meant.

use jiff::tz::TimeZone;

use super::{
    reader::Reader,
    setting::{Setting, Source},
    value::{self, Raw, Right},
};

/// The zone in which times are shown and schedules meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeConfig {
    /// The zone; default: `TZ`, else the system's, else UTC.
    pub zone: Setting<TimeZone>,
}

impl TimeConfig {
    /// Reads the section. What is odd but no mistake goes to `remarks`.
    pub(super) fn read(reader: &mut Reader<'_>, remarks: &mut Vec<String>) -> Self {
        let mut section = reader.section("time");
        let tz = section.environment().get("TZ");
        let zone = section.lookup("zone", None, zone).unwrap_or_else(|| {
            // TZ is set for every program of the user, so what it says is no mistake of ours (fault F58).
            match tz.map(|text| text.into_string()) {
                Some(Ok(text)) => match of_variable(&text) {
                    Some(zone) => Setting { value: zone, source: Source::Variable("TZ".to_owned()) },
                    None => {
                        remarks.push(format!("TZ is {text:?}, which is no zone that is known here; it is not used"));
                        of_system()
                    }
                },
                _ => of_system(),
            }
        });
        section.finish();
        Self { zone }
    }
}

fn zone(raw: &Raw<'_>) -> Result<TimeZone, Right> {
    const RIGHT: &str = "the name of a zone such as \"Europe/Berlin\" or \"UTC\"";
    let text = value::line(64)(raw).map_err(|_| RIGHT)?;
    TimeZone::get(&text).map_err(|_| RIGHT.into())
}

/// What `TZ` may be beyond a zone's name: a leading colon, and POSIX rules such as `CET-1CEST,M3.5.0,M10.5.0/3`.
fn of_variable(text: &str) -> Option<TimeZone> {
    let text = text.strip_prefix(':').unwrap_or(text);
    TimeZone::get(text).or_else(|_| TimeZone::posix(text)).ok()
}

fn of_system() -> Setting<TimeZone> {
    match TimeZone::try_system() {
        Ok(zone) if !zone.is_unknown() => {
            Setting { value: zone, source: Source::Because("the system's zone".to_owned()) }
        }
        _ => Setting { value: TimeZone::UTC, source: Source::Because("the system names no zone".to_owned()) },
    }
}
