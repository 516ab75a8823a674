//! Drives the real program: a home of its own, and what it says, as it says it.

#![allow(dead_code, reason = "each test file uses its part of this")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts has failed")]

pub(crate) mod api;

use std::{
    fs,
    io::{Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nanoclaw_core::{
    mailbox::Mailbox,
    message::Seq,
    protocol::{
        environment::{EXTRA_DIR, GLOBAL_DIR, GROUP_DIR, IPC_DIR, OVERLAY_DIR, PROVIDER, RUN},
        input::{CLOSE_FILE, ContainerInput, FileInPrompt, FollowUp, follow_up_name},
        markers::{Decoder, Found},
        output::{Block, JournalEntry, Status},
        requests::Answer,
    },
};
use serde_json::Value;

/// How long a condition may take; only a failing test waits this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// What a container would see, in a temporary folder.
pub(crate) struct Home {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) mailbox: Mailbox,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["group", "global", "extra", "home"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mailbox = Mailbox::new(folder.path().join("ipc"));
        mailbox.create().unwrap();
        Self { folder, mailbox }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these arguments, in this home and in no other environment.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-runner"));
        self.furnish(&mut command);
        command.args(arguments);
        command
    }

    pub(crate) fn furnish(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env(GROUP_DIR, self.path("group"))
            .env(IPC_DIR, self.path("ipc"))
            .env(GLOBAL_DIR, self.path("global"))
            .env(EXTRA_DIR, self.path("extra"))
            .env(OVERLAY_DIR, self.path("overlay"))
            .env(PROVIDER, "offline")
            .current_dir(self.path("group"));
    }

    /// `agent-runner init -- sh -c SCRIPT`, as run 7, with its standard input open.
    pub(crate) fn init(&self, script: &str) -> Running {
        Running::start(self.command(&["init", "--", "sh", "-c", script]).env(RUN, "7"))
    }

    /// The agent, with this input.
    pub(crate) fn agent(&self, input: &ContainerInput) -> Running {
        Running::with_input(&mut self.command(&["run"]), input)
    }

    /// Leaves a follow-up as the host does.
    pub(crate) fn follow_up(&self, text: &str, last: i64) {
        self.follow_up_with(text, last, Vec::new());
    }

    /// The same, naming files.
    pub(crate) fn follow_up_with(&self, text: &str, last: i64, files: Vec<FileInPrompt>) {
        let follow_up =
            FollowUp::Message { text: text.to_owned(), first_seq: Some(Seq(last)), last_seq: Some(Seq(last)), files };
        let name = follow_up_name(Seq(last));
        self.mailbox.input().unwrap().write(&name, &serde_json::to_vec(&follow_up).unwrap()).unwrap();
    }

    /// Asks the agent to close as the host does.
    pub(crate) fn close(&self) {
        self.mailbox.input().unwrap().write(CLOSE_FILE, b"").unwrap();
    }

    /// The names in a folder of the mailbox, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("ipc").join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The requests that are in a tray, whole: their names.
    pub(crate) fn requests(&self, tray: &str) -> Vec<String> {
        let whole = |name: &String| name.ends_with(".json") && !name.starts_with('.');
        self.names(tray).into_iter().filter(whole).collect()
    }

    /// Takes a request away, as a host does; its content.
    pub(crate) fn take(&self, tray: &str, name: &str) -> Value {
        let path = self.path("ipc").join(tray).join(name);
        let content = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        fs::remove_file(path).unwrap();
        content
    }

    /// Takes the next request away; its name and content.
    pub(crate) fn request(&self, tray: &str) -> (String, Value) {
        self.request_within(PATIENCE, tray)
    }

    /// The same, with another patience.
    pub(crate) fn request_within(&self, patience: Duration, tray: &str) -> (String, Value) {
        let mut requests = Vec::new();
        until_within(patience, "a request", || {
            requests = self.requests(tray);
            !requests.is_empty()
        });
        let name = requests.swap_remove(0);
        let content = self.take(tray, &name);
        (name, content)
    }

    /// Answers the request of this name, as a host does.
    pub(crate) fn answer(&self, name: &str, answer: &Answer) {
        self.mailbox.answers().unwrap().write(name, &serde_json::to_vec(answer).unwrap()).unwrap();
    }

    /// The journal, in the order of its names.
    pub(crate) fn journal(&self) -> Vec<JournalEntry> {
        let read = |name: String| fs::read(self.path("ipc/output").join(name)).unwrap();
        self.names("output")
            .into_iter()
            .filter(|name| name.ends_with(".json"))
            .map(|name| serde_json::from_slice(&read(name)).unwrap())
            .collect()
    }

    /// Makes the group's FIFO `gate`: whoever reads it waits until what [`reached`](Self::reached) returns is dropped.
    pub(crate) fn make_gate(&self) {
        let status = Command::new("mkfifo").arg(self.path("group/gate")).status().unwrap();
        assert!(status.success());
    }

    /// Waits until somebody stands at the gate; they pass when the result is dropped.
    #[must_use]
    pub(crate) fn reached(&self) -> fs::File {
        let mut gate = fs::OpenOptions::new();
        // Without waiting in the system, where no patience ends: it refuses as long as nobody reads.
        gate.write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed());
        let mut opened = None;
        until("somebody at the gate", || {
            opened = gate.open(self.path("group/gate")).ok();
            opened.is_some()
        });
        opened.unwrap()
    }
}

/// An input for the group's chat, with one message.
pub(crate) fn input(prompt: &str, last: i64) -> ContainerInput {
    serde_json::from_value(serde_json::json!({
        "prompt": prompt, "groupFolder": "family", "chatJid": "local:family", "isMain": false,
        "protocol": 1, "firstSeq": last, "lastSeq": last,
    }))
    .unwrap()
}

/// A task's input, as a host has it that counts what it hands over.
pub(crate) fn task(prompt: &str) -> ContainerInput {
    ContainerInput { is_scheduled_task: Some(true), ..input(prompt, 1) }
}

/// A task's with this script.
pub(crate) fn task_with(script: &str, prompt: &str) -> ContainerInput {
    ContainerInput { script: Some(script.to_owned()), ..task(prompt) }
}

/// The script of a task for which there is something to do.
pub(crate) const SAYS_YES: &str =
    r#"echo noise; echo '{"wakeAgent": true, "data": {"mails": ["from Ann", "from Bob"]}}'"#;
/// The script of a task for which there is nothing to do.
pub(crate) const SAYS_NO: &str = r#"echo '{"wakeAgent": false}'"#;

/// Sees to it that a task's run says by this block that its agent slept, and ends.
#[track_caller]
pub(crate) fn assert_slept(agent: &mut Running) {
    let block = agent.block();
    let slept = Block { woke: Some(false), answered_seq: Some(Seq(1)), ..Block::success(None) };
    assert_eq!((block, agent.code()), (slept, 0), "{}", agent.errors());
}

/// A picture in the group's folder, as a prompt names it: 2 by 2 points of red.
pub(crate) fn picture(home: &Home, name: &str) -> FileInPrompt {
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, PNG).unwrap();
    fs::create_dir_all(home.path("group/attachments")).unwrap();
    fs::write(home.path("group/attachments").join(name), &bytes).unwrap();
    let path = format!("attachments/{name}");
    FileInPrompt { path, media_type: "image/png".to_owned(), bytes: bytes.len() as u64 }
}

/// That picture in base64.
pub(crate) const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGP4z8AARAwQCgAf7gP9i18U1AAAAABJRU5ErkJggg==";

/// One message, formatted.
pub(crate) fn message(text: &str) -> String {
    format!("<messages>\n<message sender=\"Ann\" time=\"Mar 4, 2026, 1:30 PM\">{text}</message>\n</messages>")
}

/// Sees to it that a block is an answer with `part` in it, to everything up to message `answered`.
#[track_caller]
pub(crate) fn assert_answer(block: &Block, part: &str, answered: i64) {
    assert_eq!((block.status, block.answered_seq), (Status::Success, Some(Seq(answered))), "{block:?}");
    assert!(block.result.as_deref().unwrap_or_default().contains(part), "{part:?} is not in {block:?}");
    assert!(block.new_session_id.is_some(), "{block:?}");
}

/// The program at work.
pub(crate) struct Running {
    pub(crate) child: Child,
    found: Receiver<Found>,
    bytes: Arc<Mutex<Vec<u8>>>,
    errors: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, found) = channel();
        let bytes = Arc::<Mutex<Vec<u8>>>::default();
        let errors = Arc::<Mutex<String>>::default();
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let output = thread::spawn({
            let bytes = bytes.clone();
            move || {
                let mut decoder = Decoder::new();
                each_chunk(&mut stdout, |chunk| {
                    bytes.lock().unwrap().extend_from_slice(chunk);
                    decoder.feed(chunk).into_iter().for_each(|found| drop(sender.send(found)));
                });
                decoder.finish().into_iter().for_each(|found| drop(sender.send(found)));
            }
        });
        let log = thread::spawn({
            let errors = errors.clone();
            move || each_chunk(&mut stderr, |chunk| errors.lock().unwrap().push_str(&String::from_utf8_lossy(chunk)))
        });
        Self { child, found, bytes, errors, readers: vec![output, log] }
    }

    /// The agent that `command` is, with this input.
    pub(crate) fn with_input(command: &mut Command, input: &ContainerInput) -> Self {
        let mut running = Self::start(command);
        running.send(&serde_json::to_vec(input).unwrap());
        running
    }

    /// Writes to its standard input and closes it.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.child.stdin.take().unwrap().write_all(bytes).unwrap();
    }

    /// What it says next.
    pub(crate) fn next(&mut self) -> Found {
        match self.found.recv_timeout(PATIENCE) {
            Ok(found) => found,
            Err(error) => panic!("nothing came ({error}); it said:\n{}", self.errors()),
        }
    }

    /// The next block; other lines are passed over.
    pub(crate) fn block(&mut self) -> Block {
        loop {
            match self.next() {
                Found::Block(block) => return block,
                Found::Line(_) => {}
                Found::Broken { reason } => panic!("a broken block: {reason}"),
            }
        }
    }

    /// Waits for its end, and that it says no more blocks.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                panic!("it does not end; it said:\n{}", self.errors());
            }
            thread::sleep(Duration::from_millis(2));
        };
        // Its output may be held open by somebody that it left behind.
        until("the end of its output", || self.readers.iter().all(JoinHandle::is_finished));
        loop {
            match self.found.recv_timeout(PATIENCE) {
                Ok(Found::Line(_)) => {}
                Ok(found) => panic!("not waited for: {found:?}"),
                Err(RecvTimeoutError::Disconnected) => return status,
                Err(RecvTimeoutError::Timeout) => panic!("its output does not end"),
            }
        }
    }

    /// The code it ends with.
    pub(crate) fn code(&mut self) -> i32 {
        let status = self.end();
        status.code().unwrap_or_else(|| panic!("{status}; it said:\n{}", self.errors()))
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().unwrap();
        assert!(status.success());
    }

    /// Everything it wrote to standard output so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    /// Waits until it has written this to standard error.
    pub(crate) fn until_it_says(&self, part: &str) {
        until(part, || self.errors().contains(part));
    }

    /// Everything it wrote to standard error so far.
    pub(crate) fn errors(&self) -> String {
        self.errors.lock().unwrap().clone()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn each_chunk(from: &mut impl Read, mut take: impl FnMut(&[u8])) {
    let mut chunk = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        take(&chunk[..length]);
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition);
}

/// The same, with another patience.
pub(crate) fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The number in a file, once it is there.
pub(crate) fn pid_in(path: &Path) -> u32 {
    let mut pid = None;
    until("a process id", || {
        pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        pid.is_some()
    });
    pid.unwrap()
}

/// Whether a process is there, if only as a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
