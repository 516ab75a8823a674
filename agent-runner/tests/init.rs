//! Process 1: journal, relay, signals, reaping, gateway.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{Home, Running, exists, input, message, pid_in, until};
use nanoclaw_core::{
    protocol::{
        environment::{EGRESS, GATEWAY_SOCKET, RUN, UPSTREAMS},
        fence::FENCED_CODE,
        gateway::{HELLO, NO_GATEWAY_CODE},
        markers::Found,
        mounts::{CHECKED_MOUNTS, CheckedMounts, FileId, MOUNT_CHANGED_CODE},
    },
    run::{BlockNumber, RunNumber},
};

/// Shell functions of a foreign agent.
const FOREIGN: &str = r#"
block() {
    printf '%s\n' ---NANOCLAW_OUTPUT_START--- "{\"status\":\"success\",\"result\":\"$1\"}" ---NANOCLAW_OUTPUT_END---
}
"#;

fn foreign(script: &str) -> String {
    format!("{FOREIGN}\n{script}")
}

fn results(home: &Home) -> Vec<(u32, Option<String>)> {
    home.journal().into_iter().map(|entry| (entry.number.0, entry.block.result)).collect()
}

#[test]
fn every_block_is_in_the_journal_when_it_has_gone_out_and_the_stream_is_unchanged() {
    let home = Home::new();
    let mut init = home.init(&foreign(
        r#"
        block one; echo noise; printf '\377\000 not text\n'
        echo ---NANOCLAW_OUTPUT_START---; echo '{"status":'; echo ---NANOCLAW_OUTPUT_END---
        block two; printf 'no end of line'
        "#,
    ));
    for number in 1..=2 {
        loop {
            if let Found::Block(block) = init.next() {
                // At this very moment, not some time later.
                let entry = home.journal().into_iter().find(|entry| entry.number == BlockNumber(number)).unwrap();
                assert_eq!((entry.run, entry.block), (RunNumber(7), block));
                break;
            }
        }
    }
    assert_eq!(init.code(), 0, "{}", init.errors());
    assert_eq!(results(&home), [(1, Some("one".to_owned())), (2, Some("two".to_owned()))]);
    assert_eq!(home.names("output"), ["0000000007-0000000001.json", "0000000007-0000000002.json"]);

    let block = |text: &str| {
        format!(
            "---NANOCLAW_OUTPUT_START---\n{{\"status\":\"success\",\"result\":\"{text}\"}}\n---NANOCLAW_OUTPUT_END---\n"
        )
    };
    let expected = [
        block("one").as_bytes(),
        b"noise\n\xff\x00 not text\n",
        b"---NANOCLAW_OUTPUT_START---\n{\"status\":\n---NANOCLAW_OUTPUT_END---\n",
        block("two").as_bytes(),
        b"no end of line",
    ]
    .concat();
    assert_eq!(init.bytes(), expected);
}

#[test]
fn other_output_goes_out_while_a_block_is_still_open() {
    let home = Home::new();
    home.make_gate();
    let mut init = home.init("echo line; echo ---NANOCLAW_OUTPUT_START---; cat gate");
    assert_eq!(init.next(), Found::Line("line".to_owned()));
    until("the open block's start", || init.bytes().ends_with(b"START---\n"));
    drop(home.reached());
    assert_eq!(init.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_dead_host_stops_nobody_and_misses_nothing() {
    let home = Home::new();
    home.make_gate();
    let script =
        foreign("block one; cat gate; until test -e noticed; do block two; sleep 0.01; done; block last; exit 5");
    let errors = home.path("errors");
    let mut command = home.command(&["init", "--", "sh", "-c", &script]);
    command.env(RUN, "7").stdout(Stdio::piped()).stderr(fs::File::create(&errors).unwrap());
    let mut init = command.spawn().unwrap();
    until("the first block in the journal", || home.journal().len() == 1);
    drop(init.stdout.take());
    drop(home.reached());
    let noticed = || fs::read_to_string(&errors).unwrap().contains("nobody reads the output any more");
    until("it notices", noticed);
    fs::write(home.path("group/noticed"), "").unwrap();
    assert_eq!(init.wait().unwrap().code(), Some(5));
    assert_eq!(results(&home).last().unwrap().1.as_deref(), Some("last"));
}

#[test]
fn a_journal_that_cannot_be_written_is_told_of_and_gets_its_blocks_later_without_a_gap() {
    let home = Home::new();
    home.make_gate();
    fs::remove_dir(home.path("ipc/output")).unwrap();
    let mut init = home.init(&foreign("block one; cat gate; block two"));
    assert_eq!(init.block().result.as_deref(), Some("one"));
    init.until_it_says("block 1 is not in the journal yet");
    // When the trouble is over, it is written before any later one.
    fs::create_dir(home.path("ipc/output")).unwrap();
    drop(home.reached());
    assert_eq!(init.block().result.as_deref(), Some("two"));
    assert_eq!(init.code(), 0);
    assert_eq!(results(&home), [(1, Some("one".to_owned())), (2, Some("two".to_owned()))]);
}

#[test]
fn without_a_run_number_there_is_no_journal() {
    let home = Home::new();
    let mut init = Running::start(&mut home.command(&["init", "--", "sh", "-c", &foreign("block one")]));
    assert_eq!(init.block().result.as_deref(), Some("one"));
    assert_eq!(init.code(), 0);
    assert!(home.names("output").is_empty());
}

#[test]
fn init_ends_as_its_command_ends() {
    let home = Home::new();
    assert_eq!(home.init("exit 0").code(), 0);
    assert_eq!(home.init("exit 42").code(), 42);
    assert_eq!(home.init("kill -9 $$").code(), 128 + 9);
    let mut init = Running::start(&mut home.command(&["init", "--", "/no/such/program"]));
    assert_eq!(init.code(), 127);
    assert!(init.errors().contains("cannot start \"/no/such/program\""), "{}", init.errors());
    let mut init = Running::start(&mut home.command(&["init", "--"]));
    assert_eq!(init.code(), 2);
    assert!(init.errors().contains("no command was given"), "{}", init.errors());
}

#[test]
fn standard_input_and_standard_error_are_the_commands_own() {
    let home = Home::new();
    let mut init = home.init("cat; echo trouble >&2");
    init.send(b"what was sent");
    assert_eq!(init.code(), 0);
    assert_eq!(init.bytes(), b"what was sent");
    assert_eq!(init.errors(), "trouble\n");
}

#[test]
fn a_request_to_stop_reaches_the_whole_command_which_may_take_its_time() {
    let home = Home::new();
    home.make_gate();
    // The child of the command gets it too; the command finishes something first.
    let mut init = home.init(&foreign(
        "trap 'cat gate; wait; block finished; exit 5' TERM
         sh -c 'trap \"echo child > child; exit\" TERM; echo ready > ready; while :; do sleep 0.01; done' &
         while :; do sleep 0.01; done",
    ));
    until("the child", || home.path("group/ready").exists());
    init.signal("TERM");
    drop(home.reached());
    assert_eq!(init.block().result.as_deref(), Some("finished"));
    assert_eq!(init.code(), 5);
    assert!(home.path("group/child").exists());
}

#[test]
fn orphans_are_reaped_while_the_command_lives() {
    let home = Home::new();
    home.make_gate();
    let init = home.init("sh -c 'sleep 0.1 & echo $! > orphan'; cat gate");
    let orphan = pid_in(&home.path("group/orphan"));
    // A zombie keeps its place in /proc until somebody waits for it, and its parent is gone.
    until("the orphan is reaped", || !exists(orphan));
    assert!(exists(init.child.id()));
    drop(home.reached());
}

#[test]
fn nothing_outlives_the_command() {
    let home = Home::new();
    // In its group, out of it, and both with the output held open.
    let mut init = home.init(
        "sleep 1000 & echo $! > near; setsid sh -c 'echo $$ > far; exec sleep 1000' & \
                              until test -s far; do :; done; exit 3",
    );
    let (near, far) = (pid_in(&home.path("group/near")), pid_in(&home.path("group/far")));
    assert_eq!(init.code(), 3);
    assert!(!exists(near), "the child in the group");
    assert!(!exists(far), "the child that left it");
}

#[test]
fn loopback_leads_to_the_gateway_and_to_a_restarted_one() {
    let home = Home::new();
    let socket = home.path("gateway.sock");
    let mut command = home.command(&["init", "--", "sh", "-c", "echo $ANTHROPIC_BASE_URL $ANTHROPIC_API_KEY; cat"]);
    let hello = answer_hello(&socket);
    let mut init = Running::start(command.env(GATEWAY_SOCKET, &socket));
    let Found::Line(line) = init.next() else { panic!("no line") };
    let (address, key) = line.split_once(' ').unwrap();
    assert!(!key.is_empty());
    hello.join().unwrap();
    let address = address.strip_prefix("http://").unwrap().to_owned();

    for _ in 0..2 {
        let _ = fs::remove_file(&socket);
        // Asked while there is no gateway, it waits for the next one.
        let early = TcpStream::connect(&address).unwrap();
        let gateway = UnixListener::bind(&socket).unwrap();
        let upper = thread::spawn(move || {
            let (mut stream, _) = gateway.accept().unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            stream.write_all(text.to_uppercase().as_bytes()).unwrap();
        });
        assert_eq!(exchange_on(early, "hello"), "HELLO");
        upper.join().unwrap();
    }

    // What is open when the gateway goes ends with it, also where the client would not end by itself.
    fs::remove_file(&socket).unwrap();
    let gateway = UnixListener::bind(&socket).unwrap();
    let mut open = TcpStream::connect(&address).unwrap();
    open.write_all(b"one way").unwrap();
    let (mut far, _) = gateway.accept().unwrap();
    far.read_exact(&mut [0; 7]).unwrap();
    drop((far, gateway));
    open.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    assert_eq!(open.read(&mut [0; 1]).unwrap(), 0);

    fs::remove_file(&socket).unwrap();
    let answer = exchange(&address, "GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    drop(init.child.stdin.take());
    assert_eq!(init.code(), 0);
}

/// A gateway that is there: answers the hello of process 1, and ends.
fn answer_hello(socket: &Path) -> thread::JoinHandle<()> {
    let gateway = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = gateway.accept().unwrap();
        let mut question = vec![0; HELLO.len()];
        stream.read_exact(&mut question).unwrap();
        assert_eq!(question, HELLO);
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-nanoclaw-gateway: alive\r\ncontent-length: 0\r\n\r\n").unwrap();
    })
}

#[test]
fn the_gateway_is_the_commands_proxy_where_hosts_are_allowed_and_only_there() {
    for (egress, proxy) in [(true, "http://127.0.0.1:"), (false, "none")] {
        let home = Home::new();
        let socket = home.path("gateway.sock");
        let hello = answer_hello(&socket);
        let script = "echo ${HTTPS_PROXY:-none} ${NANOCLAW_UPSTREAM_GITHUB}";
        let mut command = home.command(&["init", "--", "sh", "-c", script]);
        command
            .env(GATEWAY_SOCKET, &socket)
            .env(UPSTREAMS, "github")
            .env_remove("HTTPS_PROXY")
            .env_remove("https_proxy");
        if egress {
            command.env(EGRESS, "1");
        }
        let mut init = Running::start(&mut command);
        let Found::Line(line) = init.next() else { panic!("no line") };
        assert!(line.starts_with(proxy), "{line}");
        assert!(line.ends_with("/upstream/github"), "{line}");
        hello.join().unwrap();
        assert_eq!(init.code(), 0);
    }
}

#[test]
fn without_a_gateway_that_answers_the_command_is_not_started() {
    let home = Home::new();
    let socket = home.path("gateway.sock");
    let refusing = UnixListener::bind(&socket).unwrap();
    // Something that is no gateway.
    thread::spawn(move || {
        for stream in refusing.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let mut command = home.command(&["init", "--", "touch", "started"]);
    let mut init = Running::start(command.env(GATEWAY_SOCKET, &socket));
    assert_eq!(init.code(), i32::from(NO_GATEWAY_CODE));
    assert!(init.errors().contains("the command is not started"), "{}", init.errors());
    assert!(!home.path("group/started").exists());
}

#[test]
fn a_request_to_stop_is_heard_while_the_gateway_is_waited_for() {
    let home = Home::new();
    let mut command = home.command(&["init", "--", "touch", "started"]);
    let mut init = Running::start(command.env(GATEWAY_SOCKET, home.path("gateway.sock")));
    let begun = Instant::now();
    // Until its handlers stand, the signal would end it as one that is not process 1.
    until("its handlers stand", || signals_caught(init.child.id()));
    init.signal("TERM");
    assert_eq!(init.code(), 143);
    assert!(begun.elapsed() < Duration::from_secs(9), "it waited for the gateway");
    assert!(!home.path("group/started").exists());
}

/// Whether process `pid` has a handler for TERM.
fn signals_caught(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0").trim();
    u64::from_str_radix(mask, 16).unwrap_or(0) & (1 << 14) != 0
}

/// Sends, half-closes, and reads to the end.
fn exchange(address: &str, text: &str) -> String {
    exchange_on(TcpStream::connect(address).unwrap(), text)
}

fn exchange_on(mut stream: TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_foreign_agent_needs_nothing_but_the_contract() {
    let home = Home::new();
    // Reads its input, answers, takes a follow-up, and ends when asked to.
    let mut init = home.init(&foreign(
        r#"
        input=$(cat)
        case "$input" in *'"prompt":"hello"'*) block "got it";; *) block "what?";; esac
        inbox=$NANOCLAW_IPC_DIR/input
        until test -e "$inbox/_close"; do
            for file in "$inbox"/*.json; do
                test -e "$file" && grep -q more "$file" && rm "$file" && block "got more"
            done
            sleep 0.01
        done
        "#,
    ));
    init.send(&serde_json::to_vec(&input("hello", 1)).unwrap());
    assert_eq!(init.block().result.as_deref(), Some("got it"));
    home.follow_up("more", 2);
    assert_eq!(init.block().result.as_deref(), Some("got more"));
    home.close();
    assert_eq!(init.code(), 0, "{}", init.errors());
    assert_eq!(results(&home), [(1, Some("got it".to_owned())), (2, Some("got more".to_owned()))]);
}

#[test]
fn our_own_agent_works_under_init() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_agent-runner");
    let mut init = Running::start(home.command(&["init", "--", program, "run"]).env(RUN, "7"));
    init.send(&serde_json::to_vec(&input(&message("hello"), 3)).unwrap());
    let block = init.block();
    assert_eq!(block.result.as_deref(), Some("heard hello"));
    assert_eq!(home.journal()[0].block, block);
    init.signal("TERM");
    assert_eq!(init.code(), 0);
}

#[test]
fn as_process_1_it_reaps_passes_signals_on_and_leaves_nobody() {
    let home = Home::new();
    let unshare = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["-r", "-p", "-f", "--mount-proc", "--kill-child"]).args(arguments);
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: needs user and process namespaces (unshare -r -p -f)");
        return;
    }
    let script = "trap 'exit 6' TERM; echo $PPID > parent; setsid sleep 1000 & sh -c 'sleep 0.1 & echo $! > orphan'; \
                  until test -s orphan && ! test -e /proc/$(cat orphan); do sleep 0.01; done; \
                  echo reaped > reaped; while :; do sleep 0.01; done";
    let mut command = unshare(&[env!("CARGO_BIN_EXE_agent-runner"), "init", "--", "sh", "-c", script]);
    home.furnish(&mut command);
    let mut outside = Running::start(command.env(RUN, "7"));
    until("the orphan is reaped", || home.path("group/reaped").exists());
    assert_eq!(fs::read_to_string(home.path("group/parent")).unwrap().trim(), "1");
    let children = format!("/proc/{0}/task/{0}/children", outside.child.id());
    let init: u32 = fs::read_to_string(Path::new(&children)).unwrap().trim().parse().unwrap();
    assert!(Command::new("kill").args(["-TERM", &init.to_string()]).status().unwrap().success());
    assert_eq!(outside.code(), 6, "{}", outside.errors());
}

/// A command that is at work until somebody ends it, and does not let TERM do so.
const STUBBORN: &str = "trap '' TERM; echo up > up; while :; do sleep 0.01; done";

fn fence(home: &Home, oldest: u32) {
    home.mailbox.fence(RunNumber(oldest)).unwrap();
}

fn fenced() -> i32 {
    i32::from(FENCED_CODE)
}

#[test]
fn f24_the_command_of_a_run_that_a_later_one_has_fenced_ends_within_its_grace() {
    let home = Home::new();
    let mut init = home.init(&format!("(setsid sleep 1000 & echo $! > far); {STUBBORN}"));
    until("it is at work", || home.path("group/up").exists());
    let far = pid_in(&home.path("group/far"));
    let before = Instant::now();
    fence(&home, 8);
    assert_eq!(init.code(), fenced(), "{}", init.errors());
    let took = before.elapsed();
    assert!(took < Duration::from_secs(5), "by the watch, not by the slow re-scan: {took:?}");
    assert!(!exists(far), "nobody is left");
    let said = init.errors();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("run 7 is over, the oldest that may go on is 8"), "{said}");
}

#[test]
fn f24_a_fenced_command_that_listens_may_clean_up_and_is_heard_no_more() {
    let home = Home::new();
    let mut init = home.init(&foreign(
        "trap 'block late; echo clean > clean; exit 5' TERM; block early; while :; do sleep 0.01; done",
    ));
    assert_eq!(init.block().result.as_deref(), Some("early"));
    fence(&home, 9);
    assert_eq!(init.code(), fenced(), "whatever the command says: {}", init.errors());
    assert!(home.path("group/clean").exists());
    assert_eq!(results(&home), [(1, Some("early".to_owned()))]);
}

#[test]
fn f24_our_agent_takes_nothing_that_is_handed_over_after_the_fence() {
    let home = Home::new();
    let program = env!("CARGO_BIN_EXE_agent-runner");
    let mut init = Running::start(home.command(&["init", "--", program, "run"]).env(RUN, "7"));
    init.send(&serde_json::to_vec(&input(&message("hello"), 3)).unwrap());
    assert_eq!(init.block().result.as_deref(), Some("heard hello"));
    fence(&home, 8);
    init.until_it_says("is over");
    home.follow_up(&message("for the next run"), 4);
    assert_eq!(init.code(), fenced());
    assert_eq!(home.names("input").len(), 1);
}

#[test]
fn f24_a_container_that_starts_after_its_successor_ends_at_once() {
    let home = Home::new();
    fence(&home, 8);
    let mut init = home.init("touch started");
    assert_eq!(init.code(), fenced());
    assert!(!home.path("group/started").exists());
    assert!(init.errors().contains("the command is not started"), "{}", init.errors());
}

#[test]
fn a_fence_that_is_not_beyond_the_run_changes_nothing() {
    let home = Home::new();
    home.make_gate();
    fence(&home, 7);
    let mut init = home.init(&foreign("block one; cat gate; block two; exit 3"));
    assert_eq!(init.block().result.as_deref(), Some("one"));
    for oldest in [0, 6, 7] {
        fence(&home, oldest);
    }
    drop(home.reached());
    assert_eq!(init.block().result.as_deref(), Some("two"));
    assert_eq!((init.code(), init.errors().as_str()), (3, ""));
}

#[test]
fn what_is_no_fence_changes_nothing_and_holds_nobody_up() {
    let home = Home::new();
    home.make_gate();
    let place = home.path("ipc/fence");
    let elsewhere = home.path("elsewhere");
    fs::write(&elsewhere, "99\n").unwrap();
    let script = foreign("block one; cat gate; block two");
    let put: [&dyn Fn(); 5] = [
        &|| fs::write(&place, "ninety-nine").unwrap(),
        &|| fs::write(&place, vec![b'9'; 1 << 20]).unwrap(),
        &|| assert!(Command::new("mkfifo").arg(&place).status().unwrap().success()),
        &|| std::os::unix::fs::symlink(&elsewhere, &place).unwrap(),
        &|| fs::create_dir(&place).unwrap(),
    ];
    for put in put {
        // Once there before the command, and once put there while it is at work.
        put();
        let mut init = home.init(&script);
        assert_eq!(init.block().result.as_deref(), Some("one"));
        let _ = fs::remove_file(&place).or_else(|_| fs::remove_dir(&place));
        put();
        // Something that is looked at, after what was put there.
        fence_is_looked_at(&home);
        drop(home.reached());
        assert_eq!(init.block().result.as_deref(), Some("two"));
        assert_eq!((init.code(), init.errors().as_str()), (0, ""));
        fs::remove_file(&place).or_else(|_| fs::remove_dir(&place)).unwrap();
        for name in home.names("output") {
            fs::remove_file(home.path("ipc/output").join(name)).unwrap();
        }
    }
}

/// Makes init look again.
fn fence_is_looked_at(home: &Home) {
    home.mailbox.top().unwrap().write_fleeting("another", b"").unwrap();
}

#[test]
fn without_a_run_number_a_fence_changes_nothing() {
    let home = Home::new();
    fence(&home, 99);
    let mut init = Running::start(&mut home.command(&["init", "--", "sh", "-c", &foreign("block one")]));
    assert_eq!(init.block().result.as_deref(), Some("one"));
    assert_eq!((init.code(), init.errors().as_str()), (0, ""));
}

/// Init as [`Home::init`] makes it, told that it must find the group's folder with this inode.
fn init_that_checks(home: &Home, inode: u64, script: &str) -> Running {
    use std::os::unix::fs::MetadataExt as _;
    let folder = home.path("group");
    let id = FileId { device: fs::metadata(&folder).unwrap().dev(), inode };
    let checked = CheckedMounts([(folder.to_str().unwrap().to_owned(), id)].into());
    let mut command = home.command(&["init", "--", "sh", "-c", script]);
    Running::start(command.env(RUN, "7").env(CHECKED_MOUNTS, checked.text()))
}

#[test]
fn a_mount_that_is_not_what_the_host_checked_ends_the_run_before_its_command_begins() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::new();
    let inode = fs::metadata(home.path("group")).unwrap().ino();
    let mut init = init_that_checks(&home, inode + 1, "echo begun > begun");
    assert_eq!(init.code(), i32::from(MOUNT_CHANGED_CODE), "{}", init.errors());
    assert!(!home.path("group/begun").exists());
    let said = init.errors();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("another file or folder") && said.contains("nothing was started"), "{said}");

    let mut init = init_that_checks(&home, inode, "echo begun > begun");
    assert_eq!((init.code(), init.errors().as_str()), (0, ""));
    assert!(home.path("group/begun").exists());
}

#[test]
fn a_command_cannot_end_as_if_init_had_refused_it() {
    let home = Home::new();
    for (code, passed_on) in [(FENCED_CODE, 1), (MOUNT_CHANGED_CODE, 1), (78, 78), (90, 90)] {
        let mut init = home.init(&format!("exit {code}"));
        assert_eq!(init.code(), passed_on, "{code}");
    }
}
