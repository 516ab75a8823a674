//! A bridge that the host starts and keeps running itself.
//!
//! The program is one like any other bridge: it connects to the host's socket and says there how it stands with its service.
//! Here is only known whether it runs. It ends when its input does, so that none outlives its host, however that ends.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use nanoclaw_core::chat::ChannelName;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, ChildStderr, Command},
    sync::Notify,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    bridge::Claim,
    clean_name,
    service::{self, Ending, Remedied, Service},
    status::{ChannelState, ChannelWatch, StatusKeeper},
};

/// How a bridge's program says that a person has to do something before it is of use.
const NEEDS_A_PERSON: i32 = 3;

/// How long it may take to end when it is told to.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How long what it said last is waited for when it has ended.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// What of the host's environment a bridge's program gets: not its secrets, which are in variables too.
const PASSED_ON: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "XDG_CONFIG_HOME",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// A bridge's program, and when it is run.
pub struct BridgeProgram {
    /// The bridge's name, by which it says hello; variables that begin with `NANOCLAW_` and it are passed on.
    pub name: ChannelName,
    /// Which chats it will claim.
    pub claim: Claim,
    /// Where the program is; asked at each start. `None`: it is not there.
    pub program: Box<dyn Fn() -> Option<PathBuf> + Send + Sync>,
    /// What it is told.
    pub arguments: Vec<OsString>,
    /// What it would need to be of use; `None`: it has it. Asked before each start.
    pub needs: Box<dyn Fn() -> Option<String> + Send + Sync>,
    /// What to do when the program is not there.
    pub install: String,
    /// What to do when it says that a person has to do something.
    pub remedy: String,
}

/// Has a program tried again at once that waits for somebody to do something. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct TryAgain(Arc<Notify>);

impl TryAgain {
    /// Somebody did.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Remedied for TryAgain {
    async fn next(&mut self) {
        self.0.notified().await;
    }
}

/// What is returned beside its state keeps the program running until `stop` is cancelled, and has to be run.
pub fn start(
    program: BridgeProgram,
    again: TryAgain,
    stop: CancellationToken,
) -> (ChannelWatch, impl Future<Output = ()> + Send + 'static) {
    let status = StatusKeeper::new(program.name.clone(), ChannelState::Connecting);
    let watch = status.watch(program.claim.clone());
    let running = Running { program, status };
    (watch, async move { service::keep(&running, again, stop).await })
}

struct Running {
    program: BridgeProgram,
    status: StatusKeeper,
}

#[async_trait]
impl Service for Running {
    async fn session(&self, stop: &CancellationToken) -> Ending {
        if let Some(needs) = (self.program.needs)() {
            return Ending::Unused { needs };
        }
        let Some(program) = (self.program.program)() else {
            let reason = format!("there is no program nanoclaw-{}", self.program.name);
            return Ending::Refused { reason, remedy: self.program.install.clone() };
        };
        let mut command = Command::new(&program);
        command
            .args(&self.program.arguments)
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| self.passes(name)));
        // Of a process group of its own: what a terminal says to us it hears from us, when all is sent.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        match command.spawn() {
            Ok(child) => self.until_it_ends(child, stop).await,
            Err(error) => {
                Ending::Lost { reason: format!("{} cannot be started: {error}", program.display()), after: None }
            }
        }
    }

    fn status(&self) -> &StatusKeeper {
        &self.status
    }
}

impl Running {
    fn passes(&self, variable: &OsStr) -> bool {
        let Some(variable) = variable.to_str() else { return false };
        let own = variable.to_lowercase();
        PASSED_ON.contains(&variable) || own.starts_with(&format!("nanoclaw_{}_", self.program.name))
    }

    async fn until_it_ends(&self, mut child: Child, stop: &CancellationToken) -> Ending {
        let name = &self.program.name;
        let (stdin, errors) = (child.stdin.take(), child.stderr.take());
        tracing::info!(channel = %name, pid = child.id(), "its program was started");
        let logging = AbortOnDropHandle::new(tokio::spawn(pass_on(name.clone(), errors)));
        let ended = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => {
                drop(stdin);
                if timeout(END_WITHIN, child.wait()).await.is_err() {
                    tracing::warn!(channel = %name, "its program did not end within {END_WITHIN:?} and is killed");
                    // It may have ended this moment.
                    let _ = child.kill().await;
                }
                return Ending::Stopped;
            }
        };
        // A child of its own may hold its output open.
        let last = timeout(LAST_WORDS_WITHIN, logging).await.ok().and_then(Result::ok).flatten();
        match ended {
            Ok(status) if status.code() == Some(NEEDS_A_PERSON) => {
                let reason = last.unwrap_or_else(|| "its program says that somebody has to see to it".to_owned());
                Ending::Refused { reason, remedy: self.program.remedy.clone() }
            }
            Ok(status) => Ending::Lost { reason: how_it_ended(status, last.as_deref()), after: None },
            Err(error) => Ending::Lost { reason: format!("its program is out of reach: {error}"), after: None },
        }
    }
}

/// What a program logs is in our log; returned is what it said last.
async fn pass_on(name: ChannelName, errors: Option<ChildStderr>) -> Option<String> {
    let mut lines = BufReader::new(errors?).split(b'\n');
    let mut last = None;
    while let Ok(Some(line)) = lines.next_segment().await {
        if let Some(line) = clean_name(&String::from_utf8_lossy(&line)) {
            tracing::info!(channel = %name, "{line}");
            last = Some(line);
        }
    }
    last
}

fn how_it_ended(status: ExitStatus, last: Option<&str>) -> String {
    let last = last.map(|line| format!("; the last it said: {line}")).unwrap_or_default();
    format!("its program ended ({status}){last}")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

    use tokio::task::JoinHandle;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A program that is a script, and what it leaves in its folder.
    struct Place {
        folder: tempfile::TempDir,
        watch: ChannelWatch,
        again: TryAgain,
        stop: CancellationToken,
        running: JoinHandle<()>,
    }

    impl Place {
        fn with(script: &str) -> Self {
            Self::made(script, |_| {})
        }

        fn made(script: &str, change: impl FnOnce(&mut BridgeProgram)) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("program");
            fs::write(&path, format!("#!/bin/sh\ncd \"$1\"\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            let mut program = BridgeProgram {
                name: ChannelName::new("whatsapp").unwrap(),
                claim: Claim::new(vec!["wa:".to_owned()], Vec::new()).unwrap(),
                arguments: vec![folder.path().into()],
                program: Box::new(move || Some(path.clone()).filter(|path| path.exists())),
                needs: Box::new(|| None),
                install: "install it".to_owned(),
                remedy: "link it".to_owned(),
            };
            change(&mut program);
            let (again, stop) = (TryAgain::default(), CancellationToken::new());
            let (watch, running) = start(program, again.clone(), stop.clone());
            Self { folder, watch, again, stop, running: tokio::spawn(running) }
        }

        fn path(&self) -> &Path {
            self.folder.path()
        }

        /// Waits until the file has `count` lines.
        async fn lines(&self, file: &str, count: usize) -> Vec<String> {
            let wait = async {
                loop {
                    let text = fs::read_to_string(self.path().join(file)).unwrap_or_default();
                    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
                    if lines.len() >= count {
                        return lines;
                    }
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{file} never had {count} lines"))
        }

        async fn state(&self, wanted: impl Fn(&ChannelState) -> bool) -> ChannelState {
            timeout(PATIENCE, self.watch.wait_for(wanted)).await.expect("it comes to that").expect("it goes on")
        }

        async fn end(self) {
            self.stop.cancel();
            timeout(PATIENCE, self.running).await.expect("it ends").unwrap();
            assert_eq!(self.watch.state(), ChannelState::Ended);
        }
    }

    #[tokio::test]
    async fn a_program_that_ends_by_itself_is_told_with_its_last_words_and_started_again() {
        let place = Place::with("echo started >> log; echo first >&2; echo 'out of paper' >&2; exit 4");
        let waiting = place.state(|state| matches!(state, ChannelState::Waiting { .. })).await;
        let ChannelState::Waiting { reason, next_try } = waiting else { unreachable!("it was waited for") };
        assert_eq!(reason, "its program ended (exit status: 4); the last it said: out of paper");
        assert!(next_try.is_some());
        place.lines("log", 3).await;
        place.end().await;
    }

    #[tokio::test]
    async fn one_that_needs_a_person_is_not_started_again_before_somebody_did_something() {
        let place = Place::with("echo started >> log; echo 'logged out' >&2; exit 3");
        let refused = ChannelState::Refused { reason: "logged out".to_owned(), remedy: "link it".to_owned() };
        place.state(|state| *state == refused).await;
        assert_eq!(place.lines("log", 1).await.len(), 1);
        place.again.now();
        place.lines("log", 2).await;
        place.end().await;
    }

    #[tokio::test]
    async fn it_is_told_to_end_by_the_end_of_its_input() {
        let place = Place::with("echo started >> log; while read -r line; do :; done; echo ended >> log");
        place.lines("log", 1).await;
        let log = place.path().join("log");
        let folder = {
            let Place { folder, stop, running, .. } = place;
            stop.cancel();
            timeout(PATIENCE, running).await.expect("it ends").unwrap();
            folder
        };
        assert_eq!(fs::read_to_string(log).unwrap(), "started\nended\n");
        drop(folder);
    }

    #[tokio::test]
    async fn a_child_that_holds_its_output_open_does_not_hold_it_up() {
        let place = Place::with("echo started >> log; sleep 600 & echo $! >> children; exit 4");
        place.lines("log", 2).await;
        let children = place.lines("children", 2).await;
        place.end().await;
        for child in children {
            std::process::Command::new("kill").arg(child).status().unwrap();
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_has_nothing_to_do_is_told_so() {
        let missing = Place::made("", |program| program.program = Box::new(|| None));
        let refused = missing.state(|state| matches!(state, ChannelState::Refused { .. })).await;
        let (reason, remedy) = ("there is no program nanoclaw-whatsapp".to_owned(), "install it".to_owned());
        assert_eq!(refused, ChannelState::Refused { reason, remedy });
        missing.end().await;

        let unused =
            Place::made("echo started >> log", |program| program.needs = Box::new(|| Some("a phone".to_owned())));
        unused.state(|state| matches!(state, ChannelState::Unused { .. })).await;
        assert!(!unused.path().join("log").exists());
        unused.end().await;
    }

    #[test]
    fn none_of_the_hosts_secrets_are_passed_on() {
        let status = StatusKeeper::new(ChannelName::new("whatsapp").unwrap(), ChannelState::Connecting);
        let program = BridgeProgram {
            name: ChannelName::new("whatsapp").unwrap(),
            claim: Claim::new(vec!["wa:".to_owned()], Vec::new()).unwrap(),
            arguments: Vec::new(),
            program: Box::new(|| None),
            needs: Box::new(|| None),
            install: String::new(),
            remedy: String::new(),
        };
        let running = Running { program, status };
        let passes = |variable: &str| running.passes(OsStr::new(variable));
        assert!(passes("PATH") && passes("HTTPS_PROXY") && passes("NANOCLAW_WHATSAPP_URL"));
        for secret in
            ["ANTHROPIC_API_KEY", "SLACK_BOT_TOKEN", "NANOCLAW_HOME", "NANOCLAW_WHATSAPPS", "CREDENTIALS_DIRECTORY"]
        {
            assert!(!passes(secret), "{secret}");
        }
    }
}
