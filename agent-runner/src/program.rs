//! Runs a program: text in, text out, a time, and nothing of it left running when that is over.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWriteExt as _},
    process::Command,
    time::timeout,
};

use crate::{ends::Ends, process_group::ProcessGroup};

/// What became of a program that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Standard output, cut in the middle.
    pub(crate) said: String,
    /// How many bytes of standard output were cut out.
    pub(crate) left_out: u64,
    /// Standard error, cut in the middle.
    pub(crate) errors: String,
}

/// The shell for lines that people and agents write: bash, or `sh` in an image without it.
pub(crate) fn shell() -> &'static str {
    ["/bin/bash", "/usr/bin/bash"].into_iter().find(|shell| Path::new(shell).exists()).unwrap_or("/bin/sh")
}

/// Runs `command` in `folder`, with `input` on standard input. At most `most_bytes` of each output are kept, from both ends, and
/// what is cut is said.
///
/// # Errors
/// In words: it cannot be started, or took longer than `patience` and was killed with everything that it started. So it is, too,
/// when nobody waits for it any more.
pub(crate) async fn run(
    mut command: Command,
    folder: &Path,
    input: &str,
    patience: Duration,
    most_bytes: usize,
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
        Ok::<_, io::Error>(Ended { status, left_out: said.left_out(), said: said.text(""), errors: errors.text("") })
    };
    match timeout(patience, running).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it was killed, because it took longer than {patience:?}")),
    }
}

/// Everything that is written.
async fn all_of(output: Option<impl AsyncRead + Unpin>, most_bytes: usize) -> Ends {
    let mut ends = Ends::new(most_bytes);
    if let Some(output) = output {
        // An output that cannot be read to its end is as good as one that ended.
        let _ = ends.read(output).await;
    }
    ends
}
