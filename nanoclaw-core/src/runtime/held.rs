//! What the host opened of a container's mounts, and holds open.

use std::{
    collections::BTreeMap,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
};

/// Sources of mounts as they were opened and checked, by their places inside. As long as one is held nothing else can be taken
/// for it, whatever becomes of its path.
///
/// A runtime that can, mounts from these. One that is told paths only mounts by path, and process 1 compares what it got
/// ([`protocol::mounts`](crate::protocol::mounts)).
#[derive(Debug, Clone, Default)]
pub struct HeldSources(BTreeMap<String, Arc<OwnedFd>>);

impl HeldSources {
    /// Holds `source` for the mount at `target`.
    pub fn insert(&mut self, target: String, source: Arc<OwnedFd>) {
        self.0.insert(target, source);
    }

    /// What is held for the mount at `target`; `None`: it is known by its path alone.
    #[must_use]
    pub fn get(&self, target: &str) -> Option<&Arc<OwnedFd>> {
        self.0.get(target)
    }
}

/// The same handles, which is more than handles of the same files.
impl PartialEq for HeldSources {
    fn eq(&self, other: &Self) -> bool {
        // Two that are open at once have two numbers, so those with one number are one.
        let numbers = |all: &Self| -> Vec<(String, i32)> {
            all.0.iter().map(|(target, source)| (target.clone(), source.as_raw_fd())).collect()
        };
        numbers(self) == numbers(other)
    }
}

impl Eq for HeldSources {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_equal_when_they_hold_the_same_handles_for_the_same_places() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Arc::new(OwnedFd::from(std::fs::File::open(folder.path()).unwrap()));
        let source = open();
        let held = |target: &str, source: &Arc<OwnedFd>| {
            let mut held = HeldSources::default();
            held.insert(target.to_owned(), source.clone());
            held
        };
        assert_eq!(held("/a", &source), held("/a", &source));
        assert_ne!(held("/a", &source), held("/b", &source));
        assert_ne!(held("/a", &source), held("/a", &open()), "the same folder, opened twice");
        assert_ne!(held("/a", &source), HeldSources::default());
        assert!(held("/a", &source).get("/a").is_some() && held("/a", &source).get("/b").is_none());
    }
}
