//! The machine's clock, as the kernel tells of it: a timer that goes off at a time of the day, and when somebody sets the clock.
//! It also goes off at once after a machine has slept past that time.

use std::time::Duration;

use async_trait::async_trait;
use nanoclaw_core::{
    clock::{SteadyClock, WallClock},
    time::Timestamp,
};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::net::unix::pipe::Receiver;

/// How long is waited at most where the kernel gives no timer.
const WITHOUT_TIMER: Duration = Duration::from_secs(60);
/// A time that no host sees: where only a clock that is set is waited for.
const NEVER: i64 = i64::MAX / 2_000_000_000;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl WallClock for SystemClock {
    async fn until(&self, at: Option<Timestamp>) {
        let timer = match timer(at) {
            Ok(timer) => timer,
            Err(error) => {
                tracing::warn!(%error, "cannot have a timer; looking at the clock every minute");
                let look = Timestamp::now().plus(WITHOUT_TIMER);
                return SteadyClock.until(Some(at.map_or(look, |at| at.min(look)))).await;
            }
        };
        if let Err(error) = timer.readable().await {
            tracing::warn!(%error, "cannot wait for a timer; looking at the clock in a minute");
            SteadyClock.until(Some(Timestamp::now().plus(WITHOUT_TIMER))).await;
        }
    }
}

/// A timer that becomes readable at `at`, and when the clock is set.
///
/// It is read like a pipe: tokio's type for pipes takes any descriptor that can be polled, and its type for any descriptor is unsafe.
fn timer(at: Option<Timestamp>) -> std::io::Result<Receiver> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
    // Zero would mean never.
    let ms = at.map_or(NEVER * 1000, Timestamp::as_ms).max(1);
    let it_value = Timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(&timer, flags, &Itimerspec { it_interval, it_value })?;
    Receiver::from_owned_fd_unchecked(timer)
}

#[cfg(test)]
mod tests {
    use rustix::time::{ClockId, clock_gettime, clock_settime};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_waits_until_the_clock_shows_that_time_and_not_for_one_that_has_passed() {
        let at = Timestamp::now().plus(Duration::from_millis(30));
        SystemClock.until(Some(at)).await;
        assert!(Timestamp::now() >= at);
        for passed in [Timestamp::from_ms(0), Timestamp::from_ms(-5), Timestamp::now()] {
            SystemClock.until(Some(passed)).await;
        }
    }

    #[tokio::test]
    async fn with_no_time_to_wait_for_it_waits_until_the_clock_is_set_and_with_one_it_is_woken_then_too() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        for at in [None, Some(Timestamp::now().plus(DAY))] {
            let mut wait = SystemClock.until(at);
            assert!(timeout(Duration::from_millis(30), &mut wait).await.is_err(), "nothing was set");
            // To what it shows: for the kernel a clock is set that goes on by some microseconds less.
            if let Err(error) = clock_settime(ClockId::Realtime, clock_gettime(ClockId::Realtime)) {
                println!("skipped: needs the right to set the machine's clock (root, CAP_SYS_TIME): {error}");
                return;
            }
            timeout(Duration::from_secs(10), wait).await.expect("it is woken when the clock is set");
        }
    }
}
