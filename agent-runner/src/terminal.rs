//! A terminal for one command inside a container: `agent-runner terminal [OPTION…] -- COMMAND…`, where the
//! options are `--size COLUMNSxROWS`, and `--without NAME` for a variable that the command is not to have.
//!
//! A container has pipes. A program that wants a terminal (`claude setup-token` asks its questions only there) is given one
//! here: the near end of a new pseudo-terminal is its standard streams, and what is written to and read from the far end is
//! our own. So every runtime can do it, and none has to know of terminals.
//!
//! The command is started by this program once more (`terminal --inside`), which makes the near end its controlling terminal
//! before it becomes the command: so Ctrl-C reaches it, and it hears of it when the far end is gone.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::{
    process::{ioctl_tiocsctty, setsid},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::log::say;

/// The exit code when there is no terminal to be had.
const NO_TERMINAL: u8 = 1;
/// The exit code when the command could not be started, as shells have it.
const NOT_STARTED: u8 = 127;
/// The exit code for arguments that are not understood.
const BAD_USAGE: u8 = 2;

/// How long output may still come after the command has ended: what it left behind may hold the terminal open.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

const DEFAULT_SIZE: Size = Size { columns: 80, rows: 24 };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    columns: u16,
    rows: u16,
}

/// Runs the command that the arguments name and returns the code to end with: the command's own, or 128 and the signal that
/// ended it.
pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> u8 {
    let mut size = DEFAULT_SIZE;
    let mut inside = false;
    let mut without = Vec::new();
    let mut arguments = arguments.peekable();
    while let Some(word) = arguments.next_if(|word| word.as_encoded_bytes().starts_with(b"--")) {
        match word.to_str() {
            Some("--") => break,
            Some("--inside") => inside = true,
            Some("--size") => match arguments.next().as_deref().and_then(OsStr::to_str).and_then(parse_size) {
                Some(given) => size = given,
                None => return bad_usage("--size wants COLUMNSxROWS"),
            },
            Some("--without") => match arguments.next() {
                Some(name) => without.push(name),
                None => return bad_usage("--without wants the name of a variable"),
            },
            _ => return bad_usage("an option is not known"),
        }
    }
    let command: Vec<OsString> = arguments.collect();
    if command.is_empty() {
        return bad_usage("no command was given");
    }
    if inside {
        return become_command(&command);
    }
    match run(&command, size, &without) {
        Ok(code) => code,
        Err(error) => {
            say!("terminal: no terminal could be made: {error}");
            NO_TERMINAL
        }
    }
}

fn bad_usage(what: &str) -> u8 {
    say!("terminal: {what}\nusage: agent-runner terminal [--size COLUMNSxROWS] [--without NAME]... -- COMMAND...");
    BAD_USAGE
}

fn parse_size(text: &str) -> Option<Size> {
    let (columns, rows) = text.split_once('x')?;
    let size = Size { columns: columns.parse().ok()?, rows: rows.parse().ok()? };
    (size.columns > 0 && size.rows > 0).then_some(size)
}

/// Makes standard input the controlling terminal of a session of our own, and becomes the command.
fn become_command(command: &[OsString]) -> u8 {
    let taken = setsid().and_then(|_| ioctl_tiocsctty(rustix::stdio::stdin()));
    if let Err(error) = taken {
        say!("terminal: cannot take the terminal: {error}");
        return NO_TERMINAL;
    }
    let error = Command::new(&command[0]).args(&command[1..]).exec();
    say!("terminal: cannot start {:?}: {error}", command[0]);
    NOT_STARTED
}

fn run(command: &[OsString], size: Size, without: &[OsString]) -> io::Result<u8> {
    let (far, near) = open(size)?;
    let mut again = Command::new(std::env::current_exe()?);
    for name in without {
        again.env_remove(name);
    }
    let mut child = again
        .args(["terminal", "--inside", "--"])
        .args(command)
        .stdin(Stdio::from(near.try_clone()?))
        .stdout(Stdio::from(near.try_clone()?))
        .stderr(Stdio::from(near))
        .spawn()?;
    let far = File::from(far);
    let (input, output) = (far.try_clone()?, far);
    // Not waited for: it hangs in a read of our standard input until that ends.
    std::thread::spawn(move || copy_input(input));
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        copy_output(output);
        // Nobody listens any more when the output took too long.
        let _ = done.send(());
    });
    let status = child.wait()?;
    let _ = ended.recv_timeout(LAST_OUTPUT);
    Ok(exit_code(status))
}

/// A new pseudo-terminal of this size: its far end, which is ours, and its near end, which is the command's.
fn open(size: Size) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let far = openpt(flags)?;
    grantpt(&far)?;
    unlockpt(&far)?;
    // By the far end and not by a path: whatever is at that path, this is the other end.
    let near = ioctl_tiocgptpeer(&far, flags)?;
    tcsetwinsize(far.as_fd(), Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 })?;
    Ok((far, near))
}

/// What is typed goes to the command. When the typing ends, so does the command: it is hung up on.
fn copy_input(mut far: File) {
    let copied = pass_on(&mut io::stdin(), &mut far);
    if copied.is_ok() {
        // End of file as a terminal has it, for one who reads lines; and for one who does not, the end of the line.
        let _ = far.write_all(b"\x04");
        if let Ok(foreground) = rustix::termios::tcgetpgrp(&far) {
            let _ = rustix::process::kill_process_group(foreground, rustix::process::Signal::HUP);
        }
    }
}

/// What the command shows goes out. Reading a terminal whose near end nobody holds fails: that is its end.
fn copy_output(mut far: File) {
    let _ = pass_on(&mut far, &mut io::stdout());
}

/// Copies at once what comes, and does not hold it back for more.
fn pass_on(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut chunk = vec![0; 16 * 1024];
    loop {
        let length = match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&chunk[..length])?;
        to.flush()?;
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(NO_TERMINAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_columns_and_rows() {
        assert_eq!(parse_size("500x50"), Some(Size { columns: 500, rows: 50 }));
        for text in ["", "500", "x", "0x5", "5x0", "-1x5", "70000x5", "5x5x5"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
