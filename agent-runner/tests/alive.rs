//! The agent's signs of life.

mod common;

use std::{fs, path::PathBuf};

use common::{Home, SAYS_NO, assert_slept, input, message, task_with, until};

fn beat(home: &Home) -> PathBuf {
    home.path("ipc/alive/beat")
}

/// Tells one sign from the next: each is another file.
fn mark(home: &Home) -> Option<(u64, std::time::SystemTime)> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(beat(home)).ok()?;
    Some((metadata.ino(), metadata.modified().ok()?))
}

#[test]
fn signs_of_life_are_given_at_work_and_at_rest() {
    let home = Home::new();
    home.make_gate();
    let mut agent = home.agent(&input(&message("!run cat gate"), 1));
    let gate = home.reached();
    until("a sign at work", || beat(&home).exists());
    let first = mark(&home);
    until("the next one", || mark(&home).is_some_and(|next| Some(next) != first));
    drop(gate);
    agent.block();
    let last = mark(&home);
    until("one at rest", || mark(&home).is_some_and(|next| Some(next) != last));
    home.close();
    assert_eq!(agent.code(), 0, "{}", agent.errors());
    assert_eq!(home.names("alive"), ["beat"], "whole files only");
}

#[test]
fn signs_of_life_are_given_while_a_tasks_script_runs() {
    let home = Home::new();
    home.make_gate();
    let mut agent = home.agent(&task_with(&format!("cat gate; {SAYS_NO}"), "sum them up"));
    let gate = home.reached();
    until("a sign", || beat(&home).exists());
    let first = mark(&home);
    until("the next one", || mark(&home).is_some_and(|next| Some(next) != first));
    drop(gate);
    assert_slept(&mut agent);
}

#[test]
fn a_host_that_does_not_ask_for_signs_of_life_gets_none() {
    let home = Home::new();
    let mut v1 = input(&message("one"), 1);
    v1.protocol = None;
    let mut agent = home.agent(&v1);
    agent.block();
    home.close();
    assert_eq!(agent.code(), 0);
    assert!(home.names("alive").is_empty());
}

#[test]
fn a_host_without_a_folder_for_signs_of_life_is_served_all_the_same() {
    let home = Home::new();
    fs::remove_dir(home.path("ipc/alive")).unwrap();
    let mut agent = home.agent(&input(&message("one"), 1));
    assert_eq!(agent.block().result.as_deref(), Some("heard one"));
    home.close();
    assert_eq!(agent.code(), 0);
}

#[test]
fn signs_of_life_that_cannot_be_written_stop_no_work() {
    let home = Home::new();
    // A folder that is not empty cannot be replaced by a file, whoever tries.
    fs::create_dir_all(beat(&home).join("in the way")).unwrap();
    let mut agent = home.agent(&input(&message("one"), 1));
    assert_eq!(agent.block().result.as_deref(), Some("heard one"));
    agent.until_it_says("cannot give a sign of life");
    home.close();
    assert_eq!(agent.code(), 0);
}
