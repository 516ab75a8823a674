//! Starts one helper process, looks at the container that it made, and hears from it whether that runs.
//!
//! The helper's standard input is a control socket (what goes through it is in [`plan`](super::plan)). The container's real
//! standard input is one of the descriptors that go through it. So nothing has to survive exec as an inherited descriptor: no flag is cleared that a concurrent spawn
//! could trip over, and this side needs no code between fork and exec.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream as StdUnixStream,
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use nanoclaw_core::runtime::{
    RuntimeError, RuntimeKind,
    hardening::{Deviation, in_one_line},
};
use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
    pipe::{PipeFlags, pipe_with},
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::{UnixStream, unix::pipe},
};

use super::{
    helper::{DESCRIPTORS_AT_ONCE, HIDDEN_WORD},
    look::Asked,
    plan::{Refusal, Report, Task, Word},
    spawner::{Helper, Spawner, bare_command},
};

/// How long a helper may take from fork to exec; it takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a helper may say at most, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// A helper whose container runs, or which has reported and ends.
pub(super) struct Launched {
    pub(super) helper: Helper,
    pub(super) stdin: pipe::Sender,
    pub(super) stdout: pipe::Receiver,
    pub(super) stderr: pipe::Receiver,
    /// The answer to [`Task::Report`].
    pub(super) report: Option<Report>,
}

/// Starts `program` as the helper for what is asked, looks at what it made, and waits until the command was executed or the
/// report given. `name` is shown in process lists.
///
/// # Errors
/// The helper's refusal, what is not as it was asked for, or why it was not heard; no process is left then, and nothing of the
/// command was executed.
pub(super) async fn launch(
    spawner: &Spawner,
    program: &Path,
    name: &str,
    asked: &Arc<Asked>,
) -> Result<Launched, Failure> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut talk = Talk::new(UnixStream::from_std(ours)?);
    let (input_end, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut command = bare_command(program, OwnedFd::from(theirs).into());
    command.arg0("nanoclaw-sandbox").arg(HIDDEN_WORD).arg(name);
    let mut helper = spawner.spawn(command).await?;
    let (stdout, stderr) = helper.take_output()?;
    // The command holds the helper's end of the socket and was dropped with the spawner's request.
    let refusal = match tokio::time::timeout(PATIENCE, talk.carry_on(input_end, asked)).await {
        Ok(Ok(report)) => {
            let stdin = pipe::Sender::from_owned_fd(stdin)?;
            return Ok(Launched { helper, stdin, stdout, stderr, report });
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::TimedOut,
    };
    helper.kill_container();
    if tokio::time::timeout(Duration::from_secs(5), helper.wait()).await.is_err() {
        helper.kill();
    }
    Err(refusal)
}

/// What is said between this process and a helper.
struct Talk {
    control: UnixStream,
    /// Heard and not understood yet.
    heard: Vec<u8>,
    /// Bytes heard in all.
    length: usize,
    /// The container's first process, as soon as it has shown itself.
    first: Option<OwnedFd>,
}

impl Talk {
    fn new(control: UnixStream) -> Self {
        Self { control, heard: Vec::new(), length: 0, first: None }
    }

    /// Until the command was executed; `None` then, or the report.
    async fn carry_on(&mut self, input: OwnedFd, asked: &Arc<Asked>) -> Result<Option<Report>, Failure> {
        // A helper that gives up early has said why: hear it, whatever became of the rest of the plan.
        let _ = self.send_plan(input, asked).await;
        let mut ready = false;
        let mut reported = None;
        while let Some(word) = self.next_word().await? {
            match word {
                Word::Ready => {
                    let first = self.first.take().ok_or_else(|| io::Error::other("nobody said which process it is"))?;
                    look(asked, first).await?;
                    // Who does not hear it is gone, which is told by the end of what it says.
                    let _ = self.control.write_all(b"\n").await;
                    ready = true;
                }
                Word::Report(report) => reported = Some(report),
                Word::Refused(refusal) => return Err(Failure::Refused(refusal)),
            }
        }
        match asked.plan.task {
            Task::Command(_) if ready => Ok(None),
            Task::Report if reported.is_some() => Ok(reported),
            _ => Err(io::Error::other("the helper ended before the container was ready").into()),
        }
    }

    async fn send_plan(&mut self, input: OwnedFd, asked: &Asked) -> io::Result<()> {
        let batches: Vec<&[Arc<OwnedFd>]> = asked.handles.chunks(DESCRIPTORS_AT_ONCE).collect();
        let more = u8::try_from(batches.len()).map_err(|_| io::Error::other("it has too many mounts"))?;
        self.send_beside(more, &[input.as_fd()]).await?;
        drop(input);
        for batch in batches {
            let handles: Vec<BorrowedFd<'_>> = batch.iter().map(|handle| handle.as_fd()).collect();
            self.send_beside(b'\n', &handles).await?;
        }
        let mut plan = serde_json::to_vec(&asked.plan)?;
        plan.push(b'\n');
        self.control.write_all(&plan).await
    }

    async fn send_beside(&self, byte: u8, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_AT_ONCE))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            beside.push(SendAncillaryMessage::ScmRights(descriptors));
            rustix::net::sendmsg(&self.control, &[IoSlice::new(&[byte])], &mut beside, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.control.async_io(Interest::WRITABLE, send).await
    }

    /// The next word; `None` when there is no more.
    async fn next_word(&mut self) -> io::Result<Option<Word>> {
        let not_of_this_version = || io::Error::other("the helper said something that is not of this version");
        loop {
            if let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                if line.len() == 1 {
                    continue;
                }
                return serde_json::from_slice(&line).map(Some).map_err(|_| not_of_this_version());
            }
            if self.length > LONGEST_ANSWER {
                return Err(not_of_this_version());
            }
            if self.listen().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Hears a piece; 0 bytes at the end.
    async fn listen(&mut self) -> io::Result<usize> {
        let control = &self.control;
        let mut piece = [0; 4096];
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut piece)];
            let heard = rustix::net::recvmsg(control, into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
            let handle = beside.drain().find_map(|message| match message {
                RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
                _ => None,
            });
            Ok((heard.bytes, handle))
        };
        let (bytes, handle) = control.async_io(Interest::READABLE, receive).await?;
        self.first = handle.or_else(|| self.first.take());
        self.heard.extend_from_slice(&piece[..bytes]);
        self.length += bytes;
        Ok(bytes)
    }
}

/// Off the async threads: the kernel may have to ask a file system that is far away.
async fn look(asked: &Arc<Asked>, first: OwnedFd) -> Result<(), Failure> {
    let asked = asked.clone();
    let found = tokio::task::spawn_blocking(move || asked.look(&first)).await.map_err(io::Error::other)??;
    if found.is_empty() { Ok(()) } else { Err(Failure::Deviates(found)) }
}

/// Why nothing runs.
#[derive(Debug)]
pub(super) enum Failure {
    /// The helper said no.
    Refused(Refusal),
    /// It made another container than it was asked for.
    Deviates(Vec<Deviation>),
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
            Self::Deviates(deviations) => RuntimeError::NotEnforced {
                what: format!("the isolation of a container ({})", in_one_line(&deviations)),
                remedy: "the sandbox was looked at from outside and is not what it was asked to be: something on this machine \
                         interferes (with its control groups, say), or it is a fault of nanoclaw's, which please report; Docker \
                         or Podman are another way"
                    .to_owned(),
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
            Self::Deviates(deviations) => f.write_str(&in_one_line(deviations)),
            Self::Io(error) => error.fmt(f),
            Self::TimedOut => f.write_str("no answer in time"),
        }
    }
}
