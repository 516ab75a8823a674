//! What the end of a run means for the firing that it was at, and for its task.

use std::time::Duration;

use super::{Firing, FiringEnd, FiringState, Task, TaskHealth, TaskSettings, TaskStatus};
use crate::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    run::{Retry, RunEnding, Trouble},
    schedule::shown,
    time::Timestamp,
};

/// The pauses before a firing is tried again: after its first failure, and after any more.
const PAUSES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(5 * 60)];
/// How often the host's own trouble is met before people are told: most of it passes by itself.
const QUIET_TRIES: u32 = 3;
/// How much of a reason and of a prompt people are shown.
const SHOWN: usize = 200;

/// What a run's end means for its firing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// It is run again, after this pause.
    Again {
        /// How long.
        pause: Duration,
        /// Why.
        reason: String,
        /// Whether this counts against it.
        fault: bool,
        /// What has to be mended, when that is so.
        trouble: Option<Trouble>,
    },
    /// It is given up.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What it means for `firing` that its run ended like this. `tries` and `faults` of the firing are those before this run's end.
#[must_use]
pub fn verdict(firing: &Firing, ending: &RunEnding, settings: &TaskSettings) -> Verdict {
    if firing.answered {
        return Verdict::Done;
    }
    let again = |pause, fault, trouble| Verdict::Again { pause, reason: ending.to_string(), fault, trouble };
    let later = |reason: String| match firing.faults.saturating_add(1) < settings.tries {
        true => Verdict::Again { pause: PAUSES[usize::from(firing.faults > 0)], reason, fault: true, trouble: None },
        false => Verdict::Failed { reason },
    };
    match (ending, ending.retry()) {
        (RunEnding::Finished, _) => later("ended without an answer".to_owned()),
        // It may be the reason why the host ended.
        (RunEnding::HostEnded, _) => match later(ending.to_string()) {
            Verdict::Again { reason, .. } => {
                Verdict::Again { pause: Duration::ZERO, reason, fault: true, trouble: None }
            }
            failed => failed,
        },
        (_, None) => again(Duration::ZERO, false, None),
        (_, Some(Retry::Never)) => Verdict::Failed { reason: ending.to_string() },
        (_, Some(Retry::Later)) => later(ending.to_string()),
        (_, Some(Retry::WhenMended { trouble, after })) => {
            again(after.unwrap_or_else(|| pause_of(trouble, firing.tries)), false, Some(trouble))
        }
    }
}

/// How long a trouble is waited for that was met by `tries` runs.
fn pause_of(trouble: Trouble, tries: u32) -> Duration {
    match trouble {
        Trouble::Host | Trouble::Preparing => Duration::from_secs(5 << tries.saturating_sub(1).min(6)),
        Trouble::Quota => Duration::from_secs(15 * 60),
        Trouble::Login | Trouble::Setup => Duration::from_secs(10 * 60),
    }
}

/// The same with all that follows: how the task is now, and what the people of its `chat` are told. They are told once of what
/// goes wrong, until it goes well again, and once more when the task is put to rest.
#[must_use]
pub fn end_of(
    task: &Task,
    firing: &Firing,
    verdict: Verdict,
    chat: &ChatId,
    settings: &TaskSettings,
    now: Timestamp,
) -> FiringEnd {
    let end = |state, health| FiringEnd {
        firing: firing.id,
        state,
        not_before: None,
        fault: false,
        remark: None,
        health,
        pause: None,
        notice: None,
    };
    let TaskHealth { failures, wrong_since } = task.health;
    let wrong = TaskHealth { failures, wrong_since: wrong_since.or(Some(firing.due)) };
    let first = wrong_since.is_none();
    match verdict {
        Verdict::Done => end(FiringState::Done, TaskHealth::default()),
        // Nothing that waits is left when a task is put to rest, nor after that.
        Verdict::Again { reason, .. } if task.status == TaskStatus::Paused => {
            left_out(task, firing, &format!("its run {reason}, and the task rests"))
        }
        Verdict::Again { pause, reason, fault, trouble } => {
            let told = match trouble {
                Some(Trouble::Login | Trouble::Quota | Trouble::Setup) => true,
                Some(Trouble::Host) => firing.tries >= QUIET_TRIES,
                Some(Trouble::Preparing) | None => false,
            };
            let at = now.plus(pause);
            let words = || {
                format!(
                    "The task “{}” could not be done: its run {}.\n\nIt is tried again at {}, and from then on until it can be.",
                    short(&task.prompt),
                    short(&reason),
                    shown(at, &task.zone)
                )
            };
            FiringEnd {
                not_before: Some(at),
                fault,
                notice: (told && first).then(|| notice(task, chat, "wrong", wrong.wrong_since, words())),
                remark: Some(reason),
                ..end(FiringState::Waiting, if told { wrong } else { task.health })
            }
        }
        Verdict::Failed { reason } => {
            let health = TaskHealth { failures: failures.saturating_add(1), ..wrong };
            let rests = health.failures >= settings.failures_before_rest && task.next_due.is_some();
            let name = short(&task.prompt);
            let (what, words) = if rests {
                let words = format!(
                    "The task “{name}” failed {} times in a row and rests now. The last time its run {}.\n\nTo have it go on, ask me to \
                     resume the task {id}, or say `nanoclaw tasks resume {id}` on the machine that I run on; `nanoclaw tasks log {id}` \
                     shows how its runs went.",
                    health.failures,
                    short(&reason),
                    id = task.id,
                );
                ("rests", words)
            } else {
                let next = match task.next_due {
                    Some(next) => format!(
                        "It is due again at {}. You are not told again until it has gone well once.",
                        shown(next, &task.zone)
                    ),
                    None => format!("It is not due again; `nanoclaw tasks run {}` tries it once more.", task.id),
                };
                ("wrong", format!("The task “{name}” failed: its run {}.\n\n{next}", short(&reason)))
            };
            FiringEnd {
                fault: true,
                pause: rests
                    .then(|| format!("it failed {} times in a row; the last time its run {reason}", health.failures)),
                notice: (first || rests).then(|| notice(task, chat, what, health.wrong_since, words)),
                remark: Some(reason),
                ..end(FiringState::Failed, health)
            }
        }
    }
}

/// The end of a firing whose run is over and which is not tried again, for this reason: it is left out, unless it was answered.
/// Nobody is told.
#[must_use]
pub fn left_out(task: &Task, firing: &Firing, why: &str) -> FiringEnd {
    let (state, remark, health) = match firing.answered {
        true => (FiringState::Done, None, TaskHealth::default()),
        false => (FiringState::Skipped, Some(why.to_owned()), task.health),
    };
    FiringEnd { firing: firing.id, state, not_before: None, fault: false, remark, health, pause: None, notice: None }
}

fn notice(task: &Task, chat: &ChatId, what: &str, since: Option<Timestamp>, text: String) -> NewDelivery {
    let since = since.map_or(0, Timestamp::as_ms);
    let key = DeliveryKey::alert(format!("task/{what}/{since}/{}", task.id));
    NewDelivery { key, chat: chat.clone(), text, file: None, answers: None }
}

/// The beginning of it, on one line.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(['“', '”'], "\"");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests;
