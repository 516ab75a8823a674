//! Where environment variables come from: the process, or a map in tests.

use std::{collections::BTreeMap, ffi::OsString};

/// Looks up environment variables.
pub trait Environment: Send + Sync {
    /// The value of `name`; `None` when it is not set. What is set but empty counts as not set to all who ask.
    fn get(&self, name: &str) -> Option<OsString>;

    /// The same environment, to keep.
    fn owned(&self) -> Box<dyn Environment>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name).filter(|value| !value.is_empty())
    }

    fn owned(&self) -> Box<dyn Environment> {
        Box::new(*self)
    }
}

impl Environment for BTreeMap<String, OsString> {
    fn get(&self, name: &str) -> Option<OsString> {
        self.get(name).filter(|value| !value.is_empty()).cloned()
    }

    fn owned(&self) -> Box<dyn Environment> {
        Box::new(self.clone())
    }
}

/// An environment made of pairs, for tests and for programs that embed the host.
#[must_use]
pub fn of<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, OsString> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), OsString::from(value))).collect()
}
