//! The files of a skill: read from a folder within bounds and without following links, and written elsewhere.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    io::Errno,
};

use crate::held_folder::{names, open_folder};

/// The file with a skill's instructions.
pub(super) const INSTRUCTIONS: &str = "SKILL.md";
/// The most bytes that all files of a skill can have.
pub const LARGEST_SKILL_BYTES: usize = 16 * 1024 * 1024;
/// The most files that a skill can have.
pub const MOST_FILES: usize = 1000;
/// How many folders can lie within each other.
const DEEPEST: usize = 8;

/// A skill's files, by their path in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Files(BTreeMap<String, SkillFile>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SkillFile {
    pub(super) content: Vec<u8>,
    pub(super) executable: bool,
}

impl<'a, const COUNT: usize> From<[(&'a str, &'a [u8], bool); COUNT]> for Files {
    fn from(files: [(&'a str, &'a [u8], bool); COUNT]) -> Self {
        let file = |(path, content, executable): (&str, &[u8], bool)| {
            (path.to_owned(), SkillFile { content: content.to_owned(), executable })
        };
        Self(files.map(file).into())
    }
}

impl Files {
    pub(super) fn get(&self, path: &str) -> Option<&SkillFile> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &SkillFile)> {
        self.0.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// Everything in the folder at `path`, but for what a version control or an editor keeps there (names that begin with a
    /// dot).
    ///
    /// # Errors
    /// Why it cannot be taken, a sentence's end.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let top = open_folder(CWD, path).map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => "it is a link or no folder".to_owned(),
            errno => format!("it cannot be opened: {errno}"),
        })?;
        let mut reading = Reading { files: Self::default(), bytes: 0 };
        reading.folder(&top, "", 1)?;
        Ok(reading.files)
    }

    /// Writes them into the new folder `path`, for everybody to read.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let make = |folder: &Path| fs::DirBuilder::new().mode(0o755).recursive(true).create(folder);
        make(path)?;
        for (name, file) in &self.0 {
            let whole = path.join(name);
            if let Some(parent) = whole.parent() {
                make(parent)?;
            }
            let mode = if file.executable { 0o755 } else { 0o644 };
            let mut opened = File::options().write(true).create_new(true).mode(mode).open(&whole)?;
            opened.write_all(&file.content)?;
        }
        Ok(())
    }
}

struct Reading {
    files: Files,
    bytes: usize,
}

impl Reading {
    fn folder(&mut self, folder: &OwnedFd, within: &str, depth: usize) -> Result<(), String> {
        let listed = names(folder, MOST_FILES + 1).map_err(|error| format!("it cannot be listed: {error}"))?;
        for name in listed {
            let Ok(shown) = name.to_str() else {
                return Err("a name in it is not UTF-8".to_owned());
            };
            if !shown.starts_with('.') {
                let path = if within.is_empty() { shown.to_owned() } else { format!("{within}/{shown}") };
                self.entry(folder, &name, path, depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &CString, path: String, depth: usize) -> Result<(), String> {
        let failed = |errno: Errno| format!("{path} in it cannot be read: {errno}");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
            Err(Errno::LOOP) => return Err(format!("{path} in it is a link; put there what it leads to")),
            other => other.map_err(failed)?,
        };
        let stat = rustix::fs::fstat(&opened).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory if depth == DEEPEST => {
                Err(format!("more than {DEEPEST} folders lie within each other"))
            }
            FileType::Directory => self.folder(&opened, &path, depth + 1),
            FileType::RegularFile if self.files.0.len() == MOST_FILES => {
                Err(format!("it has more than {MOST_FILES} files"))
            }
            FileType::RegularFile => {
                let executable = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
                let rest = LARGEST_SKILL_BYTES - self.bytes;
                let mut content = Vec::new();
                let read = File::from(opened).take(rest as u64 + 1).read_to_end(&mut content);
                read.map_err(|error| format!("{path} in it cannot be read: {error}"))?;
                if content.len() > rest {
                    return Err(format!("it has more than {} MiB", LARGEST_SKILL_BYTES >> 20));
                }
                self.bytes += content.len();
                self.files.0.insert(path, SkillFile { content, executable });
                Ok(())
            }
            _ => Err(format!("{path} in it is neither a file nor a folder")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn files_are_read_with_their_folders_and_written_as_they_were() {
        let place = tempfile::tempdir().unwrap();
        let skill = place.path().join("skill");
        fs::create_dir_all(skill.join("scripts/deep")).unwrap();
        fs::create_dir_all(skill.join(".git")).unwrap();
        fs::write(skill.join(".git/config"), "not a skill's").unwrap();
        fs::write(skill.join(INSTRUCTIONS), "text").unwrap();
        fs::write(skill.join("scripts/deep/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(skill.join("scripts/deep/run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
        let files = Files::read(&skill).unwrap();
        let names: Vec<_> = files.iter().map(|(path, file)| (path, file.executable)).collect();
        assert_eq!(names, [(INSTRUCTIONS, false), ("scripts/deep/run.sh", true)]);
        let copy = place.path().join("copy");
        files.write(&copy).unwrap();
        assert_eq!(Files::read(&copy).unwrap(), files);
        let mode = fs::metadata(copy.join("scripts/deep/run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
    }

    #[test]
    fn links_special_files_and_floods_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let refused = |make: &dyn Fn(&Path)| {
            let skill = place.path().join("skill");
            fs::create_dir(&skill).unwrap();
            make(&skill);
            let told = Files::read(&skill).unwrap_err();
            fs::remove_dir_all(&skill).unwrap();
            told
        };
        assert!(refused(&|skill| symlink("/etc/passwd", skill.join("x")).unwrap()).contains("is a link"));
        let fifo = |skill: &Path| {
            let mode = Mode::RWXU;
            rustix::fs::mknodat(CWD, skill.join("x"), FileType::Fifo, mode, 0).unwrap();
        };
        assert!(refused(&fifo).contains("neither a file nor a folder"));
        let many = |skill: &Path| (0..=MOST_FILES).for_each(|n| fs::write(skill.join(n.to_string()), "").unwrap());
        assert!(refused(&many).contains("more than 1000 files"));
        let large = |skill: &Path| {
            File::create(skill.join("x")).unwrap().set_len(LARGEST_SKILL_BYTES as u64 + 1).unwrap();
        };
        assert!(refused(&large).contains("more than 16 MiB"));
        let deep = |skill: &Path| fs::create_dir_all(skill.join("a/a/a/a/a/a/a/a/a")).unwrap();
        assert!(refused(&deep).contains("more than 8 folders"));
        let link = place.path().join("link");
        symlink("/etc", &link).unwrap();
        assert!(Files::read(&link).unwrap_err().contains("a link or no folder"));
    }
}
