//! A task's pre-check: a script that decides whether the agent wakes at all (rule: NanoClaw v1-final).

use std::{path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

/// How long a script may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of its output that are read.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a script decided.
#[derive(Debug, PartialEq)]
pub(crate) enum Checked {
    /// The agent wakes, and is told this.
    Wake {
        /// What the script found; null when it said nothing.
        data: Value,
    },
    /// The agent does not wake.
    Sleep {
        /// The script's decision, or what is wrong with it.
        reason: String,
    },
}

/// The last line of a script's output.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    wake_agent: bool,
    #[serde(default)]
    data: Value,
}

/// Runs `script` by bash in `folder`. Anything but a clear yes is a no.
pub(crate) async fn check(script: &str, folder: &Path) -> Checked {
    match timeout(PATIENCE, output(script, folder)).await {
        Ok(Ok(output)) => decide(&output),
        Ok(Err(error)) => Checked::Sleep { reason: error.to_string() },
        Err(_) => Checked::Sleep { reason: format!("it took longer than {PATIENCE:?}") },
    }
}

/// The prompt of a task whose script has something to tell.
pub(crate) fn prompt(data: &Value, instructions: &str) -> String {
    format!("Script output:\n{data:#}\n\nInstructions:\n{instructions}")
}

async fn output(script: &str, folder: &Path) -> anyhow::Result<String> {
    // As an argument: a script file in a shared folder could be swapped, and /tmp may be mounted noexec.
    let mut child = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut bytes = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_BYTES).read_to_end(&mut bytes).await?;
    }
    let status = child.wait().await?;
    anyhow::ensure!(status.success(), "it ended with {status}");
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn decide(output: &str) -> Checked {
    let last = output.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    match serde_json::from_str(last) {
        Ok(Verdict { wake_agent: true, data }) => Checked::Wake { data },
        Ok(Verdict { wake_agent: false, .. }) => Checked::Sleep { reason: "it said so".to_owned() },
        Err(error) => Checked::Sleep { reason: format!("its last line is no verdict: {error}") },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_wakes_the_agent() {
        let wake = decide("noise\n{\"wakeAgent\":true,\"data\":{\"mails\":2}}\n\n");
        assert_eq!(wake, Checked::Wake { data: serde_json::json!({"mails": 2}) });
        for output in ["", "hello", "{\"wakeAgent\":false}", "{\"wakeAgent\":true}\nbye", "{\"data\":1}"] {
            assert!(matches!(decide(output), Checked::Sleep { .. }), "{output:?}");
        }
    }
}
