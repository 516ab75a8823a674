//! What tests against real runtimes share: which are wanted, a tiny root to run in, and the suite's context.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a helper of tests, in which both are fine")]

pub mod podman;
pub mod tampering;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use nanoclaw_core::{
    runtime::{InstallId, RunAs},
    testing::runtime_suite::{Report, SocketClient, Verdict},
};

/// Whether a runtime's absence is a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `NANOCLAW_TEST_RUNTIMES` names it.
    Required,
    /// The variable is not set: test it if it is there.
    IfPresent,
    /// The variable is set and does not name it.
    No,
}

/// What `NANOCLAW_TEST_RUNTIMES`, a comma list, says of `runtime`.
pub fn wanted(runtime: &str) -> Wanted {
    match std::env::var("NANOCLAW_TEST_RUNTIMES") {
        Err(_) => Wanted::IfPresent,
        Ok(list) if list.split(',').any(|one| one.trim() == runtime) => Wanted::Required,
        Ok(_) => Wanted::No,
    }
}

impl Wanted {
    /// `None`, after a line that says so, when something needed is missing.
    ///
    /// # Panics
    /// When it is missing and required.
    pub fn or_skip<T, E: std::fmt::Display>(self, runtime: &str, present: Result<T, E>) -> Option<T> {
        match (self, present) {
            (Self::No, _) => {
                println!("skipped: NANOCLAW_TEST_RUNTIMES does not name {runtime}");
                None
            }
            (_, Ok(present)) => Some(present),
            (Self::IfPresent, Err(error)) => {
                println!("skipped: needs {runtime}: {error}");
                None
            }
            (Self::Required, Err(error)) => {
                panic!("NANOCLAW_TEST_RUNTIMES names {runtime}, which cannot be used: {error}")
            }
        }
    }
}

/// The promises that a runtime does not make.
pub fn not_made(report: &Report) -> Vec<&'static str> {
    let all = report.verdicts.iter();
    all.filter(|(_, verdict)| matches!(verdict, Verdict::NotMade(_))).map(|(promise, _)| promise.name).collect()
}

/// An installation that nobody else has.
pub fn install() -> InstallId {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    InstallId::new(format!("test{:x}{nanos:x}", std::process::id())).unwrap()
}

/// The user of the tests' containers: of this process, or an ordinary one when this is root.
pub fn user() -> RunAs {
    let uid = rustix::process::getuid();
    match uid.is_root() {
        true => RunAs { uid: 1000, gid: 1000 },
        false => RunAs { uid: uid.as_raw(), gid: rustix::process::getgid().as_raw() },
    }
}

/// A folder for mounts which any user can pass through; removed when dropped.
pub fn scratch() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("nanoclaw-test-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Makes a root of nothing but a static busybox under all its names.
pub fn busybox_root(root: &Path) -> Result<(), String> {
    let places = ["/bin/busybox", "/usr/bin/busybox", "/bin/busybox-static"];
    let busybox = places.iter().map(Path::new).find(|path| path.exists());
    let busybox = busybox.ok_or("there is no busybox here (on Debian: apt install busybox-static)")?;
    let answer = Command::new(busybox).arg("--list").output().map_err(|error| error.to_string())?;
    let bin = root.join("bin");
    fs::create_dir_all(&bin).map_err(|error| error.to_string())?;
    fs::copy(busybox, bin.join("busybox")).map_err(|error| error.to_string())?;
    for name in String::from_utf8_lossy(&answer.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", bin.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Builds the static program that the suite's promise about sockets wants.
pub fn socket_client(folder: &Path) -> Result<SocketClient, String> {
    const SOURCE: &str = r#"
use std::{env, io, net::Shutdown, os::unix::net::UnixStream};
fn main() -> io::Result<()> {
    let mut socket = UnixStream::connect(env::args().nth(1).expect("a path"))?;
    io::copy(&mut io::stdin(), &mut socket)?;
    socket.shutdown(Shutdown::Write)?;
    io::copy(&mut socket, &mut io::stdout()).map(|_| ())
}
"#;
    let (source, program) = (folder.join("socket_client.rs"), folder.join("socket_client"));
    fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
        .arg(&program)
        .arg(&source)
        .output()
        .map_err(|error| format!("rustc: {error}"))?;
    if built.status.success() {
        Ok(SocketClient { program, arguments: "" })
    } else {
        Err(String::from_utf8_lossy(&built.stderr).into_owned())
    }
}
