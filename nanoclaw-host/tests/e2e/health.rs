//! How the service says that it does its work, or why it does not: each trouble is made for real, turns `/health` red with its reason,
//! and green again when it is over.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nanoclaw_fakes::{
    model_api::{FakeModelApi, Script},
    slack::FakeSlack,
};
use nanoclaw_host::unix_socket;
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    auth::terminal,
    place::{On, Place, wait},
    process::{Running, until},
};

/// What `GET path` on the service's socket is answered: the status and the body.
fn get(place: &Place, path: &str) -> (u16, String) {
    let socket = place.home().health_socket();
    wait(async { asked(unix_socket::connect(&socket).await.unwrap(), path, "localhost").await })
}

async fn asked(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    path: &str,
    host: &str,
) -> (u16, String) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The checks that are not ok: name, perhaps a blank and of which, and status; and reasons.
fn unwell(place: &Place, path: &str) -> (u16, Vec<(String, String)>, String) {
    let (status, body) = get(place, path);
    let report: Value = serde_json::from_str(&body).unwrap();
    let (mut unwell, mut reasons) = (Vec::new(), String::new());
    for check in report["checks"].as_array().unwrap().iter().filter(|check| check["status"] != "ok") {
        let name = [check["name"].as_str(), check["of"].as_str()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        unwell.push((name, check["status"].as_str().unwrap().to_owned()));
        reasons.push_str(check["reason"].as_str().unwrap());
        reasons.push('\n');
    }
    (status, unwell, reasons)
}

/// Waits until `/health` fails because of `check`, with a reason in which `part` is, and the command says the same.
fn turns_red(place: &Place, check: &str, part: &str) {
    until(&format!("{check} fails"), || {
        let (status, unwell, reasons) = unwell(place, "/health");
        let fails = unwell.iter().any(|(name, status)| name == check && status == "failing");
        (fails && reasons.contains(part)).then(|| assert_eq!(status, 503, "{unwell:?}"))
    });
    let shown = place.run(["status"]);
    assert_eq!(shown.code, Some(1), "{shown}");
    assert!(shown.stdout.starts_with("failing: nanoclaw ") && shown.stdout.contains(&format!("{check}: ")), "{shown}");
}

/// Waits until nothing fails any more, and the command says so.
fn turns_green(place: &Place) {
    until("nothing fails", || {
        let (status, unwell, reasons) = unwell(place, "/health");
        (status == 200 && unwell.is_empty()).then_some(()).or_else(|| {
            assert!(!reasons.is_empty());
            None
        })
    });
    assert!(place.run(["status"]).succeeded().starts_with("ok: nanoclaw "));
}

fn ends(service: Running) {
    service.signal(Signal::TERM);
    let ended = service.ended();
    assert_eq!(ended.code, Some(0), "{ended}");
}

/// The value of a sample, as it stands on the page.
fn figure(page: &str, sample: &str) -> f64 {
    let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no {sample} in\n{page}")).parse().unwrap()
}

#[test]
fn a_service_that_answered_says_that_it_is_well_and_how_long_that_took() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let nobody = place.run(["status"]);
    assert_eq!(nobody.code, Some(1), "there is no home yet: {nobody}");
    place.run(["init"]).succeeded();
    let nobody = place.run(["status"]);
    assert_eq!((nobody.code, nobody.stdout.starts_with("no service runs")), (Some(1), true), "{nobody}");
    let service = place.service();
    let mode = std::fs::metadata(place.home().health_socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(place.chat(&["hello"]).succeeded(), "heard hello\n");
    turns_green(&place);
    assert_eq!(get(&place, "/live"), (200, "live\n".to_owned()));

    let (status, page) = get(&place, "/metrics");
    assert_eq!(status, 200);
    for (sample, at_least) in [
        ("nanoclaw_queue_wait_seconds_count{kind=\"message\"}", 1.0),
        ("nanoclaw_turn_seconds_count", 1.0),
        ("nanoclaw_runs_started_total{kind=\"chat\"}", 1.0),
        ("nanoclaw_deliveries_total{channel=\"local\",outcome=\"sent\"}", 1.0),
        ("nanoclaw_delivery_seconds_count{channel=\"local\"}", 1.0),
        ("nanoclaw_store_commits_total", 3.0),
        ("nanoclaw_store_commit_seconds_count", 3.0),
        ("nanoclaw_store_size_bytes", 4096.0),
        ("nanoclaw_channel_connected{channel=\"local\"}", 1.0),
        ("nanoclaw_containers_max", 5.0),
        ("process_resident_memory_bytes", 1e6),
    ] {
        assert!(figure(&page, sample) >= at_least, "{sample} in\n{page}");
    }
    for sample in ["nanoclaw_store_failures_total", "nanoclaw_outbox_messages{to=\"channel\"}"] {
        assert!(figure(&page, sample).abs() < 0.5, "{sample} in\n{page}");
    }
    assert!(!page.contains("main"), "no group is named: {page}");

    let stats = place.json(["stats", "--json"]);
    let main = &stats["groups"][0];
    assert_eq!((&main["group"], &stats["groups"][1]), (&"main".into(), &Value::Null));
    let total = &main["total"];
    assert_eq!((&total["messages"], &total["answered"], &total["runs"]), (&1.into(), &1.into(), &1.into()), "{stats}");
    assert!(total["container_ms"].as_u64().unwrap() > 0 && total.get("task_cost_micros").is_none(), "{stats}");
    let printed = place.run(["stats", "main", "--days", "1"]).succeeded();
    assert!(printed.contains("CONTAINER TIME") && printed.contains("\nall "), "{printed}");
    ends(service);
    let nobody = place.json(["stats", "main", "--json"]);
    assert_eq!(nobody["groups"][0]["total"]["answered"], 1, "without a service as well: {nobody}");
}

#[test]
fn a_dispatcher_that_stands_still_turns_health_red_and_green_again() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.run(["init"]).succeeded();
    let hold = place.folder().join("hold");
    let mut command = place.command(["run", "--stop-containers"]);
    let service =
        Running::start(command.env(nanoclaw_host::failpoints::HOLD_AT, format!("dispatcher:{}", hold.display())));
    service.until_stdout(|text| text.ends_with('\n'));
    turns_green(&place);
    std::fs::write(&hold, "").unwrap();
    place.run(["groups", "add", "local:other", "--name", "Other", "--folder", "other"]).succeeded();
    turns_red(&place, "dispatcher", "did not answer within 5s");
    assert_eq!(get(&place, "/live").0, 503);
    std::fs::remove_file(&hold).unwrap();
    turns_green(&place);
    assert_eq!(get(&place, "/live").0, 200);
    ends(service);
}

#[test]
fn a_channel_that_cannot_connect_turns_health_red_and_green_again() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let slack = runtime.block_on(FakeSlack::start()).unwrap();
    let (address, url) = (slack.addr, slack.api_url());
    place.configure(&format!("[channels.slack]\napi_url = \"{url}\"\n[health]\nchannel_away = \"1s\"\n"));
    place.credential(&format!("SLACK_BOT_TOKEN={}\nSLACK_APP_TOKEN={}", FakeSlack::BOT_TOKEN, FakeSlack::APP_TOKEN));
    let service = place.service();
    turns_green(&place);
    drop(slack);
    // With the connections that are open.
    drop(runtime);
    turns_red(&place, "channel slack", "it is not connected for ");
    let page = get(&place, "/metrics").1;
    assert!(figure(&page, "nanoclaw_channel_connected{channel=\"slack\"}").abs() < 0.5, "{page}");
    assert!(figure(&page, "nanoclaw_check_status{check=\"channel\",of=\"slack\"}") > 1.5, "{page}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _slack = runtime.block_on(FakeSlack::start_at(address)).unwrap();
    turns_green(&place);
    ends(service);
}

#[test]
fn a_message_that_waits_too_long_turns_health_red_until_it_is_settled() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.run(["init"]).succeeded();
    let service = place.service();
    turns_green(&place);
    // For a person who has to come to a terminal nobody is called.
    place.execute(
        "INSERT INTO outbox (key, chat, text, state, not_before_ms, posted_at_ms) \
         VALUES ('old/terminal', 'local:gone', 'hello', 'pending', 0, 0)",
    );
    turns_green(&place);
    place.execute(
        "INSERT INTO outbox (key, chat, text, state, not_before_ms, posted_at_ms, attempts, last_error) \
         VALUES ('old/channel', 'tg:-1', 'hello', 'pending', 0, 0, 1, 'try again')",
    );
    turns_red(&place, "outbox", "a message to tg:-1 waits for ");
    let page = get(&place, "/metrics").1;
    assert!(figure(&page, "nanoclaw_outbox_oldest_seconds{to=\"channel\"}") > 600.0, "{page}");
    place.run(["outbox", "drop", "old/channel"]).succeeded();
    turns_green(&place);
    ends(service);
}

#[test]
fn a_disk_that_is_full_turns_health_red_and_green_again() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let home = place.home();
    std::fs::create_dir_all(home.root()).unwrap();
    let Some(_disk) = SmallDisk::mount(home.root()) else { return };
    place.configure("[health]\nfree_space = \"1MiB\"\n");
    let service = place.service();
    turns_green(&place);
    let filler = home.root().join("filler");
    let full = std::fs::write(&filler, vec![1; 100 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
    turns_red(&place, "disk", "are free, less than 1.0 MiB");
    // Until the log of the database needs another page, it can be written in the room that it has.
    until("nothing more can be written", || {
        let name = "n".repeat(90);
        let (number, chat) = (fresh(), format!("tg:{}", fresh()));
        let added = place.run(["groups", "add", &chat, "--name", &name, "--folder", &format!("f{number}")]);
        (added.code == Some(1)).then_some(())
    });
    turns_red(&place, "store", "it cannot be written: ");
    assert!(figure(&get(&place, "/metrics").1, "nanoclaw_store_failures_total") >= 1.0);
    std::fs::remove_file(&filler).unwrap();
    until("the store is well without anybody writing", || {
        let (_, unwell, _) = unwell(&place, "/health");
        unwell.iter().all(|(name, _)| name == "groups").then_some(())
    });
    ends(service);
}

/// A number that no other call gives.
fn fresh() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static LAST: AtomicUsize = AtomicUsize::new(1);
    LAST.fetch_add(1, Ordering::Relaxed)
}

/// A file system of 64 MiB in memory; gone when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, after a line that says so, where this process may not mount one.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=755", "health"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            Ok(done) => {
                println!(
                    "skipped: needs root, to mount a small disk: {}",
                    String::from_utf8_lossy(&done.stderr).trim()
                );
                None
            }
            Err(error) => {
                println!("skipped: needs mount(8): {error}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_port_of_loopback_is_open_where_that_is_asked_for_and_answers_the_same() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    // Free a moment ago; nobody is given it again so soon.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    place.configure(&format!("[health]\nlisten = \"{address}\"\n"));
    let service = place.service();
    let on_port = |host: &str| wait(async { asked(TcpStream::connect(address).await.unwrap(), "/health", host).await });
    let (status, body) = on_port(&address.to_string());
    assert_eq!(status, 200, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["status"], "ok");
    assert_eq!(on_port("nanoclaw.example").0, 403);
    let second = Place::on(On::Sandbox).unwrap();
    second.configure(&format!("[health]\nlisten = \"{address}\"\n"));
    let told = second.run(["run"]).failed(1);
    assert!(told.contains(&address.to_string()) && told.contains("health.listen"), "{told}");
    ends(service);
}

#[test]
fn a_deep_look_asks_the_model_about_the_credential_and_not_again_for_a_while() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let model = runtime.block_on(FakeModelApi::start(Script::tools())).unwrap();
    place.configure(&format!("[agent]\nprovider = \"offline\"\n[model]\nbase_url = \"{}\"\n", model.base_url()));
    model.expect_key("right-key");
    place.credential("ANTHROPIC_API_KEY=wrong-key");
    let service = place.service();
    turns_green(&place);
    let (status, found, reasons) = unwell(&place, "/health?deep=1");
    assert_eq!((status, found), (503, vec![("credential".to_owned(), "failing".to_owned())]), "{reasons}");
    assert!(reasons.contains("refuses it"), "{reasons}");
    let asked = model.requests().len();
    assert_eq!(unwell(&place, "/health?deep=1").0, 503);
    assert_eq!(model.requests().len(), asked, "the answer holds for a while");
    // Another credential is another question.
    place.credential("ANTHROPIC_API_KEY=right-key");
    until("the new one is asked about", || (unwell(&place, "/health?deep=1").0 == 200).then_some(()));
    ends(service);
}

#[test]
fn the_screen_follows_until_q_and_leaves_the_terminal_as_it_was() {
    let Some(place) = Place::on(On::Sandbox) else { return };
    place.run(["init"]).succeeded();
    let told = place.run(["status", "--watch"]).failed(1);
    assert!(told.contains("--watch needs a terminal"), "{told}");
    let service = place.service();
    let script = [
        "/bin/sh",
        "-c",
        "stty -a | tr ' ' '\\n' | grep -x -e icanon -e echo; \"$@\"; echo ended $?; \
                   stty -a | tr ' ' '\\n' | grep -x -e icanon -e echo; echo over",
        "sh",
    ];
    let mut command = place.command(["status", "--watch"]);
    command.env("TERM", "xterm");
    let mut watching = terminal(command, &script);
    watching.until_stdout(|text| text.contains("ok") && text.contains("q ends"));
    place.run(["groups", "add", "local:other", "--name", "Other", "--folder", "other"]).succeeded();
    watching.until_stdout(|text| text.contains("1 idle"));
    watching.type_keys("q");
    let shown = watching.until_stdout(|text| text.contains("over"));
    let after = shown.rsplit("\u{1b}[?1049l").next().unwrap();
    let words: Vec<&str> = after.split_whitespace().collect();
    assert_eq!(words, ["ended", "0", "icanon", "echo", "over"], "{shown:?}");
    assert!(shown.contains("\u{1b}[?1049h") && after.len() < shown.len(), "{shown:?}");
    ends(service);
}
