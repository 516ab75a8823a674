//! Discord: its own Markdown, with headings down to the third level and without tables.
//!
//! *Source*: support.discord.com, "Markdown Text 101"; messages have 2000 characters, which are code points (discord-api-docs#1315, an
//! answer of Discord's). Mentions are not touched: the adapter's `allowed_mentions` decides whom they ping.

use std::ops::Range;

use super::document::{Document, Kind, Mark, Row, Step};
use super::literal::{begins_address, ends_word, is_of_word};
use super::markup::{LOOKS_LIKE_BACKTICK, all_bold, in_fence, leave_out_unseen, web_address_without};
use super::split::{Dialect, Writing};

/// The lowest heading that Discord has.
const LOWEST_HEADING: usize = 3;

pub(super) struct Discord;

impl Dialect for Discord {
    const LIMIT: usize = 2000;
    const QUOTE: &'static str = "> ";

    fn units(text: &str) -> usize {
        text.chars().count()
    }

    fn link(address: &str) -> Option<String> {
        web_address_without(address, "()<>\\")
    }

    fn prepare(row: &mut Row) {
        // A heading is one only at the beginning of a line.
        if matches!(row.kind, Kind::Heading(_)) && !row.prefix.is_empty() {
            all_bold(row);
        }
        leave_out_unseen(row, |_, _, _| true);
    }

    fn write(document: &Document, row: &Row, part: Range<usize>, begins: bool, writing: &mut Writing) {
        if row.is_code() {
            return writing.push::<Self>(&in_fence(&row.text[part]));
        }
        if let Kind::Heading(level) = row.kind
            && begins
            && row.prefix.is_empty()
        {
            writing.push::<Self>(&format!("{} ", "#".repeat(level.min(LOWEST_HEADING))));
        }
        let first = part.start;
        let mut open: Vec<String> = Vec::new();
        let mut in_code = false;
        for step in row.steps(part) {
            match step {
                Step::Open { mark, link, range } => {
                    let (opens, closes) = signs(document, row, mark, link, &range);
                    writing.push::<Self>(&opens);
                    in_code |= mark == Mark::Code;
                    open.push(closes);
                }
                Step::Close(mark) => {
                    writing.push::<Self>(&open.pop().unwrap_or_default());
                    in_code &= mark != Mark::Code;
                }
                Step::Text(range) if !in_code => writing.push::<Self>(&escape(&row.text, range, first)),
                Step::Text(range) if longest_backticks(&row.text[range.clone()]) > 1 => {
                    writing.push::<Self>(&row.text[range].replace('`', LOOKS_LIKE_BACKTICK));
                }
                Step::Text(range) => writing.push::<Self>(&row.text[range]),
            }
        }
    }

    fn fence(language: &str) -> (String, &'static str) {
        (format!("```{language}\n"), "\n```")
    }
}

/// What `mark` is opened and closed with for `range`.
fn signs(document: &Document, row: &Row, mark: Mark, link: usize, range: &Range<usize>) -> (String, String) {
    let text = &row.text[range.clone()];
    let same = |sign: &str| (sign.to_owned(), sign.to_owned());
    match mark {
        Mark::Bold => same("**"),
        Mark::Strike => same("~~"),
        Mark::Italic => {
            // `_` is only seen around whole words, and `*` not beside the sign of bold.
            let before = row.text[..range.start].chars().next_back();
            let after = row.text[range.end..].chars().next();
            let within_word = before.into_iter().chain(after).any(|c| c.is_alphanumeric() || c == '_');
            same(if within_word { "*" } else { "_" })
        }
        Mark::Link => ("[".to_owned(), format!("]({})", document.links[link])),
        Mark::Code if longest_backticks(text) == 1 => {
            let opens = if text.starts_with('`') { "`` " } else { "``" };
            let closes = if text.ends_with('`') { " ``" } else { "``" };
            (opens.to_owned(), closes.to_owned())
        }
        Mark::Code => same("`"),
    }
}

fn longest_backticks(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or_default()
}

/// `range` of `text` with a backslash before every sign that Discord would take for formatting. `first` is where the line begins.
fn escape(text: &str, range: Range<usize>, first: usize) -> String {
    let mut escaped = String::with_capacity(range.len() + 8);
    let mut in_address = false;
    let last_link = text[range.clone()].rfind("](").map_or(0, |at| range.start + at);
    for (at, character) in text[range.clone()].char_indices().map(|(at, character)| (range.start + at, character)) {
        in_address = if ends_word(character) { false } else { in_address || begins_address(text, at) };
        let before = text[..at].chars().next_back();
        let after = text[at + character.len_utf8()..].chars().next();
        // An address is not formatted, and a backslash would be part of it.
        let is_sign = match character {
            '*' | '_' | '~' | '|' if in_address => false,
            '\\' | '`' => true,
            '*' => !(before.is_none_or(char::is_whitespace) && after.is_none_or(char::is_whitespace)) || at == first,
            '_' => !(before.is_some_and(is_of_word) && after.is_some_and(is_of_word)),
            '~' | '|' => before == Some(character) || after == Some(character),
            '[' => at < last_link,
            '#' | '-' | '>' | '+' if at == first => begins_a_block(&text[at..]),
            _ => false,
        };
        if is_sign {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// Whether a line that begins like this is a heading, small print, a list or a quote for Discord.
fn begins_a_block(line: &str) -> bool {
    let behind = line.trim_start_matches(|c| "#->+".contains(c));
    behind.len() < line.len() && behind.chars().next().is_none_or(char::is_whitespace)
}
