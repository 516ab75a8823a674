//! Finds out how containers can be held on this machine, by starting one and looking from inside.
//!
//! Settings of the kernel are not read: distributions refuse user namespaces in more ways than there are settings (a limit of
//! zero, an AppArmor rule that strikes at a later step, a seccomp filter around us), and only the attempt tells.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use nanoclaw_core::runtime::{Capabilities, Limits, RunAs, RuntimeError, RuntimeKind};
use rustix::process::{getegid, geteuid};

use super::{
    SandboxMode, SandboxSettings, launch,
    limits::{Groups, Hierarchies, InForce},
    look::Asked,
    plan::{Isolation, PROBE_THREADS, Plan, Report, Root, Task},
    spawner::{Spawner, bare_command},
};

/// The limit on processes that is set for a probe; below what a report tries to start.
const PROBE_PIDS: u32 = 8;
const _: () = assert!((PROBE_PIDS as u64) < PROBE_THREADS);

/// The user of a probe that is started by root: the kernel's own "nobody".
const NOBODY: RunAs = RunAs { uid: 65_534, gid: 65_534 };

/// The pause before a mode that failed is tried once more.
const SECOND_TRY_AFTER: std::time::Duration = std::time::Duration::from_millis(200);

const REMEDY: &str = "install bubblewrap (Debian and Ubuntu: `apt install bubblewrap`), or allow unprivileged user namespaces (Ubuntu: an AppArmor profile `profile nanoclaw \
                      /path/to/nanoclaw flags=(unconfined) { userns, }` in /etc/apparmor.d/nanoclaw, loaded by \
                      `apparmor_parser -r`; Debian: `sysctl kernel.unprivileged_userns_clone=1`), or run nanoclaw as \
                      root, or install Docker or Podman; `--unsafe-no-sandbox` runs agents without any isolation";

/// How containers are held from now on, and what was found to be in force.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) isolation: Isolation,
    /// The bubblewrap program, where it is what holds.
    pub(super) bubblewrap: Option<PathBuf>,
    pub(super) in_force: InForce,
    /// Containers get control groups.
    pub(super) uses_groups: bool,
    /// The one user that containers can run as; `None` when the host is root and can choose.
    pub(super) only_user: Option<RunAs>,
    pub(super) capabilities: Capabilities,
}

impl Chosen {
    /// Whether capabilities come from a user namespace.
    pub(super) fn user_namespace(&self) -> bool {
        self.only_user.is_some() && self.isolation.own_world()
    }

    /// Whether `RLIMIT_NPROC` counts a container's own processes: since Linux 5.14 it counts by user namespace.
    pub(super) fn counts_processes_by_namespace(&self) -> bool {
        self.user_namespace() && self.in_force.pids
    }
}

/// `pids` processes of the container and those of the helper that are in its user namespace: the outer one, which entered it
/// before it forked. Bubblewrap's stays outside.
pub(super) fn with_helper(pids: u32, isolation: Isolation) -> u64 {
    u64::from(pids) + u64::from(isolation == Isolation::Namespaces)
}

/// Tries the modes that the settings allow, the best first.
///
/// # Errors
/// [`RuntimeError::Unavailable`] with what became of each, and what to do.
pub(super) async fn choose(
    settings: &SandboxSettings,
    spawner: &Spawner,
    hierarchies: &Hierarchies,
) -> Result<Chosen, RuntimeError> {
    let candidates: &[Isolation] = match settings.mode {
        SandboxMode::Auto => &[Isolation::Namespaces, Isolation::Bubblewrap, Isolation::Landlock],
        SandboxMode::Namespaces => &[Isolation::Namespaces],
        SandboxMode::Bubblewrap => &[Isolation::Bubblewrap],
        SandboxMode::LandlockOnly => &[Isolation::Landlock],
        SandboxMode::Unsafe => &[Isolation::Nothing],
    };
    let mut failures = Vec::new();
    for &isolation in candidates {
        let mut outcome = attempt(settings, spawner, hierarchies, isolation).await;
        if outcome.is_err() && candidates.len() > 1 {
            // What is not allowed is refused again; what failed for a moment on a busy machine must not cost isolation.
            tokio::time::sleep(SECOND_TRY_AFTER).await;
            outcome = attempt(settings, spawner, hierarchies, isolation).await;
        }
        match outcome {
            Ok(mut chosen) => {
                chosen.capabilities.remarks.extend(failures);
                return Ok(chosen);
            }
            Err(reason) => failures.push(format!("{} cannot be used here: {reason}.", name(isolation))),
        }
    }
    let reason = failures.join(" ").trim_end_matches('.').to_owned();
    Err(RuntimeError::Unavailable { runtime: RuntimeKind::Sandbox, reason, remedy: REMEDY.to_owned() })
}

fn name(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Namespaces => "the sandbox with namespaces",
        Isolation::Bubblewrap => "the sandbox with bubblewrap",
        Isolation::Landlock => "the sandbox with Landlock alone",
        Isolation::Nothing => "running without a sandbox",
    }
}

async fn attempt(
    settings: &SandboxSettings,
    spawner: &Spawner,
    hierarchies: &Hierarchies,
    isolation: Isolation,
) -> Result<Chosen, String> {
    let root = geteuid().is_root();
    let own = RunAs { uid: geteuid().as_raw(), gid: getegid().as_raw() };
    let user = if root { NOBODY } else { own };
    let user_namespace = !root && isolation.own_world();
    let bubblewrap = match isolation {
        Isolation::Bubblewrap => Some(find_program(&settings.bubblewrap)?),
        _ => None,
    };
    let limits = Limits { memory_bytes: Some(512 << 20), pids: Some(PROBE_PIDS), milli_cpus: Some(1000) };
    let mut remarks = Vec::new();
    let groups = if hierarchies.in_force() == InForce::default() {
        None
    } else {
        match hierarchies.make(limits) {
            Ok(groups) => Some(groups),
            Err(error) => {
                remarks.push(format!("Control groups cannot be used: {error}."));
                None
            }
        }
    };
    let plan = Plan {
        isolation,
        bubblewrap,
        user_namespace,
        task: Task::Report,
        env: BTreeMap::new(),
        workdir: "/".to_owned(),
        root: Root::Host,
        mounts: Vec::new(),
        tmp_bytes: 1 << 20,
        held: Vec::new(),
        user,
        cgroups: groups.as_ref().map(Groups::entrances).unwrap_or_default(),
        processes: user_namespace.then(|| with_helper(PROBE_PIDS, isolation)),
        #[cfg(feature = "failpoints")]
        faults: Vec::new(),
    };
    let groups = groups.map(Arc::new);
    let asked = Arc::new(Asked::to_try(plan, limits, groups.clone()));
    let mut launched =
        launch::launch(spawner, &settings.helper, "probe", &asked).await.map_err(|error| error.to_string())?;
    let plan = &asked.plan;
    let Some(report) = launched.report.take() else { return Err("the probe said nothing".to_owned()) };
    // Its groups can be removed only after its end.
    let _ = launched.helper.wait().await;
    check(isolation, user, &report)?;

    let by_groups = groups.as_ref().map_or(InForce::default(), |_| hierarchies.in_force());
    // The first process is one of them.
    let pids = report.threads + 1 == u64::from(PROBE_PIDS);
    if by_groups.pids && !pids {
        return Err(format!("a limit of {PROBE_PIDS} processes let {} start", report.threads + 1));
    }
    let in_force = InForce { pids, ..by_groups };
    if !in_force.memory || !in_force.cpu {
        remarks.push(
            "Memory and processor time are not limited: that takes control groups, which root can make, and a systemd \
             service with Delegate=yes."
                .to_owned(),
        );
    }
    match isolation {
        Isolation::Namespaces => {}
        Isolation::Bubblewrap => remarks.push("Bubblewrap makes the namespaces of containers.".to_owned()),
        Isolation::Landlock => remarks.push(
            "Agents see the host's paths, and have no sockets at all, so no way to a model: only agents that need none work."
                .to_owned(),
        ),
        Isolation::Nothing => remarks.push("AGENTS ARE NOT ISOLATED: they can do whatever this account can.".to_owned()),
    }
    let only_user = (!root).then_some(own);
    let own_world = isolation.own_world();
    let capabilities = Capabilities {
        description: describe(isolation, plan.bubblewrap.as_deref(), root, &report).await,
        own_mounts: own_world,
        own_network: own_world,
        memory_limit: in_force.memory,
        tells_out_of_memory: in_force.memory,
        pids_limit: in_force.pids,
        cpu_limit: in_force.cpu,
        images: own_world,
        outlive_host: false,
        remarks,
    };
    let uses_groups = groups.is_some();
    Ok(Chosen { isolation, bubblewrap: plan.bubblewrap.clone(), in_force, uses_groups, only_user, capabilities })
}

/// The absolute path of `program`; the helper has no environment, and so no search path.
fn find_program(program: &Path) -> Result<PathBuf, String> {
    let folders = match program.components().count() {
        1 if program.is_relative() => std::env::var_os("PATH").unwrap_or_default(),
        _ => ".".into(),
    };
    let is_program = |path: &PathBuf| path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok();
    let mut found = std::env::split_paths(&folders).map(|folder| folder.join(program)).filter(is_program);
    let missing = || format!("there is no program {}", program.display());
    std::path::absolute(found.next().ok_or_else(missing)?).map_err(|error| error.to_string())
}

async fn describe(isolation: Isolation, bubblewrap: Option<&Path>, root: bool, report: &Report) -> String {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let who = if root { "as root" } else { "as an ordinary user" };
    let how = match isolation {
        Isolation::Namespaces => format!("namespaces, seccomp, Landlock {}", report.landlock),
        Isolation::Bubblewrap => format!("{}, seccomp, Landlock {}", version(bubblewrap).await, report.landlock),
        Isolation::Landlock => format!("Landlock {}, seccomp, no namespaces", report.landlock),
        Isolation::Nothing => "NO ISOLATION".to_owned(),
    };
    format!("embedded sandbox: {how}; Linux {release}, {who}")
}

/// What bubblewrap calls itself: "bubblewrap 0.8.0".
async fn version(bubblewrap: Option<&Path>) -> String {
    let told = match bubblewrap {
        Some(program) => bare_command(program, Stdio::null()).arg("--version").output().await.ok(),
        None => None,
    };
    let text = told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    text.filter(|text| text.starts_with("bubblewrap") && !text.contains('\n')).unwrap_or("bubblewrap".to_owned())
}

/// Compares what was seen with what must be.
fn check(isolation: Isolation, user: RunAs, report: &Report) -> Result<(), String> {
    let own_world = isolation.own_world();
    let confined = isolation != Isolation::Nothing;
    let faults = [
        (report.user != user, "it ran as another user"),
        (!report.no_new_privileges, "no-new-privileges was not set"),
        (report.effective_capabilities != "0", "it had capabilities"),
        (own_world && report.bounding_capabilities != "0", "it could have gained capabilities"),
        (confined && !report.seccomp, "no system call filter was in force"),
        (confined && report.root_writable, "it could write to the root folder"),
        (own_world && report.pid != 1, "it had no process namespace"),
        (own_world && report.interfaces != ["lo"], "it had network interfaces beside loopback"),
        (own_world && !report.loopback, "its loopback interface did not work"),
        (isolation == Isolation::Landlock && report.internet_sockets, "it could make internet sockets"),
        (isolation == Isolation::Landlock && report.landlock != "FullyEnforced", "Landlock was not fully enforced"),
    ];
    let found: Vec<&str> = faults.iter().filter_map(|(wrong, what)| wrong.then_some(*what)).collect();
    if found.is_empty() { Ok(()) } else { Err(format!("when tried, {}", found.join(", "))) }
}
