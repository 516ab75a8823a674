use crate::{
    group::GroupFolder,
    run::{RunId, RunNumber},
    runtime::{HeldSources, ImageRef, InstallId, Labels, Limits, Mount, RunAs},
};

use super::*;

fn spec() -> ContainerSpec {
    ContainerSpec {
        name: "nanoclaw-x".to_owned(),
        image: ImageRef::new("agent").unwrap(),
        command: vec!["/agent".into()],
        env: BTreeMap::from([("TZ".to_owned(), "UTC".into())]),
        mounts: vec![
            Mount { source: "/groups/family".into(), target: "/workspace/group".into(), access: Access::ReadWrite },
            Mount { source: "/bin/agent".into(), target: "/agent".into(), access: Access::ReadOnly },
        ],
        held: HeldSources::default(),
        workdir: "/".into(),
        user: RunAs { uid: 1000, gid: 1000 },
        limits: Limits { memory_bytes: Some(1 << 30), pids: Some(256), milli_cpus: Some(1500) },
        tmp_bytes: 1 << 20,
        labels: Labels {
            install: InstallId::new("0123456789").unwrap(),
            run: RunId { group: GroupFolder::new("family").unwrap(), number: RunNumber(1) },
        },
    }
}

fn bind(source: &str, target: &str, writable: bool) -> InspectedMount {
    InspectedMount { kind: "bind".into(), source: source.into(), target: target.into(), writable }
}

/// The container of [`spec`] as an engine tells of it when everything is right.
fn right() -> Inspected {
    Inspected {
        network: Some("none".into()),
        privileged: Some(false),
        capabilities: Some(Vec::new()),
        security_options: vec!["no-new-privileges:true".into()],
        read_only_root: Some(true),
        tmpfs: BTreeMap::from([("/tmp".into(), "rw,noexec,nosuid,nodev,size=1048576,mode=1777".into())]),
        user: Some("1000:1000".into()),
        memory_bytes: Some(1 << 30),
        memory_and_swap_bytes: Some(1 << 30),
        survives_out_of_memory: false,
        pids: Some(256),
        milli_cpus: Some(1500),
        namespaces: BTreeMap::from([
            ("pid", String::new()),
            ("ipc", "private".into()),
            ("uts", String::new()),
            ("user", String::new()),
        ]),
        devices: Vec::new(),
        extra_groups: Vec::new(),
        hidden_paths: Some(vec!["/proc/kcore".into()]),
        read_only_paths: Some(vec!["/proc/sys".into()]),
        mounts: vec![bind("/groups/family", "/workspace/group", true), bind("/bin/agent", "/agent", false)],
        environment: vec!["TZ=UTC".into(), "PATH=/bin".into(), "container=podman".into()],
        image_environment: vec!["PATH=/bin".into()],
        engine_environment: &["container"],
        restart: Some(String::new()),
    }
}

#[test]
fn what_was_asked_for_has_no_deviation() {
    assert_eq!(right().deviations(&spec()), []);
    let mut unbounded = spec();
    unbounded.limits = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    let found =
        Inspected { memory_bytes: Some(0), memory_and_swap_bytes: Some(0), pids: None, milli_cpus: Some(0), ..right() };
    assert_eq!(found.deviations(&unbounded), []);
}

/// Each line: what was changed, and the one point that is told of it.
#[test]
fn each_way_of_being_weaker_is_told() {
    type Change = fn(&mut Inspected);
    let lines: &[(&str, Change)] = &[
        ("network", |it| it.network = Some("bridge".into())),
        ("network", |it| it.network = Some("host".into())),
        ("network", |it| it.network = None),
        ("privileged", |it| it.privileged = Some(true)),
        ("privileged", |it| it.privileged = None),
        ("capabilities", |it| it.capabilities = Some(vec!["SYS_ADMIN".into()])),
        ("capabilities", |it| it.capabilities = None),
        ("new privileges", |it| it.security_options = Vec::new()),
        ("security options", |it| it.security_options.push("seccomp=unconfined".into())),
        ("security options", |it| it.security_options.push("seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}".into())),
        ("security options", |it| it.security_options.push("apparmor=unconfined".into())),
        ("security options", |it| it.security_options.push("systempaths=unconfined".into())),
        ("security options", |it| it.security_options.push("label=disable".into())),
        ("security options", |it| it.security_options.push("no-new-privileges:false".into())),
        ("root", |it| it.read_only_root = Some(false)),
        ("root", |it| it.read_only_root = None),
        ("pid namespace", |it| {
            it.namespaces.insert("pid", "host".into());
        }),
        ("pid namespace", |it| {
            it.namespaces.insert("pid", "container:1234".into());
        }),
        ("ipc namespace", |it| {
            it.namespaces.insert("ipc", "host".into());
        }),
        ("uts namespace", |it| {
            it.namespaces.insert("uts", "host".into());
        }),
        ("user namespace", |it| {
            it.namespaces.insert("user", "host".into());
        }),
        ("user namespace", |it| {
            it.namespaces.remove("user");
        }),
        ("devices", |it| it.devices.push("/dev/sda".into())),
        ("groups", |it| it.extra_groups.push("docker".into())),
        ("hidden paths", |it| it.hidden_paths = Some(Vec::new())),
        ("read-only paths", |it| it.read_only_paths = Some(Vec::new())),
        ("restart", |it| it.restart = Some("always".into())),
        ("memory", |it| it.memory_bytes = None),
        ("memory", |it| it.memory_bytes = Some(2 << 30)),
        ("memory and swap", |it| it.memory_and_swap_bytes = Some(-1)),
        ("memory and swap", |it| it.memory_and_swap_bytes = Some(2 << 30)),
        ("out of memory", |it| it.survives_out_of_memory = true),
        ("pids", |it| it.pids = Some(-1)),
        ("pids", |it| it.pids = Some(512)),
        ("milli cpus", |it| it.milli_cpus = Some(0)),
        ("user", |it| it.user = Some("0:0".into())),
        ("user", |it| it.user = Some(String::new())),
        ("tmpfs /tmp", |it| it.tmpfs.clear()),
        ("tmpfs /tmp", |it| {
            it.tmpfs.insert("/tmp".into(), "rw,exec,noexec,nosuid,nodev,size=1048576".into());
        }),
        ("tmpfs /tmp", |it| {
            it.tmpfs.insert("/tmp".into(), "rw,nosuid,nodev,size=1048576".into());
        }),
        ("tmpfs /tmp", |it| {
            it.tmpfs.insert("/tmp".into(), "rw,noexec,nosuid,nodev,size=99999999".into());
        }),
        ("tmpfs /run", |it| {
            it.tmpfs.insert("/run".into(), "rw,nosuid,nodev".into());
        }),
        ("mounts", |it| it.mounts.push(bind("/etc", "/host", false))),
        ("mounts", |it| it.mounts[1].writable = true),
        ("mounts", |it| it.mounts[0].source = "/groups/other".into()),
        ("mounts", |it| {
            it.mounts.pop();
        }),
        ("environment", |it| it.environment.push("ANTHROPIC_API_KEY=sk-secret".into())),
        ("environment", |it| it.environment[0] = "TZ=Mars".into()),
        ("environment", |it| it.environment[1] = "PATH=/evil".into()),
    ];
    for (point, change) in lines {
        let mut found = right();
        change(&mut found);
        let told = found.deviations(&spec());
        assert!(!told.is_empty() && told.iter().all(|one| one.point == *point), "{point}: {told:?}");
        assert!(
            !super::super::hardening::in_one_line(&told).contains("sk-secret"),
            "no value of the environment is told"
        );
    }
}

#[test]
fn a_volume_that_an_image_declares_is_refused_with_what_to_do() {
    let mut found = right();
    let volume =
        InspectedMount { kind: "volume".into(), source: "/var/lib/x".into(), target: "/data".into(), writable: true };
    found.mounts.push(volume);
    let told = found.deviations(&spec());
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].found.contains("/data") && told[0].found.contains("VOLUME"), "{told:?}");
}

#[test]
fn an_engines_socket_is_told_wherever_it_is_mounted_also_if_somebody_asked() {
    for name in ["/var/run/docker.sock", "/run/user/1000/podman/podman.sock"] {
        let mut spec = spec();
        spec.mounts.push(Mount { source: name.into(), target: "/s".into(), access: Access::ReadWrite });
        let mut found = right();
        found.mounts.push(bind(name, "/s", true));
        let told = found.deviations(&spec);
        assert_eq!(told.iter().map(|one| one.point.as_str()).collect::<Vec<_>>(), ["engine"]);
    }
}

#[test]
fn root_is_a_deviation_even_if_asked_for() {
    let mut spec = spec();
    spec.user = RunAs { uid: 0, gid: 0 };
    let found = Inspected { user: Some("0:0".into()), ..right() };
    assert_eq!(found.deviations(&spec).len(), 1);
}
