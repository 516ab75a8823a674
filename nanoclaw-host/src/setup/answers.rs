//! What was answered, and by what: a flag, the environment, a file, or somebody at a terminal.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use nanoclaw_core::secret::Secret;
use toml::de::{DeTable, DeValue};

use super::question::Key;
use crate::config::{Environment, nearest};

/// An answer. What is secret in it is shown nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A word or a line.
    Word(String),
    /// A secret.
    Hidden(Secret),
}

/// Who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// The environment variable of the key.
    Variable,
    /// A line of a file; lines count from 1. The path `-` is standard input.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// Somebody who was asked.
    Person,
    /// Nobody: it is what is taken then.
    Default,
}

/// An answer that is not right, or a file of answers that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is: a flag, a variable, or a line of a file.
    pub place: String,
    /// What is wrong and what would be right; nothing of a secret.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// The answers, one a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answers(BTreeMap<Key, (Given, Origin)>);

impl Answers {
    /// Puts all sources together: a flag counts before a variable, that before the file. Adds what is wrong to `mistakes`.
    #[must_use]
    pub fn gather(
        flags: &[(Key, &str)],
        environment: &dyn Environment,
        file: Option<(&Path, &str)>,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let mut answers = Self::default();
        if let Some((path, text)) = file {
            answers.read_file(path, text, mistakes);
        }
        for key in Key::all() {
            let Some(text) = environment.get(&key.variable()) else { continue };
            let place = format!("environment variable {}", key.variable());
            match text.to_str() {
                Some(text) => answers.take(key, text, Origin::Variable, place, mistakes),
                None => mistakes.push(Mistake { place, message: "it is not UTF-8".to_owned() }),
            }
        }
        for (key, text) in flags {
            answers.take(*key, text, Origin::Flag, key.flag().unwrap_or_default(), mistakes);
        }
        answers
    }

    fn take(&mut self, key: Key, text: &str, origin: Origin, place: String, mistakes: &mut Vec<Mistake>) {
        match key.understand(text) {
            Ok(given) => {
                self.0.insert(key, (given, origin));
            }
            Err(right) => mistakes.push(Mistake { place, message: format!("{} {right}", key.name()) }),
        }
    }

    fn read_file(&mut self, path: &Path, text: &str, mistakes: &mut Vec<Mistake>) {
        let line = |at: usize| text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1;
        let shown = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
        let place = |at: usize| format!("{shown}:{}", line(at));
        let (root, syntax) = DeTable::parse_recoverable(text);
        for error in &syntax {
            // The parser's own display shows the line, which may have a secret on it; its message does not.
            let message = format!("not TOML: {}", error.message().replace('\n', "; "));
            mistakes.push(Mistake { place: place(error.span().map_or(0, |span| span.start)), message });
        }
        if !syntax.is_empty() {
            return;
        }
        let mut of_file = Vec::new();
        for (name, value) in root.get_ref() {
            let at = name.span().start;
            let key = Key::all().find(|key| key.name() == name.get_ref().as_ref());
            let wrong = match (key, value.get_ref()) {
                (Some(key), DeValue::String(text)) => {
                    let origin = Origin::File { file: path.to_owned(), line: line(at) };
                    self.take(key, text, origin, place(at), &mut of_file);
                    continue;
                }
                // A number is as good: TELEGRAM_API_ID is one.
                (Some(key), DeValue::Integer(number)) => {
                    let origin = Origin::File { file: path.to_owned(), line: line(at) };
                    self.take(key, number.as_str(), origin, place(at), &mut of_file);
                    continue;
                }
                (Some(key), _) => format!("{} must be a text", key.name()),
                (None, _) => {
                    let names: Vec<String> = Key::all().map(Key::name).collect();
                    match nearest(name.get_ref(), names.iter().map(String::as_str)) {
                        Some(near) => format!("there is no answer {}; did you mean {near}?", name.get_ref()),
                        None => format!("there is no answer {}; there are {}", name.get_ref(), names.join(", ")),
                    }
                }
            };
            of_file.push(Mistake { place: place(at), message: wrong });
        }
        let number = |mistake: &Mistake| mistake.place.rsplit(':').next().and_then(|line| line.parse::<usize>().ok());
        of_file.sort_by_key(number);
        mistakes.append(&mut of_file);
    }

    /// The word that answers `key`.
    #[must_use]
    pub fn word(&self, key: Key) -> Option<&str> {
        match &self.0.get(&key)?.0 {
            Given::Word(word) => Some(word),
            Given::Hidden(_) => None,
        }
    }

    /// The secret of this name.
    #[must_use]
    pub fn secret(&self, name: &'static str) -> Option<&Secret> {
        match &self.0.get(&Key::Secret(name))?.0 {
            Given::Hidden(secret) => Some(secret),
            Given::Word(_) => None,
        }
    }

    /// The word that somebody meant to answer `key`, be it by a file; not one that was taken for want of any.
    #[must_use]
    pub fn meant(&self, key: Key) -> Option<&str> {
        let (_, origin) = self.0.get(&key)?;
        if *origin == Origin::Default { None } else { self.word(key) }
    }

    /// Whether any of these were answered by a file.
    #[must_use]
    pub fn has_secret_of_a_file(&self) -> bool {
        self.0.iter().any(|(key, (_, origin))| key.is_secret() && matches!(origin, Origin::File { .. }))
    }

    /// Takes an answer, in place of the one before.
    pub fn give(&mut self, key: Key, given: Given, origin: Origin) {
        self.0.insert(key, (given, origin));
    }

    /// Forgets the answer to `key`.
    pub fn forget(&mut self, key: Key) {
        self.0.remove(&key);
    }
}
