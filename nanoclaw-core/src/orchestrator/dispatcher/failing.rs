//! What the end of a run means for what it had not answered: tried again, set aside, or kept until a trouble is over.

use std::time::Duration;

use tokio::time::Instant;

use super::{Dispatcher, entry::State};
use crate::{
    group::GroupFolder,
    message::Seq,
    orchestrator::{
        event::{Action, StopReason, Tell},
        retry::run_retry_delay,
    },
    run::{Retry, RunEnding, RunId, RunKind, RunNumber, Trouble},
};

/// How often in a row the host's own trouble is met before people are told: most of it passes by itself.
const QUIET_TRIES: u32 = 3;

impl Dispatcher {
    pub(super) fn ended(&mut self, run: &RunId, ending: &RunEnding, now: Instant, actions: &mut Vec<Action>) {
        let group = &run.group;
        let entry = self.groups.get_mut(group).expect("run_says has just looked the group up");
        let was_task = matches!(entry.state.kind(), RunKind::Task(_));
        let handed = entry.handed;
        entry.handed = entry.answered;
        (entry.feeding, entry.last_turn) = (false, false);
        if entry.removed {
            self.enter(group, State::Idle, None, now);
            return self.forget(group);
        }
        // A task's failure is the scheduler's affair; it says nothing about the chat.
        let owes = entry.newest > entry.answered;
        let Some(retry) = ending.retry().filter(|_| owes && !was_task) else {
            return self.rest_or_wait(group, now);
        };
        match retry {
            Retry::WhenMended { trouble, after } => self.pause(run, trouble, after, ending, now, actions),
            Retry::Later | Retry::Never => {
                entry.failures += 1;
                let alone = entry.careful();
                if !alone && (retry == Retry::Never || entry.failures >= self.settings.single_after) {
                    entry.careful_through = entry.newest;
                }
                if retry == Retry::Never && !alone {
                    // One of several messages may be the one that is refused: each is tried alone before any is set aside.
                    let retry_in = run_retry_delay(1, group);
                    actions.push(Action::ReportFailure { group: group.clone(), reason: ending.to_string(), retry_in });
                    self.enter(group, State::BackingOff, Some(now + retry_in), now);
                } else if retry == Retry::Never || entry.failures >= self.settings.max_failures {
                    // What the failed run had in its hands; when it never got that far, everything that waits.
                    let through = if handed > entry.answered { handed } else { entry.newest };
                    actions.push(Action::GiveUp { group: group.clone(), through, reason: ending.to_string() });
                    // Should giving up itself fail (a full disk), the messages are simply tried again after the longest
                    // delay.
                    self.enter(group, State::BackingOff, Some(now + run_retry_delay(u32::MAX, group)), now);
                } else {
                    let retry_in = run_retry_delay(entry.failures, group);
                    actions.push(Action::ReportFailure { group: group.clone(), reason: ending.to_string(), retry_in });
                    self.enter(group, State::BackingOff, Some(now + retry_in), now);
                }
            }
        }
    }

    /// Keeps what waits until the trouble is over, and says who is to be told of it: each chat and the owner once, until
    /// an answer shows that it is over.
    fn pause(
        &mut self,
        run: &RunId,
        trouble: Trouble,
        after: Option<Duration>,
        ending: &RunEnding,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let group = &run.group;
        let owner_knows = self.groups.values().any(|entry| entry.trouble == Some(trouble) && entry.told);
        let entry = self.groups.get_mut(group).expect("ended has just looked the group up");
        if entry.trouble != Some(trouble) {
            (entry.trouble, entry.troubled, entry.told) = (Some(trouble), 0, false);
        }
        entry.troubled += 1;
        let retry_in = after.unwrap_or_else(|| match trouble {
            Trouble::Host | Trouble::Preparing => run_retry_delay(entry.troubled, group),
            Trouble::Quota => Duration::from_secs(15 * 60),
            Trouble::Login | Trouble::Setup => Duration::from_secs(10 * 60),
        });
        let tell = match trouble {
            _ if entry.told => Tell::Nobody,
            Trouble::Host | Trouble::Preparing if entry.troubled < QUIET_TRIES => Tell::Nobody,
            // Nobody has anything to do about it.
            Trouble::Preparing => Tell::Chat,
            _ if owner_knows => Tell::Chat,
            _ => Tell::ChatAndOwner,
        };
        entry.told |= tell != Tell::Nobody;
        let reason = match ending {
            // It is told in the owner's chat, where nobody shall take an agent's words for the host's. What is left of quotes
            // in it ends no quote.
            RunEnding::Failed { reason, .. } => {
                format!("failed; in its agent's own words: “{}”", reason.replace(['“', '”'], "\""))
            }
            other => other.to_string(),
        };
        actions.push(Action::Paused { run: run.clone(), trouble, reason, retry_in, tell });
        self.enter(group, State::Paused, Some(now + retry_in), now);
    }

    /// One group had an answer: whoever waits for the end of the same trouble need not wait any more.
    pub(super) fn mended(&mut self, trouble: Trouble, now: Instant) {
        let waiting: Vec<GroupFolder> = self
            .groups
            .iter()
            .filter(|(_, entry)| entry.state == State::Paused && entry.trouble == Some(trouble))
            .map(|(group, _)| group.clone())
            .collect();
        for group in waiting {
            self.rest_or_wait(&group, now);
        }
    }

    pub(super) fn try_now(&mut self, only: Option<&GroupFolder>, now: Instant) {
        let waiting: Vec<GroupFolder> = self
            .groups
            .iter()
            .filter(|(group, _)| only.is_none_or(|only| only == *group))
            .filter(|(_, entry)| matches!(entry.state, State::Paused | State::BackingOff))
            .map(|(group, _)| group.clone())
            .collect();
        for group in waiting {
            self.rest_or_wait(&group, now);
        }
    }

    /// The group's live run answers what it has and gets no more.
    pub(super) fn session_ended(&mut self, group: &GroupFolder, now: Instant, actions: &mut Vec<Action>) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        match &entry.state {
            // Cheaper than to find out what it knows.
            state if state.stands_by() => self.stop(group, StopReason::Wanted, now, actions),
            State::Starting { kind: RunKind::Chat } | State::Busy { kind: RunKind::Chat } | State::Resting => {
                entry.last_turn = true;
            }
            _ => {}
        }
    }

    /// The group's messages up to `through` are given up, and so is the run that had them, or was about to.
    pub(super) fn work_stopped(
        &mut self,
        group: &GroupFolder,
        through: Seq,
        run: Option<RunNumber>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.gave_up(group, through, now);
        let Some(entry) = self.groups.get_mut(group) else { return };
        let stops = match &entry.state {
            State::Starting { kind: RunKind::Chat } | State::Busy { kind: RunKind::Chat } => {
                run.is_none_or(|run| run == entry.last_run)
            }
            State::Resting | State::Preparing | State::Standby => run == Some(entry.last_run),
            _ => false,
        };
        if stops {
            self.stop(group, StopReason::Commanded, now, actions);
        }
    }

    pub(super) fn gave_up(&mut self, group: &GroupFolder, through: Seq, now: Instant) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.answered = entry.answered.max(through);
        entry.handed = entry.handed.max(through);
        entry.failures = 0;
        if matches!(entry.state, State::BackingOff | State::Paused) {
            self.rest_or_wait(group, now);
        }
    }
}
