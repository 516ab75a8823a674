//! JSON lines over a socket: cuts a stream into lines in bounded memory, and writes lines to a peer that may not read.
//!
//! What the lines say is the business of whoever reads them: the control socket, the terminal, the bridges.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// A line that is this many times as long as the limit, and has no end yet, is taken for endless.
const ENDLESS: usize = 16;

/// One line as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Text; never blank.
    Text(String),
    /// It had to be skipped; why.
    Refused(String),
    /// It does not end; nothing is read any more.
    Endless,
    /// The stream ended in the middle of it: what came of it is not acted on, nothing comes any more.
    Torn,
}

/// Reads lines. Blank lines are skipped.
#[derive(Debug)]
pub(crate) struct LineReader<R> {
    reader: BufReader<R>,
    limit: usize,
    line: Vec<u8>,
    /// How many bytes the line has so far, kept or not.
    length: usize,
    number: u64,
    ended: bool,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Reads lines of at most `limit` bytes, without their end.
    pub(crate) fn new(reader: R, limit: usize) -> Self {
        let reader = BufReader::with_capacity(32 * 1024, reader);
        Self { reader, limit, line: Vec::new(), length: 0, number: 0, ended: false }
    }

    /// The next line, `None` at the end of the stream and after an endless or a torn line. Can be dropped and called again
    /// without loss.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Line>> {
        while !self.ended {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                self.ended = true;
                return Ok((self.length > 0).then(|| self.count(Line::Torn)));
            }
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let taken = end.unwrap_or(chunk.len());
            self.length += taken;
            if self.length <= self.limit {
                self.line.extend_from_slice(&chunk[..taken]);
            }
            self.reader.consume(end.map_or(taken, |end| end + 1));
            if end.is_some() {
                self.number += 1;
                if let Some(line) = self.finish() {
                    return Ok(Some(line));
                }
            } else if self.length > ENDLESS * self.limit {
                self.ended = true;
                return Ok(Some(self.count(Line::Endless)));
            }
        }
        Ok(None)
    }

    /// The number of the line that came last; the first is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    fn count(&mut self, line: Line) -> Line {
        self.number += 1;
        line
    }

    fn finish(&mut self) -> Option<Line> {
        let length = std::mem::take(&mut self.length);
        let line = std::mem::take(&mut self.line);
        if length > self.limit {
            return Some(Line::Refused(format!("the line has {length} bytes; at most {} are taken", self.limit)));
        }
        if line.trim_ascii().is_empty() {
            return None;
        }
        Some(match String::from_utf8(line) {
            Ok(text) => Line::Text(text),
            Err(error) => {
                let at = error.utf8_error().valid_up_to() + 1;
                Line::Refused(format!("the line is not UTF-8: byte {at} of it is wrong"))
            }
        })
    }
}

/// `message` as one line.
pub(crate) fn to_line(message: &impl serde::Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("wire messages have text keys and no other way to fail");
    line.push('\n');
    line
}

/// Writes one line.
///
/// # Errors
/// The stream's; `TimedOut` when the peer takes nothing for `stall`.
pub(crate) async fn write_line(writer: &mut (impl AsyncWrite + Unpin), line: &str, stall: Duration) -> io::Result<()> {
    let mut rest = line.as_bytes();
    // Each piece that the peer takes gives it new time: slow is not dead.
    while !rest.is_empty() {
        match tokio::time::timeout(stall, writer.write(rest)).await {
            Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written?..],
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read what it is sent")),
        }
    }
    Ok(())
}

/// Writes what is queued until the queue is closed, `gone` is cancelled (what is queued then is still written), or the
/// peer takes nothing for `stall`.
///
/// # Errors
/// As [`write_line`].
pub(crate) async fn write_queue(
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<String>,
    stall: Duration,
    gone: CancellationToken,
) -> io::Result<()> {
    loop {
        let line = tokio::select! {
            line = queue.recv() => line,
            () = gone.cancelled() => {
                queue.close();
                queue.recv().await
            }
        };
        let Some(line) = line else { return writer.shutdown().await };
        write_line(&mut writer, &line, stall).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest line of these tests.
    const LIMIT: usize = 1 << 20;

    async fn lines_of(input: &[u8]) -> Vec<(u64, Line)> {
        let mut reader = LineReader::new(input, LIMIT);
        let mut lines = Vec::new();
        while let Some(line) = reader.next().await.unwrap() {
            lines.push((reader.number(), line));
        }
        lines
    }

    fn text(text: &str) -> Line {
        Line::Text(text.to_owned())
    }

    #[tokio::test]
    async fn blank_lines_are_skipped_and_a_torn_last_line_is_told_and_not_acted_on() {
        let lines = lines_of(b"{\"a\":1}\n\n \r\n{\"b\":2}\r\n{\"c\":3}").await;
        assert_eq!(lines, [(1, text("{\"a\":1}")), (4, text("{\"b\":2}\r")), (5, Line::Torn)]);
        assert_eq!(lines_of(b"a\n").await, [(1, text("a"))]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_and_the_next_is_read() {
        let mut input = vec![b'x'; LIMIT + 1];
        input.extend_from_slice(b"\nnext\n");
        let lines = lines_of(&input).await;
        assert!(matches!(&lines[0], (1, Line::Refused(reason)) if reason.contains("1048577 bytes")), "{:?}", lines[0]);
        assert_eq!(lines[1], (2, text("next")));
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_is_taken() {
        let mut input = vec![b'x'; LIMIT];
        input.push(b'\n');
        assert!(matches!(&lines_of(&input).await[..], [(1, Line::Text(line))] if line.len() == LIMIT));
    }

    #[tokio::test]
    async fn a_line_that_is_not_utf_8_is_refused_and_the_next_is_read() {
        let lines = lines_of(b"ab\xff\nnext\n").await;
        assert_eq!(lines[0].1, Line::Refused("the line is not UTF-8: byte 3 of it is wrong".to_owned()));
        assert_eq!(lines[1].1, text("next"));
    }

    #[tokio::test]
    async fn an_endless_line_is_noticed_without_keeping_it() {
        let mut reader = LineReader::new(tokio::io::repeat(b'x'), LIMIT);
        assert_eq!(reader.next().await.unwrap(), Some(Line::Endless));
        assert!(reader.line.capacity() <= 2 * LIMIT, "{}", reader.line.capacity());
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_given_up_and_a_slow_one_is_not() {
        use tokio::io::AsyncReadExt;
        let stall = Duration::from_secs(30);
        let (ours, mut theirs) = tokio::io::duplex(4);
        let (queue, lines) = mpsc::channel(4);
        queue.send("0123456789\n".to_owned()).await.unwrap();
        let writer = tokio::spawn(write_queue(ours, lines, stall, CancellationToken::new()));
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            theirs.read_exact(&mut [0; 4]).await.unwrap();
        }
        queue.send("never read\n".to_owned()).await.unwrap();
        assert_eq!(writer.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
