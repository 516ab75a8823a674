//! What follows from what was found. A table of rules without clock and I/O.
//!
//! *Failing* is what keeps the service from doing its work and does not pass by itself in the time that is allowed; *degraded* is
//! what somebody should know, and what may still pass. One group's trouble is degraded: the others go on.

use std::{collections::BTreeMap, time::Duration};

use nanoclaw_core::run::Trouble;

use super::{
    facts::{Answer, ChannelFact, Disk, Facts, OutboxFact, RuntimeFact, StoreFact, Waiting},
    report::{Check, Report},
};
use crate::{
    admin::types::{CheckOutcome, CredentialCheck},
    channels::status::ChannelState,
    config::{show_duration, show_size_rounded},
};

/// What is allowed before something counts as failing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// How long a channel may be away that connects again by itself.
    pub channel_away: Duration,
    /// How long a message may wait to be sent.
    pub outbox_age: Duration,
    /// Bytes that must be free where the store is. With less than four times as much it is degraded.
    pub free_space: u64,
}

impl Default for Thresholds {
    /// Five minutes, ten minutes, 64 MiB.
    fn default() -> Self {
        Self {
            channel_away: Duration::from_secs(5 * 60),
            outbox_age: Duration::from_secs(10 * 60),
            free_space: 64 << 20,
        }
    }
}

/// How long one commit may take: a disk that is slow takes seconds, one that is gone never answers.
const LONGEST_COMMIT: Duration = Duration::from_secs(30);
/// How late the next task may be: it is claimed in the moment in which it is due.
const LATEST_TASK: Duration = Duration::from_secs(2 * 60);
/// With fewer files to be made the next message with files finds none.
const FEWEST_FILES: u64 = 1000;

/// What follows from `facts`.
#[must_use]
pub fn judge(facts: &Facts, thresholds: &Thresholds) -> Report {
    let mut checks = vec![dispatcher(facts.dispatcher), store(&facts.store)];
    checks.push(disk(&facts.disk, thresholds.free_space));
    checks.push(runtime(facts.runtime.as_ref(), facts));
    checks.extend(facts.channels.iter().map(|one| channel(one, facts, thresholds.channel_away)));
    checks.push(groups(facts));
    checks.push(outbox(&facts.outbox, facts, thresholds.outbox_age));
    checks.push(tasks(facts));
    checks.push(match (&facts.credentials_problem, &facts.credential_age) {
        (None, None) => Check::ok("credentials"),
        (None, Some((told, help))) => Check::degraded("credentials", told, *help),
        (Some(problem), _) => Check::degraded(
            "credentials",
            format!("they could not be read the last time, and those from before are used: {problem}"),
            "`nanoclaw auth reload` reads them again",
        ),
    });
    Report::of(checks, facts.at)
}

fn dispatcher(answer: Answer) -> Check {
    let help = "nothing is started and nobody is answered; restart the service, and keep its log";
    match answer {
        Answer::Yes => Check::ok("dispatcher"),
        Answer::NotWithin(limit) => {
            Check::failing("dispatcher", format!("it did not answer within {}", show_duration(limit)), help)
        }
        Answer::Ended => Check::failing("dispatcher", "it has ended", help),
    }
}

fn store(fact: &StoreFact) -> Check {
    let help = "nothing is lost: what cannot be stored is not acknowledged; `nanoclaw doctor` looks at disk and home";
    match (&fact.failing, fact.committing_for) {
        (Some(reason), _) => Check::failing("store", format!("it cannot be written: {reason}"), help),
        (None, Some(since)) if since >= LONGEST_COMMIT => {
            Check::failing("store", format!("a commit is under way for {}", shown(since)), help)
        }
        (None, _) => Check::ok("store"),
    }
}

/// What follows from the room that there is, where `wanted` bytes must be free.
pub(crate) fn disk(found: &Result<Disk, String>, wanted: u64) -> Check {
    let help = "free some space where the store is; the service goes on by itself";
    let disk = match found {
        Ok(disk) => disk,
        Err(reason) => return Check::failing("disk", format!("nobody can tell its free space: {reason}"), help),
    };
    let size = show_size_rounded;
    let free = format!("{} of {} are free", size(disk.free_bytes), size(disk.total_bytes));
    match disk.free_files {
        _ if disk.free_bytes < wanted => Check::failing("disk", format!("{free}, less than {}", size(wanted)), help),
        Some(files) if files < FEWEST_FILES => Check::failing(
            "disk",
            format!("only {files} more files can be made on it"),
            "remove files where the store is",
        ),
        _ if disk.free_bytes / 4 < wanted => Check::degraded("disk", format!("{free}, which is little"), help),
        _ => Check { reason: Some(free), ..Check::ok("disk") },
    }
}

fn runtime(away: Option<&RuntimeFact>, facts: &Facts) -> Check {
    let Some(RuntimeFact { reason, help, since }) = away else { return Check::ok("runtime") };
    let since = since.map(|since| format!(", for {}", shown(facts.at.since(since)))).unwrap_or_default();
    Check::failing("runtime", format!("it does not answer{since}: {reason}"), help)
}

fn channel(fact: &ChannelFact, facts: &Facts, allowed: Duration) -> Check {
    let check = match &fact.state {
        ChannelState::Refused { reason, remedy } => {
            Check::failing("channel", format!("it is refused: {reason}"), remedy)
        }
        ChannelState::Connected { .. } | ChannelState::Unused { .. } => Check::ok("channel"),
        state => {
            let why = match state {
                ChannelState::Waiting { reason, .. } => format!(": {reason}"),
                ChannelState::Ended => ": it has ended".to_owned(),
                _ => String::new(),
            };
            let away = fact.away_since.map_or(Duration::ZERO, |since| facts.at.since(since));
            let reason = format!("it is not connected for {}{why}", shown(away));
            let help = "it is tried again by itself; `nanoclaw channels` shows when";
            if away >= allowed {
                Check::failing("channel", reason, help)
            } else {
                Check::degraded("channel", reason, help)
            }
        }
    };
    check.of(&fact.name)
}

fn groups(facts: &Facts) -> Check {
    let mut reasons = Vec::new();
    if !facts.without_channel.is_empty() {
        reasons.push(format!("no channel carries the chat of {}", named(facts.without_channel.iter())));
    }
    let mut by_trouble: BTreeMap<Trouble, Vec<_>> = BTreeMap::new();
    // That an image is being made ready is no trouble to anybody but who waits for it.
    for (group, trouble) in facts.troubled.iter().filter(|(_, trouble)| *trouble != Trouble::Preparing) {
        by_trouble.entry(*trouble).or_default().push(group);
    }
    for (trouble, groups) in by_trouble {
        reasons.push(format!("{} cannot be answered just now ({trouble})", named(groups.into_iter())));
    }
    if reasons.is_empty() {
        return Check::ok("groups");
    }
    Check::degraded("groups", reasons.join("; "), "`nanoclaw ps` and `nanoclaw turns list` show what waits, and why")
}

/// The first three of them, and how many more there are.
fn named<T: std::fmt::Display>(all: impl ExactSizeIterator<Item = T>) -> String {
    const SHOWN: usize = 3;
    let more = all.len().saturating_sub(SHOWN);
    let first: Vec<String> = all.take(SHOWN).map(|one| one.to_string()).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", first.join(", "))
}

fn outbox(found: &Result<OutboxFact, String>, facts: &Facts, allowed: Duration) -> Check {
    let OutboxFact { oldest, in_trouble, set_aside } = match found {
        Ok(found) => found,
        Err(reason) => {
            return Check::failing(
                "outbox",
                format!("it cannot be read: {reason}"),
                "`nanoclaw doctor` looks at disk and home",
            );
        }
    };
    if let Some(Waiting { chat, since, last_error }) = oldest
        && facts.at.since(*since) >= allowed
    {
        let why = last_error.as_ref().map(|error| format!("; the last try: {error}")).unwrap_or_default();
        let reason = format!("a message to {chat} waits for {} to be sent{why}", shown(facts.at.since(*since)));
        return Check::failing(
            "outbox",
            reason,
            "`nanoclaw outbox list` shows what waits, `nanoclaw channels` how its channel stands",
        );
    }
    let count = |count: u32, one: &str, many: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        more => Some(format!("{more} {many}")),
    };
    let reasons: Vec<String> = [
        count(*in_trouble, "message was not sent, or perhaps not", "messages were not sent, or perhaps not"),
        count(*set_aside, "turn was set aside after its last try", "turns were set aside after their last try"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if reasons.is_empty() {
        return Check::ok("outbox");
    }
    Check::degraded(
        "outbox",
        format!("somebody has to decide: {}", reasons.join(", ")),
        "`nanoclaw outbox list` and `nanoclaw turns list` show them and how to settle them",
    )
}

fn tasks(facts: &Facts) -> Check {
    match &facts.next_task_due {
        Err(reason) => Check::failing(
            "tasks",
            format!("they cannot be read: {reason}"),
            "`nanoclaw doctor` looks at disk and home",
        ),
        Ok(Some(due)) if facts.at.since(*due) >= LATEST_TASK => Check::failing(
            "tasks",
            format!("a task is due for {} and nobody began it", shown(facts.at.since(*due))),
            "restart the service, and keep its log",
        ),
        Ok(_) => Check::ok("tasks"),
    }
}

/// What follows from what the model said of the credential.
pub(super) fn credential(check: &CredentialCheck) -> Check {
    let CredentialCheck { outcome, detail } = check;
    match outcome {
        CheckOutcome::Taken => Check { reason: Some(detail.clone()), ..Check::ok("credential") },
        CheckOutcome::Refused => Check::failing(
            "credential",
            detail,
            "`nanoclaw auth set` stores an API key, `nanoclaw auth setup-token` a subscription's token; it is used at once",
        ),
        CheckOutcome::CannotTell => Check::degraded("credential", detail, "`nanoclaw auth status --check` asks again"),
    }
}

/// A length of time as people want to know it: to the second, and to the minute when it is long.
fn shown(length: Duration) -> String {
    let seconds = length.as_secs();
    let rounded = if seconds >= 3600 { seconds - seconds % 60 } else { seconds };
    show_duration(Duration::from_secs(rounded))
}

#[cfg(test)]
mod tests;
