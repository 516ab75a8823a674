//! The beginning and the end of a text that may be endless, and a word about what is missing between them.

use std::{collections::VecDeque, io};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What is kept of it.
#[derive(Debug)]
pub(crate) struct Ends {
    half: usize,
    first: Vec<u8>,
    last: VecDeque<u8>,
    left_out: u64,
}

impl Ends {
    /// Keeps `bytes`, half of them from each end.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { half: bytes / 2, first: Vec::new(), last: VecDeque::new(), left_out: 0 }
    }

    /// Reads all of `from`, to its end.
    ///
    /// # Errors
    /// It cannot be read any further; what was read is kept.
    pub(crate) async fn read(&mut self, mut from: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer).await? {
                0 => return Ok(()),
                length => self.take(&buffer[..length]),
            }
        }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        let (first, rest) = bytes.split_at(bytes.len().min(self.half - self.first.len()));
        self.first.extend_from_slice(first);
        // What would be pushed out again is not taken in.
        let useless = rest.len().saturating_sub(self.half);
        self.left_out += useless as u64;
        self.last.extend(&rest[useless..]);
        let over = self.last.len().saturating_sub(self.half);
        self.left_out += over as u64;
        self.last.drain(..over);
    }

    /// How many bytes were not kept.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What was kept; between the ends, on a line of its own, how much was not, and `advice` about that.
    pub(crate) fn text(mut self, advice: &str) -> String {
        let last = self.last.make_contiguous();
        if self.left_out == 0 {
            self.first.extend_from_slice(last);
            return String::from_utf8_lossy(&self.first).into_owned();
        }
        format!(
            "{}\n\n[{} bytes are left out here.{advice}]\n\n{}",
            String::from_utf8_lossy(&self.first),
            self.left_out,
            String::from_utf8_lossy(last)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_fits_is_whole_and_of_the_rest_both_ends_are_kept() {
        let text: String = (0..200).map(|number| format!("{number:03} ")).collect();
        for piece in [1, 3, 7, 1000] {
            let mut ends = Ends::new(800);
            text.as_bytes().chunks(piece).for_each(|piece| ends.take(piece));
            assert_eq!((ends.left_out(), ends.text("")), (0, text.clone()), "{piece}");
            let mut ends = Ends::new(40);
            text.as_bytes().chunks(piece).for_each(|piece| ends.take(piece));
            assert_eq!(ends.left_out(), 760);
            let cut = ends.text(" Ask for less.");
            assert!(cut.starts_with("000 001 002 003 004 ") && cut.ends_with("195 196 197 198 199 "), "{cut}");
            assert!(cut.contains("\n[760 bytes are left out here. Ask for less.]\n"), "{cut}");
        }
        let mut read = Ends::new(800);
        read.read(text.as_bytes()).await.unwrap();
        assert_eq!(read.text(""), text);
    }
}
