//! What people call themselves, as far as they wrote something since this program began.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use wacore_binary::Jid;

/// The most names that are kept; then it begins anew.
const MOST_NAMES: usize = 10_000;

/// People's names by their addresses.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<Jid, String>>);

impl Names {
    /// Somebody wrote under this name.
    pub fn note(&self, jid: &Jid, name: &str) {
        let name = name.trim();
        if name.is_empty() {
            return;
        }
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MOST_NAMES {
            names.clear();
        }
        names.insert(jid.to_non_ad(), name.to_owned());
    }

    /// The name of whoever has this address.
    #[must_use]
    pub fn of(&self, jid: &Jid) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&jid.to_non_ad()).cloned()
    }
}
