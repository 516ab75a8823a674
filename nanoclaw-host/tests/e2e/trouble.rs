//! Bad input and a bad world: a clear word, nothing lost, and the other groups go on.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt},
};

use rustix::process::Signal;

use crate::{
    place::{On, Place, on_each_runtime},
    process::{Running, until},
};

on_each_runtime! {
    a_mailbox_flooded_with_links_and_fifos_hurts_nobody,
    a_runner_that_is_not_there_is_told_with_its_path,
    f42_a_refused_login_waits_for_its_repair_is_shown_and_answered_when_retried,
    f06_what_is_refused_is_set_aside_shown_retried_and_dropped,
}

#[test]
fn every_mistake_of_the_configuration_is_told_at_once_by_every_command() {
    let place = Place::bare();
    place.configure("[assistant]\nname = 3\n[limits]\nidle_timeout = \"soon\"\nmax_concurent = 4\n[nonsense]\n");
    for command in [vec!["run"], vec!["chat", "-m", "hi"], vec!["ps"], vec!["groups", "list"], vec!["doctor"]] {
        let ended = place.run(&command);
        assert_eq!(ended.code, Some(1), "{command:?}: {ended}");
        // What doctor finds is what it prints; what keeps the others from their work is an error.
        let told = if command == ["doctor"] { ended.stdout } else { ended.failed(1) };
        for part in ["4 mistakes", "nanoclaw.toml:2", "nanoclaw.toml:4", "nanoclaw.toml:5", "nanoclaw.toml:6", "help: "]
        {
            assert!(told.contains(part), "{part} is missing in what {command:?} says: {told}");
        }
    }
}

#[test]
fn what_is_not_text_or_leaves_the_home_is_refused() {
    let place = Place::bare();
    place.run(["init"]).succeeded();
    let odd = OsStr::from_bytes(b"caf\xe9");
    let told = place.run([OsStr::new("chat"), OsStr::new("-m"), odd]).failed(2);
    assert!(told.contains("UTF-8"), "{told}");
    for folder in ["..", "../x", "/etc", "a/../b"] {
        let told = place.run(["groups", "add", "tg:1", "--name", "x", "--folder", folder]).failed(2);
        assert!(told.contains("folder"), "{told}");
    }
    assert_eq!(place.json(["groups", "list", "--json"]), serde_json::json!([]));
}

/// A home in which something was said, on the runtime that needs least.
fn used() -> Option<Place> {
    let place = Place::on(On::Sandbox)?;
    assert_eq!(place.chat(&["keep this"]).succeeded(), "heard keep this\n");
    Some(place)
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let Some(place) = used() else { return };
    place.execute(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, x'00', 0)",
    );
    let before = std::fs::read(place.home().database()).unwrap();
    for command in [vec!["run"], vec!["chat", "-m", "hi"], vec!["groups", "list"], vec!["ps"]] {
        let told = place.run(&command).failed(1);
        assert!(told.contains("newer") && told.contains("nanoclaw.db"), "{command:?}: {told}");
    }
    assert!(std::fs::read(place.home().database()).unwrap() == before, "the database was changed");
    place.execute("DELETE FROM _sqlx_migrations WHERE version = 9999");
    assert_eq!(place.chat(&["recall"]).succeeded(), "I recall 1 message:\n1. ann: keep this\n");
}

#[test]
fn a_torn_database_is_told_and_left_as_it_is() {
    let Some(place) = used() else { return };
    for name in ["nanoclaw.db-wal", "nanoclaw.db-shm"] {
        // Moved into the database by a connection that ends in order.
        place.rows("SELECT value FROM meta");
        let _ = std::fs::remove_file(place.home().store().join(name));
    }
    let whole = std::fs::read(place.home().database()).unwrap();
    for torn in [whole[..whole.len() / 2].to_vec(), [&whole[..100], &[0xA5; 9000]].concat(), b"not a database".to_vec()]
    {
        std::fs::write(place.home().database(), &torn).unwrap();
        for command in [vec!["run"], vec!["chat", "-m", "hi"], vec!["groups", "list"]] {
            let ended = place.run(&command);
            assert_eq!(ended.code, Some(1), "{command:?} with {} bytes: {ended}", torn.len());
            assert!(ended.stderr.contains("nanoclaw.db"), "{command:?} with {} bytes: {ended}", torn.len());
        }
    }
    std::fs::write(place.home().database(), whole).unwrap();
    assert_eq!(place.chat(&["recall"]).succeeded(), "I recall 1 message:\n1. ann: keep this\n");
}

#[test]
fn a_read_only_home_is_told() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: needs an ordinary user, root may write everywhere");
        return;
    }
    let place = Place::bare();
    place.run(["init"]).succeeded();
    let folders = [place.home().store(), place.home().root().to_owned()];
    for folder in &folders {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o555)).unwrap();
    }
    for command in [vec!["run"], vec!["chat", "-m", "hi"], vec!["groups", "list"]] {
        let told = place.run(&command).failed(1);
        assert!(told.contains("store") && told.contains("help: "), "{command:?}: {told}");
    }
    for folder in &folders {
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

#[test]
fn an_image_that_is_missing_is_told_in_its_chat_and_holds_up_nobody_else() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.configure("[groups.lost]\nimage = \"nanoclaw-test-missing:none\"\n");
    let add = ["groups", "add", "local:lost", "--name", "Lost", "--folder", "lost", "--no-trigger"];
    place.run(add).succeeded();
    place.run(["groups", "add", "local:main", "--name", "Me", "--main"]).succeeded();
    let service = place.service();
    let ended = place.run(["chat", "--chat", "local:lost", "-m", "hello?"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stdout.contains("is kept"), "the chat is told: {ended}");
    assert!(ended.stderr.contains("nanoclaw-test-missing:none"), "{ended}");
    let turns = place.json(["turns", "list", "lost", "--json"]);
    assert_eq!((&turns[0]["state"], &turns[0]["trouble"]), (&"paused".into(), &"setup".into()), "{turns}");
    assert_eq!(place.rows("SELECT text FROM messages"), ["hello?"], "what was said is kept");
    let here = place.chat(&["and here?"]).succeeded();
    assert!(here.contains("nanoclaw-test-missing:none"), "the owner is told: {here}");
    assert!(here.ends_with("heard and here?\n"), "{here}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

fn f42_a_refused_login_waits_for_its_repair_is_shown_and_answered_when_retried(place: &Place) {
    place.run(["init"]).succeeded();
    let service = place.service();
    let ended = place.chat(&["!fail-until key login no luck"]);
    assert_eq!(ended.code, Some(1), "nobody waits for ever: {ended}");
    assert!(ended.stdout.contains("no luck") && ended.stdout.contains("nanoclaw auth set"), "{ended}");
    assert!(ended.stderr.contains("login") && ended.stderr.contains("kept"), "{ended}");
    // Whoever comes later is told at once, and on the screen once only.
    let second = place.chat(&["anybody?"]);
    assert_eq!(second.code, Some(1), "{second}");
    assert!(second.stdout.is_empty() && second.stderr.contains("no luck"), "{second}");

    let turns = place.json(["turns", "list", "--json"]);
    assert_eq!(turns.as_array().unwrap().len(), 1, "{turns}");
    assert_eq!(
        (&turns[0]["state"], &turns[0]["trouble"], &turns[0]["tries"]),
        (&"paused".into(), &"login".into(), &0.into())
    );
    assert!(turns[0]["next_try_at_ms"].is_i64(), "{turns}");
    let name = turns[0]["id"].as_str().unwrap();
    let shown = place.run(["turns", "show", name]).succeeded();
    for part in ["paused (login)", "no luck", "!fail-until key login", "anybody?"] {
        assert!(shown.contains(part), "{part} is missing: {shown}");
    }
    let ps = place.run(["ps"]).succeeded();
    assert!(ps.contains("paused (login), next try") && ps.contains("nanoclaw turns list"), "{ps}");
    let doctor = place.run(["doctor"]);
    assert!(doctor.stdout.contains("1 waiting for the end of a trouble"), "{doctor}");

    std::fs::write(place.group("main").join("key"), "").unwrap();
    place.run(["turns", "retry", "--all"]).succeeded();
    let answers = until("it is answered", || {
        let texts = place.rows("SELECT text FROM outbox WHERE key LIKE 'reply/%'");
        (!texts.is_empty()).then_some(texts)
    });
    assert_eq!(answers, ["found key\nheard anybody?"]);
    assert_eq!(place.json(["turns", "list", "--all", "--json"]), serde_json::json!([]));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
}

fn f06_what_is_refused_is_set_aside_shown_retried_and_dropped(place: &Place) {
    place.run(["init"]).succeeded();
    // With a host of its own each time: what was decided is in the store.
    let ended = place.chat(&["!fail-until key refused bad words"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stdout.contains("I could not answer “!fail-until key"), "which it was: {ended}");
    assert!(ended.stdout.contains("bad words") && ended.stdout.contains("nanoclaw turns retry main/1"), "{ended}");
    let listed = place.run(["turns", "list"]).succeeded();
    assert!(listed.contains("main/1") && listed.contains("set aside") && listed.contains("bad words"), "{listed}");
    assert_eq!(place.chat(&["and now?"]).succeeded(), "heard and now?\n", "the group goes on");

    place.run(["turns", "drop", "main/1"]).succeeded();
    assert_eq!(place.json(["turns", "list", "--json"]), serde_json::json!([]));
    assert_eq!(place.json(["turns", "list", "--all", "--json"])[0]["state"], "dropped");
    std::fs::write(place.group("main").join("key"), "").unwrap();
    place.run(["turns", "retry", "main/1"]).succeeded();
    let again = place.run(["turns", "retry", "main/1"]).failed(1);
    assert!(again.contains("retried"), "{again}");
    let shown = place.chat(&["hello"]).succeeded();
    assert!(shown.starts_with("found key"), "it is answered when a host runs: {shown}");
    assert_eq!(place.rows("SELECT text FROM messages WHERE id LIKE 'nanoclaw-retry/%'").len(), 1);
    let unknown = place.run(["turns", "drop", "main/999"]).failed(1);
    assert!(unknown.contains("main/999") && unknown.contains("turns list"), "{unknown}");
}

fn a_runner_that_is_not_there_is_told_with_its_path(place: &Place) {
    place.configure("[agent]\nrunner = \"/nonexistent/agent-runner\"\n");
    let talk = Running::start(&mut place.command(["chat", "--timeout", "30", "-m", "hello"]));
    let ended = talk.ended();
    assert_eq!(ended.code, Some(1), "{ended}");
    let told = format!("{}{}", ended.stdout, ended.stderr);
    assert!(told.contains("there is no agent-runner at /nonexistent/agent-runner"), "{ended}");
    assert!(told.contains("cargo build --release -p agent-runner"), "what to do about it: {ended}");
    assert!(!told.contains("is tried again"), "trying again does not make a program: {ended}");
    let doctor = place.run(["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor}");
    assert!(doctor.stdout.contains("/nonexistent/agent-runner"), "{doctor}");
}

fn a_mailbox_flooded_with_links_and_fifos_hurts_nobody(place: &Place) {
    let add = ["groups", "add", "local:other", "--name", "Other", "--folder", "other", "--no-trigger"];
    place.run(["init"]).succeeded();
    place.run(add).succeeded();
    let secret = place.folder().join("secret.json");
    std::fs::write(&secret, r#"{"type":"message","chatJid":"local:main","text":"stolen"}"#).unwrap();
    let service = place.service();
    let flood = format!(
        "!run cd /workspace/ipc/messages; i=0; while [ $i -lt 300 ]; do ln -s {0} l$i.json; mkfifo f$i.json; \
         mkdir d$i.json; i=$((i+1)); done; ln -s /etc link.json; head -c 3000000 /dev/zero > big.json; \
         echo '{{' > torn.json; printf '\\377' > binary.json; echo $i",
        secret.display()
    );
    // In another group than the main one, which has no more rights than it needs.
    let said = ["chat", "--chat", "local:other", "-m", &flood, "-m", "still there?"];
    let printed = place.run(said).succeeded();
    assert!(printed.ends_with(": 300\nheard still there?\n"), "the flood was one, and its group goes on: {printed}");
    assert_eq!(place.chat(&["and the others?"]).succeeded(), "heard and the others?\n");
    // Requests that are good go on.
    let sent = place.run(["chat", "--chat", "local:other", "-m", "!send through the flood"]).succeeded();
    let expected = "through the flood\nsent through the flood: stored for delivery to local:other as message ";
    assert!(sent.starts_with(expected), "{sent}");
    let texts = place.rows("SELECT text FROM outbox");
    assert!(!texts.iter().any(|text| text == "stolen"), "{texts:?}");
    let mailbox = place.home().store().join("ipc/other");
    let count = |folder: &str| std::fs::read_dir(mailbox.join(folder)).unwrap().count();
    until("the flood is taken away", || (count("messages") == 0).then_some(()));
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    until("everything is gone", || place.processes().is_empty().then_some(()));
}
