//! Who has a container started ahead, who has it no more, and what becomes of it.

use super::*;

const MIB: u64 = 1 << 20;

fn bench(slots: usize, standby: StandbySettings, groups: &[&str]) -> Bench {
    let mut bench = Bench::new(slots, groups);
    bench.dispatcher.settings.standby = standby;
    bench
}

fn of(groups: usize) -> StandbySettings {
    StandbySettings { groups, ..StandbySettings::default() }
}

fn stand_by(name: &str, number: u32) -> Action {
    Action::StandBy { run: run(name, number) }
}

fn stopped(name: &str, number: u32) -> Action {
    Action::Stop { run: run(name, number), why: StopReason::Wanted }
}

impl Bench {
    /// The group is asked something, answers, and its container ends; what is decided at that.
    fn uses(&mut self, group: &str, number: u32, seq: i64) -> Vec<Action> {
        self.now += Duration::from_secs(1);
        self.message(group, seq);
        self.says(run(group, number), RunWord::Started);
        self.says(run(group, number), RunWord::Handed { through: Seq(seq) });
        self.says(run(group, number), RunWord::Answered { through: Seq(seq) });
        self.ends(run(group, number), RunEnding::Finished)
    }

    fn stands_by(&mut self, group: &str, number: u32, mib: u64) -> Vec<Action> {
        self.says(run(group, number), RunWord::StandsBy { memory_bytes: Some(mib * MIB) })
    }
}

#[test]
fn the_groups_that_were_used_last_have_one_and_the_latest_comes_first() {
    let mut bench = bench(5, of(2), &["a", "b", "c"]);
    assert_eq!(bench.uses("a", 1, 1), [stand_by("a", 2)]);
    assert_eq!(bench.uses("b", 1, 2), [stand_by("b", 2)]);
    bench.stands_by("a", 2, 10);
    bench.now += Duration::from_secs(1);
    // Two may have one: while c is at work both do, and when it is idle a has to do without.
    assert_eq!(bench.message("c", 3).last(), Some(&start("c", 1)));
    bench.says(run("c", 1), RunWord::Handed { through: Seq(3) });
    bench.says(run("c", 1), RunWord::Answered { through: Seq(3) });
    assert_eq!(bench.ends(run("c", 1), RunEnding::Finished), [stopped("a", 2), stand_by("c", 2)]);
}

#[test]
fn all_of_them_together_take_no_more_memory_than_they_may() {
    let settings = StandbySettings { memory_bytes: 100 * MIB, ..of(5) };
    let mut bench = bench(9, settings, &["a", "b", "c"]);
    bench.uses("a", 1, 1);
    assert_eq!(bench.stands_by("a", 2, 60), []);
    assert_eq!(bench.uses("b", 1, 2), [stand_by("b", 2)]);
    assert_eq!(bench.stands_by("b", 2, 60), [stopped("a", 2)], "the one that was used last stays");
    bench.says(run("a", 2), RunWord::Unused { failed: false });
    assert_eq!(bench.wait(Duration::from_secs(60)), [], "what a takes is remembered");
    bench.says(run("b", 2), RunWord::Unused { failed: true });
    assert_eq!(bench.state("b"), "idle");
}

#[test]
fn a_message_and_an_eviction_at_once_are_one_or_the_other() {
    let mut bench = bench(2, of(1), &["a", "b", "c"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    assert_eq!(bench.state("a"), "standby");
    assert_eq!(bench.message("b", 2), [start("b", 1), stopped("a", 2)], "one slot is left for the next");
    assert_eq!(bench.message("a", 3), [], "it is going");
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: false }), [start("a", 3)]);
    assert_eq!(bench.says(run("a", 2), RunWord::StandsBy { memory_bytes: None }), [], "a late word");
}

#[test]
fn a_container_that_stands_by_is_begun_once() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    let begin = Action::Begin { run: run("a", 2), prompt: PromptSize::Full };
    assert_eq!(bench.message("a", 2), [begin], "also while it is being started");
    assert_eq!(bench.message("a", 3), []);
    assert_eq!(bench.stands_by("a", 2, 10), []);
    assert_eq!(bench.state("a"), "starting");
    bench.says(run("a", 2), RunWord::Handed { through: Seq(3) });
    assert_eq!(bench.says(run("a", 2), RunWord::Started), []);
    assert_eq!(bench.state("a"), "busy");
}

#[test]
fn one_that_was_not_good_any_more_is_replaced_by_a_run_that_starts_at_once() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    bench.message("a", 2);
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: true }), [start("a", 3)]);
}

#[test]
fn a_task_has_a_container_of_its_own() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    assert_eq!(bench.task("a", "t"), [stopped("a", 2)]);
    let actions = bench.says(run("a", 2), RunWord::Unused { failed: false });
    assert!(matches!(&actions[..], [Action::Start { kind: RunKind::Task(_), .. }]), "{actions:?}");
}

#[test]
fn what_fails_again_and_again_is_tried_ever_less_often() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    let mut pauses = Vec::new();
    for number in 2..8 {
        let failed = bench.says(run("a", number), RunWord::Unused { failed: true });
        assert_eq!(failed, []);
        let at = bench.dispatcher.next_deadline().unwrap();
        pauses.push(at - bench.now);
        bench.now = at;
        assert_eq!(bench.tell(Event::Tick), [stand_by("a", number + 1)]);
    }
    assert!(pauses.is_sorted() && pauses[0] >= Duration::from_secs(4) && pauses[5] == Duration::from_secs(600));
}

#[test]
fn a_group_in_trouble_has_none() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    let actions = bench.ends(run("a", 1), crashed());
    assert!(!actions.iter().any(|action| matches!(action, Action::StandBy { .. })), "{actions:?}");
}

#[test]
fn who_was_used_before_the_host_began_has_one_unless_that_is_long_ago() {
    let mut bench = bench(5, of(3), &["a", "b"]);
    bench.now += Duration::from_secs(2 * 24 * 3600);
    let used = |group, hours: u64| Event::UsedBefore { group: folder(group), ago: Duration::from_secs(hours * 3600) };
    assert_eq!(bench.tell(used("a", 23)), [stand_by("a", 1)]);
    assert_eq!(bench.tell(used("b", 25)), []);
    bench.stands_by("a", 1, 10);
    assert_eq!(bench.wait(Duration::from_secs(3600)), [stopped("a", 1)]);
}

#[test]
fn a_host_that_ends_leaves_none() {
    let mut bench = bench(5, of(3), &["a"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    assert_eq!(bench.tell(Event::Shutdown { containers: AtShutdown::Leave }), [stopped("a", 2)]);
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: false }), []);
    assert!(bench.dispatcher.drained());
}

#[test]
fn turned_off_nothing_is_begun_and_nothing_is_due() {
    let mut bench = bench(3, of(0), &["a"]);
    assert_eq!(bench.tell(Event::UsedBefore { group: folder("a"), ago: Duration::from_secs(1) }), []);
    assert_eq!(bench.uses("a", 1, 1), []);
    assert_eq!(bench.state("a"), "idle");
    assert_eq!(bench.dispatcher.next_deadline(), None, "no timer");
}

#[test]
fn a_group_that_was_used_often_counts_once() {
    let mut bench = bench(5, of(2), &["a", "b"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    bench.uses("b", 1, 2);
    bench.stands_by("b", 2, 10);
    for number in 2..5 {
        let actions = bench.uses("b", number, i64::from(number) + 1);
        assert_eq!(actions, [stand_by("b", number + 1)]);
        bench.stands_by("b", number + 1, 10);
        assert_eq!((bench.state("a"), bench.state("b")), ("standby", "standby"));
    }
}

#[test]
fn what_stands_by_goes_before_what_rests_and_the_one_first_that_was_used_longest_ago() {
    let mut bench = bench(5, of(2), &["a", "b", "c", "d", "e", "f"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    bench.uses("b", 1, 2);
    bench.stands_by("b", 2, 10);
    bench.serve("c", 1, 3);
    // Two stand by, one rests, one is at work: one slot is left.
    assert_eq!(bench.message("d", 4), [start("d", 1)]);
    assert_eq!(bench.message("e", 5), [start("e", 1), stopped("a", 2)], "one is left for who comes next");
    assert_eq!(bench.message("f", 6), [stopped("b", 2)]);
    assert_eq!(bench.state("c"), "resting");
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: false }), [start("f", 1)]);
    assert_eq!(bench.says(run("b", 2), RunWord::Unused { failed: false }), []);
    assert_eq!(bench.state("c"), "resting", "nobody needs its place");
}

#[test]
fn containers_that_are_no_groups_leave_no_room_for_one_that_stands_by() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.tell(Event::LeftOver { containers: 2 });
    assert_eq!(bench.uses("a", 1, 1), []);
    assert_eq!(bench.tell(Event::LeftOver { containers: 1 }), [stand_by("a", 2)]);
    assert_eq!(bench.tell(Event::LeftOver { containers: 2 }), [stopped("a", 2)]);
}

#[test]
fn one_that_does_not_come_up_and_one_that_does_not_take_its_prompt_are_stopped_in_time() {
    let limit = GroupTimes::default().run;
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    assert_eq!(bench.wait(limit), [stopped("a", 2)], "it was being prepared");
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: false }), [stand_by("a", 3)]);
    bench.stands_by("a", 3, 10);
    assert_eq!(bench.wait(limit), [], "it may wait for long");
    bench.message("a", 2);
    assert_eq!(bench.wait(limit), [Action::Stop { run: run("a", 3), why: StopReason::TimedOut }]);
}

#[test]
fn one_that_was_of_use_makes_earlier_failures_forgotten() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    let fails = |bench: &mut Bench, number| {
        assert_eq!(bench.says(run("a", number), RunWord::Unused { failed: true }), []);
        let at = bench.dispatcher.next_deadline().unwrap();
        let pause = at - bench.now;
        bench.now = at;
        assert_eq!(bench.tell(Event::Tick), [stand_by("a", number + 1)]);
        pause
    };
    let pauses: Vec<_> = (2..6).map(|number| fails(&mut bench, number)).collect();
    assert_eq!(pauses[3], Duration::from_secs(600));
    bench.stands_by("a", 6, 10);
    bench.uses("a", 6, 2);
    assert!(fails(&mut bench, 7) < Duration::from_secs(10));
}

#[test]
fn what_an_earlier_agent_showed_says_nothing_of_one_that_was_started_ahead() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Beats);
    bench.says(run("a", 1), RunWord::Full);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    bench.says(run("a", 1), RunWord::Answered { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Full);
    bench.ends(run("a", 1), RunEnding::Finished);
    bench.stands_by("a", 2, 10);
    bench.message("a", 2);
    bench.says(run("a", 2), RunWord::Handed { through: Seq(2) });
    bench.says(run("a", 2), RunWord::Started);
    assert_eq!(bench.message("a", 3), [Action::Feed { run: run("a", 2) }], "it has room");
    let times = GroupTimes::default();
    assert!(times.run < times.turn);
    let deadline = bench.dispatcher.status()[0].deadline;
    assert_eq!(deadline, Some(bench.now + times.run), "it has given no sign of life");
}

#[test]
fn a_group_that_is_removed_is_forgotten_when_its_container_is_gone() {
    let mut bench = bench(3, of(1), &["a"]);
    bench.uses("a", 1, 1);
    bench.stands_by("a", 2, 10);
    assert_eq!(bench.tell(Event::GroupRemoved { group: folder("a") }), [stopped("a", 2)]);
    assert_eq!(bench.says(run("a", 2), RunWord::Unused { failed: false }), []);
    assert!(!bench.dispatcher.knows(&folder("a")));
}

#[test]
fn a_group_whose_last_runs_failed_has_none_until_it_is_answered() {
    let mut bench = bench(3, of(1), &[]);
    bench.tell(Event::GroupAdded {
        group: folder("a"),
        times: GroupTimes::default(),
        last_run: RunNumber(1),
        newest: Seq::ZERO,
        failures: 2,
        adopted: None,
    });
    assert_eq!(bench.tell(Event::UsedBefore { group: folder("a"), ago: Duration::ZERO }), []);
    assert_eq!(bench.state("a"), "idle");
    assert_eq!(bench.uses("a", 2, 1), [stand_by("a", 3)]);
}
