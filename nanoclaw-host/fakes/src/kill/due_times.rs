//! What became of the due times of a round's tasks: what the program's record says of each, against what people asked for and
//! what their chats saw. Plain rules, without state.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::chat_service::TaskName;

/// How a firing is remarked that stands for earlier times, which passed while no host was there.
const STANDS_FOR_MORE: [&str; 2] = ["it stands for earlier times", "this time and earlier ones passed"];
/// How one is remarked that was left out because it was missed, or because an earlier one was not done.
const MISSED: [&str; 2] = ["this time passed", "this time and earlier ones passed"];
const OVERLAPPED: &str = "an earlier time of the task was not done yet";
/// How one is remarked that was left out with its task.
const PAUSED: &str = "the task was paused";
/// How one is remarked of which each run died with its host.
const DIED: &str = "ended with the host";
/// Times of an interval that come so shortly before the task was given another time may be no times of it any more.
const REPLACED_WITHIN_MS: i64 = 5000;

/// A task as the people know it who asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Its id, once it is said to be kept; `None` when the program died before it said so, and the task may be kept or not.
    pub(super) id: Option<String>,
    /// The times at which it is due, as they were said: the first, and those to which it was moved.
    pub(super) times: Vec<i64>,
    /// How far its times are apart, when there is more than one.
    pub(super) every_ms: Option<i64>,
    /// The program died when it was asked to move the task: it may have been due at a time that nobody was told.
    pub(super) moved_in_doubt: bool,
    /// The same of the last such wish: the last time that was said may have been replaced.
    pub(super) last_in_doubt: bool,
    /// How often it was said that it runs now, beside its times, and how often that was not said any more.
    pub(super) by_hand: u64,
    pub(super) by_hand_in_doubt: u64,
    /// It is what people have rest, go on, and run now, nobody counts how often.
    pub(super) rests: bool,
}

/// A task as the program lists it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Listed {
    pub(super) id: String,
    pub(super) prompt: String,
    pub(super) status: String,
    pub(super) terms: Terms,
}

/// How it is done.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Terms {
    pub(super) catch_up: String,
    pub(super) overlap: String,
    pub(super) silent: bool,
}

/// What the program's record says of one due time.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Fired {
    pub(super) due_ms: i64,
    pub(super) state: String,
    pub(super) tries: u64,
    pub(super) text: Option<String>,
    pub(super) remark: Option<String>,
}

impl Fired {
    /// Whether something is still to come of it.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "waiting" | "running")
    }

    fn is_remarked(&self, beginnings: &[&str]) -> bool {
        self.remark.as_deref().is_some_and(|remark| beginnings.iter().any(|beginning| remark.starts_with(beginning)))
    }
}

/// Due times in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskTally {
    /// Tasks that there were.
    pub tasks: u64,
    /// Due times that came: those of the record, and those for which another of the record stands.
    pub due: u64,
    /// Of those, done.
    pub done: u64,
    /// Of the done ones, said to the record and not to the chat, as was asked for.
    pub silent: u64,
    /// Left out since they were missed, as was asked for.
    pub missed: u64,
    /// Left out since an earlier time of the task was not done, as was asked for, or since the task rested.
    pub overlapped: u64,
    /// Missed, and another time of the task stands for them, as was asked for.
    pub stood_for: u64,
    /// Given up after three runs that died with their host.
    pub given_up: u64,
    /// Runs that were begun for them.
    pub runs: u64,
    /// Tasks and due times that should be in the record and are not, and done ones whose answer was not shown.
    pub lost: u64,
    /// Due times that are twice in the record, tasks that are kept twice, and answers beyond one for each time that is done.
    pub doubled: u64,
    /// What else is not as it should be.
    pub wrong: Vec<String>,
}

impl TaskTally {
    /// Whether nothing was lost or doubled, and everything is as it was asked for.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong.is_empty()
    }

    /// Adds another round's numbers.
    pub(super) fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.due += other.due;
        self.done += other.done;
        self.silent += other.silent;
        self.missed += other.missed;
        self.overlapped += other.overlapped;
        self.stood_for += other.stood_for;
        self.given_up += other.given_up;
        self.runs += other.runs;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.wrong.extend(other.wrong);
    }

    fn lost(&mut self, count: u64, what: String) {
        if count > 0 {
            self.lost += count;
            self.wrong.push(format!("lost: {what}"));
        }
    }

    fn doubled(&mut self, count: u64, what: String) {
        if count > 0 {
            self.doubled += count;
            self.wrong.push(format!("doubled: {what}"));
        }
    }
}

/// What became of all that was asked for, by number. `found` is what the program lists with the record of each; `answers` is
/// how many were shown of each task, `notices` what the host said of its troubles.
pub(super) fn judge(
    asked: &[Asked],
    found: &[(Listed, Vec<Fired>)],
    answers: &BTreeMap<TaskName, u64>,
    notices: &[String],
) -> TaskTally {
    let mut tally = TaskTally::default();
    let mut known = BTreeSet::new();
    for (listed, record) in found {
        let Some(name) = TaskName::read(&listed.prompt) else { continue };
        let Some(asked) = asked.get(name.number) else {
            tally.wrong.push(format!("{name} was never asked for"));
            continue;
        };
        tally.doubled(u64::from(!known.insert(name.number)), format!("{name} is kept twice"));
        tally.tasks += 1;
        judge_times(name, asked, listed, record, &mut tally);
        let done = record.iter().map(|fired| judge_one(name, asked, listed, fired, notices, &mut tally)).sum();
        let shown = answers.get(&name).copied().unwrap_or_default();
        let expected = if listed.terms.silent { 0 } else { done };
        tally.silent += if listed.terms.silent { done } else { 0 };
        tally.lost(expected.saturating_sub(shown), format!("{name} is done {expected} times and said {shown} times"));
        tally
            .doubled(shown.saturating_sub(expected), format!("{name} is done {expected} times and said {shown} times"));
    }
    let kept = asked.iter().enumerate().filter(|(_, asked)| asked.id.is_some());
    for (number, asked) in kept.filter(|(number, _)| !known.contains(number)) {
        tally
            .lost(1, format!("the task of number {number}, {}, is not there", asked.id.as_deref().unwrap_or_default()));
    }
    for name in answers.keys().filter(|name| !known.contains(&name.number)) {
        tally.wrong.push(format!("{name} was said, and there is no such task"));
    }
    tally
}

/// Whether each time that came is in the record, once.
fn judge_times(name: TaskName, asked: &Asked, listed: &Listed, record: &[Fired], tally: &mut TaskTally) {
    let mut record: Vec<&Fired> = record.iter().collect();
    record.sort_by_key(|fired| fired.due_ms);
    let times: BTreeSet<i64> = record.iter().map(|fired| fired.due_ms).collect();
    tally.due += times.len() as u64;
    tally.doubled((record.len() - times.len()) as u64, format!("times of {name}: {record:?}"));
    // Schedules have whole seconds. A time that nobody was told can be told by that from those of commands.
    let in_doubt = asked.id.is_none() || asked.moved_in_doubt;
    let of_interval = |due: i64| match (asked.every_ms, asked.times.first()) {
        (Some(every), Some(first)) => due >= *first && (due - first) % every == 0,
        _ => false,
    };
    let is_scheduled = |due: i64| asked.times.contains(&due) || of_interval(due) || (in_doubt && due % 1000 == 0);
    let by_hand = times.iter().filter(|due| !is_scheduled(**due)).count() as u64;
    tally.lost(
        asked.by_hand.saturating_sub(by_hand),
        format!("{name} was to run now {} times, not {by_hand}", asked.by_hand),
    );
    let most = if asked.rests { u64::MAX } else { asked.by_hand + asked.by_hand_in_doubt };
    tally.doubled(by_hand.saturating_sub(most), format!("{name} was to run now {most} times at most, not {by_hand}"));
    // Of the times to which it was moved each may have been replaced by the next before it came, but for the last.
    let last =
        asked.times.last().filter(|_| !asked.last_in_doubt && (asked.every_ms.is_none() || asked.times.len() > 1));
    tally.lost(last.map_or(0, |last| u64::from(!times.contains(last))), format!("the last time of {name}: {record:?}"));
    if in_doubt && asked.every_ms.is_none() {
        let scheduled = times.iter().filter(|due| is_scheduled(**due)).count();
        tally.lost(u64::from(scheduled == 0), format!("the time of {name}, {}: {record:?}", listed.id));
    }
    if let (Some(every), Some(first)) = (asked.every_ms, asked.times.first()) {
        let end = asked.times.get(1).copied().unwrap_or(*first);
        let mut due = *first;
        while due < end - REPLACED_WITHIN_MS {
            let next = record.iter().find(|fired| fired.due_ms >= due && of_interval(fired.due_ms));
            match next {
                Some(fired) if fired.due_ms == due => {}
                // A reason why it had to be tried again takes the place of that remark.
                Some(fired)
                    if listed.terms.catch_up != "all" && (fired.is_remarked(&STANDS_FOR_MORE) || fired.tries > 1) =>
                {
                    tally.due += 1;
                    tally.stood_for += 1;
                }
                _ => tally.lost(1, format!("the time {due} of {name}: {record:?}")),
            }
            due += every;
        }
    }
}

/// Counts one due time of the record; 1 when it is done.
fn judge_one(
    name: TaskName,
    asked: &Asked,
    listed: &Listed,
    fired: &Fired,
    notices: &[String],
    tally: &mut TaskTally,
) -> u64 {
    tally.runs += fired.tries;
    let terms = &listed.terms;
    let text = format!("heard {name}");
    match fired.state.as_str() {
        "done" if fired.text.as_deref() == Some(text.as_str()) && fired.tries > 0 => {
            tally.done += 1;
            return 1;
        }
        "skipped" if fired.is_remarked(&MISSED) && terms.catch_up == "skip" => tally.missed += 1,
        "skipped" if fired.is_remarked(&[OVERLAPPED]) && terms.overlap == "skip" => tally.overlapped += 1,
        "skipped" if fired.is_remarked(&[PAUSED]) && asked.rests => tally.overlapped += 1,
        "failed" if fired.is_remarked(&[DIED]) && fired.text.is_none() => {
            tally.given_up += 1;
            if !notices.iter().any(|notice| notice.contains(&format!("“{name}”"))) {
                tally.wrong.push(format!("{name} was given up, and nobody was told: {fired:?}"));
            }
        }
        _ => tally.wrong.push(format!("{name} of {terms:?}: {fired:?}")),
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: TaskName = TaskName { chat: 1, number: 0 };

    fn once(time: i64) -> Asked {
        Asked { id: Some("task-1".to_owned()), times: vec![time], ..Asked::default() }
    }

    fn done(due_ms: i64) -> Fired {
        Fired { due_ms, state: "done".to_owned(), tries: 1, text: Some("heard g1-t0".to_owned()), remark: None }
    }

    fn skipped(due_ms: i64, remark: &str) -> Fired {
        Fired { state: "skipped".to_owned(), tries: 0, text: None, remark: Some(remark.to_owned()), ..done(due_ms) }
    }

    fn judged(asked: Asked, terms: [&str; 2], record: Vec<Fired>, shown: u64) -> TaskTally {
        let [catch_up, overlap] = terms.map(str::to_owned);
        let terms = Terms { catch_up, overlap, silent: false };
        let listed =
            Listed { id: "task-1".to_owned(), prompt: NAME.to_string(), status: "completed".to_owned(), terms };
        judge(&[asked], &[(listed, record)], &[(NAME, shown)].into(), &[])
    }

    fn faults(tally: &TaskTally) -> (u64, u64, usize) {
        (tally.lost, tally.doubled, tally.wrong.len())
    }

    #[test]
    fn a_time_that_is_done_and_said_once_is_clean_and_any_other_is_not() {
        let once_done = |shown| judged(once(5000), ["once", "skip"], vec![done(5000)], shown);
        assert!(once_done(1).is_clean());
        assert_eq!((once_done(1).due, once_done(1).done, once_done(1).runs), (1, 1, 1));
        assert_eq!(faults(&once_done(0)), (1, 0, 1));
        assert_eq!(faults(&once_done(2)), (0, 1, 1));
        assert_eq!(faults(&judged(once(5000), ["once", "skip"], vec![], 0)), (1, 0, 1), "it is not in the record");
        assert_eq!(faults(&judged(once(5000), ["once", "skip"], vec![done(5000), done(5000)], 2)), (0, 1, 1));
        assert_eq!(faults(&judged(once(5000), ["once", "skip"], vec![done(5000), done(7000)], 2)), (0, 1, 1));
    }

    #[test]
    fn a_task_that_was_said_to_be_kept_must_be_there_and_one_of_which_nobody_heard_may_be() {
        assert_eq!(faults(&judge(&[once(5000)], &[], &BTreeMap::new(), &[])), (1, 0, 1));
        assert!(judge(&[Asked::default()], &[], &BTreeMap::new(), &[]).is_clean());
        assert!(judged(Asked::default(), ["once", "skip"], vec![done(9000)], 1).is_clean());
        assert_eq!(faults(&judged(Asked::default(), ["once", "skip"], vec![], 0)), (1, 0, 1), "it is kept and not due");
    }

    #[test]
    fn what_is_left_out_must_be_what_was_asked_for() {
        let missed = "this time passed while no host was running";
        assert!(judged(once(5000), ["skip", "skip"], vec![skipped(5000, missed)], 0).is_clean());
        assert!(!judged(once(5000), ["once", "skip"], vec![skipped(5000, missed)], 0).is_clean());
        let moved = Asked { times: vec![5000, 7000], ..once(5000) };
        let record = vec![done(5000), skipped(7000, OVERLAPPED)];
        assert!(judged(moved.clone(), ["once", "skip"], record.clone(), 1).is_clean());
        assert!(!judged(moved.clone(), ["once", "queue"], record, 1).is_clean());
        assert!(judged(moved.clone(), ["once", "skip"], vec![done(7000)], 1).is_clean(), "it was moved before it came");
        assert_eq!(faults(&judged(moved, ["once", "skip"], vec![done(5000)], 1)), (1, 0, 1));
    }

    #[test]
    fn each_time_of_an_interval_is_in_the_record_or_another_stands_for_it() {
        let every = Asked { every_ms: Some(60_000), times: vec![60_000, 200_000], ..once(0) };
        let stands = |due| Fired { remark: Some("it stands for earlier times as well".to_owned()), ..done(due) };
        let of = |catch_up, record: Vec<Fired>| {
            let shown = record.len() as u64;
            judged(every.clone(), [catch_up, "skip"], record, shown)
        };
        assert!(of("all", vec![done(60_000), done(120_000), done(180_000), done(200_000)]).is_clean());
        let stood_for = of("once", vec![done(60_000), stands(180_000), done(200_000)]);
        assert!(stood_for.is_clean());
        assert_eq!((stood_for.due, stood_for.stood_for), (4, 1));
        assert_eq!(faults(&of("once", vec![done(60_000), done(180_000), done(200_000)])), (1, 0, 1));
        assert_eq!(faults(&of("all", vec![done(60_000), stands(180_000), done(200_000)])), (1, 0, 1));
        assert_eq!(
            faults(&of("all", vec![done(60_000), done(120_000), done(180_000), done(190_500), done(200_000)])),
            (0, 1, 1)
        );
    }

    #[test]
    fn what_runs_by_hand_runs_as_often_as_it_was_said() {
        let by_hand = |by_hand, by_hand_in_doubt| Asked { by_hand, by_hand_in_doubt, ..once(5000) };
        let record = || vec![done(5000), done(5123)];
        assert!(judged(by_hand(1, 0), ["once", "skip"], record(), 2).is_clean());
        assert!(judged(by_hand(0, 1), ["once", "skip"], record(), 2).is_clean());
        assert_eq!(faults(&judged(by_hand(0, 0), ["once", "skip"], record(), 2)), (0, 1, 1));
        assert_eq!(faults(&judged(by_hand(2, 0), ["once", "skip"], record(), 2)), (1, 0, 1));
    }

    #[test]
    fn what_is_given_up_after_its_hosts_died_is_told() {
        let given_up =
            Fired { state: "failed".to_owned(), tries: 3, text: None, remark: Some(DIED.to_owned()), ..done(5000) };
        let tally = judged(once(5000), ["once", "skip"], vec![given_up], 0);
        assert_eq!((tally.given_up, faults(&tally)), (1, (0, 0, 1)), "nobody was told");
    }
}
