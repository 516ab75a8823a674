//! A log file in parts, of which the oldest goes when there would be too many (fault F44): `nanoclaw.log`, and before it `nanoclaw.log.1` to
//! `.3`.
//!
//! The crates that do this (file-rotate, logroller) panic, or write nothing more and say nothing, when a file cannot be moved or opened, and
//! this is where such things are told.

use std::{
    fs::{DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// How many parts there are, the one that is written to among them.
const PARTS: u64 = 4;

/// The part that is written to.
pub(super) struct Rotated {
    path: PathBuf,
    file: File,
    size: u64,
    /// No part becomes longer than this, unless by a single line.
    longest: u64,
}

impl Rotated {
    /// Goes on with the log at `path`, which is made, with its folder, for this user only. All parts together take `most` bytes at most.
    pub(super) fn open(path: &Path, most: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, longest: most / PARTS })
    }

    /// The part of this number; 0 is the one that is written to.
    fn part(&self, number: u64) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (0..PARTS - 1).rev() {
            match std::fs::rename(self.part(number), self.part(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = open(&self.path)?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

impl Write for Rotated {
    /// A line at a time, so that none is in two parts.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.size > 0 && self.size + line.len() as u64 > self.longest {
            self.rotate()?;
        }
        let written = self.file.write(line)?;
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(folder: &Path) -> Vec<(String, String)> {
        let entry = |entry: io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap())
        };
        let mut parts: Vec<_> = std::fs::read_dir(folder).unwrap().map(entry).collect();
        parts.sort();
        parts
    }

    #[test]
    fn the_newest_lines_stay_in_four_parts_and_no_line_is_in_two() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/nanoclaw.log");
        // Ten bytes a part.
        let mut log = Rotated::open(&path, 40).unwrap();
        for number in 0..9 {
            writeln!(log, "line {number}").unwrap();
        }
        let expected = [
            ("nanoclaw.log", "line 8\n"),
            ("nanoclaw.log.1", "line 7\n"),
            ("nanoclaw.log.2", "line 6\n"),
            ("nanoclaw.log.3", "line 5\n"),
        ];
        let expected: Vec<_> = expected.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
        assert_eq!(parts(path.parent().unwrap()), expected);
        drop(log);

        // The next process goes on where this one was.
        let mut log = Rotated::open(&path, 40).unwrap();
        log.write_all(b"9\n").unwrap();
        log.write_all(b"a line that is too long for a part\n").unwrap();
        log.write_all(b"10\n").unwrap();
        let found = parts(path.parent().unwrap()).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(found, ["10\n", "a line that is too long for a part\n", "line 8\n9\n", "line 7\n"]);
    }

    #[test]
    fn what_cannot_be_rotated_is_an_error_and_not_a_longer_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nanoclaw.log");
        let mut log = Rotated::open(&path, 40).unwrap();
        log.write_all(b"line 0\n").unwrap();
        // In the place of the oldest part is what a file cannot replace.
        std::fs::write(folder.path().join("nanoclaw.log.2"), "older\n").unwrap();
        std::fs::create_dir_all(folder.path().join("nanoclaw.log.3/full")).unwrap();
        assert!(log.write_all(b"line 1\n").is_err());
        std::fs::remove_dir_all(folder.path().join("nanoclaw.log.3")).unwrap();
        log.write_all(b"line 2\n").unwrap();
        let found = parts(folder.path()).into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(found, ["line 2\n", "line 0\n", "older\n"]);
    }
}
