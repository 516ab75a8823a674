//! Groups with images of their own, as people have them: built when they are wanted, mended when they are broken, listed and
//! removed.

use rustix::process::Signal;

use crate::{
    place::{On, Place},
    process::{Running, until},
};

const ADD: [&str; 8] = ["groups", "add", "local:own", "--name", "Own", "--folder", "own", "--no-trigger"];

/// Writes the Dockerfile of the group `own`.
fn dockerfile(place: &Place, run: &str) {
    let folder = place.home().root().join("images/own");
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!("ARG NANOCLAW_BASE\nFROM ${{NANOCLAW_BASE}}\nRUN {run}\n");
    std::fs::write(folder.join("Dockerfile"), text).unwrap();
}

/// Names of the images that the group's runs take, as `image list` has them.
fn images_of(place: &Place, used: bool) -> Vec<String> {
    let listed = place.json(["image", "list", "--json"]);
    let of_groups = listed.as_array().unwrap().iter().filter(|image| image["flavour"] == "group");
    let wanted = of_groups.filter(|image| (image["used_by"] == serde_json::json!(["own"])) == used);
    wanted.map(|image| image["name"].as_str().unwrap().to_owned()).collect()
}

/// Has the images of the group, which no configuration asks for any more, removed from the engine.
fn nothing_of_it_is_left(place: &Place) {
    until("the images go", || {
        place.run(["image", "prune"]).succeeded();
        images_of(place, false).is_empty().then_some(())
    });
}

fn ends_and_leaves_nothing(service: Running, place: &Place) {
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));
    place.nothing_is_left();
    place.configure("");
    nothing_of_it_is_left(place);
}

#[test]
fn a_groups_image_is_built_for_its_run_and_an_old_one_is_pruned() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.configure("[groups.own]\ndockerfile = \"images/own\"\n");
    // Longer than a run waits for it.
    dockerfile(&place, "echo first > /proof; sleep 4");
    place.run(ADD).succeeded();
    let doctor = place.run(["doctor"]);
    assert!(doctor.stdout.contains("`nanoclaw image build --group own` builds it now"), "{doctor}");
    let service = place.service();
    let ended = place.run(["chat", "--chat", "local:own", "-m", "!run cat /proof"]);
    assert!(ended.stderr.contains("is being made ready: step 3 of "), "who waits sees why: {ended}");
    let answered = ended.succeeded();
    assert!(answered.contains("first"), "{answered}");
    let first = images_of(&place, true);
    assert_eq!(first.len(), 1, "{first:?}");
    service.signal(Signal::TERM);
    assert_eq!(service.ended().code, Some(0));

    dockerfile(&place, "echo second > /proof");
    let built = place.run(["image", "build", "--group", "own"]);
    assert!(built.stderr.contains("Step 2/"), "its progress is shown: {built}");
    let built = built.succeeded();
    assert!(built.starts_with("Built nanoclaw-group:") && built.contains("for own"), "{built}");
    let again = place.run(["image", "build", "--group", "own"]).succeeded();
    assert!(again.starts_with("There is nothing to build: nanoclaw-group:"), "{again}");
    assert_eq!(images_of(&place, false), first);
    // The container of the first image may still be on its way out, and holds it until then.
    until("the old image goes", || {
        place.run(["image", "prune"]).succeeded().contains(&format!("Removed {}", first[0])).then_some(())
    });
    assert_eq!(images_of(&place, false), Vec::<String>::new());
    let answered = place.run(["chat", "--chat", "local:own", "-m", "!run cat /proof"]).succeeded();
    assert!(answered.contains("second"), "{answered}");
    place.nothing_is_left();
    // Nothing of this test stays with the engine.
    place.configure("");
    nothing_of_it_is_left(&place);
}

#[test]
fn f38_a_build_that_fails_is_told_in_its_chat_and_what_waits_is_answered_when_it_is_mended() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.configure("[groups.own]\ndockerfile = \"images/own\"\n");
    dockerfile(&place, "echo no such tool >&2; exit 3");
    place.run(ADD).succeeded();
    place.run(["groups", "add", "local:main", "--name", "Me", "--main"]).succeeded();
    let service = place.service();
    let ended = place.run(["chat", "--chat", "local:own", "-m", "!run cat /proof"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stdout.contains("is kept"), "the chat is told: {ended}");
    let owner = place.chat(&["and here?"]).succeeded();
    assert!(owner.contains("no such tool") && owner.contains("nanoclaw image build --group own"), "{owner}");
    assert!(owner.ends_with("heard and here?\n"), "nobody else is held up: {owner}");

    dockerfile(&place, "echo mended > /proof");
    place.run(["turns", "retry", "--all"]).succeeded();
    let answer = until("it is answered", || {
        let texts = place.rows("SELECT text FROM outbox WHERE chat = 'local:own' AND key LIKE 'reply/%'");
        texts.into_iter().next()
    });
    assert!(answer.contains("mended"), "{answer}");
    ends_and_leaves_nothing(service, &place);
}

#[test]
fn a_build_whose_host_is_killed_leaves_nothing_running_and_its_next_try_goes_on_from_there() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.configure("[groups.own]\ndockerfile = \"images/own\"\n");
    // Nothing else on this machine sleeps so long.
    let seconds = format!("{}", 1_000_000 + std::process::id());
    dockerfile(&place, &format!("echo first > /proof\nRUN sleep {seconds}"));
    let build = Running::start(&mut place.command(["image", "build", "--group", "own"]));
    until("the build is at it", || is_running(&["sleep", &seconds]).then_some(()));
    build.signal(Signal::KILL);
    build.ended();
    until("it ends", || (!is_running(&["sleep", &seconds])).then_some(()));
    let listed = place.json(["image", "list", "--json"]);
    let mut own = listed.as_array().unwrap().iter().filter(|image| image["used_by"] == serde_json::json!(["own"]));
    assert_eq!(own.next().unwrap()["size_bytes"], serde_json::Value::Null, "nothing has its name: {listed}");

    dockerfile(&place, "echo first > /proof\nRUN echo second > /proof");
    let built = place.run(["image", "build", "--group", "own"]);
    assert!(built.stderr.contains("Using cache"), "what was done is taken: {built}");
    assert!(built.succeeded().starts_with("Built nanoclaw-group:"));
    place.configure("");
    nothing_of_it_is_left(&place);
}

/// Whether a process was started with these arguments, in a container or not.
fn is_running(arguments: &[&str]) -> bool {
    let wanted: String = arguments.iter().map(|argument| format!("{argument}\0")).collect();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| line == wanted.as_bytes())
}

#[test]
fn what_was_started_ahead_is_not_used_when_the_groups_dockerfile_has_changed() {
    let Some(place) = Place::on(On::Docker) else { return };
    place.configure(
        "[standby]\ngroups = 1\n[limits]\nidle_timeout = \"0s\"\n[groups.own]\ndockerfile = \"images/own\"\n",
    );
    dockerfile(&place, "echo first > /proof");
    place.run(ADD).succeeded();
    let service = place.service();
    let ask = || place.run(["chat", "--chat", "local:own", "-m", "!run cat /proof"]).succeeded();
    let answered = ask();
    assert!(answered.contains("first"), "{answered}");
    until("a container waits", || {
        let groups = place.json(["ps", "--json"])["groups"].as_array().unwrap().clone();
        groups.iter().any(|group| group["state"] == "standby").then_some(())
    });
    dockerfile(&place, "echo second > /proof");
    let answered = ask();
    assert!(answered.contains("second"), "{answered}");
    ends_and_leaves_nothing(service, &place);
}

#[test]
fn the_sandbox_says_that_it_has_no_images_and_the_group_is_answered() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.configure("[groups.main]\npackages = [\"jq\"]\n");
    let said = place.chat(&["hello"]).succeeded();
    assert!(said.contains("the sandbox has no images") && said.ends_with("heard hello\n"), "{said}");
}
