//! Lines that this program puts into `nanoclaw.toml`, so that everything else in it stays as somebody wrote it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Config, environment_of};
use crate::operator_file;

/// A line of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The section, such as `limits` or `groups.family`.
    pub section: String,
    /// The key in it.
    pub key: &'static str,
    /// The value, as TOML has it.
    pub value: String,
}

impl Line {
    /// The line `key = "text"` of this section.
    #[must_use]
    pub fn of_text(section: &str, key: &'static str, text: &str) -> Self {
        Self { section: section.to_owned(), key, value: toml::Value::String(text.to_owned()).to_string() }
    }

    /// Its name, as people write it: `limits.idle_timeout`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// The configuration that has this line and no other.
    pub(crate) fn alone(&self) -> Result<Config, String> {
        let text = with_line("", self, IfSet::Stays);
        let parsed = Config::parse(Path::new("nanoclaw.toml"), &text, Path::new("/"), &environment_of([]));
        parsed.map_err(|errors| {
            let messages: Vec<&str> = errors.mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
            messages.join("; ")
        })
    }
}

/// What becomes of a key that is set already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfSet {
    /// It stays as it is.
    Stays,
    /// It gets the new value.
    Changes,
}

/// The lines could not be put into the file, which is as it was.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The system refused.
    #[error("{path} cannot be changed")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It would not be what is meant.
    #[error("these lines cannot be put into {path}: {lines}")]
    Misfit {
        /// The file.
        path: PathBuf,
        /// The lines, each `section.key = value`.
        lines: String,
    },
}

/// Puts the lines into `file`, which is made when it is not there.
///
/// # Errors
/// [`LinesError`]; the file is as it was.
pub(crate) fn put(file: &Path, lines: &[Line], if_set: IfSet) -> Result<(), LinesError> {
    // What a link stands for is written, not the link.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let failed = |source| LinesError::File { path: file.clone(), source };
    let text = match fs::read_to_string(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other.map_err(failed)?,
    };
    let missing: Vec<Line> = lines.iter().filter(|line| with_line(&text, line, if_set) != text).cloned().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(changed) = with_lines(&text, &missing, if_set) else {
        let lines: Vec<String> = missing.iter().map(|line| format!("{} = {}", line.name(), line.value)).collect();
        return Err(LinesError::Misfit { path: file, lines: lines.join(", ") });
    };
    let mode = fs::metadata(&file).map_or(0o644, |found| found.permissions().mode() & 0o777);
    operator_file::replace(&file, changed.as_bytes(), mode).map_err(failed)
}

/// `text` with the line in its section: in place of the same key that is commented out, else at the section's beginning; with the section at the
/// end where there is none.
fn with_line(text: &str, line: &Line, if_set: IfSet) -> String {
    let set = format!("{} = {}", line.key, line.value);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let header = format!("[{}]", line.section);
    let Some(begin) = lines.iter().position(|line| line.split('#').next().unwrap_or_default().trim() == header) else {
        if lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(String::new());
        }
        lines.extend([header, set]);
        return joined(&lines);
    };
    let is_key = |line: &str, key: &str| {
        line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
    };
    let within = begin + 1
        ..lines.iter().skip(begin + 1).position(|line| line.starts_with('[')).map_or(lines.len(), |at| begin + 1 + at);
    if let Some(at) = lines[within.clone()].iter().position(|found| is_key(found, line.key)) {
        if if_set == IfSet::Stays {
            return text.to_owned();
        }
        lines[begin + 1 + at] = set;
        return joined(&lines);
    }
    let commented = format!("#{}", line.key);
    match lines[within].iter().position(|found| is_key(found, &commented)) {
        Some(at) => lines[begin + 1 + at] = set,
        None => lines.insert(begin + 1, set),
    }
    joined(&lines)
}

fn joined(lines: &[String]) -> String {
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// `text` with all these lines; `None` when that would not be a configuration in which each of them holds.
pub(crate) fn with_lines(text: &str, lines: &[Line], if_set: IfSet) -> Option<String> {
    let changed = lines.iter().fold(text.to_owned(), |text, line| with_line(&text, line, if_set));
    let table: toml::Table = changed.parse().ok()?;
    let all_hold = lines.iter().all(|line| {
        let mut at = Some(&table);
        for part in line.section.split('.') {
            at = at.and_then(|table| table.get(part)).and_then(toml::Value::as_table);
        }
        let wanted = format!("v = {}", line.value).parse::<toml::Table>().ok();
        let wanted = wanted.as_ref().and_then(|table| table.get("v"));
        wanted.is_some() && at.and_then(|table| table.get(line.key)) == wanted
    });
    all_hold.then_some(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(section: &str, key: &'static str, value: &str) -> Line {
        Line { section: section.to_owned(), key, value: value.to_owned() }
    }

    #[test]
    fn a_line_takes_the_place_of_the_same_key_that_is_commented_out() {
        let text = "[limits]\n# How many.\n#pids = 3\n# How long.\n#idle_timeout = \"30m\"\n\n[time]\n#zone = \"x\"\n";
        assert_eq!(
            with_line(text, &line("limits", "idle_timeout", "\"5m\""), IfSet::Stays),
            "[limits]\n# How many.\n#pids = 3\n# How long.\nidle_timeout = \"5m\"\n\n[time]\n#zone = \"x\"\n"
        );
    }

    #[test]
    fn a_section_that_is_missing_is_added_and_a_key_that_is_set_stays() {
        assert_eq!(
            with_line("a = 1", &line("time", "zone", "\"UTC\""), IfSet::Stays),
            "a = 1\n\n[time]\nzone = \"UTC\"\n"
        );
        assert_eq!(
            with_line("[time]\nzone = \"x\"\n", &line("time", "zone", "\"UTC\""), IfSet::Stays),
            "[time]\nzone = \"x\"\n"
        );
        assert_eq!(
            with_line("[time] # when\n\n[log]", &line("time", "zone", "1"), IfSet::Stays),
            "[time] # when\nzone = 1\n\n[log]\n"
        );
        assert_eq!(with_lines("[time]\nzone = \"x\"\n", &[line("time", "zone", "\"UTC\"")], IfSet::Stays), None);
    }

    #[test]
    fn a_key_that_is_set_gets_a_new_value_where_that_is_meant_and_what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nanoclaw.toml");
        let name = |name| [Line::of_text("assistant", "name", name)];
        put(&file, &name("Andy"), IfSet::Stays).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        put(&file, &name("Bea"), IfSet::Stays).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "[assistant]\nname = \"Andy\"\n");
        put(&file, &name("B \"e\" a"), IfSet::Changes).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(text.parse::<toml::Table>().unwrap()["assistant"]["name"].as_str(), Some("B \"e\" a"));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // A value of several lines is not one that a line can take the place of.
        fs::write(&file, "[assistant]\nname = \"\"\"\nAndy\"\"\"\n").unwrap();
        let refused = put(&file, &name("Bea"), IfSet::Changes).unwrap_err();
        assert!(refused.to_string().contains("assistant.name = \"Bea\""), "{refused}");
    }
}
