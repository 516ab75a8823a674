//! Credentials from a command: `[credentials] command = ["pass", "show", "anthropic"]`.
//!
//! It is run without a shell, with a time limit and bounded output, and in an environment of a few harmless variables: what
//! else the service was given, perhaps other secrets, is not passed on.

use std::{process::Stdio, time::Duration};

use nanoclaw_core::secret::Secret;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use super::{
    Found, Origin,
    file::{Line, key_and_value},
    kind::{self, CredentialKind},
};
use crate::config::Environment;

const MOST_OUTPUT_BYTES: u64 = 64 * 1024;
const MOST_ERROR_BYTES: u64 = 4 * 1024;

/// What password managers need to find their things and to ask for a passphrase; no variable that usually holds a secret.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TMPDIR",
    "TERM",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "GPG_TTY",
    "SSH_AUTH_SOCK",
    "PASSWORD_STORE_DIR",
    "VAULT_ADDR",
];

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// The program and its arguments; never empty.
    pub(super) words: Vec<String>,
    /// What the one secret that it prints is; `None`: it prints `KEY=value` lines, or a secret that is known by its shape.
    pub(super) kind: Option<CredentialKind>,
    /// How long it may take.
    pub(super) limit: Duration,
}

impl Command {
    fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Runs it; `Err` says what went wrong, with what it said on standard error and without any secret.
    pub(super) async fn run(&self, environment: &dyn Environment) -> Result<Vec<Found>, String> {
        let failed = |problem: &str| format!("the command {} of [credentials] {problem}", self.program());
        let mut command = tokio::process::Command::new(self.program());
        command.args(self.words.get(1..).unwrap_or_default()).env_clear().stdin(Stdio::null());
        for name in PASSED_ON {
            if let Some(value) = environment.get(name) {
                command.env(name, value);
            }
        }
        // A group of its own, so that what it started ends with it.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        let _end = EndGroup(group);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let work = async {
            let (output, complaint) =
                tokio::join!(bounded(stdout, MOST_OUTPUT_BYTES), bounded(stderr, MOST_ERROR_BYTES));
            (output, complaint, child.wait().await)
        };
        let Ok((output, complaint, status)) = tokio::time::timeout(self.limit, work).await else {
            return Err(failed(&format!("took longer than {} s and was stopped", self.limit.as_secs_f32())));
        };
        let status = status.map_err(|error| failed(&format!("cannot be waited for: {error}")))?;
        // First: a program whose output is not read any more fails for that reason.
        if output.len() as u64 > MOST_OUTPUT_BYTES {
            return Err(failed("printed more than 64 KiB, which no credential is"));
        }
        if !status.success() {
            return Err(failed(&format!("ended with {status}{}", said(&complaint, &output))));
        }
        let text = std::str::from_utf8(&output).map_err(|_| failed("printed something that is not UTF-8"))?;
        self.understand(text).map_err(|problem| failed(&problem))
    }

    fn understand(&self, text: &str) -> Result<Vec<Found>, String> {
        let found = |name: &str, secret| Found {
            name: name.to_owned(),
            secret,
            origin: Origin::Command { program: self.program().to_owned() },
            since: None,
        };
        let bare = text.trim();
        if let Some(kind) = self.kind.or_else(|| CredentialKind::of_shape(bare)) {
            let secret = kind::checked(bare).map_err(|problem| format!("printed a credential that {problem}"))?;
            return Ok(vec![found(kind.variable(), secret)]);
        }
        let mut secrets: Vec<Found> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            match key_and_value(line) {
                Line::Nothing => {}
                Line::Pair(name, _) if secrets.iter().any(|found| found.name == name) => {
                    return Err(format!("printed {name} twice"));
                }
                Line::Pair(name, value) if kind::is_name(name) => {
                    let secret = kind::checked(value).map_err(|problem| format!("printed a {name} that {problem}"))?;
                    secrets.push(found(name, secret));
                }
                Line::Pair(..) | Line::Torn => {
                    return Err(format!(
                        "printed a line {number} that is not KEY=value; if it prints a bare credential, say which kind in \
                         credentials.command_kind"
                    ));
                }
            }
        }
        if secrets.is_empty() { Err("printed nothing".to_owned()) } else { Ok(secrets) }
    }
}

/// Ends what is left of the command's processes.
struct EndGroup(Option<rustix::process::Pid>);

impl Drop for EndGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Usually nobody is left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// All that is read up to one byte more than `most`; what comes after is not read.
async fn bounded(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::new());
    if let Some(stream) = stream {
        // What could be read until it failed is what there is.
        let _ = stream.take(most + 1).read_to_end(&mut bytes).await;
    }
    bytes
}

/// What it said on standard error, without what it printed besides.
fn said(complaint: &[u8], output: &[u8]) -> String {
    let complaint = String::from_utf8_lossy(complaint);
    let output = String::from_utf8_lossy(output);
    let secrets: Vec<Secret> = output
        .lines()
        .flat_map(|line| [line, line.split_once('=').map_or("", |(_, value)| value)])
        .map(Secret::new)
        .collect();
    let lines: Vec<&str> = complaint.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(": {}", kind::redacted(&lines.join("; "), &secrets.iter().collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment_of;

    fn shell(script: &str) -> Command {
        Command {
            words: vec!["/bin/sh".into(), "-c".into(), script.into()],
            kind: None,
            limit: Duration::from_secs(30),
        }
    }

    async fn run(command: &Command) -> Result<Vec<(String, String)>, String> {
        let environment = environment_of([("PATH", "/usr/bin:/bin"), ("ANTHROPIC_API_KEY", "OTHER"), ("HOME", "/h")]);
        let found = command.run(&environment).await?;
        Ok(found.into_iter().map(|found| (found.name, found.secret.reveal().to_owned())).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn a_command_prints_lines_or_one_secret() {
        let lines = shell("echo '# mine'; echo ANTHROPIC_API_KEY=a; echo GITHUB_TOKEN=b");
        assert_eq!(run(&lines).await.unwrap(), [pair("ANTHROPIC_API_KEY", "a"), pair("GITHUB_TOKEN", "b")]);
        let known = shell("echo sk-ant-oat01-x");
        assert_eq!(run(&known).await.unwrap(), [pair("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-x")]);
        let told = Command { kind: Some(CredentialKind::AuthToken), ..shell("echo A=B=") };
        assert_eq!(run(&told).await.unwrap(), [pair("ANTHROPIC_AUTH_TOKEN", "A=B=")]);
    }

    #[tokio::test]
    async fn what_a_command_does_wrong_is_told_without_its_secret() {
        for (script, reason) in [
            ("echo TOPSECRET", "command_kind"),
            ("echo KEY=TOPSECRET; echo KEY=TOPSECRET", "twice"),
            ("echo 'KEY=TOP SECRET'", "a space"),
            ("true", "printed nothing"),
            ("echo KEY=TOPSECRET; echo no agent for TOPSECRET >&2; exit 3", "no agent for ****"),
            ("echo key sk-ant-api03-TOPSECRET >&2; exit 3", "exit status: 3: key ****"),
            ("head -c 70000 /dev/zero | tr '\\0' S", "64 KiB"),
        ] {
            let error = run(&shell(script)).await.unwrap_err();
            assert!(error.contains(reason) && !error.contains("SECRET"), "{script}: {error}");
            assert!(error.contains("/bin/sh of [credentials]"), "{error}");
        }
        let missing = Command { words: vec!["/no/such".into()], ..shell("") };
        assert!(run(&missing).await.unwrap_err().contains("cannot be started"));
    }

    #[tokio::test]
    async fn a_command_gets_no_other_secret_and_no_input() {
        let script = "echo \"SEEN=[$ANTHROPIC_API_KEY][$HOME][$(cat)]\"";
        assert_eq!(run(&shell(script)).await.unwrap(), [pair("SEEN", "[][/h][]")]);
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_stopped_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", mark.display());
        let slow = Command { limit: Duration::from_millis(500), ..shell(&script) };
        let error = run(&slow).await.unwrap_err();
        assert!(error.contains("took longer than 0.5 s"), "{error}");
        let pid: i32 = std::fs::read_to_string(mark).unwrap().trim().parse().unwrap();
        // Killed; whoever inherited it reaps it in its own time.
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        };
        while !ended() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
