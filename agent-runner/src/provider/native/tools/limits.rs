//! What a model can read of what a tool gives: a bounded text, its beginning and its end, and a word about what is missing.

use super::super::conversation::Seen;
use crate::ends::Ends;

/// The most bytes of text of one result.
pub(super) const TEXT_BYTES: usize = 40 * 1024;

/// Cuts what is too long.
pub(super) fn bounded(parts: Vec<Seen>) -> Vec<Seen> {
    let cut = |part| match part {
        Seen::Text { text } if text.len() > TEXT_BYTES + TEXT_BYTES / 4 => {
            let mut ends = Ends::new(TEXT_BYTES);
            ends.take(text.as_bytes());
            Seen::Text { text: ends.text(ADVICE) }
        }
        other => other,
    };
    parts.into_iter().map(cut).collect()
}

/// What a model is told about what is missing.
pub(super) const ADVICE: &str =
    " Ask for less: a filter, a part of the file, or write it to a file and read parts of that.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_megabytes_of_a_result_become_what_a_model_can_read() {
        let bounded = bounded(vec![Seen::text("ä".repeat(5 * 1024 * 1024))]);
        let Seen::Text { text } = &bounded[0] else { panic!("{bounded:?}") };
        assert!(text.len() < TEXT_BYTES + 1000 && text.contains("bytes are left out"));
    }
}
