//! Skills, in real containers: which an agent finds, and what it can do to them.

use nanoclaw_fakes::model_api::Script;

use crate::{
    claude::Bench,
    place::{On, Place, on_each_runtime},
};

on_each_runtime! {
    an_agent_finds_its_skills_cannot_change_them_and_loses_those_that_are_removed,
}

/// Says which skills it finds, what it can do to one, and leaves something of its own in the place of another.
const AGENT: &str = r#"#!/bin/sh
cat >/dev/null
cd ~/.claude/skills
found=$(ls | tr '\n' ' ')
said=$(sed -n 's/^description: //p' billing/SKILL.md 2>/dev/null)
could=nothing
for what in billing/new billing/SKILL.md /workspace/skills/new; do
    (echo spoilt >>"$what") 2>/dev/null && could="write $what"
done
rm -f status && mkdir -p status own && echo mine >status/SKILL.md
printf -- '---NANOCLAW_OUTPUT_START---\n{"status":"success","result":"%s| %s| %s"}\n' "$found" "$said" "$could"
printf -- '---NANOCLAW_OUTPUT_END---\n'
"#;

fn skill(place: &Place, name: &str, description: &str) {
    let folder = place.folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("SKILL.md"), format!("---\ndescription: {description}\n---\n# How\n")).unwrap();
    place.run(["skills", "add", "--replace", folder.to_str().unwrap()]).succeeded();
}

pub fn an_agent_finds_its_skills_cannot_change_them_and_loses_those_that_are_removed(place: &Place) {
    place.configure(
        "[agent]\ncommand = [\"/bin/sh\", \"/workspace/group/agent.sh\"]\nskills = [\"billing\", \"status\", \"away\"]\n",
    );
    std::fs::create_dir_all(place.group("main")).unwrap();
    std::fs::write(place.group("main").join("agent.sh"), AGENT).unwrap();
    skill(place, "billing", "Writes bills.");

    let first = place.chat(&["hello"]).succeeded();
    assert!(first.contains("billing status | Writes bills.| nothing\n"), "{first}");
    assert!(first.contains("there is no skill away"), "its owner is told: {first}");

    skill(place, "billing", "Sends bills.");
    let second = place.chat(&["hello"]).succeeded();
    assert_eq!(second, "billing own status | Sends bills.| nothing\n", "what it made beside them stays");

    place.run(["skills", "remove", "billing"]).succeeded();
    let third = place.chat(&["hello"]).succeeded();
    assert!(third.contains("own status | | nothing\n"), "{third}");
    assert!(!third.contains("billing own"), "{third}");
    let shown = place.run(["explain", "main"]).succeeded();
    assert!(shown.contains("/workspace/skills") && shown.contains("its skills: status"), "{shown}");
    place.nothing_is_left();
}

/// The real program lists what it found to its model.
#[test]
fn the_real_claude_knows_of_its_skills() {
    let Some(bench) = Bench::with(On::Sandbox, Script::tools()) else { return };
    skill(&bench.place, "billing", "Writes a bill with four thousand seven hundred and eleven stamps.");
    bench.place.chat(&["hello"]).succeeded();
    let asked = bench.last_request();
    assert!(asked.contains("four thousand seven hundred and eleven stamps"), "{asked}");
    assert!(!asked.contains("chromium --headless"), "instructions are read when they are needed");
}
