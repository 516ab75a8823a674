//! `agent-runner terminal`: what a command sees that is given one, and what becomes of both when one of them ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{Read as _, Write as _},
    process::{Child, Command, Stdio},
};

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
    command.arg("terminal").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads until `word` was seen.
fn until(child: &mut Child, word: &str) -> String {
    let mut seen = Vec::new();
    let mut byte = [0];
    let stdout = child.stdout.as_mut().unwrap();
    while !String::from_utf8_lossy(&seen).contains(word) {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "it ended after {:?}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    String::from_utf8(seen).unwrap()
}

/// Waits until it ends, its input still open: only then is it its own end.
fn rest(mut child: Child) -> (Option<i32>, String) {
    let mut shown = String::new();
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    (child.wait().unwrap().code(), shown)
}

#[test]
fn a_command_has_a_terminal_of_the_size_that_was_asked_for() {
    let script = "[ -t 0 ] && [ -t 1 ] && [ -t 2 ] && stty size && : > /dev/tty && echo controlling; echo done";
    let mut child = start(&["--size", "500x50", "--", "/bin/sh", "-c", script]);
    let shown = until(&mut child, "done");
    assert_eq!(shown, "50 500\r\ncontrolling\r\ndone");
}

#[test]
fn what_is_typed_reaches_the_command_and_its_code_comes_back() {
    let mut child =
        start(&["--", "/bin/sh", "-c", "stty -echo; printf 'name? '; read -r name; echo \"hello $name\"; exit 7"]);
    until(&mut child, "name? ");
    child.stdin.as_mut().unwrap().write_all(b"Ann\r").unwrap();
    until(&mut child, "hello Ann");
    assert_eq!(rest(child).0, Some(7));
}

#[test]
fn a_command_that_takes_keys_one_by_one_gets_them_so() {
    let script = "stty raw -echo; printf ready; key=$(dd bs=1 count=1 2>/dev/null); printf \"[$key]\"; stty sane";
    let mut child = start(&["--", "/bin/sh", "-c", script]);
    until(&mut child, "ready");
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    until(&mut child, "[x]");
    assert_eq!(rest(child).0, Some(0));
}

#[test]
fn a_command_has_no_variable_that_it_is_not_to_have() {
    let mut child =
        start(&["--without", "PATH", "--without", "HOME", "--", "/bin/sh", "-c", "echo home ${HOME-none}; echo done"]);
    let shown = until(&mut child, "done");
    assert_eq!(shown, "home none\r\ndone");
}

#[test]
fn an_interrupt_that_is_typed_ends_the_command() {
    let mut child = start(&["--", "/bin/sh", "-c", "echo ready; exec sleep 600"]);
    until(&mut child, "ready");
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    assert_eq!(rest(child).0, Some(130));
}

#[test]
fn a_command_whose_input_ends_is_hung_up_on() {
    let mut child = start(&["--", "/bin/sh", "-c", "echo ready; exec sleep 600"]);
    until(&mut child, "ready");
    drop(child.stdin.take());
    assert_eq!(rest(child).0, Some(129));
}

#[test]
fn a_command_that_is_not_there_is_told() {
    let child = start(&["--", "/no/such/program"]);
    let (code, shown) = rest(child);
    assert_eq!(code, Some(127));
    assert!(shown.contains("/no/such/program"), "{shown}");
    for arguments in [vec!["--size", "big", "--", "x"], vec!["--"], vec!["--wide", "--", "x"]] {
        assert_eq!(rest(start(&arguments)).0, Some(2), "{arguments:?}");
    }
}
