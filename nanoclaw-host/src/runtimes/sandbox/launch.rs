//! Starts one helper process and hears from it whether its container runs.
//!
//! The helper's standard input is a control socket. Through it go the plan and, beside the plan's first byte, the container's
//! real standard input. So nothing has to survive exec as an inherited descriptor: no flag is cleared that a concurrent spawn
//! could trip over, and this side needs no code between fork and exec.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::Path,
    time::Duration,
};

use nanoclaw_core::runtime::{RuntimeError, RuntimeKind};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{UnixStream, unix::pipe},
    process::{ChildStderr, ChildStdout},
};

use super::{
    helper::HIDDEN_WORD,
    plan::{Plan, Refusal, Report, Task, Word},
    spawner::{Helper, Spawner, bare_command},
};

/// How long a helper may take from fork to exec; it takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a helper may say at most, in bytes.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// A helper whose container runs, or which has reported and ends.
pub(super) struct Launched {
    pub(super) helper: Helper,
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
    /// The answer to [`Task::Report`].
    pub(super) report: Option<Report>,
}

/// Starts `program` as the helper for `plan`, and waits until the command was executed or the report given. `name` is shown
/// in process lists.
///
/// # Errors
/// The helper's refusal, or why it was not heard; no process is left then.
pub(super) async fn launch(spawner: &Spawner, program: &Path, name: &str, plan: &Plan) -> Result<Launched, Failure> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let control = UnixStream::from_std(ours)?;
    let (input_end, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = bare_command(program, OwnedFd::from(theirs).into());
    command.arg0("nanoclaw-sandbox").arg(HIDDEN_WORD).arg(name);
    let mut helper = spawner.spawn(command).await?;
    let (stdout, stderr) = helper.take_output().ok_or_else(|| io::Error::other("the helper has no output"))?;
    // The command holds the helper's end of the socket and was dropped with the spawner's request.
    let heard = tokio::time::timeout(PATIENCE, talk(control, input_end, plan)).await;
    let refusal = match heard {
        Ok(Ok(answer)) => match understand(&answer, plan) {
            Ok(report) => {
                let stdin = pipe::Sender::from_owned_fd(stdin)?;
                return Ok(Launched { helper, stdin, stdout, stderr, report });
            }
            Err(refusal) => refusal,
        },
        Ok(Err(error)) => Failure::Io(error),
        Err(_) => Failure::TimedOut,
    };
    helper.kill_container();
    if tokio::time::timeout(Duration::from_secs(5), helper.wait()).await.is_err() {
        helper.kill();
    }
    Err(refusal)
}

async fn talk(mut control: UnixStream, input: OwnedFd, plan: &Plan) -> io::Result<Vec<u8>> {
    let plan = serde_json::to_vec(plan)?;
    control
        .async_io(Interest::WRITABLE, || {
            let descriptors = [input.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            beside.push(SendAncillaryMessage::ScmRights(&descriptors));
            rustix::net::sendmsg(&control, &[IoSlice::new(b"\n")], &mut beside, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await?;
    drop(input);
    // A helper that gives up early has said why: hear it, whatever became of the rest of the plan.
    if control.write_all(&plan).await.is_ok() {
        let _ = control.shutdown().await;
    }
    let mut answer = Vec::new();
    control.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Makes sense of all that the helper said until it executed the command or ended.
fn understand(answer: &[u8], plan: &Plan) -> Result<Option<Report>, Failure> {
    let mut launching = false;
    let mut reported = None;
    for line in answer.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Word::Launching) => launching = true,
            Ok(Word::Report(report)) => reported = Some(report),
            Ok(Word::Refused(refusal)) => return Err(Failure::Refused(refusal)),
            Err(_) => return Err(io::Error::other("the helper said something that is not of this version").into()),
        }
    }
    match plan.task {
        Task::Command(_) if launching => Ok(None),
        Task::Report if reported.is_some() => Ok(reported),
        _ => Err(io::Error::other("the helper ended before the container was ready").into()),
    }
}

/// Why nothing runs.
#[derive(Debug)]
pub(super) enum Failure {
    /// The helper said no.
    Refused(Refusal),
    /// It did not come to that.
    Io(io::Error),
    /// It said nothing in time.
    TimedOut,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

impl Failure {
    /// As the port says it, about a container with this command.
    pub(super) fn about(self, command: &str) -> RuntimeError {
        match self {
            Self::Refused(Refusal::Command(reason)) => RuntimeError::BadCommand { command: command.to_owned(), reason },
            Self::Refused(Refusal::Mount(path, reason)) => RuntimeError::BadMount { path, reason },
            Self::Refused(Refusal::Step(step, reason)) => RuntimeError::NotEnforced {
                what: format!("isolation ({step}: {reason})"),
                remedy: format!("run `nanoclaw doctor`, which says what the {} needs here", RuntimeKind::Sandbox),
            },
            Self::Io(error) => RuntimeError::Other { action: "start the container", reason: error.to_string() },
            Self::TimedOut => RuntimeError::TimedOut { action: "start the container" },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(Refusal::Command(reason)) => f.write_str(reason),
            Self::Refused(Refusal::Mount(path, reason)) => write!(f, "{}: {reason}", path.display()),
            Self::Refused(Refusal::Step(step, reason)) => write!(f, "{step}: {reason}"),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}
