//! Runs commands. Each runs in a shell of its own, in a process group of its own; only the working folder is kept from one
//! to the next. When time is over, or the agent is stopped, the whole group is killed.

use std::{os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt as _,
    net::unix::pipe,
    process::Command,
    time::{Instant, timeout_at},
};

use super::{
    Outcome, Tool, Workplace,
    limits::{ADVICE, TEXT_BYTES},
};
use crate::{
    ends::Ends, process_group::ProcessGroup, program::shell, provider::native::conversation::Seen, random::random_hex,
};

const USUAL_TIME: Duration = Duration::from_secs(120);
const LONGEST_TIME: Duration = Duration::from_secs(600);
/// How long output is still read after the shell has ended, which something in the background may hold open.
const REST_OF_OUTPUT: Duration = Duration::from_millis(200);

/// Runs what it is given, and tells where it ended up. `trap` and `eval` are what bash, dash and busybox have.
const WRAPPER: &str = r#"trap 'pwd -P > "$1" 2> /dev/null' EXIT; eval "$2""#;

pub(super) struct Bash;

#[derive(Deserialize)]
pub(super) struct Input {
    command: String,
    /// In milliseconds, as Claude Code has it.
    #[serde(default)]
    timeout: Option<u64>,
}

impl Tool for Bash {
    const NAME: &'static str = "Bash";
    const DESCRIPTION: &'static str = "Runs a command in a shell (bash, or sh where there is none) and gives its output, \
        standard output and standard error together, and the exit code when it is not 0. The working folder is kept for the \
        next command and for relative paths of other tools; variables and functions are not. Nothing can be typed in. When \
        the time is over, the command and everything that it started is killed. What is put in the background (&) goes on, \
        until the container ends, but its output has to go to a file. Long output is cut in the middle.";
    type Input = Input;

    fn schema() -> Value {
        json!({
            "type": "object",
            "properties": {
                "command": {"type": "string", "description": "The command."},
                "timeout": {"type": "integer", "description":
                    "How long it may take, in milliseconds: at most 600000, and 120000 when this is left out."},
            },
            "required": ["command"],
        })
    }

    async fn call(workplace: &Workplace, input: Input) -> Outcome {
        let time = input.timeout.map_or(USUAL_TIME, Duration::from_millis).min(LONGEST_TIME);
        let folder = workplace.folder.lock().await.clone();
        let place = tempfile_in(&workplace.own).map_err(|error| format!("cannot prepare a command: {error}"))?;
        let run = run(&input.command, &folder, &place, time).await;
        let ended_in = std::fs::read_to_string(&place).unwrap_or_default();
        let _ = std::fs::remove_file(&place);
        let ended_in = Path::new(ended_in.trim_end_matches('\n'));
        if ended_in.is_absolute() && ended_in.is_dir() {
            *workplace.folder.lock().await = ended_in.to_owned();
        }
        run
    }
}

/// A name for a file that is not there yet.
fn tempfile_in(folder: &Path) -> std::io::Result<std::path::PathBuf> {
    std::fs::create_dir_all(folder)?;
    Ok(folder.join(format!("folder-{}", random_hex::<8>())))
}

async fn run(command: &str, folder: &Path, place: &Path, time: Duration) -> Outcome {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("there is no pipe: {error}"))?;
    let errors = writer.try_clone().map_err(|error| format!("there is no pipe: {error}"))?;
    let mut shell = Command::new(shell());
    shell
        .args(["-c", WRAPPER, "command"])
        .arg(place)
        .arg(command)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    let (group, mut child) =
        ProcessGroup::start(&mut shell).map_err(|error| format!("no shell can be started in {folder:?}: {error}"))?;
    // It holds the ends that are written to; while it has them there is no end of the output.
    drop(shell);
    let mut reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))
        .map_err(|error| format!("the output cannot be read: {error}"))?;
    let mut output = Ends::new(TEXT_BYTES);
    let deadline = Instant::now() + time;
    let mut ended = None;
    let mut open = true;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read_until = if ended.is_some() { deadline.min(Instant::now() + REST_OF_OUTPUT) } else { deadline };
        tokio::select! {
            read = reader.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(length) => output.take(&buffer[..length]),
            },
            status = child.wait(), if ended.is_none() => {
                ended = Some(status.map_err(|error| format!("its end is unknown: {error}"))?);
            }
            () = tokio::time::sleep_until(read_until) => {
                if ended.is_some() {
                    break;
                }
                group.end(&mut child).await;
                let _ = timeout_at(Instant::now() + REST_OF_OUTPUT, output.read(&mut reader)).await;
                return Err(format!("{}\n(It was killed, because it took longer than {time:?}.)", output.text(ADVICE).trim_end()));
            }
        }
        if !open && ended.is_some() {
            break;
        }
    }
    group.forget();
    let text = output.text(ADVICE);
    match ended.and_then(|status| (!status.success()).then_some(status)) {
        None if text.trim().is_empty() => Ok(vec![Seen::text("(no output)")]),
        None => Ok(vec![Seen::text(text)]),
        Some(status) => {
            let how = status.code().map_or_else(|| status.to_string(), |code| format!("exit code {code}"));
            Err(format!("{}\n({how})", text.trim_end()).trim_start().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn workplace(folder: &tempfile::TempDir) -> Workplace {
        Workplace::new(folder.path(), folder.path())
    }

    async fn bash(workplace: &Workplace, command: &str) -> Result<String, String> {
        let seen = Bash::call(workplace, Input { command: command.into(), timeout: None }).await?;
        let Seen::Text { text } = &seen[0] else { panic!("{seen:?}") };
        Ok(text.clone())
    }

    #[tokio::test]
    async fn output_errors_and_the_exit_code_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = workplace(&folder);
        assert_eq!(bash(&workplace, "echo out; echo err >&2").await.unwrap(), "out\nerr\n");
        assert_eq!(bash(&workplace, "true").await.unwrap(), "(no output)");
        assert_eq!(bash(&workplace, "echo no; exit 3").await.unwrap_err(), "no\n(exit code 3)");
        assert!(bash(&workplace, "if").await.unwrap_err().contains("exit code"));
        assert_eq!(bash(&workplace, "cat; echo \"$0 $#\"").await.unwrap(), "command 2\n");
    }

    #[tokio::test]
    async fn the_working_folder_is_kept_also_past_an_exit_and_a_folder_that_went() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = workplace(&folder);
        bash(&workplace, "mkdir -p a/b && cd a/b && exit 1").await.unwrap_err();
        assert!(bash(&workplace, "pwd").await.unwrap().ends_with("/a/b\n"));
        assert_eq!(workplace.path("x").await, folder.path().canonicalize().unwrap().join("a/b/x"));
        bash(&workplace, "cd ../.. && rm -r a && mkdir -p a/b").await.unwrap();
        let own = workplace.own.read_dir().unwrap().count();
        assert_eq!(own, 0, "files of our own are left");
    }

    #[tokio::test]
    async fn when_time_is_over_everything_that_was_started_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = workplace(&folder);
        let command =
            "trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > pid; echo begun; while :; do sleep 0.05; done' & wait";
        // However slow the machine is, in one of these times it gets as far as that.
        let mut told = String::new();
        for time in [500, 2000, 8000, 32_000] {
            let input = Input { command: command.into(), timeout: Some(time) };
            told = Bash::call(&workplace, input).await.unwrap_err();
            assert!(told.contains("It was killed, because it took longer than"), "{told}");
            if told.starts_with("begun") {
                break;
            }
        }
        assert!(told.starts_with("begun"), "{told}");
        let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
        let process = format!("/proc/{}/cmdline", pid.trim());
        // Killed, but whoever reaps it may take a moment; a zombie has no command line.
        while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn ten_megabytes_of_output_are_read_and_cut() {
        let folder = tempfile::tempdir().unwrap();
        let text = bash(&workplace(&folder), "echo first; head -c 10485760 /dev/zero | tr '\\0' x; echo; echo last")
            .await
            .unwrap();
        assert!(text.len() < TEXT_BYTES + 1000, "{}", text.len());
        assert!(text.starts_with("first\nx") && text.ends_with("x\nlast\n") && text.contains("bytes are left out"));
    }

    #[tokio::test]
    async fn what_is_in_the_background_is_not_waited_for_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = workplace(&folder);
        // It holds the output open, and waits for a file that only the next command makes.
        bash(&workplace, "(until [ -e go ]; do sleep 0.02; done; touch went) & echo started").await.unwrap();
        bash(&workplace, "touch go").await.unwrap();
        while !folder.path().join("went").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_command_that_nobody_waits_for_any_more_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let workplace = workplace(&folder);
        let pid = folder.path().join("pid");
        tokio::select! {
            told = bash(&workplace, "echo $$ > pid.new; mv pid.new pid; exec sleep 1000") => panic!("{told:?}"),
            () = async { while !pid.exists() { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        }
        let process = format!("/proc/{}/cmdline", std::fs::read_to_string(pid).unwrap().trim());
        while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
