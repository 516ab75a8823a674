//! The system call filters (seccomp): everything is allowed but what reaches past the walls or widens the kernel's surface.
//!
//! The list follows Docker's default profile in what it takes away; every call on it answers EPERM.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter, sock_filter,
};

use crate::runtimes::sandbox::plan::{Fault, Isolation, Plan};

/// Refused whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    // Since Linux 6.15; libc has no name for it yet.
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_open_by_handle_at,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_nfsservctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_fanotify_init,
    // Kernel code, keys, the machine.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_vhangup,
    // Where memory lies is the machine's business.
    libc::SYS_mbind,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
];

/// The same number on every architecture, as all new calls have.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// The personalities that programs ask for (list: Docker's default profile): Linux, the 32-bit machine name, fixed addresses
/// for debuggers, and the question which one it is. Others switch old and weak behaviour on.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// New namespaces that `clone` could be asked for.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Input pushed into a terminal, by the classic way and by the console's.
const TERMINAL_INPUT: [u64; 2] = [0x5412, 0x541c];

/// The families of sockets that stay inside a network namespace. AF_VSOCK does not: it reaches the hypervisor.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// How many filters there are.
pub(in crate::runtimes::sandbox) const FILTERS: u32 = 3;

/// Installs the filters; they hold for everything that this process will ever execute.
pub(super) fn apply(plan: &Plan) -> Result<(), Error> {
    if plan.has(Fault::NoFilters) {
        return Ok(());
    }
    // One filter has one answer for what it matches, so there is one filter per answer. The one that refuses by EPERM comes
    // last, because installing is itself a system call that the earlier ones must let through.
    apply_filter(&foreign_numbers())?;
    if !plan.has(Fault::OneFilterLess) {
        apply_filter(&no_clone3()?)?;
    }
    apply_filter(&refusals(plan.isolation)?)
}

/// `clone3` takes its flags from memory, where a filter cannot look: as if the kernel did not have it, upon which C libraries
/// use `clone`.
fn no_clone3() -> Result<BpfProgram, Error> {
    let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    compile(rules, libc::ENOSYS)
}

fn refusals(isolation: Isolation) -> Result<BpfProgram, Error> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = REFUSED.iter().map(|&number| (number, Vec::new())).collect();
    let any_of =
        |argument, conditions: Vec<(SeccompCmpArgLen, SeccompCmpOp, u64)>| -> Result<Vec<SeccompRule>, Error> {
            conditions
                .into_iter()
                .map(|(length, operator, value)| {
                    let condition = SeccompCondition::new(argument, length, operator, value).map_err(Error::Backend)?;
                    SeccompRule::new(vec![condition]).map_err(Error::Backend)
                })
                .collect()
        };
    let namespaces = NEW_NAMESPACES.iter().map(|&flag| {
        let flag = flag.cast_unsigned().into();
        (SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)
    });
    rules.insert(libc::SYS_clone, any_of(0, namespaces.collect())?);
    let terminal = TERMINAL_INPUT.iter().map(|&request| (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, any_of(1, terminal.collect())?);
    let other_personality = PERSONALITIES
        .iter()
        .map(|&known| {
            SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, known).map_err(Error::Backend)
        })
        .collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_personality, vec![SeccompRule::new(other_personality).map_err(Error::Backend)?]);
    let sockets = match isolation {
        // Neither Landlock nor a filter can tell the gateway's socket from the session bus or an engine's socket, each of
        // which is a way out; so without namespaces there are no sockets at all.
        Isolation::Landlock => Vec::new(),
        Isolation::Namespaces | Isolation::Bubblewrap | Isolation::Nothing => {
            let other = FAMILIES
                .iter()
                .map(|&family| {
                    let family = family.cast_unsigned().into();
                    SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family).map_err(Error::Backend)
                })
                .collect::<Result<_, _>>()?;
            vec![SeccompRule::new(other).map_err(Error::Backend)?]
        }
    };
    rules.insert(libc::SYS_socket, sockets);
    compile(rules, libc::EPERM)
}

fn compile(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, Error> {
    let architecture = std::env::consts::ARCH.try_into().map_err(Error::Backend)?;
    let answer = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture).map_err(Error::Backend)?;
    filter.try_into().map_err(Error::Backend)
}

/// x86-64 kernels may also answer to a second set of numbers (x32, from 0x4000_0000), under which every refusal above could be
/// walked around: as if the kernel did not have them. No other architecture has numbers that high.
fn foreign_numbers() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7fff_0000;
    const ANSWER_ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        step(LOAD_WORD, 0, 0, 0),
        step(JUMP_IF_AT_LEAST, 0, 1, 0x4000_0000),
        step(RETURN, 0, 0, ANSWER_ERRNO | libc::ENOSYS.cast_unsigned()),
        step(RETURN, 0, 0, ALLOW),
    ]
}
