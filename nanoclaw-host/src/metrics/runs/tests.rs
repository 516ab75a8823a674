use std::time::Duration;

use nanoclaw_core::{
    orchestrator::{GroupTimes, PromptSize},
    run::{RunEnding, RunNumber},
};

use super::*;

/// Runs, and a clock that goes by hand.
struct Bench {
    runs: Runs,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { runs: Runs::default(), now: Instant::now() }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn hear(&mut self, event: Event) -> &mut Self {
        self.runs.heard(&event, self.now);
        self
    }

    fn comes(&mut self, seq: i64) -> &mut Self {
        self.hear(Event::MessageWaiting { group: family(), seq: Seq(seq) })
    }

    fn says(&mut self, number: u32, word: RunWord) -> &mut Self {
        self.hear(Event::Run { run: run(number), word })
    }

    fn starts(&mut self, number: u32, kind: RunKind) -> &mut Self {
        self.runs.decided(&Action::Start { run: run(number), kind, prompt: PromptSize::Full }, self.now);
        self
    }

    /// The lines of the page without buckets, help and what is zero.
    fn figures(&self) -> Vec<String> {
        let mut page = Page::default();
        self.runs.write(&mut page);
        let text = page.into_text();
        let of_interest = |line: &&str| !line.starts_with('#') && !line.contains("_bucket") && !line.ends_with(" 0");
        text.lines().filter(of_interest).map(|line| line.trim_start_matches("nanoclaw_").to_owned()).collect()
    }
}

fn family() -> GroupFolder {
    GroupFolder::new("family").unwrap()
}

fn run(number: u32) -> RunId {
    RunId { group: family(), number: RunNumber(number) }
}

fn handed(through: i64) -> RunWord {
    RunWord::Handed { through: Seq(through) }
}

fn answered(through: i64) -> RunWord {
    RunWord::Answered { through: Seq(through) }
}

fn ended(ending: RunEnding) -> RunWord {
    RunWord::Ended { ending }
}

#[test]
fn each_message_waits_until_it_is_handed_over_and_is_worked_on_until_it_is_answered() {
    let mut bench = Bench::new();
    bench.comes(1).after(100).comes(2).starts(1, RunKind::Chat).after(100).says(1, handed(2));
    bench.after(50).comes(3).comes(3).after(10).says(1, handed(3)).after(1000).says(1, answered(2));
    bench.after(1000).says(1, answered(3)).after(500).says(1, ended(RunEnding::Finished));
    bench.comes(2).after(60_000).starts(2, RunKind::Chat).says(2, handed(3));
    assert_eq!(
        bench.figures(),
        [
            // 200, 100 and 10 ms.
            "queue_wait_seconds_sum{kind=\"message\"} 0.31",
            "queue_wait_seconds_count{kind=\"message\"} 3",
            // 1060, 1060 and 2000 ms.
            "turn_seconds_sum 4.12",
            "turn_seconds_count 3",
            "run_seconds_sum 2.66",
            "run_seconds_count 1",
            "runs_started_total{kind=\"chat\"} 2",
            "runs_ended_total{ending=\"finished\"} 1",
        ],
        "a word that comes late counts nothing"
    );
}

#[test]
fn what_a_run_leaves_unanswered_waits_again_and_what_is_given_up_does_not() {
    let mut bench = Bench::new();
    bench.comes(1).starts(1, RunKind::Chat).after(1000).says(1, handed(1)).after(1000);
    bench.says(1, ended(RunEnding::TimedOut)).after(3000).starts(2, RunKind::Chat).says(2, handed(1));
    let figures = bench.figures();
    assert_eq!(figures[0], "queue_wait_seconds_sum{kind=\"message\"} 4", "1 s, and 3 s from the end of the first run");
    assert!(figures.iter().all(|line| !line.starts_with("turn_")), "{figures:?}");
    bench.hear(Event::GaveUp { group: family(), through: Seq(1) }).after(9000).says(2, answered(1));
    assert!(bench.figures().iter().all(|line| !line.starts_with("turn_")), "{:?}", bench.figures());
}

#[test]
fn what_waited_at_the_start_and_tasks_that_are_due_are_counted() {
    let mut bench = Bench::new();
    let task = TaskId::new("task-1").unwrap();
    let (times, adopted) = (GroupTimes::default(), None);
    let last_run = RunNumber(7);
    bench.hear(Event::GroupAdded { group: family(), times, last_run, newest: Seq(4), failures: 0, adopted });
    let due = Event::TaskDue { group: family(), task: task.clone() };
    bench.hear(due.clone()).after(500).hear(due).starts(8, RunKind::Task(task)).after(500).says(8, RunWord::Started);
    bench.says(8, ended(RunEnding::Finished)).starts(9, RunKind::Chat).says(9, handed(4));
    let figures = bench.figures();
    assert_eq!(figures[0], "queue_wait_seconds_sum{kind=\"message\"} 1");
    assert_eq!(figures[2], "queue_wait_seconds_sum{kind=\"task\"} 1");
    bench.runs.decided(&Action::StandBy { run: run(10) }, bench.now);
    bench.says(10, RunWord::Unused { failed: false });
    let figures = bench.figures();
    assert!(figures.contains(&"runs_started_total{kind=\"standby\"} 1".to_owned()), "{figures:?}");
    assert!(figures.contains(&"runs_ended_total{ending=\"unused\"} 1".to_owned()), "{figures:?}");
}

#[test]
fn a_group_that_is_removed_is_forgotten() {
    let mut bench = Bench::new();
    bench.comes(1).hear(Event::GroupRemoved { group: family() });
    assert!(bench.runs.state.lock().unwrap().groups.is_empty());
}
