//! A run's log: standard error, and the lines between blocks. Bounded in size and in number (fault F44).

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::run::RunNumber;

/// The most bytes of one run's log; what comes after is dropped, which its last line says.
const MAX_BYTES: u64 = 10 * 1024 * 1024;
/// How many runs' logs are kept of a group.
const KEPT: usize = 20;

pub(super) struct RunLog {
    file: File,
    left: u64,
}

impl RunLog {
    /// Begins the log of run `number` in `folder`, and removes the logs of runs long past.
    pub(super) fn create(folder: &Path, number: RunNumber) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut old: Vec<_> = fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        // Those with nothing in them first: of containers that were started ahead and never used.
        old.sort_by_cached_key(|path| (fs::metadata(path).is_ok_and(|found| found.len() > 0), path.clone()));
        let excess = (old.len() + 1).saturating_sub(KEPT);
        for path in &old[..excess] {
            fs::remove_file(path)?;
        }
        let file =
            fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path_of(folder, number))?;
        Ok(Self { file, left: MAX_BYTES })
    }

    /// Goes on with the log of run `number`, which an earlier host began.
    pub(super) fn append(folder: &Path, number: RunNumber) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path_of(folder, number))?;
        let left = MAX_BYTES.saturating_sub(file.metadata()?.len());
        Ok(Self { file, left })
    }
}

fn path_of(folder: &Path, number: RunNumber) -> PathBuf {
    folder.join(format!("{:010}.log", number.0))
}

impl Write for RunLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        if fits > 0 {
            self.file.write_all(&bytes[..fits])?;
            self.left -= fits as u64;
            if self.left == 0 {
                self.file.write_all(b"\n[the log ends here: it has reached 10 MiB]\n")?;
            }
        }
        // What does not fit counts as written: a log must not stop an answer.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f44_a_flood_ends_at_ten_mebibytes_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RunLog::create(folder.path(), RunNumber(1)).unwrap();
        let chunk = vec![b'x'; 1 << 20];
        for _ in 0..12 {
            log.write_all(&chunk).unwrap();
        }
        let text = fs::read(folder.path().join("0000000001.log")).unwrap();
        assert!(text.len() as u64 <= MAX_BYTES + 64);
        assert!(text.ends_with(b"10 MiB]\n"));
    }

    #[test]
    fn a_log_that_goes_on_keeps_what_is_there_and_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let write = |mut log: RunLog, bytes: &[u8]| log.write_all(bytes).unwrap();
        write(RunLog::create(folder.path(), RunNumber(1)).unwrap(), b"before\n");
        write(RunLog::append(folder.path(), RunNumber(1)).unwrap(), b"after\n");
        let path = path_of(folder.path(), RunNumber(1));
        assert_eq!(fs::read(&path).unwrap(), b"before\nafter\n");
        write(RunLog::append(folder.path(), RunNumber(1)).unwrap(), &vec![b'x'; 11 << 20]);
        write(RunLog::append(folder.path(), RunNumber(1)).unwrap(), b"more");
        assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES + 64);
    }

    #[test]
    fn f44_the_logs_of_runs_long_past_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=30 {
            RunLog::create(folder.path(), RunNumber(number)).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), KEPT);
        assert_eq!(names[0], "0000000011.log");
    }

    #[test]
    fn logs_with_nothing_in_them_push_out_none_that_say_something() {
        let folder = tempfile::tempdir().unwrap();
        RunLog::create(folder.path(), RunNumber(1)).unwrap().write_all(b"words\n").unwrap();
        for number in 2..=50 {
            RunLog::create(folder.path(), RunNumber(number)).unwrap();
        }
        assert!(path_of(folder.path(), RunNumber(1)).exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), KEPT);
    }
}
