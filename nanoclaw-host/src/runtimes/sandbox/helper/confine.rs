//! Gives up what a container may not have: resources, identity, capabilities, the rest of the file tree.

use std::{fs, path::Path};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use nanoclaw_core::runtime::Access;
use rustix::{
    process::{Gid, Resource, Rlimit, Uid, getrlimit, getuid, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    },
};

use super::{At, held::Held, image, root};
use crate::runtimes::sandbox::plan::{Fault, Isolation, Plan, Refusal};

/// Open files a container may have; enough for language servers and package managers, too few to hurt the host.
pub(in crate::runtimes::sandbox) const OPEN_FILES: u64 = 16_384;

/// Sets the limits that need no cgroup.
pub(super) fn resources(plan: &Plan) -> Result<(), Refusal> {
    if plan.has(Fault::NoProcessLimits) {
        return Ok(());
    }
    lower(Resource::Core, 0)?;
    lower(Resource::Nofile, OPEN_FILES)?;
    plan.processes.map_or(Ok(()), |processes| lower(Resource::Nproc, processes))
}

/// What a container's user namespace may use up of what its user has in all (128 inotify instances, say): our containers run
/// as the host's own user there, and one of them must not starve the host or the others. Mount namespaces are left to the filter
/// on system calls: while the root is made, each mount lies in one of its own for a moment.
const OF_THE_USER: [(&str, u32); 8] = [
    ("max_inotify_instances", 16),
    ("max_inotify_watches", 65_536),
    ("max_user_namespaces", 0),
    ("max_pid_namespaces", 0),
    ("max_net_namespaces", 0),
    ("max_ipc_namespaces", 0),
    ("max_uts_namespaces", 0),
    ("max_cgroup_namespaces", 0),
];

/// Bounds what a container with a user namespace of its own uses up of its user's share. Best effort: there may be no
/// `/proc/sys` to write to, and the kernel without these files has the bounds of the user alone.
pub(super) fn namespace_limits(plan: &Plan) {
    if plan.user_namespace {
        for (name, most) in OF_THE_USER {
            let _ = fs::write(format!("/proc/sys/user/{name}"), most.to_string());
        }
    }
}

/// Lowers both halves of a limit to `value`; a limit that is lower already stays.
fn lower(resource: Resource, value: u64) -> Result<(), Refusal> {
    let value = getrlimit(resource).maximum.map_or(value, |most| most.min(value));
    let limit = Rlimit { current: Some(value), maximum: Some(value) };
    setrlimit(resource, limit).at(format_args!("set {resource:?}"))
}

/// Becomes the planned user without any capability, for good.
///
/// The ids are changed where we are really root; where capabilities come from a user namespace, or there are none, we are
/// that user already.
pub(super) fn identity(plan: &Plan) -> Result<(), Refusal> {
    let really_root = getuid().is_root() && !plan.user_namespace;
    // The bounding set can only be lowered with a capability, so this comes first.
    if (really_root || plan.isolation.own_world()) && !plan.has(Fault::Capabilities) {
        for number in 0..64 {
            // The kernel knows fewer than 64; it answers EINVAL beyond its last one.
            if remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)).is_err() {
                break;
            }
        }
    }
    if really_root && !plan.has(Fault::HostsUser) {
        // Groups before the group before the user: each step needs the rights that a later one gives up.
        let (group, user) = (Gid::from_raw(plan.user.gid), Uid::from_raw(plan.user.uid));
        if !plan.has(Fault::HostsGroups) {
            set_thread_groups(&[]).at("drop supplementary groups")?;
        }
        set_thread_res_gid(group, group, group).at("change the group")?;
        set_thread_res_uid(user, user, user).at("change the user")?;
    }
    // Kernels before 4.3 have no ambient set.
    let _ = clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .at("drop capabilities")?;
    if plan.has(Fault::NoFilters) {
        return Ok(());
    }
    set_no_new_privs(true).at("set no-new-privileges")
}

/// Restricts the file tree by Landlock; says what the kernel made of it.
///
/// In namespaces it is a second wall, as high as the kernel can build it. Alone it must hold, or nothing is started.
pub(super) fn landlock(plan: &Plan, held: &Held) -> Result<String, Refusal> {
    match plan.isolation {
        Isolation::Nothing => Ok("not used".to_owned()),
        Isolation::Namespaces | Isolation::Bubblewrap => {
            behind_namespaces(plan).at("restrict the file tree by Landlock")
        }
        Isolation::Landlock => {
            alone(plan, held).at("restrict the file tree by Landlock (Linux 6.12 or newer is needed)")
        }
    }
}

/// The rights that a rule can grant. Newer ones, such as the one on sockets in files, are left to the namespaces.
const RIGHTS: ABI = ABI::V5;

fn behind_namespaces(plan: &Plan) -> Result<String, RulesetError> {
    // Before Linux 5.19 Landlock refuses every rename between folders, which programs need; the namespaces stand alone there.
    let renames = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::Refer);
    if renames.is_err() {
        return Ok("not used: this kernel's Landlock would refuse renames between folders".to_owned());
    }
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    // Nothing is executed from there. Our own mounts say so too, bubblewrap's cannot.
    let no_programs = ["/tmp", "/dev", "/proc"];
    rules = grant(rules, "/", AccessFs::from_read(RIGHTS) & !AccessFs::Execute)?;
    for path in no_programs {
        rules = grant(rules, path, AccessFs::from_all(RIGHTS) & !AccessFs::Execute)?;
    }
    // A rule grants what another does not, and none takes away: so programs are allowed everywhere else by name.
    for entry in fs::read_dir("/").into_iter().flatten().flatten() {
        let path = entry.path();
        if !no_programs.iter().any(|other| path == Path::new(other)) {
            rules = allow(rules, &path.to_string_lossy(), false)?;
        }
    }
    for mount in &plan.mounts {
        rules = allow(rules, &mount.target, mount.access == Access::ReadWrite)?;
    }
    Ok(format!("{:?}", rules.restrict_self()?.ruleset))
}

/// What programs ask about the machine; the rest of `/proc` is about processes, and all of the host's are in it.
const HARMLESS: &[&str] = &["/proc/cpuinfo", "/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/uptime"];

fn alone(plan: &Plan, held: &Held) -> Result<String, RulesetError> {
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(RIGHTS))?
        .handle_access(AccessNet::from_all(RIGHTS))?
        // Without this, an agent could signal the host, whose user it shares.
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    for path in image::HOST_FOLDERS {
        rules = allow(rules, path, false)?;
    }
    for path in HARMLESS {
        rules = allow(rules, path, false)?;
    }
    for path in image::DEVICES {
        rules = allow(rules, &format!("/dev/{path}"), true)?;
    }
    for (number, mount) in plan.mounts.iter().enumerate() {
        let writable = mount.access == Access::ReadWrite;
        if let Some(source) = held.get(&number) {
            let on_files = if root::is_folder(source) { BitFlags::all() } else { AccessFs::from_file(RIGHTS) };
            rules = rules.add_rule(PathBeneath::new(source, rights(writable) & on_files))?;
            continue;
        }
        // A source that cannot be opened is told as the mount that it is, by the host, before it comes to this.
        rules = allow(rules, &mount.source.to_string_lossy(), writable)?;
    }
    Ok(format!("{:?}", rules.restrict_self()?.ruleset))
}

/// Grants reading and executing, or everything, beneath `path`.
fn allow(
    rules: landlock::RulesetCreated,
    path: &str,
    writable: bool,
) -> Result<landlock::RulesetCreated, RulesetError> {
    grant(rules, path, rights(writable))
}

/// Everything, or reading and executing.
fn rights(writable: bool) -> BitFlags<AccessFs> {
    if writable { AccessFs::from_all(RIGHTS) } else { AccessFs::from_read(RIGHTS) }
}

/// Grants `rights` beneath `path`, as far as they can be had on a file. A path that is not there needs no rule.
fn grant(
    rules: landlock::RulesetCreated,
    path: &str,
    mut rights: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let Ok(opened) = PathFd::new(path) else { return Ok(rules) };
    if !Path::new(path).is_dir() {
        rights &= AccessFs::from_file(RIGHTS);
    }
    rules.add_rule(PathBeneath::new(opened, rights))
}
