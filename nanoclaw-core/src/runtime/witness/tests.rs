use crate::runtime::{Limits, RunAs};

use super::*;

const OWN: Walls = Walls { own_world: true };

fn profile() -> HardeningProfile {
    HardeningProfile {
        user: RunAs { uid: 1000, gid: 1000 },
        limits: Limits { memory_bytes: Some(64 << 20), pids: Some(64), milli_cpus: Some(500) },
        tmp_bytes: 4 << 20,
    }
}

fn namespaces(number: u32) -> BTreeMap<String, String> {
    ["ipc", "mnt", "net", "pid", "uts"].map(|name| (name.to_owned(), format!("{name}:[{number}]"))).into()
}

/// A canary behind walls that are all there.
fn right() -> Testimony {
    Testimony {
        status: ProcessStatus {
            uids: vec![1000; 4],
            gids: vec![1000; 4],
            groups: vec![1000],
            capabilities: ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
                .map(|name| (name.to_owned(), "0000000000000000".to_owned()))
                .into(),
            no_new_privileges: true,
            seccomp: 2,
        },
        pid: 1,
        processes: 1,
        namespaces: namespaces(2),
        interfaces: vec!["lo".to_owned()],
        connections: BTreeMap::from([("1.1.1.1:443".to_owned(), 101)]),
        tmp_options: "rw,nosuid,nodev,noexec,relatime".to_owned(),
        tmp_bytes: 4 << 20,
        ..Testimony::default()
    }
}

#[test]
fn a_canary_behind_all_walls_has_nothing_to_tell() {
    assert_eq!(right().deviations(&profile(), OWN, &namespaces(1)), []);
    let line = CanaryLine::Saw(Box::new(right()));
    let text = serde_json::to_string(&line).unwrap();
    assert_eq!(serde_json::from_str::<CanaryLine>(&text).unwrap(), line);
}

/// Each line: what was changed, and the one point that is told of it.
#[test]
fn each_wall_that_is_missing_is_told() {
    type Change = fn(&mut Testimony);
    let lines: &[(&str, Change)] = &[
        ("user", |it| it.status.uids[1] = 0),
        ("user", |it| it.status.uids.clear()),
        ("group", |it| it.status.gids[2] = 0),
        ("groups", |it| it.status.groups.push(0)),
        ("CapEff", |it| {
            it.status.capabilities.insert("CapEff".into(), "00000000a80425fb".into());
        }),
        ("CapBnd", |it| {
            it.status.capabilities.insert("CapBnd".into(), "0000000000000400".into());
        }),
        ("CapPrm", |it| {
            it.status.capabilities.remove("CapPrm");
        }),
        ("new privileges", |it| it.status.no_new_privileges = false),
        ("system calls", |it| it.status.seccomp = 0),
        ("system calls", |it| it.allowed.push("mount a file system".into())),
        ("processes", |it| it.pid = 77),
        ("processes", |it| it.processes = 200),
        ("net namespace", |it| {
            it.namespaces.insert("net".into(), "net:[1]".into());
        }),
        ("mnt namespace", |it| {
            it.namespaces.remove("mnt");
        }),
        ("interfaces", |it| it.interfaces.push("eth0".into())),
        ("routes", |it| it.routes.push("0.0.0.0 by eth0".into())),
        ("network", |it| it.connections.clear()),
        ("network to 169.254.169.254:80", |it| {
            it.connections.insert("169.254.169.254:80".into(), 0);
        }),
        ("network to 1.1.1.1:443", |it| {
            it.connections.insert("1.1.1.1:443".into(), -1);
        }),
        ("network to 1.1.1.1:443", |it| {
            it.connections.insert("1.1.1.1:443".into(), 111);
        }),
        ("names", |it| it.resolved.push("93.184.216.34".into())),
        ("engine", |it| it.engine_sockets.push("/var/run/docker.sock".into())),
        ("root", |it| it.writable.push("/etc".into())),
        ("devices", |it| it.devices.push("/dev/sda".into())),
        ("/tmp", |it| it.tmp_executes = true),
        ("/tmp", |it| it.tmp_options = "rw,nodev".into()),
        ("/tmp", |it| it.tmp_options.clear()),
        ("/tmp", |it| it.tmp_bytes = 1 << 30),
    ];
    for (point, change) in lines {
        let mut seen = right();
        change(&mut seen);
        let told = seen.deviations(&profile(), OWN, &namespaces(1));
        assert!(!told.is_empty() && told.iter().all(|one| one.point == *point), "{point}: {told:?}");
    }
}

#[test]
fn without_a_world_of_its_own_a_canary_is_judged_by_what_holds_it() {
    let walls = Walls { own_world: false };
    let seen = Testimony {
        pid: 4711,
        processes: 0,
        namespaces: namespaces(1),
        interfaces: vec!["eth0".to_owned()],
        connections: BTreeMap::from([("1.1.1.1:443".to_owned(), 1)]),
        tmp_options: String::new(),
        ..right()
    };
    assert_eq!(seen.deviations(&profile(), walls, &namespaces(1)), []);
    let reached = Testimony { connections: BTreeMap::from([("1.1.1.1:443".to_owned(), 0)]), ..seen };
    assert_eq!(reached.deviations(&profile(), walls, &namespaces(1)).len(), 1);
}

#[test]
fn a_bound_is_in_force_if_reaching_for_it_met_it() {
    use BoundSeen::{Memory, MilliCpus, Pids};
    let right = [Pids(Some(64)), MilliCpus(560), Memory { stopped: true }];
    assert_eq!(bounds_deviations(&profile(), &right), []);
    let wrong = [
        ("pids", [Pids(None), MilliCpus(500), Memory { stopped: true }]),
        ("pids", [Pids(Some(65)), MilliCpus(500), Memory { stopped: true }]),
        ("milli cpus", [Pids(Some(10)), MilliCpus(1990), Memory { stopped: true }]),
        ("memory", [Pids(Some(10)), MilliCpus(500), Memory { stopped: false }]),
    ];
    for (point, seen) in wrong {
        let told = bounds_deviations(&profile(), &seen);
        assert!(told.len() == 1 && told[0].point == point, "{told:?}");
    }
    assert_eq!(bounds_deviations(&profile(), &[]).len(), 3, "a bound that nobody reached for is not in force");
    let without = Limits { memory_bytes: None, pids: None, milli_cpus: None };
    assert_eq!(bounds_deviations(&HardeningProfile { limits: without, ..profile() }, &[]), [], "what is not asked for");
}

#[test]
fn a_status_is_read_and_what_is_missing_in_it_counts_as_no_wall() {
    let text = "Name:\tagent\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t1000 \n\
                CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
    assert_eq!(ProcessStatus::parse(text), right().status);
    assert_eq!(ProcessStatus::parse(text).deviations(None, OWN), []);
    assert_eq!(ProcessStatus::parse("").deviations(None, OWN).len(), 9, "user, group, five sets, privileges, calls");
}
