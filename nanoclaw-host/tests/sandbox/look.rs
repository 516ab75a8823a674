//! The look from outside at a container that is ready: whatever is not as it was asked for is found, and then nothing of the
//! command is executed.

use nanoclaw_host::runtimes::sandbox::Fault;

use super::*;

/// A container with every kind of mount and limit, which leaves a file behind if it ever runs.
fn complete(bench: &Bench, found: &nanoclaw_core::runtime::Capabilities) -> ContainerSpec {
    let mut spec = bench.shell("complete", "echo ran > /workspace/group/ran");
    let program = bench.folder.path().join("program");
    fs::write(&program, "").unwrap();
    spec.mounts = vec![
        bench.mount("group", "/workspace/group", Access::ReadWrite),
        bench.mount("global", "/workspace/global", Access::ReadOnly),
        Mount { source: program, target: "/opt/program".to_owned(), access: Access::ReadOnly },
    ];
    spec.limits = Limits {
        memory_bytes: found.memory_limit.then_some(300 << 20),
        pids: found.pids_limit.then_some(40),
        milli_cpus: found.cpu_limit.then_some(1500),
    };
    spec
}

/// Starts it in a runtime with this fault and gives what the refusal is about. `None` when it was started.
async fn refused(bench: &Bench, runtime: SandboxRuntime) -> Option<String> {
    let found = bench.runtime.probe().await.unwrap();
    let spec = complete(bench, &found);
    let ran = bench.folder.path().join("group/ran");
    let refused = match runtime.start(&spec).await {
        Ok(container) => {
            container.stdin.close().await;
            let done = Done::of(container.output, container.exit).await;
            assert_eq!(done.exit, Exit::Code(0), "{done:?}");
            None
        }
        Err(RuntimeError::NotEnforced { what, .. }) => Some(what),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(ran.exists(), refused.is_none(), "the command of a refused container was executed: {refused:?}");
    assert_eq!(runtime.list(&install()).await.unwrap(), [], "a refused container is left");
    let _ = fs::remove_file(ran);
    refused
}

pub(super) async fn a_container_as_it_was_asked_for_is_found_to_be_that(bench: Bench) {
    let runtime = SandboxRuntime::new(settings(bench.mode, bench.folder.path().join("right")));
    assert_eq!(refused(&bench, runtime).await, None);
}

/// What of the refusal must be said for each fault. `None` for one that cannot be made in this mode or by this user.
fn told_of(fault: Fault, mode: SandboxMode) -> Option<&'static str> {
    let ours = mode == SandboxMode::Namespaces;
    let has_groups = rustix::process::getgroups().is_ok_and(|groups| !groups.is_empty());
    let (possible, told) = match fault {
        Fault::SharedNetwork => (true, "net namespace: its own was asked for, found the host's"),
        Fault::SharedIpc => (true, "ipc namespace: its own was asked for, found the host's"),
        Fault::SharedCgroups => (true, "cgroup namespace: its own was asked for, found the host's"),
        Fault::SharedHostName => (ours, "uts namespace: its own was asked for, found the host's"),
        Fault::SharedProcesses => (ours && is_root(), "pid namespace: its own was asked for, found the host's"),
        Fault::Capabilities => (ours, "CapBnd: no capability was asked for"),
        Fault::NoFilters => (true, "system calls: filtered (2) was asked for, found 0"),
        Fault::OneFilterLess => (true, "filters on system calls: 3 was asked for, found 2"),
        Fault::HostsUser => (is_root(), "user: "),
        Fault::HostsGroups => (is_root() && has_groups, "groups: "),
        Fault::WritableRoot => (true, "mount at /: ro,nosuid,nodev was asked for, found rw"),
        Fault::WritableMounts => (true, "mount at /workspace/global: nosuid,nodev,ro was asked for, found rw"),
        Fault::PowerfulMounts => (ours, "mount at /tmp: nosuid,nodev,noexec was asked for"),
        Fault::NothingHidden => (ours, "mounts: one at /proc/"),
        Fault::OneMountMore => (ours, "found one at \"/more\""),
        Fault::OneMountLess => (ours, "mounts: one at /opt/program was asked for, found none"),
        Fault::OtherSources => (ours, "mount at /workspace/global: "),
        Fault::NoGroups => (is_root(), "control groups: its own for "),
        Fault::NoProcessLimits => (true, "max "),
    };
    possible.then_some(told)
}

const FAULTS: [Fault; 19] = [
    Fault::SharedNetwork,
    Fault::SharedIpc,
    Fault::SharedHostName,
    Fault::SharedCgroups,
    Fault::SharedProcesses,
    Fault::Capabilities,
    Fault::NoFilters,
    Fault::OneFilterLess,
    Fault::HostsUser,
    Fault::HostsGroups,
    Fault::WritableRoot,
    Fault::WritableMounts,
    Fault::PowerfulMounts,
    Fault::NothingHidden,
    Fault::OneMountMore,
    Fault::OneMountLess,
    Fault::OtherSources,
    Fault::NoGroups,
    Fault::NoProcessLimits,
];

pub(super) async fn whatever_a_helper_gets_wrong_is_found_and_nothing_runs(bench: Bench) {
    let mut tried = 0;
    for fault in FAULTS {
        let Some(told) = told_of(fault, bench.mode) else { continue };
        let runtime = SandboxRuntime::new(settings(bench.mode, bench.folder.path().join("faulty")));
        let what = refused(&bench, runtime.with_faults(vec![fault], None)).await;
        let what = what.unwrap_or_else(|| panic!("{fault:?} was not found"));
        println!("{fault:?}: {what}");
        assert!(what.starts_with("the isolation of a container (") && what.contains(told), "{fault:?}: {what}");
        tried += 1;
    }
    assert!(tried >= 8, "only {tried} were tried");
}

pub(super) async fn a_limit_that_somebody_lifts_before_the_look_is_found(bench: Bench) {
    if !bench.runtime.probe().await.unwrap().memory_limit {
        return println!("skipped: needs control groups (root)");
    }
    // Version 1 and version 2 of each; memory and swap are lifted before memory, which they contain.
    for (files, lifted, told) in [
        (["memory.memsw.limit_in_bytes", "memory.swap.max"], ["-1", "max"], "swap"),
        (["memory.limit_in_bytes", "memory.max"], ["-1", "max"], "memory: 314572800 was asked for"),
        (["pids.max", "pids.max"], ["max", "max"], "pids: 40 was asked for, found max"),
        (["cpu.cfs_quota_us", "cpu.max"], ["-1", "max 100000"], "milli cpus: 1500 was asked for, found "),
    ] {
        let written = Arc::new(AtomicBool::new(false));
        let lift = {
            let written = written.clone();
            move |groups: &[PathBuf]| {
                for group in groups {
                    // Where swap is counted, memory cannot be lifted above both.
                    if files[0] == "memory.limit_in_bytes" {
                        let _ = fs::write(group.join("memory.memsw.limit_in_bytes"), "-1");
                    }
                    for (file, value) in files.iter().zip(lifted) {
                        let file = group.join(file);
                        if file.exists() && fs::write(file, value).is_ok() {
                            written.store(true, Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        let runtime = SandboxRuntime::new(settings(bench.mode, bench.folder.path().join("lifted")));
        let what = refused(&bench, runtime.with_faults(Vec::new(), Some(Arc::new(lift)))).await;
        if !written.load(Ordering::Relaxed) {
            println!("skipped: this kernel has none of {files:?}");
            continue;
        }
        let what = what.unwrap_or_else(|| panic!("{files:?} was not found"));
        assert!(what.contains(told), "{files:?}: {what}");
    }
}

#[tokio::test]
async fn without_namespaces_what_is_left_is_looked_at() {
    let Some(bench) = Bench::of(SandboxMode::LandlockOnly).await else { return };
    for (fault, told) in [(Fault::NoFilters, "system calls: filtered (2)"), (Fault::NoProcessLimits, "max ")] {
        let runtime = SandboxRuntime::new(settings(bench.mode, bench.folder.path().join("faulty")));
        let runtime = runtime.with_faults(vec![fault], None);
        match runtime.start(&bench.shell("faulty", "true")).await {
            Err(RuntimeError::NotEnforced { what, .. }) => assert!(what.contains(told), "{what}"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{fault:?} was not found"),
        }
    }
}
