//! An agent that is not ours: a shell script that knows NanoClaw v1's contract and nothing that we added to it.

use rustix::process::Signal;

use crate::{
    place::{Place, on_each_runtime},
    process::until,
};

on_each_runtime! {
    a_foreign_agent_answers_follows_up_and_ends_when_it_is_asked_to,
    a_foreign_agent_of_one_group_leaves_the_others_theirs,
}

/// Reads the prompt as JSON on standard input, answers in blocks without our additions, and looks for follow-ups by
/// polling, as v1 does.
const AGENT: &str = r#"#!/bin/sh
block() {
    printf -- '---NANOCLAW_OUTPUT_START---\n{"status":"success","result":%s,"newSessionId":"foreign-1"}\n' "$1"
    printf -- '---NANOCLAW_OUTPUT_END---\n'
}
answer() {
    # What stands in the last message element, still escaped as JSON.
    said=$(printf '%s' "$1" | sed -n 's/.*<message [^>]*>\([^<]*\)<\/message>.*/\1/p')
    echo "noise that is no block"
    block "\"the script read: $said\""
    block null
}
input=$(cat)
case $input in
    *'"prompt"'*'"groupFolder"'*'"chatJid"'*) ;;
    *) echo "this is no input" >&2; exit 1 ;;
esac
case $input in *'"sessionId":"foreign-1"'*) echo resumed > resumed ;; esac
answer "$input"
while :; do
    for file in /workspace/ipc/input/*.json; do
        [ -f "$file" ] || continue
        text=$(cat "$file")
        rm "$file"
        answer "$text"
    done
    if [ -e /workspace/ipc/input/_close ]; then
        rm /workspace/ipc/input/_close
        echo closed > closed
        exit 0
    fi
    sleep 0.1
done
"#;

/// The lines of a section of `nanoclaw.toml` that make it the agent.
pub const COMMAND: &str = "command = [\"/bin/sh\", \"/workspace/group/agent.sh\"]\n";

/// Puts it into the group's folder.
pub fn install(place: &Place, group: &str) {
    std::fs::create_dir_all(place.group(group)).unwrap();
    std::fs::write(place.group(group).join("agent.sh"), AGENT).unwrap();
}

pub fn a_foreign_agent_answers_follows_up_and_ends_when_it_is_asked_to(place: &Place) {
    place.configure(&format!("[agent]\n{COMMAND}[limits]\nidle_timeout = \"1s\"\n"));
    install(place, "main");
    let service = place.service();
    let printed = place.chat(&["good morning", "and a follow-up"]).succeeded();
    assert_eq!(printed, "the script read: good morning\nthe script read: and a follow-up\n");
    assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM runs"), ["1"], "one container heard both");
    // It rested long enough: it is asked to end, and does.
    until("the run is over", || (place.rows("SELECT COALESCE(ending, '') FROM runs") == ["finished"]).then_some(()));
    assert_eq!(std::fs::read_to_string(place.group("main").join("closed")).unwrap(), "closed\n");
    assert!(!place.group("main").join("resumed").exists());
    // The next run is given the session that the script named.
    assert_eq!(place.chat(&["still there?"]).succeeded(), "the script read: still there?\n");
    assert!(place.group("main").join("resumed").exists());
    assert_eq!(place.rows("SELECT DISTINCT state FROM turns"), ["answered"]);
    let logged = place.run(["logs", "main"]).succeeded();
    assert!(logged.contains("noise that is no block"), "what is no block is the run's log: {logged}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
}

fn a_foreign_agent_of_one_group_leaves_the_others_theirs(place: &Place) {
    place.configure(&format!("[groups.script]\n{COMMAND}"));
    install(place, "script");
    let add = ["groups", "add", "local:script", "--name", "Script", "--folder", "script", "--no-trigger"];
    place.run(add).succeeded();
    let service = place.service();
    let printed = place.run(["chat", "--chat", "local:script", "-m", "who are you?"]).succeeded();
    assert_eq!(printed, "the script read: who are you?\n");
    assert_eq!(place.chat(&["and you?"]).succeeded(), "heard and you?\n");
    let explained = place.json(["explain", "script", "--json"]);
    let setting = |name: &str| {
        let all = explained["settings"].as_array().unwrap();
        all.iter().find(|setting| setting["name"] == name).map(|setting| setting["value"].clone()).unwrap_or_default()
    };
    assert!(setting("command").as_str().unwrap().ends_with("init -- /bin/sh /workspace/group/agent.sh"), "{explained}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}
