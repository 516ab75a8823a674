//! The process: lines in and out, and its end.

use std::{
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nanoclaw_core::protocol::environment::{AHEAD, CLAUDE};
use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::mpsc,
    time::timeout,
};

use super::{
    super::Failure,
    command_line::CommandLine,
    lines::{self, Line},
};
use crate::log::say;

/// How long the program may take to end when asked.
const GRACE: Duration = Duration::from_secs(2);

/// Lines that wait to be looked at. The program waits when there are more: we are always listening, or ending.
const LINES_WAITING: usize = 64;

/// The running program.
pub(super) struct Process {
    child: Child,
    /// To the worker that writes to the program's input; `None` when that is closed. Unbounded, and holds one prompt: the
    /// next one is handed over when the last one is answered.
    input: Option<mpsc::UnboundedSender<Vec<u8>>>,
    lines: mpsc::Receiver<Line>,
}

impl Process {
    /// Starts the program.
    pub(super) fn start(command_line: &CommandLine) -> Result<Self, Failure> {
        let CommandLine { program, arguments, environment, folder } = command_line;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env_remove(AHEAD)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A run that fails in the middle leaves nobody behind.
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            Failure::other(format!(
                "cannot start claude ({program:?} in {folder:?}): {error}; install Claude Code in the image, or name its \
                 program in {CLAUDE}"
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

    /// How it ended, in words, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(status) => status.map(|status| format!("it had ended ({})", describe(status))),
            Err(error) => Some(format!("nobody knows what became of it: {error}")),
        }
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
