use nanoclaw_core::{chat::ChatId, group::GroupFolder, time::Timestamp};

use super::*;
use crate::health::Health;

const NOW: Timestamp = Timestamp::from_ms(1_700_000_000_000);
const GIB: u64 = 1 << 30;

fn ago(seconds: u64) -> Timestamp {
    NOW.minus(Duration::from_secs(seconds))
}

fn group(folder: &str) -> GroupFolder {
    GroupFolder::new(folder).unwrap()
}

/// Everything as it should be.
fn well() -> Facts {
    Facts {
        at: NOW,
        dispatcher: Answer::Yes,
        store: StoreFact { last_commit: Some(ago(5)), ..StoreFact::default() },
        disk: Ok(Disk { free_bytes: 40 * GIB, total_bytes: 64 * GIB, free_files: Some(1_000_000) }),
        runtime: None,
        channels: vec![channel_that("slack", ChannelState::Connected { since: ago(60) }, None)],
        without_channel: Vec::new(),
        outbox: Ok(OutboxFact::default()),
        next_task_due: Ok(Some(NOW.plus(Duration::from_secs(60)))),
        troubled: Vec::new(),
        credential_age: None,
        credentials_problem: None,
    }
}

fn channel_that(name: &str, state: ChannelState, away: Option<u64>) -> ChannelFact {
    ChannelFact { name: name.to_owned(), state, away_since: away.map(ago) }
}

fn lost(away: u64) -> Vec<ChannelFact> {
    let reason = "connection refused".to_owned();
    vec![channel_that("slack", ChannelState::Waiting { reason, next_try: None }, Some(away))]
}

fn waiting(seconds: u64) -> Result<OutboxFact, String> {
    let chat = ChatId::new("slack:C1").unwrap();
    let oldest = Waiting { chat, since: ago(seconds), last_error: Some("try again".to_owned()) };
    Ok(OutboxFact { oldest: Some(oldest), ..OutboxFact::default() })
}

fn disk_with(free_bytes: u64, free_files: Option<u64>) -> Result<Disk, String> {
    Ok(Disk { free_bytes, total_bytes: 64 * GIB, free_files })
}

#[test]
fn a_service_that_does_its_work_is_ok() {
    let report = judge(&well(), &Thresholds::default());
    assert_eq!((report.status, report.unwell()), (Health::Ok, Vec::new()));
    let names: Vec<_> = report.checks.iter().map(|check| check.name.as_str()).collect();
    let all = ["dispatcher", "store", "disk", "runtime", "channel", "groups", "outbox", "tasks", "credentials"];
    assert_eq!(names, all);
}

#[test]
fn each_trouble_turns_its_check_and_the_whole_with_its_reason() {
    use Health::{Degraded, Failing, Ok as Well};
    type Change = fn(&mut Facts);
    let cases: &[(&str, Health, &str, Change)] = &[
        ("dispatcher", Failing, "did not answer within 5s", |f| {
            f.dispatcher = Answer::NotWithin(Duration::from_secs(5));
        }),
        ("dispatcher", Failing, "it has ended", |f| f.dispatcher = Answer::Ended),
        ("store", Failing, "the disk is full", |f| f.store.failing = Some("the disk is full".to_owned())),
        ("store", Failing, "a commit is under way for 31s", |f| {
            f.store.committing_for = Some(Duration::from_secs(31));
        }),
        ("store", Well, "", |f| f.store.committing_for = Some(Duration::from_secs(3))),
        ("store", Well, "", |f| f.store.last_commit = None),
        ("disk", Failing, "63.0 MiB of 64.0 GiB are free, less than 64.0 MiB", |f| f.disk = disk_with(63 << 20, None)),
        ("disk", Degraded, "which is little", |f| f.disk = disk_with(255 << 20, None)),
        ("disk", Failing, "only 12 more files", |f| f.disk = disk_with(40 * GIB, Some(12))),
        ("disk", Failing, "no such folder", |f| f.disk = Err("no such folder".to_owned())),
        ("runtime", Failing, "it does not answer, for 2m: the socket is gone", |f| {
            let (reason, help) = ("the socket is gone".to_owned(), "start it".to_owned());
            f.runtime = Some(RuntimeFact { reason, help, since: Some(ago(120)) });
        }),
        ("channel", Degraded, "not connected for 4m 59s: connection refused", |f| f.channels = lost(299)),
        ("channel", Failing, "not connected for 5m: connection refused", |f| f.channels = lost(300)),
        ("channel", Failing, "not connected for 2h: connection refused", |f| f.channels = lost(7210)),
        ("channel", Failing, "it is refused: invalid_auth", |f| {
            let (reason, remedy) = ("invalid_auth".to_owned(), "a new token".to_owned());
            f.channels = vec![channel_that("slack", ChannelState::Refused { reason, remedy }, Some(1))];
        }),
        ("channel", Degraded, "not connected for 0s", |f| {
            f.channels = vec![channel_that("slack", ChannelState::Connecting, Some(0))];
        }),
        ("groups", Degraded, "no channel carries the chat of a, b, c and 1 more", |f| {
            f.without_channel = ["a", "b", "c", "d"].map(group).to_vec();
        }),
        ("groups", Degraded, "family cannot be answered just now (login)", |f| {
            f.troubled = vec![(group("family"), Trouble::Login)];
        }),
        ("groups", Well, "", |f| f.troubled = vec![(group("family"), Trouble::Preparing)]),
        ("outbox", Well, "", |f| f.outbox = waiting(599)),
        ("outbox", Failing, "slack:C1 waits for 10m to be sent; the last try: try again", |f| f.outbox = waiting(600)),
        ("outbox", Degraded, "1 message was not sent, or perhaps not, 2 turns were set aside", |f| {
            f.outbox = Ok(OutboxFact { oldest: None, in_trouble: 1, set_aside: 2 });
        }),
        ("outbox", Failing, "cannot be read: damaged", |f| f.outbox = Err("damaged".to_owned())),
        ("tasks", Failing, "a task is due for 3m", |f| f.next_task_due = Ok(Some(ago(180)))),
        ("tasks", Well, "", |f| f.next_task_due = Ok(Some(ago(60)))),
        ("tasks", Well, "", |f| f.next_task_due = Ok(None)),
        ("tasks", Failing, "cannot be read: damaged", |f| f.next_task_due = Err("damaged".to_owned())),
        ("credentials", Degraded, "ends on 2026-12-20", |f| {
            f.credential_age = Some(("a token ends on 2026-12-20".to_owned(), "make a new one"));
        }),
        ("credentials", Degraded, "not UTF-8", |f| f.credentials_problem = Some("line 2 is not UTF-8".to_owned())),
    ];
    for (name, status, reason, change) in cases {
        let mut facts = well();
        change(&mut facts);
        let report = judge(&facts, &Thresholds::default());
        assert_eq!(report.status, *status, "{name}: {report:#?}");
        let unwell = report.unwell();
        if *status == Well {
            assert!(unwell.is_empty(), "{name}: {unwell:#?}");
            continue;
        }
        assert_eq!(unwell.len(), 1, "{name}: {unwell:#?}");
        assert_eq!(unwell[0].name, *name);
        let told = unwell[0].reason.clone().unwrap_or_default();
        assert!(told.contains(reason), "{name} says {told:?} and not {reason:?}");
        assert!(unwell[0].help.is_some(), "{name} says what to do");
    }
}

#[test]
fn what_the_model_says_of_the_credential_counts_as_well() {
    for (outcome, status) in [
        (CheckOutcome::Taken, Health::Ok),
        (CheckOutcome::CannotTell, Health::Degraded),
        (CheckOutcome::Refused, Health::Failing),
    ] {
        let said = CredentialCheck { outcome, detail: "its word".to_owned() };
        let report = judge(&well(), &Thresholds::default()).with_credential(Some(&said));
        let last = report.checks.last().unwrap();
        assert_eq!(
            (report.status, last.name.as_str(), last.reason.as_deref()),
            (status, "credential", Some("its word"))
        );
    }
    let unasked = judge(&well(), &Thresholds::default());
    assert_eq!(unasked.clone().with_credential(None), unasked);
}

#[test]
fn the_worst_check_decides_and_is_shown_first() {
    let mut facts = well();
    facts.troubled = vec![(group("family"), Trouble::Quota)];
    facts.dispatcher = Answer::Ended;
    let report = judge(&facts, &Thresholds::default());
    let names: Vec<_> = report.unwell().iter().map(|check| check.name.clone()).collect();
    assert_eq!((report.status, names), (Health::Failing, vec!["dispatcher".to_owned(), "groups".to_owned()]));
}

#[test]
fn what_is_allowed_is_the_operators_choice() {
    let mut facts = well();
    (facts.channels, facts.outbox) = (lost(20), waiting(20));
    let strict =
        Thresholds { channel_away: Duration::from_secs(20), outbox_age: Duration::from_secs(20), free_space: 64 * GIB };
    let report = judge(&facts, &strict);
    let failing: Vec<_> = report.unwell().iter().map(|check| check.name.clone()).collect();
    assert_eq!(failing, ["disk", "channel", "outbox"]);
    assert_eq!(judge(&facts, &Thresholds::default()).status, Health::Degraded, "of the channel alone");
}
