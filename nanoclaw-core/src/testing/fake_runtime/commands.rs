//! A fake container that is a plain child process, as far as it goes without the kernel: guest paths are host paths.

use std::{os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use super::{FakeContainer, FakeOutput};
use crate::runtime::{ContainerSpec, Exit, RuntimeError};

/// What can be seen to be wrong before anything runs.
pub(super) fn refuse(spec: &ContainerSpec) -> Option<RuntimeError> {
    for mount in &spec.mounts {
        if let Err(error) = std::fs::metadata(&mount.source) {
            return Some(RuntimeError::BadMount { path: mount.source.clone(), reason: error.to_string() });
        }
    }
    let command = spec.command.first().map(|program| program.on_host(&spec.mounts)).unwrap_or_default();
    let reason = match std::fs::metadata(Path::new(&command)) {
        Err(error) => error.to_string(),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => "it is not a program".to_owned(),
        Ok(_) => return None,
    };
    Some(RuntimeError::BadCommand { command, reason })
}

/// Runs the command to its end.
pub(super) async fn run(container: FakeContainer) -> Exit {
    let FakeContainer { spec, mut input, output, stop } = container;
    let mut words = spec.command.iter().map(|word| word.on_host(&spec.mounts));
    let mut command = Command::new(words.next().unwrap_or_default());
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(spec.env.iter().map(|(name, value)| (name, value.on_host(&spec.mounts))))
        .current_dir(spec.workdir.on_host(&spec.mounts))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if rustix::process::getuid().is_root() {
        command.uid(spec.user.uid).gid(spec.user.gid);
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            output.stderr(format!("{error}\n")).await;
            return Exit::Unknown;
        }
    };
    let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) else { return Exit::Unknown };
    // Whatever it started ends with it, as in a process namespace; also when this future is dropped.
    let group = Group(pid);
    let stdin = child.stdin.take();
    let feed = tokio::spawn(async move {
        let Some(mut stdin) = stdin else { return };
        let _ = tokio::io::copy(&mut input, &mut stdin).await;
    });
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pumps = async { tokio::join!(pump(stdout, output.clone(), true), pump(stderr, output.clone(), false)) };
    let ending = async {
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => {
                let _ = kill_process(pid, Signal::TERM);
                child.wait().await
            }
        };
        drop(group);
        feed.abort();
        status
    };
    let (_, status) = tokio::join!(pumps, ending);
    match status {
        Ok(status) => {
            use std::os::unix::process::ExitStatusExt;
            status.code().map(Exit::of_code).or(status.signal().map(Exit::Signal)).unwrap_or(Exit::Unknown)
        }
        Err(_) => Exit::Unknown,
    }
}

async fn pump(source: Option<impl AsyncRead + Unpin>, output: FakeOutput, is_stdout: bool) {
    let Some(mut source) = source else { return };
    let mut buffer = vec![0; 32 << 10];
    loop {
        let Ok(count @ 1..) = source.read(&mut buffer).await else { return };
        let piece = Bytes::copy_from_slice(&buffer[..count]);
        if is_stdout { output.stdout(piece).await } else { output.stderr(piece).await }
    }
}

struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}
