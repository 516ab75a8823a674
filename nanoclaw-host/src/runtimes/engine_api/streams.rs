//! A container's streams over the engine's one connection.
//!
//! The connection carries input one way and both outputs the other way, in frames. It must be closed when nobody wants
//! either any more, because the container's input ends with it; and the output must end when the container has, even when
//! the engine forgets to say so.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bollard::{container::LogOutput, errors::Error as EngineError};
use futures_util::{Stream, StreamExt};
use nanoclaw_core::runtime::{ExitWatch, Output};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{
        mpsc,
        oneshot::{self, error::TryRecvError},
    },
    time::{Instant, sleep_until},
};

type EngineInput = Pin<Box<dyn AsyncWrite + Send>>;
type EngineOutput = Pin<Box<dyn Stream<Item = Result<LogOutput, EngineError>> + Send>>;

/// Two seconds are promised from the exit to the end of the output; this long without a byte is enough.
const QUIET_AFTER_EXIT: Duration = Duration::from_millis(1500);
/// A half-close that the engine does not take must not keep its worker for ever.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// The writing half. Dropping it without a close closes it all the same.
pub(super) struct Input {
    /// `None` once it was handed to the worker that closes it.
    engine: Option<EngineInput>,
    closed: bool,
    /// Tells the reading worker that nobody writes any more; nothing is ever sent.
    _open: oneshot::Sender<()>,
}

impl Input {
    /// The writing half, and what resolves when it is gone.
    pub(super) fn new(engine: EngineInput) -> (Self, oneshot::Receiver<()>) {
        let (open, gone) = oneshot::channel();
        (Self { engine: Some(engine), closed: false, _open: open }, gone)
    }

    fn engine(&mut self) -> io::Result<Pin<&mut (dyn AsyncWrite + Send + 'static)>> {
        self.engine.as_mut().map(Pin::as_mut).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncWrite for Input {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.engine()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.engine()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = self.engine()?.poll_shutdown(context);
        self.closed |= shut.is_ready();
        shut
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // Both halves share the connection: dropping this one alone says nothing to the engine.
        let unclosed = self.engine.take().filter(|_| !self.closed);
        if let (Some(mut engine), Ok(runtime)) = (unclosed, tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { tokio::time::timeout(CLOSE_WITHIN, engine.shutdown()).await });
        }
    }
}

/// Moves the engine's frames to `queue` until the output has ended, the exit is known and nothing comes any more, or
/// nobody wants input or output.
///
/// While only the output is unwanted it is still read, and dropped: a container whose output nobody takes would stall.
pub(super) async fn pass_on(
    mut engine: EngineOutput,
    queue: mpsc::Sender<Output>,
    exit: ExitWatch,
    mut input_gone: oneshot::Receiver<()>,
) {
    let mut ended: Pin<Box<dyn Future<Output = Instant> + Send>> = Box::pin(async move {
        exit.await;
        Instant::now()
    });
    let (mut deadline, mut nobody_writes) = (None, false);
    loop {
        let frame = tokio::select! {
            // What has arrived goes first.
            biased;
            frame = engine.next() => frame,
            at = &mut ended, if deadline.is_none() => {
                deadline = Some(at + QUIET_AFTER_EXIT);
                continue;
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => return,
            _ = &mut input_gone, if !nobody_writes => {
                nobody_writes = true;
                continue;
            }
            () = queue.closed(), if nobody_writes => return,
        };
        let output = match frame {
            None => return,
            Some(Ok(LogOutput::StdOut { message })) => Output::Stdout(message),
            Some(Ok(LogOutput::StdErr { message })) => Output::Stderr(message),
            Some(Ok(LogOutput::StdIn { .. })) => continue,
            // Without a terminal this is how the engine reports its own trouble, in the middle of the stream.
            Some(Ok(LogOutput::Console { message })) => {
                let said = String::from_utf8_lossy(&message);
                tracing::warn!(%said, "the engine broke into a container's output");
                continue;
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a container's output broke off");
                return;
            }
        };
        // While a slow reader holds us up here no time runs against the output.
        if queue.send(output).await.is_err() {
            // Looked at here too: a container that never stops writing would never let the select get that far.
            nobody_writes = nobody_writes || input_gone.try_recv().is_err_and(|error| error == TryRecvError::Closed);
            if nobody_writes {
                return;
            }
        }
        if let Some(deadline) = &mut deadline {
            *deadline = Instant::now() + QUIET_AFTER_EXIT;
        }
    }
}
