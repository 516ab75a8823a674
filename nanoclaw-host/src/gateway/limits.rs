//! What one group may use of the gateway at a time, and how often.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::refusal::Refusal;

/// Bounds of one group. What was asked beyond them is refused and says which bound it was, except for connections, which wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones wait to be accepted. Claude Code was seen to keep one for all its turns. The
    /// host's open files are shared by all groups, so one of them must not be able to use them up.
    pub connections: usize,
    /// Tunnels at a time, which are connections too.
    pub tunnels: usize,
    /// Requests begun in a minute, refused ones among them.
    pub requests_a_minute: u32,
    /// Bytes of one request's body; not of a tunnel. 32 MiB is the model API's own bound.
    pub request_bytes: u64,
    /// How long a request, an answer or a tunnel may stand still.
    pub idle: Duration,
    /// How long a request may take from its head to the end of its answer; a tunnel may take longer.
    pub request_time: Duration,
    /// A request's head must be complete this long after the connection could take it, which also ends connections that are
    /// kept alive for nothing.
    pub head_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            tunnels: 32,
            requests_a_minute: 600,
            request_bytes: 32 << 20,
            idle: Duration::from_secs(15 * 60),
            request_time: Duration::from_secs(60 * 60),
            head_time: Duration::from_secs(120),
        }
    }
}

/// Counts a group's requests minute by minute.
#[derive(Debug, Default)]
pub(super) struct Rate {
    minute: Mutex<Option<(Instant, u32)>>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Rate {
    /// Counts one request that begins at `now`, unless there were `most` in this minute already.
    pub(super) fn take(&self, most: u32, now: Instant) -> Result<(), Refusal> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, count) = match &mut *minute {
            Some((began, count)) if now.saturating_duration_since(*began) < MINUTE => (*began, count),
            other => {
                let (began, count) = other.insert((now, 0));
                (*began, count)
            }
        };
        if *count >= most {
            let left = MINUTE.saturating_sub(now.saturating_duration_since(began));
            return Err(Refusal::TooMany {
                what: "requests a minute",
                most: most.into(),
                again_in: left.as_secs() + 1,
            });
        }
        *count += 1;
        Ok(())
    }
}

/// What is logged of requests that come faster than they may: one line in a minute, which counts the others. Who floods the
/// gateway shall not fill the host's disk by that.
#[derive(Debug, Default)]
pub(super) struct Untold {
    since_last: Mutex<Option<(Instant, u64)>>,
}

impl Untold {
    /// How many there were since the last that was logged, when this one at `now` is to be logged; else it counts as one of them.
    pub(super) fn one_more(&self, now: Instant) -> Option<u64> {
        let mut since_last = self.since_last.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *since_last {
            Some((last, untold)) if now.saturating_duration_since(*last) < MINUTE => {
                *untold += 1;
                None
            }
            other => Some(other.replace((now, 0)).map_or(0, |(_, untold)| untold)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_one_line_a_minute_is_told_with_the_number_of_the_others() {
        let (untold, begin) = (Untold::default(), Instant::now());
        assert_eq!(untold.one_more(begin), Some(0));
        for second in 0..1000 {
            assert_eq!(untold.one_more(begin + Duration::from_millis(second)), None);
        }
        assert_eq!(untold.one_more(begin + MINUTE), Some(1000));
        assert_eq!(untold.one_more(begin + MINUTE), None);
        assert_eq!(untold.one_more(begin + MINUTE * 3), Some(1));
    }

    #[test]
    fn a_minutes_requests_are_counted_anew_in_the_next() {
        let (rate, begin) = (Rate::default(), Instant::now());
        for _ in 0..3 {
            assert!(rate.take(3, begin).is_ok());
        }
        let refused = rate.take(3, begin + Duration::from_secs(20)).unwrap_err();
        assert_eq!(refused, Refusal::TooMany { what: "requests a minute", most: 3, again_in: 41 });
        assert!(rate.take(3, begin + MINUTE).is_ok());
    }
}
