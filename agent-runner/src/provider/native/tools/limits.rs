//! What a model can read of what a tool gives: a bounded text, its beginning and its end, and a word about what is missing.

use std::collections::VecDeque;

use super::super::conversation::Seen;

/// The most bytes of text of one result.
pub(super) const TEXT_BYTES: usize = 40 * 1024;

/// Cuts what is too long.
pub(super) fn bounded(parts: Vec<Seen>) -> Vec<Seen> {
    let cut = |part| match part {
        Seen::Text { text } if text.len() > TEXT_BYTES + TEXT_BYTES / 4 => {
            let mut ends = Ends::new(TEXT_BYTES);
            ends.take(text.as_bytes());
            Seen::Text { text: ends.text() }
        }
        other => other,
    };
    parts.into_iter().map(cut).collect()
}

/// The beginning and the end of something that may be endless.
#[derive(Debug)]
pub(super) struct Ends {
    half: usize,
    first: Vec<u8>,
    last: VecDeque<u8>,
    left_out: u64,
}

impl Ends {
    /// Keeps `bytes`, half of them from each end.
    pub(super) fn new(bytes: usize) -> Self {
        Self { half: bytes / 2, first: Vec::new(), last: VecDeque::new(), left_out: 0 }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
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

    /// What was kept, in words about what was not.
    pub(super) fn text(mut self) -> String {
        let last = self.last.make_contiguous();
        if self.left_out == 0 {
            self.first.extend_from_slice(last);
            return String::from_utf8_lossy(&self.first).into_owned();
        }
        format!(
            "{}\n\n[{} bytes are left out here. Ask for less: a filter, a part of the file, or write it to a file and read \
             parts of that.]\n\n{}",
            String::from_utf8_lossy(&self.first),
            self.left_out,
            String::from_utf8_lossy(last)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_whole_and_of_the_rest_both_ends_are_kept() {
        for piece in [1, 3, 7, 1000] {
            let text: String = (0..200).map(|number| format!("{number:03} ")).collect();
            let mut ends = Ends::new(800);
            text.as_bytes().chunks(piece).for_each(|piece| ends.take(piece));
            assert_eq!(ends.text(), text, "{piece}");
            let mut ends = Ends::new(40);
            text.as_bytes().chunks(piece).for_each(|piece| ends.take(piece));
            let cut = ends.text();
            assert!(cut.starts_with("000 001 002 003 004 ") && cut.ends_with("195 196 197 198 199 "), "{cut}");
            assert!(cut.contains("[760 bytes are left out"), "{cut}");
        }
    }

    #[test]
    fn ten_megabytes_of_a_result_become_what_a_model_can_read() {
        let bounded = bounded(vec![Seen::text("ä".repeat(5 * 1024 * 1024))]);
        let Seen::Text { text } = &bounded[0] else { panic!("{bounded:?}") };
        assert!(text.len() < TEXT_BYTES + 1000 && text.contains("bytes are left out"));
    }
}
