//! What systemd is told of the service: that it is ready, how it stands, that it lives, that it ends (sd_notify(3)). A service that
//! systemd did not start tells nobody.

use std::{future::Future, time::Duration};

use sd_notify::NotifyState;
use tracing::{debug, warn};

/// A unit's status line is one line; what is longer than this many characters is cut.
const LONGEST_STATUS: usize = 400;

/// Tells that messages are taken, and in a line how things stand.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// Tells that the service ends.
pub(crate) fn ending() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ending: what is due is sent")]);
}

/// Tells, for as long as it is polled, that the service lives, each time that `answers` comes to an end; at once the first time. When it
/// does not come to an end in time, systemd restarts the service. Without a watchdog it waits for ever.
pub(crate) async fn keep_alive<F: Future<Output = bool>>(answers: impl Fn() -> F) {
    match sd_notify::watchdog_enabled() {
        Some(within) => feed(within, answers, || tell(&[NotifyState::Watchdog])).await,
        None => std::future::pending().await,
    }
}

/// Calls `alive` whenever `answers` says so, three times within `within` if it answers at once: sd_watchdog_enabled(3) recommends
/// half of it, and a machine under load is late.
async fn feed<F: Future<Output = bool>>(within: Duration, answers: impl Fn() -> F, alive: impl Fn()) {
    let mut ticks = tokio::time::interval(within / 3);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if answers().await {
            alive();
        } else {
            warn!("the orchestrator's loop has ended: systemd is told nothing more, and restarts the service");
            std::future::pending::<()>().await;
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        debug!(%error, "systemd cannot be told how the service stands");
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_STATUS).collect()
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::pending, time::Duration};

    use tokio::time::{Instant, timeout};

    use super::{feed, one_line};

    const WITHIN: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_answers_is_told_of_in_time_for_as_long_as_it_does() {
        let told = Cell::new(Vec::new());
        let began = Instant::now();
        let note = || {
            let mut all = told.take();
            all.push(began.elapsed().as_secs());
            told.set(all);
        };
        let _ = timeout(Duration::from_secs(70), feed(WITHIN, || async { true }, note)).await;
        assert_eq!(told.take(), [0, 20, 40, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_is_stuck_or_gone_is_not_called_alive() {
        let alive = Cell::new(0);
        let note = || alive.set(alive.get() + 1);
        let left = Cell::new(2);
        let stuck = || async {
            if left.get() == 0 {
                pending::<()>().await;
            }
            left.set(left.get() - 1);
            true
        };
        let _ = timeout(WITHIN * 10, feed(WITHIN, stuck, note)).await;
        assert_eq!(alive.get(), 2);
        let _ = timeout(WITHIN * 10, feed(WITHIN, || async { false }, note)).await;
        assert_eq!(alive.get(), 2, "a loop that has ended is not alive");
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(one_line("a\nb"), "a b");
        assert_eq!(one_line(&"x".repeat(1000)).len(), 400);
    }
}
