//! What a container's mount table has to be: every mount in it was asked for and is as powerless as was promised, and everything
//! that was asked for is there. Pure but for asking which parts of `/proc` this kernel has.

use std::path::Path;

use nanoclaw_core::runtime::{Access, hardening::Deviation};

use crate::{
    mounts::unescaped,
    runtimes::sandbox::{
        helper::{DEVICES, HIDDEN, HOST_FOLDERS, READ_ONLY, is_below, tidy},
        plan::{Isolation, Plan, Root},
    },
};

/// The kernel counts a tmpfs in pages, of at most this.
const PAGE_BYTES: u64 = 64 << 10;

/// A line of `/proc/<pid>/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountLine {
    /// Where, as the process sees it.
    at: String,
    /// Of the mount: `ro`, `nosuid`, ….
    options: Vec<String>,
    /// Of the file system: `tmpfs`.
    kind: String,
    /// Of the file system: `size=16384k`.
    kind_options: Vec<String>,
}

impl MountLine {
    /// All lines; one that cannot be read is a mount at an empty place, which nobody asks for.
    pub(super) fn parse_all(table: &[u8]) -> Vec<Self> {
        let lines = table.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| Self::parse(line).unwrap_or_else(Self::unreadable)).collect()
    }

    fn unreadable() -> Self {
        Self { at: String::new(), options: Vec::new(), kind: String::new(), kind_options: Vec::new() }
    }

    /// A line such as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(line: &[u8]) -> Option<Self> {
        let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let end = words.iter().position(|word| *word == b"-")?;
        let listed = |word: &[u8]| String::from_utf8_lossy(word).split(',').map(str::to_owned).collect();
        Some(Self {
            at: unescaped(words.get(4)?).to_string_lossy().into_owned(),
            options: listed(words.get(5)?),
            kind: String::from_utf8_lossy(words.get(end + 1)?).into_owned(),
            kind_options: listed(words.get(end + 3)?),
        })
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    /// Bytes of a tmpfs; `None` for one without a bound.
    fn size_bytes(&self) -> Option<u64> {
        let size = self.kind_options.iter().find_map(|option| option.strip_prefix("size="))?;
        match size.strip_suffix('k') {
            Some(kibibytes) => kibibytes.parse::<u64>().ok()?.checked_mul(1024),
            None => size.parse().ok(),
        }
    }
}

/// Whether what is hung in later, at `later`, hides the place.
pub(super) fn is_covered(place: &str, later: &[String]) -> bool {
    later.iter().any(|later| place == later || is_below(place, later))
}

/// Everything in which `table` is not what `plan` asks for. `devices` says of each of the plan's mounts whether its source is a
/// device.
pub(super) fn deviations(plan: &Plan, devices: &[bool], table: &[MountLine]) -> Vec<Deviation> {
    let places: Vec<String> = plan.mounts.iter().map(|mount| tidy(&mount.target)).collect();
    let mut all = Vec::new();
    for line in table {
        match promised(plan, devices, &places, line) {
            None => all.push(Deviation::new("mounts", "those of the plan", format!("one at {:?}", line.at))),
            Some(wanted) => {
                if wanted.iter().any(|option| !line.has(option)) {
                    let (point, found) = (format!("mount at {}", line.at), line.options.join(","));
                    all.push(Deviation::new(point, wanted.join(","), found));
                }
            }
        }
    }
    let there = |place: &str| table.iter().rfind(|line| line.at == place);
    let own = |place: &&str| !is_covered(place, &places);
    for place in needed(plan).into_iter().filter(own).chain(places.iter().map(String::as_str)) {
        if there(place).is_none() {
            all.push(Deviation::new("mounts", format!("one at {place}"), "none"));
        }
    }
    for (place, kind) in [("/", "tmpfs"), ("/proc", "proc"), ("/tmp", "tmpfs")].into_iter().filter(|(at, _)| own(at)) {
        if let Some(line) = there(place).filter(|line| line.kind != kind) {
            all.push(Deviation::new(format!("file system of {place}"), kind, line.kind.clone()));
        }
    }
    if let Some(tmp) = there("/tmp").filter(|_| own(&"/tmp"))
        && tmp.size_bytes().is_none_or(|size| size > plan.tmp_bytes + PAGE_BYTES)
    {
        let found = tmp.size_bytes().map_or_else(|| "no bound".to_owned(), |size| format!("{size} bytes"));
        all.push(Deviation::new("size of /tmp", format!("{} bytes", plan.tmp_bytes), found));
    }
    all
}

/// Places where there is a mount in every container.
fn needed(plan: &Plan) -> Vec<&'static str> {
    let on_host = |path: &&&str| Path::new(path).exists();
    let mut needed = vec!["/", "/proc", "/dev/shm", "/tmp"];
    needed.extend(HIDDEN.iter().filter(on_host));
    // Bubblewrap protects what could be written to.
    if plan.isolation == Isolation::Namespaces {
        needed.extend(READ_ONLY.iter().filter(on_host));
    }
    needed
}

/// The options that a mount there must have at least; `None` when none was asked for there.
fn promised(plan: &Plan, devices: &[bool], places: &[String], line: &MountLine) -> Option<Vec<&'static str>> {
    let at = line.at.as_str();
    let ours = plan.isolation == Isolation::Namespaces;
    let in_it = |place: &str| at == place || is_below(at, place);
    // Bubblewrap has no way to say noexec; Landlock forbids to execute anything there.
    let with_noexec = |mut options: Vec<&'static str>| {
        options.extend(ours.then_some("noexec"));
        options
    };
    let closest = places.iter().filter(|place| in_it(place)).max_by_key(|place| place.len());
    if let Some(closest) = closest {
        let mut of_place = (0..places.len()).filter(|&number| places[number] == *closest);
        let device = of_place.clone().any(|number| devices.get(number).copied().unwrap_or(false));
        let read_only = of_place.all(|number| plan.mounts[number].access == Access::ReadOnly);
        // A device is not changed by writing to it, so bubblewrap's need not be read-only.
        let mut options = if device { with_noexec(vec!["nosuid"]) } else { vec!["nosuid", "nodev"] };
        options.extend((read_only && (ours || !device)).then_some("ro"));
        return Some(options);
    }
    if HIDDEN.contains(&at) {
        // By an empty folder or by /dev/null.
        return Some(if ours { vec!["ro", "nosuid", "noexec"] } else { vec!["nosuid"] });
    }
    if READ_ONLY.contains(&at) {
        return Some(vec!["ro", "nosuid", "nodev", "noexec"]);
    }
    match at {
        "/" => return Some(vec!["ro", "nosuid", "nodev"]),
        "/proc" => return Some(vec!["nosuid", "nodev", "noexec"]),
        "/tmp" | "/dev/shm" => return Some(with_noexec(vec!["nosuid", "nodev"])),
        "/dev/pts" => return Some(vec!["nosuid", "noexec"]),
        "/dev" if !ours => return Some(vec!["ro", "nosuid", "nodev"]),
        _ => {}
    }
    if at.strip_prefix("/dev/").is_some_and(|name| DEVICES.contains(&name)) {
        return Some(with_noexec(vec!["nosuid"]));
    }
    let of_image = match &plan.root {
        Root::Host => HOST_FOLDERS.iter().any(|folder| in_it(folder)),
        Root::Folder(folder) => {
            !["/dev", "/proc", "/sys", "/tmp"].iter().any(|own| in_it(own))
                && folder.join(at.trim_start_matches('/')).symlink_metadata().is_ok()
        }
    };
    of_image.then(|| vec!["ro", "nosuid", "nodev"])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use nanoclaw_core::runtime::{Mount, RunAs};

    use super::*;
    use crate::runtimes::sandbox::plan::Task;

    fn plan() -> Plan {
        let mount =
            |source: &str, target: &str, access| Mount { source: source.into(), target: target.to_owned(), access };
        Plan {
            isolation: Isolation::Namespaces,
            bubblewrap: None,
            user_namespace: false,
            task: Task::Report,
            env: BTreeMap::new(),
            workdir: "/".to_owned(),
            root: Root::Host,
            mounts: vec![
                mount("/home/a/group", "/workspace/group", Access::ReadWrite),
                mount("/home/a/project", "/workspace/project/", Access::ReadOnly),
                mount("/dev/null", "/workspace/project/.env", Access::ReadOnly),
            ],
            tmp_bytes: 16 << 20,
            held: Vec::new(),
            user: RunAs { uid: 1000, gid: 1000 },
            cgroups: Vec::new(),
            processes: None,
            #[cfg(feature = "failpoints")]
            faults: Vec::new(),
        }
    }

    /// As such a container has it, on the machine at hand.
    fn table() -> Vec<String> {
        let mut lines = vec![
            "/ ro,nosuid,nodev,relatime - tmpfs tmpfs rw,size=16384k,mode=755".to_owned(),
            "/usr ro,nosuid,nodev,relatime - ext4 /dev/vda rw".to_owned(),
            "/usr/local ro,nosuid,nodev,relatime - ext4 /dev/vdb rw".to_owned(),
            "/dev/null rw,nosuid,noexec,relatime - devtmpfs devtmpfs rw,size=4k".to_owned(),
            "/dev/shm rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=65536k".to_owned(),
            "/tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=16384k".to_owned(),
            "/dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,mode=620".to_owned(),
            "/proc rw,nosuid,nodev,noexec,relatime - proc proc rw".to_owned(),
            "/workspace/group rw,nosuid,nodev,relatime - ext4 /dev/vda rw".to_owned(),
            "/workspace/project ro,nosuid,nodev,relatime - ext4 /dev/vda rw".to_owned(),
            "/workspace/project/.env ro,nosuid,noexec,relatime - devtmpfs devtmpfs rw,size=4k".to_owned(),
        ];
        for path in HIDDEN.iter().chain(READ_ONLY).filter(|path| Path::new(path).exists()) {
            lines.push(format!("{path} ro,nosuid,nodev,noexec,relatime - proc proc rw"));
        }
        lines
    }

    fn found(plan: &Plan, lines: &[String]) -> Vec<String> {
        let text: Vec<String> = lines.iter().map(|line| format!("70 44 0:40 / {line}")).collect();
        let table = MountLine::parse_all(text.join("\n").as_bytes());
        deviations(plan, &[false, false, true], &table).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_table_as_it_was_asked_for_is_right() {
        assert_eq!(found(&plan(), &table()), [] as [String; 0]);
    }

    #[test]
    fn whatever_is_more_less_or_more_powerful_is_told() {
        let with = |from: &str, to: &str| {
            let mut lines = table();
            let line = lines.iter_mut().find(|line| line.starts_with(from)).unwrap();
            *line = to.to_owned();
            lines
        };
        for (what, lines, wanted) in [
            ("a writable root", with("/ ", "/ rw,nosuid,nodev - tmpfs tmpfs rw"), "mount at /: ro,nosuid,nodev"),
            ("another root", with("/ ", "/ ro,nosuid,nodev - ext4 /dev/vda rw"), "file system of /: tmpfs"),
            (
                "a mount that can be written to",
                with("/workspace/project ", "/workspace/project rw,nosuid,nodev - ext4 x rw"),
                "mount at /workspace/project: nosuid,nodev,ro",
            ),
            (
                "one with set-user-id programs",
                with("/workspace/group", "/workspace/group rw,nodev - ext4 x rw"),
                "mount at /workspace/group: nosuid,nodev",
            ),
            ("a program in /tmp", with("/tmp", "/tmp rw,nosuid,nodev - tmpfs tmpfs rw,size=16384k"), "mount at /tmp"),
            (
                "a boundless /tmp",
                with("/tmp", "/tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw"),
                "size of /tmp: 16777216",
            ),
            ("a mount less", with("/workspace/group", "/usr ro,nosuid,nodev - ext4 x rw"), "one at /workspace/group"),
            ("a device more", with("/dev/null", "/dev/kvm rw,nosuid,noexec - devtmpfs x rw"), "one at \"/dev/kvm\""),
            ("a folder more", with("/usr/local", "/root ro,nosuid,nodev - ext4 x rw"), "one at \"/root\""),
            ("odd lines", with("/usr/local", ""), "one at \"\""),
        ] {
            let found = found(&plan(), &lines);
            assert!(found.iter().any(|found| found.contains(wanted)), "{what}: {found:?}");
        }
        for part in HIDDEN.iter().chain(READ_ONLY).filter(|path| Path::new(path).exists()) {
            let lines: Vec<String> =
                table().into_iter().filter(|line| !line.starts_with(&format!("{part} "))).collect();
            assert_eq!(found(&plan(), &lines), [format!("mounts: one at {part} was asked for, found none")]);
        }
    }

    #[test]
    fn in_a_root_folder_only_what_that_has_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("opt/x")).unwrap();
        let plan = Plan { root: Root::Folder(folder.path().to_owned()), ..plan() };
        let mut lines: Vec<String> = table().into_iter().filter(|line| !line.starts_with("/usr")).collect();
        lines.push("/opt/x ro,nosuid,nodev - ext4 x rw".to_owned());
        assert_eq!(found(&plan, &lines), [] as [String; 0]);
        lines.push("/usr ro,nosuid,nodev - ext4 x rw".to_owned());
        assert_eq!(found(&plan, &lines), ["mounts: those of the plan was asked for, found one at \"/usr\""]);
    }

    #[test]
    fn a_place_with_odd_signs_is_read_as_it_is() {
        let mut plan = plan();
        plan.mounts[0].target = "/workspace/odd name".to_owned();
        let mut lines = table();
        lines.retain(|line| !line.starts_with("/workspace/group"));
        lines.push("/workspace/odd\\040name rw,nosuid,nodev shared:1 master:2 - ext4 x rw".to_owned());
        assert_eq!(found(&plan, &lines), [] as [String; 0]);
    }
}
