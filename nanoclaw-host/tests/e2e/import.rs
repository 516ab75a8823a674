//! After moving in from NanoClaw v1 the agents go on where they were.

use crate::{
    bridge::{Bridge, Chat},
    place::{Place, on_each_runtime, wait},
    process::until,
    v1_home::{FAMILY_SESSION, MAIN_SESSION, V1Home},
};

on_each_runtime! {
    the_first_message_in_a_group_continues_its_session,
}

fn the_first_message_in_a_group_continues_its_session(place: &Place) {
    // Credentials would have a real agent started, which there is none of here; tasks would speak between.
    let v1 = wait(V1Home::make(place.folder()));
    std::fs::write(v1.root.join(".env"), "TZ=Europe/Berlin\n").unwrap();
    wait(v1.execute("UPDATE scheduled_tasks SET status = 'paused' WHERE status = 'active'"));
    // What the family's containers are to see, so that nobody is told that it is missing.
    std::fs::create_dir_all(place.folder().join("projects/site")).unwrap();
    let plan = place.json(["import", v1.root.to_str().unwrap(), "--yes", "--json"]);
    assert_eq!(plan["imported"], true, "{plan:#}");

    // Telegram itself is not there to be asked: a bridge carries its chats.
    let config = std::fs::read_to_string(place.home().config_file()).unwrap();
    let off = "[channels.telegram]\nenabled = false\n";
    std::fs::write(place.home().config_file(), config.replace("[channels.telegram]\n", off)).unwrap();
    let service = place.service();
    let mut bridge = Bridge::connect_as(place, "tg");
    let mut chat = Chat::default();
    // What the family had asked within the last hour is answered, once, by the agent that goes on.
    let first = bridge.show(&mut chat);
    assert!(first.contains("@Andy question 36"), "{first}");
    until("all that waited is answered", || {
        place.rows("SELECT folder FROM groups WHERE folder = 'family' AND answered_through >= (SELECT MAX(seq) FROM messages m WHERE m.chat = groups.chat AND m.wakes = 1)")
            .pop()
    });

    bridge.private_message("tg:100", "new-1", "recall");
    let recalled = until("the main group's agent answers", || {
        let shown = bridge.show(&mut chat);
        shown.contains("I recall").then_some(shown)
    });
    assert!(recalled.contains("Ann: the code is 4711"), "it goes on with what was said before: {recalled}");
    // That of the games had none, and may have begun one.
    let sessions = place.rows(
        "SELECT group_folder || ' ' || session_id FROM sessions WHERE group_folder IN ('family', 'main') ORDER BY group_folder",
    );
    assert_eq!(sessions, [format!("family {FAMILY_SESSION}"), format!("main {MAIN_SESSION}")]);
    // Of what had been answered nothing is said again.
    assert!(chat.shown.iter().all(|text| !text.contains("question 24")), "{:?}", chat.shown);
    service.signal(rustix::process::Signal::TERM);
    service.ended();
}
