//! Makes a home: folders, the commented configuration, and the first memory files. What is there is never touched.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::group::{Group, GroupRole};

use super::Home;
use crate::config::SAMPLE;

const MAIN_MEMORY: &str = include_str!("../../../groups/main/CLAUDE.md");
const GLOBAL_MEMORY: &str = include_str!("../../../groups/global/CLAUDE.md");
const STORE_README: &str = include_str!("../../../store/README.md");
/// What follows on a group's name.
const GROUP_MEMORY: &str = "\n\nThis file is the memory of this group. Write down here what is worth knowing next time: who is who, \
                            what was\nagreed, how people like things done. Keep it short; put details into files beside it and name them \
                            here.\n";

/// Something of the home could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be made")]
pub struct InitError {
    /// What.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// What [`initialise`] made, in order; empty when everything was there.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Made {
    /// The files and folders that are new, absolute.
    pub paths: Vec<PathBuf>,
}

/// Makes `home` complete: what is missing is made, what is there stays as it is. The configuration comes last, because a
/// folder with one counts as a home.
///
/// # Errors
/// [`InitError`] names what could not be made; calling again goes on from there.
pub fn initialise(home: &Home) -> Result<Made, InitError> {
    let mut made = Made::default();
    made.folder(home.root(), 0o755)?;
    // What people said and what agents know is nobody else's business.
    made.folder(&home.store(), 0o700)?;
    made.file(&home.store().join("README.md"), STORE_README)?;
    made.folder(&home.skills(), 0o755)?;
    made.folder(&home.groups().join("main"), 0o755)?;
    made.file(&home.groups().join("main").join("CLAUDE.md"), MAIN_MEMORY)?;
    made.folder(&home.global(), 0o755)?;
    made.file(&home.global().join("CLAUDE.md"), GLOBAL_MEMORY)?;
    made.file(&home.config_file(), SAMPLE)?;
    Ok(made)
}

/// Gives a group its folder and its first memory file (fault F78); what is there stays as it is.
///
/// # Errors
/// [`InitError`] names what could not be made.
pub fn write_group_memory(home: &Home, group: &Group) -> Result<Made, InitError> {
    let mut made = Made::default();
    let folder = home.group(&group.folder);
    made.folder(&folder, 0o755)?;
    let text = match group.role {
        GroupRole::Main => MAIN_MEMORY.to_owned(),
        GroupRole::Ordinary => format!("# {}{GROUP_MEMORY}", group.name),
    };
    made.file(&folder.join("CLAUDE.md"), &text)?;
    Ok(made)
}

/// Whether the memory file at `path` is as it was when it was made: nobody wrote anything into it.
pub(crate) fn is_first_memory(path: &Path) -> bool {
    let longest = 16 * 1024;
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.len() < longest) {
        return false;
    }
    fs::read_to_string(path).is_ok_and(|text| {
        text == MAIN_MEMORY || text == GLOBAL_MEMORY || (text.starts_with("# ") && text.ends_with(GROUP_MEMORY))
    })
}

impl Made {
    fn folder(&mut self, path: &Path, mode: u32) -> Result<(), InitError> {
        if path.is_dir() {
            return Ok(());
        }
        let made = fs::DirBuilder::new().recursive(true).mode(mode).create(path);
        made.map_err(|source| InitError { path: path.to_owned(), source })?;
        self.paths.push(path.to_owned());
        Ok(())
    }

    /// Writes a new file; never through a link and never over anything.
    fn file(&mut self, path: &Path, text: &str) -> Result<(), InitError> {
        let opened = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path);
        let written = match opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => Err(error),
            // A part of a file would be taken for the whole of it next time.
            Ok(mut file) => file.write_all(text.as_bytes()).inspect_err(|_| {
                let _ = fs::remove_file(path);
            }),
        };
        written.map_err(|source| InitError { path: path.to_owned(), source })?;
        self.paths.push(path.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn making_a_home_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("deep/home")).unwrap();
        assert!(!home.exists());
        let first = initialise(&home).unwrap();
        assert!(first.paths.contains(&home.config_file()));
        assert!(home.exists());
        fs::write(home.config_file(), "[assistant]\nname = \"Bea\"\n").unwrap();
        fs::write(home.global().join("CLAUDE.md"), "mine").unwrap();
        assert_eq!(initialise(&home).unwrap(), Made::default());
        assert_eq!(fs::read_to_string(home.global().join("CLAUDE.md")).unwrap(), "mine");
        assert!(fs::read_to_string(home.config_file()).unwrap().contains("Bea"));
    }

    #[test]
    fn a_link_in_the_place_of_a_template_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        fs::create_dir_all(home.root()).unwrap();
        let outside = folder.path().join("outside");
        std::os::unix::fs::symlink(&outside, home.config_file()).unwrap();
        initialise(&home).unwrap();
        assert!(!outside.exists());
    }

    #[test]
    fn what_cannot_be_made_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        fs::create_dir_all(home.root()).unwrap();
        fs::write(home.store(), "a file where the folder should be").unwrap();
        assert_eq!(initialise(&home).unwrap_err().path, home.store());
    }
}
