//! A [`ContainerSpec`] in the engine's words, with everything it can see wrong refused first.

use std::{collections::HashMap, path::Path};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as EngineMount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};
use nanoclaw_core::runtime::{Access, ContainerSpec, GuestValue, Mount, RuntimeError};

use super::{GROUP_LABEL, INSTALL_LABEL, RUN_LABEL, dialect::Dialect};

/// What the body of a create request depends on beyond the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadOnlyMounts {
    /// The engine makes everything below a read-only mount read-only too.
    Recursive,
    /// It does so for the mount itself only; what is mounted below must not be shown, or it could be written to.
    TopOnly,
}

/// The first version of the API that can make a mount read-only all the way down, and the first kernel. On an older kernel an
/// engine with that API makes only the top read-only, and says nothing.
const RECURSIVE_API: (u32, u32) = (1, 44);
const RECURSIVE_KERNEL: (u32, u32) = (5, 12);

impl ReadOnlyMounts {
    /// What an engine with this version of its API can do on this kernel.
    pub(super) fn of(api: &str, kernel: &str) -> Self {
        let at_least = |text: &str, least| first_two_numbers(text).is_some_and(|version| version >= least);
        if at_least(api, RECURSIVE_API) && at_least(kernel, RECURSIVE_KERNEL) { Self::Recursive } else { Self::TopOnly }
    }
}

/// Of "6.12.107+deb13-amd64" these are 6 and 12.
fn first_two_numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Refuses what the engine would take silently or tell unclearly.
pub(super) fn check(spec: &ContainerSpec, dialect: Dialect) -> Result<(), RuntimeError> {
    if spec.user.uid == 0 || spec.user.gid == 0 {
        return Err(RuntimeError::NotEnforced {
            what: "running as an ordinary user".to_owned(),
            remedy: "run NanoClaw as an ordinary user, or name one for the containers".to_owned(),
        });
    }
    if spec.command.is_empty() {
        let reason = "the command is empty".to_owned();
        return Err(RuntimeError::BadCommand { command: String::new(), reason });
    }
    spec.mounts.iter().try_for_each(|mount| check_mount(mount, dialect))
}

fn check_mount(mount: &Mount, dialect: Dialect) -> Result<(), RuntimeError> {
    let bad = |reason: String| Err(RuntimeError::BadMount { path: mount.source.clone(), reason });
    if !mount.source.is_absolute() {
        return bad("the path is not absolute".to_owned());
    }
    if mount.source.to_str().is_none() {
        return bad("the path is not UTF-8".to_owned());
    }
    if !Path::new(&mount.target).is_absolute() {
        return bad(format!("its place in the container, {:?}, is not an absolute path", mount.target));
    }
    // Podman makes a list with commas of a mount and reads that again, so that a path could say what is mounted how.
    let paths = [mount.source.to_string_lossy(), mount.target.as_str().into()];
    if dialect == Dialect::Podman && paths.iter().any(|path| path.contains(['"', ',', '\n', '\r'])) {
        return bad("Podman cannot be told a path with a comma, a quotation mark or a line break".to_owned());
    }
    // An engine may create a missing path, as root. Looking first is not enough for two who race, but the request asks
    // for a mount that must exist, which docker honours.
    match std::fs::metadata(&mount.source) {
        Ok(_) => Ok(()),
        Err(error) => bad(error.to_string()),
    }
}

/// The body of the create request: no network but loopback, no capabilities, no new privileges, a read-only root, a
/// `/tmp` of its own, limits, and self-removal.
pub(super) fn create_body(
    spec: &ContainerSpec,
    read_only: ReadOnlyMounts,
    dialect: Dialect,
    rootless: bool,
) -> ContainerCreateBody {
    let words = |words: &[GuestValue]| words.iter().map(|word| word.as_str().to_owned()).collect::<Vec<_>>();
    let (program, arguments) = spec.command.split_at(spec.command.len().min(1));
    let memory = spec.limits.memory_bytes.map(signed);
    let tmp = format!("rw,noexec,nosuid,nodev,size={},mode=1777", spec.tmp_bytes);
    let mut tmpfs = HashMap::from([("/tmp".to_owned(), tmp)]);
    tmpfs.extend(
        dialect
            .own_tmpfs()
            .iter()
            .map(|place| ((*place).to_owned(), "rw,noexec,nosuid,nodev,notmpcopyup,size=65536,mode=0755".to_owned())),
    );
    let host_config = HostConfig {
        auto_remove: Some(dialect == Dialect::Docker),
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        // The user inside is the one outside, so that what it writes belongs to the person who runs this.
        userns_mode: rootless.then(|| "keep-id".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        tmpfs: Some(tmpfs),
        // `mounts`, not `binds`: a path is a path whatever is in it, and a missing one is an error.
        mounts: Some(spec.mounts.iter().map(|mount| engine_mount(mount, read_only)).collect()),
        memory,
        // The limit includes swap: as much of both together as of memory alone.
        memory_swap: memory,
        pids_limit: spec.limits.pids.map(i64::from),
        nano_cpus: spec.limits.milli_cpus.map(|milli| i64::from(milli) * 1_000_000),
        // Our runner is the first process and reaps.
        init: Some(false),
        // The host reads the streams; a second copy on the engine's disk would grow without bound.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.to_string()),
        entrypoint: Some(words(program)),
        cmd: Some(words(arguments)),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={}", value.as_str())).collect()),
        user: Some(format!("{}:{}", spec.user.uid, spec.user.gid)),
        working_dir: Some(spec.workdir.as_str().to_owned()),
        labels: Some(labels(spec)),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // When our end of the input is closed, or we are gone, the container reads end of file.
        stdin_once: Some(true),
        tty: Some(false),
        // A check that an image brings along would run commands beside the agent.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        host_config: Some(host_config),
        ..ContainerCreateBody::default()
    }
}

fn engine_mount(mount: &Mount, read_only: ReadOnlyMounts) -> EngineMount {
    let bind_options = (mount.access == Access::ReadOnly).then(|| match read_only {
        ReadOnlyMounts::TopOnly => MountBindOptions { non_recursive: Some(true), ..MountBindOptions::default() },
        // Refused where it cannot be had. It goes with this propagation alone, which is what binds have anyhow.
        ReadOnlyMounts::Recursive => MountBindOptions {
            read_only_force_recursive: Some(true),
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        },
    });
    EngineMount {
        typ: Some(MountType::BIND),
        source: mount.source.to_str().map(str::to_owned),
        target: Some(mount.target.clone()),
        read_only: Some(mount.access == Access::ReadOnly),
        bind_options,
        ..EngineMount::default()
    }
}

fn labels(spec: &ContainerSpec) -> HashMap<String, String> {
    let run = &spec.labels.run;
    HashMap::from([
        (INSTALL_LABEL.to_owned(), spec.labels.install.to_string()),
        (GROUP_LABEL.to_owned(), run.group.to_string()),
        (RUN_LABEL.to_owned(), run.number.to_string()),
    ])
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_only_all_the_way_down_where_engine_and_kernel_can_do_it() {
        for (api, kernel, wanted) in [
            ("1.45", "6.12.107+deb13-cloud-amd64", ReadOnlyMounts::Recursive),
            ("1.44", "5.12-rc1", ReadOnlyMounts::Recursive),
            ("1.45", "4.18.0-553.el8_10.x86_64", ReadOnlyMounts::TopOnly),
            ("1.43", "6.12.107", ReadOnlyMounts::TopOnly),
            ("1.41", "6.12.107", ReadOnlyMounts::TopOnly),
            ("2.0", "7.0.1", ReadOnlyMounts::Recursive),
            ("", "", ReadOnlyMounts::TopOnly),
        ] {
            assert_eq!(ReadOnlyMounts::of(api, kernel), wanted, "API {api} on Linux {kernel}");
        }
    }

    #[test]
    fn nothing_below_a_read_only_mount_can_be_written_to() {
        let mount = |access| Mount { source: "/data".into(), target: "/workspace/extra/data".to_owned(), access };
        let options = |access, read_only| engine_mount(&mount(access), read_only).bind_options;
        let recursive = options(Access::ReadOnly, ReadOnlyMounts::Recursive);
        assert_eq!(recursive.and_then(|options| options.read_only_force_recursive), Some(true));
        let top = options(Access::ReadOnly, ReadOnlyMounts::TopOnly);
        assert_eq!(top.and_then(|options| options.non_recursive), Some(true), "what is below is not shown");
        assert_eq!(options(Access::ReadWrite, ReadOnlyMounts::Recursive), None);
    }
}
