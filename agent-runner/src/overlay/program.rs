//! Runs a program of the overlay: text in, text out, a time, and nothing of it left running.

use std::{io, path::Path, process::ExitStatus, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

use crate::process_group::ProcessGroup;

/// What became of a program that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// Standard output, cut.
    pub(super) said: String,
    /// Standard error, cut.
    pub(super) errors: String,
}

/// Runs `command` in `folder`, with `input` on standard input. At most `most_bytes` of each output are kept, and what is cut is
/// said.
///
/// # Errors
/// In words: it cannot be started, or took longer than `patience` and was killed with everything that it started.
pub(super) async fn run(
    mut command: Command,
    folder: &Path,
    input: &str,
    patience: Duration,
    most_bytes: u64,
) -> Result<Ended, String> {
    let command = command.current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = async {
        let (group, mut child) = ProcessGroup::start(command)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let Some(mut stdin) = stdin {
                // One that does not read its input has no need of it.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let ((), said, errors) = tokio::join!(write, all_of(stdout, most_bytes), all_of(stderr, most_bytes));
        let status = child.wait().await?;
        // Its outputs are closed as well: what goes on in the background has asked for that.
        group.forget();
        Ok::<_, io::Error>(Ended { status, said, errors })
    };
    match timeout(patience, running).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it was killed, because it took longer than {patience:?}")),
    }
}

/// Everything that is written, of which the first part is kept.
async fn all_of(output: Option<impl AsyncRead + Unpin>, most_bytes: u64) -> String {
    let Some(mut output) = output else { return String::new() };
    let mut bytes = Vec::new();
    let _ = (&mut output).take(most_bytes).read_to_end(&mut bytes).await;
    let rest = tokio::io::copy(&mut output, &mut tokio::io::sink()).await.unwrap_or_default();
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if rest > 0 {
        text.push_str(&format!("\n[{rest} more bytes are left out]"));
    }
    text
}
