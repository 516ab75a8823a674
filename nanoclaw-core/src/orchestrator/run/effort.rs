//! How much of the host's time the files of one agent may take. An agent can see to it that its folders are slow to list and
//! full of what is to be read, answered and cleared away; that is not what this host does all day.

use std::time::Duration;

use tokio::time::Instant;

use super::live::Live;
use crate::pace::Pace;

/// So much at once, which no honest agent takes.
const AT_ONCE: Duration = Duration::from_millis(250);
/// And then a tenth of the time.
const SHARE: u32 = 10;
/// What one piece of work counts as at most: a disk that stands still is not the agent's fault.
const MOST: Duration = Duration::from_millis(25);

/// The time that was spent on one agent's folders, in microseconds.
#[derive(Debug)]
pub(super) struct Effort(Pace);

impl Effort {
    pub(super) fn new() -> Self {
        Self(Pace::new(micros(AT_ONCE), Duration::from_micros(u64::from(SHARE))))
    }

    /// Something took until now from `begun` on.
    pub(super) fn spend_since(&mut self, begun: Instant) {
        self.0.spend(micros(begun.elapsed().min(MOST)));
    }

    /// From when on more may be spent; `None`: now.
    pub(super) fn wait(&self) -> Option<Instant> {
        self.0.wait()
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

impl Live<'_> {
    /// Looks into no folder that the agent writes to before its share of the host's time is paid for.
    pub(super) fn rest_of_effort(&mut self) {
        let Some(at) = self.effort.wait() else { return };
        for watch in [&mut self.output_watch, &mut self.messages_watch, &mut self.tasks_watch] {
            watch.rest_until(at);
        }
        if let Some(more) = &mut self.more_requests_at {
            *more = at.max(*more);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn folders_that_take_long_get_a_tenth_of_the_time_and_a_disk_that_stands_still_costs_an_agent_little() {
        let mut effort = Effort::new();
        let begun = Instant::now();
        let mut worked = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(100) {
            let work = Instant::now();
            tokio::time::sleep(Duration::from_millis(20)).await;
            worked += work.elapsed();
            effort.spend_since(work);
            if let Some(at) = effort.wait() {
                tokio::time::sleep_until(at).await;
            }
        }
        assert!((9.5..11.0).contains(&worked.as_secs_f64()), "{worked:?}");

        tokio::time::sleep(Duration::from_secs(10)).await;
        let outage = Instant::now();
        tokio::time::sleep(Duration::from_secs(1000)).await;
        effort.spend_since(outage);
        assert_eq!(effort.wait(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_honest_agents_files_are_never_waited_with() {
        let mut effort = Effort::new();
        for _ in 0..10_000 {
            let work = Instant::now();
            tokio::time::sleep(Duration::from_millis(3)).await;
            effort.spend_since(work);
            assert_eq!(effort.wait(), None);
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
