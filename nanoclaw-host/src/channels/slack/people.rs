//! The names of people, asked of Slack once and kept for a while.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use nanoclaw_core::secret::Secret;
use tokio::time::Instant;

use super::client::Client;

/// How long a name is used before it is asked for again.
const FRESH: Duration = Duration::from_secs(60 * 60);
/// How long it is believed that a name cannot be had.
const UNKNOWN: Duration = Duration::from_secs(60);
/// The most names that are kept.
const MOST: usize = 4096;
/// How long a message waits for a name; without one it shows an id.
const PATIENCE: Duration = Duration::from_secs(3);

/// The names that are known.
#[derive(Debug, Default)]
pub(super) struct People(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    name: Option<String>,
    until: Instant,
}

impl People {
    /// The name that people know `user` by; `None` when it cannot be had just now.
    pub(super) async fn name(&self, client: &Client, bot: &Secret, user: &str) -> Option<String> {
        let known = self.lock().get(user).cloned();
        if let Some(known) = &known
            && known.until > Instant::now()
        {
            return known.name.clone();
        }
        let asked = tokio::time::timeout(PATIENCE, client.user_name(bot, user)).await;
        let (name, lasts) = match asked {
            Ok(Ok(name)) => (name, FRESH),
            Ok(Err(trouble)) => {
                tracing::debug!(user, ?trouble, "a name cannot be had");
                // An old one is better than none.
                (known.and_then(|known| known.name), UNKNOWN)
            }
            Err(_) => (known.and_then(|known| known.name), UNKNOWN),
        };
        let mut all = self.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(user.to_owned(), Known { name: name.clone(), until: Instant::now() + lasts });
        name
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
