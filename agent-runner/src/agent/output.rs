//! Writing blocks to standard output.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
};

use anyhow::Context as _;
use nanoclaw_core::protocol::{markers, output::Block};

/// The most bytes of text in a block. A host drops a block that is longer than its bound ([`markers::MAX_BLOCK_BYTES`]), and
/// with it the turn would stay unanswered for ever; escaping makes six bytes of one at worst. No chat takes so much anyway.
const MAX_TEXT_BYTES: usize = 512 * 1024;

/// Standard output, unbuffered: a block is one write of the whole, so a signal finds it written or not begun.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
}

impl Output {
    pub(crate) fn standard() -> anyhow::Result<Self> {
        let handle = io::stdout().as_fd().try_clone_to_owned().context("cannot take standard output")?;
        Ok(Self { file: File::from(handle) })
    }

    /// Writes one block; a text that is too long for one is cut, and says so.
    ///
    /// # Errors
    /// Nobody reads any more. Under our init that does not happen, whatever becomes of the host; under another one nobody
    /// is left to work for.
    pub(crate) fn write(&mut self, block: &Block) -> anyhow::Result<()> {
        let mut block = block.clone();
        block.result = block.result.map(cut);
        block.error = block.error.map(cut);
        self.file.write_all(&markers::encode(&block)).context("cannot write a block to standard output")
    }
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        let all = text.len();
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push_str(&format!("\n… (cut here; it had {all} bytes)"));
    }
    text
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::protocol::markers::MAX_BLOCK_BYTES;

    use super::*;

    #[test]
    fn the_longest_text_fits_into_a_block_however_it_is_escaped() {
        for letter in ["\u{1}", "\"", "€", "x"] {
            let text = cut(letter.repeat(3 * 1024 * 1024));
            assert!(text.ends_with("bytes)"), "{letter:?}");
            let block = Block::success(Some(text));
            assert!(markers::encode(&block).len() < MAX_BLOCK_BYTES, "{letter:?}");
        }
    }
}
