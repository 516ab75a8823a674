//! The commands: a word with `!` before it, alone at the start of a message, so that nobody gives one by accident.

use std::{io::Write as _, path::Path, process::Stdio, time::Duration};

use nanoclaw_core::protocol::output::FailureKind;
use tokio::{io::AsyncReadExt as _, process, time::timeout};

use super::memory::Memory;
use crate::{
    chat_tools::{ChatTools, Outcome},
    places::Places,
    process_group::ProcessGroup,
    provider::Failure,
};

/// The exit code of `!crash`.
const CRASH: i32 = 3;
/// The most bytes of a file or of a command's output that are said.
const SAID_BYTES: u64 = 16 * 1024;
/// The most bytes that `!flood` and `!long` make.
const MADE_BYTES: u64 = 1024 * 1024 * 1024;
/// How long `!connect` tries.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);

const HELP: &str = "\
!help · !recall · !session
!read FILE · !write FILE TEXT · !run COMMAND · !env NAME · !connect HOST:PORT
!send TEXT · !send-to CHAT TEXT · !tool NAME ARGUMENTS · !internal TEXT · !long BYTES
!silent · !sleep SECONDS · !hang · !fail REASON · !fail-as KIND REASON · !fail-until FILE KIND REASON · !crash
!flood BYTES";

/// A message that is to be done rather than heard.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Help,
    Recall,
    Session,
    Read { file: String },
    Write { file: String, text: String },
    Run { command: String },
    Env { name: String },
    Connect { address: String },
    Send { text: String },
    SendTo { chat: String, text: String },
    Tool { name: String, arguments: String },
    Internal { text: String },
    Long { bytes: u64 },
    Silent,
    Sleep { time: Duration },
    Hang,
    Fail { kind: FailureKind, reason: String },
    FailUntil { file: String, kind: FailureKind, reason: String },
    Crash,
    Flood { bytes: u64 },
}

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// A part of the reply.
    Say(String),
    /// No part of the reply.
    Silence,
}

/// Reads a message as a command, after a mention like `@Andy` if there is one; `None`: it is to be heard. So is a word that
/// is no command, and a command without what it needs.
pub(super) fn parse(text: &str) -> Option<Command> {
    let text = match text.strip_prefix('@') {
        Some(mention) => mention.split_once(char::is_whitespace)?.1.trim_start(),
        None => text,
    };
    if text.trim() == "recall" {
        return Some(Command::Recall);
    }
    let (word, rest) = split(text.strip_prefix('!')?);
    let rest_or_none = || (!rest.is_empty()).then(|| rest.to_owned());
    Some(match word {
        "help" => Command::Help,
        "recall" => Command::Recall,
        "session" => Command::Session,
        "read" => Command::Read { file: rest_or_none()? },
        "write" => {
            let (file, text) = split(rest);
            if file.is_empty() {
                return None;
            }
            Command::Write { file: file.to_owned(), text: text.to_owned() }
        }
        "run" => Command::Run { command: rest_or_none()? },
        "env" => Command::Env { name: rest_or_none()? },
        "connect" => Command::Connect { address: rest_or_none()? },
        "send" => Command::Send { text: rest_or_none()? },
        "send-to" => {
            let (chat, text) = split(rest);
            if text.is_empty() {
                return None;
            }
            Command::SendTo { chat: chat.to_owned(), text: text.to_owned() }
        }
        "tool" => {
            let (name, arguments) = split(rest);
            if name.is_empty() {
                return None;
            }
            Command::Tool { name: name.to_owned(), arguments: arguments.to_owned() }
        }
        "internal" => Command::Internal { text: rest_or_none()? },
        "long" => Command::Long { bytes: bytes(rest)? },
        "silent" => Command::Silent,
        "sleep" => Command::Sleep { time: Duration::try_from_secs_f64(rest.parse().ok()?).ok()? },
        "hang" => Command::Hang,
        "fail" => {
            let reason = rest_or_none().unwrap_or_else(|| "asked to fail".to_owned());
            Command::Fail { kind: FailureKind::Other, reason }
        }
        "fail-as" => {
            let (kind, reason) = kind_of_failure(rest)?;
            Command::Fail { kind, reason }
        }
        "fail-until" => {
            let (file, rest) = split(rest);
            let (kind, reason) = kind_of_failure(rest)?;
            Command::FailUntil { file: file.to_owned(), kind, reason }
        }
        "crash" => Command::Crash,
        "flood" => Command::Flood { bytes: bytes(rest)? },
        _ => return None,
    })
}

/// `KIND REASON`, the kind as it is written on the wire: login, quota, overload, refused, no_session, script, other.
fn kind_of_failure(text: &str) -> Option<(FailureKind, String)> {
    let (kind, reason) = split(text);
    let kind = serde_json::from_value(kind.into()).ok().filter(|kind| *kind != FailureKind::Unknown)?;
    Some((kind, if reason.is_empty() { "asked to fail" } else { reason }.to_owned()))
}

fn split(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn bytes(text: &str) -> Option<u64> {
    text.parse().ok().filter(|bytes| *bytes <= MADE_BYTES)
}

/// What commands work with.
pub(super) struct Tools<'a> {
    pub(super) places: &'a Places,
    /// The group's own chat.
    pub(super) chat: &'a str,
    pub(super) chat_tools: &'a ChatTools,
    pub(super) memory: &'a Memory,
}

impl Tools<'_> {
    /// Does it. What goes wrong with a tool is said, as an agent would say it; an error is one that was asked for.
    pub(super) async fn run(&self, command: &Command) -> Result<Done, Failure> {
        Ok(Done::Say(match command {
            Command::Help => HELP.to_owned(),
            Command::Recall => self.memory.recall(),
            Command::Session => self.memory.session().to_string(),
            Command::Read { file } => self.read(file).await,
            Command::Write { file, text } => self.write(file, text).await,
            Command::Run { command } => self.shell(command).await,
            Command::Env { name } => match std::env::var_os(name) {
                Some(value) => format!("{name}={}", value.to_string_lossy()),
                None => format!("{name} is not set"),
            },
            Command::Connect { address } => connect(address).await,
            Command::Send { text } => self.send(self.chat, text).await,
            Command::SendTo { chat, text } => self.send(chat, text).await,
            Command::Tool { name, arguments } => self.tool(name, arguments).await,
            Command::Internal { text } => format!("<internal>{text}</internal>"),
            Command::Long { bytes } => (0..*bytes).map(|at| if at % 64 == 63 { '\n' } else { 'x' }).collect(),
            Command::Silent => return Ok(Done::Silence),
            Command::Sleep { time } => {
                tokio::time::sleep(*time).await;
                format!("slept {time:?}")
            }
            Command::Hang => hang(),
            Command::Fail { kind, reason } => return Err(Failure::new(*kind, reason.clone())),
            Command::FailUntil { file, kind, reason } => {
                match tokio::fs::metadata(self.places.group.join(file)).await {
                    Ok(_) => format!("found {file}"),
                    Err(_) => return Err(Failure::new(*kind, reason.clone())),
                }
            }
            Command::Crash => std::process::exit(CRASH),
            Command::Flood { bytes } => {
                let bytes = *bytes;
                // Not in the agent's loop, which gives signs of life: a host that reads slowly would hold it up.
                tokio::task::spawn_blocking(move || flood(bytes))
                    .await
                    .unwrap_or_else(|error| format!("cannot flood: {error}"))
            }
        }))
    }

    async fn read(&self, file: &str) -> String {
        let read = async {
            let mut content = Vec::new();
            let opened = tokio::fs::File::open(self.places.group.join(file)).await?;
            opened.take(SAID_BYTES + 1).read_to_end(&mut content).await?;
            std::io::Result::Ok(content)
        };
        match read.await {
            Ok(content) => format!("read {file}: {}", shortened(&content)),
            Err(error) => format!("cannot read {file}: {error}"),
        }
    }

    async fn write(&self, file: &str, text: &str) -> String {
        match tokio::fs::write(self.places.group.join(file), format!("{text}\n")).await {
            Ok(()) => format!("wrote {file}"),
            Err(error) => format!("cannot write {file}: {error}"),
        }
    }

    async fn shell(&self, command: &str) -> String {
        match shell(command, &self.places.group).await {
            Ok((0, output)) if output.is_empty() => format!("ran {command}"),
            Ok((0, output)) => format!("ran {command}: {output}"),
            Ok((code, output)) => format!("ran {command} (exit code {code}): {output}"),
            Err(error) => format!("cannot run {command}: {error}"),
        }
    }

    async fn send(&self, chat: &str, text: &str) -> String {
        match self.chat_tools.send(chat, text).await {
            Outcome::Done(detail) => format!("sent {text}: {detail}"),
            Outcome::Refused(reason) => format!("refused to send {text}: {reason}"),
            Outcome::Failed(reason) => format!("failed to send {text}: {reason}"),
            Outcome::NotKnown(known) => format!("asked the host to send {text}: it did not answer; {known}"),
        }
    }

    async fn tool(&self, name: &str, arguments: &str) -> String {
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        match serde_json::from_str(arguments) {
            Ok(arguments) => self.chat_tools.call(name, arguments).await.text(),
            Err(error) => format!("the arguments of {name} are no JSON: {error}"),
        }
    }
}

/// Runs `command` by the shell and returns its exit code (128 and the signal that ended it) and output, both streams in one.
async fn shell(command: &str, folder: &Path) -> std::io::Result<(i32, String)> {
    use std::os::unix::process::ExitStatusExt as _;

    let mut shell = process::Command::new("sh");
    shell
        .args(["-c", "exec 2>&1; eval \"$1\"", "sh", command])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let (group, mut child) = ProcessGroup::start(&mut shell)?;
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let mut stdout = stdout.take(SAID_BYTES + 1);
        stdout.read_to_end(&mut output).await?;
        // Read on, so that a talkative command ends instead of waiting for room.
        tokio::io::copy(&mut stdout.into_inner(), &mut tokio::io::sink()).await?;
    }
    let status = child.wait().await?;
    group.forget();
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    Ok((code, shortened(&output)))
}

async fn connect(address: &str) -> String {
    match timeout(CONNECT_PATIENCE, tokio::net::TcpStream::connect(address)).await {
        Ok(Ok(_)) => format!("connected to {address}"),
        Ok(Err(error)) => format!("cannot connect to {address}: {error}"),
        Err(_) => format!("cannot connect to {address}: no answer within {CONNECT_PATIENCE:?}"),
    }
}

/// Stands still with everything, as a program with a deadlock does: no sign of life is given any more.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Writes lines that are no block to standard output, as a badly behaved agent would.
fn flood(bytes: u64) -> String {
    let line = [b"flood ".repeat(10).as_slice(), b"\n"].concat();
    let mut output = std::io::stdout().lock();
    let mut left = bytes;
    while left > 0 {
        let length = left.min(line.len() as u64);
        let part = usize::try_from(length).unwrap_or(line.len());
        if output.write_all(&line[..part]).is_err() {
            break;
        }
        left -= length;
    }
    let _ = output.write_all(b"\n").and_then(|()| output.flush());
    format!("flooded {bytes} bytes")
}

/// Text of at most [`SAID_BYTES`], trimmed.
fn shortened(bytes: &[u8]) -> String {
    let limit = usize::try_from(SAID_BYTES).unwrap_or(usize::MAX);
    if bytes.len() <= limit {
        return String::from_utf8_lossy(bytes).trim().to_owned();
    }
    format!("{} … (more)", String::from_utf8_lossy(&bytes[..limit]).trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_chat_is_no_command() {
        for text in [
            "read the news",
            "@Andy run to the shop",
            "wow!",
            "!",
            "!!! great",
            "! read notes.txt",
            "!unknown",
            "!read",
            "!sleep well",
            "!long story short",
            "I recall that",
            "@Andy",
            "mail ann@example.org !crash",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_command_may_follow_a_mention() {
        let read = Some(Command::Read { file: "my notes.txt".to_owned() });
        assert_eq!(parse("!read my notes.txt"), read);
        assert_eq!(parse("@Andy !read my notes.txt"), read);
        assert_eq!(parse("@Andy recall"), Some(Command::Recall));
        let write = Command::Write { file: "a.txt".to_owned(), text: "two\nlines".to_owned() };
        assert_eq!(parse("!write a.txt two\nlines"), Some(write));
        assert_eq!(parse("!sleep 0.5"), Some(Command::Sleep { time: Duration::from_millis(500) }));
        let fail = Command::Fail { kind: FailureKind::NoSession, reason: "gone away".to_owned() };
        assert_eq!(parse("!fail-as no_session gone away"), Some(fail));
        assert_eq!(parse("!fail-as whim why"), None);
        let until =
            Command::FailUntil { file: "key".to_owned(), kind: FailureKind::Login, reason: "asked to fail".to_owned() };
        assert_eq!(parse("!fail-until key login"), Some(until));
        assert_eq!(parse("!fail-until key"), None);
        assert_eq!(parse("!sleep -1"), None);
    }
}
