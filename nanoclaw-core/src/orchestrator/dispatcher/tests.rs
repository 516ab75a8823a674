//! The dispatcher without a runtime: its rules one by one, then all of them under random histories.

use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::{
    orchestrator::event::{Adopted, GroupTimes, Tell},
    run::{Retry, RunEnding, RunNumber, TaskId, Trouble},
    runtime::Exit,
};

mod fairness;
mod standby;

struct Bench {
    dispatcher: Dispatcher,
    now: Instant,
}

fn folder(name: &str) -> GroupFolder {
    GroupFolder::new(name).unwrap()
}

fn run(name: &str, number: u32) -> RunId {
    RunId { group: folder(name), number: RunNumber(number) }
}

fn crashed() -> RunEnding {
    RunEnding::Crashed { exit: Exit::Code(1), last_words: String::new() }
}

impl Bench {
    fn new(max_containers: usize, groups: &[&str]) -> Self {
        let settings = DispatchSettings {
            max_containers: NonZeroUsize::new(max_containers).unwrap(),
            ..DispatchSettings::default()
        };
        let mut bench = Self { dispatcher: Dispatcher::new(settings), now: Instant::now() };
        for group in groups {
            bench.tell(Event::GroupAdded {
                group: folder(group),
                times: GroupTimes::default(),
                last_run: RunNumber::ZERO,
                newest: Seq::ZERO,
                failures: 0,
                adopted: None,
            });
        }
        bench
    }

    fn tell(&mut self, event: Event) -> Vec<Action> {
        self.dispatcher.handle(event, self.now)
    }

    fn message(&mut self, group: &str, seq: i64) -> Vec<Action> {
        self.tell(Event::MessageWaiting { group: folder(group), seq: Seq(seq) })
    }

    fn task(&mut self, group: &str, task: &str) -> Vec<Action> {
        self.tell(Event::TaskDue { group: folder(group), task: TaskId::new(task).unwrap() })
    }

    fn says(&mut self, run: RunId, word: RunWord) -> Vec<Action> {
        self.tell(Event::Run { run, word })
    }

    fn ends(&mut self, run: RunId, ending: RunEnding) -> Vec<Action> {
        self.says(run, RunWord::Ended { ending })
    }

    fn wait(&mut self, duration: Duration) -> Vec<Action> {
        self.now += duration;
        self.tell(Event::Tick)
    }

    fn state(&self, group: &str) -> &'static str {
        self.dispatcher.status().into_iter().find(|status| status.group == folder(group)).unwrap().state
    }

    /// A message, a run that takes it, and the answer: the group's container rests.
    fn serve(&mut self, group: &str, number: u32, seq: i64) {
        self.message(group, seq);
        self.says(run(group, number), RunWord::Handed { through: Seq(seq) });
        self.says(run(group, number), RunWord::Started);
        self.says(run(group, number), RunWord::Answered { through: Seq(seq) });
        assert_eq!(self.state(group), "resting");
    }
}

fn start_with(name: &str, number: u32, prompt: PromptSize) -> Action {
    Action::Start { run: run(name, number), kind: RunKind::Chat, prompt }
}

fn start(name: &str, number: u32) -> Action {
    Action::Start { run: run(name, number), kind: RunKind::Chat, prompt: PromptSize::Full }
}

#[test]
fn a_message_to_an_idle_group_starts_a_run() {
    let mut bench = Bench::new(2, &["a"]);
    assert_eq!(bench.message("a", 1), [start("a", 1)]);
    assert_eq!(bench.state("a"), "starting");
}

#[test]
fn f24_a_run_that_is_ending_gets_no_more_and_holds_its_slot_until_it_has_ended() {
    let mut bench = Bench::new(1, &["a", "b"]);
    bench.serve("a", 1, 1);
    assert_eq!(bench.says(run("a", 1), RunWord::Ending), []);
    assert_eq!(bench.state("a"), "stopping");
    assert_eq!(bench.message("a", 2), []);
    assert_eq!(bench.message("b", 3), []);
    assert_eq!(bench.wait(Duration::from_secs(24 * 3600)), []);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("b", 1)]);
    assert_eq!(bench.says(run("a", 1), RunWord::Ending), []);
    assert_eq!(bench.state("a"), "waiting", "a late word");
}

#[test]
fn containers_that_are_no_groups_take_slots() {
    let mut bench = Bench::new(2, &["a", "b", "c"]);
    assert_eq!(bench.tell(Event::LeftOver { containers: 1 }), []);
    assert_eq!(bench.message("a", 1), [start("a", 1)]);
    assert_eq!(bench.message("b", 2), []);
    assert_eq!(bench.tell(Event::LeftOver { containers: 7 }), []);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), []);
    assert_eq!(bench.tell(Event::LeftOver { containers: 1 }), [start("b", 1)]);
    assert_eq!(bench.tell(Event::LeftOver { containers: 0 }), [start("a", 2)]);
}

#[test]
fn f24_messages_while_a_run_starts_never_start_a_second_one() {
    let mut bench = Bench::new(5, &["a"]);
    bench.message("a", 1);
    assert_eq!(bench.message("a", 2), []);
    assert_eq!(bench.dispatcher.live_runs(), 1);
}

#[test]
fn f17_a_message_that_came_while_the_run_was_starting_is_fed_as_soon_as_it_has_started() {
    let mut bench = Bench::new(5, &["a"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.message("a", 2);
    assert_eq!(bench.says(run("a", 1), RunWord::Started), [Action::Feed { run: run("a", 1) }]);
}

#[test]
fn a_follow_up_goes_to_the_live_agent_whether_busy_or_resting() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    assert_eq!(bench.message("a", 2), [Action::Feed { run: run("a", 1) }]);
    assert_eq!(bench.message("a", 3), [], "one feed at a time; the worker hands over all there is");
    bench.says(run("a", 1), RunWord::Handed { through: Seq(3) });
    bench.says(run("a", 1), RunWord::Answered { through: Seq(3) });
    assert_eq!(bench.state("a"), "resting");
    assert_eq!(bench.message("a", 4), [Action::Feed { run: run("a", 1) }]);
    assert_eq!(bench.state("a"), "busy");
}

#[test]
fn a_message_that_missed_a_feed_is_fed_after_it() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    bench.message("a", 2);
    bench.message("a", 3);
    assert_eq!(bench.says(run("a", 1), RunWord::Handed { through: Seq(2) }), [Action::Feed { run: run("a", 1) }]);
}

#[test]
fn f2_a_resting_container_yields_its_slot_as_soon_as_someone_waits() {
    let mut bench = Bench::new(2, &["a", "b", "c"]);
    bench.serve("a", 1, 1);
    bench.now += Duration::from_secs(1);
    bench.serve("b", 1, 2);
    assert_eq!(bench.message("c", 3), [Action::Close { run: run("a", 1) }], "the one that rested longest");
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("c", 1)]);
    assert_eq!(bench.state("b"), "resting", "one waits, one is evicted");
}

#[test]
fn f3_a_message_that_comes_while_the_container_is_closing_goes_to_the_next_run() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    bench.wait(GroupTimes::default().idle);
    assert_eq!(bench.state("a"), "stopping");
    assert_eq!(bench.message("a", 2), []);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("a", 2)]);
}

#[test]
fn f13_a_due_task_ends_its_own_groups_resting_container_and_runs_before_the_messages() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    assert_eq!(bench.task("a", "t"), [Action::Close { run: run("a", 1) }]);
    bench.message("a", 2);
    let task = RunKind::Task(TaskId::new("t").unwrap());
    assert_eq!(
        bench.ends(run("a", 1), RunEnding::Finished),
        [Action::Start { run: run("a", 2), kind: task, prompt: PromptSize::Full }]
    );
    assert_eq!(bench.ends(run("a", 2), RunEnding::Finished), [start("a", 3)]);
}

#[test]
fn f56_a_task_that_waits_is_not_queued_again_and_one_that_runs_may_be_due_for_another_time() {
    let mut bench = Bench::new(1, &["a", "b"]);
    bench.message("b", 1);
    bench.task("a", "t");
    bench.task("a", "t");
    assert_eq!(bench.dispatcher.status()[0].tasks, 1);
    bench.ends(run("b", 1), RunEnding::Finished);
    bench.task("a", "t");
    bench.task("a", "t");
    assert_eq!(bench.dispatcher.status()[0].tasks, 1, "it runs, and waits once");
}

#[test]
fn f60_a_task_that_is_dropped_waits_no_more_and_its_run_is_ended_when_it_is_cancelled() {
    let mut bench = Bench::new(1, &["a", "b"]);
    let dropped = |task: &str, ends| Event::TaskDropped { group: folder("a"), task: TaskId::new(task).unwrap(), ends };
    bench.task("a", "t");
    bench.task("a", "u");
    bench.task("a", "t");
    assert_eq!(bench.dispatcher.status()[0].tasks, 2);
    assert_eq!(bench.tell(dropped("t", false)), [], "it is paused: what runs goes on");
    assert_eq!(bench.dispatcher.status()[0].tasks, 1);
    assert_eq!(bench.tell(dropped("u", true)), [], "another one runs");
    let stop = Action::Stop { run: run("a", 1), why: StopReason::Commanded };
    assert_eq!(bench.tell(dropped("t", true)), [stop]);
    bench.message("b", 1);
    bench.task("a", "u");
    assert_eq!(bench.ends(run("a", 1), RunEnding::Stopped), [start("b", 1)], "b waited longer");
    assert_eq!(bench.dispatcher.status()[0].state, "waiting");
    bench.tell(dropped("u", true));
    assert_eq!(bench.dispatcher.status()[0].state, "idle");
}

#[test]
fn a_task_that_is_done_and_goes_on_is_asked_to_end_when_somebody_writes() {
    let mut bench = Bench::new(1, &["a"]);
    bench.task("a", "t");
    bench.says(run("a", 1), RunWord::Started);
    assert_eq!(bench.message("a", 1), [], "it is not done yet");
    assert_eq!(bench.says(run("a", 1), RunWord::TaskDone), [Action::Close { run: run("a", 1) }]);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("a", 2)]);
    bench.says(run("a", 2), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 2), RunWord::Started);
    bench.says(run("a", 2), RunWord::Answered { through: Seq(1) });
    bench.task("a", "t");
    bench.ends(run("a", 2), RunEnding::Finished);
    bench.says(run("a", 3), RunWord::Started);
    assert_eq!(bench.says(run("a", 3), RunWord::TaskDone), [], "nobody waits");
    assert_eq!(bench.message("a", 2), [Action::Close { run: run("a", 3) }]);
}

#[test]
fn f15_a_lively_group_is_not_fed_while_others_wait_and_goes_to_the_back() {
    let mut bench = Bench::new(1, &["a", "b", "c"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    bench.message("b", 2);
    bench.message("c", 3);
    assert_eq!(bench.message("a", 4), [], "not fed");
    assert_eq!(bench.says(run("a", 1), RunWord::Answered { through: Seq(1) }), [Action::Close { run: run("a", 1) }]);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("b", 1)]);
    assert_eq!(bench.ends(run("b", 1), crashed()).len(), 2, "c starts, b backs off");
    assert_eq!(bench.ends(run("c", 1), RunEnding::Finished), [start("a", 2)]);
}

#[test]
fn a_message_that_was_held_back_for_others_is_fed_when_they_have_their_slots() {
    let mut bench = Bench::new(2, &["a", "b", "c"]);
    for (group, seq) in [("a", 1), ("b", 2)] {
        bench.message(group, seq);
        bench.says(run(group, 1), RunWord::Handed { through: Seq(seq) });
        bench.says(run(group, 1), RunWord::Started);
    }
    bench.message("c", 3);
    assert_eq!(bench.message("a", 4), []);
    bench.says(run("b", 1), RunWord::Answered { through: Seq(2) });
    let actions = bench.ends(run("b", 1), RunEnding::Finished);
    assert_eq!(actions, [start("c", 1), Action::Feed { run: run("a", 1) }]);
}

#[test]
fn f6_f10_a_failing_run_is_tried_again_with_growing_delays_then_given_up_loudly() {
    let mut bench = Bench::new(1, &["a"]);
    let mut actions = bench.message("a", 7);
    for (number, seconds) in [(1, 5.0), (2, 10.0), (3, 20.0), (4, 40.0), (5, 80.0)] {
        assert_eq!(actions, [start_with("a", number, if number > 3 { PromptSize::Single } else { PromptSize::Full })]);
        bench.says(run("a", number), RunWord::Handed { through: Seq(7) });
        let report = bench.ends(run("a", number), crashed());
        let [Action::ReportFailure { group, reason, retry_in }] = &report[..] else { panic!("{report:?}") };
        assert_eq!((group, reason), (&folder("a"), &crashed().to_string()));
        assert!((0.9..=1.1).contains(&(retry_in.as_secs_f64() / seconds)), "{retry_in:?}");
        assert_eq!(bench.wait(*retry_in - Duration::from_millis(1)), []);
        actions = bench.wait(Duration::from_millis(1));
    }
    bench.says(run("a", 6), RunWord::Handed { through: Seq(7) });
    bench.message("a", 9);
    let given_up = bench.ends(run("a", 6), crashed());
    assert_eq!(given_up, [Action::GiveUp { group: folder("a"), through: Seq(7), reason: crashed().to_string() }]);
    let next = bench.tell(Event::GaveUp { group: folder("a"), through: Seq(7) });
    assert_eq!(next, [start("a", 7)], "what came later is not given up with it");
}

#[test]
fn a_prompt_that_is_refused_is_tried_message_by_message_and_only_the_refused_one_is_set_aside() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    bench.message("a", 2);
    bench.message("a", 3);
    let refused = RunEnding::Failed { reason: "the prompt is refused".into(), retry: Retry::Never };
    bench.says(run("a", 1), RunWord::Handed { through: Seq(3) });
    let report = bench.ends(run("a", 1), refused.clone());
    assert!(matches!(&report[..], [Action::ReportFailure { .. }]), "nothing is set aside yet: {report:?}");
    assert_eq!(bench.wait(Duration::from_secs(6)), [start_with("a", 2, PromptSize::Single)]);
    bench.says(run("a", 2), RunWord::Handed { through: Seq(1) });
    assert_eq!(bench.says(run("a", 2), RunWord::Started), [], "the next waits until the first is answered");
    assert_eq!(
        bench.says(run("a", 2), RunWord::Answered { through: Seq(1) }),
        [Action::Feed { run: run("a", 2) }],
        "it is the next one's turn, alone again"
    );
    bench.says(run("a", 2), RunWord::Handed { through: Seq(2) });
    let expected = Action::GiveUp { group: folder("a"), through: Seq(2), reason: refused.to_string() };
    assert_eq!(bench.ends(run("a", 2), refused), [expected]);
    let next = bench.tell(Event::GaveUp { group: folder("a"), through: Seq(2) });
    assert_eq!(next, [start_with("a", 3, PromptSize::Single)]);
    bench.message("a", 4);
    bench.says(run("a", 3), RunWord::Handed { through: Seq(3) });
    bench.says(run("a", 3), RunWord::Started);
    let fed = bench.says(run("a", 3), RunWord::Answered { through: Seq(3) });
    assert_eq!(fed, [Action::Feed { run: run("a", 3) }], "what came later is fed as ever");
}

fn troubled(trouble: Trouble, after: Option<Duration>) -> RunEnding {
    RunEnding::Failed { reason: "x".into(), retry: Retry::WhenMended { trouble, after } }
}

/// Who is told, and the delay.
fn pause_of(actions: &[Action]) -> (Tell, Duration) {
    let [Action::Paused { tell, retry_in, .. }, ..] = actions else { panic!("{actions:?}") };
    (*tell, *retry_in)
}

#[test]
fn f42_a_failure_that_only_a_person_can_mend_burns_no_tries_and_is_told_once() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    for number in 1..20 {
        let (tell, retry_in) = pause_of(&bench.ends(run("a", number), troubled(Trouble::Login, None)));
        assert_eq!(tell, if number == 1 { Tell::ChatAndOwner } else { Tell::Nobody });
        assert_eq!(bench.state("a"), "paused");
        assert_eq!(bench.message("a", i64::from(number) + 1), [], "a new message does not mend it");
        assert_eq!(bench.wait(retry_in), [start("a", number + 1)]);
    }
}

#[test]
fn who_waits_for_an_image_that_is_being_made_hears_it_late_and_the_owner_never() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    let look_again = Duration::from_secs(5);
    for number in 1..20 {
        let (tell, retry_in) = pause_of(&bench.ends(run("a", number), troubled(Trouble::Preparing, Some(look_again))));
        assert_eq!(tell, if number == 3 { Tell::Chat } else { Tell::Nobody }, "try {number}");
        assert_eq!(retry_in, look_again);
        assert_eq!(bench.wait(retry_in), [start("a", number + 1)]);
    }
    let failed = bench.ends(run("a", 20), troubled(Trouble::Setup, None));
    assert_eq!(pause_of(&failed).0, Tell::ChatAndOwner, "that it failed is news");
}

#[test]
fn a_quota_is_waited_for_until_the_time_that_was_told() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    let reset = Duration::from_secs(4321);
    assert_eq!(pause_of(&bench.ends(run("a", 1), troubled(Trouble::Quota, Some(reset)))).1, reset);
    assert_eq!(bench.wait(reset - Duration::from_millis(1)), []);
    assert_eq!(bench.wait(Duration::from_millis(1)), [start("a", 2)]);
}

#[test]
fn groups_with_the_same_trouble_tell_the_owner_once_and_go_on_together_when_one_is_answered() {
    let mut bench = Bench::new(3, &["a", "b", "c"]);
    for (seq, group) in [(1, "a"), (2, "b"), (3, "c")] {
        bench.message(group, seq);
    }
    assert_eq!(pause_of(&bench.ends(run("a", 1), troubled(Trouble::Login, None))).0, Tell::ChatAndOwner);
    assert_eq!(pause_of(&bench.ends(run("b", 1), troubled(Trouble::Login, None))).0, Tell::Chat);
    assert_eq!(pause_of(&bench.ends(run("c", 1), troubled(Trouble::Quota, None))).0, Tell::ChatAndOwner);
    assert_eq!(bench.tell(Event::TryNow { group: Some(folder("a")) }), [start("a", 2)]);
    bench.says(run("a", 2), RunWord::Handed { through: Seq(1) });
    assert_eq!(bench.says(run("a", 2), RunWord::Answered { through: Seq(1) }), [start("b", 2)]);
    assert_eq!(bench.state("c"), "paused", "it has another trouble");
}

#[test]
fn f37_a_runtime_that_is_not_there_is_tried_for_as_long_as_it_takes_and_told_of_after_a_while() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    for number in 1..50 {
        let lost = RunEnding::Lost { reason: "the daemon went away".into() };
        let (tell, retry_in) = pause_of(&bench.ends(run("a", number), lost));
        assert_eq!(tell, if number == 3 { Tell::ChatAndOwner } else { Tell::Nobody });
        assert!(retry_in <= Duration::from_secs(88));
        assert_eq!(bench.wait(retry_in), [start("a", number + 1)]);
    }
}

#[test]
fn somebody_who_thinks_it_works_now_need_not_wait() {
    let mut bench = Bench::new(2, &["a", "b"]);
    bench.message("a", 1);
    bench.message("b", 2);
    bench.ends(run("a", 1), crashed());
    bench.ends(run("b", 1), troubled(Trouble::Setup, None));
    assert_eq!(bench.tell(Event::TryNow { group: None }), [start("a", 2), start("b", 2)]);
}

#[test]
fn an_adopted_run_goes_on_where_it_stood() {
    let adopt = |newest: i64, handed: i64, answered: i64| {
        let mut bench = Bench::new(1, &[]);
        let adopted = Adopted { kind: RunKind::Chat, handed: Seq(handed), answered: Seq(answered), last_turn: false };
        let actions = bench.tell(Event::GroupAdded {
            group: folder("a"),
            times: GroupTimes::default(),
            last_run: RunNumber(7),
            newest: Seq(newest),
            failures: 0,
            adopted: Some(adopted),
        });
        (actions, bench.state("a"), bench)
    };
    let (actions, state, mut bench) = adopt(3, 3, 1);
    assert_eq!((actions, state), (vec![], "busy"), "it owes an answer");
    bench.says(run("a", 7), RunWord::Answered { through: Seq(3) });
    assert_eq!(bench.state("a"), "resting");
    assert_eq!(adopt(3, 3, 3).1, "resting");
    assert_eq!(adopt(5, 3, 3).0, [Action::Feed { run: run("a", 7) }], "what came meanwhile is a follow-up");
}

#[test]
fn adopted_containers_hold_their_slots() {
    let mut bench = Bench::new(1, &["b"]);
    let adopted = Some(Adopted { kind: RunKind::Chat, handed: Seq(1), answered: Seq::ZERO, last_turn: false });
    let (group, times) = (folder("a"), GroupTimes::default());
    let (last_run, newest) = (RunNumber(7), Seq(1));
    bench.tell(Event::GroupAdded { group, times, last_run, newest, failures: 0, adopted });
    assert_eq!(bench.message("b", 2), []);
    assert_eq!(bench.says(run("a", 7), RunWord::Answered { through: Seq(1) }), [Action::Close { run: run("a", 7) }]);
    assert_eq!(bench.ends(run("a", 7), RunEnding::Finished), [start("b", 1)]);
}

#[test]
fn a_shutdown_that_leaves_containers_lets_go_of_each_and_ends() {
    let mut bench = Bench::new(2, &["a", "b", "c"]);
    bench.serve("a", 1, 1);
    bench.message("b", 2);
    let detach = |group| Action::Detach { run: run(group, 1) };
    let leave = Event::Shutdown { containers: AtShutdown::Leave };
    assert_eq!(bench.tell(leave), [detach("a"), detach("b")]);
    assert_eq!(bench.message("c", 3), []);
    bench.says(run("a", 1), RunWord::Detached);
    assert!(!bench.dispatcher.drained());
    bench.ends(run("b", 1), RunEnding::Finished);
    assert!(bench.dispatcher.drained(), "one that ended by itself meanwhile is gone as well");
}

#[test]
fn should_giving_up_itself_fail_the_messages_are_tried_again() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    let never = RunEnding::NotStarted { reason: "x".into(), retry: Retry::Never };
    bench.ends(run("a", 1), never.clone());
    bench.wait(Duration::from_secs(6));
    bench.ends(run("a", 2), never);
    assert_eq!(bench.wait(Duration::from_secs(88)), [start_with("a", 3, PromptSize::Single)]);
}

#[test]
fn an_answer_ends_a_series_of_failures() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    bench.ends(run("a", 1), crashed());
    bench.wait(Duration::from_secs(6));
    bench.says(run("a", 2), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 2), RunWord::Answered { through: Seq(1) });
    assert_eq!(bench.dispatcher.status()[0].failures, 0);
}

#[test]
fn f10_a_container_that_dies_at_rest_is_no_failure_of_its_messages() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    assert_eq!(bench.ends(run("a", 1), crashed()), []);
    assert_eq!(bench.state("a"), "idle");
}

#[test]
fn f23_late_words_of_an_older_run_change_nothing() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    bench.ends(run("a", 1), RunEnding::Finished);
    bench.message("a", 2);
    for word in
        [RunWord::Answered { through: Seq(2) }, RunWord::Started, RunWord::Ended { ending: RunEnding::Finished }]
    {
        assert_eq!(bench.says(run("a", 1), word), []);
        assert_eq!(bench.state("a"), "starting");
    }
}

#[test]
fn an_agent_without_a_sign_of_life_is_stopped_and_every_sign_gives_it_its_time_anew() {
    let mut bench = Bench::new(1, &["a"]);
    let limit = GroupTimes::default().run;
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    assert_eq!(bench.wait(limit / 2), []);
    bench.says(run("a", 1), RunWord::Progress);
    assert_eq!(bench.wait(limit / 2), []);
    let stop = Action::Stop { run: run("a", 1), why: StopReason::TimedOut };
    assert_eq!(bench.wait(limit / 2), [stop]);
}

#[test]
fn long_quiet_work_goes_on_while_the_agent_gives_signs_of_life_but_not_beyond_the_limit_of_a_turn() {
    let mut bench = Bench::new(1, &["a"]);
    let times = GroupTimes::default();
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    bench.says(run("a", 1), RunWord::Beats);
    assert_eq!(bench.wait(times.run * 2), []);
    bench.says(run("a", 1), RunWord::Progress);
    let stop = Action::Stop { run: run("a", 1), why: StopReason::TimedOut };
    assert_eq!(bench.wait(times.turn - times.run * 2 - Duration::from_millis(1)), []);
    assert_eq!(bench.wait(Duration::from_millis(1)), [stop]);
}

#[test]
fn a_follow_up_does_not_give_a_stuck_agent_more_time() {
    let mut bench = Bench::new(1, &["a"]);
    let limit = GroupTimes::default().run;
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    bench.wait(limit / 2);
    bench.message("a", 2);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(2) });
    assert_eq!(bench.wait(limit / 2), [Action::Stop { run: run("a", 1), why: StopReason::TimedOut }]);
}

#[test]
fn f30_a_silent_answer_arms_the_idle_time_and_a_follow_up_arms_it_anew() {
    let mut bench = Bench::new(1, &["a"]);
    let idle = GroupTimes::default().idle;
    bench.serve("a", 1, 1);
    bench.wait(idle / 2);
    bench.message("a", 2);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(2) });
    bench.says(run("a", 1), RunWord::Answered { through: Seq(2) });
    assert_eq!(bench.wait(idle / 2), []);
    assert_eq!(bench.wait(idle / 2), [Action::Close { run: run("a", 1) }]);
}

#[test]
fn a_frozen_group_stops_and_starts_nothing_until_it_is_thawed() {
    let mut bench = Bench::new(1, &["a"]);
    bench.serve("a", 1, 1);
    let stop = Action::Stop { run: run("a", 1), why: StopReason::Wanted };
    assert_eq!(bench.tell(Event::Freeze { group: folder("a") }), [stop]);
    bench.message("a", 2);
    assert_eq!(bench.ends(run("a", 1), RunEnding::Stopped), []);
    assert_eq!(bench.state("a"), "frozen");
    assert_eq!(bench.message("a", 3), []);
    assert_eq!(bench.tell(Event::Thaw { group: folder("a") }), [start("a", 2)]);
}

#[test]
fn a_removed_group_ends_its_container_and_is_forgotten() {
    let mut bench = Bench::new(1, &["a", "b"]);
    bench.serve("a", 1, 1);
    bench.tell(Event::GroupRemoved { group: folder("a") });
    assert_eq!(bench.message("b", 2), [], "its slot is held until the container is gone");
    assert_eq!(bench.ends(run("a", 1), RunEnding::Stopped), [start("b", 1)]);
    assert_eq!(bench.dispatcher.status().len(), 1);
}

#[test]
fn a_shutdown_starts_nothing_more_and_is_over_when_every_container_is_gone() {
    let mut bench = Bench::new(2, &["a", "b"]);
    bench.serve("a", 1, 1);
    assert!(!bench.dispatcher.drained());
    assert_eq!(bench.tell(Event::Shutdown { containers: AtShutdown::Stop }).len(), 1);
    assert_eq!(bench.message("b", 2), []);
    bench.ends(run("a", 1), RunEnding::Stopped);
    assert!(bench.dispatcher.drained());
}

#[test]
fn f5_what_was_unanswered_before_a_restart_starts_at_once() {
    let mut bench = Bench::new(1, &[]);
    let added = Event::GroupAdded {
        group: folder("a"),
        times: GroupTimes::default(),
        last_run: RunNumber(41),
        newest: Seq(9),
        failures: 0,
        adopted: None,
    };
    assert_eq!(bench.tell(added), [start("a", 42)]);
}

// --- all rules at once, under random histories ------------------------------------------------------------------------

/// What may happen next; the model turns indices into something that fits.
#[derive(Debug, Clone)]
enum Step {
    Message(usize),
    Task(usize, usize),
    Work(usize, usize),
    Late(usize),
    Wait(u64),
    Freeze(usize),
    Thaw(usize),
    EndSession(usize),
    StopWork(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6_usize).prop_map(Step::Message),
        2 => (0..6_usize, 0..3_usize).prop_map(|(group, task)| Step::Task(group, task)),
        14 => (0..6_usize, 0..8_usize).prop_map(|(group, what)| Step::Work(group, what)),
        1 => (0..6_usize).prop_map(Step::Late),
        2 => (1..4000_u64).prop_map(Step::Wait),
        1 => (0..6_usize).prop_map(Step::Freeze),
        2 => (0..6_usize).prop_map(Step::Thaw),
        1 => (0..6_usize).prop_map(Step::EndSession),
        1 => (0..6_usize).prop_map(Step::StopWork),
    ];
    proptest::collection::vec(step, 1..200)
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a worker and the store would know: the other side of the dispatcher's decisions.
#[derive(Debug, Default)]
struct Model {
    live: BTreeMap<GroupFolder, ModelRun>,
    newest: BTreeMap<GroupFolder, i64>,
    answered: BTreeMap<GroupFolder, i64>,
    last_run: BTreeMap<GroupFolder, u32>,
    due: BTreeMap<GroupFolder, Vec<TaskId>>,
    ran: Vec<TaskId>,
    frozen: BTreeSet<GroupFolder>,
}

#[derive(Debug)]
struct ModelRun {
    number: u32,
    kind: RunKind,
    started: bool,
    handed: i64,
    fed: bool,
    ending: bool,
    /// Started ahead, and not used yet.
    standby: bool,
    /// Started ahead.
    was_standby: bool,
}

impl Model {
    fn obey(&mut self, actions: Vec<Action>, cap: usize) -> Vec<Event> {
        let mut answers = Vec::new();
        for action in actions {
            match action {
                Action::Start { run, kind, .. } => {
                    assert!(!self.live.contains_key(&run.group), "two live runs of {}", run.group);
                    assert!(!self.frozen.contains(&run.group), "a frozen group was started");
                    let last = self.last_run.entry(run.group.clone()).or_default();
                    assert!(run.number.0 > *last, "run numbers rise");
                    *last = run.number.0;
                    let due = self.due.entry(run.group.clone()).or_default();
                    match &kind {
                        RunKind::Task(task) => {
                            assert_eq!(due.first(), Some(task), "tasks run in order");
                            self.ran.push(due.remove(0));
                        }
                        RunKind::Chat => assert!(due.is_empty(), "a task waits while messages are served"),
                    }
                    self.live.insert(run.group, ModelRun::new(run.number.0, kind, false));
                    assert!(self.live.len() <= cap, "over the cap");
                }
                Action::StandBy { run } => {
                    assert!(!self.live.contains_key(&run.group), "two live runs of {}", run.group);
                    assert!(!self.frozen.contains(&run.group), "a frozen group was started");
                    let last = self.last_run.entry(run.group.clone()).or_default();
                    assert!(run.number.0 > *last, "run numbers rise");
                    *last = run.number.0;
                    self.live.insert(run.group, ModelRun::new(run.number.0, RunKind::Chat, true));
                    assert!(self.live.len() < cap, "the last slot is left for who comes");
                }
                Action::Begin { run, .. } => {
                    let live = self.live.get_mut(&run.group).expect("only a live run is begun");
                    assert_eq!(live.number, run.number.0);
                    assert!(live.standby && !live.ending, "what was started ahead is used once, and not when it ends");
                    live.standby = false;
                }
                Action::Feed { run } => {
                    let live = self.live.get_mut(&run.group).expect("only a live run is fed");
                    assert!(live.number == run.number.0 && live.kind == RunKind::Chat && live.started && !live.ending);
                    assert!(!live.standby, "what nobody has asked anything gets no follow-up");
                    live.fed = true;
                }
                Action::Close { run } | Action::Stop { run, .. } | Action::Detach { run } => {
                    let live = self.live.get_mut(&run.group).expect("only a live run is stopped");
                    assert_eq!(live.number, run.number.0);
                    live.ending = true;
                }
                Action::ReportFailure { .. } | Action::Paused { .. } => {}
                Action::GiveUp { group, through, .. } => {
                    let answered = self.answered.entry(group.clone()).or_default();
                    *answered = (*answered).max(through.0);
                    answers.push(Event::GaveUp { group, through });
                }
            }
        }
        answers
    }

    /// What the worker of `group` may do as its `what`-th choice; `None` when that does not fit now.
    fn work(&mut self, group: &GroupFolder, what: usize) -> Option<Event> {
        let newest = self.newest.get(group).copied().unwrap_or(0);
        let answered = self.answered.entry(group.clone()).or_default();
        let live = self.live.get_mut(group)?;
        let number = live.number;
        let word = match what {
            0 | 1 if live.standby => RunWord::StandsBy { memory_bytes: Some(10 << 20) },
            5 if live.was_standby && !live.started && live.handed == 0 && (live.ending || !live.standby) => {
                self.live.remove(group);
                RunWord::Unused { failed: false }
            }
            6 | 7 if live.standby => {
                self.live.remove(group);
                RunWord::Unused { failed: true }
            }
            _ if live.standby => return None,
            0 | 1 if !live.started => {
                if live.kind == RunKind::Chat && live.handed == 0 {
                    live.handed = newest;
                    RunWord::Handed { through: Seq(newest) }
                } else {
                    live.started = true;
                    RunWord::Started
                }
            }
            2 if live.fed => {
                live.fed = false;
                live.handed = newest;
                RunWord::Handed { through: Seq(newest) }
            }
            3 | 4 if live.started && live.kind == RunKind::Chat && live.handed > *answered => {
                *answered = live.handed;
                RunWord::Answered { through: Seq(live.handed) }
            }
            5 if live.ending || !live.started || matches!(live.kind, RunKind::Task(_)) => {
                self.live.remove(group);
                RunWord::Ended { ending: RunEnding::Finished }
            }
            6 => {
                self.live.remove(group);
                RunWord::Ended { ending: crashed() }
            }
            7 => {
                self.live.remove(group);
                let trouble = if number % 2 == 0 { Trouble::Login } else { Trouble::Host };
                RunWord::Ended { ending: troubled(trouble, None) }
            }
            _ => return None,
        };
        Some(Event::Run { run: RunId { group: group.clone(), number: RunNumber(number) }, word })
    }
}

impl ModelRun {
    fn new(number: u32, kind: RunKind, standby: bool) -> Self {
        Self { number, kind, started: false, handed: 0, fed: false, ending: false, standby, was_standby: standby }
    }
}

struct Simulation {
    dispatcher: Dispatcher,
    model: Model,
    now: Instant,
    cap: usize,
    seq: i64,
}

impl Simulation {
    fn new(cap: usize, standby: usize) -> Self {
        let settings = DispatchSettings {
            max_containers: NonZeroUsize::new(cap).unwrap(),
            standby: StandbySettings { groups: standby, ..StandbySettings::default() },
            ..DispatchSettings::default()
        };
        let mut simulation =
            Self { dispatcher: Dispatcher::new(settings), model: Model::default(), now: Instant::now(), cap, seq: 0 };
        for name in NAMES {
            simulation.tell(Event::GroupAdded {
                group: folder(name),
                times: GroupTimes::default(),
                last_run: RunNumber::ZERO,
                newest: Seq::ZERO,
                failures: 0,
                adopted: None,
            });
        }
        simulation
    }

    fn tell(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let actions = self.dispatcher.handle(event, self.now);
            queue.extend(self.model.obey(actions, self.cap));
            assert_eq!(self.dispatcher.live_runs(), self.model.live.len(), "both sides count the same containers");
        }
        let status = self.dispatcher.status();
        let count = |word: &str| status.iter().filter(|status| status.state == word).count();
        let (waiting, resting, stopping) = (count("waiting"), count("resting"), count("stopping"));
        assert!(waiting == 0 || self.model.live.len() == self.cap, "someone waits while a slot is free");
        assert!(waiting <= stopping || resting == 0, "a container rests while someone waits for its slot");
        let standing = count("preparing") + count("standby");
        let live = self.model.live.len();
        assert!(standing == 0 || live - stopping + waiting < self.cap, "one stands by in the place of who comes");
        assert!(standing <= self.dispatcher.settings.standby.groups, "more stand by than may");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Message(index) => {
                self.seq += 1;
                let group = folder(NAMES[*index]);
                self.model.newest.insert(group.clone(), self.seq);
                self.tell(Event::MessageWaiting { group, seq: Seq(self.seq) });
            }
            Step::Task(index, task) => {
                let group = folder(NAMES[*index]);
                let task = TaskId::new(format!("{}-{task}", NAMES[*index])).unwrap();
                let due = self.model.due.entry(group.clone()).or_default();
                if !due.contains(&task) {
                    due.push(task.clone());
                }
                self.tell(Event::TaskDue { group, task });
            }
            Step::Work(index, what) => {
                if let Some(event) = self.model.work(&folder(NAMES[*index]), *what) {
                    self.tell(event);
                }
            }
            Step::Late(index) => {
                let group = folder(NAMES[*index]);
                let number = RunNumber(self.model.last_run.get(&group).copied().unwrap_or(1).saturating_sub(1));
                let word = RunWord::Ended { ending: RunEnding::Finished };
                self.tell(Event::Run { run: RunId { group, number }, word });
            }
            Step::Wait(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.tell(Event::Tick);
            }
            Step::Freeze(index) => {
                self.model.frozen.insert(folder(NAMES[*index]));
                self.tell(Event::Freeze { group: folder(NAMES[*index]) });
            }
            Step::Thaw(index) => {
                self.model.frozen.remove(&folder(NAMES[*index]));
                self.tell(Event::Thaw { group: folder(NAMES[*index]) });
            }
            Step::EndSession(index) => self.tell(Event::SessionEnded { group: folder(NAMES[*index]) }),
            Step::StopWork(index) => {
                let group = folder(NAMES[*index]);
                let through = self.model.newest.get(&group).copied().unwrap_or(0);
                let answered = self.model.answered.entry(group.clone()).or_default();
                if through > *answered {
                    *answered = through;
                    let run = self.model.live.get(&group).filter(|run| run.kind == RunKind::Chat);
                    let run = run.map(|run| RunNumber(run.number));
                    self.tell(Event::WorkStopped { group, through: Seq(through), run });
                }
            }
        }
    }

    /// Lets every worker do its work without failing, until nothing is left to do.
    fn settle(&mut self) {
        for name in NAMES {
            self.step(&Step::Thaw(NAMES.iter().position(|other| other == &name).unwrap()));
        }
        self.tell(Event::TryNow { group: None });
        for _ in 0..400 {
            for name in NAMES {
                for what in [0, 0, 2, 3, 5] {
                    let group = folder(name);
                    let task_at_start =
                        what == 5 && self.model.live.get(&group).is_some_and(|run| !run.started && !run.ending);
                    if !task_at_start && let Some(event) = self.model.work(&group, what) {
                        self.tell(event);
                    }
                }
            }
            if self.dispatcher.status().iter().all(|status| matches!(status.state, "idle" | "resting" | "standby")) {
                return;
            }
            self.now += Duration::from_secs(1);
            self.tell(Event::Tick);
        }
        panic!("somebody starves: {:#?}", self.dispatcher.status());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// At most one live run a group, never over the cap, tasks before messages, a resting container yields, no slot stays
    /// free while someone waits, what was started ahead is used once or goes, and goes first (all asserted at each step); and in the end everything is answered and every task ran.
    #[test]
    fn the_invariants_hold_under_any_history_and_nobody_starves(
        cap in 1..4_usize, standby in 0..3_usize, steps in steps(),
    ) {
        let mut simulation = Simulation::new(cap, standby);
        for step in &steps {
            simulation.step(step);
        }
        simulation.settle();
        let model = &simulation.model;
        for (group, newest) in &model.newest {
            prop_assert!(model.answered[group] >= *newest, "{group} has an unanswered message");
        }
        prop_assert!(model.due.values().all(Vec::is_empty), "a task never ran");
    }
}
