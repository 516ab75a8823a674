//! Reads sections key by key from the file and the environment, and collects every mistake on the way.
//!
//! The file is walked by hand rather than through `serde`, because a derived reader stops at the first mistake.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    environment::Environment,
    mistake::{Mistake, Place, nearest},
    setting::{Setting, Source},
    value::{Raw, Rule},
};

/// A variable of NanoClaw v1 that means the same as a key.
#[derive(Debug, Clone, Copy)]
pub(super) enum Variable {
    /// Its value reads as the key's does.
    Same(&'static str),
    /// A bare number in it is milliseconds.
    Milliseconds(&'static str),
}

/// The configuration being read.
pub(super) struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
    root: &'a DeTable<'a>,
    environment: &'a dyn Environment,
    /// The folder at which relative paths start.
    base: &'a Path,
    known_sections: Vec<&'static str>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a Path,
        text: &'a str,
        root: &'a DeTable<'a>,
        environment: &'a dyn Environment,
        base: &'a Path,
    ) -> Self {
        Self { file, text, root, environment, base, known_sections: Vec::new(), mistakes: Vec::new() }
    }

    /// Opens the section `[name]`, which may be absent.
    pub(super) fn section(&mut self, name: &'static str) -> Section<'_, 'a> {
        self.known_sections.push(name);
        let table = self.table_of(self.root, name, name);
        Section { reader: self, name: name.to_owned(), table, variables: true, known: Vec::new() }
    }

    /// Opens the tables `[name.<key>]` for the keys that `parse` takes.
    pub(super) fn sections_of<K>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<K, String>,
        mut read: impl FnMut(K, &mut Section<'_, 'a>),
    ) {
        self.known_sections.push(name);
        let Some(tables) = self.table_of(self.root, name, name) else { return };
        for (key, _) in tables {
            let path = format!("{name}.{}", key.get_ref());
            let table = self.table_of(tables, key.get_ref(), &path);
            match parse(key.get_ref()) {
                Ok(parsed) => {
                    let mut section = Section { reader: self, name: path, table, variables: false, known: Vec::new() };
                    read(parsed, &mut section);
                    section.finish();
                }
                Err(problem) => self.mistake_at(key, path, problem),
            }
        }
    }

    /// Reports the sections that nobody asked for and hands out the mistakes.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        let known = std::mem::take(&mut self.known_sections);
        for (key, _) in self.root {
            let name = key.get_ref().as_ref();
            if !known.contains(&name) {
                let problem = match nearest(name, known.iter().copied()) {
                    _ if looks_like_a_credential(name) && name != "credential" => format!(
                        "there is no section {name}, and credentials do not belong here; `nanoclaw auth set` stores one in \
                         ~/.config/nanoclaw/credentials"
                    ),
                    Some(near) => format!("there is no section {name}; did you mean [{near}]?"),
                    None => format!("there is no section {name}; there are {}", list(&known)),
                };
                self.mistake_at(key, name.to_owned(), problem);
            }
        }
        self.mistakes
    }

    pub(super) fn environment(&self) -> &'a dyn Environment {
        self.environment
    }

    pub(super) fn base(&self) -> PathBuf {
        self.base.to_owned()
    }

    fn table_of(&mut self, parent: &'a DeTable<'a>, key: &str, path: &str) -> Option<&'a DeTable<'a>> {
        let value = entry(parent, key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(table),
            _ => {
                let right = format!("{path} must be a table: write [{path}] on a line of its own, its keys below");
                self.mistake_at(value, path.to_owned(), right);
                None
            }
        }
    }

    fn mistake_at<T>(&mut self, at: &Spanned<T>, key: String, message: String) {
        let line = line_of(self.text, at.span().start);
        self.mistakes.push(Mistake {
            place: Place::Line { file: self.file.to_owned(), line },
            key: Some(key),
            message,
        });
    }
}

/// One section being read.
pub(super) struct Section<'r, 'a> {
    reader: &'r mut Reader<'a>,
    name: String,
    table: Option<&'a DeTable<'a>>,
    /// Whether its keys can be set by environment variables.
    variables: bool,
    known: Vec<&'static str>,
}

impl<'a> Section<'_, 'a> {
    /// Reads `key`; `default` when nobody set it, or when it cannot be understood, which is then among the mistakes.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        v1: Option<Variable>,
        default: T,
        rule: impl Rule<T>,
    ) -> Setting<T> {
        self.lookup(key, v1, rule).unwrap_or_else(|| Setting::default_to(default))
    }

    /// Reads `key`; `None` when nobody set it. The environment wins over the file, our own variable over v1's; all of
    /// them are checked.
    pub(super) fn lookup<T>(
        &mut self,
        key: &'static str,
        v1: Option<Variable>,
        rule: impl Rule<T>,
    ) -> Option<Setting<T>> {
        self.known.push(key);
        let file = self.in_file(key, &rule);
        if !self.variables {
            return file;
        }
        let ours = format!("NANOCLAW_{}_{}", self.name.to_uppercase(), key.to_uppercase());
        let theirs = v1.and_then(|variable| self.in_variable(key, variable, &rule));
        let ours = self.in_environment(key, &ours, &rule, false);
        ours.or(theirs).or(file)
    }

    /// Reads `key`, which has to be there.
    pub(super) fn need<T>(&mut self, key: &'static str, rule: impl Rule<T>) -> Option<T> {
        if let Some(table) = self.table
            && entry(table, key).is_none()
        {
            self.known.push(key);
            let at = table.iter().next().map_or(0, |(first, _)| first.span().start);
            let place = Place::Line { file: self.reader.file.to_owned(), line: line_of(self.reader.text, at) };
            let message = format!("{} has no {key}, which it needs", self.name);
            self.reader.mistakes.push(Mistake { place, key: Some(format!("{}.{key}", self.name)), message });
            return None;
        }
        self.lookup(key, None, rule).map(|setting| setting.value)
    }

    /// Opens each of the tables `[[section.key]]`.
    pub(super) fn tables(&mut self, key: &'static str, mut read: impl FnMut(&mut Section<'_, 'a>)) {
        self.known.push(key);
        let Some(value) = self.table.and_then(|table| entry(table, key)) else { return };
        let path = format!("{}.{key}", self.name);
        let DeValue::Array(items) = value.get_ref() else {
            let right =
                format!("{path} must be tables: write [[{path}]] on a line of its own for each, its keys below");
            self.reader.mistake_at(value, path, right);
            return;
        };
        for item in items.iter() {
            let DeValue::Table(table) = item.get_ref() else {
                let right = format!("{path} must be tables: write [[{path}]] on a line of its own for each");
                self.reader.mistake_at(item, path.clone(), right);
                continue;
            };
            let reader = &mut *self.reader;
            let mut section =
                Section { reader, name: path.clone(), table: Some(table), variables: false, known: Vec::new() };
            read(&mut section);
            section.finish();
        }
    }

    /// The reader's base folder and the user's home, for paths.
    pub(super) fn path_bases(&self) -> (PathBuf, Option<PathBuf>) {
        (self.reader.base(), self.reader.environment().get("HOME").map(PathBuf::from))
    }

    /// The environment that is read.
    pub(super) fn environment(&self) -> &'a dyn Environment {
        self.reader.environment()
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table {
            let word = key.get_ref().as_ref();
            if self.known.contains(&word) {
                continue;
            }
            let path = format!("{}.{word}", self.name);
            let problem = if looks_like_a_credential(word) {
                format!(
                    "there is no key {path}, and credentials do not belong here; `nanoclaw auth set` stores one in \
                     ~/.config/nanoclaw/credentials"
                )
            } else if let Some(near) = nearest(word, self.known.iter().copied()) {
                format!("there is no key {path}; did you mean {near}?")
            } else {
                format!("there is no key {path}; [{}] has {}", self.name, list(&self.known))
            };
            self.reader.mistake_at(key, path, problem);
        }
    }

    fn in_file<T>(&mut self, key: &'static str, rule: &impl Rule<T>) -> Option<Setting<T>> {
        let value = entry(self.table?, key)?;
        let raw = Raw::Toml(value.get_ref());
        let path = format!("{}.{key}", self.name);
        match rule(&raw) {
            Ok(understood) => {
                let line = line_of(self.reader.text, value.span().start);
                Some(Setting { value: understood, source: Source::File { file: self.reader.file.to_owned(), line } })
            }
            Err(right) => {
                let message = format!("{path} is {}; it must be {right}", raw.shown());
                self.reader.mistake_at(value, path, message);
                None
            }
        }
    }

    fn in_variable<T>(&mut self, key: &str, variable: Variable, rule: &impl Rule<T>) -> Option<Setting<T>> {
        match variable {
            Variable::Same(name) => self.in_environment(key, name, rule, false),
            Variable::Milliseconds(name) => self.in_environment(key, name, rule, true),
        }
    }

    fn in_environment<T>(
        &mut self,
        key: &str,
        name: &str,
        rule: &impl Rule<T>,
        milliseconds: bool,
    ) -> Option<Setting<T>> {
        let value = self.reader.environment.get(name)?;
        let understood = match value.to_str() {
            None => Err("it is not UTF-8".to_owned()),
            Some(text) => {
                let bare_number = milliseconds && text.trim().bytes().all(|b| b.is_ascii_digit());
                let meant = if bare_number { Cow::Owned(format!("{}ms", text.trim())) } else { Cow::Borrowed(text) };
                rule(&Raw::Variable(meant)).map_err(|right| {
                    let unit = if milliseconds { ", or a bare number of milliseconds" } else { "" };
                    format!("it is {}; it must be {right}{unit}", Raw::Variable(text.into()).shown())
                })
            }
        };
        match understood {
            Ok(value) => Some(Setting { value, source: Source::Variable(name.to_owned()) }),
            Err(problem) => {
                let key = format!("{}.{key}", self.name);
                let message = format!("sets {key}, but {problem}");
                self.reader.mistakes.push(Mistake { place: Place::Variable(name.to_owned()), key: Some(key), message });
                None
            }
        }
    }
}

/// The line of a byte offset; lines count from 1.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn entry<'t>(table: &'t DeTable<'t>, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
    table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
}

fn list(words: &[&str]) -> String {
    words.join(", ")
}

fn looks_like_a_credential(key: &str) -> bool {
    let key = key.to_lowercase();
    ["api_key", "apikey", "token", "secret", "password", "credential"].iter().any(|word| key.contains(word))
}
