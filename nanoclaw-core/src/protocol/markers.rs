//! The marker blocks on a container's standard output: encoder and streaming decoder.
//!
//! A block is a line with the start marker, JSON, and a line with the end marker. Everything between blocks is log text.
//! What the JSON means is [`super::output`]'s.

use super::output::Block;

/// Stands alone on the line before a block.
pub const START: &str = "---NANOCLAW_OUTPUT_START---";
/// Stands alone on the line after a block.
pub const END: &str = "---NANOCLAW_OUTPUT_END---";

/// The most bytes that a block may have between its markers, line ends included.
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;
/// The most bytes that are kept of one line between blocks.
pub const MAX_LINE_BYTES: usize = 8 * 1024;

/// What may be buffered inside a block: its content, and the line that may turn out to be its end marker.
const MAX_BUFFER_BYTES: usize = MAX_BLOCK_BYTES + MAX_LINE_BYTES;

/// What the decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A whole block.
    Block(Block),
    /// A line between blocks, without its end, invalid UTF-8 replaced, cut to [`MAX_LINE_BYTES`]. Blank lines are left out.
    Line(String),
    /// Something that is no block: bad JSON between markers, too much of it, a start marker before the end of the last
    /// block, an end marker without a start, or the end of the stream within a block. It counts for nothing; the next
    /// start marker begins anew.
    Broken {
        /// What is wrong with it.
        reason: String,
    },
}

/// Finds blocks in a stream that arrives in chunks of any size. Its memory is bounded by [`MAX_BLOCK_BYTES`] and
/// [`MAX_LINE_BYTES`], whatever comes, and each byte is looked at a fixed number of times.
///
/// A line is a marker when it equals one without the white space around it (so `\r\n` ends a line, too). A marker in the
/// middle of a line is text: JSON has no raw line ends, so what an agent says can never forge one.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The current line; inside a block, everything since the start marker.
    buffer: Vec<u8>,
    /// Where in `buffer` the current line starts; 0 unless inside a block.
    line_start: usize,
    /// The current line was longer than what is kept, so it is no marker.
    line_is_cut: bool,
    place: Place,
}

/// Where in the stream the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Place {
    /// Between blocks: lines are log text.
    #[default]
    Between,
    /// After a start marker.
    Inside,
    /// In a block that was too long and has been told of: nothing is kept until a marker.
    Skipping,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Start,
    End,
    Text,
}

impl Decoder {
    /// A decoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk and returns what it completes, in order.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        let mut rest = chunk;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.take(&rest[..at], &mut found);
            self.end_line(&mut found);
            rest = &rest[at + 1..];
        }
        self.take(rest, &mut found);
        found
    }

    /// The stream has ended: returns what was left, a last line without an end or a block without its end marker.
    /// Afterwards the decoder is at the start of a stream again.
    pub fn finish(&mut self) -> Vec<Found> {
        let mut found = Vec::new();
        self.end_line(&mut found);
        if self.place == Place::Inside {
            found.push(Found::broken("the output ended before the end marker of a block"));
        }
        *self = Self::default();
        found
    }

    /// How many bytes of memory are held for what is not complete yet.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes a part of the current line.
    fn take(&mut self, part: &[u8], found: &mut Vec<Found>) {
        if self.place == Place::Inside && self.buffer.len() + part.len() > MAX_BUFFER_BYTES {
            // What was buffered is of no use to anyone, and neither is the rest of this line.
            self.start_over(Place::Skipping);
            self.line_is_cut = true;
            found.push(Found::too_long());
        }
        match self.place {
            Place::Inside => self.buffer.extend_from_slice(part),
            Place::Between | Place::Skipping => {
                let room = MAX_LINE_BYTES.saturating_sub(self.buffer.len());
                self.line_is_cut |= part.len() > room;
                self.buffer.extend_from_slice(&part[..part.len().min(room)]);
            }
        }
    }

    /// The current line is whole.
    fn end_line(&mut self, found: &mut Vec<Found>) {
        let kind = if self.line_is_cut { LineKind::Text } else { line_kind(&self.buffer[self.line_start..]) };
        match (self.place, kind) {
            (Place::Between, LineKind::Text) => {
                found.extend(self.log_line().map(Found::Line));
                self.start_over(Place::Between);
            }
            (Place::Between, LineKind::End) => {
                found.push(Found::broken("an end marker without a start marker"));
                self.start_over(Place::Between);
            }
            (Place::Between | Place::Skipping, LineKind::Start) => self.start_over(Place::Inside),
            (Place::Skipping, LineKind::Text) => self.start_over(Place::Skipping),
            (Place::Skipping, LineKind::End) => self.start_over(Place::Between),
            (Place::Inside, LineKind::Text) => {
                self.buffer.push(b'\n');
                self.line_start = self.buffer.len();
            }
            (Place::Inside, LineKind::Start) => {
                found.push(Found::broken("a start marker before the end marker of the last block"));
                self.start_over(Place::Inside);
            }
            (Place::Inside, LineKind::End) => {
                found.push(parse_block(&self.buffer[..self.line_start]));
                self.start_over(Place::Between);
            }
        }
    }

    /// Goes to `place` with nothing buffered.
    fn start_over(&mut self, place: Place) {
        self.buffer.clear();
        // A large block is rare; its memory is not kept for the rest of the run.
        self.buffer.shrink_to(MAX_LINE_BYTES);
        self.line_start = 0;
        self.line_is_cut = false;
        self.place = place;
    }

    /// The current line as text; `None` when it is blank.
    fn log_line(&self) -> Option<String> {
        let mut kept = self.buffer.as_slice();
        if self.line_is_cut {
            kept = without_half_character(kept);
        } else if let Some(without) = kept.strip_suffix(b"\r") {
            kept = without;
        }
        if kept.trim_ascii().is_empty() {
            return None;
        }
        let mut text = String::from_utf8_lossy(kept).into_owned();
        // A replacement character is longer than the byte it stands for.
        text.truncate(text.floor_char_boundary(MAX_LINE_BYTES));
        Some(text)
    }
}

impl Found {
    fn broken(reason: impl Into<String>) -> Self {
        Self::Broken { reason: reason.into() }
    }

    fn too_long() -> Self {
        Self::broken(format!("a block of more than {MAX_BLOCK_BYTES} bytes"))
    }
}

/// A block as it is written: both markers and the JSON, each on a line of its own, ready for one write.
///
/// It begins with a line end, so that a line that something else left unfinished on the same stream cannot swallow the start
/// marker; readers, v1's among them, do not mind. A decoder refuses a block whose JSON has more than [`MAX_BLOCK_BYTES`].
#[must_use]
pub fn encode(block: &Block) -> Vec<u8> {
    let json =
        serde_json::to_vec(block).expect("a block has text, numbers and enums alone, all of which JSON can express");
    let mut bytes = Vec::with_capacity(json.len() + START.len() + END.len() + 4);
    for line in [b"".as_slice(), START.as_bytes(), &json, END.as_bytes()] {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

fn line_kind(line: &[u8]) -> LineKind {
    match line.trim_ascii() {
        line if line == START.as_bytes() => LineKind::Start,
        line if line == END.as_bytes() => LineKind::End,
        _ => LineKind::Text,
    }
}

fn parse_block(content: &[u8]) -> Found {
    if content.len() > MAX_BLOCK_BYTES {
        return Found::too_long();
    }
    // A reply with a torn character in it is worth more than no reply.
    match serde_json::from_str(&String::from_utf8_lossy(content)) {
        Ok(block) => Found::Block(block),
        Err(error) => Found::broken(format!("a block that cannot be read: {error}")),
    }
}

/// `text` without a character at its end that the cut went through.
fn without_half_character(text: &[u8]) -> &[u8] {
    match text.utf8_chunks().last() {
        // At most three bytes of a character can be there without it being wrong.
        Some(last) if std::str::from_utf8(last.invalid()).is_err_and(|error| error.error_len().is_none()) => {
            &text[..text.len() - last.invalid().len()]
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests;
