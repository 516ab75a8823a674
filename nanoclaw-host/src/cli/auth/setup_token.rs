//! `nanoclaw auth setup-token`: `claude setup-token` in a container, on the person's terminal, with its token taken away
//! before it is shown.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    time::Duration,
};

use nanoclaw_core::{
    runtime::{Exit, Output},
    secret::Secret,
};
use tokio::sync::mpsc;

use super::{
    screen::Screen,
    terminal::{Modes, asked_to_end},
};
use crate::{
    app::{Setup, SetupError, TERMINAL},
    cli::{failure::with_help, output},
    config::Config,
};

/// How long the program may go on when its token stands there and nothing more comes.
const QUIET_AFTER_TOKEN: Duration = Duration::from_secs(2);
/// How long a key may take to reach the container.
const KEY_LIMIT: Duration = Duration::from_secs(10);

/// Takes back what the program may have asked of the terminal and never undid, since its last words are not shown: colours,
/// the second screen, a hidden cursor, reports of mouse, focus and keys, marks around what is pasted.
const PLAIN: &[u8] =
    b"\x1b[0m\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[?2026l\x1b[?2031l\x1b[<u\x1b[>4;0m\r\n";

/// Runs the program and returns the token that it showed; `None` when the person gave up.
pub(in crate::cli) async fn run(config: &Config) -> anyhow::Result<Option<Secret>> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(with_help(
            "claude setup-token asks its questions on a terminal, and there is none",
            "run it in one; a token that you have already goes to the standard input of `nanoclaw auth set`",
        ));
    }
    output::note(
        "Starting Claude Code in a container. Open the address that it shows, log in, and paste the code here. \
         Ctrl-C twice gives up.",
    );
    let asked_to_end = asked_to_end()?;
    let mut setup = Setup::start(config).await.map_err(|error| match error {
        SetupError::Missing { what, help } => with_help(what, help),
        other => other.into(),
    })?;
    let talked = match Modes::raw() {
        Ok(modes) => {
            let talked = talk(&mut setup, asked_to_end).await;
            let mut out = std::io::stdout();
            // The terminal may be gone.
            let _ = out.write_all(PLAIN).and_then(|()| out.flush());
            drop(modes);
            talked
        }
        Err(error) => Err(error.into()),
    };
    setup.end().await?;
    talked
}

async fn talk(setup: &mut Setup, asked_to_end: impl Future<Output = ()>) -> anyhow::Result<Option<Secret>> {
    let mut asked_to_end = std::pin::pin!(asked_to_end);
    let mut keys = keys();
    let mut keys_end = false;
    let mut screen = Screen::new(TERMINAL.0, TERMINAL.1);
    let mut complaints = Vec::new();
    let mut told = false;
    let mut interrupts = 0;
    loop {
        let quiet = async {
            match screen.token() {
                Some(_) => tokio::time::sleep(QUIET_AFTER_TOKEN).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            output = setup.container.output.recv() => match output {
                Some(Output::Stdout(bytes)) => show(&mut screen, &bytes, &mut told)?,
                Some(Output::Stderr(bytes)) => {
                    complaints.extend_from_slice(&bytes);
                    complaints.truncate(4096);
                }
                None => break,
            },
            key = keys.recv(), if !keys_end => match key {
                Some(bytes) => {
                    interrupts += count_interrupts(&bytes);
                    if interrupts >= 2 {
                        // The program does not end by Ctrl-C wherever it waits.
                        break;
                    }
                    // When it ended meanwhile, its output says so.
                    let _ = setup.container.stdin.send(&bytes, KEY_LIMIT).await;
                }
                None => keys_end = true,
            },
            () = quiet => break,
            () = &mut asked_to_end => break,
        }
    }
    if let Some(token) = screen.token() {
        return Ok(Some(token.clone()));
    }
    let exit = tokio::time::timeout(Duration::from_secs(2), setup.container.exit.clone()).await;
    let Ok(exit) = exit else { return Ok(None) };
    if screen.is_withholding() {
        return Err(with_help(
            format!("the program ended ({exit}), and what it showed had no whole token in it"),
            "try again; if it happens again, run `claude setup-token` yourself and give the token to `nanoclaw auth set`",
        ));
    }
    if matches!(exit, Exit::Code(0) | Exit::Signal(1 | 2)) {
        return Ok(None);
    }
    let complaints = String::from_utf8_lossy(&complaints).into_owned();
    let lines: Vec<String> = complaints.lines().map(str::to_owned).chain(screen.last_lines(3)).collect();
    let reason = crate::credentials::redacted(lines.join("; ").trim(), &[]);
    Err(with_help(
        format!("claude setup-token ended with {exit}: {reason}"),
        "`nanoclaw doctor` looks at the runtime and at the program; `nanoclaw auth set` stores a token that you have",
    ))
}

fn show(screen: &mut Screen, bytes: &[u8], told: &mut bool) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if screen.feed(bytes) {
        out.write_all(bytes)?;
    } else if !*told {
        *told = true;
        out.write_all(b"\r\n****\r\n")?;
    }
    out.flush()
}

/// How often Ctrl-C is among these keys: as a control character, or as terminals tell it that were asked to tell keys apart.
fn count_interrupts(keys: &[u8]) -> usize {
    const TOLD_APART: &[u8] = b"\x1b[99;5u";
    keys.iter().filter(|key| **key == 3).count()
        + keys.windows(TOLD_APART.len()).filter(|keys| *keys == TOLD_APART).count()
}

/// What is typed, as it comes. The thread that reads cannot be interrupted and ends with the program.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin();
        let mut chunk = [0; 1024];
        while let Ok(length) = stdin.read(&mut chunk) {
            if length == 0 || sender.blocking_send(chunk[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}
