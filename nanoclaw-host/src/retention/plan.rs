//! What goes, and why. A table of rules without clock and I/O.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use nanoclaw_core::{group::GroupFolder, time::Timestamp};

use super::{
    Rules,
    facts::{Attachment, Facts, GroupFact, KeptFor, LastRun, RunLog},
};
use crate::config::show_duration;

/// What kind of thing goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The log of a run.
    RunLogs,
    /// The record of runs, with their turns and blocks.
    Runs,
    /// The record of tasks' due times.
    Firings,
    /// What was kept for a group that was removed.
    RemovedGroups,
    /// Files that came with messages.
    Attachments,
}

impl Kind {
    /// The key of `[retention]` that it goes by, which is also the word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RunLogs => "run_logs",
            Self::Runs => "runs",
            Self::Firings => "firings",
            Self::RemovedGroups => "removed_groups",
            Self::Attachments => "attachments",
        }
    }
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Going {
    /// Of which kind.
    pub kind: Kind,
    /// Whose it is.
    pub group: GroupFolder,
    /// What it is.
    pub target: Target,
    /// How much it takes.
    pub bytes: u64,
    /// Why it goes, a sentence fragment.
    pub why: String,
}

/// What is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file of the host's.
    File(PathBuf),
    /// A folder of the host's with all that is in it.
    Folder(PathBuf),
    /// A file of this name among those that came with messages.
    Attachment(String),
}

/// What of the files goes by these rules.
#[must_use]
pub fn plan(facts: &Facts, rules: &Rules) -> Vec<Going> {
    let logs = facts.logs.iter().filter_map(|log| run_log(log, facts, rules));
    let removed = facts.kept_for.iter().filter_map(|kept| removed_group(kept, facts, rules));
    let attachments = facts.attachments.iter().filter_map(|file| attachment(file, facts, rules));
    logs.chain(removed).chain(attachments).collect()
}

fn run_log(log: &RunLog, facts: &Facts, rules: &Rules) -> Option<Going> {
    let limit = rules.run_logs?;
    // Of one that the host did not name nobody knows what it is.
    let run = log.run?;
    let open = facts.groups.get(&log.group).and_then(|group| group.open_run);
    let over = open != Some(run) && facts.last_runs.get(&log.group).is_none_or(|last| last.ended_at.is_some());
    (over && is_older(log.changed, limit, facts.at)).then(|| Going {
        kind: Kind::RunLogs,
        group: log.group.clone(),
        target: Target::File(log.path.clone()),
        bytes: log.bytes,
        why: format!("written to last more than {} ago", show_duration(limit)),
    })
}

fn removed_group(kept: &KeptFor, facts: &Facts, rules: &Rules) -> Option<Going> {
    let limit = rules.removed_groups?;
    let KeptFor { group, path, bytes } = kept;
    // A folder without any run is not one that this host has made for a group.
    let LastRun { ended_at, removed_at } = facts.last_runs.get(group)?;
    let gone = ended_at.is_some() && !facts.groups.contains_key(group) && !facts.configured.contains(group);
    (gone && is_older((*removed_at)?, limit, facts.at)).then(|| Going {
        kind: Kind::RemovedGroups,
        group: group.clone(),
        target: Target::Folder(path.clone()),
        bytes: *bytes,
        why: format!("of a group that was removed more than {} ago", show_duration(limit)),
    })
}

fn attachment(file: &Attachment, facts: &Facts, rules: &Rules) -> Option<Going> {
    let limit = rules.attachments?;
    // One that the host did not put there is the agent's own.
    let message = file.message?;
    let GroupFact { answered_through, set_aside, .. } = facts.groups.get(&file.group)?;
    let needed =
        message > *answered_through || set_aside.iter().any(|handed| handed.first <= message && message <= handed.last);
    (!needed && is_older(file.changed, limit, facts.at)).then(|| Going {
        kind: Kind::Attachments,
        group: file.group.clone(),
        target: Target::Attachment(file.name.clone()),
        bytes: file.bytes,
        why: format!("came with a message that is answered, more than {} ago", show_duration(limit)),
    })
}

/// Whether more than `limit` lies between; what is of the future is not old.
fn is_older(at: Timestamp, limit: Duration, now: Timestamp) -> bool {
    at.plus(limit) < now
}

/// Whether anything may ever be removed at this place of a home, relative to it: logs of runs, and what is kept in `store/` for one
/// group. All else is protected, whatever a plan says.
#[must_use]
pub fn is_disposable(place: &Path) -> bool {
    let names: Option<Vec<&str>> = place
        .components()
        .map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    match names.as_deref() {
        Some(["store", "logs", group, file]) => GroupFolder::new(*group).is_ok() && file.ends_with(".log"),
        Some(["store", "logs" | "sessions" | "overlays" | "ipc" | "gateway", group]) => {
            GroupFolder::new(*group).is_ok() && !group.ends_with(".log")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nanoclaw_core::{
        message::Seq,
        run::{Handed, RunNumber},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn folder(name: &str) -> GroupFolder {
        GroupFolder::new(name).unwrap()
    }

    /// The group `family`, at work in its run 7; `gone` was removed; `stranger` never ran.
    fn facts() -> Facts {
        let family = GroupFact {
            answered_through: Seq(10),
            set_aside: vec![Handed { first: Seq(3), last: Seq(4) }],
            open_run: Some(RunNumber(7)),
        };
        Facts {
            at: NOW,
            groups: BTreeMap::from([(folder("family"), family)]),
            configured: Vec::new(),
            last_runs: BTreeMap::from([(
                folder("gone"),
                LastRun { ended_at: Some(NOW.minus(300 * DAY)), removed_at: Some(NOW.minus(91 * DAY)) },
            )]),
            logs: Vec::new(),
            kept_for: Vec::new(),
            attachments: Vec::new(),
        }
    }

    fn all() -> Rules {
        Rules { attachments: Some(30 * DAY), ..Rules::default() }
    }

    #[test]
    fn logs_go_by_age_and_never_that_of_a_run_that_is_open_or_one_that_is_not_the_hosts() {
        let log = |run: Option<u32>, days: u32| RunLog {
            group: folder("family"),
            run: run.map(RunNumber),
            path: format!("/h/{run:?}-{days}").into(),
            bytes: 5,
            changed: NOW.minus(days * DAY),
        };
        let facts =
            Facts { logs: vec![log(Some(1), 91), log(Some(2), 89), log(Some(7), 200), log(None, 500)], ..facts() };
        let going = plan(&facts, &all());
        assert_eq!(going.len(), 1, "{going:#?}");
        assert_eq!((&going[0].target, going[0].bytes), (&Target::File("/h/Some(1)-91".into()), 5));
        assert_eq!(plan(&facts, &Rules { run_logs: None, ..all() }), []);
    }

    #[test]
    fn what_was_kept_for_a_removed_group_goes_and_nothing_of_one_that_is_there_or_never_ran() {
        let kept = |group: &str| KeptFor { group: folder(group), path: format!("/h/{group}").into(), bytes: 1 };
        let facts = Facts { kept_for: ["family", "gone", "stranger"].map(kept).to_vec(), ..facts() };
        let going = plan(&facts, &all());
        assert_eq!(going.iter().map(|one| one.group.as_str()).collect::<Vec<_>>(), ["gone"]);
        let configured = Facts { configured: vec![folder("gone")], ..facts.clone() };
        assert_eq!(plan(&configured, &all()), [], "somebody means to have it again");
        let (long_ago, lately) = (Some(NOW.minus(300 * DAY)), Some(NOW.minus(89 * DAY)));
        for (ended_at, removed_at) in [(None, long_ago), (long_ago, lately), (long_ago, None)] {
            let last_runs = BTreeMap::from([(folder("gone"), LastRun { ended_at, removed_at })]);
            assert_eq!(plan(&Facts { last_runs, ..facts.clone() }, &all()), []);
        }
    }

    #[test]
    fn files_of_messages_go_only_when_asked_for_and_none_that_a_message_may_need() {
        let file = |message: Option<i64>, days: u32| Attachment {
            group: folder("family"),
            name: format!("{message:?}"),
            message: message.map(Seq),
            bytes: 1,
            changed: NOW.minus(days * DAY),
        };
        let attachments =
            vec![file(Some(1), 31), file(Some(2), 29), file(Some(3), 99), file(Some(11), 99), file(None, 99)];
        let facts = Facts { attachments, ..facts() };
        let names: Vec<Target> = plan(&facts, &all()).into_iter().map(|one| one.target).collect();
        assert_eq!(names, [Target::Attachment("Some(1)".to_owned())]);
        assert_eq!(plan(&facts, &Rules::default()), [], "by default they stay for ever");
    }

    #[test]
    fn critical_state_is_protected_whatever_a_plan_says() {
        for place in
            ["store/logs/family/0000000001.log", "store/sessions/gone", "store/ipc/gone", "store/overlays/gone"]
        {
            assert!(is_disposable(Path::new(place)), "{place}");
        }
        for place in [
            "nanoclaw.toml",
            "groups",
            "groups/family",
            "groups/family/CLAUDE.md",
            "skills/x",
            "store",
            "store/nanoclaw.db",
            "store/nanoclaw.db-wal",
            "store/auth",
            "store/auth/telegram.db",
            "store/files/in",
            "store/sessions",
            "backups/x",
            "store/logs/nanoclaw.log",
            "store/sessions/../auth",
            "/etc/passwd",
            "store/sessions/family/.claude",
            "",
        ] {
            assert!(!is_disposable(Path::new(place)), "{place}");
        }
    }
}
