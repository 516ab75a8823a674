//! Which sessions' files are removed: a task that begins a conversation of its own each time would otherwise fill the disk of its
//! group, a file a time.
//!
//! Which of them the host will ever resume it does not say, so this errs on the side of keeping: the newest few are the chat's and
//! those of its tasks, however long nobody wrote; what is younger than a month may be a monthly task's; and only a task that
//! runs every few minutes reaches the most. A session that is gone is replaced by a new one, which the agent is told.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// So many are kept, whatever their age.
const KEPT: usize = 50;
/// How long others are kept after their last turn.
const AGE: Duration = Duration::from_secs(40 * 24 * 3600);
/// No more than so many are kept, whatever their age: with a few KiB each they are some MiB.
const MOST: usize = 2000;

/// Removes the files of `folder` that nobody will want. Called when a session begins; blocking, and quick.
pub(super) fn forget(folder: &Path, now: SystemTime) -> io::Result<usize> {
    let mut sessions: Vec<(SystemTime, PathBuf)> = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .filter_map(|path| Some((fs::symlink_metadata(&path).ok()?.modified().ok()?, path)))
            .collect(),
    };
    // The newest first.
    sessions.sort_unstable_by(|one, other| other.cmp(one));
    let mut forgotten = 0;
    for (_, path) in sessions.iter().enumerate().skip(KEPT).filter_map(|(place, session)| {
        let old = now.duration_since(session.0).is_ok_and(|age| age > AGE);
        (old || place >= MOST).then_some(session)
    }) {
        fs::remove_file(path)?;
        forgotten += 1;
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_whatever_their_age_and_the_young_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        assert_eq!(forget(&folder.path().join("none"), now).unwrap(), 0);
        let make = |name: String, age: Duration| {
            fs::File::create(folder.path().join(name)).unwrap().set_modified(now - age).unwrap();
        };
        let day = Duration::from_secs(24 * 3600);
        for number in 0..KEPT + 10 {
            make(format!("native-{number}.jsonl"), day * (100 + u32::try_from(number).unwrap()));
        }
        make("other.txt".to_owned(), day * 1000);
        assert_eq!(forget(folder.path(), now).unwrap(), 10);
        assert!(folder.path().join("native-0.jsonl").exists() && !folder.path().join("native-59.jsonl").exists());
        assert!(folder.path().join("other.txt").exists(), "what is no session is left alone");
        for number in 0..MOST + 5 {
            make(format!("young-{number}.jsonl"), day);
        }
        assert_eq!(forget(folder.path(), now).unwrap(), KEPT + 5, "the old, and what is too many");
        assert_eq!(forget(folder.path(), now).unwrap(), 0);
    }
}
