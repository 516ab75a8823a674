//! Tries to write, to execute and to open what is not the container's.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nanoclaw_core::protocol::environment::guest;
use rustix::fs::{CWD, FileType, Mode, mknodat, statvfs};

/// Folders in which nobody but an image's maker has to write.
const FOLDERS: [&str; 18] = [
    "/",
    "/bin",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/nanoclaw",
    "/nanoclaw/bin",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/srv",
    "/sys",
    "/usr",
    "/var",
    "/var/tmp",
    "/workspace",
];

/// Files by which the kernel would be told something, and our own program.
const FILES: [&str; 7] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/hostname",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/fs/cgroup/release_agent",
    guest::RUNNER,
];

/// What every container has, each its own and without programs.
const OWN: [&str; 4] = ["/tmp", "/dev/shm", "/dev/mqueue", "/dev/pts"];

const HARMLESS: [&str; 9] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/console",
    "/dev/ptmx",
    "/dev/pts/ptmx",
];

const MARK: &str = ".nanoclaw-canary";

/// Where something could be made or opened for writing.
pub(super) fn writable() -> Vec<String> {
    let mut folders: BTreeSet<PathBuf> = FOLDERS.iter().map(PathBuf::from).collect();
    folders.extend(mount_points().into_iter().map(|(place, _)| PathBuf::from(place)));
    let own: Vec<PathBuf> = OWN.iter().map(PathBuf::from).chain([std::env::temp_dir()]).collect();
    let folders = folders.into_iter().filter(|folder| !own.contains(folder) && folder.is_dir());
    let mut found: Vec<String> =
        folders.filter(|folder| can_make_in(folder)).map(|folder| folder.display().to_string()).collect();
    let opens = |path: &&str| OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path).is_ok();
    found.extend(FILES.into_iter().filter(opens).map(str::to_owned));
    found
}

const O_NONBLOCK: i32 = 0o4000;

fn can_make_in(folder: &Path) -> bool {
    let path = folder.join(MARK);
    let made = File::create_new(&path).is_ok();
    if made {
        let _ = fs::remove_file(path);
    }
    made
}

/// The mount options of `/tmp`, the mount's own first, and its size in bytes.
pub(super) fn tmp() -> (String, u64) {
    let options = mount_points().into_iter().rfind(|(place, _)| place == "/tmp").map(|(_, options)| options);
    let bytes = statvfs("/tmp").map_or(u64::MAX, |found| found.f_blocks.saturating_mul(found.f_frsize));
    (options.unwrap_or_default(), bytes)
}

/// Whether a program that lies in `/tmp` can be started.
pub(super) fn tmp_executes() -> bool {
    // A script, since this program itself may be larger than `/tmp`; its interpreter is this program.
    let Ok(program) = std::env::current_exe() else { return true };
    let script = std::env::temp_dir().join(format!("{MARK}-script"));
    let text = format!("#!{} --version\n", program.display());
    let written = File::create(&script).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o755))
    });
    if written.is_err() {
        // Nothing can be put there at all.
        return false;
    }
    let started = Command::new(&script).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let _ = fs::remove_file(script);
    started.is_ok()
}

/// Devices that are not harmless and can be opened, and whether one could be made.
pub(super) fn devices() -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/dev")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            let shown = path.display().to_string();
            if kind.is_dir() && !OWN.contains(&shown.as_str()) {
                folders.push(path);
            } else if (kind.is_block_device() || kind.is_char_device())
                && !HARMLESS.contains(&shown.as_str())
                && opens(&path)
            {
                found.push(shown);
            }
        }
    }
    let made = std::env::temp_dir().join(format!("{MARK}-device"));
    // The memory of the machine.
    if mknodat(CWD, &made, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, rustix::fs::makedev(1, 1)).is_ok() {
        found.push("one that was made".to_owned());
        let _ = fs::remove_file(made);
    }
    found
}

fn opens(path: &Path) -> bool {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).is_ok()
}

/// Place and options of every mount, in the order in which they were made.
fn mount_points() -> Vec<(String, String)> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let entries = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        Some(((*words.get(4)?).to_owned(), (*words.get(5)?).to_owned()))
    });
    entries.collect()
}
