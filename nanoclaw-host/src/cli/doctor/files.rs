//! What `doctor` says of the home's own files: that they are there, whose they are and who else can use them, on what kind of
//! file system they lie, and whether its sockets are somebody's.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use super::{Check, fix::Fix, quoted};
use crate::{home::Home, stores::sqlite::files_of};

/// What a home is made of, besides `nanoclaw.toml`.
pub(super) fn folders(home: &Home) -> Check {
    const NAME: &str = "folders";
    let wanted = [home.store(), home.groups(), home.global(), home.skills()];
    let missing: Vec<String> =
        wanted.iter().filter(|folder| !folder.is_dir()).map(|folder| folder.display().to_string()).collect();
    if missing.is_empty() {
        return Check::ok(NAME, "all folders of the home are there");
    }
    let help = "`nanoclaw init` makes what is missing and leaves the rest alone; was something moved away that should come back?";
    Check::failed(NAME, format!("missing: {}", missing.join(", ")), help).mended_by(vec![Fix::Folders])
}

/// A file or folder of the home, as it is and as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) path: PathBuf,
    /// The lower twelve bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    /// Bits that its mode must not have.
    pub(super) forbidden: u32,
}

/// Whose the home is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Whether what is ours is ours alone.
pub(super) fn permissions(home: &Home) -> Check {
    let owner = match fs::metadata(home.root()) {
        Ok(found) => Owner { uid: found.uid(), gid: found.gid() },
        Err(error) => return Check::skipped("permissions", error.to_string()),
    };
    judge_permissions(&owned(home), owner, rustix::process::geteuid().as_raw())
}

fn owned(home: &Home) -> Vec<Owned> {
    /// Nobody else may use it at all.
    const PRIVATE: u32 = 0o077;
    /// Not everybody may change it.
    const GUARDED: u32 = 0o002;
    let mut all = vec![(home.root().to_owned(), GUARDED), (home.config_file(), GUARDED), (home.store(), PRIVATE)];
    all.extend(files_of(&home.database()).map(|path| (path, PRIVATE)));
    all.extend([(home.lock_file(), PRIVATE), (home.files(), PRIVATE), (home.auth(), PRIVATE)]);
    let keys = fs::read_dir(home.auth()).into_iter().flatten().flatten().map(|entry| (entry.path(), PRIVATE));
    all.extend(keys);
    let looked = all.into_iter().filter_map(|(path, forbidden)| {
        let found = fs::symlink_metadata(&path).ok()?;
        // A link leads to what its maker answers for.
        let ours = found.is_file() || found.is_dir();
        ours.then(|| Owned { mode: found.mode() & 0o7777, uid: found.uid(), path, forbidden })
    });
    looked.collect()
}

fn judge_permissions(all: &[Owned], owner: Owner, me: u32) -> Check {
    const NAME: &str = "permissions";
    if me != owner.uid && me != 0 {
        return Check::failed(
            NAME,
            format!("the home belongs to user {}, and this is user {me}", owner.uid),
            "use nanoclaw as the user that the home belongs to; --home DIR names another home",
        );
    }
    let (mut wrong, mut fixes, mut told) = (Vec::new(), Vec::new(), BTreeSet::new());
    for Owned { path, mode, uid, forbidden } in all {
        let shown = path.display();
        if *uid != owner.uid && told.insert(path) {
            wrong.push(format!("{shown} belongs to user {uid}, the home to user {}", owner.uid));
            fixes.push(Fix::Owner { path: path.clone(), uid: owner.uid, gid: owner.gid });
        }
        if mode & forbidden != 0 {
            let what = if forbidden & 0o044 != 0 { "others can use" } else { "everybody can change" };
            wrong.push(format!("{what} {shown} (mode {mode:04o})"));
            fixes.push(Fix::Mode { path: path.clone(), mode: mode & !forbidden });
        }
    }
    if wrong.is_empty() {
        return Check::ok(NAME, "what is in the home belongs to its owner, and its state to nobody else");
    }
    let commands: Vec<String> = fixes.iter().map(Fix::command).collect();
    Check::failed(NAME, wrong.join("\n"), format!("`{}`", commands.join(" && "))).mended_by(fixes)
}

/// What kind of file system SQLite has to work on.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// One of this machine's.
    Local,
    /// On another machine, whose locks and memory maps this one does not share.
    Network(String),
    /// Gone when the machine or the container ends.
    Passing(&'static str),
    /// A program serves it, of which nobody can tell.
    Unknown(String),
}

/// Whether the store lies where a database can work.
pub(super) fn file_system(home: &Home) -> Check {
    const NAME: &str = "file-system";
    let folder = if home.store().exists() { home.store() } else { home.root().to_owned() };
    match rustix::fs::statfs(&folder) {
        Err(error) => Check::failed(NAME, format!("{}: {error}", folder.display()), "look at the disk of the home"),
        Ok(found) => {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let magic = u32::try_from(found.f_type & 0xffff_ffff).unwrap_or_default();
            judge_file_system(kind_of(magic, type_of(&mounts, &folder).as_deref()), &folder)
        }
    }
}

fn judge_file_system(kind: Kind, folder: &Path) -> Check {
    const NAME: &str = "file-system";
    let shown = folder.display();
    match kind {
        Kind::Local => Check::ok(NAME, format!("{shown} is on a file system of this machine")),
        Kind::Network(name) => Check::failed(
            NAME,
            format!(
                "{shown} is on {name}, where SQLite's locks and its log cannot be relied upon: the database would be damaged \
                 sooner or later"
            ),
            "stop the service, copy the home to a disk of this machine (`cp -a`), and name it with --home; the network is good for \
             backups (`nanoclaw backup create DIR`)",
        ),
        Kind::Passing(name) => Check::warning(
            NAME,
            format!("{shown} is on {name}: what is in it is gone when the machine or its container ends"),
            "give the home a place on a disk or a volume (--home DIR), or make backups elsewhere (`nanoclaw backup create DIR`)",
        ),
        Kind::Unknown(name) => Check::warning(
            NAME,
            format!(
                "{shown} is on {name}, which a program serves: whether a database can rely on it nobody can tell from here"
            ),
            "a disk of this machine is safe; --home DIR names another place",
        ),
    }
}

/// By the number that statfs(2) tells (source: linux/magic.h and the file systems' own headers), and where many have the same, by
/// the type that the table of mounts has.
fn kind_of(magic: u32, mounted_as: Option<&str>) -> Kind {
    const FUSE: u32 = 0x6573_5546;
    let network = match magic {
        0x6969 => "NFS",
        0x517B => "SMB",
        0xFF53_4D42 | 0xFE53_4D42 => "CIFS (SMB)",
        0x0102_1997 => "9p",
        0x00C3_6400 => "Ceph",
        0x0BD0_0BD0 => "Lustre",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x564C => "NCP",
        0x7375_7245 => "Coda",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0x786F_4256 => "a shared folder of VirtualBox",
        0xBACB_ACBC => "a shared folder of VMware",
        0x0102_1994 => return Kind::Passing("tmpfs, which is in memory"),
        0x8584_58F6 => return Kind::Passing("ramfs, which is in memory"),
        0x794C_7630 => return Kind::Passing("the layers of a container (overlay)"),
        FUSE => return kind_of_fuse(mounted_as),
        _ => return Kind::Local,
    };
    Kind::Network(network.to_owned())
}

fn kind_of_fuse(mounted_as: Option<&str>) -> Kind {
    const REMOTE: [&str; 12] = [
        "sshfs",
        "glusterfs",
        "s3fs",
        "rclone",
        "davfs",
        "curlftpfs",
        "gcsfuse",
        "juicefs",
        "cephfs",
        "nfs",
        "smb",
        "goofys",
    ];
    /// Of a disk of this machine.
    const LOCAL: [&str; 8] = ["fuseblk", "ntfs", "gocryptfs", "encfs", "fuse-overlayfs", "mergerfs", "ext2", "exfat"];
    match mounted_as {
        Some("virtiofs") => Kind::Unknown("virtiofs".to_owned()),
        Some(name) if REMOTE.iter().any(|remote| name.contains(remote)) => Kind::Network(name.to_owned()),
        Some(name) if LOCAL.iter().any(|local| name.contains(local)) => Kind::Local,
        Some(name) => Kind::Unknown(name.to_owned()),
        None => Kind::Unknown("FUSE".to_owned()),
    }
}

/// The type of the mount that has `folder`, by `/proc/self/mountinfo`; of several at one place, of the last.
fn type_of(mounts: &str, folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounted = mounts.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        // Spaces in a path are written in octal.
        let point = left.split(' ').nth(4)?.replace("\\040", " ");
        folder.starts_with(&point).then(|| (point.len(), right.split(' ').next().unwrap_or_default().to_owned()))
    });
    mounted.enumerate().max_by_key(|(place, (length, _))| (*length, *place)).map(|(_, (_, kind))| kind)
}

/// A socket's place in the home, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Missing,
    Listens,
    /// Nobody listens.
    Stale,
    /// Something else has the name.
    Other,
    /// It cannot be told.
    Failed(String),
}

/// Whether the home's sockets are somebody's; `running`: a service has the home and answers.
pub(super) fn sockets(home: &Home, running: bool) -> Check {
    let places = [home.admin_socket(), home.local_socket(), home.bridge_socket(), home.health_socket()];
    let found: Vec<(PathBuf, Found)> = places.into_iter().map(|path| (path.clone(), look_at_socket(&path))).collect();
    judge_sockets(&found, running)
}

fn look_at_socket(path: &Path) -> Found {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Found::Missing,
        Err(error) => Found::Failed(error.to_string()),
        Ok(found) if !found.file_type().is_socket() => Found::Other,
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => Found::Listens,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Found::Stale,
            Err(error) => Found::Failed(error.to_string()),
        },
    }
}

fn judge_sockets(found: &[(PathBuf, Found)], running: bool) -> Check {
    const NAME: &str = "sockets";
    for (path, found) in found {
        let shown = path.display();
        match found {
            Found::Other => {
                return Check::failed(
                    NAME,
                    format!("{shown} is no socket, so none can be made there"),
                    format!("`mv {} {}`", quoted(path), quoted(&path.with_extension("sock.old"))),
                );
            }
            Found::Failed(reason) => {
                let help = "it has to belong to the user that runs nanoclaw; `ls -l` shows whose it is";
                return Check::failed(NAME, format!("{shown}: {reason}"), help);
            }
            Found::Stale | Found::Missing if running => {
                let help = "restart the service (`nanoclaw service install` does, where systemd runs it)";
                return Check::failed(NAME, format!("a service runs, and nobody listens at {shown}"), help);
            }
            _ => {}
        }
    }
    let stale: Vec<Fix> = found
        .iter()
        .filter(|(_, found)| *found == Found::Stale)
        .map(|(path, _)| Fix::Socket { path: path.clone() })
        .collect();
    if stale.is_empty() {
        let all = if running { "all are listened at" } else { "none is left over" };
        return Check::ok(NAME, all);
    }
    let commands: Vec<String> = stale.iter().map(Fix::command).collect();
    let detail = format!("{} left by a process that was killed", stale.len());
    Check::warning(NAME, detail, format!("`{}`, or start the service, which replaces them", commands.join(" && ")))
        .mended_by(stale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    #[test]
    fn what_a_database_cannot_rely_on_is_told_by_the_number_of_its_file_system() {
        let network = [
            0x6969,
            0x517B,
            0xFF53_4D42,
            0xFE53_4D42,
            0x0102_1997,
            0x00C3_6400,
            0x0BD0_0BD0,
            0x5346_414F,
            0x6B41_4653,
            0x564C,
            0x7375_7245,
            0x4750_4653,
            0x1983_0326,
            0x2003_0528,
            0x786F_4256,
            0xBACB_ACBC,
        ];
        for magic in network {
            let check = judge_file_system(kind_of(magic, None), Path::new("/mnt/home"));
            assert_eq!(check.outcome, Outcome::Failed, "{magic:#x}: {check:?}");
        }
        // ext4, xfs, btrfs, zfs, f2fs.
        for magic in [0xEF53, 0x5846_5342, 0x9123_683E, 0x2FC1_2FC1, 0xF2F5_2010] {
            assert_eq!(kind_of(magic, None), Kind::Local, "{magic:#x}");
        }
        const FUSE: u32 = 0x6573_5546;
        let outcome = |name| judge_file_system(kind_of(FUSE, name), Path::new("/x")).outcome;
        assert_eq!(outcome(Some("fuse.sshfs")), Outcome::Failed);
        assert_eq!(outcome(Some("fuse.gocryptfs")), Outcome::Ok);
        assert_eq!([outcome(Some("fuse.mine")), outcome(None)], [Outcome::Warning; 2]);
        assert_eq!(judge_file_system(kind_of(0x0102_1994, None), Path::new("/x")).outcome, Outcome::Warning);
    }

    #[test]
    fn the_mount_that_has_a_folder_is_the_deepest_and_of_several_there_the_last() {
        let mounts = "1 0 8:1 / / rw - ext4 /dev/vda rw\n2 1 0:5 / /mnt rw - tmpfs t rw\n\
                      3 1 0:6 / /mnt rw - nfs4 server:/x rw\n4 1 0:7 / /mnt/a\\040b rw - fuse.sshfs you@there rw\n";
        assert_eq!(type_of(mounts, Path::new("/srv/home")).as_deref(), Some("ext4"));
        assert_eq!(type_of(mounts, Path::new("/mnt/home")).as_deref(), Some("nfs4"));
        assert_eq!(type_of(mounts, Path::new("/mnt/a b/home")).as_deref(), Some("fuse.sshfs"));
        assert_eq!(type_of(mounts, Path::new("/mntx")).as_deref(), Some("ext4"));
    }

    #[test]
    fn what_others_can_use_or_what_belongs_to_somebody_else_is_named_with_the_commands() {
        let owned = |path: &str, mode, uid, forbidden| Owned { path: path.into(), mode, uid, forbidden };
        let owner = Owner { uid: 1000, gid: 100 };
        let good = [owned("/h", 0o775, 1000, 0o002), owned("/h/store", 0o700, 1000, 0o077)];
        assert_eq!(judge_permissions(&good, owner, 1000).outcome, Outcome::Ok);
        let bad = [owned("/h", 0o777, 1000, 0o002), owned("/h/my store", 0o750, 0, 0o077)];
        let check = judge_permissions(&bad, owner, 0);
        assert_eq!(check.outcome, Outcome::Failed);
        let sudo = if rustix::process::geteuid().is_root() { "" } else { "sudo " };
        let commands = format!("`chmod 775 /h && {sudo}chown 1000:100 '/h/my store' && chmod 700 '/h/my store'`");
        assert_eq!(check.help.as_deref(), Some(commands.as_str()));
        assert_eq!(check.fixes.len(), 3);
        assert_eq!(judge_permissions(&good, owner, 1001).outcome, Outcome::Failed, "another user's home");
        assert_eq!(judge_permissions(&good, owner, 0).outcome, Outcome::Ok, "root looks at somebody's home");
    }

    #[test]
    fn a_socket_of_nobody_is_left_over_without_a_service_and_trouble_with_one() {
        let one = |found| [(PathBuf::from("/h/admin.sock"), found)];
        let outcome = |found: Found, running| judge_sockets(&one(found), running).outcome;
        assert_eq!([outcome(Found::Missing, false), outcome(Found::Listens, true)], [Outcome::Ok; 2]);
        assert_eq!(outcome(Found::Stale, false), Outcome::Warning);
        for (found, running) in [
            (Found::Stale, true),
            (Found::Missing, true),
            (Found::Other, false),
            (Found::Failed("no".to_owned()), false),
        ] {
            assert_eq!(outcome(found.clone(), running), Outcome::Failed, "{found:?}");
        }
    }
}
