//! What a run has less than was asked for: its owner is told, and the log when it is another thing than before.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nanoclaw_core::{group::GroupFolder, launch::LaunchNotice};

/// What the log was told last. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<Mutex<LastTold>>);

#[derive(Debug, Default)]
struct LastTold {
    /// By group.
    shortfalls: HashMap<GroupFolder, String>,
    /// Of the skills that nobody can have.
    faults: Vec<String>,
}

/// Things that a group's run goes without, a sentence each, and where people find out more.
#[derive(Debug, Default)]
pub(super) struct Shortfalls {
    lines: Vec<String>,
    hints: Vec<String>,
}

impl Shortfalls {
    pub(super) fn add(&mut self, lines: Vec<String>, hint: impl FnOnce() -> String) {
        if !lines.is_empty() {
            self.lines.extend(lines);
            self.hints.push(hint());
        }
    }

    /// What the owner is told; the log is told as well, once.
    pub(super) fn notices(self, group: &GroupFolder, told: &Told) -> Vec<LaunchNotice> {
        let mut told = told.locked();
        if self.lines.is_empty() {
            told.shortfalls.remove(group);
            return Vec::new();
        }
        let text = format!(
            "The agent of {group} runs without something that it is meant to have:\n{}\n\n{}",
            self.lines.iter().map(|line| format!("- {line}")).collect::<Vec<_>>().join("\n"),
            self.hints.join("\n")
        );
        if told.shortfalls.insert(group.clone(), text.clone()).as_ref() != Some(&text) {
            for line in self.lines {
                tracing::warn!(%group, "{line}");
            }
        }
        vec![LaunchNotice { key: format!("shortfalls/{:016x}", fingerprint(&text)), text }]
    }
}

impl Told {
    /// Tells the log of skills that nobody can have, once.
    pub(super) fn faults(&self, faults: Vec<String>) {
        let mut told = self.locked();
        if told.faults != faults {
            for fault in &faults {
                tracing::warn!("{fault}");
            }
            told.faults = faults;
        }
    }

    fn locked(&self) -> MutexGuard<'_, LastTold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sixty-four bits that stay the same for the same text in every version (FNV-1a).
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
