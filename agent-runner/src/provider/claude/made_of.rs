//! What a process that was started ahead was made of, and whether one would be made of the same now.
//!
//! Claude Code reads its memory, settings and skills when it starts (seen with 2.1.329), and puts the date into what it tells
//! the model. Whoever changes any of it while a process waits is to find it in force with the next message, as if none had
//! waited. So it is compared when the process is to be used. Files are told apart by what the file system says of them: that
//! is little work, and a file that seems to be another costs a start, no more.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use jiff::{Zoned, civil::Date};
use nanoclaw_core::session::SessionId;

use super::{
    super::{Failure, Start},
    command_line::{CommandLine, extra_folders, global_memory},
    settings, transcript,
};
use crate::overlay;

/// What it reads in its working folder and in the additional mounts: memory, settings, servers of tools. Of a repository it tells
/// the model where it stands.
const IN_A_PROJECT: [&str; 11] = [
    "CLAUDE.md",
    "AGENTS.md",
    ".mcp.json",
    ".claude/CLAUDE.md",
    ".claude/settings.json",
    ".claude/rules",
    ".claude/skills",
    ".claude/agents",
    ".claude/commands",
    ".git/HEAD",
    ".git/logs/HEAD",
];
/// What it reads in its own folder, of what it does not write there by itself.
const OF_ITS_OWN: [&str; 6] = ["CLAUDE.md", "settings.json", "rules", "skills", "agents", "commands"];
/// So many files are looked at. An additional mount can have any number of them.
const MOST_FILES: usize = 2000;
/// The most bytes of a memory file in which others are looked for.
const MEMORY_BYTES: u64 = 256 * 1024;
/// So many memory files deep it follows what one says of another.
const DEEPEST_IMPORT: u32 = 5;

/// All that makes a process what it is before it is asked anything.
pub(super) struct MadeOf {
    pub(super) command_line: CommandLine,
    session: Option<SessionId>,
    day: Date,
    files: BTreeMap<PathBuf, Stamp>,
}

/// Which file it is, as it is.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    /// When it was changed, in seconds and nanoseconds; nobody can set it.
    changed_at: (i64, i64),
}

impl MadeOf {
    /// What a process for `start` is made of now. Sees to it that nothing stands in the way of our tools, which is in files too.
    ///
    /// # Errors
    /// The settings ask for what is none of Claude Code's.
    pub(super) fn now(start: &Start) -> Result<Self, Failure> {
        settings::clear_the_way(&start.places);
        Ok(Self {
            command_line: CommandLine::now(start)?,
            session: start.session.clone(),
            day: Zoned::now().date(),
            files: Files::of(start).0,
        })
    }

    /// Why a process that was made of this is not the one that is made of `now`, in words; `None` when it is.
    pub(super) fn differs_from(&self, now: &Self) -> Option<String> {
        if self.session != now.session {
            return Some("it is to go on with another session".to_owned());
        }
        if self.day != now.day {
            return Some("it has another date".to_owned());
        }
        if self.command_line != now.command_line {
            return Some("its settings, or the folders that it sees, are other ones".to_owned());
        }
        let paths = self.files.keys().chain(now.files.keys());
        let changed = paths.into_iter().find(|path| self.files.get(*path) != now.files.get(*path))?;
        Some(format!("{} has changed", changed.display()))
    }
}

/// The files that are read at the start, those that are there.
#[derive(Debug, Default)]
struct Files(BTreeMap<PathBuf, Stamp>);

impl Files {
    fn of(start: &Start) -> Self {
        let mut files = Self::default();
        let home = &start.places.home;
        if let Some(memory) = global_memory(start) {
            files.memory(&memory, home, DEEPEST_IMPORT);
        }
        let projects = [start.places.group.clone()].into_iter().chain(extra_folders(&start.places.extra));
        for path in projects.flat_map(|folder| IN_A_PROJECT.map(|name| folder.join(name))) {
            files.add(&path, home);
        }
        let own = transcript::own_folder(start);
        for path in OF_ITS_OWN.map(|name| own.join(name)) {
            files.add(&path, home);
        }
        // The server of the overlay's tools has looked at them.
        files.add(&overlay::folder(), home);
        for project in fs::read_dir(own.join("projects")).into_iter().flatten().flatten() {
            // What it has noted for itself.
            files.add(&project.path().join("memory"), home);
        }
        files
    }

    /// A file, or a folder with all that is in it. What a link in a folder leads to is not looked at: the skills that the host
    /// gives do not change while a container lives.
    fn add(&mut self, path: &Path, home: &Path) {
        let Ok(found) = fs::metadata(path) else { return };
        if !found.is_dir() {
            return self.memory(path, home, DEEPEST_IMPORT);
        }
        self.note(path, &found);
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let Ok(found) = entry.metadata() else { continue };
                if !self.note(&entry.path(), &found) {
                    return;
                }
                if found.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
    }

    /// A file, and if it is a memory those that it names as `@path`, which are read as part of it.
    fn memory(&mut self, path: &Path, home: &Path, depth: u32) {
        let Ok(found) = fs::metadata(path) else { return };
        if self.0.contains_key(path) || !self.note(path, &found) {
            return;
        }
        if depth == 0 || !found.is_file() || path.extension().is_none_or(|extension| extension != "md") {
            return;
        }
        let mut text = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MEMORY_BYTES).read_to_end(&mut text));
        if read.is_err() {
            return;
        }
        let text = String::from_utf8_lossy(&text);
        for name in text.split_whitespace().filter_map(|word| word.strip_prefix('@')) {
            let named = match name.strip_prefix("~/") {
                Some(rest) => home.join(rest),
                None => path.parent().unwrap_or(path).join(name),
            };
            if named.is_file() {
                self.memory(&named, home, depth - 1);
            }
        }
    }

    /// Whether there was room for it.
    fn note(&mut self, path: &Path, found: &fs::Metadata) -> bool {
        if self.0.len() >= MOST_FILES {
            return false;
        }
        let stamp = Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            changed_at: (found.ctime(), found.ctime_nsec()),
        };
        self.0.insert(path.to_owned(), stamp);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read of a folder that has these files.
    struct Place(tempfile::TempDir);

    impl Place {
        fn with(files: &[(&str, &str)]) -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            for (name, text) in files {
                place.write(name, text);
            }
            place
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn read(&self) -> BTreeMap<PathBuf, Stamp> {
            let mut files = Files::default();
            for name in IN_A_PROJECT {
                files.add(&self.0.path().join(name), Path::new("/no/home"));
            }
            files.0
        }
    }

    #[test]
    fn whatever_is_changed_of_what_is_read_is_seen_and_nothing_else() {
        let place = Place::with(&[
            ("CLAUDE.md", "See @notes/a.md and @later.md, not @nowhere or me@b.md."),
            ("notes/a.md", "and @../deep.md of @a.md"),
            ("deep.md", ""),
            ("b.md", ""),
            (".claude/skills/x/SKILL.md", ""),
        ]);
        let mut before = place.read();
        for (name, read) in [
            ("CLAUDE.md", true),
            ("notes/a.md", true),
            ("deep.md", true),
            ("b.md", false),
            ("other.md", false),
            (".claude/skills/x/SKILL.md", true),
            (".claude/skills/y/SKILL.md", true),
            (".claude/settings.json", true),
            (".mcp.json", true),
        ] {
            place.write(name, "It is another, and longer, @notes/a.md @deep.md");
            let now = place.read();
            assert_eq!(now != before, read, "{name}");
            before = now;
        }
        fs::remove_file(place.0.path().join("CLAUDE.md")).unwrap();
        assert_ne!(place.read(), before);
    }

    #[test]
    fn a_folder_of_any_size_is_looked_at_within_bounds() {
        let place = Place::with(&[]);
        for number in 0..MOST_FILES + 10 {
            place.write(&format!(".claude/rules/{number}.md"), "");
        }
        assert_eq!(place.read().len(), MOST_FILES);
    }
}
