//! Who runs when many want to, and for how long.

use super::*;

fn group_names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("g{number:03}")).collect()
}

/// The groups that are started by these actions, in order.
fn started(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Start { run, .. } => Some(run.group.to_string()),
            _ => None,
        })
        .collect()
}

#[test]
fn f15_two_hundred_groups_that_wait_for_five_slots_are_served_in_the_order_in_which_they_began_to_wait() {
    let names = group_names(200);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut bench = Bench::new(5, &names);
    // Not in the order of their names.
    let order: Vec<&str> = (0..200).map(|number| names[number * 77 % 200]).collect();
    let mut served = Vec::new();
    for (seq, group) in (1..).zip(&order) {
        served.extend(started(&bench.message(group, seq)));
    }
    // And whoever writes again while waiting keeps its place, neither better nor worse.
    for (seq, group) in (201..).zip(names.iter().rev()) {
        served.extend(started(&bench.message(group, seq)));
    }
    let mut next = 0;
    while served.len() < 200 {
        let group = served[next].clone();
        served.extend(started(&bench.ends(run(&group, 1), RunEnding::Finished)));
        assert!(bench.dispatcher.live_runs() <= 5);
        next += 1;
    }
    assert_eq!(served[..200], order);
}

#[test]
fn f2_f15_a_group_that_never_stops_talking_runs_once_while_each_of_the_others_runs_once() {
    let mut bench = Bench::new(1, &["loud", "a", "b", "c"]);
    let mut seq = 1;
    bench.message("loud", seq);
    let mut live = ("loud".to_owned(), 1);
    for group in ["a", "b", "c"] {
        seq += 1;
        bench.message(group, seq);
    }
    let mut served = Vec::new();
    for _ in 0..12 {
        let (group, number) = live.clone();
        let handed = Seq(seq);
        bench.says(run(&group, number), RunWord::Handed { through: handed });
        bench.says(run(&group, number), RunWord::Started);
        for _ in 0..100 {
            seq += 1;
            let actions = bench.message("loud", seq);
            assert!(!actions.contains(&Action::Feed { run: run(&group, number) }), "others wait");
        }
        if group != "loud" {
            seq += 1;
            bench.message(&group, seq);
        }
        let mut actions = bench.says(run(&group, number), RunWord::Answered { through: handed });
        actions.extend(bench.ends(run(&group, number), RunEnding::Finished));
        let [Action::Start { run, .. }] =
            actions.iter().filter(|action| matches!(action, Action::Start { .. })).collect::<Vec<_>>()[..]
        else {
            panic!("{actions:?}")
        };
        live = (run.group.to_string(), run.number.0);
        served.push(live.0.clone());
    }
    for turn in served.chunks(4) {
        let mut turn = turn.to_vec();
        turn.sort();
        assert_eq!(turn, ["a", "b", "c", "loud"], "{served:?}");
    }
}

#[test]
fn an_agent_whose_mailbox_is_full_is_not_fed_until_it_has_said_something() {
    let mut bench = Bench::new(1, &["a"]);
    bench.message("a", 1);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(1) });
    bench.says(run("a", 1), RunWord::Started);
    let feed = || Action::Feed { run: run("a", 1) };
    assert_eq!(bench.message("a", 2), [feed()]);
    bench.says(run("a", 1), RunWord::Handed { through: Seq(2) });
    assert_eq!(bench.message("a", 3), [feed()]);
    assert_eq!(bench.says(run("a", 1), RunWord::Full), []);
    assert_eq!(bench.message("a", 4), []);
    assert_eq!(bench.says(run("a", 1), RunWord::Answered { through: Seq(1) }), [feed()]);
    bench.says(run("a", 1), RunWord::Full);
    // Its container gone, all of it goes to the next run.
    assert_eq!(bench.ends(run("a", 1), RunEnding::Finished), [start("a", 2)]);
    bench.says(run("a", 2), RunWord::Handed { through: Seq(3) });
    assert_eq!(bench.says(run("a", 2), RunWord::Started), [Action::Feed { run: run("a", 2) }]);
}

#[test]
fn f30_the_time_limits_of_a_group_are_its_own() {
    let seconds = Duration::from_secs;
    let mut bench = Bench::new(2, &["other"]);
    let times = GroupTimes { idle: seconds(10), run: seconds(20), turn: seconds(60) };
    let (last_run, newest) = (RunNumber::ZERO, Seq::ZERO);
    bench.tell(Event::GroupAdded { group: folder("a"), times, last_run, newest, failures: 0, adopted: None });
    bench.serve("other", 1, 1);
    bench.serve("a", 1, 2);
    assert_eq!(bench.wait(seconds(10) - Duration::from_millis(1)), []);
    assert_eq!(bench.wait(Duration::from_millis(1)), [Action::Close { run: run("a", 1) }], "rested for its time");
    bench.ends(run("a", 1), RunEnding::Finished);

    let begin = |bench: &mut Bench, number, seq| {
        bench.message("a", seq);
        bench.says(run("a", number), RunWord::Handed { through: Seq(seq) });
        bench.says(run("a", number), RunWord::Started);
    };
    let stop = |number| Action::Stop { run: run("a", number), why: StopReason::TimedOut };
    begin(&mut bench, 2, 3);
    assert_eq!(bench.wait(seconds(20)), [stop(2)], "silent for its time");
    bench.ends(run("a", 2), RunEnding::Stopped);
    begin(&mut bench, 3, 3);
    for _ in 0..11 {
        bench.says(run("a", 3), RunWord::Progress);
        assert_eq!(bench.wait(seconds(5)), []);
    }
    bench.says(run("a", 3), RunWord::Progress);
    assert_eq!(bench.wait(seconds(5)), [stop(3)], "one answer took its time");
}
