//! The person's own terminal: a secret is typed unseen, and a conversation with a program in a container goes key by key.
//! However it ends, the terminal is as it was before.

use std::io::{IsTerminal as _, Read as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

/// What was typed ended before it was whole.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; nothing was changed")]
pub(in crate::cli) struct Interrupted;

/// More than any secret has.
const LONGEST_BYTES: u64 = 64 * 1024;

/// Puts the terminal's modes back when it is dropped.
pub(in crate::cli) struct Modes(Termios);

impl Modes {
    /// Shows no more of what is typed; Ctrl-C still ends the program. `None` when standard input is no terminal.
    fn unseen() -> std::io::Result<Option<Self>> {
        Self::change(|modes| {
            modes.local_modes.remove(LocalModes::ECHO);
            modes.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
            // Stopped in between (Ctrl-Z), the shell would have a terminal that shows nothing.
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        })
    }

    /// Gives every key as it is typed and shows none; Ctrl-C still ends the program. `None` when standard input is no terminal.
    pub(in crate::cli) fn keys() -> std::io::Result<Option<Self>> {
        Self::change(|modes| {
            modes.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            modes.local_modes.insert(LocalModes::ISIG);
            // As above.
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
        })
    }

    /// Changes nothing: for what changes the modes itself, and may be left behind in the middle. `None` when standard input is no
    /// terminal.
    pub(in crate::cli) fn kept() -> std::io::Result<Option<Self>> {
        Self::change(|_| {})
    }

    /// Passes every key on as it is typed. `None` when standard input is no terminal.
    pub(super) fn raw() -> std::io::Result<Option<Self>> {
        Self::change(Termios::make_raw)
    }

    fn change(change: impl FnOnce(&mut Termios)) -> std::io::Result<Option<Self>> {
        if !std::io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(std::io::stdin())?;
        let mut modes = before.clone();
        change(&mut modes);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &modes)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// Resolves when the program is asked to end.
pub(in crate::cli) fn asked_to_end() -> std::io::Result<impl Future<Output = ()>> {
    let mut signals =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = signals.0.recv() => {}
            _ = signals.1.recv() => {}
            _ = signals.2.recv() => {}
        }
    })
}

/// Reads a secret: a line that is typed and not shown, or all of standard input when that is no terminal.
///
/// # Errors
/// [`Interrupted`], or what the system says.
pub(in crate::cli) async fn read_secret(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    // Before the modes change, so that no signal comes between.
    let asked_to_end = asked_to_end()?;
    let modes = Modes::unseen()?;
    let typed = modes.is_some();
    if typed {
        let mut out = std::io::stderr();
        write!(out, "{prompt}").and_then(|()| out.flush())?;
    }
    let reading = tokio::task::spawn_blocking(move || if typed { read_line() } else { read_all() });
    let text = tokio::select! {
        read = reading => read??,
        // The thread that reads is left behind; the program ends.
        () = asked_to_end => {
            drop(modes);
            return Err(Interrupted.into());
        }
    };
    drop(modes);
    Ok(text)
}

fn read_line() -> std::io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::new());
    std::io::stdin().read_line(&mut line)?;
    Ok(line)
}

fn read_all() -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(LONGEST_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}
