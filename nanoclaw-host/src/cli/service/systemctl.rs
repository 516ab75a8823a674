//! systemd, asked by its own programs.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use super::super::failure::with_help;

/// What is there while systemd runs the machine: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

/// One of the two managers: the user's own, or the machine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manager {
    User,
    System,
}

impl Manager {
    /// Where its administrator's units lie.
    ///
    /// # Errors
    /// When the user has no home.
    pub(super) fn units(self) -> anyhow::Result<PathBuf> {
        match self {
            Self::System => Ok("/etc/systemd/system".into()),
            Self::User => {
                let given = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
                let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".config"));
                let config = given.or_else(home);
                Ok(config
                    .ok_or_else(|| with_help("this user has no home", "set HOME, or use --system as root"))?
                    .join("systemd/user"))
            }
        }
    }

    /// Does what `words` say.
    ///
    /// # Errors
    /// Its own words, when it fails.
    pub(super) fn systemctl(self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("systemctl");
        command.args(["--no-pager", "--no-ask-password"]).args(words).stdin(Stdio::null());
        let done = command.output().map_err(|error| missing("systemctl", &error))?;
        if done.status.success() {
            return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&done.stderr);
        let what = format!("`systemctl {}` failed: {}", words.join(" "), said.trim());
        Err(with_help(
            what,
            "`systemctl status` and `journalctl -xe` say more; a user's own systemd needs a login session",
        ))
    }

    /// Shows the log of `unit` on standard output, as its program does it.
    ///
    /// # Errors
    /// When there is no such program.
    pub(super) fn journal(self, unit: &str, words: &[String]) -> anyhow::Result<ExitStatus> {
        let mut command = self.command("journalctl");
        command.arg("--unit").arg(unit).args(words);
        command.status().map_err(|error| missing("journalctl", &error))
    }

    fn command(self, program: &str) -> Command {
        let mut command = Command::new(program);
        if self == Self::User {
            command.arg("--user");
        }
        command
    }
}

/// Whether systemd runs this machine.
pub(super) fn booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Its version.
///
/// # Errors
/// When it is not there, or says none.
pub(super) fn version() -> anyhow::Result<u32> {
    let said = Manager::System.systemctl(&["--version"])?;
    let number = said.split_whitespace().nth(1).and_then(|word| word.split('.').next()?.parse().ok());
    number
        .ok_or_else(|| anyhow::anyhow!("`systemctl --version` says no version: {}", said.lines().next().unwrap_or("")))
}

fn missing(program: &str, error: &std::io::Error) -> anyhow::Error {
    with_help(
        format!("{program} cannot be started: {error}"),
        "without systemd, have what supervises services here start `nanoclaw run`, and again when it ends",
    )
}
