//! The real program, in a home of its own.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use nanoclaw_host::home::{Home, initialise};

/// A folder on the disk that the sources are on, which is more often a real one than `/tmp`, where this user may write there; removed
/// when dropped.
pub(crate) fn folder() -> tempfile::TempDir {
    let mut named = tempfile::Builder::new();
    named.prefix("bench-");
    let folder = named.tempdir_in(env!("CARGO_TARGET_TMPDIR")).or_else(|_| named.tempdir()).unwrap();
    // Containers may run as another user.
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A home for the real program.
pub(crate) struct Installation {
    program: PathBuf,
    pub(crate) home: Home,
    folder: tempfile::TempDir,
}

impl Installation {
    /// A new home with this configuration.
    pub(crate) fn new(program: &Path, config: &str) -> Self {
        let folder = folder();
        let home = Home::at(&folder.path().join("home")).unwrap();
        fs::create_dir(home.root()).unwrap();
        fs::write(home.config_file(), config).unwrap();
        initialise(&home).unwrap();
        Self { program: program.to_owned(), home, folder }
    }

    /// A command of the program on this home, with nothing of the caller's own configuration.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program.as_path());
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("NANOCLAW_HOME", self.home.root())
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// One with `groups` groups of the chats `bench:0` and so on, and a slot for each, whose offline agents run in `runtime`.
    pub(crate) fn with_groups(program: &Path, runtime: &str, groups: usize) -> Self {
        let limits = format!("max_concurrent_containers = {groups}\n");
        Self::with(program, runtime, groups, "provider = \"offline\"\n", &limits)
    }

    /// One with one group, its `[agent]`, and this at the end of its configuration, which begins among the limits.
    pub(crate) fn with_one_group(program: &Path, runtime: &str, agent: &str, limits: &str) -> Self {
        Self::with(program, runtime, 1, agent, limits)
    }

    fn with(program: &Path, runtime: &str, groups: usize, agent: &str, limits: &str) -> Self {
        let installation = Self::new(
            program,
            &format!("[container]\nruntime = \"{runtime}\"\n\n[agent]\n{agent}\n[limits]\n{limits}"),
        );
        for number in 0..groups {
            let chat = format!("bench:{number}");
            let folder = format!("group{number}");
            let added = installation
                .command(&["groups", "add", &chat, "--name", &chat, "--folder", &folder, "--no-trigger"])
                .stdout(Stdio::null())
                .status();
            assert!(added.unwrap().success(), "cannot add the group of {chat}");
        }
        installation
    }

    /// Writes the credential's file, as people do.
    pub(crate) fn credential(&self, line: &str) {
        let folder = self.folder.path().join(".config/nanoclaw");
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("credentials");
        fs::write(&file, format!("{line}\n")).unwrap();
        fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Starts the service; returns when it has said that it is ready, with how long that took.
    ///
    /// # Errors
    /// When it ends instead.
    pub(crate) fn serve(&self) -> Result<(Service, Duration), String> {
        let log = self.folder.path().join("service.log");
        // Ended in order it leaves no container behind.
        let mut command = self.command(&["run", "--stop-containers"]);
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log).unwrap());
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let took = begun.elapsed();
        if line.is_empty() {
            let _ = child.wait();
            return Err(fs::read_to_string(log).unwrap_or_default().trim().to_owned());
        }
        Ok((Service { child, _stdout: stdout }, took))
    }
}

/// A running service; asked to end, and waited for, when dropped.
pub(crate) struct Service {
    child: Child,
    _stdout: BufReader<ChildStdout>,
}

impl Service {
    pub(crate) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}
