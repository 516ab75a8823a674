//! The credential for the model: from the environment, or from a file that only its owner can read.
//!
//! The file lies outside the home, because homes are mounted into containers in parts: `~/.config/nanoclaw/credentials`,
//! lines of `KEY=value`.

use std::{
    collections::BTreeMap,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::{protocol::environment::ModelAuth, secret::Secret};

use super::{
    environment::Environment,
    mistake::{Mistake, Place, nearest},
    setting::Source,
};

/// How a credential is presented to the model API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key: `x-api-key`.
    ApiKey,
    /// A subscription's token (`claude setup-token`): `authorization: Bearer`.
    OAuthToken,
    /// Any other bearer token, for gateways and proxies: `authorization: Bearer`.
    AuthToken,
}

impl CredentialKind {
    const ALL: [Self; 3] = [Self::ApiKey, Self::OAuthToken, Self::AuthToken];

    /// The name under which it is configured.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::ApiKey => "ANTHROPIC_API_KEY",
            Self::OAuthToken => "CLAUDE_CODE_OAUTH_TOKEN",
            Self::AuthToken => "ANTHROPIC_AUTH_TOKEN",
        }
    }

    /// What an agent is told of it, to ask as the model API wants it with such a credential.
    #[must_use]
    pub fn model_auth(self) -> ModelAuth {
        match self {
            Self::OAuthToken => ModelAuth::OAuth,
            Self::ApiKey | Self::AuthToken => ModelAuth::ApiKey,
        }
    }
}

/// What opens the model API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// How it is presented.
    pub kind: CredentialKind,
    /// The credential itself.
    pub secret: Secret,
    /// Where it came from.
    pub source: Source,
}

/// The folder of what no container may ever see: `$XDG_CONFIG_HOME/nanoclaw`, else `~/.config/nanoclaw`; `None` when
/// neither is known.
#[must_use]
pub fn private_folder(environment: &dyn Environment) -> Option<PathBuf> {
    let configured = environment.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let parent = configured.or_else(|| environment.get("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(parent.join("nanoclaw"))
}

/// Finds the credential, and what stands under the names that are `wanted` besides. The environment wins over the file; of several, an API key wins, then a subscription's token.
pub(super) fn read(
    environment: &dyn Environment,
    wanted: &[String],
    mistakes: &mut Vec<Mistake>,
    remarks: &mut Vec<String>,
) -> (Option<Credential>, BTreeMap<String, Secret>) {
    let mut secrets = BTreeMap::new();
    let file = private_folder(environment).map(|folder| folder.join("credentials"));
    let from_file = file.map(|path| read_file(&path, wanted, &mut secrets, mistakes, remarks)).unwrap_or_default();
    for name in wanted {
        if let Some(text) = environment.get(name).and_then(|text| text.into_string().ok())
            && let Some(secret) = checked(name, &text, Place::Variable(name.clone()), mistakes)
        {
            secrets.insert(name.clone(), secret);
        }
    }
    let from_environment = CredentialKind::ALL.into_iter().find_map(|kind| {
        let place = Place::Variable(kind.variable().to_owned());
        let text = environment.get(kind.variable())?.into_string().unwrap_or_else(|_| "\u{fffd}\n".to_owned());
        let secret = checked(kind.variable(), &text, place, mistakes)?;
        Some(Credential { kind, secret, source: Source::Variable(kind.variable().to_owned()) })
    });
    let credential = from_environment.or_else(|| {
        let rank = |credential: &Credential| CredentialKind::ALL.iter().position(|kind| *kind == credential.kind);
        from_file.into_iter().min_by_key(rank)
    });
    (credential, secrets)
}

fn read_file(
    path: &Path,
    wanted: &[String],
    secrets: &mut BTreeMap<String, Secret>,
    mistakes: &mut Vec<Mistake>,
    remarks: &mut Vec<String>,
) -> Vec<Credential> {
    let text = match read_private(path) {
        Ok(Some(text)) => text,
        Ok(None) => return Vec::new(),
        Err(message) => {
            mistakes.push(Mistake { place: Place::File(path.to_owned()), key: None, message });
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = Place::Line { file: path.to_owned(), line: index + 1 };
        let line = line.trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            // The line is not repeated: it may be a credential that was pasted without its key.
            let message = "the line is not KEY=value".to_owned();
            mistakes.push(Mistake { place, key: None, message });
            continue;
        };
        let (key, value) = (key.trim(), unquoted(value.trim()));
        let kind = CredentialKind::ALL.into_iter().find(|kind| kind.variable() == key);
        let is_wanted = wanted.iter().any(|name| name == key);
        if kind.is_none() && !is_wanted {
            other_key(key, place, mistakes, remarks);
            continue;
        }
        let Some(secret) = checked(key, value, place, mistakes) else { continue };
        if is_wanted {
            secrets.insert(key.to_owned(), secret.clone());
        }
        if let Some(kind) = kind {
            let source = Source::File { file: path.to_owned(), line: index + 1 };
            found.push(Credential { kind, secret, source });
        }
    }
    found
}

/// The text of a file that its owner alone can read; `None` when there is none. `Err` says what is wrong with it.
fn read_private(path: &Path) -> Result<Option<String>, String> {
    // Not blocking, so that a FIFO in its place does not hold up the start.
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let mut file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    let metadata = file.metadata().map_err(|error| format!("it cannot be read: {error}"))?;
    if !metadata.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let me = rustix::process::geteuid().as_raw();
    if metadata.uid() != me && metadata.uid() != 0 {
        return Err(format!("it belongs to another user; run `chown {me} {}`", path.display()));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "others than its owner can read it (mode {:04o}); run `chmod 600 {}`",
            metadata.mode() & 0o7777,
            path.display()
        ));
    }
    let mut bytes = Vec::new();
    let longest = 64 * 1024;
    file.by_ref().take(longest + 1).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > longest {
        return Err("it is longer than 64 KiB, which no credentials file is".to_owned());
    }
    String::from_utf8(bytes).map(Some).map_err(|_| "it is not UTF-8".to_owned())
}

fn other_key(key: &str, place: Place, mistakes: &mut Vec<Mistake>, remarks: &mut Vec<String>) {
    let plain = !key.is_empty() && key.len() <= 64 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain {
        let message = "what stands before = is not a name of letters, digits and _".to_owned();
        mistakes.push(Mistake { place, key: None, message });
    } else if let Some(near) =
        nearest(key, CredentialKind::ALL.map(CredentialKind::variable)).filter(|_| !of_a_channel(key))
    {
        let message = format!("there is no credential {key}; did you mean {near}?");
        mistakes.push(Mistake { place, key: Some(key.to_owned()), message });
    } else {
        remarks.push(format!("{place}: {key} is not used by this version"));
    }
}

/// The names of channels' tokens in v1, which may lie in the same file.
fn of_a_channel(key: &str) -> bool {
    ["TELEGRAM_", "SLACK_", "DISCORD_", "ONECLI_"].iter().any(|prefix| key.starts_with(prefix))
}

/// One pair of quotes around a value is not part of it; a lone quote is (fault F72: values of one character).
fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}

/// A credential goes into a header, so it is one line of visible characters.
fn checked(key: &str, text: &str, place: Place, mistakes: &mut Vec<Mistake>) -> Option<Secret> {
    let text = text.trim();
    let problem = if text.is_empty() {
        "is empty"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "has a space, a control character or a letter in it that no credential has"
    } else {
        return Some(Secret::new(text));
    };
    mistakes.push(Mistake { place, key: Some(key.to_owned()), message: format!("{key} {problem}") });
    None
}
