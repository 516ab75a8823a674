//! What canaries have shown before, in `store/canary.json`, so that a service that is started again starts no container for it.
//!
//! Only successes are kept. An entry counts as long as nothing that it depends on is another: runtime, its version, the kernel, the
//! profile, and our own program. A file that cannot be read or written costs a canary, nothing else.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    runtime::{HardeningProfile, RuntimeKind},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The file's most entries; the oldest go. One a runtime is usual.
const MOST: usize = 32;
/// What is larger is not ours.
const LONGEST: u64 = 1 << 20;

/// The file.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

/// By what a canary was sent: the key, and when it came back well.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    shown: BTreeMap<String, Timestamp>,
}

impl Cache {
    /// The one of a home with this store.
    #[must_use]
    pub fn in_store(store: &Path) -> Self {
        Self(store.join("canary.json"))
    }

    /// When a canary showed this; `None` when none did.
    #[must_use]
    pub fn shown_at(&self, key: &str) -> Option<Timestamp> {
        self.read().shown.get(key).copied()
    }

    /// Keeps that one did.
    pub fn keep(&self, key: String, at: Timestamp) {
        let mut content = self.read();
        content.shown.insert(key, at);
        while content.shown.len() > MOST {
            let Some(oldest) = content.shown.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone()) else {
                break;
            };
            content.shown.remove(&oldest);
        }
        if let Err(error) = self.write(&content) {
            tracing::debug!(file = %self.0.display(), %error, "what a canary showed is not kept for the next start");
        }
    }

    fn read(&self) -> Content {
        let small = fs::symlink_metadata(&self.0).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
        let text = if small { fs::read(&self.0).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, content: &Content) -> std::io::Result<()> {
        // The folder is not made: where there is no home, there is none afterwards.
        let temporary = self.0.with_extension(format!("json.{}", std::process::id()));
        let file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer_pretty(file, content)?;
        fs::rename(temporary, &self.0)
    }
}

/// Everything on which it depends whether a canary would come back the same.
pub(super) fn key(kind: RuntimeKind, description: &str, profile: &HardeningProfile, runner: &Path) -> String {
    let program = fs::metadata(runner).map_or_else(
        |_| "missing".to_owned(),
        |found| format!("{}-{}.{}", found.len(), found.mtime(), found.mtime_nsec()),
    );
    let kernel = rustix::system::uname();
    let (release, build) = (kernel.release().to_string_lossy(), kernel.version().to_string_lossy());
    let version = env!("CARGO_PKG_VERSION");
    format!("{kind} | {description} | {release} {build} | {} | {version} | {program}", profile.fingerprint())
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::runtime::{Limits, RunAs};

    use super::*;

    fn profile(uid: u32) -> HardeningProfile {
        let limits = Limits { memory_bytes: None, pids: Some(64), milli_cpus: None };
        HardeningProfile { user: RunAs { uid, gid: 1000 }, limits, tmp_bytes: 1 << 20 }
    }

    #[test]
    fn what_was_shown_is_known_to_the_next_and_of_many_the_oldest_are_forgotten() {
        let store = tempfile::tempdir().unwrap();
        let cache = Cache::in_store(store.path());
        assert_eq!(cache.shown_at("a"), None);
        for number in 0..40 {
            cache.keep(format!("key {number}"), Timestamp::from_ms(1000 - number));
        }
        let next = Cache::in_store(store.path());
        assert_eq!(next.shown_at("key 0"), Some(Timestamp::from_ms(1000)));
        assert_eq!(next.shown_at("key 39"), None, "the oldest goes first");
        assert_eq!(next.read().shown.len(), MOST);
    }

    #[test]
    fn a_file_that_is_not_ours_is_as_none() {
        let store = tempfile::tempdir().unwrap();
        let cache = Cache::in_store(store.path());
        let elsewhere = store.path().join("elsewhere");
        fs::write(&elsewhere, "{\"shown\":{\"a\":1}}").unwrap();
        std::os::unix::fs::symlink(&elsewhere, store.path().join("canary.json")).unwrap();
        assert_eq!(cache.shown_at("a"), None, "no link is followed");
        fs::remove_file(store.path().join("canary.json")).unwrap();
        fs::write(store.path().join("canary.json"), "no JSON").unwrap();
        assert_eq!(cache.shown_at("a"), None);
        cache.keep("a".to_owned(), Timestamp::from_ms(5));
        assert_eq!(cache.shown_at("a"), Some(Timestamp::from_ms(5)));
    }

    #[test]
    fn another_program_profile_or_runtime_is_another_key() {
        let store = tempfile::tempdir().unwrap();
        let runner = store.path().join("runner");
        fs::write(&runner, "a").unwrap();
        let of = |kind, description, uid, runner: &Path| key(kind, description, &profile(uid), runner);
        let first = of(RuntimeKind::Docker, "Docker 1", 1000, &runner);
        assert_eq!(of(RuntimeKind::Docker, "Docker 1", 1000, &runner), first);
        assert_ne!(of(RuntimeKind::Podman, "Docker 1", 1000, &runner), first);
        assert_ne!(of(RuntimeKind::Docker, "Docker 2", 1000, &runner), first);
        assert_ne!(of(RuntimeKind::Docker, "Docker 1", 1001, &runner), first);
        fs::write(&runner, "ab").unwrap();
        assert_ne!(of(RuntimeKind::Docker, "Docker 1", 1000, &runner), first);
    }
}
