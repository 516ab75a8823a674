//! What a conversation looks like where there is no line editor: replies on stdout, everything else on stderr.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Effects, Style};

use crate::cli::output::{clean, is_dangerous};

/// The style of the assistant's name.
pub(super) const NAME: Style = AnsiColor::Cyan.on_default().effects(Effects::BOLD);

/// The style of what is not part of the conversation.
pub(super) const ASIDE: Style = Style::new().effects(Effects::DIMMED);

/// The sign of life, moment by moment.
const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

/// Where a conversation is shown.
pub trait Display: Send {
    /// Says whom one talks to and how to leave.
    ///
    /// # Errors
    /// The terminal's or pipe's, here and below.
    fn greet(&mut self, assistant: &str, chat: &str) -> io::Result<()>;

    /// Shows a reply. When this returns, the reply was written.
    ///
    /// # Errors
    /// As above.
    fn reply(&mut self, assistant: &str, text: &str) -> io::Result<()>;

    /// Says something about the conversation that is not part of it.
    ///
    /// # Errors
    /// As above.
    fn note(&mut self, text: &str) -> io::Result<()>;

    /// Shows that the assistant is at work, or not any more.
    ///
    /// # Errors
    /// As above.
    fn typing(&mut self, assistant: &str, on: bool) -> io::Result<()>;

    /// Whether [`tick`](Self::tick) should be called while the assistant is at work.
    fn is_animated(&self) -> bool {
        false
    }

    /// A moment has passed.
    ///
    /// # Errors
    /// As above.
    fn tick(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two streams: replies, and everything else.
pub struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    out_is_terminal: bool,
    err_is_terminal: bool,
    colour: bool,
    /// The moment of the sign of life, while there is one on the screen.
    frame: Option<usize>,
    at_work: String,
}

impl Streams {
    /// Stdout and stderr.
    #[must_use]
    pub fn standard() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let (out_is_terminal, err_is_terminal) = (out.is_terminal(), err.is_terminal());
        Self { out_is_terminal, err_is_terminal, colour: colour_wanted(), ..Self::plain(out, err) }
    }

    /// Any two streams that are no terminals.
    pub fn plain(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            err: Box::new(err),
            out_is_terminal: false,
            err_is_terminal: false,
            colour: false,
            frame: None,
            at_work: String::new(),
        }
    }

    /// Takes the sign of life from the screen, so that something else can be written.
    fn clear(&mut self) -> io::Result<()> {
        if self.frame.take().is_some() {
            self.err.write_all(b"\r\x1b[2K")?;
            self.err.flush()?;
        }
        Ok(())
    }
}

impl Display for Streams {
    fn greet(&mut self, _assistant: &str, _chat: &str) -> io::Result<()> {
        // Nobody sits there.
        Ok(())
    }

    fn reply(&mut self, _assistant: &str, text: &str) -> io::Result<()> {
        let frame = self.frame;
        self.clear()?;
        let text = if self.out_is_terminal { harmless(text) } else { Cow::Borrowed(text) };
        writeln!(self.out, "{text}")?;
        self.out.flush()?;
        self.frame = frame;
        if frame.is_some() { self.tick() } else { Ok(()) }
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        let frame = self.frame;
        self.clear()?;
        let text = harmless(text);
        if self.colour && self.err_is_terminal {
            writeln!(self.err, "{ASIDE}{text}{ASIDE:#}")?;
        } else {
            writeln!(self.err, "nanoclaw: {text}")?;
        }
        self.frame = frame;
        if frame.is_some() { self.tick() } else { Ok(()) }
    }

    fn typing(&mut self, assistant: &str, on: bool) -> io::Result<()> {
        self.clear()?;
        if on && self.err_is_terminal {
            self.at_work = format!("{} is at work", harmless(assistant));
            self.frame = Some(0);
            return self.tick();
        }
        Ok(())
    }

    fn is_animated(&self) -> bool {
        self.err_is_terminal
    }

    fn tick(&mut self) -> io::Result<()> {
        if let Some(frame) = &mut self.frame {
            *frame += 1;
            write!(self.err, "\r\x1b[2K{} {}", FRAMES[*frame % FRAMES.len()], self.at_work)?;
            self.err.flush()?;
        }
        Ok(())
    }
}

/// Whether the user wants colour on a terminal (<https://no-color.org>).
pub(super) fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// `text` without anything that a terminal would obey: what an agent writes must not move the cursor, change the title, hide a
/// line or turn the order of letters around.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    if text.contains(is_dangerous) { Cow::Owned(clean(&text.replace("\r\n", "\n"))) } else { Cow::Borrowed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_replaced() {
        assert_eq!(harmless("a\tb\r\nc \x1b]0;title\x07 \u{9b}2J"), "a\tb\nc \u{fffd}]0;title\u{fffd} \u{fffd}2J");
        assert!(matches!(harmless("Grüße ⠋\n"), Cow::Borrowed(_)));
        for mark in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(harmless(&format!("pay {mark}Eve")), "pay \u{fffd}Eve", "{mark:?}");
        }
    }
}
