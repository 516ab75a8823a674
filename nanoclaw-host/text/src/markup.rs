//! What services have in common that write formatting as signs in the text.

use std::ops::Range;

use super::document::{Kind, Mark, Marks, Row};
use super::literal::{in_address, is_of_word};

/// The longest address that a text is linked to, in code points as it is written. With it a link always fits into a message.
const LONGEST_ADDRESS: usize = 1000;

/// What a backtick is written as where the service would take it for the end of code, or the beginning. It looks the same.
pub(super) const LOOKS_LIKE_BACKTICK: &str = "\u{2cb}";

/// `address`, if it is one of the web that a text can be linked to. So no text can be linked to a sign of the service's own, as
/// Slack's `!channel`.
pub(super) fn web_address(address: &str) -> Option<&str> {
    let scheme = address.split_once("://")?.0;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    (is_web && address.len() <= LONGEST_ADDRESS && !address.contains(char::is_whitespace)).then_some(address)
}

/// [`web_address`] with each of `signs` as `%XX`.
pub(super) fn web_address_without(address: &str, signs: &str) -> Option<String> {
    let mut written = String::new();
    for character in web_address(address)?.chars() {
        if signs.contains(character) {
            written += &format!("%{:02X}", u32::from(character));
        } else {
            written.push(character);
        }
    }
    (written.len() <= LONGEST_ADDRESS).then_some(written)
}

/// A line of code in which nothing can end the block.
pub(super) fn in_fence(text: &str) -> String {
    text.replace("```", &LOOKS_LIKE_BACKTICK.repeat(3))
}

/// A heading where the service has none.
pub(super) fn all_bold(row: &mut Row) {
    for run in &mut row.runs {
        run.marks = run.marks.with(Mark::Bold);
    }
}

/// Prepares a row for a service that knows `*bold*`, `_italic_` and `~struck~`, only around whole words, and no way to escape a sign.
///
/// Formatting that the service would not see, or see the end of too early, is left out. A word with a sign in it that the service
/// would take for formatting is shown as code, in which nothing is formatted.
pub(super) fn prepare_without_escapes(row: &mut Row) {
    match row.kind {
        Kind::Code(_) => return,
        Kind::Heading(_) => all_bold(row),
        Kind::Text => {}
    }
    leave_out_unseen(row, can_be_seen);
    let words = misleading_words(row);
    // What the whole word is, it still is as code; a sign within it would be seen.
    let whole: Vec<Marks> = words
        .iter()
        .map(|word| row.runs_in(word.clone()).map(|(_, run)| run.marks).reduce(Marks::and).unwrap_or_default())
        .collect();
    row.change(&words, |at, marks| if marks.has(Mark::Link) { marks } else { whole[at].with(Mark::Code) });
}

/// Takes bold, italic and struck from where the signs would not be seen as such: beside white space, and where `can_be_seen` says so.
pub(super) fn leave_out_unseen(row: &mut Row, can_be_seen: fn(&Row, &Range<usize>, char) -> bool) {
    for mark in [Mark::Bold, Mark::Italic, Mark::Strike] {
        let mut unseen = Vec::new();
        for (range, _) in row.stretches(mark) {
            let text = &row.text[range.clone()];
            let start = range.start + (text.len() - text.trim_start().len());
            let end = (range.start + text.trim_end().len()).max(start);
            if can_be_seen(row, &(start..end), sign(mark)) {
                unseen.extend([range.start..start, end..range.end].into_iter().filter(|range| !range.is_empty()));
            } else {
                unseen.push(range);
            }
        }
        row.change(&unseen, |_, marks| marks.without(mark));
    }
}

/// The sign of `mark` in WhatsApp and Slack.
pub(super) fn sign(mark: Mark) -> char {
    match mark {
        Mark::Bold => '*',
        Mark::Italic => '_',
        Mark::Strike => '~',
        Mark::Code | Mark::Link => '`',
    }
}

fn can_be_seen(row: &Row, range: &Range<usize>, sign: char) -> bool {
    let within_word = row.text[..range.start].chars().next_back().is_some_and(is_of_word)
        || row.text[range.end..].chars().next().is_some_and(is_of_word);
    !within_word && !row.text[range.clone()].contains(sign)
}

/// The words, in order, with a sign at which the service would begin a formatting that ends at another sign further on.
fn misleading_words(row: &Row) -> Vec<Range<usize>> {
    let signs = [Mark::Bold, Mark::Italic, Mark::Strike].map(|mark| (mark, sign(mark)));
    let mut words: Vec<Range<usize>> = Vec::new();
    for (mark, sign) in signs.into_iter().filter(|(_, sign)| row.text.contains(*sign)) {
        let (mut opening, mut closes) = (Vec::new(), 0);
        for (range, run) in row.runs_in(0..row.text.len()) {
            if run.marks.has(mark) {
                closes = range.end;
            }
            if run.marks.has(Mark::Code) {
                continue;
            }
            for (at, _) in row.text[range.clone()].match_indices(sign).map(|(at, sign)| (range.start + at, sign)) {
                let before = row.text[..at].chars().next_back();
                let after = row.text[at + 1..].chars().next();
                if !before.is_some_and(is_of_word) && after.is_some_and(|after| !after.is_whitespace()) {
                    opening.push(at);
                }
                if before.is_some_and(|before| !before.is_whitespace()) && !after.is_some_and(is_of_word) {
                    closes = at;
                }
            }
        }
        let mut end = 0;
        for at in opening.into_iter().filter(|at| *at < closes) {
            if at >= end {
                let word = word_at(&row.text, at);
                end = word.end;
                words.push(word);
            }
        }
    }
    words.sort_by_key(|word| word.start);
    words.dedup();
    words.retain(|word| !row.text[word.clone()].contains('`') && !in_address(&row.text[word.clone()]));
    words
}

fn word_at(text: &str, at: usize) -> Range<usize> {
    let start = text[..at]
        .rfind(char::is_whitespace)
        .map_or(0, |space| space + text[space..].chars().next().map_or(1, char::len_utf8));
    let end = text[at..].find(char::is_whitespace).map_or(text.len(), |length| at + length);
    start..end
}
