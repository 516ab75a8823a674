//! Wall-clock time as it is stored: UTC milliseconds.

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since 1970-01-01 UTC. Never used for order: order is [`Seq`](crate::message::Seq).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// A moment from milliseconds since the epoch.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// The machine's clock, now; in a test, the clock that the test has set (`test_clock`).
    #[must_use]
    pub fn now() -> Self {
        #[cfg(feature = "testing")]
        if let Some(now) = test_clock::now() {
            return now;
        }
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Its day, by UTC: whole days since the epoch.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(24 * 60 * 60 * 1000)
    }

    /// How long this moment is after `earlier`; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> std::time::Duration {
        let ms = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
    }

    /// This moment and `duration` more; saturates at the end of time.
    #[must_use]
    pub fn plus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment and `duration` less; saturates at the beginning of time.
    #[must_use]
    pub fn minus(self, duration: std::time::Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::fmt::Display for Timestamp {
    /// RFC 3339 in UTC, with milliseconds; the bare number where the calendar has no such day.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

/// A clock that a test sets. It belongs to a thread, and goes as fast as tokio's clock does, paused or not.
#[cfg(feature = "testing")]
pub mod test_clock {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::Timestamp;

    thread_local! {
        static SET: Cell<Option<(Timestamp, Instant)>> = const { Cell::new(None) };
    }

    /// From now on it is `at` on this thread, and time goes on from there; `None`: the machine's clock again. Must be
    /// called within a tokio runtime when tokio's clock is to be followed.
    pub fn set(at: Option<Timestamp>) {
        SET.set(at.map(|at| (at, Instant::now())));
    }

    pub(super) fn now() -> Option<Timestamp> {
        SET.get().map(|(at, since)| at.plus(since.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_shows_as_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_ms(1_772_627_400_007).to_string(), "2026-03-04T12:30:00.007Z");
        assert_eq!(Timestamp::from_ms(-1).to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_ms(i64::MIN).to_string(), "-9223372036854775808ms");
    }

    #[test]
    fn a_moment_is_written_as_a_bare_number() {
        assert_eq!(serde_json::to_string(&Timestamp::from_ms(7)).unwrap(), "7");
        assert_eq!(serde_json::from_str::<Timestamp>("7").unwrap().as_ms(), 7);
    }

    #[test]
    fn adding_stops_at_the_end_of_time() {
        assert_eq!(Timestamp::from_ms(5).plus(Duration::from_millis(7)), Timestamp::from_ms(12));
        assert_eq!(Timestamp::from_ms(5).plus(Duration::MAX), Timestamp::from_ms(i64::MAX));
    }

    #[test]
    fn a_moment_that_is_not_later_is_no_time_after_the_other() {
        let (early, late) = (Timestamp::from_ms(5), Timestamp::from_ms(12));
        assert_eq!((late.since(early), early.since(late)), (Duration::from_millis(7), Duration::ZERO));
    }
}
