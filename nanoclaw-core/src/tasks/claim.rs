//! Which due times are claimed when a task is due: the one whose time has come, and those that passed while nobody looked.

use std::time::Duration;

use super::{CatchUp, Claim, FiringState, NewFiring, Overlap, Task};
use crate::time::Timestamp;

/// The most missed times that a task is run for.
pub const MOST_CAUGHT_UP: usize = 10;
/// A time that passed so long ago was missed; before that the host was merely slow.
pub const LATE: Duration = Duration::from_secs(60);

/// What is claimed of a task that is due at `next_due`, at the time `now`; `None` when it is not due yet. However many times
/// were missed, this looks at a few.
#[must_use]
pub fn claim_of(task: &Task, now: Timestamp) -> Option<Claim> {
    let due = task.next_due.filter(|due| *due <= now)?;
    let last_by = |by| task.schedule.last_by(task.anchor, by, &task.zone).filter(|last| *last > due);
    // The schedule may know of none: the time was given by hand, or was changed since.
    let last = last_by(now).unwrap_or(due);
    let missed = last.plus(LATE) < now;
    let stands_for_more = (last > due).then(|| STANDS_FOR_MORE.to_owned());
    let (firings, overlap) = match task.terms.catch_up {
        CatchUp::Skip if missed => {
            let remark = if last > due { SEVERAL_MISSED } else { MISSED };
            let skipped = NewFiring { due: last, state: FiringState::Skipped, remark: Some(remark.to_owned()) };
            (vec![skipped], task.terms.overlap)
        }
        CatchUp::Skip | CatchUp::Once => (vec![fired(last, stands_for_more)], task.terms.overlap),
        CatchUp::All => {
            let mut times = vec![last];
            while times.len() <= MOST_CAUGHT_UP
                && let Some(earliest) = times.last().filter(|earliest| **earliest > due)
            {
                times.push(last_by(earliest.minus(Duration::from_millis(1))).unwrap_or(due));
            }
            let more = times.len() > MOST_CAUGHT_UP;
            times.truncate(MOST_CAUGHT_UP);
            let overlap = if times.len() > 1 { Overlap::Queue } else { task.terms.overlap };
            let mut firings: Vec<_> = times.into_iter().rev().map(|time| fired(time, None)).collect();
            if let (Some(first), true) = (firings.first_mut(), more) {
                first.remark = Some(STANDS_FOR_MORE.to_owned());
            }
            // Each waits for its turn, whatever is done about times that come too early.
            (firings, overlap)
        }
    };
    Some(Claim { task: task.id.clone(), due, firings, overlap, next_due: task.next_after(now) })
}

const STANDS_FOR_MORE: &str = "it stands for earlier times as well, which passed before a host came to them";
const MISSED: &str = "this time passed while no host was running";
const SEVERAL_MISSED: &str = "this time and earlier ones passed while no host was running";

impl Task {
    /// When it is due next after `after`, by its schedule; `None` when it is not due again.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next_from(self.anchor, after, &self.zone)
    }
}

fn fired(due: Timestamp, remark: Option<String>) -> NewFiring {
    NewFiring { due, state: FiringState::Waiting, remark }
}

#[cfg(test)]
mod tests;
