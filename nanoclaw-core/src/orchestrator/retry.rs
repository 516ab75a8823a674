//! Delays between tries. The one module that knows the crate `backoff`.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use crate::group::GroupFolder;

/// The delay before a group's next run after `failures` failed in a row: 5, 10, 20, 40, then 80 seconds (numbers: NanoClaw
/// v1), a tenth more or less, so that groups that failed together do not come back together.
#[must_use]
pub(super) fn run_retry_delay(failures: u32, group: &GroupFolder) -> Duration {
    Duration::from_secs(5 << failures.saturating_sub(1).min(4)).mul_f64(jitter(0.1, (failures, group)))
}

/// The delay before a runtime is asked again for what it failed to do `failed` times in a row: 1, 2, 4, 8, 16, then 30
/// seconds.
#[must_use]
pub(super) fn runtime_retry_delay(failed: u32) -> Duration {
    Duration::from_secs(1 << failed.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

/// A factor from 1 - `part` to 1 + `part`. It comes from `salt`, not from chance: it spreads as well, and what happened once
/// happens again.
fn jitter(part: f64, salt: impl Hash) -> f64 {
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    let high_half = u32::try_from(hasher.finish() >> 32).unwrap_or(u32::MAX);
    1.0 - part + 2.0 * part * f64::from(high_half) / f64::from(u32::MAX)
}

/// The delays between tries to reach a service, to send one message or to connect: half a second, doubling, with up to a fifth
/// of jitter either way so that many do not knock at the same moment, never more than `ceiling`.
#[derive(Debug)]
pub struct Delays {
    backoff: ExponentialBackoff,
    ceiling: Duration,
    /// Of every delay; 0.8 to 1.2.
    factor: f64,
}

impl Delays {
    /// Delays for `what`, which was tried `attempts` times already.
    #[must_use]
    pub fn after(attempts: u32, ceiling: Duration, what: &impl Hash) -> Self {
        let factor = jitter(0.2, (what, attempts));
        let first = Duration::from_millis(500);
        let initial = first.saturating_mul(1 << attempts.min(16)).min(ceiling);
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial)
            .with_multiplier(2.0)
            .with_randomization_factor(0.0)
            .with_max_interval(ceiling)
            .with_max_elapsed_time(None)
            .build();
        Self { backoff, ceiling, factor }
    }

    /// The next delay; at least what the service asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        // Without a maximal elapsed time the sequence has no end, so the fall-back is never used.
        let own = self.backoff.next_backoff().unwrap_or(self.ceiling).mul_f64(self.factor).min(self.ceiling);
        asked.map_or(own, |asked| own.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_five_seconds_then_twice_as_long_each_time_up_to_eighty() {
        let group = GroupFolder::new("family").unwrap();
        for (failures, seconds) in [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 80), (u32::MAX, 80)] {
            let delay = run_retry_delay(failures, &group).as_secs_f64();
            assert!((0.9..=1.1).contains(&(delay / f64::from(seconds))), "{failures}: {delay}");
        }
    }

    #[test]
    fn groups_that_failed_together_do_not_come_back_together() {
        let delay = |name: &str| run_retry_delay(5, &GroupFolder::new(name).unwrap());
        assert_ne!(delay("family"), delay("work"));
        assert_eq!(delay("family"), delay("family"));
    }

    #[test]
    fn a_runtime_is_asked_again_after_a_second_then_more_rarely_up_to_half_a_minute() {
        for (failed, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 30), (7, 30), (u32::MAX, 30)] {
            assert_eq!(runtime_retry_delay(failed), Duration::from_secs(seconds), "{failed}");
        }
    }

    #[test]
    fn sending_is_tried_again_soon_then_more_rarely_and_never_later_than_the_ceiling() {
        let ceiling = Duration::from_secs(60);
        let mut delays = Delays::after(0, ceiling, &"a message");
        let first = delays.next(None);
        assert!((400..=600).contains(&first.as_millis()), "{first:?}");
        for _ in 0..20 {
            assert!(delays.next(None) <= ceiling);
        }
    }

    #[test]
    fn messages_that_fail_together_are_not_all_tried_again_together() {
        let first = |number: u32| Delays::after(0, Duration::from_secs(60), &number).next(None);
        let delays: std::collections::BTreeSet<Duration> = (0..100).map(first).collect();
        assert!(delays.len() > 50, "{delays:?}");
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn a_service_that_asks_for_more_time_gets_it() {
        let mut delays = Delays::after(0, Duration::from_secs(60), &"a message");
        assert!(delays.next(Some(Duration::from_secs(90))) >= Duration::from_secs(90));
    }
}
