//! The process: how it is started, lines in and out, and its end.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nanoclaw_core::{
    group::GroupRole,
    protocol::environment::{CLAUDE, GATEWAY_PORT},
};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    super::{Failure, Start},
    lines::{self, Line},
    settings,
    thinking::Thinking,
};
use crate::{
    chat_tools::ChatTools,
    log::say,
    model_access,
    places::{Places, set},
};

/// How long the program may take to end when asked.
const GRACE: Duration = Duration::from_secs(2);

/// Lines that wait to be looked at. The program waits when there are more: we are always listening, or ending.
const LINES_WAITING: usize = 64;

/// The tools that are allowed without asking (list: NanoClaw v1). Nobody is there to be asked anyway; the sandbox around us
/// is what limits them.
const ALLOWED_TOOLS: &str = "Bash,Read,Write,Edit,Glob,Grep,WebSearch,WebFetch,Task,TaskOutput,TaskStop,TeamCreate,\
TeamDelete,SendMessage,TodoWrite,ToolSearch,Skill,NotebookEdit,mcp__nanoclaw__*";

/// What the program is told by its environment, unless the environment says otherwise already.
const DEFAULTS: [(&str, &str); 5] = [
    // There is no network but the gateway.
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    // As NanoClaw v1 has it in its settings.
    ("CLAUDE_CODE_DISABLE_AUTO_MEMORY", "0"),
    ("CLAUDE_CODE_ADDITIONAL_DIRECTORIES_CLAUDE_MD", "1"),
    ("CLAUDE_CODE_EXPERIMENTAL_AGENT_TEAMS", "1"),
];

/// The running program.
pub(super) struct Process {
    child: Child,
    /// To the worker that writes to the program's input; `None` when that is closed. Unbounded, and holds one prompt: the
    /// next one is handed over when the last one is answered.
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    lines: mpsc::Receiver<Line>,
}

impl Process {
    /// Starts the program in the group's folder.
    pub(super) fn start(start: &Start) -> Result<Self, Failure> {
        let program = set(CLAUDE).unwrap_or_else(|| "claude".into());
        let thinking = Thinking::new(start.settings.clone())?;
        thinking.say_what_cannot_be();
        let tools = ChatTools::new(&start.places, &start.chat, start.role).definitions();
        let tools: Vec<&'static str> = tools.into_iter().map(|tool| tool.name).collect();
        let servers = settings::servers(start, thinking.servers()).map_err(|error| {
            Failure::other(format!("cannot tell where this program is, which serves the tools: {error}"))
        })?;
        settings::clear_the_way(&start.places);
        let mut command = Command::new(&program);
        command
            .args(arguments(start))
            .args(["--mcp-config", &servers])
            .args(thinking.arguments(&tools))
            .envs(environment(start))
            .envs(thinking.environment())
            .current_dir(&start.places.group)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A run that fails in the middle leaves nobody behind.
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Failure::other(format!(
                "cannot start claude ({program:?} in {:?}): {error}; install Claude Code in the image, or name its \
                 program in {CLAUDE}",
                start.places.group
            ))
        })?;
        let (sender, lines) = mpsc::channel(LINES_WAITING);
        if let Some(output) = child.stdout.take() {
            // Not owned: it ends with the program's output, or when nobody listens any more.
            tokio::spawn(read_lines(output, sender));
        }
        let (input, prompts) = mpsc::unbounded_channel();
        if let Some(stdin) = child.stdin.take() {
            // Not owned: it ends when the sender is dropped, or the program does not read any more.
            tokio::spawn(write_lines(stdin, prompts));
        }
        Ok(Self { input: Some(input), child, lines })
    }

    /// Hands a line to the program. One that cannot be written is lost with the program, which its exit tells.
    pub(super) fn send(&mut self, line: Vec<u8>) {
        if let Some(input) = &self.input {
            let _ = input.send(line);
        }
    }

    /// The next line; `None` when there will be none. Cancel-safe.
    pub(super) async fn line(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// How it ended, in words, once its output has ended.
    pub(super) async fn ending(&mut self) -> String {
        match timeout(GRACE, self.child.wait()).await {
            Ok(Ok(status)) => describe(status),
            Ok(Err(error)) => format!("its end is unknown: {error}"),
            Err(_) => "it closed its output and went on".to_owned(),
        }
    }

    /// Ends its input: it finishes what it does and ends.
    pub(super) fn close_input(&mut self) {
        self.input = None;
    }

    /// Asks it to end, waits a little, kills it.
    pub(super) async fn stop(mut self) {
        self.close_input();
        // Otherwise it could wait for room to write into, instead of ending.
        self.lines.close();
        if let Some(pid) = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?)) {
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        if timeout(GRACE, self.child.wait()).await.is_err() {
            say!("claude did not end within {GRACE:?} and is killed");
            let _ = self.child.kill().await;
        }
    }
}

/// A worker of its own, so that a program that does not read holds up nothing, a request to stop least of all.
async fn write_lines(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        let written = async {
            stdin.write_all(&line).await?;
            stdin.flush().await
        };
        if let Err(error) = written.await {
            say!("claude does not read any more: {error}");
            return;
        }
    }
}

async fn read_lines(output: ChildStdout, sender: mpsc::Sender<Line>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.read_until(b'\n', &mut line).await {
            Ok(0) => return,
            Ok(_) => {
                let line = lines::parse(&line);
                if line != Line::Other && sender.send(line).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                say!("cannot read claude's output: {error}");
                return;
            }
        }
    }
}

fn describe(status: ExitStatus) -> String {
    // "exit status: 1", "signal: 9 (SIGKILL)".
    status.to_string()
}

fn arguments(start: &Start) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--dangerously-skip-permissions",
        "--setting-sources",
        "user,project",
        "--allowedTools",
        ALLOWED_TOOLS,
    ]
    .map(OsString::from)
    .into();
    if let Some(session) = &start.session {
        arguments.extend(["--resume".into(), session.as_str().into()]);
    }
    if let Some(file) = global_memory(start) {
        // The file and not its text: an argument has at most 128 KiB.
        arguments.extend(["--append-system-prompt-file".into(), file.into()]);
    }
    for folder in extra_folders(&start.places.extra) {
        arguments.extend(["--add-dir".into(), folder.into()]);
    }
    arguments
}

/// What all groups share. The main group has it in its project already.
fn global_memory(start: &Start) -> Option<PathBuf> {
    let file = start.places.global.join("CLAUDE.md");
    (start.role == GroupRole::Ordinary && file.is_file()).then_some(file)
}

/// The additional mounts, in the order of their names.
fn extra_folders(parent: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    folders
}

fn environment(start: &Start) -> Vec<(&'static str, OsString)> {
    let Places { home, gateway, .. } = &start.places;
    let mut environment: Vec<(&'static str, OsString)> = vec![("HOME", home.into())];
    let unset = |name: &str| set(name).is_none();
    environment.extend(DEFAULTS.iter().filter(|(name, _)| unset(name)).map(|(name, value)| (*name, value.into())));
    if rustix::process::geteuid().is_root() {
        // It refuses to skip permissions as root, except where it is told that it is locked in.
        environment.push(("IS_SANDBOX", "1".into()));
    }
    if gateway.is_some() {
        // As init has it, for an agent that was started without init.
        let access = model_access::environment(GATEWAY_PORT, set);
        environment.extend(access.into_iter().map(|(name, value)| (name, value.into())));
    }
    environment.extend(start.secrets.iter().map(|(name, secret)| (*name, secret.reveal().into())));
    environment
}
