//! Finds files by their names and lines by what is in them, with ripgrep's own libraries.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use globset::{GlobBuilder, GlobMatcher};
use grep_regex::RegexMatcherBuilder;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkMatch};
use ignore::{Walk, WalkBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Outcome, Tool, Workplace, elsewhere, limits::TEXT_BYTES};
use crate::provider::native::conversation::Seen;

const FILES: usize = 200;
const LINES: usize = 500;
const LINE_BYTES: usize = 500;
const CONTEXT: usize = 20;

pub(super) struct Glob;

#[derive(Deserialize)]
pub(super) struct GlobInput {
    pattern: String,
    #[serde(default)]
    path: Option<String>,
}

impl Tool for Glob {
    const NAME: &'static str = "Glob";
    const DESCRIPTION: &'static str = "Finds files by a pattern such as `**/*.md` or `src/**/*.{rs,toml}`: their paths, the \
        one changed last first, 200 at most. Hidden files are found, `.git` is not looked into, links are not followed. \
        Folders are not told.";
    type Input = GlobInput;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The pattern, matched against the path below `path`. Without `/` it is matched against the name alone."},
                "path": {"type": "string", "description": "The folder to look in; default: the working folder."},
            },
            "required": ["pattern"],
        })
    }

    async fn call(workplace: &Workplace, input: GlobInput) -> Outcome {
        let root = workplace.path(input.path.as_deref().unwrap_or(".")).await;
        elsewhere(move || {
            let pattern = pattern(&input.pattern)?;
            let mut found: Vec<(SystemTime, PathBuf)> = files(&root, false)?
                .filter(|path| fits(&pattern, &root, path))
                .map(|path| (changed(&path), path))
                .collect();
            found.sort_by(|one, other| other.cmp(one));
            let count = found.len();
            let mut text = String::new();
            for (_, path) in found.iter().take(FILES) {
                let _ = writeln!(text, "{}", path.display());
            }
            if count > FILES {
                let _ = writeln!(text, "[{} more; ask for less]", count - FILES);
            }
            Ok(vec![Seen::text(if text.is_empty() { "No file is found.".to_owned() } else { text })])
        })
        .await
    }
}

pub(super) struct Grep;

#[derive(Deserialize)]
pub(super) struct GrepInput {
    pattern: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    glob: Option<String>,
    #[serde(default)]
    output_mode: Mode,
    #[serde(default)]
    ignore_case: bool,
    #[serde(default)]
    multiline: bool,
    #[serde(default)]
    context: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Content,
    FilesWithMatches,
    Count,
}

impl Tool for Grep {
    const NAME: &'static str = "Grep";
    const DESCRIPTION: &'static str = "Finds lines by a regular expression (Rust's syntax, as ripgrep has it) in a file, or \
        in all files below a folder: `path:number:line`. What .gitignore names, `.git` and files that are no text are left \
        out, hidden files are not, links are not followed. At most 500 lines are told, each cut at 500 bytes.";
    type Input = GrepInput;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "The regular expression."},
                "path": {"type": "string", "description": "The file or folder to look in; default: the working folder."},
                "glob": {"type": "string", "description": "Only files whose path fits this, as in Glob."},
                "output_mode": {"type": "string", "enum": ["content", "files_with_matches", "count"], "description":
                    "What to tell: the lines (default), only the files, or how many lines in each file."},
                "ignore_case": {"type": "boolean", "description": "Whether large and small letters are the same."},
                "multiline": {"type": "boolean", "description": "Whether a match may go over several lines."},
                "context": {"type": "integer", "description": "How many lines to tell before and after each, at most 20."},
            },
            "required": ["pattern"],
        })
    }

    async fn call(workplace: &Workplace, input: GrepInput) -> Outcome {
        let root = workplace.path(input.path.as_deref().unwrap_or(".")).await;
        elsewhere(move || grep(&root, &input)).await
    }
}

fn grep(root: &Path, input: &GrepInput) -> Outcome {
    let matcher = RegexMatcherBuilder::new()
        .case_insensitive(input.ignore_case)
        .multi_line(true)
        .dot_matches_new_line(input.multiline)
        .build(&input.pattern)
        .map_err(|error| format!("the pattern cannot be used: {error}"))?;
    let glob = input.glob.as_deref().map(pattern).transpose()?;
    let context = if input.output_mode == Mode::Content { input.context.min(CONTEXT) } else { 0 };
    let mut searcher: Searcher = SearcherBuilder::new()
        .line_number(true)
        .multi_line(input.multiline)
        .before_context(context)
        .after_context(context)
        .binary_detection(BinaryDetection::quit(0))
        .build();
    let mut paths: Vec<PathBuf> = if root.is_file() {
        vec![root.to_owned()]
    } else {
        files(root, true)?.filter(|path| glob.as_ref().is_none_or(|glob| fits(glob, root, path))).collect()
    };
    paths.sort();
    let mut found =
        Found { mode: input.output_mode, text: String::new(), told: 0, more: false, path: String::new(), count: 0 };
    for path in paths {
        found.path = path.display().to_string();
        found.count = 0;
        // A file that cannot be read, or went meanwhile, has nothing to tell.
        let _ = searcher.search_path(&matcher, &path, &mut found);
        found.end_of_file();
        if found.more {
            break;
        }
    }
    if found.more {
        found.text.push_str("[There is more; ask for less]\n");
    }
    Ok(vec![Seen::text(if found.text.is_empty() { "Nothing is found.".to_owned() } else { found.text })])
}

/// What is told so far.
struct Found {
    mode: Mode,
    text: String,
    told: usize,
    more: bool,
    path: String,
    count: u64,
}

impl Found {
    fn line(&mut self, number: Option<u64>, bytes: &[u8], mark: char) {
        for (line, number) in bytes.split_inclusive(|byte| *byte == b'\n').zip(number.unwrap_or(0)..) {
            if self.told == LINES || self.text.len() > TEXT_BYTES {
                self.more = true;
                return;
            }
            let line = String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]);
            let _ = writeln!(self.text, "{}{mark}{number}{mark}{}", self.path, line.trim_end_matches(['\n', '\r']));
            self.told += 1;
        }
    }

    fn end_of_file(&mut self) {
        if self.count == 0 || self.mode == Mode::Content {
            return;
        }
        if self.told == LINES {
            self.more = true;
            return;
        }
        let _ = match self.mode {
            Mode::Count => writeln!(self.text, "{}:{}", self.path, self.count),
            _ => writeln!(self.text, "{}", self.path),
        };
        self.told += 1;
    }
}

impl Sink for Found {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        self.count += 1;
        match self.mode {
            Mode::Content => self.line(found.line_number(), found.bytes(), ':'),
            Mode::FilesWithMatches => return Ok(false),
            Mode::Count => {}
        }
        Ok(!self.more)
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> Result<bool, Self::Error> {
        self.line(context.line_number(), context.bytes(), '-');
        Ok(!self.more)
    }

    fn context_break(&mut self, _: &Searcher) -> Result<bool, Self::Error> {
        self.text.push_str("--\n");
        Ok(true)
    }
}

fn pattern(text: &str) -> Result<GlobMatcher, String> {
    let text = text.strip_prefix("./").unwrap_or(text);
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    Ok(glob.map_err(|error| format!("the pattern cannot be used: {error}"))?.compile_matcher())
}

fn fits(pattern: &GlobMatcher, root: &Path, path: &Path) -> bool {
    if pattern.glob().glob().contains('/') {
        pattern.is_match(path.strip_prefix(root).unwrap_or(path)) || pattern.is_match(path)
    } else {
        path.file_name().is_some_and(|name| pattern.is_match(name))
    }
}

/// The regular files below `root`.
fn files(root: &Path, ignored_are_left_out: bool) -> Result<impl Iterator<Item = PathBuf> + use<>, String> {
    if !root.exists() {
        return Err(format!("there is no {}", root.display()));
    }
    let walk: Walk = WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(ignored_are_left_out)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    let is_file = |entry: &ignore::DirEntry| entry.file_type().is_some_and(|kind| kind.is_file());
    Ok(walk.flatten().filter(move |entry| is_file(entry)).map(ignore::DirEntry::into_path))
}

fn changed(path: &Path) -> SystemTime {
    path.symlink_metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::place::Place, *};

    /// A place with these files, each changed after the one before it.
    fn place_with(files: &[(&str, &str)]) -> Place {
        let place = Place::new();
        for ((name, text), second) in files.iter().zip(1_u64..) {
            let path = place.folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let changed = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            fs::File::options().append(true).open(&path).unwrap().set_modified(changed).unwrap();
        }
        place
    }

    /// What a tool tells, without the folder's name.
    async fn call<T: Tool>(place: &Place, input: Value) -> Result<String, String> {
        let text = place.call::<T>(input).await?;
        Ok(text.replace(&format!("{}/", place.folder.path().display()), "").replace("./", ""))
    }

    #[tokio::test]
    async fn files_are_found_by_pattern_the_latest_first() {
        let place = place_with(&[
            ("a.md", ""),
            ("sub/b.md", ""),
            ("sub/deep/c.md", ""),
            (".hidden/d.md", ""),
            (".git/e.md", ""),
            ("sub/f.txt", ""),
        ]);
        std::os::unix::fs::symlink("a.md", place.folder.path().join("link.md")).unwrap();
        let glob = |pattern: &str| call::<Glob>(&place, json!({"pattern": pattern}));
        assert_eq!(glob("**/*.md").await.unwrap(), ".hidden/d.md\nsub/deep/c.md\nsub/b.md\na.md\n");
        assert_eq!(glob("*.{md,txt}").await.unwrap(), "sub/f.txt\n.hidden/d.md\nsub/deep/c.md\nsub/b.md\na.md\n");
        assert_eq!(glob("sub/*.md").await.unwrap(), "sub/b.md\n");
        assert_eq!(glob("*.rs").await.unwrap(), "No file is found.");
        assert!(glob("{").await.unwrap_err().contains("cannot be used"));
        assert!(call::<Glob>(&place, json!({"pattern": "*", "path": "no"})).await.unwrap_err().contains("there is no"));
    }

    #[tokio::test]
    async fn lines_are_found_with_their_places_and_what_is_around_them() {
        let place = place_with(&[
            (".gitignore", "ignored\n"),
            ("a.txt", "one\nTwo\nthree\n"),
            ("b/c.rs", "two\n"),
            ("ignored", "two\n"),
            ("binary", "two\0two\n"),
        ]);
        let grep = |input: Value| call::<Grep>(&place, input);
        assert_eq!(grep(json!({"pattern": "tw."})).await.unwrap(), "b/c.rs:1:two\n");
        assert_eq!(
            grep(json!({"pattern": "^two$", "ignore_case": true})).await.unwrap(),
            "a.txt:2:Two\nb/c.rs:1:two\n"
        );
        let around = grep(json!({"pattern": "Two", "path": "a.txt", "context": 1})).await.unwrap();
        assert_eq!(around, "a.txt-1-one\na.txt:2:Two\na.txt-3-three\n");
        let only = json!({"pattern": "t", "glob": "*.txt", "output_mode": "count"});
        assert_eq!(grep(only).await.unwrap(), "a.txt:1\n");
        let names = json!({"pattern": "t", "output_mode": "files_with_matches"});
        assert_eq!(grep(names).await.unwrap(), "a.txt\nb/c.rs\n");
        let over = json!({"pattern": "one.Two", "multiline": true});
        assert_eq!(grep(over).await.unwrap(), "a.txt:1:one\na.txt:2:Two\n");
        assert_eq!(grep(json!({"pattern": "nowhere"})).await.unwrap(), "Nothing is found.");
        assert!(grep(json!({"pattern": "("})).await.unwrap_err().contains("cannot be used"));
    }

    #[tokio::test]
    async fn a_flood_of_matches_is_cut_and_says_so() {
        let place = place_with(&[("many", &"x\n".repeat(100_000)), ("wide", &"x".repeat(1_000_000))]);
        let text = call::<Grep>(&place, json!({"pattern": "x", "path": "many"})).await.unwrap();
        assert!(text.lines().count() == LINES + 1 && text.ends_with("[There is more; ask for less]\n"));
        let text = call::<Grep>(&place, json!({"pattern": "x", "path": "wide"})).await.unwrap();
        assert!(text.len() < LINE_BYTES + 100);
    }
}
