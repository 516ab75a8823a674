//! Builds the container's root: a tmpfs of our own, into which trees of the host are hung, each with its own flags.
//!
//! Everything of the host is opened first, while the host's paths still mean what they meant to the host; then places are
//! made and the trees are hung in, walking from an open root without following a link; then the root is entered, the host's
//! tree let go, and the root made read-only. At no time is anything created in a folder of the host.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::symlink,
    },
    path::{Component, Path, PathBuf},
};

use nanoclaw_core::runtime::Access;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
        move_mount, open_tree, unmount,
    },
    process::pivot_root,
};

use super::{
    At,
    held::Held,
    image::{self, DEVICES, Piece},
    sys,
};
use crate::runtimes::sandbox::plan::{Fault, Plan, Refusal};

/// Parts of `/proc` that say or do more than a container needs, as Docker hides them.
pub(in crate::runtimes::sandbox) const HIDDEN: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
];

/// Parts of `/proc` that may only be read.
pub(in crate::runtimes::sandbox) const READ_ONLY: &[&str] =
    &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

const NO_PRIVILEGE: u64 = libc::MOUNT_ATTR_NOSUID;
const NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
const NO_EXECUTION: u64 = libc::MOUNT_ATTR_NOEXEC;
const NO_WRITING: u64 = libc::MOUNT_ATTR_RDONLY;

/// Builds the planned root in this process's own mount namespace and enters it; the current folder is `/` then. `copies` are
/// those of the planned mounts whose sources the host holds.
///
/// # Errors
/// [`Refusal::Mount`] about one of the planned mounts, [`Refusal::Step`] about everything else.
pub(super) fn enter(plan: &Plan, mut copies: Held) -> Result<(), Refusal> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).at("keep mounts to ourselves")?;

    let mut parts = Vec::new();
    for piece in image::pieces(plan)? {
        let tree = match &piece {
            Piece::Tree { at, source, .. } => match Tree::open(source, NO_PRIVILEGE | NO_DEVICES | NO_WRITING) {
                Ok(tree) => Some(tree),
                // A program that was removed since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).at(format_args!("show {at}")),
            },
            _ => None,
        };
        parts.push((piece, tree));
    }
    let mut devices = Vec::new();
    for name in DEVICES {
        let source = Path::new("/dev").join(name);
        devices.push((name, Tree::open(&source, NO_PRIVILEGE | NO_EXECUTION).at(source.display())?));
    }
    let mut mounts = Vec::new();
    let no_privilege = if plan.has(Fault::PowerfulMounts) { 0 } else { NO_PRIVILEGE };
    for (number, mount) in plan.mounts.iter().enumerate() {
        let read_only = mount.access == Access::ReadOnly && !plan.has(Fault::WritableMounts);
        let attributes = no_privilege | if read_only { NO_WRITING } else { 0 };
        let tree = match copies.remove(&number) {
            Some(copy) => of_its_kind(&copy).and_then(|of_kind| Tree::copied(copy, attributes | of_kind)),
            None => {
                let other = plan.mounts.first().filter(|_| plan.has(Fault::OtherSources)).unwrap_or(mount);
                open_source(&other.source).and_then(|(source, of_kind)| Tree::of(&source, attributes | of_kind))
            }
        };
        mounts.push((mount, tree.for_mount(&mount.source)?));
    }
    if plan.has(Fault::OneMountLess) {
        mounts.pop();
    }
    let one_more = if plan.has(Fault::OneMountMore) {
        Some(Tree::open(Path::new("/etc"), NO_PRIVILEGE | NO_DEVICES | NO_WRITING).at("show a mount more")?)
    } else {
        None
    };

    let mut root = NewRoot::mount()?;
    for (piece, tree) in &parts {
        root.add(piece, tree.as_ref())?;
    }
    root.folder("/dev").at("make /dev")?;
    for (name, tree) in devices {
        root.hang(&tree, &format!("/dev/{name}")).at(format_args!("make /dev/{name}"))?;
    }
    for (name, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        root.link(&format!("/dev/{name}"), format!("/proc/self/fd{to}")).at(format_args!("make /dev/{name}"))?;
    }
    let powerless = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let of_tmp = if plan.has(Fault::PowerfulMounts) { MountFlags::NODEV } else { powerless };
    root.tmpfs("/dev/shm", "mode=1777,size=64m", powerless).at("make /dev/shm")?;
    root.tmpfs("/tmp", &format!("mode=1777,size={}", plan.tmp_bytes), of_tmp).at("make /tmp")?;
    // Programs that want a terminal of their own need this; nothing is less safe without it.
    let _ = root.terminals();
    root.processes(plan)?;
    for (mount, tree) in mounts {
        root.hang(&tree, &mount.target).for_mount(&mount.source)?;
    }
    // Where it cannot be made, entering it fails, and says so.
    let _ = root.folder(&plan.workdir);
    if let Some(tree) = one_more {
        root.hang(&tree, "/more").at("show a mount more")?;
    }
    root.enter(plan.has(Fault::WritableRoot))
}

/// Opens a mount's source, and says which attributes its kind asks for. A link as its last part is refused: whoever can
/// change the link would choose what is mounted. The one device allowed is `/dev/null`, with which files are hidden.
pub(super) fn open_source(path: &Path) -> io::Result<(OwnedFd, u64)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    let attributes = of_its_kind(&source)?;
    Ok((source, attributes))
}

/// Which attributes the kind of a mount's source asks for; an error for one that cannot be mounted.
fn of_its_kind(source: &OwnedFd) -> io::Result<u64> {
    let found = fstat(source)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory | FileType::RegularFile => Ok(NO_DEVICES),
        FileType::CharacterDevice if found.st_rdev == rustix::fs::makedev(1, 3) => Ok(NO_EXECUTION),
        FileType::Symlink => Err(io::Error::other("it is a symbolic link; name what it points to")),
        _ => Err(io::Error::other("it is neither a folder nor a file")),
    }
}

/// Whether it is one.
pub(super) fn is_folder(file: &OwnedFd) -> bool {
    fstat(file).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
}

/// A copy of a mount tree of the host, hung nowhere yet.
struct Tree {
    top: OwnedFd,
    is_folder: bool,
}

impl Tree {
    /// Copies the tree at `path`, with these attributes for all of it.
    fn open(path: &Path, attributes: u64) -> io::Result<Self> {
        let source = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        Self::of(&source, attributes)
    }

    /// Copies the tree whose top is open.
    fn of(source: &OwnedFd, attributes: u64) -> io::Result<Self> {
        let copy = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        Self::copied(open_tree(source, "", copy)?, attributes)
    }

    /// The copied tree with this top.
    fn copied(top: OwnedFd, attributes: u64) -> io::Result<Self> {
        sys::add_mount_attributes(top.as_fd(), true, attributes)?;
        let is_folder = is_folder(&top);
        Ok(Self { top, is_folder })
    }

    /// Hangs it over `place`, which is a folder if and only if the tree's top is one.
    fn hang_over(&self, place: &OwnedFd) -> io::Result<()> {
        let both_open = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        Ok(move_mount(&self.top, "", place, "", both_open)?)
    }
}

/// The root in the making. Paths are as they will be seen inside.
struct NewRoot {
    /// Where it hangs until it is entered.
    at: &'static str,
    top: OwnedFd,
    /// The file systems that are ours alone, in which places may be made.
    own: Vec<u64>,
}

impl NewRoot {
    /// Mounts an empty tmpfs over a folder that every system has; what was there is open already.
    fn mount() -> Result<Self, Refusal> {
        let at = ["/tmp", "/usr", "/dev"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/usr");
        mount("tmpfs", at, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755,size=16m")
            .at("mount the new root")?;
        let top = openat(CWD, at, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("open the new root")?;
        let device = fstat(&top).at("look at the new root")?.st_dev;
        Ok(Self { at, top, own: vec![device] })
    }

    fn add(&self, piece: &Piece, tree: Option<&Tree>) -> Result<(), Refusal> {
        match (piece, tree) {
            (Piece::Link { at, to }, _) => self.link(at, to).at(format_args!("make the link {at}")),
            (Piece::Tree { at, .. }, Some(tree)) => self.hang(tree, at).at(format_args!("show {at}")),
            (Piece::Folder(at) | Piece::Tree { at, .. }, _) => self.folder(at).map(drop).at(format_args!("make {at}")),
            (Piece::File { at, content }, _) => {
                self.reach(at, Place::File).map(drop).at(format_args!("make {at}"))?;
                fs::write(self.outside(at), content).at(format_args!("write {at}"))
            }
        }
    }

    fn hang(&self, tree: &Tree, at: &str) -> io::Result<()> {
        let place = self.reach(at, if tree.is_folder { Place::Folder } else { Place::File })?;
        tree.hang_over(&place)
    }

    fn folder(&self, at: &str) -> io::Result<OwnedFd> {
        self.reach(at, Place::Folder)
    }

    fn link(&self, at: &str, to: impl AsRef<Path>) -> io::Result<()> {
        if let Some((parent, _)) = at.rsplit_once('/') {
            self.folder(parent)?;
        }
        symlink(to, self.outside(at))
    }

    fn tmpfs(&mut self, at: &str, options: &str, flags: MountFlags) -> io::Result<()> {
        self.folder(at)?;
        let options = std::ffi::CString::new(options)?;
        mount("tmpfs", self.outside(at), "tmpfs", flags, options.as_c_str())?;
        self.own.push(fstat(&self.folder(at)?)?.st_dev);
        Ok(())
    }

    fn terminals(&self) -> io::Result<()> {
        self.folder("/dev/pts")?;
        let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("devpts", self.outside("/dev/pts"), "devpts", flags, c"newinstance,ptmxmode=0666,mode=0620")?;
        self.link("/dev/ptmx", "pts/ptmx")
    }

    /// Mounts the process namespace's own `/proc`, and covers what a container needs not see.
    fn processes(&self, plan: &Plan) -> Result<(), Refusal> {
        self.folder("/proc").at("make /proc")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("proc", self.outside("/proc"), "proc", flags, None).at("mount /proc")?;
        if plan.has(Fault::NothingHidden) {
            return Ok(());
        }
        for path in HIDDEN {
            let Ok(found) = fs::symlink_metadata(self.outside(path)) else { continue };
            if found.is_dir() {
                mount("tmpfs", self.outside(path), "tmpfs", flags | MountFlags::RDONLY, c"size=4k,nr_inodes=1")
                    .at(format_args!("hide {path}"))?;
            } else {
                let null = self.outside("/dev/null");
                let cover = Tree::open(&null, NO_WRITING).at(format_args!("hide {path}"))?;
                self.hang(&cover, path).at(format_args!("hide {path}"))?;
            }
        }
        for path in READ_ONLY {
            if self.outside(path).exists() {
                let tree = Tree::open(&self.outside(path), NO_WRITING).at(format_args!("protect {path}"))?;
                self.hang(&tree, path).at(format_args!("protect {path}"))?;
            }
        }
        Ok(())
    }

    /// The path under which the host's tree still knows `at`. Only for places that nobody else can have touched.
    fn outside(&self, at: &str) -> PathBuf {
        PathBuf::from(format!("{}{at}", self.at))
    }

    /// Opens the place `at`, making it and its parents where they are missing.
    ///
    /// No link is followed, and nothing is made in a tree of the host: an agent owns some of those, and could lead us
    /// anywhere by a link in them.
    fn reach(&self, at: &str, wanted: Place) -> io::Result<OwnedFd> {
        let mut here = self.top.try_clone()?;
        let mut names = Path::new(at).components().filter(|part| !matches!(part, Component::RootDir)).peekable();
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        while let Some(part) = names.next() {
            let Component::Normal(name) = part else {
                return Err(io::Error::other(format!("its place {at} is not a plain path")));
            };
            let wanted = if names.peek().is_some() { Place::Folder } else { wanted };
            let next = match openat(&here, name, look, Mode::empty()) {
                Err(Errno::NOENT) if !self.own.contains(&fstat(&here)?.st_dev) => {
                    let name = name.display();
                    return Err(io::Error::other(format!(
                        "its place {at} lies in another mount, where there is no {name}; create it on the host"
                    )));
                }
                Err(Errno::NOENT) => {
                    match wanted {
                        Place::Folder => mkdirat(&here, name, Mode::from_raw_mode(0o755))?,
                        Place::File => {
                            let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                            openat(&here, name, create, Mode::from_raw_mode(0o644))?;
                        }
                    }
                    openat(&here, name, look, Mode::empty())?
                }
                other => other?,
            };
            let found = match FileType::from_raw_mode(fstat(&next)?.st_mode) {
                FileType::Directory => Place::Folder,
                FileType::Symlink => {
                    return Err(io::Error::other(format!("its place {at} leads over the link {}", name.display())));
                }
                _ => Place::File,
            };
            if found != wanted {
                return Err(io::Error::other(format!("at its place {at}, {} is a {found}", name.display())));
            }
            here = next;
        }
        Ok(here)
    }

    /// Makes it this process's root, lets the host's tree go, and forbids writing to what is left of the tmpfs.
    fn enter(self, writable: bool) -> Result<(), Refusal> {
        std::env::set_current_dir(self.at).at("enter the new root")?;
        // Both at one place: the old root ends up on top of the new one, and "." is it.
        pivot_root(".", ".").at("change the root")?;
        unmount(".", UnmountFlags::DETACH).at("let the host's tree go")?;
        std::env::set_current_dir("/").at("enter the new root")?;
        let top = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .at("open the new root")?;
        let writing = if writable { 0 } else { NO_WRITING };
        sys::add_mount_attributes(top.as_fd(), false, writing | NO_PRIVILEGE | NO_DEVICES).at("make the root read-only")
    }
}

/// What can be hung over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Folder,
    File,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Folder => "folder",
            Self::File => "file",
        })
    }
}
