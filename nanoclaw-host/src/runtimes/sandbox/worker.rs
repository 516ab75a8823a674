//! Looks after one running container: carries its output, takes requests to end it, and sees its end.

use std::{io, os::unix::process::ExitStatusExt, process::ExitStatus, sync::Arc, time::Duration};

use bytes::BytesMut;
use nanoclaw_core::runtime::{Exit, Output};
use tokio::{net::unix::pipe, sync::mpsc, task::JoinHandle};

use super::{limits::Groups, spawner::Helper};

/// How long output may be held open by somebody else after the container's end; the port promises two seconds.
const LAST_OUTPUT: Duration = Duration::from_millis(1500);

/// How long a container whose output nobody reads any more has to end by itself: its input is closed too, mostly.
const ABANDONED: Duration = Duration::from_secs(10);

/// How long a helper has to end after it was told to kill its container.
const KILLED: Duration = Duration::from_secs(5);

/// A request to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// TERM.
    Ask,
    /// KILL.
    Kill,
}

/// Carries both output streams into one bounded queue, so that a reader of one cannot be blocked by the other.
pub(super) fn pump(stdout: pipe::Receiver, stderr: pipe::Receiver) -> (mpsc::Receiver<Output>, Pumps) {
    let (queue, output) = mpsc::channel(64);
    let pumps = [
        tokio::spawn(carry(stdout, queue.clone(), Output::Stdout)),
        tokio::spawn(carry(stderr, queue.clone(), Output::Stderr)),
    ];
    (output, Pumps { pumps, queue })
}

/// The workers that carry output.
pub(super) struct Pumps {
    pumps: [JoinHandle<()>; 2],
    queue: mpsc::Sender<Output>,
}

async fn carry(stream: pipe::Receiver, queue: mpsc::Sender<Output>, kind: fn(bytes::Bytes) -> Output) {
    const CHUNK: usize = 64 * 1024;
    while stream.readable().await.is_ok() {
        // Room is made only now: a container is silent most of its life, and would hold it.
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match stream.try_read_buf(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        if queue.send(kind(chunk.freeze())).await.is_err() {
            return;
        }
    }
}

impl Pumps {
    /// Lets what was written before the end come through, then closes the queue, whoever still holds the pipe.
    pub(super) async fn finish(self) {
        let Self { mut pumps, queue } = self;
        drop(queue);
        let deadline = tokio::time::Instant::now() + LAST_OUTPUT;
        for pump in &mut pumps {
            if tokio::time::timeout_at(deadline, &mut *pump).await.is_err() {
                pump.abort();
            }
        }
    }
}

/// Waits until the container has ended, passing on requests meanwhile.
pub(super) async fn watch(
    mut helper: Helper,
    mut requests: mpsc::Receiver<End>,
    pumps: &Pumps,
    groups: Option<&Arc<Groups>>,
) -> Exit {
    let mut abandoned = false;
    let status = loop {
        tokio::select! {
            status = helper.wait() => break status,
            request = requests.recv() => match request {
                Some(End::Ask) => helper.ask_to_end(),
                Some(End::Kill) | None => break kill(&mut helper).await,
            },
            () = pumps.queue.closed(), if !abandoned => abandoned = true,
            () = tokio::time::sleep(ABANDONED), if abandoned => break kill(&mut helper).await,
        }
    };
    let exit = status.map_or(Exit::Unknown, exit_of);
    let by_kill = exit == Exit::Signal(libc::SIGKILL);
    if by_kill && groups.is_some_and(|groups| groups.ran_out_of_memory()) { Exit::OutOfMemory } else { exit }
}

async fn kill(helper: &mut Helper) -> io::Result<ExitStatus> {
    helper.kill_container();
    if let Ok(status) = tokio::time::timeout(KILLED, helper.wait()).await {
        return status;
    }
    helper.kill();
    helper.wait().await
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::of_code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}
