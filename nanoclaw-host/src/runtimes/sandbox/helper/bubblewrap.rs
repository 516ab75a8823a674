//! The outer half where bubblewrap makes the namespaces and the root: says what to make, starts it, and looks after it.
//!
//! ```text
//! outer helper ──fork, exec──▶ bwrap ──clone──▶ this program again ──exec──▶ command (process 1)
//!       └──────────── socket: streams, plan ─────────▶┘ identity, Landlock, seccomp
//! ```
//!
//! Bubblewrap works by paths and follows links, and it makes missing places wherever they are. So what it is told is checked
//! before, and what it made is compared with it from inside, before anything else happens there.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::Command,
};

use nanoclaw_core::runtime::{Access, Mount};
use rustix::{
    fs::{FileType, MemfdFlags, Mode, OFlags, ResolveFlags, fstat, fstatvfs, memfd_create, openat2},
    io::{Errno, FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
    process::{Signal, kill_process, set_parent_process_death_signal, waitpid},
};
use serde::{Deserialize, Serialize};

use super::{
    At, HIDDEN_WORD_INSIDE, handover,
    held::{self, Held},
    hung_up,
    image::{self, HOST_NAME, Piece, is_below, tidy},
    outside::{self, First},
    root, say,
    sys::{self, Awaited, Forked},
};
use crate::runtimes::sandbox::plan::{Fault, Plan, Refusal, Word};

/// How much of what bubblewrap complains about is told, in bytes.
const LONGEST_COMPLAINT: u64 = 2048;

/// Has bubblewrap make the container and waits for it; returns the exit code to end with.
///
/// # Errors
/// When it did not come to the container's first process. After that, the first process speaks for itself.
pub(super) fn run(control: &mut UnixStream, plan: &Plan, held: &Held, awaited: &Awaited) -> Result<i32, Refusal> {
    let program = plan.bubblewrap.as_deref().ok_or("no program is named").at("find bubblewrap")?;
    let pieces = image::pieces(plan)?;
    let sources = open_sources(plan, held, &pieces)?;
    let orders = Orders::of(plan, &sources, &pieces).at("write down what bubblewrap is to make")?;
    let itself = Itself::find().at("find this program's own files")?;

    let (mut ours, theirs) = UnixStream::pair().at("make a socket")?;
    let (complaints, complain) = pipe_with(PipeFlags::CLOEXEC).at("make a pipe")?;
    let bubblewrap = match sys::fork().at("fork")? {
        Forked::Child => {
            drop(ours);
            let error = become_bubblewrap(program, orders, &itself, theirs, &complain);
            let _ = writeln!(File::from(complain), "{}: {error}", program.display());
            std::process::exit(125)
        }
        Forked::Parent(pid) => pid,
    };
    drop((theirs, complain));
    let identities: Vec<Identity> = sources.iter().map(|source| source.identity).collect();
    match handover::give(&mut ours, control, plan, &identities) {
        Ok(first) => {
            let prepared = outlive_host_to_kill().and_then(|()| enter_groups(&first, plan));
            let first = First::Behind { bubblewrap, first };
            if let Err(refusal) = prepared {
                say(control, &Word::Refused(refusal));
                first.signal(Signal::KILL);
            }
            if hung_up(control) {
                // The host ended before that and will not be noticed any more.
                first.signal(Signal::KILL);
            }
            handover::release(&mut ours);
            outside::close_streams(control);
            // The socket stays open: its hanging up is how the container learns that this process is gone.
            Ok(outside::supervise(&first, awaited, true))
        }
        Err(error) => {
            let _ = kill_process(bubblewrap, Signal::KILL);
            let _ = waitpid(Some(bubblewrap), rustix::process::WaitOptions::empty());
            Err(complaint(complaints).unwrap_or_else(|| error.to_string())).at("start bubblewrap")
        }
    }
}

/// Does not return when it worked.
fn become_bubblewrap(
    program: &Path,
    orders: Orders,
    itself: &Itself,
    socket: UnixStream,
    complain: &OwnedFd,
) -> io::Error {
    let prepare = || -> io::Result<(Command, Orders)> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        sys::default_signals();
        let mut command = Command::new(program);
        let list = orders.list()?;
        command.args(["--args", &list.as_raw_fd().to_string(), "--"]).args(itself.command_line());
        command.arg(HIDDEN_WORD_INSIDE).env_clear();
        command.stdin(OwnedFd::from(socket)).stdout(complain.try_clone()?).stderr(complain.try_clone()?);
        let kept = orders.contents.iter().chain(itself.descriptors()).chain([&list]);
        for descriptor in kept {
            fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        let mut orders = orders;
        orders.contents.push(list);
        Ok((command, orders))
    };
    match prepare() {
        // The orders' descriptors must be open until then.
        Ok((mut command, _orders)) => command.exec(),
        Err(error) => error,
    }
}

/// What bubblewrap, or this program behind it, said before it gave up.
fn complaint(complaints: OwnedFd) -> Option<String> {
    let mut text = Vec::new();
    let _ = File::from(complaints).take(LONGEST_COMPLAINT).read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).trim().replace('\n', "; ");
    (!text.is_empty()).then_some(text)
}

/// Makes the host's end a request to kill the container. It cannot be left to the kernel, which would kill us, then
/// bubblewrap, then the first process: root's bubblewrap has no capability left by which it might kill another user's
/// process, and to the kernel it is bubblewrap that kills.
fn outlive_host_to_kill() -> Result<(), Refusal> {
    set_parent_process_death_signal(Some(Signal::USR1)).at("arm the death signal")
}

/// Puts the container's first process, which waits for us, into its control groups; it cannot see them any more.
fn enter_groups(first: &OwnedFd, plan: &Plan) -> Result<(), Refusal> {
    if plan.cgroups.is_empty() || plan.has(Fault::NoGroups) {
        return Ok(());
    }
    let about =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", first.as_raw_fd())).at("look at the first process")?;
    let number = about.lines().find_map(|line| line.strip_prefix("Pid:")).map(str::trim);
    let number = number.ok_or("the kernel does not tell its number").at("look at the first process")?;
    for procs in &plan.cgroups {
        fs::write(procs, number).at(format_args!("enter {}", procs.display()))?;
    }
    Ok(())
}

/// Which file something is, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(file: &OwnedFd) -> io::Result<Self> {
        let found = fstat(file)?;
        Ok(Self { device: found.st_dev, inode: found.st_ino })
    }
}

/// A mount's source, held open.
struct Source {
    file: OwnedFd,
    identity: Identity,
    /// By which bubblewrap is told of it. What the host holds may have another path by now than it had.
    path: PathBuf,
}

/// Opens the mounts' sources, and refuses places that bubblewrap would make in a folder of the host, or reach over a link.
fn open_sources(plan: &Plan, held: &Held, pieces: &[Piece]) -> Result<Vec<Source>, Refusal> {
    let mut sources: Vec<Source> = Vec::new();
    for (number, mount) in plan.mounts.iter().enumerate() {
        let opened = match held.get(&number) {
            Some(held) => held::path_of(held).and_then(|path| Ok((held.try_clone()?, path))),
            None => root::open_source(&mount.source).map(|(file, _)| (file, mount.source.clone())),
        };
        let (file, path) = opened.for_mount(&mount.source)?;
        let identity = Identity::of(&file).for_mount(&mount.source)?;
        let source = Source { file, identity, path };
        let earlier = plan.mounts.iter().zip(&sources).take(number);
        check_place(mount, &source, earlier, pieces).for_mount(&mount.source)?;
        sources.push(source);
    }
    Ok(sources)
}

fn check_place<'a>(
    mount: &Mount,
    source: &Source,
    earlier: impl DoubleEndedIterator<Item = (&'a Mount, &'a Source)>,
    pieces: &[Piece],
) -> Result<(), String> {
    let place = tidy(&mount.target);
    let around = earlier.map(|(outer, source)| (tidy(&outer.target), source));
    if let Some((outer, outer_source)) = around.rev().find(|(outer, _)| place == *outer || is_below(&place, outer)) {
        let rest = place[outer.len()..].trim_start_matches('/');
        let found = if rest.is_empty() { outer_source.file.try_clone() } else { within(&outer_source.file, rest) };
        let found = found.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                format!("its place {place} lies in another mount, where there is no {rest}; create it on the host")
            }
            _ => format!("its place {place} lies in another mount, where {rest} leads elsewhere: {error}"),
        })?;
        return same_kind(&found, &source.file).map_err(|reason| format!("at its place {place}, {reason}"));
    }
    for piece in pieces.iter().filter(|piece| place == piece.at() || is_below(&place, piece.at())) {
        let is_below = place != piece.at();
        match piece {
            Piece::Link { at, .. } => return Err(format!("its place {place} leads over the link {at}")),
            Piece::File { at, .. } | Piece::Tree { at, is_folder: false, .. } if is_below => {
                return Err(format!("at its place {place}, {at} is a file"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens `path` beneath `folder`, over no link.
fn within(folder: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat2(folder, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?;
    // With these flags a link as the last part is opened itself.
    if FileType::from_raw_mode(fstat(&found)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP.into());
    }
    Ok(found)
}

fn same_kind(place: &OwnedFd, source: &OwnedFd) -> Result<(), String> {
    let is_folder = |file| fstat(file).map(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory);
    match (is_folder(place), is_folder(source)) {
        (Ok(place), Ok(source)) if place == source => Ok(()),
        (Ok(true), Ok(_)) => Err("there is a folder".to_owned()),
        (Ok(false), Ok(_)) => Err("there is a file".to_owned()),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}

/// Compares what bubblewrap hung in with what it was told, from inside.
///
/// # Errors
/// [`Refusal::Mount`] about the first that differs.
pub(super) fn check_mounts(plan: &Plan, sources: &[Identity]) -> Result<(), Refusal> {
    for (number, (mount, source)) in plan.mounts.iter().zip(sources).enumerate() {
        let place = tidy(&mount.target);
        let covered = plan.mounts.iter().skip(number + 1).map(|later| tidy(&later.target));
        if covered.into_iter().any(|later| place == later || is_below(&place, &later)) {
            continue;
        }
        let wrong = |reason: &str| Err(format!("bubblewrap did not show it at {place}: {reason}"));
        let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at("look at the root")?;
        let checked = match within(&root, place.trim_start_matches('/')) {
            Err(error) => wrong(&error.to_string()),
            Ok(found) if Identity::of(&found).ok() != Some(*source) => wrong("something else is there"),
            // Hidden files are covered by a device, which is not changed by writing to it.
            Ok(_) if mount.source == Path::new("/dev/null") => Ok(()),
            Ok(found) if mount.access == Access::ReadOnly => match fstatvfs(&found) {
                Ok(told) if told.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) => Ok(()),
                _ => wrong("it could be written to"),
            },
            Ok(_) => Ok(()),
        };
        checked.for_mount(&mount.source)?;
    }
    Ok(())
}

/// What bubblewrap is to make, as its options.
#[derive(Default)]
struct Orders {
    /// Each ends with a NUL.
    options: Vec<u8>,
    /// Contents of files that only the container has.
    contents: Vec<OwnedFd>,
    /// The container's own folders so far.
    folders: BTreeSet<String>,
}

impl Orders {
    fn of(plan: &Plan, sources: &[Source], pieces: &[Piece]) -> io::Result<Self> {
        let mut orders = Self::default();
        if plan.user_namespace {
            orders.say(["--unshare-user"]);
        } else {
            // To become the planned user, and to look at mounts in folders that are not root's; given up with the rest.
            orders.say(["--cap-drop", "ALL"]);
            for capability in ["CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP", "CAP_DAC_READ_SEARCH"] {
                orders.say(["--cap-add", capability]);
            }
        }
        for (order, fault) in [
            ("--unshare-ipc", Fault::SharedIpc),
            ("--unshare-net", Fault::SharedNetwork),
            ("--unshare-cgroup", Fault::SharedCgroups),
        ] {
            if !plan.has(fault) {
                orders.say([order]);
            }
        }
        orders.say(["--unshare-pid", "--unshare-uts"]);
        orders.say(["--hostname", HOST_NAME, "--die-with-parent", "--as-pid-1", "--clearenv"]);
        for piece in pieces {
            orders.add(piece)?;
        }
        orders.say(["--dev", "/dev"]);
        orders.tmpfs("/dev/shm", "1777", 64 << 20);
        orders.tmpfs("/tmp", "1777", plan.tmp_bytes);
        orders.say(["--proc", "/proc"]);
        for &path in root::HIDDEN {
            match fs::symlink_metadata(path) {
                Ok(found) if found.is_dir() => {
                    orders.tmpfs(path, "0555", 4096);
                    orders.say(["--remount-ro", path]);
                }
                Ok(_) => orders.say(["--dev-bind", "/dev/null", path]),
                Err(_) => {}
            }
        }
        for (number, (mount, source)) in plan.mounts.iter().zip(sources).enumerate() {
            let place = tidy(&mount.target);
            // Within another mount everything is there.
            if !plan.mounts.iter().take(number).any(|outer| is_below(&place, &tidy(&outer.target))) {
                orders.reach(&place);
            }
            // The one device that is allowed; as an ordinary mount it could not be read.
            let how = match mount.access {
                _ if mount.source == Path::new("/dev/null") => "--dev-bind",
                Access::ReadOnly if !plan.has(Fault::WritableMounts) => "--ro-bind",
                Access::ReadOnly | Access::ReadWrite => "--bind",
            };
            orders.say([OsStr::new(how), source.path.as_os_str(), OsStr::new(&place)]);
        }
        if let Some(workdir) = free(plan, pieces) {
            orders.reach(&workdir);
            orders.folder(&workdir);
        }
        orders.say(["--remount-ro", "/dev"]);
        if !plan.has(Fault::WritableRoot) {
            orders.say(["--remount-ro", "/"]);
        }
        Ok(orders)
    }

    fn say<const N: usize>(&mut self, words: [impl AsRef<OsStr>; N]) {
        for word in words {
            self.options.extend_from_slice(word.as_ref().as_bytes());
            self.options.push(0);
        }
    }

    fn add(&mut self, piece: &Piece) -> io::Result<()> {
        self.reach(piece.at());
        match piece {
            Piece::Folder(at) => self.folder(at),
            Piece::Link { at, to } => self.say([OsStr::new("--symlink"), to.as_os_str(), OsStr::new(at)]),
            // A program that was removed since the folder was read is not missed.
            Piece::Tree { at, source, .. } => {
                self.say([OsStr::new("--ro-bind-try"), source.as_os_str(), OsStr::new(at)]);
            }
            Piece::File { at, content } => {
                let file = in_memory(content.as_bytes())?;
                self.say(["--perms", "0644", "--file", &file.as_raw_fd().to_string(), at]);
                self.contents.push(file);
            }
        }
        Ok(())
    }

    /// Makes the folders on the way to `place`; those that bubblewrap makes by itself may be for its own user alone.
    fn reach(&mut self, place: &str) {
        for (end, _) in place.match_indices('/').skip(1) {
            self.folder(&place[..end]);
        }
    }

    fn folder(&mut self, at: &str) {
        if at != "/" && self.folders.insert(at.to_owned()) {
            self.say(["--perms", "0755", "--dir", at]);
        }
    }

    fn tmpfs(&mut self, at: &str, mode: &str, bytes: u64) {
        // Bubblewrap takes no size of zero, and the kernel rounds up to a page.
        self.say(["--perms", mode, "--size", &bytes.max(4096).to_string(), "--tmpfs", at]);
    }

    fn list(&self) -> io::Result<OwnedFd> {
        in_memory(&self.options)
    }
}

/// A file that is nowhere, with this content, to be read from its beginning.
fn in_memory(content: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create("nanoclaw", MemfdFlags::CLOEXEC)?);
    file.write_all(content)?;
    file.rewind()?;
    Ok(file.into())
}

/// The working directory, where it has to be made and can be: entering a missing one is refused later, with its name.
fn free(plan: &Plan, pieces: &[Piece]) -> Option<String> {
    let workdir = tidy(&plan.workdir);
    let inside = |place: &str| workdir == place || is_below(&workdir, place);
    let taken = plan.mounts.iter().any(|mount| inside(&tidy(&mount.target)))
        || pieces.iter().any(|piece| !matches!(piece, Piece::Folder(_)) && inside(piece.at()))
        || ["/dev", "/proc"].into_iter().any(inside)
        || Path::new(&workdir).components().any(|part| part == std::path::Component::ParentDir);
    (!workdir.is_empty() && plan.workdir.starts_with('/') && !taken).then_some(workdir)
}

/// This program's own files, held open, so that it can be executed where none of them can be seen: an image has neither it
/// nor, mostly, the loader and libraries that it is linked with.
struct Itself {
    program: OwnedFd,
    /// `None` for a program that is linked statically.
    loader: Option<(OwnedFd, Vec<OwnedFd>)>,
}

impl Itself {
    fn find() -> io::Result<Self> {
        let open = |path: &Path| File::open(path).map(OwnedFd::from);
        let program = open(Path::new("/proc/self/exe"))?;
        let Some(base) = sys::loader_address() else { return Ok(Self { program, loader: None }) };
        let maps = fs::read_to_string("/proc/self/maps")?;
        let mapped: Vec<(usize, &Path)> = maps.lines().filter_map(mapping).collect();
        let loader = mapped.iter().find(|(start, _)| *start == base).map(|(_, path)| *path);
        let loader = loader.ok_or_else(|| io::Error::other("its loader is not mapped"))?;
        let is_library =
            |path: &&Path| path.file_name().is_some_and(|name| name.as_bytes().windows(3).any(|s| s == b".so"));
        let mut folders: Vec<&Path> =
            mapped.iter().map(|(_, path)| *path).filter(is_library).filter_map(Path::parent).collect();
        folders.sort_unstable();
        folders.dedup();
        let folders = folders.into_iter().map(open).collect::<io::Result<_>>()?;
        Ok(Self { program, loader: Some((open(loader)?, folders)) })
    }

    fn descriptors(&self) -> impl Iterator<Item = &OwnedFd> {
        let loader = self.loader.iter().flat_map(|(loader, folders)| folders.iter().chain([loader]));
        loader.chain([&self.program])
    }

    /// The words by which it is executed, once all of its descriptors are passed on.
    fn command_line(&self) -> Vec<String> {
        let path = |descriptor: &OwnedFd| format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let mut words = Vec::new();
        if let Some((loader, folders)) = &self.loader {
            let folders: Vec<String> = folders.iter().map(path).collect();
            words.extend([path(loader), "--library-path".to_owned(), folders.join(":")]);
        }
        words.push(path(&self.program));
        words
    }
}

/// Start address and file of a line of `/proc/self/maps`.
fn mapping(line: &str) -> Option<(usize, &Path)> {
    let start = usize::from_str_radix(line.split_once('-')?.0, 16).ok()?;
    // No field before the path has a slash in it.
    let path = Path::new(&line[line.find('/')?..]);
    Some((start, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_a_start_and_a_path() {
        let line = "7f2a1c000000-7f2a1c026000 r--p 00000000 fe:00 1234    /usr/lib/a folder/libc.so.6";
        assert_eq!(mapping(line), Some((0x7f2a_1c00_0000, Path::new("/usr/lib/a folder/libc.so.6"))));
        assert_eq!(mapping("7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0    [stack]"), None);
    }
}
