//! A group's overlay, in real containers: what an agent can do to it, what it does to the agent, and who is told of mistakes.

use std::fs;

use nanoclaw_core::group::GroupFolder;

use crate::place::{Place, on_each_runtime};

on_each_runtime! {
    an_agent_shapes_itself_is_told_its_mistakes_and_cannot_thaw_what_is_frozen,
}

pub fn an_agent_shapes_itself_is_told_its_mistakes_and_cannot_thaw_what_is_frozen(place: &Place) {
    place.configure("[agent]\nprovider = \"offline\"\n");
    let written =
        place.chat(&["!run echo hooks.start = \\'touch hooked\\' > /app/src/agent.toml; echo done"]).succeeded();
    assert!(written.trim_end().ends_with(": done"), "{written}");
    let file = place.home().overlay(&GroupFolder::new("main").unwrap()).join("agent.toml");
    assert_eq!(fs::read_to_string(&file).unwrap(), "hooks.start = 'touch hooked'\n");
    assert!(!place.group("main").join("hooked").exists());
    place.chat(&["hello"]).succeeded();
    assert!(place.group("main").join("hooked").exists(), "what it wrote runs in its next container");

    fs::write(&file, "prompt = oops\n").unwrap();
    let answered = place.chat(&["hello"]).succeeded();
    assert!(answered.contains("heard hello"), "it works without: {answered}");
    place.chat(&["and again"]).succeeded();
    let told = place.rows("SELECT text FROM outbox WHERE text LIKE '%overlay%'");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("agent.toml cannot be used") && told[0].contains("line 1, column 10"), "{told:?}");

    place.configure("[agent]\nprovider = \"offline\"\n[groups.main]\noverlay = \"frozen\"\n");
    let frozen = place.chat(&["!run cat /app/src/agent.toml; rm -f /app/src/agent.toml || echo refused"]).succeeded();
    assert!(frozen.contains("prompt = oops") && frozen.contains("refused"), "{frozen}");
    assert!(file.exists());
    let explained = place.run(["explain", "main"]).succeeded();
    assert!(explained.contains("/app/src") && explained.contains("frozen"), "{explained}");

    place.configure("[agent]\nprovider = \"offline\"\noverlay = \"none\"\n");
    let none = place.chat(&["!run ls /app/src || echo nothing"]).succeeded();
    assert!(none.contains("nothing"), "{none}");
    place.nothing_is_left();
}
