//! The program as a process: what it prints is collected while it runs, and no wait for it is without an end.

use std::{
    fmt,
    io::{Read, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long anything may take on a loaded machine with two processors.
pub const SOON: Duration = Duration::from_secs(60);

/// A running program. It is killed when this is dropped.
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
}

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// All that it printed.
    pub stdout: String,
    /// All that it said besides.
    pub stderr: String,
}

impl Running {
    /// Starts `command`, with nothing on its standard input unless that was set before.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Collected::from(child.stdout.take().unwrap());
        let stderr = Collected::from(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed until now.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it said besides until now.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Waits until it has printed something of which `enough` is true.
    pub fn until_stdout(&self, enough: impl Fn(&str) -> bool) -> String {
        self.until(&self.stdout, enough)
    }

    /// Waits until it has said something on standard error of which `enough` is true.
    pub fn until_stderr(&self, enough: impl Fn(&str) -> bool) -> String {
        self.until(&self.stderr, enough)
    }

    fn until(&self, collected: &Collected, enough: impl Fn(&str) -> bool) -> String {
        collected.until(enough).unwrap_or_else(|_| {
            panic!("what was waited for never came\nstdout: {}\nstderr: {}", self.stdout(), self.stderr())
        })
    }

    /// Types a line, where its standard input is a pipe.
    pub fn type_line(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// Types these keys, where its standard input is a pipe.
    pub fn type_keys(&mut self, keys: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// Ends its standard input.
    pub fn end_input(&mut self) {
        self.child.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends.
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + 2 * SOON;
        let status: ExitStatus = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > deadline {
                panic!("it does not end\nstdout: {}\nstderr: {}", self.stdout(), self.stderr());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        Ended { code: status.code(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fine when it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What it printed; it must have ended well.
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// What it said on standard error; it must have ended with `code` and printed nothing.
    pub fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self}");
        self.stderr
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {:?}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr)
    }
}

/// Waits until `condition` gives something.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}: never within {SOON:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a stream gave until now.
struct Collected {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Bytes>,
    changed: Condvar,
}

#[derive(Default)]
struct Bytes {
    so_far: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn from(mut stream: impl Read + Send + 'static) -> Self {
        let shared: Arc<Shared> = Arc::default();
        let sink = shared.clone();
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 16 * 1024];
            loop {
                let read = stream.read(&mut buffer).unwrap_or(0);
                let mut state = sink.state.lock().unwrap_or_else(PoisonError::into_inner);
                state.so_far.extend_from_slice(&buffer[..read]);
                state.ended = read == 0;
                sink.changed.notify_all();
                if read == 0 {
                    return;
                }
            }
        });
        Self { shared, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.state.lock().unwrap().so_far).into_owned()
    }

    fn until(&self, enough: impl Fn(&str) -> bool) -> Result<String, ()> {
        let deadline = Instant::now() + SOON;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            let text = String::from_utf8_lossy(&state.so_far).into_owned();
            if enough(&text) {
                return Ok(text);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return Err(());
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// All of it. A process that outlives the program and holds the stream must not hold the test.
    fn end(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.reader.as_ref().is_some_and(|reader| !reader.is_finished()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(self.reader.take().unwrap().is_finished(), "somebody holds its output open: {}", self.text());
        self.text()
    }
}
