//! What a program shows on its terminal, followed cell by cell, to find a token in it and to keep it from being shown.
//!
//! A token can come in pieces: over chunks, over lines that wrap, interrupted by colours, or drawn by a program that redraws
//! only what changed. So its text is looked for where it stands on the screen, and not in the stream. From the moment its
//! first letters stand there, nothing more of the program's output is let through: whatever follows can be the token again.

use nanoclaw_core::secret::Secret;
use zeroize::Zeroize as _;

use crate::credentials::{OAUTH_MARK, TOKEN_MARK, is_token_character};

/// A token has at least so many characters after its mark; a shorter one is not all of it.
const LEAST_LENGTH: usize = 20;
/// Lines that are kept. What scrolled further up is forgotten.
const MOST_ROWS: usize = 2000;
/// The longest parameter of an escape sequence.
const LONGEST_PARAMETERS: usize = 64;

/// A terminal's screen, as wide as the program takes it to be.
pub(super) struct Screen {
    columns: usize,
    height: usize,
    /// From the oldest that is kept to the lowest that was written to.
    rows: Vec<Vec<char>>,
    /// The first row that is on the screen.
    top: usize,
    row: usize,
    column: usize,
    saved: (usize, usize),
    state: State,
    /// Whether the first letters of a token have stood there.
    withholding: bool,
    token: Option<Secret>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Text,
    Escape,
    /// One more character belongs to it.
    Charset,
    Parameters(String),
    /// Ends with BEL or ESC \.
    Message,
    MessageEscape,
}

impl Screen {
    pub(super) fn new(columns: u16, height: u16) -> Self {
        Self {
            columns: usize::from(columns).max(1),
            height: usize::from(height).max(1),
            rows: vec![Vec::new()],
            top: 0,
            row: 0,
            column: 0,
            saved: (0, 0),
            state: State::Text,
            withholding: false,
            token: None,
        }
    }

    /// Takes what the program wrote. Returns whether it may be shown to people.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            // Of a character of several bytes, the first stands for it.
            if byte & 0b1100_0000 != 0b1000_0000 {
                self.take(if byte.is_ascii() { char::from(byte) } else { '\u{fffd}' });
            }
        }
        self.look();
        !self.withholding
    }

    /// Whether something is kept from being shown.
    pub(super) fn is_withholding(&self) -> bool {
        self.withholding
    }

    /// The longest token that has stood there.
    pub(super) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// What stands on the last lines that have text, for a message about what went wrong. Nothing when it could have a token.
    pub(super) fn last_lines(&self, most: usize) -> Vec<String> {
        if self.withholding {
            return Vec::new();
        }
        let text = |row: &Vec<char>| row.iter().collect::<String>().trim().to_owned();
        let mut lines: Vec<String> =
            self.rows.iter().rev().map(text).filter(|line| !line.is_empty()).take(most).collect();
        lines.reverse();
        lines
    }

    fn take(&mut self, c: char) {
        match (std::mem::replace(&mut self.state, State::Text), c) {
            (State::Text, '\u{1b}') => self.state = State::Escape,
            (State::Text, '\r') => self.column = 0,
            (State::Text, '\n' | '\u{b}' | '\u{c}') => self.line_feed(),
            (State::Text, '\u{8}') => self.column = self.column.saturating_sub(1),
            (State::Text, '\t') => self.column = (self.column / 8 + 1) * 8,
            (State::Text, c) if c.is_control() => {}
            (State::Text, c) => self.put(c),
            (State::Escape, '[') => self.state = State::Parameters(String::new()),
            (State::Escape, ']' | 'P' | 'X' | '^' | '_') => self.state = State::Message,
            (State::Escape, '(' | ')' | '*' | '+' | '#' | '%' | ' ') => self.state = State::Charset,
            (State::Escape, '7') => self.saved = (self.row, self.column),
            (State::Escape, '8') => (self.row, self.column) = self.saved,
            (State::Escape, 'D') => self.line_feed(),
            (State::Escape, 'E') => {
                self.line_feed();
                self.column = 0;
            }
            (State::Escape, 'M') => self.row = self.row.saturating_sub(1).max(self.top),
            (State::Escape | State::Charset, _) => {}
            (State::Parameters(parameters), '@'..='~') => self.control(&parameters, c),
            (State::Parameters(mut parameters), c) => {
                if parameters.len() < LONGEST_PARAMETERS {
                    parameters.push(c);
                }
                self.state = State::Parameters(parameters);
            }
            (State::Message, '\u{7}') => {}
            (State::Message, '\u{1b}') => self.state = State::MessageEscape,
            (State::Message | State::MessageEscape, '\\') if c == '\\' => {}
            (State::Message | State::MessageEscape, _) => self.state = State::Message,
        }
    }

    fn control(&mut self, parameters: &str, kind: char) {
        let mut numbers = parameters.split(';').map(|number| number.parse::<usize>().ok());
        let (first, second) = (numbers.next().flatten(), numbers.next().flatten());
        // The numbers of moves begin with 1, whether they say 0 or nothing.
        let count = first.unwrap_or(1).clamp(1, 10_000);
        let bottom = self.top + self.height - 1;
        match kind {
            'A' | 'F' => self.row = self.row.saturating_sub(count).max(self.top),
            'B' | 'E' | 'e' => self.row = (self.row + count).min(bottom),
            'C' | 'a' => self.column += count,
            'D' => self.column = self.column.saturating_sub(count),
            'G' | '`' => self.column = count - 1,
            'd' => self.row = (self.top + count - 1).min(bottom),
            'H' | 'f' => {
                self.row = (self.top + count - 1).min(bottom);
                self.column = second.unwrap_or(1).max(1) - 1;
            }
            's' => self.saved = (self.row, self.column),
            'u' if parameters.is_empty() => (self.row, self.column) = self.saved,
            'J' | 'K' | 'X' | 'P' | 'M' | 'L' | '@' => self.erase(kind, first.unwrap_or(0), count),
            _ => {}
        }
        if matches!(kind, 'E' | 'F') {
            self.column = 0;
        }
        self.column = self.column.min(self.columns - 1);
    }

    /// Erases cells. What stood there is looked at first, since a token may go.
    fn erase(&mut self, kind: char, what: usize, count: usize) {
        self.look();
        let (column, at) = (self.column, self.row);
        if kind == 'J' {
            let (from, to) = match what {
                0 => (at + 1, self.rows.len()),
                1 => (self.top, at),
                _ => (self.top, self.rows.len()),
            };
            for row in self.rows.iter_mut().take(to).skip(from) {
                row.zeroize();
            }
        }
        let Some(row) = self.rows.get_mut(at) else { return };
        match (kind, what) {
            ('J' | 'K', 0) => row.truncate(column),
            ('J' | 'K', 1) => row.iter_mut().take(column + 1).for_each(|cell| *cell = ' '),
            ('J' | 'K', _) => row.zeroize(),
            ('X', _) => row.iter_mut().skip(column).take(count).for_each(|cell| *cell = ' '),
            ('P', _) => {
                let end = row.len().min(column + count);
                if column < end {
                    row.drain(column..end);
                }
            }
            ('@', _) if column <= row.len() => {
                for _ in 0..count.min(self.columns) {
                    row.insert(column, ' ');
                }
                row.truncate(self.columns);
            }
            // Lines that move up or down: their text is what it was.
            _ => {}
        }
    }

    fn put(&mut self, c: char) {
        if self.column >= self.columns {
            self.line_feed();
            self.column = 0;
        }
        self.reach_row();
        let row = &mut self.rows[self.row];
        if row.len() <= self.column {
            row.resize(self.column + 1, ' ');
        }
        row[self.column] = c;
        self.column += 1;
        // The last letter of the mark: whatever becomes of these cells in the same breath, they have been there.
        if c == '-' && !self.withholding {
            let written: String = row[..self.column].iter().rev().take(TOKEN_MARK.len()).rev().collect();
            self.withholding = written == TOKEN_MARK;
        }
    }

    fn line_feed(&mut self) {
        self.row += 1;
        self.reach_row();
        if self.row >= self.top + self.height {
            self.top = self.row + 1 - self.height;
        }
        if self.rows.len() > MOST_ROWS {
            let many = self.rows.len() - MOST_ROWS;
            self.rows.drain(..many).for_each(|mut row| row.zeroize());
            self.top = self.top.saturating_sub(many);
            self.row = self.row.saturating_sub(many);
            self.saved.0 = self.saved.0.saturating_sub(many);
        }
    }

    fn reach_row(&mut self) {
        if self.rows.len() <= self.row {
            self.rows.resize_with(self.row + 1, Vec::new);
        }
    }

    /// Looks for a token in all that stands there.
    fn look(&mut self) {
        if !self.withholding {
            // Letters can also be put together out of order.
            self.withholding = self.rows.iter().any(|row| has(row, TOKEN_MARK));
        }
        if !self.withholding {
            return;
        }
        for at in 0..self.rows.len() {
            let Some(start) = position(&self.rows[at], OAUTH_MARK) else { continue };
            let mut text = String::new();
            let mut row = at;
            let mut cells = &self.rows[at][start..];
            loop {
                let run = cells.iter().take_while(|c| is_token_character(**c)).count();
                text.extend(&cells[..run]);
                // It goes on in the next row when it fills this one.
                let fills = run == cells.len() && self.rows[row].len() >= self.columns;
                match self.rows.get(row + 1) {
                    Some(next) if fills => (row, cells) = (row + 1, next),
                    _ => break,
                }
            }
            let known = self.token.as_ref().map_or(0, |token| token.reveal().len());
            if text.len() >= OAUTH_MARK.len() + LEAST_LENGTH && text.len() > known {
                self.token = Some(Secret::new(text));
            } else {
                text.zeroize();
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.rows.iter_mut().for_each(|row| row.zeroize());
    }
}

fn has(row: &[char], word: &str) -> bool {
    position(row, word).is_some()
}

fn position(row: &[char], word: &str) -> Option<usize> {
    let word: Vec<char> = word.chars().collect();
    row.windows(word.len()).position(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "sk-ant-oat01-AbCdEfGh_0123456789-abcdefghijklmnopqrstuvwxyzAA";

    /// What is shown of these chunks, and the token that is found.
    fn seen(columns: u16, chunks: &[&[u8]]) -> (String, Option<String>) {
        let mut screen = Screen::new(columns, 50);
        let mut shown = Vec::new();
        for chunk in chunks {
            if screen.feed(chunk) {
                shown.extend_from_slice(chunk);
            }
        }
        (String::from_utf8_lossy(&shown).into_owned(), screen.token().map(|token| token.reveal().to_owned()))
    }

    fn found(columns: u16, text: &str) {
        // Whole, in two at every place, and byte by byte: it is found, and no part of it is shown.
        let bytes = text.as_bytes();
        let mut ways: Vec<Vec<&[u8]>> = (0..=bytes.len()).map(|at| vec![&bytes[..at], &bytes[at..]]).collect();
        ways.push(bytes.chunks(1).collect());
        for chunks in ways {
            let (shown, token) = seen(columns, &chunks);
            assert_eq!(token.as_deref(), Some(TOKEN), "{text:?} in {} chunks", chunks.len());
            assert!(!shown.contains("oat01") && !shown.contains("AbCd"), "{shown:?}");
        }
    }

    #[test]
    fn a_token_is_found_however_it_is_cut() {
        found(500, &format!("Your token:\r\n\r\n{TOKEN}\r\n\r\nStore it.\r\n"));
    }

    #[test]
    fn colours_and_messages_within_a_token_are_no_part_of_it() {
        let colourful: String = TOKEN.chars().map(|c| format!("\u{1b}[1;3{}m{c}\u{1b}[0m", u32::from(c) % 8)).collect();
        found(500, &format!("\u{1b}[2K{colourful} done"));
        let (head, tail) = TOKEN.split_at(30);
        found(500, &format!("{head}\u{1b}]0;title\u{7}\u{1b}(B{tail}\r\n"));
        found(500, &format!("{head}\u{1b}]8;;http://x\u{1b}\\{tail}\r\n"));
    }

    #[test]
    fn a_token_that_wraps_is_found_whole() {
        // By the terminal itself, and by a program that breaks its lines at the terminal's width.
        found(40, &format!("{TOKEN}\r\n\r\nStore"));
        found(40, &format!("{}\r\n{}\r\nStore this", &TOKEN[..40], &TOKEN[40..]));
        found(20, &format!("{}\r\n{}\r\n{}\r\n{}\r\n", &TOKEN[..20], &TOKEN[20..40], &TOKEN[40..60], &TOKEN[60..]));
    }

    #[test]
    fn a_token_that_is_drawn_over_what_stood_there_is_found() {
        // A program that redraws what changed leaves out the s, which stands there already.
        found(500, &format!("some text\r\u{1b}[C{}\u{1b}[K\r\nx", &TOKEN[1..]));
        // Or its middle, from an earlier frame.
        let (head, middle, tail) = (&TOKEN[..20], &TOKEN[20..24], &TOKEN[24..]);
        found(500, &format!("\u{1b}[5;21H{middle}\u{1b}[5;1H{head}\u{1b}[4C{tail}\r\n"));
    }

    #[test]
    fn a_token_that_is_erased_at_once_is_found_and_not_shown() {
        found(500, &format!("{TOKEN}\r\u{1b}[2K\u{1b}[1;1H\u{1b}[2Jbye"));
    }

    #[test]
    fn what_has_no_token_is_shown_as_it_comes() {
        let text =
            "Visit https://claude.ai/oauth?x=sk-an\r\n\u{1b}[31mred\u{1b}[0m sk-\u{e4}nt- \u{1b}]0;sk\u{7}Paste: ";
        let (shown, token) = seen(80, &[text.as_bytes()]);
        assert_eq!((shown.as_str(), token), (text, None));
    }

    #[test]
    fn another_token_is_not_shown_either_and_not_taken() {
        for text in ["key sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789", "sk-ant-oat01-short end"] {
            assert_eq!(seen(80, &[text.as_bytes()]), (String::new(), None), "{text}");
        }
    }

    #[test]
    fn any_bytes_at_all_do_no_harm() {
        let mut number = 1_u32;
        for columns in [1, 2, 80] {
            let mut screen = Screen::new(columns, 3);
            let pool = b"\x1b\x1b[[;0129ABCDEFGHJKLMPX@78su\r\n\t\x08 sk-ant-oat01-\xff\xc3\xa4";
            for _ in 0..300 {
                let chunk: Vec<u8> = (0..500)
                    .map(|_| {
                        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        pool[(number >> 8) as usize % pool.len()]
                    })
                    .collect();
                screen.feed(&chunk);
            }
            assert!(screen.rows.len() <= MOST_ROWS + 1);
        }
    }
}
