//! What no mount may touch, on this machine.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::{
    mounts::{Guard, Guarded},
    runtime::RuntimeKind,
};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::{real, table::MountTable};
use crate::{config::MountsConfig, home::Home, runtimes::engine_api::EngineRuntime};

/// Sockets by which the programs behind them give everything on the machine to whoever can connect.
const ENGINES: &[&str] = &[
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/user/{uid}/docker.sock",
    "/run/user/{uid}/podman/podman.sock",
];

/// Where the kernel shows the machine.
const SYSTEM: &[&str] = &["/proc", "/sys", "/dev"];

/// Everything that is guarded.
pub(super) fn guarded(home: &Home, config: &MountsConfig) -> Vec<Guarded> {
    let table = MountTable::read();
    let uid = rustix::process::geteuid().as_raw().to_string();
    let engines = ENGINES.iter().map(|path| PathBuf::from(path.replace("{uid}", &uid)));
    let engines = engines.chain([RuntimeKind::Docker, RuntimeKind::Podman].map(EngineRuntime::default_socket));
    let private = config.allowlist.as_deref().and_then(Path::parent).map(Path::to_owned);
    let usual = config.user_home.as_ref().map(|home| home.join(".config/nanoclaw"));
    let mut all = vec![(Guard::Home, home.root().to_owned())];
    // The store may be a link to a larger disk.
    all.push((Guard::Home, home.store()));
    all.extend(private.into_iter().chain(usual).map(|path| (Guard::Private, path)));
    all.extend(engines.map(|path| (Guard::Engine, path)));
    all.extend(std::env::current_exe().ok().map(|path| (Guard::Program, path)));
    all.extend(SYSTEM.iter().map(|path| (Guard::System, PathBuf::from(path))));
    all.into_iter().map(|(what, path)| guard(what, &path, &table)).collect()
}

fn guard(what: Guard, path: &Path, table: &MountTable) -> Guarded {
    let path = real(path);
    let opened = openat(CWD, &path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
    let place = opened.and_then(|opened| table.place_of(opened.as_fd(), &path));
    Guarded { what, path, place }
}
