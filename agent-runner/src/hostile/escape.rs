//! Up and out: mounts, namespaces, devices, the kernel's own doors, its settings, and what process 1 holds open.

use std::{
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nanoclaw_core::protocol::{environment::guest, hostile::Outcome};
use rustix::{
    fs::{CWD, FileType, Mode},
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount},
};

use super::{
    Attack,
    knock::{Answer, Table, answer, knock, knock_by, not_tried},
    must_fail,
};

pub(super) fn run(attack: &mut Attack) {
    standing(attack);
    mounts(attack);
    calls(attack);
    devices(attack);
    settings(attack);
    handles(attack);
    programs(attack);
}

fn standing(attack: &mut Attack) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = move |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.unwrap_or_default().trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let value = line(set);
        attack.tries(format!("capabilities: {set}"), |_| match u64::from_str_radix(&value, 16) {
            Ok(0) => Outcome::Refused("none".to_owned()),
            // No program can bring them back: no-new-privileges, and nothing is set-user-id.
            Ok(bits) if set == "CapBnd" || set == "CapInh" => Outcome::Succeeded(format!("{bits:#x} are in reach")),
            _ => Outcome::Succeeded(value),
        });
    }
    for (name, right) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let value = line(name);
        attack.tries(name, |_| {
            if value == right { Outcome::Refused(value) } else { Outcome::Succeeded(format!("it is {value:?}")) }
        });
    }
    let (users, groups) = (line("Uid"), line("Groups"));
    attack.tries("the user", |_| {
        if users.split_whitespace().any(|user| user == "0") {
            Outcome::Succeeded(format!("root: {users}"))
        } else {
            Outcome::Refused(users)
        }
    });
    attack.tries("groups of the host's user", |_| {
        let own = rustix::process::getgid().as_raw().to_string();
        let more: Vec<&str> = groups.split_whitespace().filter(|group| *group != own && *group != "65534").collect();
        if more.is_empty() { Outcome::Refused("none".to_owned()) } else { Outcome::Succeeded(more.join(" ")) }
    });
    attack.tries("becoming root", |_| {
        // In a namespace of users there may be no root to become.
        match answer(Table::Own, libc::SYS_setuid, [0; 6], Stdio::null()) {
            Ok(Answer::Done) => Outcome::Succeeded("it is".to_owned()),
            Ok(answer) => Outcome::Refused(format!("{answer:?}")),
            Err(error) => not_tried(&error),
        }
    });
    attack.tries("more open files than the limit", |_| {
        let more = rustix::process::Rlimit { current: Some(1 << 30), maximum: Some(1 << 30) };
        must_fail(rustix::process::setrlimit(rustix::process::Resource::Nofile, more).map_err(Into::into), |()| {
            "raised".to_owned()
        })
    });
}

fn mounts(attack: &mut Attack) {
    let errno = |result: rustix::io::Result<()>| must_fail(result.map_err(Into::into), |()| "it worked".to_owned());
    attack.tries("mounting a tmpfs", |_| errno(mount("none", "/tmp", "tmpfs", MountFlags::empty(), None)));
    attack.tries("mounting proc", |_| errno(mount("none", "/tmp", "proc", MountFlags::empty(), None)));
    attack.tries("mounting the host's disk", |_| errno(mount("/dev/vda", "/tmp", "ext4", MountFlags::empty(), None)));
    attack.tries("mounting cgroups", |_| errno(mount("none", "/tmp", "cgroup2", MountFlags::empty(), None)));
    attack.tries("mounting an overlay", |_| {
        let options = CString::new("lowerdir=/etc,upperdir=/tmp,workdir=/tmp").unwrap_or_default();
        errno(mount("none", "/tmp", "overlay", MountFlags::empty(), Some(options.as_c_str())))
    });
    attack.tries("laying something over agent-runner", |_| errno(mount_bind("/bin", guest::RUNNER)));
    for place in [guest::GLOBAL_DIR, guest::GATEWAY_DIR, guest::RUNNER, "/"] {
        attack.tries(format!("remounting {place} writable"), |_| errno(mount_remount(place, MountFlags::BIND, "")));
        attack.tries(format!("unmounting {place}"), |_| errno(unmount(place, UnmountFlags::DETACH)));
    }
    attack.tries("sharing mounts with the host", |_| errno(mount_change("/", MountPropagationFlags::SHARED)));
    attack.tries("pivot_root", |_| errno(rustix::process::pivot_root(".", ".")));
    attack.tries("chroot", |_| errno(rustix::process::chroot("/tmp")));
    attack.tries("mounts that the host's changes would reach", |_| {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let shared: Vec<&str> = text.lines().filter(|line| line.contains(" shared:")).collect();
        if shared.is_empty() {
            Outcome::Refused("none is shared".to_owned())
        } else {
            Outcome::Succeeded(shared.join("; "))
        }
    });
}

fn calls(attack: &mut Attack) {
    let namespaces = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("process", libc::CLONE_NEWPID),
        ("network", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("name", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("time", 0x80),
    ];
    for (name, flag) in namespaces {
        let flag = flag as usize;
        attack.tries(format!("a new {name} namespace by unshare"), |_| knock(libc::SYS_unshare, [flag, 0, 0, 0, 0, 0]));
        if name != "time" {
            attack.tries(format!("a new {name} namespace by clone"), |_| {
                knock(libc::SYS_clone, [flag | libc::SIGCHLD as usize, 0, 0, 0, 0, 0])
            });
        }
    }
    attack.tries("clone3, whose flags no filter sees", |_| knock(libc::SYS_clone3, [0, 0, 0, 0, 0, 0]));
    for name in ["user", "mnt", "net", "pid", "ipc", "uts", "cgroup"] {
        attack.tries(format!("entering process 1's {name} namespace"), |_| {
            let entered = File::open(format!("/proc/1/ns/{name}")).and_then(|file| {
                let kind = rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), None);
                Ok(kind?)
            });
            must_fail(entered, |()| "entered".to_owned())
        });
    }
    for (name, number, arguments) in kernel_doors() {
        attack.tries(format!("call {name}"), |_| knock(number, arguments));
    }
    // A socket there is one of vsock.
    let (user, vsock) = (libc::CLONE_NEWUSER as usize, libc::AF_VSOCK as usize);
    for (what, number, number_32, arguments) in [
        ("unshare", libc::SYS_unshare, 310, [user, 0, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, 21, [0; 6]),
        ("socket", libc::SYS_socket, 359, [vsock, 1, 0, 0, 0, 0]),
    ] {
        attack.tries(format!("the x32 table: {what}"), |_| knock_by(Table::X32, number, arguments, Stdio::null()));
        attack.tries(format!("the 32-bit table: {what}"), |_| {
            knock_by(Table::Bits32, number_32, arguments, Stdio::null())
        });
    }
    attack.tries("ptrace of process 1", |_| {
        match answer(Table::Own, libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, 1, 0, 0, 0, 0], Stdio::null()) {
            // It is this group's own init, which has nothing that the agent has not.
            Ok(Answer::Done) => Outcome::Allowed("attached, to the container's own init".to_owned()),
            Ok(answer) => Outcome::Refused(format!("{answer:?}")),
            Err(error) => not_tried(&error),
        }
    });
    attack.tries("reading another process' memory by call", |_| {
        match answer(Table::Own, libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0], Stdio::null()) {
            Ok(Answer::Done) => Outcome::Allowed("the call is there for the container's own processes".to_owned()),
            Ok(answer) => Outcome::Refused(format!("{answer:?}")),
            Err(error) => not_tried(&error),
        }
    });
    attack.tries("signals to every process that can be seen", |_| {
        let text = fs::read_dir("/proc").into_iter().flatten().flatten();
        let count = text.filter(|entry| entry.file_name().as_bytes().iter().all(u8::is_ascii_digit)).count();
        if count > 64 {
            Outcome::Succeeded(format!("{count} processes can be seen"))
        } else {
            Outcome::Refused(format!("only its own {count}"))
        }
    });
}

/// Calls that are made for root or for debuggers, with arguments that mean nothing.
fn kernel_doors() -> Vec<(&'static str, libc::c_long, [usize; 6])> {
    let none = [0; 6];
    vec![
        ("bpf", libc::SYS_bpf, none),
        ("perf_event_open", libc::SYS_perf_event_open, [0, 0, usize::MAX, usize::MAX, 0, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, none),
        ("io_uring_setup", libc::SYS_io_uring_setup, none),
        ("keyctl", libc::SYS_keyctl, none),
        ("add_key", libc::SYS_add_key, none),
        ("request_key", libc::SYS_request_key, none),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, none),
        ("fsopen", libc::SYS_fsopen, none),
        ("fsmount", libc::SYS_fsmount, none),
        ("fspick", libc::SYS_fspick, none),
        ("open_tree", libc::SYS_open_tree, [0, 0, 1, 0, 0, 0]),
        ("move_mount", libc::SYS_move_mount, none),
        ("mount_setattr", libc::SYS_mount_setattr, none),
        ("open_tree_attr", 467, none),
        ("init_module", libc::SYS_init_module, none),
        ("finit_module", libc::SYS_finit_module, [usize::MAX, 0, 0, 0, 0, 0]),
        ("delete_module", libc::SYS_delete_module, none),
        ("kexec_load", libc::SYS_kexec_load, none),
        ("kexec_file_load", libc::SYS_kexec_file_load, [usize::MAX, usize::MAX, 0, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, none),
        ("swapon", libc::SYS_swapon, none),
        ("swapoff", libc::SYS_swapoff, none),
        ("acct", libc::SYS_acct, none),
        ("quotactl", libc::SYS_quotactl, none),
        ("settimeofday", libc::SYS_settimeofday, [0, 1, 0, 0, 0, 0]),
        ("clock_settime", libc::SYS_clock_settime, none),
        ("sethostname", libc::SYS_sethostname, [0, 1, 0, 0, 0, 0]),
        ("setdomainname", libc::SYS_setdomainname, [0, 1, 0, 0, 0, 0]),
        ("iopl", libc::SYS_iopl, [3, 0, 0, 0, 0, 0]),
        ("ioperm", libc::SYS_ioperm, [0x80, 1, 1, 0, 0, 0]),
        ("vhangup", libc::SYS_vhangup, none),
        ("uselib", libc::SYS_uselib, none),
        ("fanotify_init", libc::SYS_fanotify_init, none),
        ("lookup_dcookie", libc::SYS_lookup_dcookie, none),
        ("nfsservctl", libc::SYS_nfsservctl, none),
        ("_sysctl", libc::SYS__sysctl, none),
        ("kcmp", libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [usize::MAX, 0, 0, 0, 0, 0]),
        ("personality with a foreign word", libc::SYS_personality, [0x0020_0000, 0, 0, 0, 0, 0]),
        ("move_pages", libc::SYS_move_pages, [1, 0, 0, 0, 0, 0]),
        ("migrate_pages", libc::SYS_migrate_pages, [1, 0, 0, 0, 0, 0]),
        ("process_madvise", libc::SYS_process_madvise, [usize::MAX, 0, 0, 0, 0, 0]),
    ]
}

fn devices(attack: &mut Attack) {
    for (name, kind, number) in
        [("a disk", FileType::BlockDevice, (254, 0)), ("kernel memory", FileType::CharacterDevice, (1, 1))]
    {
        attack.tries(format!("making the device of {name}"), |attack| {
            let device = rustix::fs::makedev(number.0, number.1);
            let path = attack.places.group.join("device");
            let made = rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device);
            must_fail(made.map_err(Into::into), |()| "it was made".to_owned())
        });
    }
    let known = [
        "mem",
        "kmem",
        "port",
        "kmsg",
        "kvm",
        "fuse",
        "vsock",
        "vhost-vsock",
        "vhost-net",
        "net/tun",
        "loop-control",
        "loop0",
        "mapper/control",
        "btrfs-control",
        "cuse",
        "uinput",
        "input/event0",
        "dri/card0",
        "snd/timer",
        "sda",
        "vda",
        "nvme0",
        "nvme0n1",
        "xvda",
        "ttyS0",
        "console",
        "hpet",
        "rtc0",
        "watchdog",
        "cpu/0/msr",
        "userfaultfd",
        "udmabuf",
        "vfio/vfio",
        "tty0",
        "tty1",
        "vcs",
        "autofs",
        "dm-0",
        "sg0",
        "bus/usb/001/001",
        "hwrng",
        "nvram",
        "ppp",
        "rfkill",
        "uhid",
    ];
    for name in known {
        let path = Path::new("/dev").join(name);
        if !path.exists() {
            continue;
        }
        attack.tries(format!("the device {}", path.display()), |_| open_device(&path));
    }
    attack.tries("devices that no container has", |_| {
        let usual = [
            "console", "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
            "stdout", "tty", "urandom", "zero",
        ];
        let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
        let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        let more: Vec<String> = names.into_iter().filter(|name| !usual.contains(&name.as_str())).collect();
        if more.is_empty() { Outcome::Refused("there is none".to_owned()) } else { Outcome::Succeeded(more.join(", ")) }
    });
    attack.tries("block devices anywhere in /dev and /proc", |_| {
        let mut open = Vec::new();
        for entry in fs::read_dir("/dev").into_iter().flatten().flatten() {
            let is_block = entry.file_type().is_ok_and(|kind| kind.is_block_device());
            if is_block && File::open(entry.path()).is_ok() {
                open.push(entry.path().display().to_string());
            }
        }
        if open.is_empty() {
            Outcome::Refused("none can be opened".to_owned())
        } else {
            Outcome::Succeeded(open.join(", "))
        }
    });
    attack.tries("typing into a terminal of the host", |_| match File::open("/dev/tty") {
        Err(error) => Outcome::Refused(error.to_string()),
        Ok(file) => knock_by(Table::Own, libc::SYS_ioctl, [0, libc::TIOCSTI as usize, 0, 0, 0, 0], file.into()),
    });
}

fn open_device(path: &Path) -> Outcome {
    let options = |write: bool| {
        let mut options = OpenOptions::new();
        options.read(!write).write(write).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open(path)
    };
    match (options(false), options(true)) {
        (Err(error), Err(_)) => Outcome::Refused(error.to_string()),
        // Docker hands /dev/console to containers with a terminal alone; without one it is the container's own.
        (read, write) => Outcome::Succeeded(format!("read {:?}, write {:?}", read.is_ok(), write.is_ok())),
    }
}

fn settings(attack: &mut Attack) {
    // Opened for writing, which must be refused, and nothing written.
    let files = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/kernel/unprivileged_bpf_disabled",
        "/proc/sys/kernel/yama/ptrace_scope",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/fs/protected_hardlinks",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/user/max_user_namespaces",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/bus/pci/00/00.0",
        "/proc/mtrr",
        "/proc/scsi/scsi",
        "/proc/acpi/wakeup",
        "/proc/1/oom_score_adj",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/security/apparmor/.load",
        "/sys/fs/selinux/enforce",
        "/sys/power/state",
        "/sys/kernel/debug/tracing/trace",
        "/sys/firmware/efi/vars",
    ];
    for path in files {
        attack.tries(format!("writing {path}"), |_| {
            let opened = OpenOptions::new().write(true).open(path);
            if opened.is_ok() && path == "/proc/1/oom_score_adj" {
                return Outcome::Allowed("it may offer its own init to the kernel when memory is short".to_owned());
            }
            must_fail(opened, |_| "it opened for writing".to_owned())
        });
    }
    attack.tries("lowering its own chance to be killed when memory is short", |_| {
        must_fail(fs::write("/proc/self/oom_score_adj", "-1000"), |()| "it is -1000".to_owned())
    });
    attack.tries("control groups", |_| control_groups());
    attack.tries("a control group of its own", |_| {
        let mut made = Vec::new();
        for top in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/unified"] {
            if fs::create_dir(Path::new(top).join("hostile")).is_ok() {
                made.push(top);
            }
        }
        if made.is_empty() {
            Outcome::Refused("none can be made".to_owned())
        } else {
            Outcome::Succeeded(made.join(", "))
        }
    });
}

fn control_groups() -> Outcome {
    let mut open = Vec::new();
    let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 4)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth > 0 {
                folders.push((entry.path(), depth - 1));
            } else if kind.is_file() && OpenOptions::new().write(true).open(entry.path()).is_ok() {
                open.push(entry.path().display().to_string());
            }
        }
    }
    open.truncate(5);
    if open.is_empty() {
        Outcome::Refused("no file of them can be written".to_owned())
    } else {
        Outcome::Succeeded(open.join(", "))
    }
}

fn handles(attack: &mut Attack) {
    attack.tries("what process 1 and this one hold open", |_| {
        let mut out = Vec::new();
        for process in ["self", "1"] {
            for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                let about = fs::metadata(entry.path());
                let is_own =
                    target.starts_with("/proc") || target.starts_with("/workspace") || target.starts_with("/dev");
                if about.is_ok_and(|about| about.is_dir()) && !is_own {
                    out.push(format!("{} is {}", entry.path().display(), target.display()));
                }
            }
        }
        if out.is_empty() {
            Outcome::Refused("no folder outside its mounts".to_owned())
        } else {
            Outcome::Succeeded(out.join(", "))
        }
    });
    attack.tries("the root of process 1", |_| {
        let (own, first) = (fs::metadata("/"), fs::metadata("/proc/1/root"));
        match (own, first) {
            (Ok(own), Ok(first)) if (own.dev(), own.ino()) == (first.dev(), first.ino()) => {
                Outcome::Refused("it is the container's own".to_owned())
            }
            (_, Ok(_)) => Outcome::Succeeded("it is another one".to_owned()),
            (_, Err(error)) => Outcome::Refused(error.to_string()),
        }
    });
    attack.tries("above its own root by dots", |_| {
        let (root, above) = (fs::metadata("/"), fs::metadata("/../../../.."));
        match (root, above) {
            (Ok(root), Ok(above)) if root.ino() == above.ino() => Outcome::Refused("there is nothing above".to_owned()),
            _ => Outcome::Succeeded("there is something above".to_owned()),
        }
    });
    for path in
        [guest::RUNNER, "/proc/1/exe", "/proc/self/exe", "/bin/sh", "/usr/bin/env", "/etc/passwd", "/etc/ld.so.preload"]
    {
        attack.tries(format!("overwriting {path}"), |_| {
            let opened = OpenOptions::new().write(true).create(path.ends_with("preload")).truncate(false).open(path);
            must_fail(opened, |_| "it opened for writing".to_owned())
        });
    }
    for place in [
        "/",
        "/usr/bin",
        "/etc",
        "/root",
        "/app",
        "/nanoclaw/bin",
        guest::GATEWAY_DIR,
        "/dev",
        "/sys",
        "/proc",
        "/run",
        "/var/tmp",
        "/home",
    ] {
        attack.tries(format!("a new file in {place}"), |_| {
            let path = Path::new(place).join("hostile");
            let made = File::create(&path);
            let gone = fs::remove_file(&path);
            match (made, gone) {
                (Ok(_), _) if place == "/dev" || place == "/run" || place == "/var/tmp" || place == "/home" => {
                    Outcome::Allowed("a file system of the container's own".to_owned())
                }
                (made, _) => must_fail(made, |_| "it was made".to_owned()),
            }
        });
    }
}

fn programs(attack: &mut Attack) {
    attack.tries("set-user-id programs", |_| {
        let (mut all, mut folders) =
            (Vec::new(), vec![PathBuf::from("/usr"), "/bin".into(), "/sbin".into(), "/opt".into()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(about) = entry.metadata() else { continue };
                if about.is_dir() {
                    folders.push(entry.path());
                } else if about.is_file() && about.permissions().mode() & 0o6000 != 0 && about.uid() == 0 {
                    all.push(entry.path());
                }
            }
        }
        // `su`, `mount` and their like ask who they are first of all.
        let as_root = all.iter().find(|path| {
            let asked = Command::new(path)
                .arg("--help")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            asked.is_ok_and(|mut child| {
                let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
                let _ = child.wait();
                status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
            })
        });
        match as_root {
            Some(path) => Outcome::Succeeded(format!("{} ran as root", path.display())),
            None => Outcome::Refused(format!("{} there, none gives root", all.len())),
        }
    });
    for (folder, own) in [("/tmp", false), ("/dev/shm", false), ("/workspace/group", true)] {
        attack.tries(format!("a program of its own in {folder}"), |_| {
            let path = Path::new(folder).join("hostile-program");
            let ran = fs::copy("/proc/self/exe", &path).and_then(|_| {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
                Command::new(&path).arg("--version").stdout(Stdio::null()).status()
            });
            let _ = fs::remove_file(&path);
            match ran {
                Ok(_) if own => Outcome::Allowed("the group's folder may hold programs".to_owned()),
                ran => must_fail(ran, |status| format!("it ran: {status}")),
            }
        });
    }
    attack.tries("a program from memory alone", |_| {
        let ran = rustix::fs::memfd_create("hostile", rustix::fs::MemfdFlags::empty()).map_err(Into::into).and_then(
            |memory| {
                use std::os::fd::AsRawFd as _;
                let mut file = File::from(memory);
                let mut program = Vec::new();
                File::open("/proc/self/exe")?.read_to_end(&mut program)?;
                std::io::Write::write_all(&mut file, &program)?;
                Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
                    .arg("--version")
                    .stdout(Stdio::null())
                    .status()
            },
        );
        match ran {
            Ok(status) => Outcome::Allowed(format!("{status}; it has no more rights than any other")),
            Err(error) => Outcome::Refused(error.to_string()),
        }
    });
}
