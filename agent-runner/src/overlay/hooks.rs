//! Commands that a group has run at moments of its agent's life, whoever thinks. A hook that fails or takes too long is said in the
//! log, and the agent goes on.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tokio::process::Command;

use crate::{log::say, program};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes that one adds to a prompt.
const MOST_BYTES: usize = 64 * 1024;

/// Lines for a shell, which works in the group's folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Hooks {
    /// Before the first prompt of a container.
    start: Option<String>,
    /// Before each prompt, which it is given on standard input; what it writes to standard output is added to the prompt.
    prompt: Option<String>,
    /// After each answer, which it is given on standard input.
    answer: Option<String>,
}

impl Hooks {
    pub(crate) async fn before_first_prompt(&self, folder: &Path) {
        if let Some(line) = &self.start {
            run("start", line, "", folder).await;
        }
    }

    /// `prompt` with what the hook adds to it.
    pub(crate) async fn before_prompt(&self, prompt: String, folder: &Path) -> String {
        let Some(line) = &self.prompt else { return prompt };
        match run("prompt", line, &prompt, folder).await {
            Some(words) if !words.trim().is_empty() => {
                format!("{prompt}\n\n<context source=\"hook\">\n{}\n</context>", words.trim())
            }
            _ => prompt,
        }
    }

    pub(crate) async fn after_answer(&self, answer: &str, folder: &Path) {
        if let Some(line) = &self.answer {
            run("answer", line, answer, folder).await;
        }
    }
}

/// What it wrote; `None` when it failed, which is said.
async fn run(name: &str, line: &str, input: &str, folder: &Path) -> Option<String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", line]);
    match program::run(shell, folder, input, PATIENCE, MOST_BYTES).await {
        Ok(ended) => {
            if !ended.errors.trim().is_empty() {
                say!("the hook {name} says: {}", ended.errors.trim());
            }
            if !ended.status.success() {
                say!("the hook {name} failed ({})", ended.status);
                return None;
            }
            Some(ended.said)
        }
        Err(reason) => {
            say!("the hook {name} failed: {reason}");
            None
        }
    }
}
