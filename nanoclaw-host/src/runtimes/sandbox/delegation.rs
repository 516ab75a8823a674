//! The place in the common hierarchy (cgroup v2) below which this process may make groups.
//!
//! A service with `Delegate=yes` owns the part of the hierarchy below its own group: systemd puts a mark on it and does not touch
//! what is made there, and the limits of the service hold for what its containers use together. An ordinary user has no
//! other place, and a user's own systemd leaves no mark: there it is the service whose main process this is. Root has the
//! hierarchy's own root besides, for a host that is started by hand.
//!
//! A group that has processes cannot hand controllers down. So a host that lives right in its delegated group first moves
//! into a group below it, with whatever else is in there; with `DelegateSubgroup=` systemd has done that already.

use std::{
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

/// systemd's mark on a group that it has handed over. Everybody may read the first, which is the newer one.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// Where the host's own processes go.
const HOST: &str = "nanoclaw-host";

/// systemd's units by their names; what is below a unit's group is the unit's own affair.
const UNITS: [&str; 3] = [".service", ".scope", ".slice"];

/// How often a group is emptied: a process that forks meanwhile leaves its child there.
const ROUNDS: u32 = 20;

/// The group in which a group with `controllers` can be made; they are handed down to it. `None` when there is none.
///
/// `mounts` is `/proc/self/mountinfo`, `own` is `/proc/self/cgroup`.
pub(super) fn place_for(mounts: &str, own: &str, controllers: &[&str]) -> Option<PathBuf> {
    let (root, own) = own_group(mounts, own)?;
    match delegated(&own, |group| is_marked(group) || is_users_service(group)) {
        Some(place) => {
            if !controllers.iter().any(|controller| offers(&place, controller)) {
                return None;
            }
            let settled = if place == own { settle(&place) } else { Ok(()) };
            if let Err(error) = settled {
                tracing::debug!(group = %place.display(), %error, "the host's own processes cannot be moved");
            }
            Some(place)
        }
        // Only there may a group have both processes and controllers.
        None => rustix::process::geteuid().is_root().then_some(root),
    }
}

/// Whether `group` has a controller to hand down.
pub(super) fn offers(group: &Path, controller: &str) -> bool {
    let offered = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    offered.split_ascii_whitespace().any(|word| word == controller)
}

/// The root of the common hierarchy and the group of this process, as far as they are in sight.
fn own_group(mounts: &str, own: &str) -> Option<(PathBuf, PathBuf)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (top, point) = (left.next()?, left.next()?);
        if !right.starts_with("cgroup2 ") {
            return None;
        }
        let below = Path::new(path).strip_prefix(top).unwrap_or(Path::new(""));
        let in_sight = below.components().all(|part| part != Component::ParentDir);
        let root = PathBuf::from(point);
        Some((root.clone(), if in_sight { root.join(below) } else { root }))
    })
}

/// The group that was handed over to us: our own, or the one in which systemd has made ours.
fn delegated(own: &Path, is_marked: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    if is_marked(own) {
        return Some(own.to_owned());
    }
    // A unit that nothing was handed over to is in one that was handed to somebody else, such as a user's own systemd.
    let name = own.file_name()?.as_bytes();
    if UNITS.iter().any(|unit| name.ends_with(unit.as_bytes())) {
        return None;
    }
    own.parent().filter(|parent| is_marked(parent)).map(Path::to_owned)
}

fn is_marked(group: &Path) -> bool {
    let mut value = [0_u8; 8];
    MARKS.iter().any(|mark| {
        let length = rustix::fs::getxattr(group, *mark, &mut value[..]);
        length.is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// Whether it is the service of an ordinary user whose main process we are. A user's own systemd leaves no mark (257 does not),
/// but whatever is in there is ours.
fn is_users_service(group: &Path) -> bool {
    let user = rustix::process::geteuid();
    let is_main = std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|main| main == std::process::id().to_string());
    let is_service = group.extension().is_some_and(|kind| kind == "service");
    is_main && is_service && !user.is_root() && fs::metadata(group).is_ok_and(|found| found.uid() == user.as_raw())
}

/// Moves all processes of a group into one below it.
fn settle(group: &Path) -> io::Result<()> {
    let host = group.join(HOST);
    if let Err(error) = fs::create_dir(&host)
        && error.kind() != io::ErrorKind::AlreadyExists
    {
        return Err(error);
    }
    for _ in 0..ROUNDS {
        let inside = fs::read_to_string(group.join("cgroup.procs"))?;
        if inside.is_empty() {
            break;
        }
        for process in inside.lines() {
            match fs::write(host.join("cgroup.procs"), process) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
                moved => moved?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// As on Debian 13.
    const MOUNTS: &str = "\
24 29 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
32 23 0:27 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot";
    const USERS: &str = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service";

    fn place(own: &str, marked: &[&str]) -> Option<PathBuf> {
        let (_, own) = own_group(MOUNTS, &format!("0::{own}\n")).unwrap();
        delegated(&own, |group| marked.iter().any(|marked| group == Path::new(marked)))
    }

    #[test]
    fn the_group_of_a_process_is_found_in_the_common_hierarchy() {
        let found = own_group(MOUNTS, "0::/system.slice/nanoclaw.service\n");
        let service = "/sys/fs/cgroup/system.slice/nanoclaw.service";
        assert_eq!(found, Some(("/sys/fs/cgroup".into(), service.into())));
        assert_eq!(own_group(MOUNTS, "4:memory:/somewhere\n"), None, "cgroup v1");
        assert_eq!(own_group("", "0::/\n"), None, "no hierarchy is mounted");
        let out_of_sight = own_group(MOUNTS, "0::/../elsewhere\n");
        assert_eq!(out_of_sight, Some(("/sys/fs/cgroup".into(), "/sys/fs/cgroup".into())));
    }

    #[test]
    fn a_service_with_delegation_owns_its_group_whether_or_not_systemd_made_one_below_for_it() {
        let service = "/sys/fs/cgroup/system.slice/nanoclaw.service";
        assert_eq!(place("/system.slice/nanoclaw.service", &[service]), Some(service.into()));
        assert_eq!(place("/system.slice/nanoclaw.service/nanoclaw-host", &[service]), Some(service.into()));
        assert_eq!(place("/system.slice/nanoclaw.service", &[]), None);
    }

    #[test]
    fn what_was_handed_to_a_users_systemd_is_not_ours() {
        assert_eq!(place("/user.slice/user-1000.slice/user@1000.service/init.scope", &[USERS]), None);
        assert_eq!(place("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", &[USERS]), None);
        assert_eq!(place("/user.slice/user-1000.slice/session-3.scope", &[USERS]), None);
        let own = format!("{USERS}/app.slice/nanoclaw.service");
        let within = "/user.slice/user-1000.slice/user@1000.service/app.slice/nanoclaw.service";
        assert_eq!(place(within, &[USERS, &own]), Some(own.into()));
    }
}
