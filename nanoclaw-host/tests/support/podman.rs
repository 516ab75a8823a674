//! A Podman service of a test's own, with a storage and a configuration that nobody else uses: rootful when root runs the test,
//! rootless otherwise.

use std::{
    fs, io,
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// How long it may take to answer for the first time.
const STARTS_WITHIN: Duration = Duration::from_secs(30);

/// Ends when dropped, with everything it kept.
pub struct PodmanService {
    process: Child,
    folder: tempfile::TempDir,
}

impl PodmanService {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// What is missing, or what it said.
    pub fn start() -> Result<Self, String> {
        let folder = super::scratch();
        configure(folder.path()).map_err(|error| error.to_string())?;
        let log = fs::File::create(folder.path().join("service.log")).map_err(|error| error.to_string())?;
        let process = podman(folder.path())
            .args(["system", "service", "--time=0"])
            .arg(format!("unix://{}", socket(folder.path()).display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            // Its monitors leave files where the service was started (conmon its `oom`).
            .current_dir(folder.path())
            .process_group(0)
            .spawn()
            .map_err(|error| format!("podman: {error}"))?;
        let mut service = Self { process, folder };
        let since = Instant::now();
        while UnixStream::connect(service.socket()).is_err() {
            let ended = service.process.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() || since.elapsed() > STARTS_WITHIN {
                return Err(fs::read_to_string(service.folder.path().join("service.log")).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(service)
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        socket(self.folder.path())
    }

    /// The value of `XDG_RUNTIME_DIR` with which the program finds it.
    pub fn runtime_folder(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }
}

impl Drop for PodmanService {
    fn drop(&mut self) {
        // Files of a rootless container belong to users that only Podman can be.
        let _ = podman(self.folder.path()).args(["system", "reset", "--force"]).output();
        // Rootless, what serves is a child of it in a user namespace: the group it was started in has both.
        let group = self.process.id().try_into().ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn podman(folder: &Path) -> Command {
    let mut command = Command::new("podman");
    command
        .env("CONTAINERS_CONF", folder.join("containers.conf"))
        .env("CONTAINERS_STORAGE_CONF", folder.join("storage.conf"))
        .env("XDG_RUNTIME_DIR", folder.join("runtime"));
    command
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("runtime/podman/podman.sock")
}

/// Nothing of a person's configuration and state, and what works without systemd, on cgroups of either version, and within the
/// limits of processes that a test machine may have.
///
/// Two services that share what Podman keeps outside of its storage harm each other: each that finds no sign of an earlier one in
/// `tmp_dir` frees every lock there is, also those of the other's containers, and a reset of one removes what the other has in
/// `tmp_dir` and the networks that it knows.
fn configure(folder: &Path) -> io::Result<()> {
    let at = |name: &str| folder.join(name);
    fs::create_dir_all(at("runtime/podman"))?;
    for name in ["state", "networks"] {
        fs::create_dir(at(name))?;
    }
    fs::write(
        at("containers.conf"),
        format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\n\
             [network]\nnetwork_config_dir = {:?}\n\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
             lock_type = \"file\"\ntmp_dir = {:?}\n",
            at("networks"),
            at("state"),
        ),
    )?;
    fs::write(
        at("storage.conf"),
        format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = {:?}\nrunroot = {:?}\nrootless_storage_path = {:?}\n",
            at("root"),
            at("run"),
            at("root")
        ),
    )
}
