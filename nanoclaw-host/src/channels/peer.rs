//! The other end of a connection that speaks JSON lines: a bridge or a terminal.

use std::{io, time::Duration};

use tokio::{
    net::{UnixStream, unix::OwnedReadHalf},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::MAX_LINE_BYTES;
use crate::json_lines::{Line, LineReader, to_line, write_queue};

/// How long the last lines to a peer may take once its connection ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection with a reader here and a writer of its own, joined by a bounded queue.
#[derive(Debug)]
pub(super) struct Peer {
    reader: LineReader<OwnedReadHalf>,
    lines: mpsc::Sender<String>,
    gone: CancellationToken,
    writing: JoinHandle<io::Result<()>>,
}

/// What came next.
#[derive(Debug)]
pub(super) enum Heard {
    /// A line.
    Line(String),
    /// A line that had to be skipped; why.
    Refused(String),
    /// Nothing will come any more; why.
    End(String),
}

impl Peer {
    /// Takes over `stream`. At most `queue_lines` lines wait to be read by the peer; when it reads nothing for `stall`, or
    /// when `stop` is cancelled, the connection ends.
    pub(super) fn new(stream: UnixStream, queue_lines: usize, stall: Duration, stop: &CancellationToken) -> Self {
        let (reader, writer) = stream.into_split();
        let (lines, queue) = mpsc::channel(queue_lines);
        let gone = stop.child_token();
        let writing = tokio::spawn({
            let gone = gone.clone();
            async move {
                let written = write_queue(writer, queue, stall, gone.clone()).await;
                gone.cancel();
                written
            }
        });
        Self { reader: LineReader::new(reader, MAX_LINE_BYTES), lines, gone, writing }
    }

    /// The next line. A line without end is refused, and the end comes after it. Can be dropped and called again.
    pub(super) async fn next(&mut self) -> Heard {
        let line = tokio::select! {
            line = self.reader.next() => line,
            () = self.gone.cancelled() => return Heard::End("the connection was closed".to_owned()),
        };
        match line {
            Ok(Some(Line::Text(line))) => Heard::Line(line),
            Ok(Some(Line::Refused(reason))) => Heard::Refused(reason),
            Ok(Some(Line::Endless)) => Heard::Refused("the line does not end; the connection is closed".to_owned()),
            Ok(Some(Line::Torn)) => Heard::End("it left in the middle of a line".to_owned()),
            Ok(None) => Heard::End("it left".to_owned()),
            Err(error) => Heard::End(error.to_string()),
        }
    }

    /// The number of the line that came last; `None` before the first.
    pub(super) fn line_number(&self) -> Option<u64> {
        Some(self.reader.number()).filter(|&number| number > 0)
    }

    /// Queues a line. A peer that does not read waits here, and nobody else; when it is gone the line is dropped.
    pub(super) async fn say(&self, message: &impl serde::Serialize) {
        tokio::select! {
            biased;
            _ = self.lines.send(to_line(message)) => {}
            () = self.gone.cancelled() => {}
        }
    }

    /// The queue, for those who say something at other times.
    pub(super) fn lines(&self) -> mpsc::Sender<String> {
        self.lines.clone()
    }

    /// Cancelling it ends the connection.
    pub(super) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    /// Lets the last lines out and ends the connection.
    pub(super) async fn end(mut self) {
        self.gone.cancel();
        match tokio::time::timeout(FAREWELL, &mut self.writing).await {
            Ok(Ok(Err(error))) => tracing::debug!(%error, "the last lines of a connection were lost"),
            Ok(_) => {}
            Err(_) => self.writing.abort(),
        }
    }
}
