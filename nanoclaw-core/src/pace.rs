//! How often something may happen: many times at once after a quiet while, and at a steady pace for as long as it goes on.

use std::time::Duration;

use tokio::time::Instant;

/// A pace that what an agent can flood is kept to. It costs one moment in time, however much comes.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    every: Duration,
    burst: u32,
    /// When everything spent so far would be paid for, one after the other.
    paid_at: Instant,
    /// Nothing happens before.
    rest_until: Instant,
}

impl Pace {
    /// `burst` at once, and then one `every` so often.
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        let now = Instant::now();
        Self { every, burst, paid_at: now, rest_until: now }
    }

    /// One more has happened, which counts as `cost`. What is spent beyond the pace is waited for afterwards.
    pub(crate) fn spend(&mut self, cost: u32) {
        self.paid_at = self.paid_at.max(Instant::now()) + self.every * cost;
    }

    /// From when on one more may happen; `None`: now.
    pub(crate) fn wait(&self) -> Option<Instant> {
        let slack = self.every * self.burst.saturating_sub(1);
        let now = Instant::now();
        let paid = (self.paid_at > now + slack).then(|| self.paid_at - slack);
        let rested = (self.rest_until > now).then_some(self.rest_until);
        paid.max(rested)
    }

    /// Nothing more happens before `until`.
    pub(crate) fn rest_until(&mut self, until: Instant) {
        self.rest_until = self.rest_until.max(until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_while_many_may_happen_at_once_and_then_one_every_so_often() {
        let mut pace = Pace::new(5, EVERY);
        for round in 0..3 {
            for number in 0..5 {
                assert_eq!(pace.wait(), None, "number {number} of round {round}");
                pace.spend(1);
            }
            for _ in 0..3 {
                assert_eq!(pace.wait(), Some(Instant::now() + EVERY));
                tokio::time::sleep(EVERY).await;
                assert_eq!(pace.wait(), None);
                pace.spend(1);
            }
            // Not saved up beyond the burst.
            tokio::time::sleep(EVERY * 1000).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_spent_beyond_the_pace_is_waited_for_afterwards() {
        let mut pace = Pace::new(5, EVERY);
        pace.spend(65);
        assert_eq!(pace.wait(), Some(Instant::now() + EVERY * 61));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_a_rest_however_quiet_it_was_before() {
        let mut pace = Pace::new(5, EVERY);
        tokio::time::sleep(EVERY * 1000).await;
        let until = Instant::now() + EVERY * 7;
        pace.rest_until(until);
        assert_eq!(pace.wait(), Some(until));
        tokio::time::sleep_until(until).await;
        for _ in 0..5 {
            assert_eq!(pace.wait(), None, "and no more than a rest");
            pace.spend(1);
        }
    }
}
