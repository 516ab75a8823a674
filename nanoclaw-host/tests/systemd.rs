//! The service under a real systemd, booted in namespaces of its own.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

mod support;

use std::{fs, path::Path, process::Command};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd/boot.sh");
const TOUR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/systemd/tour.sh");

/// Whether a systemd can be booted here.
fn bootable() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("root, to make its namespaces".to_owned());
    }
    let there = Path::new("/lib/systemd/systemd").exists();
    there.then_some(()).ok_or_else(|| "systemd is not installed (on Debian: apt install systemd)".to_owned())
}

#[test]
fn every_unit_that_is_written_is_one_that_systemd_understands() {
    let there = Command::new("systemd-analyze").arg("--version").output().map(drop).map_err(|error| error.to_string());
    if support::wanted("systemd").or_skip("systemd", there).is_none() {
        return;
    }
    let folder = support::scratch();
    let (home, unit) = (folder.path().join("home"), folder.path().join("nanoclaw.service"));
    let nanoclaw = |words: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_nanoclaw")).arg("--home").arg(&home).args(words).output().unwrap();
        assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    nanoclaw(&["init"]);
    for runtime in ["auto", "sandbox", "docker", "podman"] {
        fs::write(home.join("nanoclaw.toml"), format!("[container]\nruntime = \"{runtime}\"\n")).unwrap();
        for (scope, manager) in [(&["--user"][..], "--user"), (&["--system", "--as", "daemon"], "--system")] {
            let words = ["service", "install", "--print", "--credential", "anthropic-api-key=/etc/nanoclaw/key"];
            fs::write(&unit, nanoclaw(&[&words, scope].concat())).unwrap();
            let mut verify = Command::new("systemd-analyze");
            verify.args(["verify", "--man=no", manager]).arg(&unit).env("XDG_RUNTIME_DIR", folder.path());
            let verified = verify.output().unwrap();
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && !said.contains("nanoclaw"), "{runtime} {scope:?}: {said}");
            let mut security = Command::new("systemd-analyze");
            let looked = security.args(["security", "--offline=true", "--no-pager"]).arg(&unit).output().unwrap();
            let looked = String::from_utf8_lossy(&looked.stdout);
            println!("{runtime}, {scope:?}: {}", looked.lines().last().unwrap_or_default());
        }
    }
}

#[test]
fn a_service_is_installed_survives_kill_and_hang_and_is_removed_under_a_real_systemd() {
    if support::wanted("systemd").or_skip("systemd", bootable()).is_none() {
        return;
    }
    // Not below /tmp, which the booted systemd may clean.
    let folder = tempfile::Builder::new().prefix("nanoclaw-systemd-").tempdir_in("/var/tmp").unwrap();
    let mut boot = Command::new("bash");
    // Of the machine's other file systems the booted systemd sees this folder alone.
    let built = Path::new(env!("CARGO_BIN_EXE_nanoclaw"));
    let [program, tour] = ["nanoclaw", "tour.sh"].map(|name| folder.path().join(name));
    fs::copy(built, &program).unwrap();
    fs::copy(built.with_file_name("agent-runner"), folder.path().join("agent-runner")).unwrap();
    fs::copy(TOUR, &tour).unwrap();
    boot.arg(BOOT).arg(folder.path()).arg(&tour).arg(&program).arg(folder.path());
    let booted = boot.output().unwrap();
    let told = fs::read_to_string(folder.path().join("tour.out")).unwrap_or_default();
    println!("{told}\n{}{}", String::from_utf8_lossy(&booted.stdout), String::from_utf8_lossy(&booted.stderr));
    assert!(booted.status.success(), "{}", booted.status);
    let steps: Vec<_> = told.lines().filter_map(|line| Some(line.split_once(": ")?.0)).collect();
    for step in ["installed", "installed again", "killed", "hanging", "at work", "uninstalled", "of an ordinary user"] {
        assert!(steps.contains(&step), "{step} is not among {steps:?}");
    }
}
