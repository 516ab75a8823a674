//! Patterns of names that are not shown: whole parts of a path, never pieces of them, so that `.ssh` blocks the folder of that
//! name and leaves `my.sshow` alone.

use std::{fmt, path::Path};

/// What is never mounted: folders and files that programs keep credentials in. The list of NanoClaw v1, completed.
pub const BLOCKED: &[&str] = &[
    ".ssh",
    ".gnupg",
    ".gpg",
    ".aws",
    ".azure",
    ".gcloud",
    ".config/gcloud",
    ".kube",
    ".docker",
    ".config/containers",
    ".config/nanoclaw",
    ".config/gh",
    ".local/share/keyrings",
    ".password-store",
    ".vault-token",
    ".terraform.d",
    ".mozilla",
    ".thunderbird",
    ".config/google-chrome",
    ".config/chromium",
    "private_key",
    ".secret",
    ".secrets",
    "credentials",
];

/// What looks like a secret by its name, also inside of something that is mounted.
pub const SECRETS: &[&str] = &[
    ".env",
    ".env.*",
    ".git-credentials",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".pgpass",
    ".my.cnf",
    ".htpasswd",
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ecdsa_sk",
    "id_ed25519",
    "id_ed25519_sk",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "*-service-account.json",
    "*service_account*.json",
    ".docker/config.json",
    ".kube/config",
    ".aws/credentials",
    "kubeconfig",
    ".cargo/credentials",
    ".cargo/credentials.toml",
];

/// Names of files that look like secrets and are there to be read: samples for those who make the real one.
const SAMPLES: [&str; 4] = [".env.example", ".env.sample", ".env.template", ".env.dist"];

/// One or more parts of a path, one after the other; `*` and `?` stand for any letters, or one, of a part. Letters are the
/// same in lower and upper case, because on some file systems they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    written: String,
    parts: Vec<String>,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is no pattern: it must be a name such as \".ssh\" or \"*.pem\", or names with / between them")]
pub struct BadPattern {
    /// As it was written.
    pub pattern: String,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`BadPattern`] for one that is empty, has an empty part, or is made of wildcards alone and would block everything.
    pub fn new(written: &str) -> Result<Self, BadPattern> {
        let parts: Vec<String> = written.trim_matches('/').split('/').map(str::to_lowercase).collect();
        let plain = |part: &String| !part.is_empty() && part != "." && part != ".." && part.len() <= 255;
        let says_something = parts.iter().any(|part| part.chars().any(|c| c != '*' && c != '?'));
        if !parts.iter().all(plain) || !says_something {
            return Err(BadPattern { pattern: written.to_owned() });
        }
        Ok(Self { written: written.to_owned(), parts })
    }

    /// The part of `path` that it fits, as it stands there; `None`: none.
    #[must_use]
    pub fn part_of(&self, path: &Path) -> Option<String> {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let found = parts.windows(self.parts.len()).find(|window| self.fits_all(window))?;
        Some(found.join("/"))
    }

    /// Whether it fits the end of `path`: the file or folder itself, not what it lies in.
    #[must_use]
    pub fn fits_end(&self, path: &Path) -> bool {
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        parts.len().checked_sub(self.parts.len()).is_some_and(|from| self.fits_all(&parts[from..]))
    }

    fn fits_all(&self, parts: &[String]) -> bool {
        self.parts.iter().zip(parts).all(|(pattern, part)| fits(pattern.as_bytes(), part.to_lowercase().as_bytes()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// The patterns that are always blocked: [`BLOCKED`] and [`SECRETS`].
#[must_use]
pub fn blocked() -> Vec<Pattern> {
    BLOCKED.iter().chain(SECRETS).map(|text| known(text)).collect()
}

/// Whether `path` looks like a secret or a folder of them by its name, and is not a sample of one.
pub fn secrets() -> impl Fn(&Path) -> bool {
    let patterns = blocked();
    move |path| {
        let sample = path.file_name().is_some_and(|name| SAMPLES.iter().any(|sample| name == *sample));
        !sample && patterns.iter().any(|pattern| pattern.fits_end(path))
    }
}

fn known(text: &str) -> Pattern {
    Pattern::new(text).expect("every pattern of ours is tested to be one")
}

/// Whether `text` is what `pattern` says. In time of the product of their lengths, whatever they are.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    // Where the last star was, and how much of the text it is taken to stand for.
    let mut star: Option<(usize, usize)> = None;
    while here < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, here));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[here] => {
                at += 1;
                here += 1;
            }
            _ => match &mut star {
                Some((starred, taken)) => {
                    *taken += 1;
                    (at, here) = (*starred + 1, *taken);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}
