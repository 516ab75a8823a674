//! The line editor, and a conversation above it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::{Config, ExternalPrinter, error::ReadlineError, history::MemHistory};
use tokio::sync::mpsc;

use super::super::output;
use super::screen::{ASIDE, Display, NAME, colour_wanted, harmless};

/// Moves up and down again: makes the editor draw its line anew and shows nothing.
const REDRAW: &str = "\x1b[A\n";

/// A terminal with a line editor at the bottom and the conversation above it. Dropping it gives the terminal back as it was,
/// even while a line is being typed.
pub(super) struct Editor {
    printer: Box<dyn ExternalPrinter + Send>,
    colour: bool,
    before: Option<Termios>,
    state: Arc<State>,
}

/// What the reading thread and the conversation tell each other.
#[derive(Default)]
struct State {
    /// The assistant is at work.
    at_work: AtomicBool,
    /// A line is being typed: the terminal is in raw mode.
    typing: AtomicBool,
}

/// The prompt; as wide at work as at rest, as the editor wants it.
struct Prompt {
    state: Arc<State>,
}

impl Editor {
    /// Takes over the terminal. The lines that are typed come by the queue, up to `typed_ahead` of them before they are
    /// fetched; it is closed by Ctrl-D and Ctrl-C.
    ///
    /// # Errors
    /// When stdin and stdout are not a terminal with which lines can be edited.
    pub(super) fn start(typed_ahead: usize) -> rustyline::Result<(Self, mpsc::Receiver<String>)> {
        let config = Config::builder().auto_add_history(true).build();
        let mut editor = rustyline::Editor::<(), _>::with_history(config, MemHistory::new())?;
        let printer = Box::new(editor.create_external_printer()?);
        let before = tcgetattr(io::stdin()).ok();
        let state = Arc::new(State::default());
        let prompt = Prompt { state: Arc::clone(&state) };
        let (queue, lines) = mpsc::channel(typed_ahead);
        // A thread of its own, and never joined: a read from a terminal cannot be called off.
        std::thread::spawn(move || {
            loop {
                prompt.state.typing.store(true, Ordering::SeqCst);
                let line = editor.readline(&prompt);
                prompt.state.typing.store(false, Ordering::SeqCst);
                let goes_on = match line {
                    Ok(line) => queue.blocking_send(line).is_ok(),
                    // The window changed its size; the line is drawn anew.
                    Err(ReadlineError::Signal(_)) => true,
                    Err(_) => false,
                };
                if !goes_on {
                    return;
                }
            }
        });
        Ok((Self { printer, colour: colour_wanted(), before, state }, lines))
    }

    fn print(&mut self, text: String) -> io::Result<()> {
        self.printer.print(text).map_err(io::Error::other)
    }
}

impl Display for Editor {
    fn greet(&mut self, assistant: &str, chat: &str) -> io::Result<()> {
        self.note(&format!("You are talking to {assistant} in {chat}. Leave with /quit or Ctrl-D."))
    }

    fn reply(&mut self, assistant: &str, text: &str) -> io::Result<()> {
        let (assistant, text) = (harmless(assistant), harmless(text));
        let line =
            if self.colour { format!("{NAME}{assistant}:{NAME:#} {text}\n") } else { format!("{assistant}: {text}\n") };
        self.print(line)
    }

    fn note(&mut self, text: &str) -> io::Result<()> {
        let text = output::hanging(&harmless(text), 0);
        let line = if self.colour { format!("{ASIDE}{text}{ASIDE:#}\n") } else { format!("[{text}]\n") };
        self.print(line)
    }

    fn typing(&mut self, _assistant: &str, on: bool) -> io::Result<()> {
        let changed = self.state.at_work.swap(on, Ordering::SeqCst) != on;
        if changed && self.state.typing.load(Ordering::SeqCst) {
            return self.print(REDRAW.to_owned());
        }
        Ok(())
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        if self.state.typing.load(Ordering::SeqCst) {
            // Off with bracketed paste, and to a line of our own.
            let mut out = io::stdout();
            let _ = out.write_all(b"\x1b[?2004l\r\n").and_then(|()| out.flush());
        }
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl rustyline::Prompt for Prompt {
    fn raw(&self) -> &str {
        if self.state.at_work.load(Ordering::SeqCst) { "… " } else { "> " }
    }

    fn styled(&self) -> &str {
        if self.state.at_work.load(Ordering::SeqCst) { "\x1b[2m…\x1b[0m " } else { "\x1b[1m>\x1b[0m " }
    }
}
