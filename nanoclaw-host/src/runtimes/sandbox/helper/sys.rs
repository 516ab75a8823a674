//! The system calls that have no safe wrapper. All of them are made by the helper process while it has one thread.
#![allow(unsafe_code, reason = "system calls without a safe wrapper; each block says why it is sound")]

use std::{
    io, mem,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use rustix::{
    net::{AddressFamily, SocketType},
    process::{Pid, Signal},
    thread::UnshareFlags,
};

/// Leaves the named namespaces.
pub(super) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: unsafe only because of `FILES`, which no caller passes.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Which side of a fork one is on.
pub(super) enum Forked {
    Child,
    Parent(Pid),
}

/// Forks.
pub(super) fn fork() -> io::Result<Forked> {
    // SAFETY: this process has one thread, so the child's memory is whole: no lock is held by a thread that is not there.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid).map(Forked::Parent).ok_or_else(|| io::ErrorKind::Other.into()),
    }
}

/// Adds `attributes` (`MOUNT_ATTR_*`) to every mount of the tree that `tree` refers to. Flags that a parent namespace has
/// locked stay as they are, which a classic remount would trip over.
pub(super) fn add_mount_attributes(tree: BorrowedFd<'_>, recursive: bool, attributes: u64) -> io::Result<()> {
    // SAFETY: `mount_attr` is four integers, for which zero is a value.
    let mut wanted: libc::mount_attr = unsafe { mem::zeroed() };
    wanted.attr_set = attributes;
    change_mounts(tree, recursive, &wanted)
}

/// Has every mount of the tree that `tree` refers to neither tell others of what is mounted in it nor be told.
pub(super) fn make_mounts_private(tree: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: `mount_attr` is four integers, for which zero is a value.
    let mut wanted: libc::mount_attr = unsafe { mem::zeroed() };
    wanted.propagation = libc::MS_PRIVATE;
    change_mounts(tree, true, &wanted)
}

fn change_mounts(tree: BorrowedFd<'_>, recursive: bool, wanted: &libc::mount_attr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the descriptor is open, the path is a NUL-terminated literal, and the kernel reads `size` bytes of `wanted`.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(wanted),
            mem::size_of::<libc::mount_attr>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Brings the loopback interface of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: `ifreq` is plain data, for which zero is a value.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open, and SIOCSIFFLAGS reads one `ifreq`, whose name is NUL-terminated by the zeroing.
    let answer = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Marks every descriptor from 3 upwards close-on-exec, whoever left it open.
pub(super) fn close_the_rest_on_exec() -> io::Result<()> {
    // SAFETY: no descriptor is closed, only a flag is set; three integers are passed.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where the loader of this program begins in memory; `None` for a program that is linked statically.
pub(super) fn loader_address() -> Option<usize> {
    // SAFETY: reads a value that the kernel gave at exec.
    let base = unsafe { libc::getauxval(libc::AT_BASE) };
    usize::try_from(base).ok().filter(|&base| base != 0)
}

/// Gives every signal its default effect again and lets all of them through: both are inherited through exec, and either
/// would make a container deaf to TERM.
pub(super) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler of ours exists that could be lost; KILL and STOP are refused by the kernel, which is right.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let none = signal_set(&[]);
    // SAFETY: the set lives, and the old mask is not asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()) };
}

fn signal_set(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: the set is initialised by sigemptyset before it is used.
    unsafe {
        let mut set = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// The signals that a supervising process waits for instead of being interrupted by them.
pub(super) struct Awaited(Vec<i32>);

impl Awaited {
    /// Blocks `signals` from now on, here and in children.
    pub(super) fn block(signals: &[i32]) -> io::Result<Self> {
        let awaited = Self(signals.to_owned());
        awaited.change_mask(libc::SIG_BLOCK)?;
        Ok(awaited)
    }

    /// The next of them.
    pub(super) fn next(&self) -> i32 {
        let set = signal_set(&self.0);
        loop {
            let mut signal = 0;
            // SAFETY: both pointers are to live, initialised locals.
            if unsafe { libc::sigwait(&raw const set, &raw mut signal) } == 0 {
                return signal;
            }
        }
    }

    /// Ends this process by `signal`, whatever other signals are waiting; returns when that does not end a process.
    pub(super) fn end_by(&self, signal: Signal) {
        for &number in &self.0 {
            // SAFETY: no handler of ours exists that could be lost. Ignoring a waiting signal discards it.
            unsafe { libc::signal(number, libc::SIG_IGN) };
        }
        // SAFETY: as above.
        unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
        let _ = self.change_mask(libc::SIG_UNBLOCK);
        let _ = rustix::process::kill_process(rustix::process::getpid(), signal);
    }

    fn change_mask(&self, how: libc::c_int) -> io::Result<()> {
        let set = signal_set(&self.0);
        // SAFETY: the set lives, and the old mask is not asked for.
        match unsafe { libc::sigprocmask(how, &raw const set, std::ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
