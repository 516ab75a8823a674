//! Whether the agent still lives: its signs of life, and their absence.
//!
//! Nothing is expected of an agent until it has given its first sign (v1's never does). From then on it must go on giving
//! them. A file that an earlier run left says nothing (fault F39): only one that has changed since is a sign.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::live::Live;
use crate::{
    mailbox::{FileMark, Folder, FolderWatch},
    orchestrator::event::{RunWord, StopReason},
    protocol::alive::BEAT_FILE,
    run::Retry,
};

/// At most this often the file is looked at, however often the folder changes: a flood of files costs the host no more.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// How late a timer may be before it says more about this machine than about the agent.
const LATE: Duration = Duration::from_secs(1);

/// The watch over one agent's signs of life.
pub(super) struct Beats {
    watch: FolderWatch,
    limit: Duration,
    /// The file as it was last seen.
    seen: Option<FileMark>,
    /// Until when the next sign must have come; `None` before the first.
    deadline: Option<Instant>,
    /// When the folder may be looked at again.
    rested_at: Instant,
}

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The first sign of life.
    First,
    /// No sign of life for as long as the limit.
    Silence,
}

impl Beats {
    /// Watches by `watch`, which is on the mailbox's `alive/`. What lies there already is a sign of the run that is watched.
    pub(super) fn new(watch: FolderWatch, limit: Duration) -> Self {
        Self { watch, limit, seen: None, deadline: None, rested_at: Instant::now() }
    }

    /// For a run whose container is yet to start: what lies there is another's.
    pub(super) fn after_earlier_run(mut self, alive: &Folder) -> Self {
        self.changed_since(alive);
        self
    }

    /// Whether the agent has given a sign.
    pub(super) fn given(&self) -> bool {
        self.deadline.is_some()
    }

    /// How long an agent may go without a sign.
    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Waits until there is something to tell. Cancel-safe.
    pub(super) async fn heard(&mut self, alive: &Folder) -> Heard {
        loop {
            let Self { watch, deadline, rested_at, .. } = self;
            let (deadline, rested_at) = (*deadline, *rested_at);
            let changed = async {
                sleep_until(rested_at).await;
                watch.changed().await;
            };
            tokio::select! {
                biased;
                () = changed => {
                    self.rested_at = Instant::now() + LOOK_PAUSE;
                    if self.changed_since(alive) && self.alive_until_later() {
                        return Heard::First;
                    }
                }
                () = async { sleep_until(deadline.expect("guarded")).await }, if deadline.is_some() => {
                    // The time is over, but it may have been ours that stood still: whoever holds this loop up (a machine
                    // asleep, a store that tries again) may have kept the news from being read, and the agent from
                    // writing, whose output waits for us.
                    let late = deadline.is_some_and(|at| at.elapsed() > LATE);
                    if self.changed_since(alive) || late {
                        self.alive_until_later();
                    } else {
                        return Heard::Silence;
                    }
                }
            }
        }
    }

    /// Whether the file is another than when it was last seen.
    fn changed_since(&mut self, alive: &Folder) -> bool {
        let now = alive.mark(BEAT_FILE).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot look for an agent's sign of life");
            self.seen
        });
        let changed = now.is_some() && now != self.seen;
        self.seen = now.or(self.seen);
        changed
    }

    /// Gives the agent its time anew; whether that is for the first time.
    fn alive_until_later(&mut self) -> bool {
        self.deadline.replace(Instant::now() + self.limit).is_none()
    }
}

impl Live<'_> {
    /// Acts on what was heard.
    pub(super) async fn note_beat(&mut self, heard: Heard) {
        match heard {
            Heard::First => self.words.say(RunWord::Beats).await,
            Heard::Silence => {
                let limit = self.beats.limit();
                tracing::warn!(run = %self.id, ?limit, "the agent gives no sign of life any more; its container is stopped");
                let reason = format!("the agent has given no sign of life for {limit:?}");
                self.failure.get_or_insert((reason, Retry::Later));
                self.asked_to_end.get_or_insert(StopReason::Wanted);
            }
        }
    }
}
