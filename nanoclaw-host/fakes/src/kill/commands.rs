//! What people do at the command line while a host lives: it is how some failpoints are passed.

use std::time::Duration;

use tokio::sync::watch;

use super::{
    house::{House, ODD_FOLDER},
    lives::is_call,
    tasks::FIRST_TASK,
};

/// Commands; [`ODD`] stands for the names of the odd group's turns that are set aside.
type Commands = &'static [&'static [&'static str]];

const ODD: &str = "ODD";
const LOOK_AT_GROUPS: Commands = &[
    &["groups", "chats"],
    &["groups", "list"],
    &["groups", "add", "other:1", "--name", "Another", "--folder", "another"],
    &["ps"],
    &["groups", "remove", "another"],
];
const LOOK_AT_OUTBOX: Commands = &[&["outbox", "list", "--all"], &["outbox", "show", "1"], &["outbox", "retry", "1"]];
const LOOK_AT_TURNS: Commands = &[&["turns", "list"], &["turns", "show", ODD], &["turns", "drop", ODD]];
/// Points that are passed when somebody gives a command.
const BY_COMMAND: [(&str, Commands); 20] = [
    ("store.chats", LOOK_AT_GROUPS),
    ("store.groups", LOOK_AT_GROUPS),
    ("store.add_group", LOOK_AT_GROUPS),
    ("store.remove_group", LOOK_AT_GROUPS),
    ("store.unanswered", LOOK_AT_GROUPS),
    ("store.runs", LOOK_AT_GROUPS),
    ("runtime.stats", LOOK_AT_GROUPS),
    ("store.resolve_delivery", LOOK_AT_OUTBOX),
    ("store.delivery", &[&["outbox", "show", "reply/main/1/1"]]),
    ("store.delivery_at", LOOK_AT_OUTBOX),
    ("store.deliveries", LOOK_AT_OUTBOX),
    ("store.set_aside", LOOK_AT_TURNS),
    ("store.resolve_set_aside", LOOK_AT_TURNS),
    ("store.messages_between", LOOK_AT_TURNS),
    ("store.turns", LOOK_AT_TURNS),
    ("tasks.add", &[&["tasks", "add", "kill:0", "--when", "in 24h", "this is not due any more in a round"]]),
    ("tasks.list", &[&["tasks", "list"]]),
    ("tasks.change", &[&["tasks", "pause", FIRST_TASK], &["tasks", "resume", FIRST_TASK]]),
    ("tasks.fire_now", &[&["tasks", "run", FIRST_TASK]]),
    ("tasks.firings", &[&["tasks", "log", FIRST_TASK]]),
];
/// How soon people look again.
const PAUSE: Duration = Duration::from_millis(50);

/// Gives the commands by which `point` is passed, again and again from when the host is ready to when it has ended: `host` is
/// dropped then. Whether a command works does not matter, since the host may be dead at any moment.
pub(super) async fn people(house: &House, mut host: watch::Receiver<bool>, point: &str) {
    let Some((_, commands)) = BY_COMMAND.iter().find(|(call, _)| is_call(point, call)) else { return };
    if host.wait_for(|ready| *ready).await.is_err() {
        return;
    }
    while host.has_changed().is_ok() {
        for command in *commands {
            if !command.contains(&ODD) {
                let _ = house.succeeds(command).await;
                continue;
            }
            for turn in odd_turns(house).await {
                let command: Vec<&str> = command.iter().map(|word| if *word == ODD { &turn } else { *word }).collect();
                let _ = house.succeeds(&command).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The names of the odd group's turns that are set aside. One that is dropped before that is set aside without a word.
async fn odd_turns(house: &House) -> Vec<String> {
    let listed = house.succeeds(&["turns", "list", "--json"]).await.unwrap_or_default();
    let turns: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap_or_default();
    let odd = turns.iter().filter(|turn| turn["group"] == ODD_FOLDER && turn["state"] == "set_aside");
    odd.filter_map(|turn| turn["id"].as_str().map(str::to_owned)).collect()
}
