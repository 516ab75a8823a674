//! `nanoclaw auth` on a terminal and on pipes: what is stored, what a running service does with it, and that a secret is
//! shown nowhere.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nanoclaw_fakes::model_api::{FakeModelApi, Script};
use rustix::process::Signal;

use crate::{
    place::{On, Place, on_each_runtime},
    process::{Running, until},
    programs, support,
};

const KEY: &str = "sk-ant-api03-REAL_0123456789-abcdefghijklmnopqrstuvwxyz";

on_each_runtime![setup_token_stores_what_the_program_showed_and_shows_it_to_nobody];

/// The program on a terminal of its own, which is its standard input and output.
fn on_terminal(place: &Place, arguments: &[&str]) -> Running {
    terminal(place.command(arguments), &[])
}

/// The same with this script in front of the program.
pub(crate) fn terminal(inner: Command, script: &[&str]) -> Running {
    let mut command = Command::new(programs::runner());
    command.args(["terminal", "--size", "120x40", "--"]).args(script).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = inner.get_current_dir() {
        command.current_dir(folder);
    }
    Running::start(command.stdin(Stdio::piped()))
}

/// What the file of credentials has in it; it is its owner's alone.
fn stored(place: &Place) -> String {
    let file = file(place);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    std::fs::read_to_string(file).unwrap()
}

fn file(place: &Place) -> PathBuf {
    place.folder().join(".config/nanoclaw/credentials")
}

/// The files below `folder` that have `secret` in them.
fn found_in(folder: &Path, secret: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let content = std::fs::read(entry.path()).unwrap_or_default();
                if content.windows(secret.len()).any(|window| window == secret.as_bytes()) {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}

/// What a command prints as JSON, whatever it ends with.
fn json_of(place: &Place, arguments: &[&str]) -> serde_json::Value {
    let ended = place.run(arguments);
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// The arguments and variables of all processes, this test's own left out, have no `secret` in them.
fn no_process_has(secret: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        for part in ["cmdline", "environ"] {
            let content = std::fs::read(entry.path().join(part)).unwrap_or_default();
            let has = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!has, "{}/{part}", entry.path().display());
        }
    }
}

#[test]
fn a_key_that_is_typed_is_not_shown_and_is_stored() {
    let place = Place::bare();
    let mut running = on_terminal(&place, &["auth", "set"]);
    running.until_stdout(|shown| shown.contains("not shown"));
    running.type_line(KEY);
    let shown = running.until_stdout(|shown| shown.contains("next start"));
    assert!(shown.contains("ANTHROPIC_API_KEY") && !shown.contains("sk-ant"), "{shown}");
    assert_eq!(running.ended().code, Some(0));
    assert_eq!(stored(&place), format!("ANTHROPIC_API_KEY={KEY}\n"));
    assert_eq!(found_in(place.folder(), KEY), [file(&place)]);

    // Whatever is asked about the installation, nothing of it is told.
    place.run(["init"]).succeeded();
    place.run(["groups", "add", "local:main", "--name", "Me", "--main"]).succeeded();
    for arguments in [
        vec!["auth", "status", "--fingerprint", "--json"],
        vec!["ps", "--json"],
        vec!["explain", "main", "--json"],
        vec!["doctor", "--json"],
        vec!["doctor"],
        vec!["turns", "list"],
    ] {
        let ended = place.run(&arguments);
        assert!(!ended.to_string().contains("REAL"), "{ended}");
    }
    assert_eq!(found_in(place.folder(), KEY), [file(&place)]);

    let status = place.json(["auth", "status", "--json"]);
    assert_eq!(status["model"]["kind"], "api_key", "{status}");
    assert_eq!(status["model"]["source"], "credentials:1", "{status}");
    assert_eq!((&status["service"], &status["model"]["fingerprint"]), (&false.into(), &serde_json::Value::Null));
    let shown = place.run(["auth", "status", "--fingerprint"]).succeeded();
    assert!(shown.contains("fingerprint ") && !shown.contains("REAL"), "{shown}");
}

#[test]
fn an_interrupt_while_a_secret_is_typed_gives_the_terminal_back() {
    let place = Place::bare();
    // The shell outlives the interrupt and shows how the terminal was left.
    let script = ["/bin/sh", "-c", "trap : INT; \"$@\"; echo ended $?; stty -a; echo over", "sh"];
    let mut running = terminal(place.command(["auth", "set", "ANTHROPIC_API_KEY"]), &script);
    running.until_stdout(|shown| shown.contains("not shown"));
    running.type_keys("half-a-secret\u{3}");
    let shown = running.until_stdout(|shown| shown.contains("over"));
    assert!(shown.contains("ended 1") && shown.contains(" echo ") && shown.contains(" icanon "), "{shown}");
    assert!(!shown.contains("half-a-secret"), "{shown}");
}

#[test]
fn a_secret_comes_by_standard_input_and_never_as_an_argument() {
    let place = Place::bare();
    let pipe = |arguments: &[&str], text: &str| {
        let mut command = place.command(arguments);
        let mut running = Running::start(command.stdin(Stdio::piped()));
        running.type_line(text);
        running.end_input();
        running.ended()
    };
    let token = "sk-ant-oat01-REAL_abcdefghijklmnopqrstuvwxyz";
    assert!(pipe(&["auth", "set"], token).succeeded().contains("CLAUDE_CODE_OAUTH_TOKEN"));
    assert!(pipe(&["auth", "set", "GITHUB_TOKEN"], "ghp_REAL").succeeded().contains("GITHUB_TOKEN"));
    assert_eq!(stored(&place), format!("CLAUDE_CODE_OAUTH_TOKEN={token}\nGITHUB_TOKEN=ghp_REAL\n"));
    // An API key in the same file comes before the token, which is said when a token is stored.
    assert!(pipe(&["auth", "set", "ANTHROPIC_API_KEY"], "key-REAL").succeeded().contains("next start"));
    let printed = pipe(&["auth", "set"], token).succeeded();
    assert!(printed.contains("not used as long as there is ANTHROPIC_API_KEY"), "{printed}");
    assert!(place.run(["auth", "remove", "ANTHROPIC_API_KEY"]).succeeded().contains("CLAUDE_CODE_OAUTH_TOKEN"));
    assert_eq!(place.run(["auth", "remove", "ANTHROPIC_API_KEY"]).code, Some(1));

    let before = stored(&place);
    for arguments in [
        vec!["auth", "set", KEY],
        vec!["auth", "set", "ANTHROPIC_API_KEY", KEY],
        vec!["auth", "set", "ANTHROPIC_API_KEY=REAL-secret"],
        vec!["auth", "set", "ANTHROPIC_API_KEY", "REAL", "--json", KEY],
    ] {
        let ended = place.run(&arguments);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains("shell's history") && !ended.to_string().contains("REAL"), "{ended}");
    }
    for (arguments, text, reason) in [
        (vec!["auth", "set"], "REAL-of-no-known-form", "say its name"),
        (vec!["auth", "set", "ANTHROPIC_API_KEY"], token, "subscription's token"),
        (vec!["auth", "set", "CLAUDE_CODE_OAUTH_TOKEN"], KEY, "an API key"),
        (vec!["auth", "set", "ANTHROPIC_API_KEY"], "REAL two", "a space"),
        (vec!["auth", "set", "ANTHROPIC_API_KEY"], "REAL\nREAL", "line break"),
        (vec!["auth", "set", "ANTHROPIC_API_KEY"], "", "is empty"),
        (vec!["auth", "set", "lower"], "REAL", "capital letters"),
    ] {
        let ended = pipe(&arguments, text);
        assert_eq!(ended.code, Some(1), "{ended}");
        assert!(ended.stderr.contains(reason) && !ended.to_string().contains("REAL"), "{reason}: {ended}");
    }
    assert_eq!(stored(&place), before);
}

#[test]
fn f79_a_running_service_takes_a_new_credential_at_once_and_keeps_the_old_one_when_the_new_one_is_wrong() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let model = runtime.block_on(FakeModelApi::start(Script::tools())).unwrap();
    place.configure(&format!("[agent]\nprovider = \"offline\"\n[model]\nbase_url = \"{}\"\n", model.base_url()));
    let service = place.service();
    let ended = place.run(["auth", "status"]);
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.stdout.contains("nanoclaw auth set"), "{ended}");

    // A group waits for a login.
    let ended = place.chat(&["!fail-until key login no luck"]);
    assert!(ended.stdout.contains("nanoclaw auth set"), "{ended}");
    std::fs::write(place.group("main").join("key"), "").unwrap();

    model.expect_key(KEY);
    let mut set = Running::start(place.command(["auth", "set"]).stdin(Stdio::piped()));
    set.type_line(KEY);
    set.end_input();
    let printed = set.ended().succeeded();
    assert!(printed.contains("uses it from now on"), "{printed}");
    until("the group is tried at once", || {
        (place.json(["turns", "list", "--json"]).as_array().unwrap().is_empty()).then_some(())
    });
    let checked = || json_of(&place, &["auth", "status", "--check", "--fingerprint", "--json"]);
    assert_eq!((&checked()["service"], &checked()["check"]["outcome"]), (&true.into(), &"taken".into()));
    let first = checked()["model"]["fingerprint"].clone();

    // A wrong file, by hand: the old one is used on, and the status says so.
    std::fs::write(file(&place), "ANTHROPIC_API_KEY=two words\n").unwrap();
    until("the mistake is seen", || (checked()["problem"].is_string()).then_some(()));
    assert_eq!((&checked()["check"]["outcome"], &checked()["model"]["fingerprint"]), (&"taken".into(), &first));

    // A right one, by hand: it is used without a restart.
    model.expect_key("another-key");
    assert_eq!(checked()["check"]["outcome"], "refused");
    std::fs::write(file(&place), "ANTHROPIC_API_KEY=another-key\n").unwrap();
    until("the new one is used", || (checked()["check"]["outcome"] == "taken").then_some(()));
    assert!(checked()["model"]["fingerprint"] != first && checked()["problem"].is_null());

    // A network that is down says nothing about the credential.
    drop(model);
    drop(runtime);
    assert_eq!(checked()["check"]["outcome"], "cannot_tell");
    service.signal(Signal::TERM);
    let ended = service.ended();
    assert!(ended.stderr.contains("a new credential for the model is used"), "{ended}");
    assert!(!ended.to_string().contains("another-key") && !ended.to_string().contains("REAL"), "{ended}");
    assert_eq!(found_in(place.home().root(), "another-key"), Vec::<PathBuf>::new());
}

/// Behaves as the real program does: raw mode, a code that is typed key by key, a token in pieces between colours.
const FAKE_CLAUDE: &str = r#"#!/bin/sh
[ "$1" = setup-token ] || exit 9
[ -t 0 ] && [ -t 1 ] || { echo "no terminal"; exit 8; }
[ -z "$ANTHROPIC_API_KEY$CLAUDE_CODE_OAUTH_TOKEN$ANTHROPIC_BASE_URL" ] || exit 7
[ -n "$HTTPS_PROXY" ] || exit 6
stty raw -echo
printf '\033[?25l\033[2GUse\033[6Gthe URL:\r\n\r\nhttps://claude.com/cai/oauth/authorize?code=true\r\n\r\nPaste code here if prompted > '
return=$(printf '\r')
code=
while :; do
    key=$(dd bs=1 count=1 2>/dev/null)
    [ "$key" = "$return" ] && break
    code=$code$key
    printf '*'
done
[ "$code" = 'the-code#state' ] || { printf '\r\nbad code\r\n'; stty sane; exit 1; }
printf '\r\n\033[32mYour OAuth token:\033[0m\r\n\r\n\033[2G\033[33ms'
printf 'k-a'; sleep 1; printf 'nt-oa\033[1mt01-'; sleep 1
printf 'REAL_abc\033[0mdefgh'; sleep 1; printf 'ijklmnop-0123456789AA\033[39m\r\n\r\n'
printf '\033[2GStore this token securely.\r\n'
stty sane
exit 0
"#;

fn setup_token_stores_what_the_program_showed_and_shows_it_to_nobody(place: &Place) {
    let token = ["sk-ant-oat01-", "REAL_abcdefghijklmnop-0123456789AA"].concat();
    let claude = place.folder().join("claude");
    std::fs::write(&claude, FAKE_CLAUDE).unwrap();
    std::fs::set_permissions(&claude, PermissionsExt::from_mode(0o755)).unwrap();
    place.configure(&format!("[agent]\nclaude = {claude:?}\nprovider = \"offline\"\n"));
    let temporary = place.folder().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let setup = || {
        let mut command = place.command(["auth", "setup-token"]);
        command.env("TMPDIR", &temporary).env("TERM", "xterm");
        terminal(command, &[])
    };

    // A code that is refused: the reason comes from the program, and nothing is stored.
    let mut running = setup();
    running.until_stdout(|shown| shown.contains("Paste code here"));
    running.type_keys("wrong\r");
    let shown = running.until_stdout(|shown| shown.contains("help:"));
    assert!(shown.contains("bad code"), "{shown}");
    assert_eq!(running.ended().code, Some(1));
    assert!(!file(place).exists());

    let mut running = setup();
    running.until_stdout(|shown| shown.contains("Paste code here"));
    running.type_keys("the-code#state\r");
    running.until_stdout(|shown| shown.contains("****"));
    no_process_has(&token);
    let shown = running.until_stdout(|shown| shown.contains("next start"));
    assert_eq!(running.ended().code, Some(0));
    assert!(shown.contains("https://claude.com/cai/oauth/authorize?code=true"), "{shown}");
    for piece in ["oat01", "nt-oa", "REAL", "ijklmnop"] {
        assert!(!shown.contains(piece), "{piece} is in {shown:?}");
    }
    assert_eq!(stored(place), format!("CLAUDE_CODE_OAUTH_TOKEN={token}\n"));
    assert_eq!(found_in(place.folder(), &token), [file(place)]);
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "a temporary folder is left");
    until("no process is left", || (place.processes().is_empty()).then_some(()));
}

#[test]
fn the_real_claude_shows_its_address_on_our_terminal_in_the_sandbox() {
    let Some(claude) = support::wanted("claude").or_skip("claude", programs::claude()) else { return };
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.configure(&format!("[agent]\nclaude = {claude:?}\n"));
    let mut command = place.command(["auth", "setup-token"]);
    command.env("TERM", "xterm-256color");
    let mut running = terminal(command, &[]);
    running.until_stdout(|shown| shown.contains("oauth/authorize?code=true") && shown.contains("prompted"));
    // Without a network, the exchange fails at the gateway; the program says so, and waits for a person.
    running.type_keys("abc#def\r");
    running.until_stdout(|shown| shown.contains("error"));
    running.type_keys("\u{3}");
    running.type_keys("\u{3}");
    let ended = running.ended();
    assert!(!ended.stdout.contains("sk-ant-"), "{ended}");
    assert!(!file(&place).exists());
}
