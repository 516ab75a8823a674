//! Which folder is the home.

use std::path::{Path, PathBuf};

use super::Home;
use crate::config::Environment;

/// No folder could be named as the home.
#[derive(Debug, thiserror::Error)]
pub enum NoHome {
    /// Nothing says where the user's files are.
    #[error("no home folder is known: neither NANOCLAW_HOME nor XDG_DATA_HOME nor HOME is set")]
    Unknown,
    /// A relative path was given and the current folder cannot be told.
    #[error("the current folder cannot be told")]
    CurrentFolder(#[source] std::io::Error),
    /// The database and the container engines take paths as text.
    #[error("the home {path:?} has bytes in its path that are not UTF-8")]
    NotText {
        /// The path.
        path: PathBuf,
    },
}

impl Home {
    /// The home that is meant: `given` (`--home`), else `NANOCLAW_HOME`, else `current` when it holds a `nanoclaw.toml`, else
    /// `$XDG_DATA_HOME/nanoclaw`, else `~/.local/share/nanoclaw`. It may not exist yet.
    ///
    /// # Errors
    /// [`NoHome`].
    pub fn find(given: Option<&Path>, current: Option<&Path>, environment: &dyn Environment) -> Result<Self, NoHome> {
        let absolute = |path: &Path| match Self::at(path) {
            Ok(home) if home.root().to_str().is_none() => Err(NoHome::NotText { path: home.root().to_owned() }),
            Ok(home) => Ok(home),
            Err(error) => Err(NoHome::CurrentFolder(error)),
        };
        if let Some(path) = given {
            return absolute(path);
        }
        if let Some(path) = environment.get("NANOCLAW_HOME") {
            return absolute(Path::new(&path));
        }
        if let Some(current) = current.filter(|path| path.join("nanoclaw.toml").is_file()) {
            return absolute(current);
        }
        // A relative XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
        let data = environment.get("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let data = data.or_else(|| environment.get("HOME").map(|home| PathBuf::from(home).join(".local/share")));
        absolute(&data.ok_or(NoHome::Unknown)?.join("nanoclaw"))
    }

    /// Whether somebody made a home of this folder.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.config_file().exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::environment_of;

    #[test]
    fn the_home_is_the_one_given_then_the_variable_then_the_current_folder_then_the_data_folder() {
        let with_config = tempfile::tempdir().unwrap();
        std::fs::write(with_config.path().join("nanoclaw.toml"), "").unwrap();
        let current = Some(with_config.path());
        let user = [("HOME", "/home/ann")];
        let all = [("NANOCLAW_HOME", "/srv/bot"), ("XDG_DATA_HOME", "/data"), ("HOME", "/home/ann")];

        let find = |given: Option<&str>, current, environment: &dyn Environment| {
            Home::find(given.map(Path::new), current, environment).unwrap().root().to_owned()
        };
        assert_eq!(find(Some("/given"), current, &environment_of(all)), Path::new("/given"));
        assert_eq!(find(None, current, &environment_of(all)), Path::new("/srv/bot"));
        assert_eq!(find(None, current, &environment_of(user)), with_config.path());
        assert_eq!(
            find(None, Some(Path::new("/")), &environment_of(user)),
            Path::new("/home/ann/.local/share/nanoclaw")
        );
        let xdg = environment_of([("XDG_DATA_HOME", "/data"), ("HOME", "/home/ann")]);
        assert_eq!(find(None, None, &xdg), Path::new("/data/nanoclaw"));
        let relative = environment_of([("XDG_DATA_HOME", "data"), ("HOME", "/home/ann")]);
        assert_eq!(find(None, None, &relative), Path::new("/home/ann/.local/share/nanoclaw"));
        assert!(matches!(Home::find(None, None, &environment_of([])), Err(NoHome::Unknown)));
    }
}
