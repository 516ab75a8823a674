//! Secrets of the host: what opens the model API, and what else is configured under a name.
//!
//! There are four sources, asked in this order; the first that has a secret of a name gives it:
//!
//! 1. the **environment** of the process: what was set by hand for this start is meant;
//! 2. **systemd** credentials (`systemd`): what the unit hands over, perhaps decrypted by it, is meant for this service;
//! 3. the **file** `~/.config/nanoclaw/credentials` (`file`): what people and `nanoclaw auth set` write;
//! 4. a **command** (`command`): last, because it may take time and ask for a passphrase, and because what somebody writes
//!    into the file is then meant to replace what it gives.
//!
//! [`Credentials`] is what everybody holds: it always has the latest, and says when it changes. Nothing here ever prints a
//! secret, or lets one into an error.

pub mod age;
mod command;
mod edit;
mod file;
mod kind;
mod systemd;
#[cfg(test)]
mod tests;
pub mod watch;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use nanoclaw_core::{protocol::environment::ModelAuth, secret::Secret, time::Timestamp};
use sha2::Digest as _;
use tokio::sync::watch as latest;

pub use edit::{EditError, Edited, remove, set};
pub use file::private_folder;
pub(crate) use file::{Line, key_and_value, users_folder};
pub(crate) use kind::checked;
pub use kind::{CredentialKind, OAUTH_MARK, TOKEN_MARK, is_name, is_token_character, redacted};

use crate::config::{ConfigErrors, CredentialsConfig, Environment, Mistake};

/// Where a secret came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The environment variable of this name.
    Variable(String),
    /// The systemd credential of this name.
    Systemd {
        /// Its name, as the unit has it.
        name: String,
    },
    /// A line of the credentials file; lines count from 1.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// What this program printed.
    Command {
        /// The program.
        program: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Systemd { name } => write!(f, "systemd credential {name}"),
            Self::File { file, line } => {
                write!(f, "{}:{line}", file.file_name().unwrap_or(file.as_os_str()).to_string_lossy())
            }
            Self::Command { program } => write!(f, "command {program}"),
        }
    }
}

/// A secret as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// It.
    pub secret: Secret,
    /// Where it came from.
    pub origin: Origin,
    /// When its source last changed; `None` where that cannot be told.
    pub since: Option<Timestamp>,
}

/// What opens the model API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// How it is presented.
    pub kind: CredentialKind,
    /// The credential itself.
    pub secret: Secret,
    /// Where it came from.
    pub source: Origin,
    /// When its source last changed; `None` where that cannot be told.
    pub since: Option<Timestamp>,
}

/// How things stand with the model credential, as far as it is known without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Has(Credential),
    /// A command is configured that was not asked yet.
    Expected(Origin),
    /// There is none.
    Missing,
}

/// Eight hexadecimal digits by which people can tell two secrets apart. Of a secret as long as tokens are, they tell nothing.
#[must_use]
pub fn fingerprint(secret: &Secret) -> String {
    sha2::Sha256::digest(secret.reveal().as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The secrets of the host, the latest at any time. Cheap to clone; clones are the same.
#[derive(Clone)]
pub struct Credentials {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Box<dyn Environment>,
    reminders: age::Reminders,
    command: Option<command::Command>,
    state: latest::Sender<State>,
    /// Held by whoever asks the sources.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct State {
    /// In the order of the sources; those of the environment that are no model credential are looked up when asked for.
    found: Vec<Found>,
    /// Whether `found` has what the command gives.
    command_asked: bool,
    /// Why the sources could not be read the last time.
    problem: Option<String>,
}

impl Credentials {
    /// Reads the sources that cost nothing; the command is left to [`reload`](Self::reload).
    ///
    /// Adds what is wrong to `mistakes`, and what is odd to `remarks`, without any secret.
    pub fn read(
        environment: &dyn Environment,
        settings: &CredentialsConfig,
        mistakes: &mut Vec<Mistake>,
        remarks: &mut Vec<String>,
    ) -> Self {
        let found = read(environment, mistakes, remarks);
        let command = settings.command.as_ref().map(|words| command::Command {
            words: words.clone(),
            kind: *settings.command_kind,
            limit: *settings.command_timeout,
        });
        let state = State { found, command_asked: false, problem: None };
        let shared = Shared {
            environment: environment.owned(),
            reminders: settings.reminders(),
            command,
            state: latest::Sender::new(state),
            asking: tokio::sync::Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// No secrets at all.
    #[must_use]
    pub fn none() -> Self {
        let environment = crate::config::environment_of([]);
        Self::read(&environment, &CredentialsConfig::default(), &mut Vec::new(), &mut Vec::new())
    }

    /// What opens the model API, if it is there.
    #[must_use]
    pub fn model(&self) -> Option<Credential> {
        model_among(&self.shared.state.borrow().found)
    }

    /// How old what opens the model API is, and of which kind that is; `None`: there is none.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Option<(CredentialKind, age::Age)> {
        let Credential { kind, since, .. } = self.model()?;
        Some((kind, age::age(kind, since, now, &self.shared.reminders)))
    }

    /// How things stand with what opens the model API.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (self.model(), self.command_to_come()) {
            (Some(credential), _) => Standing::Has(credential),
            (None, Some(command)) => {
                Standing::Expected(Origin::Command { program: command.words.first().cloned().unwrap_or_default() })
            }
            (None, None) => Standing::Missing,
        }
    }

    /// What agents are told of the model credential, nothing of itself.
    #[must_use]
    pub fn model_auth(&self) -> ModelAuth {
        let expected = || self.command_to_come().and_then(|command| command.kind);
        self.model()
            .map(|credential| credential.kind)
            .or_else(expected)
            .map(CredentialKind::model_auth)
            .unwrap_or_default()
    }

    fn command_to_come(&self) -> Option<&command::Command> {
        self.shared.command.as_ref().filter(|_| !self.shared.state.borrow().command_asked)
    }

    /// The secret of this name, from the first source that has it.
    #[must_use]
    pub fn secret_named(&self, name: &str) -> Option<Secret> {
        self.found(name).map(|found| found.secret)
    }

    /// The same with where it came from. Of the environment, only what has the form of a secret counts.
    #[must_use]
    pub fn found(&self, name: &str) -> Option<Found> {
        if !is_name(name) {
            return None;
        }
        variable(&*self.shared.environment, name)
            .and_then(Result::ok)
            .or_else(|| self.shared.state.borrow().found.iter().find(|found| found.name == name).cloned())
    }

    /// All that was found, in the order of the sources. What other programs may have put into the environment is not in it,
    /// but for the model's credentials.
    #[must_use]
    pub fn all(&self) -> Vec<Found> {
        self.shared.state.borrow().found.clone()
    }

    /// Why the sources could not be read the last time; what is used is what was there before.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.shared.state.borrow().problem.clone()
    }

    /// The program that gives secrets, if one is configured.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.shared.command.as_ref().and_then(|command| command.words.first()).map(String::as_str)
    }

    /// Reads the sources again. Where one of them cannot be read, what was there stays, and the reason is
    /// kept as the [`problem`](Self::problem).
    ///
    /// # Errors
    /// That reason, without any secret.
    pub async fn reload(&self, ask: Ask) -> Result<Reloaded, String> {
        let _one_at_a_time = self.shared.asking.lock().await;
        let before = self.shared.state.borrow().clone();
        let (mut mistakes, mut remarks) = (Vec::new(), Vec::new());
        let mut found = read(&*self.shared.environment, &mut mistakes, &mut remarks);
        let mut problem = (!mistakes.is_empty()).then(|| ConfigErrors { mistakes }.to_string());
        if problem.is_some() {
            found =
                before.found.iter().filter(|found| !matches!(found.origin, Origin::Command { .. })).cloned().collect();
        }
        let given = before.found.iter().filter(|found| matches!(found.origin, Origin::Command { .. })).cloned();
        if let Some(command) = self.shared.command.as_ref().filter(|_| ask == Ask::Everything) {
            match command.run(&*self.shared.environment).await {
                Ok(more) => found.extend(more),
                Err(reason) => {
                    found.extend(given);
                    problem = Some(problem.map_or(reason.clone(), |first| format!("{first}; {reason}")));
                }
            }
        } else {
            found.extend(given);
        }
        let command_asked = before.command_asked || ask == Ask::Everything;
        let after = State { found, command_asked, problem: problem.clone() };
        let model_changed = model_text(&before.found) != model_text(&after.found);
        let changed = self.shared.state.send_if_modified(|state| {
            let changed = *state != after;
            *state = after;
            changed
        });
        match problem {
            None => Ok(Reloaded { changed, model_changed }),
            Some(problem) => Err(problem),
        }
    }

    /// Tells of every change from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes(self.shared.state.subscribe())
    }

    /// The folder in which the file of credentials is, or would be.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        private_folder(&*self.shared.environment)
    }
}

/// Tells when the secrets of the host change.
#[derive(Debug)]
pub struct Changes(latest::Receiver<State>);

impl Changes {
    /// Waits for a change of which it was not told yet. Can be dropped and called again.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody can change them any more.
            std::future::pending::<()>().await;
        }
    }
}

/// How much of the sources is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// All, the command too.
    Everything,
    /// What costs nothing; what the command gave stays.
    AllButTheCommand,
}

/// What came of reading the sources again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloaded {
    /// Something is other than before.
    pub changed: bool,
    /// What opens the model API is other than before.
    pub model_changed: bool,
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
            || (self.shared.command == other.shared.command
                && *self.shared.state.borrow() == *other.shared.state.borrow())
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("state", &*self.shared.state.borrow()).finish_non_exhaustive()
    }
}

/// The sources that cost nothing.
fn read(environment: &dyn Environment, mistakes: &mut Vec<Mistake>, remarks: &mut Vec<String>) -> Vec<Found> {
    let mut found = Vec::new();
    for kind in CredentialKind::ALL {
        match variable(environment, kind.variable()) {
            None => {}
            Some(Ok(secret)) => found.push(secret),
            Some(Err(mistake)) => mistakes.push(mistake),
        }
    }
    found.extend(systemd::read(environment, mistakes, remarks));
    found.extend(file::read(environment, mistakes, remarks));
    found
}

/// One variable of the environment.
fn variable(environment: &dyn Environment, name: &str) -> Option<Result<Found, Mistake>> {
    let text = zeroize::Zeroizing::new(environment.get(name)?.into_string().unwrap_or_else(|_| "\u{fffd}".to_owned()));
    let origin = Origin::Variable(name.to_owned());
    Some(match kind::checked(&text) {
        Ok(secret) => Ok(Found { name: name.to_owned(), secret, origin, since: None }),
        Err(problem) => Err(Mistake {
            place: crate::config::Place::Variable(name.to_owned()),
            key: Some(name.to_owned()),
            message: format!("{name} {problem}"),
        }),
    })
}

/// The model credential of the first source that has one; of several there, the first kind of [`CredentialKind::ALL`].
fn model_among(found: &[Found]) -> Option<Credential> {
    let kind_of = |found: &Found| CredentialKind::of_variable(&found.name);
    let first = found.iter().find(|found| kind_of(found).is_some())?;
    let same_source = |found: &&Found| std::mem::discriminant(&found.origin) == std::mem::discriminant(&first.origin);
    CredentialKind::ALL.into_iter().find_map(|kind| {
        let found = found.iter().filter(same_source).find(|found| kind_of(found) == Some(kind))?.clone();
        Some(Credential { kind, secret: found.secret, source: found.origin, since: found.since })
    })
}

fn model_text(found: &[Found]) -> Option<(CredentialKind, Secret)> {
    model_among(found).map(|credential| (credential.kind, credential.secret))
}

/// The longest that a command may be given.
pub(crate) const LONGEST_COMMAND: Duration = Duration::from_secs(5 * 60);
