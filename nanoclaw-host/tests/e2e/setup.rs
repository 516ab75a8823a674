//! `nanoclaw setup` with the real program: by a script, on a terminal, with wrong answers, and after it was ended in the middle.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use serde_json::Value;

use crate::{
    auth::terminal,
    place::{On, Place, on_each_runtime},
    process::{Ended, Running},
};

on_each_runtime![a_script_sets_all_up_until_a_message_is_answered_and_once_more_it_changes_nothing];

const KEY: &str = "sk-ant-api03-REAL_0123456789-abcdefghijklmnopqrstuvwxyz";

/// By a script, and never with a unit of systemd's.
const SCRIPTED: [&str; 4] = ["setup", "--non-interactive", "--service", "no"];

/// The steps of a report whose outcome is this.
fn steps<'a>(report: &'a Value, outcome: &str) -> Vec<&'a str> {
    let rows = report["steps"].as_array().unwrap().iter().filter(|row| row["outcome"] == outcome);
    rows.map(|row| row["step"].as_str().unwrap()).collect()
}

/// What a command printed as JSON, whatever it ended with.
fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

fn a_script_sets_all_up_until_a_message_is_answered_and_once_more_it_changes_nothing(place: &Place) {
    let arguments = [&SCRIPTED[..], &["--name", "Bea", "--message", "hello there"]].concat();
    let shown = place.run(&arguments).succeeded();
    assert!(shown.contains("  Bea: heard hello there\n"), "{shown}");
    assert!(shown.ends_with("\nIt works. You were answered: heard hello there\n"), "{shown}");
    assert!(shown.contains("an offline agent answers") && shown.contains("`nanoclaw auth set`"), "{shown}");
    assert_eq!(place.rows("SELECT folder || ' ' || chat || ' ' || role FROM groups"), ["main local:main main"]);
    place.nothing_is_left();

    let configuration = std::fs::read_to_string(place.home().config_file()).unwrap();
    assert!(configuration.contains("\nname = \"Bea\"\n"), "{configuration}");
    let again = report(&place.run([&arguments[..], &["--json"]].concat()));
    assert_eq!(again["ok"], true, "{again}");
    assert_eq!(steps(&again, "changed"), Vec::<&str>::new(), "{again}");
    assert_eq!(steps(&again, "left"), ["credential", "service"], "{again}");
    assert_eq!(std::fs::read_to_string(place.home().config_file()).unwrap(), configuration);
    assert_eq!(place.rows("SELECT text FROM messages").len(), 1, "nothing is said twice");

    // One step once more, by name.
    let once_more = place.run(["setup", "--only", "message", "--again", "message", "--json"]);
    let once_more = report(&once_more);
    assert_eq!(steps(&once_more, "changed"), ["message"], "{once_more}");
    assert!(once_more["answer"].as_str().unwrap().contains("heard Hello!"), "{once_more}");
    place.nothing_is_left();
}

#[test]
fn a_plan_says_what_would_be_done_and_makes_nothing() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let arguments = ["setup", "--plan", "--json", "--channel", "discord", "--service", "no"];
    let ended = place.run(arguments);
    let plan = report(&ended);
    assert_eq!((ended.code, &plan["ok"]), (Some(1), &false.into()), "an answer is missing: {plan}");
    assert_eq!(plan["missing"], serde_json::json!(["discord_bot_token"]), "{plan}");
    assert_eq!(steps(&plan, "would"), ["machine", "channel", "assistant", "main-group", "message"], "{plan}");
    assert!(!place.home().root().exists() && !place.folder().join(".config").exists());

    let words = place.run(["setup", "--plan", "--skip", "message,service"]).succeeded();
    assert!(words.contains("would    machine     make the home") && words.contains("Nothing was changed."), "{words}");
    assert!(!words.contains("say \"Hello"), "{words}");
    assert!(!place.home().root().exists());
}

#[test]
fn answers_that_are_wrong_or_missing_are_all_named_and_nothing_is_made() {
    let place = Place::bare();
    let file = place.folder().join("answers.toml");
    let text = "chanel = \"slack\"\nruntime = \"dokcer\"\nslack_bot_token = \"REAL REAL\"\n";
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
    let answers = ["--answers", file.to_str().unwrap()];
    let ended = place.run([&SCRIPTED[..], &answers, &["--main-chat", "nobody"]].concat());
    let told = ended.failed(1);
    for mistake in ["4 mistakes", "answers.toml:1: there is no answer chanel; did you mean channel?"] {
        assert!(told.contains(mistake), "{mistake}: {told}");
    }
    assert!(told.contains("answers.toml:2: runtime must be") && told.contains("answers.toml:3: slack_bot_token has"));
    assert!(told.contains("--main-chat: main_chat must be") && !told.contains("REAL"), "{told}");

    // A secret that others can read is none.
    std::fs::write(&file, "discord_bot_token = \"REAL\"\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let told = place.run([&SCRIPTED[..], &answers].concat()).failed(1);
    assert!(told.contains("others can read it; run `chmod 600"), "{told}");

    let told = place.run([&SCRIPTED[..], &["--credential", "api-key", "--channel", "slack"]].concat()).failed(1);
    assert!(told.contains("3 answers are missing"), "{told}");
    for name in ["ANTHROPIC_API_KEY", "SLACK_APP_TOKEN", "SLACK_BOT_TOKEN"] {
        assert!(told.contains(&format!("NANOCLAW_SETUP_{name}")), "{told}");
    }
    let told = place.run([&SCRIPTED[..], &["--skip", "chanel"]].concat()).failed(2);
    assert!(told.contains("did you mean channel?"), "{told}");
    let told = place.run(["setup"]).failed(1);
    assert!(told.contains("on a terminal, and there is none") && told.contains("--non-interactive"), "{told}");
    assert!(!place.home().root().exists() && !place.folder().join(".config").exists());
}

#[test]
fn a_key_that_the_model_refuses_is_not_stored_and_setup_goes_on_with_a_right_one() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let model = runtime.block_on(FakeModelApi::start(Script::echo())).unwrap();
    model.expect_key(KEY);
    let with_key = |key: &str| {
        let mut command = place.command([&SCRIPTED[..], &["--json", "--message", "hello"]].concat());
        command.env("ANTHROPIC_BASE_URL", model.base_url()).env("NANOCLAW_SETUP_ANTHROPIC_API_KEY", key);
        Running::start(&mut command).ended()
    };
    let credentials = place.folder().join(".config/nanoclaw/credentials");
    let ended = with_key("sk-ant-api03-WRONG");
    let refused = report(&ended);
    assert_eq!((ended.code, steps(&refused, "failed")), (Some(1), vec!["credential"]), "{refused}");
    assert!(!credentials.exists(), "{refused}");
    assert!(!ended.to_string().contains("WRONG"), "{ended}");

    let ended = with_key(KEY);
    let done = report(&ended);
    assert_eq!((ended.code, &done["ok"]), (Some(0), &true.into()), "{done}");
    assert_eq!(steps(&done, "done"), ["machine", "runtime", "image", "main-group"], "what was done stays: {done}");
    assert_eq!(std::fs::read_to_string(&credentials).unwrap(), format!("ANTHROPIC_API_KEY={KEY}\n"));
    assert!(done["answer"].as_str().unwrap().contains("hello"), "{done}");
    // There is no Claude Code on the PATH of this place.
    let configuration = std::fs::read_to_string(place.home().config_file()).unwrap();
    assert!(configuration.contains("\nprovider = \"native\"\n"), "{configuration}");

    // What expired meanwhile is told, and not taken for done.
    model.expect_key("another");
    let mut command = place.command([&SCRIPTED[..], &["--json", "--skip", "message"]].concat());
    let expired = report(&Running::start(command.env("ANTHROPIC_BASE_URL", model.base_url())).ended());
    assert_eq!(steps(&expired, "left"), ["credential", "service"], "{expired}");
    assert!(expired.to_string().contains("the model refuses ANTHROPIC_API_KEY"), "{expired}");

    // A model that cannot be reached says nothing about a key.
    let url = model.base_url();
    drop(model);
    drop(runtime);
    let mut command = place.command([&SCRIPTED[..], &["--json", "--only", "credential"]].concat());
    command.env("ANTHROPIC_BASE_URL", url).env("NANOCLAW_SETUP_ANTHROPIC_API_KEY", "sk-ant-api03-OTHER");
    let kept = report(&Running::start(&mut command).ended());
    assert!(kept["steps"][0]["detail"].as_str().unwrap().contains("cannot be told"), "{kept}");
    assert_eq!(std::fs::read_to_string(&credentials).unwrap(), "ANTHROPIC_API_KEY=sk-ant-api03-OTHER\n");
}

#[test]
fn setup_that_dies_in_the_middle_goes_on_where_it_was() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let arguments = [&SCRIPTED[..], &["--name", "Bea"]].concat();
    let mut command = place.command(&arguments);
    command.env(nanoclaw_host::failpoints::KILL_AT, "store.commit_block.before:1");
    assert_eq!(Running::start(&mut command).ended().code, None, "it was killed before the answer was kept");

    let ended = place.run([&arguments[..], &["--json"]].concat());
    let gone_on = report(&ended);
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(steps(&gone_on, "changed"), ["message"], "{gone_on}");
    let done = steps(&gone_on, "done");
    assert_eq!(done, ["machine", "runtime", "image", "channel", "assistant", "main-group"], "{gone_on}");
    place.nothing_is_left();
}

#[test]
fn a_home_of_another_user_is_left_alone() {
    let place = Place::bare();
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to make a folder of another user");
        return;
    }
    place.run(["init"]).succeeded();
    let root = place.home().root().to_owned();
    std::os::unix::fs::chown(&root, Some(12345), None).unwrap();
    let ended = place.run([&SCRIPTED[..], &["--json"]].concat());
    let refused = report(&ended);
    assert_eq!((ended.code, steps(&refused, "failed")), (Some(1), vec!["machine"]), "{refused}");
    assert!(refused.to_string().contains("sudo -u '#12345'"), "{refused}");
    std::os::unix::fs::chown(&root, Some(rustix::process::geteuid().as_raw()), None).unwrap();
    assert_eq!(std::fs::metadata(&root).unwrap().uid(), 0);
}

#[test]
fn a_home_that_cannot_be_made_is_told_with_the_folder_in_its_way() {
    let place = Place::bare();
    std::fs::write(place.folder().join("home"), "a file where the home should be").unwrap();
    let ended = place.run([&SCRIPTED[..], &["--json"]].concat());
    let refused = report(&ended);
    assert_eq!((ended.code, steps(&refused, "failed")), (Some(1), vec!["machine"]), "{refused}");
    assert!(
        refused.to_string().contains("home is no folder") && refused.to_string().contains("--home DIR"),
        "{refused}"
    );
}

/// Somebody at a terminal, who waits for what is shown after what was typed last.
struct Person {
    running: Running,
    seen: usize,
}

const DOWN: &str = "\u{1b}[B";
const ESCAPE: &str = "\u{1b}";
const ENTER: &str = "\r";

impl Person {
    fn sees(&mut self, words: &str) {
        let seen = self.seen;
        let found = |shown: &str| Some(seen + shown.get(seen..)?.find(words)? + words.len());
        let shown = self.running.until_stdout(|shown| found(shown).is_some());
        self.seen = found(&shown).unwrap();
    }

    fn types(&mut self, keys: &str) {
        self.running.type_keys(keys);
    }
}

#[test]
fn on_a_terminal_it_asks_what_is_missing_goes_back_and_ends_with_an_answer() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let inner = place.command(["setup", "--service", "no", "--message", "hello"]);
    let mut person = Person { running: terminal(inner, &[]), seen: 0 };
    person.sees("What opens the model?");
    person.sees("later");
    person.types(&format!("{}{ENTER}", DOWN.repeat(4)));
    person.sees("Where do you want to write");
    person.sees("whatsapp");
    // Back, and another answer: a secret that is not shown, of which there is none after all.
    person.types(ESCAPE);
    person.sees("What opens the model?");
    person.sees("later");
    person.types(ENTER);
    person.sees("not shown");
    person.types("two words\n");
    person.sees("has a space");
    person.sees("not shown");
    person.types("\n");
    person.sees("What opens the model?");
    person.sees("later");
    person.types(&format!("{}{ENTER}", DOWN.repeat(4)));
    person.sees("Where do you want to write");
    person.sees("whatsapp");
    person.types(ENTER);
    person.sees("What is your assistant called?");
    person.sees("Enter ends the line");
    person.types(&format!("Bea{ENTER}"));
    person.sees("It works.");
    let shown = person.running.stdout();
    let ended = person.running.ended();
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(shown.contains("Bea: heard hello") && !shown.contains("two words"), "{shown}");
    assert_eq!(place.rows("SELECT folder || ' ' || chat || ' ' || role FROM groups"), ["main local:main main"]);

    // Once more: only what was put off is asked.
    let inner = place.command(["setup", "--service", "no"]);
    let mut person = Person { running: terminal(inner, &[]), seen: 0 };
    person.sees("What opens the model?");
    person.sees("later");
    person.types(&format!("{}{ENTER}", DOWN.repeat(4)));
    person.sees("Nothing was said to the assistant this time");
    let shown = person.running.stdout();
    assert!(!shown.contains("Where do you want") && !shown.contains("assistant called?"), "{shown}");
    assert_eq!(person.running.ended().code, Some(0));
}

#[test]
fn an_interrupt_gives_the_terminal_back_and_says_how_to_go_on() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    // The shell outlives the interrupt and shows how the terminal was left.
    let script = ["/bin/sh", "-c", "trap : INT; \"$@\"; echo ended $?; stty -a; echo over", "sh"];
    let mut person = Person { running: terminal(place.command(["setup"]), &script), seen: 0 };
    person.sees("What opens the model?");
    person.sees("later");
    person.types("\u{3}");
    person.sees("over");
    let shown = person.running.stdout();
    assert!(shown.contains("Stopped. What is done stays; `nanoclaw setup` goes on"), "{shown}");
    assert!(shown.contains("ended 130") && shown.contains(" echo ") && shown.contains(" icanon "), "{shown}");
    assert!(place.home().exists(), "what was done stays");
}

#[test]
fn a_program_that_is_told_to_end_while_it_asks_gives_the_terminal_back_too() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let script = ["/bin/sh", "-c", "\"$@\"; echo ended $?; stty -a; echo over", "sh"];
    let mut person = Person { running: terminal(place.command(["setup"]), &script), seen: 0 };
    person.sees("What opens the model?");
    person.sees("later");
    let setup = place.processes_with_ids().into_iter().find(|(_, line)| {
        let words: Vec<&str> = line.split([' ', '\0']).filter(|word| !word.is_empty()).collect();
        words.first().is_some_and(|word| word.ends_with("/nanoclaw")) && words.contains(&"setup")
    });
    let (pid, _) = setup.expect("it asks");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    person.sees("over");
    let shown = person.running.stdout();
    assert!(shown.contains("ended 130") && shown.contains(" echo ") && shown.contains(" icanon "), "{shown}");
}
