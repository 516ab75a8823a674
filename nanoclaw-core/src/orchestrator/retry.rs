//! Delays between tries. The one module that knows the crate `backoff`.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

/// The delay before a group's next run after `failures` failed in a row: 5, 10, 20, 40, then 80 seconds (numbers: NanoClaw
/// v1). Without jitter: a group is alone with itself, and the dispatcher is to be deterministic.
#[must_use]
pub(super) fn run_retry_delay(failures: u32) -> Duration {
    Duration::from_secs(5 << failures.saturating_sub(1).min(4))
}

/// The delays between tries to send one message: half a second, doubling, with a fifth of jitter either way so that many
/// chats do not knock at the same moment, never more than `ceiling`.
#[derive(Debug)]
pub(super) struct SendDelays {
    backoff: ExponentialBackoff,
    ceiling: Duration,
}

impl SendDelays {
    /// Delays for a message that was tried `attempts` times already.
    #[must_use]
    pub(super) fn after(attempts: u32, ceiling: Duration) -> Self {
        let first = Duration::from_millis(500);
        let initial = first.saturating_mul(1 << attempts.min(16)).min(ceiling);
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(initial)
            .with_multiplier(2.0)
            .with_randomization_factor(0.2)
            .with_max_interval(ceiling)
            .with_max_elapsed_time(None)
            .build();
        Self { backoff, ceiling }
    }

    /// The next delay; at least what the service asked for.
    pub(super) fn next(&mut self, asked: Option<Duration>) -> Duration {
        // Without a maximal elapsed time the sequence has no end, so the fall-back is never used.
        let own = self.backoff.next_backoff().unwrap_or(self.ceiling).min(self.ceiling);
        asked.map_or(own, |asked| own.max(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_waits_five_seconds_then_twice_as_long_each_time_up_to_eighty() {
        let delays: Vec<u64> = (1..=7).map(|failures| run_retry_delay(failures).as_secs()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 80, 80]);
        assert_eq!(run_retry_delay(u32::MAX).as_secs(), 80);
    }

    #[test]
    fn sending_is_tried_again_soon_then_more_rarely_and_never_later_than_the_ceiling() {
        let ceiling = Duration::from_secs(60);
        let mut delays = SendDelays::after(0, ceiling);
        let first = delays.next(None);
        assert!((400..=600).contains(&first.as_millis()), "{first:?}");
        for _ in 0..20 {
            assert!(delays.next(None) <= ceiling);
        }
    }

    #[test]
    fn a_service_that_asks_for_more_time_gets_it() {
        let mut delays = SendDelays::after(0, Duration::from_secs(60));
        assert!(delays.next(Some(Duration::from_secs(90))) >= Duration::from_secs(90));
    }
}
