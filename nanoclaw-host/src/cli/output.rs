//! The one module that writes to the terminal: lines, tables, JSON, failures. Colour only where a terminal shows it, and
//! never a control character that came from outside.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table};
use jiff::tz::TimeZone;
use nanoclaw_core::time::Timestamp;
use serde::Serialize;

pub(super) use crate::config::show_size_rounded as size;

/// Good.
pub(super) const GREEN: Style = AnsiColor::Green.on_default();
/// To be looked at.
pub(super) const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Bad.
pub(super) const RED: Style = AnsiColor::Red.on_default().bold();
/// Beside the point.
pub(super) const DIM: Style = Style::new().dimmed();
/// The point.
pub(super) const BOLD: Style = Style::new().bold();

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(super) struct OutputError(#[source] pub(super) io::Error);

/// Prints text and a newline; styles are dropped where no terminal shows them.
pub(super) fn line(text: impl AsRef<str>) -> Result<(), OutputError> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush()).map_err(OutputError)
}

/// Prints a value as JSON, indented. What could drive a terminal is escaped in it, so that the value is the same and the
/// terminal is left alone.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    Ok(line(escaped(&serde_json::to_string_pretty(value)?))?)
}

/// JSON with `\u` escapes for what [`clean`] replaces. Outside of its strings there is nothing of the kind, and in them it has
/// been escaped as far as JSON wants it: not the second half of the control characters, which terminals obey as well.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if is_dangerous(c) {
            // All of them are in the basic plane.
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Tells a failure on standard error.
pub(super) fn failure(what: &str, help: Option<&str>) {
    let mut out = anstream::stderr().lock();
    // There is nobody left to tell when this fails.
    let _ = writeln!(out, "{RED}error:{RED:#} {}", clean(what));
    if let Some(help) = help {
        let _ = writeln!(out, "{GREEN}help:{GREEN:#} {}", clean(help));
    }
}

/// Whether standard error is shown to a person as it comes.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Tells a step on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{DIM}{}{DIM:#}", clean(text));
}

/// Tells on standard error that a part of something long begins.
pub(super) fn step(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{}", clean(text));
}

/// The same for text with styles of ours, from which the caller has taken what could drive the terminal.
pub(super) fn styled_step(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Shows `text` in place of what was shown so before; an empty one ends that. For terminals.
pub(super) fn rewrite(text: &str) {
    let mut out = anstream::stderr().lock();
    let _ = write!(out, "\r\u{1b}[2K{DIM}{}{DIM:#}", clean(text)).and_then(|()| out.flush());
}

/// A screen of its own on the terminal, in place of what is there, which comes back when this is dropped.
pub(super) struct Screen(());

impl Screen {
    /// Takes the terminal. `None` when standard output is none.
    pub(super) fn open() -> Option<Self> {
        let styled = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        if !(io::stdout().is_terminal() && styled) {
            return None;
        }
        let mut out = io::stdout().lock();
        let opened = write!(out, "\u{1b}[?1049h\u{1b}[?25l").and_then(|()| out.flush());
        opened.is_ok().then_some(Self(()))
    }

    /// Shows these lines in place of those before, as many of them as there is room for.
    pub(super) fn show(&self, lines: &[String]) -> Result<(), OutputError> {
        let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
        let room = if rows == 0 { usize::MAX } else { rows };
        let all: Vec<&str> = lines.iter().flat_map(|line| line.lines()).take(room).collect();
        let mut out = io::stdout().lock();
        // Each line is cleared to its end, and what is below them all: nothing flickers.
        let text = all.join("\u{1b}[K\r\n");
        write!(out, "\u{1b}[H{text}\u{1b}[K\u{1b}[J").and_then(|()| out.flush()).map_err(OutputError)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut out = io::stdout().lock();
        let _ = write!(out, "\u{1b}[?25h\u{1b}[?1049l").and_then(|()| out.flush());
    }
}

/// Columns without lines around them. Fits the terminal by wrapping; elsewhere a row is a line.
pub(super) struct Columns {
    table: Table,
    styled: bool,
}

impl Columns {
    pub(super) fn new<const N: usize>(headers: [&str; N]) -> Self {
        let styled = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let mut table = Table::new();
        table.load_preset(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if styled {
            table.enforce_styling();
        }
        table.set_header(headers.map(|header| {
            let cell = Cell::new(header);
            if styled { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        Self { table, styled }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.map(|cell| Cell::new(clean(&cell))));
    }

    pub(super) fn print(mut self) -> Result<(), OutputError> {
        let last = self.table.column_count().saturating_sub(1);
        for (index, column) in self.table.column_iter_mut().enumerate() {
            column.set_padding((0, if index == last { 0 } else { 2 }));
            if index == 0 {
                // What a row is about is to be copied whole.
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        debug_assert!(self.styled || !self.table.to_string().contains('\u{1b}'));
        let lines: Vec<String> = self.table.lines().map(|line| line.trim_end().to_owned()).collect();
        line(lines.join("\n"))
    }
}

/// Text whose first line begins at column `indent` and whose further lines are indented by as much. Where a terminal shows
/// it, lines are broken between words to fit; elsewhere they stay whole.
pub(super) fn hanging(text: &str, indent: usize) -> String {
    // A terminal too narrow for this does the breaking itself.
    let room = Table::new().width().map(|width| usize::from(width).saturating_sub(indent)).filter(|room| *room >= 20);
    let lines: Vec<String> = text.lines().flat_map(|line| broken(line, room.unwrap_or(usize::MAX))).collect();
    lines.join(&format!("\n{:indent$}", ""))
}

/// `line` in pieces of at most `room` characters where it has spaces to break it at.
fn broken(line: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut length = 0;
    for word in line.split(' ') {
        let more = word.chars().count();
        let piece = pieces.last_mut().expect("it is never empty");
        if piece.is_empty() {
            length = more;
        } else if length + 1 + more <= room {
            piece.push(' ');
            length += 1 + more;
        } else {
            pieces.push(word.to_owned());
            length = more;
            continue;
        }
        piece.push_str(word);
    }
    pieces
}

/// Text from outside as it may be shown: control characters, which could drive the terminal, and marks that turn the order
/// of letters around are replaced. Newlines and tabs stay.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_dangerous(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether [`clean`] replaces it.
pub(super) fn is_dangerous(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// Text on one line, of at most this many characters.
pub(super) fn shortened(text: &str, chars: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= chars {
        return line;
    }
    line.chars().take(chars - 1).chain(['…']).collect()
}

/// A moment in `zone`, to the minute.
pub(super) fn time(at: Timestamp, zone: &TimeZone) -> String {
    match jiff::Timestamp::from_millisecond(at.as_ms()) {
        Ok(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
        Err(_) => at.to_string(),
    }
}

/// A moment not long before or after `now` in `zone`, in few words: without the day when it is the same one, without the year
/// when that is.
pub(super) fn short_time(at: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let zoned =
        |at: Timestamp| jiff::Timestamp::from_millisecond(at.as_ms()).ok().map(|moment| moment.to_zoned(zone.clone()));
    let (Some(moment), Some(today)) = (zoned(at), zoned(now)) else { return at.to_string() };
    let format = if moment.date() == today.date() {
        "%H:%M"
    } else if moment.year() == today.year() {
        "%m-%d %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    moment.strftime(format).to_string()
}

/// The size of an image, in the units that engines use for them, which are those of its budget.
pub(super) fn image_size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1000)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        1_000_000_000.. => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_drive_the_terminal_is_replaced() {
        assert_eq!(clean("a\u{1b}[31mb\rc\nd\te\u{202e}f\u{9b}g"), "a\u{fffd}[31mb\u{fffd}c\nd\te\u{fffd}f\u{fffd}g");
        assert_eq!(clean("Grüße, 家族"), "Grüße, 家族");
    }

    #[test]
    fn json_has_the_same_value_and_nothing_that_a_terminal_would_obey() {
        let value = serde_json::json!({"text": "a\u{9b}31mb\u{7f}c\u{1b}[2Jd\u{202e}e\nf\u{0}g \\ \"h\""});
        let printed = escaped(&serde_json::to_string_pretty(&value).unwrap());
        assert!(printed.chars().all(|c| c == '\n' || !is_dangerous(c)), "{printed:?}");
        assert!(printed.contains("a\\u009b31mb\\u007fc\\u001b[2Jd\\u202ee\\nf\\u0000g"), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn lines_are_broken_between_words_only() {
        assert_eq!(broken("one two three", 7), ["one two", "three"]);
        assert_eq!(broken("a-very-long-path b", 7), ["a-very-long-path", "b"]);
        assert_eq!(broken("", 7), [""]);
        assert_eq!(broken("one two", usize::MAX), ["one two"]);
        assert_eq!(hanging("one\ntwo", 2), "one\n  two", "the tests' output is no terminal, or is wide enough");
    }

    #[test]
    fn a_moment_is_told_with_what_of_its_date_is_not_todays() {
        let noon = Timestamp::from_ms(1_700_000_000_000 - 1_700_000_000_000 % 86_400_000 + 43_200_000);
        let told = |days: i64| short_time(Timestamp::from_ms(noon.as_ms() - days * 86_400_000), noon, &TimeZone::UTC);
        assert_eq!((told(0).as_str(), told(1).as_str()), ("12:00", "11-13 12:00"));
        assert_eq!(told(365), "2022-11-14 12:00");
    }

    #[test]
    fn sizes_are_said_in_the_largest_unit_that_fits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(188 << 20), "188.0 MiB");
        assert_eq!(size((64 << 30) + (200 << 20)), "64.2 GiB");
        assert_eq!([900, 56_900_000, 1_359_000_000].map(image_size), ["1 kB", "56.9 MB", "1.36 GB"]);
    }
}
