//! One process per home (fault F75: two hosts on one bot token).
//!
//! The lock is the kernel's (`flock`), so it ends with the process however that ends; the process id in the file is only
//! there to be shown.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use super::Home;

/// How long the lock of a process that is gone is waited for.
const LEFT_OVER: Duration = Duration::from_secs(2);

/// This process is the one that works on the home, as long as this value lives.
#[derive(Debug)]
pub struct HomeLock {
    file: File,
    home: Home,
}

/// Why the home could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works on it.
    #[error("another nanoclaw works on {home} already{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Held {
        /// Its process id; `None` when it did not write one.
        pid: Option<u32>,
        /// The home.
        home: PathBuf,
    },
    /// The lock file could not be used.
    #[error("the lock {path} cannot be used")]
    Failed {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl LockError {
    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::Held { pid: Some(pid), .. } => {
                format!("stop process {pid} first, or give this one a home of its own with --home")
            }
            Self::Held { pid: None, .. } => {
                "stop that one first, or give this one a home of its own with --home".to_owned()
            }
            Self::Failed { .. } => "the home's store/ must be on a writable disk and belong to this user".to_owned(),
        }
    }
}

impl HomeLock {
    /// Locks `home`, whose `store/` is made when it is missing. Waits for nobody but for what is left of a process that was
    /// killed: a child of it that was forked at that moment and has not executed yet holds the lock a little longer. Process ids of other containers or machines
    /// that share the folder mean nothing here.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub fn acquire(home: &Home) -> Result<Self, LockError> {
        let path = home.lock_file();
        let failed = |source: std::io::Error| LockError::Failed { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home.store()).map_err(failed)?;
        // Closed on exec, as std opens all files: a container's process must not hold the home.
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let give_up = Instant::now() + LEFT_OVER;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(error.into())),
            }
            let pid = holder(&mut file);
            if pid.is_none_or(is_there) || Instant::now() >= give_up {
                return Err(LockError::Held { pid, home: home.root().to_owned() });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { file, home: home.clone() })
    }

    /// The home that is locked.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.home
    }
}

impl Drop for HomeLock {
    fn drop(&mut self) {
        // So that nobody reads the id of a process that is gone. The file stays: deleting it would let two processes lock
        // two files of the same name.
        let _ = self.file.set_len(0);
    }
}

/// Whether there is such a process.
fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The process id in the lock file. Its holder writes it right after locking, so an empty file is looked at again.
fn holder(file: &mut File) -> Option<u32> {
    for _ in 0..10 {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| std::io::Read::by_ref(file).take(32).read_to_string(&mut text));
        if let (Ok(_), Ok(pid)) = (read, text.trim().parse()) {
            return Some(pid);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f75_a_second_holder_is_refused_and_told_the_first_ones_process() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let first = HomeLock::acquire(&home).unwrap();
        let refused = HomeLock::acquire(&home).unwrap_err();
        assert!(matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
        drop(first);
        HomeLock::acquire(&home).unwrap();
    }

    #[test]
    fn the_lock_of_a_process_that_was_killed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        // Held as by a forked child, under the id of a process that is gone.
        let mut left_over = HomeLock::acquire(&home).unwrap();
        left_over.file.rewind().unwrap();
        writeln!(left_over.file, "4194303999").unwrap();
        let second = std::thread::spawn(move || HomeLock::acquire(&home));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished(), "it waits");
        drop(left_over);
        second.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_left_by_a_process_that_died_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        std::fs::create_dir(home.store()).unwrap();
        std::fs::write(home.lock_file(), "4194304000\nleft over, and longer than a process id").unwrap();
        let lock = HomeLock::acquire(&home).unwrap();
        let text = std::fs::read_to_string(lock.home().lock_file()).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
    }
}
