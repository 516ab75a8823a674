//! Asks the kernel for what it must refuse.

use std::{
    fs,
    process::{Command, Stdio},
};

use nanoclaw_core::runtime::witness::ProcessStatus;
use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Result,
    mount::{FsOpenFlags, MountFlags, OpenTreeFlags, fsopen, mount, open_tree},
    net::{AddressFamily, SocketType, socket},
    process::{Gid, Uid, chroot},
    thread::{
        CapabilitySet, LinkNameSpaceType, SecureComputingMode, UnshareFlags, capabilities,
        capability_is_in_bounding_set, move_into_link_name_space, no_new_privs, secure_computing_mode,
        set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

/// What the kernel says of us, by its calls where `/proc` says nothing.
pub(super) fn own_status(told: ProcessStatus) -> ProcessStatus {
    if !told.uids.is_empty() {
        return told;
    }
    let unknown = || "unknown".to_owned();
    let held = |number: u32| capability_is_in_bounding_set(CapabilitySet::from_bits_retain(1 << number));
    let bounding = (0..64).map_while(|number| held(number).ok().map(|held| u64::from(held) << number));
    let bounding = bounding.fold(0, |all, bit| all | bit);
    let sets = capabilities(None).ok();
    let set = |of: fn(&rustix::thread::CapabilitySets) -> CapabilitySet| {
        sets.as_ref().map_or_else(unknown, |sets| format!("{:x}", of(sets).bits()))
    };
    ProcessStatus {
        uids: vec![rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()],
        gids: vec![rustix::process::getgid().as_raw(), rustix::process::getegid().as_raw()],
        groups: rustix::process::getgroups().unwrap_or_default().into_iter().map(|group| group.as_raw()).collect(),
        capabilities: [
            ("CapInh", set(|sets| sets.inheritable)),
            ("CapPrm", set(|sets| sets.permitted)),
            ("CapEff", set(|sets| sets.effective)),
            ("CapBnd", format!("{bounding:x}")),
            // Ambient capabilities are permitted and inheritable ones.
            ("CapAmb", set(|sets| sets.permitted & sets.inheritable)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        no_new_privileges: no_new_privs().unwrap_or(false),
        seccomp: match secure_computing_mode() {
            Ok(SecureComputingMode::Filter) => 2,
            Ok(SecureComputingMode::Strict) => 1,
            _ => 0,
        },
    }
}

/// Something that should be refused.
type Attempt = fn() -> Result<()>;

/// What was not refused. In this order, so that what is allowed changes as little as can be of what comes after.
pub(super) fn allowed() -> Vec<String> {
    let attempts: [(&str, Attempt); 11] = [
        ("open a packet socket", || socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop)),
        ("open a raw socket", || socket(AddressFamily::INET, SocketType::RAW, None).map(drop)),
        ("open a mount tree", || open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE).map(drop)),
        ("make a file system", || fsopen("tmpfs", FsOpenFlags::empty()).map(drop)),
        ("change the host name", || rustix::system::sethostname(b"nanoclaw-canary")),
        ("enter a namespace", enter_a_namespace),
        ("become root", || set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)),
        ("enter root's group", || set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)),
        ("join groups", || set_thread_groups(&[Gid::ROOT])),
        ("mount a file system", || mount("tmpfs", "/tmp", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)),
        ("change the root", || chroot("/")),
    ];
    let mut allowed: Vec<String> =
        attempts.into_iter().filter(|(_, attempt)| attempt().is_ok()).map(|(what, _)| what.to_owned()).collect();
    if signals_others() {
        allowed.push("signal processes of others".to_owned());
    }
    // On a thread of its own, which is then gone together with what it got.
    if std::thread::spawn(|| make_a_namespace().is_ok()).join().unwrap_or(true) {
        allowed.push("make a network namespace".to_owned());
    }
    if std::thread::spawn(|| make_a_mount_namespace().is_ok()).join().unwrap_or(true) {
        allowed.push("make a mount namespace".to_owned());
    }
    if user_namespaces() {
        allowed.push("make a user namespace".to_owned());
    }
    allowed
}

fn enter_a_namespace() -> Result<()> {
    let own = rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    use std::os::fd::AsFd as _;
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network))
}

/// The hidden word that makes this program ask for a user namespace.
pub(crate) const NAMESPACE_WORD: &str = "__namespace";

/// Ends well where a user namespace can be made, by which a program is root in a world of its own.
pub(crate) fn namespace() -> u8 {
    u8::from(new_namespace(UnshareFlags::NEWUSER).is_err())
}

/// Whether a user namespace can be made. In another process, since it would change what this one is.
fn user_namespaces() -> bool {
    let Ok(program) = std::env::current_exe() else { return true };
    let tried = Command::new(program).arg(NAMESPACE_WORD).stdin(Stdio::null()).stdout(Stdio::null()).status();
    tried.is_ok_and(|ended| ended.success())
}

fn make_a_namespace() -> Result<()> {
    new_namespace(UnshareFlags::NEWNET)
}

fn make_a_mount_namespace() -> Result<()> {
    new_namespace(UnshareFlags::NEWNS)
}

#[expect(deprecated, reason = "a thread that holds no descriptors others use, and that ends right after")]
fn new_namespace(flags: UnshareFlags) -> Result<()> {
    rustix::thread::unshare(flags)
}

/// Whether a process that is not ours can be reached by a signal; none is sent.
fn signals_others() -> bool {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let others = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| *name != own);
    let others = others.filter_map(|name| rustix::process::Pid::from_raw(name.parse().ok()?));
    others.into_iter().any(|pid| rustix::process::test_kill_process(pid).is_ok())
}
