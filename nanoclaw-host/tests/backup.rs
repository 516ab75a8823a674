//! Backups: what comes back, what is refused, and that nothing is lost on the way.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "helpers of tests, in which both are fine")]

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use nanoclaw_core::{
    chat::ChatId,
    group::{Group, GroupFolder, GroupRole, TriggerPolicy},
    store::Store as _,
    time::Timestamp,
};
use nanoclaw_host::{
    backup::{
        BackupError, create, read,
        restore::{Used, restore},
    },
    home::{Home, HomeLock, initialise},
    stores::sqlite::SqliteStore,
};
use tempfile::TempDir;

/// A home with a group in its database, and things in its folders.
struct Place {
    folder: TempDir,
    home: Home,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        initialise(&home).unwrap();
        let store = SqliteStore::open(&home.database()).await.unwrap();
        store.add_group(&group()).await.unwrap();
        store.close().await;
        let memory = home.root().join("groups/family");
        fs::create_dir_all(memory.join("deep/er")).unwrap();
        fs::write(memory.join("CLAUDE.md"), "who is who").unwrap();
        fs::write(memory.join("deep/er/empty"), "").unwrap();
        fs::write(memory.join(format!("{}.txt", "a long name ".repeat(15).trim())), "x").unwrap();
        fs::write(memory.join("large"), vec![7; 300_000]).unwrap();
        Self { folder, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn backup(&self) -> (PathBuf, create::Written) {
        let into = self.path("backup.tar.gz");
        let written = create::create(&self.home, &into, |_, _| {}).await.unwrap();
        (into, written)
    }
}

fn group() -> Group {
    Group {
        folder: GroupFolder::new("family").unwrap(),
        chat: ChatId::new("tg:-100").unwrap(),
        name: "Family".to_owned(),
        role: GroupRole::Ordinary,
        trigger: TriggerPolicy::Always,
        added_at: Timestamp::from_ms(1),
    }
}

/// Everything below `root` that is kept, by its place: a file's mode and text, a link's target, a folder's mode.
fn tree(root: &Path) -> BTreeMap<PathBuf, (u32, String)> {
    fn walk(root: &Path, at: &Path, into: &mut BTreeMap<PathBuf, (u32, String)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let place = path.strip_prefix(root).unwrap().to_owned();
            let mode = found.permissions().mode() & 0o7777;
            if found.is_dir() {
                into.insert(place, (mode, "folder".to_owned()));
                walk(root, &path, into);
            } else if found.is_symlink() {
                into.insert(place, (0, format!("link to {}", fs::read_link(&path).unwrap().display())));
            } else if found.is_file() {
                into.insert(place, (mode, format!("{:?}", fs::read(&path).unwrap())));
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(root, root, &mut all);
    all
}

#[tokio::test]
async fn what_is_restored_is_what_was_there() {
    let place = Place::new().await;
    let folder = place.home.root().join("groups/family");
    symlink("/etc/passwd", folder.join("link")).unwrap();
    fs::set_permissions(folder.join("CLAUDE.md"), Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(folder.join("read-only")).unwrap();
    fs::write(folder.join("read-only/file"), "in it").unwrap();
    fs::set_permissions(folder.join("read-only"), Permissions::from_mode(0o500)).unwrap();
    let (backup, written) = place.backup().await;
    assert_eq!(written.remarks, [] as [&str; 0]);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);

    let verified = read::verify(&backup).unwrap();
    assert_eq!((verified.files, verified.bytes), (written.files, written.bytes));
    let root = place.path("elsewhere");
    restore(&backup, &root, Used::Refuse).unwrap();
    for part in ["groups", "skills"] {
        assert_eq!(tree(&root.join(part)), tree(&place.home.root().join(part)), "{part}");
    }
    assert_eq!(fs::read(root.join("nanoclaw.toml")).unwrap(), fs::read(place.home.config_file()).unwrap());
    let store = SqliteStore::open(&root.join("store/nanoclaw.db")).await.unwrap();
    assert_eq!(store.groups().await.unwrap(), [group()]);
    assert_eq!(fs::metadata(root.join("store/nanoclaw.db")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!root.join(".restoring").exists());
}

#[tokio::test]
async fn it_is_made_while_somebody_writes_and_is_of_one_moment() {
    let place = Place::new().await;
    let store = SqliteStore::open(&place.home.database()).await.unwrap();
    let lock = HomeLock::acquire(&place.home).unwrap();
    let more = Group { folder: GroupFolder::new("second").unwrap(), chat: ChatId::new("tg:-200").unwrap(), ..group() };
    store.add_group(&more).await.unwrap();
    let (backup, _) = place.backup().await;
    let third = Group { folder: GroupFolder::new("third").unwrap(), chat: ChatId::new("tg:-300").unwrap(), ..group() };
    store.add_group(&third).await.unwrap();
    drop((store, lock));

    let root = place.path("elsewhere");
    restore(&backup, &root, Used::Refuse).unwrap();
    let store = SqliteStore::open(&root.join("store/nanoclaw.db")).await.unwrap();
    assert_eq!(store.groups().await.unwrap(), [group(), more]);
}

#[tokio::test]
async fn what_is_no_file_is_left_out_and_said_and_no_rights_are_kept_that_files_should_not_have() {
    let place = Place::new().await;
    let folder = place.home.root().join("groups/family");
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::set_permissions(folder.join("large"), Permissions::from_mode(0o4755)).unwrap();
    let (backup, written) = place.backup().await;
    assert_eq!(written.remarks.len(), 2, "{:?}", written.remarks);
    for name in ["socket", "pipe"] {
        assert!(written.remarks.iter().any(|remark| remark.starts_with(&format!("groups/family/{name}: "))));
    }
    let root = place.path("elsewhere");
    restore(&backup, &root, Used::Refuse).unwrap();
    assert_eq!(fs::metadata(root.join("groups/family/large")).unwrap().permissions().mode() & 0o7777, 0o755);
}

/// What a compressed file has in it; `None`: it is none.
fn unpacked(compressed: &[u8]) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(compressed), &mut content).ok().map(|_| content)
}

#[tokio::test]
async fn a_backup_that_is_cut_off_or_changed_anywhere_is_refused_and_changes_nothing() {
    let place = Place::new().await;
    fs::remove_file(place.home.root().join("groups/family/large")).unwrap();
    let (backup, _) = place.backup().await;
    let whole = fs::read(&backup).unwrap();
    let root = place.path("elsewhere");
    let spoilt = place.path("spoilt.tar.gz");
    // Ends everywhere, and a change in every part of it.
    let steps = (0..whole.len()).step_by(whole.len() / 200 + 1);
    for at in steps {
        fs::write(&spoilt, &whole[..at]).unwrap();
        read::verify(&spoilt).expect_err(&format!("cut off at {at}"));
        let mut changed = whole.clone();
        changed[at] ^= 0x20;
        fs::write(&spoilt, &changed).unwrap();
        // Some bits say nothing: when it was compressed and by what system, and what fills the last byte of a part.
        if unpacked(&changed).is_none_or(|content| Some(content) != unpacked(&whole)) {
            read::verify(&spoilt).expect_err(&format!("changed at {at}"));
            restore(&spoilt, &root, Used::Refuse).expect_err(&format!("changed at {at}"));
        }
    }
    assert!(!root.exists());
    assert!(read::verify(&backup).is_ok());
}

#[tokio::test]
async fn what_is_not_a_backup_is_called_so() {
    let place = Place::new().await;
    for (name, content) in [("empty", &b""[..]), ("text", b"hello"), ("tar", &[0; 1024])] {
        let file = place.path(name);
        fs::write(&file, content).unwrap();
        assert!(matches!(read::verify(&file), Err(BackupError::Foreign(path)) if path == file), "{name}");
    }
    let other = archive(&place, &[("somebody/else", "x")]);
    assert!(matches!(read::verify(&other), Err(BackupError::Foreign(_))));
    assert!(matches!(read::verify(&place.path("missing")), Err(BackupError::File { .. })));
    assert!(matches!(read::verify(place.folder.path()), Err(BackupError::Foreign(_) | BackupError::File { .. })));
}

/// An archive with these entries.
fn archive(place: &Place, entries: &[(&str, &str)]) -> PathBuf {
    let path = place.path("made.tar.gz");
    let mut tar = tar::Builder::new(GzEncoder::new(File::create(&path).unwrap(), Compression::fast()));
    for (name, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        // Written into the header itself, because the library keeps such names out.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(target) = text.strip_prefix("-> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).unwrap();
            header.set_size(0);
            header.set_cksum();
            tar.append(&header, std::io::empty()).unwrap();
        } else {
            header.set_size(text.len() as u64);
            header.set_cksum();
            tar.append(&header, text.as_bytes()).unwrap();
        }
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
    path
}

const LABEL: (&str, &str) = ("nanoclaw-backup.json", r#"{"format":1,"made_at_ms":1000,"version":"0.1.0","schema":1}"#);

#[tokio::test]
async fn nothing_is_written_outside_of_the_home() {
    let place = Place::new().await;
    let root = place.path("elsewhere");
    for name in ["home/../../outside", "home//outside", "/outside", "home/./x", "outside", "home/"] {
        let crafted = archive(&place, &[LABEL, (name, "x"), ("manifest.json", r#"{"files":[]}"#)]);
        let error = restore(&crafted, &root, Used::Refuse).unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(BackupError::Damaged { .. })), "{name}: {error}");
    }
    // A way out by a link that is in it. Its list of files is right, so that all else about it is in order.
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    let sum = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let listed = format!(r#"{{"files":[{{"path":"groups/way/x","bytes":1,"sha256":"{sum}"}}]}}"#);
    let way = format!("-> {}", outside.display());
    let crafted =
        archive(&place, &[LABEL, ("home/groups/way", &way), ("home/groups/way/x", "x"), ("manifest.json", &listed)]);
    read::verify(&crafted).unwrap();
    restore(&crafted, &root, Used::Refuse).unwrap_err();
    assert!(fs::read_dir(&outside).unwrap().next().is_none());
}

#[tokio::test]
async fn a_newer_programs_backup_is_refused_with_its_version() {
    let place = Place::new().await;
    for label in [
        r#"{"format":2,"made_at_ms":1000,"version":"9.9.9","schema":1}"#,
        r#"{"format":1,"made_at_ms":1000,"version":"9.9.9","schema":9000}"#,
    ] {
        let newer = archive(&place, &[("nanoclaw-backup.json", label), ("manifest.json", r#"{"files":[]}"#)]);
        let error = restore(&newer, &place.path("elsewhere"), Used::Refuse).unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(BackupError::Newer { version, .. }) if version == "9.9.9"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_used_home_is_left_alone_or_moved_aside_and_never_deleted() {
    let place = Place::new().await;
    let (backup, _) = place.backup().await;
    let memory = place.home.root().join("groups/family/CLAUDE.md");
    fs::write(&memory, "written after the backup").unwrap();

    let error = restore(&backup, place.home.root(), Used::Refuse).unwrap_err();
    assert!(matches!(error.downcast_ref(), Some(BackupError::Used(_))), "{error}");
    let lock = HomeLock::acquire(&place.home).unwrap();
    restore(&backup, place.home.root(), Used::MoveAside).expect_err("a service works on it");
    drop(lock);
    assert_eq!(fs::read_to_string(&memory).unwrap(), "written after the backup");

    // What a restore that was killed has left is no hindrance.
    fs::create_dir_all(place.home.root().join(".restoring/groups/half")).unwrap();
    let restored = restore(&backup, place.home.root(), Used::MoveAside).unwrap();
    assert_eq!(fs::read_to_string(&memory).unwrap(), "who is who");
    let aside = restored.aside.unwrap();
    assert_eq!(fs::read_to_string(aside.join("groups/family/CLAUDE.md")).unwrap(), "written after the backup");
    assert!(aside.join("store/nanoclaw.db").exists());
    assert!(!place.home.root().join("groups/half").exists());
    let _lock = HomeLock::acquire(&place.home).unwrap();
}

#[tokio::test]
async fn a_backup_is_never_written_over_anything_and_nothing_half_written_is_left() {
    let place = Place::new().await;
    let (backup, _) = place.backup().await;
    let before = fs::read(&backup).unwrap();
    let again = create::create(&place.home, &backup, |_, _| {}).await;
    assert!(matches!(again, Err(BackupError::File { .. })));
    assert_eq!(fs::read(&backup).unwrap(), before);
    let nowhere = create::create(&place.home, &place.path("no/such/folder/x"), |_, _| {}).await;
    assert!(matches!(nowhere, Err(BackupError::File { .. })));
    let mut left: Vec<_> = fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["backup.tar.gz", "home"]);
}
