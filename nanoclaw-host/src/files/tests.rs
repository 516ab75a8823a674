use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
    sync::Arc,
};

use nanoclaw_core::{
    attachment::{Attachment, Fetched, NewFile, OutgoingFile, SpooledFile},
    delivery::{NewDelivery, Sent},
    group::GroupFolder,
    mailbox::GroupFile,
    message::{Seq, Wakes},
    store::Store,
    testing::MemoryStore,
    time::Timestamp,
};
use rustix::fs::FileType;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

struct Place {
    folder: tempfile::TempDir,
    spool: Arc<Spool>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let limits = FileLimits { file_bytes: 1000, per_message: 3, spool_bytes: 2500, out_bytes: 2500 };
        let spool = Arc::new(Spool::open(&folder.path().join("files"), limits).unwrap());
        fs::create_dir(folder.path().join("group")).unwrap();
        Self { folder, spool }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arrives(&self, name: &str, content: &[u8]) {
        fs::write(self.spool.arriving().join(name), content).unwrap();
    }

    fn taken(&self, content: &[u8]) -> SpooledFile {
        self.arrives("x", content);
        self.spool.take("x").unwrap()
    }

    #[track_caller]
    fn refused(&self, name: &str, part: &str) {
        match self.spool.take(name) {
            Err(NotTaken::Refused(reason)) => assert!(reason.contains(part), "{name}: {reason}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(self.kept(), 0, "nothing of it is left");
    }

    fn kept(&self) -> usize {
        fs::read_dir(self.path("files/in")).unwrap().count()
    }

    fn new_file(&self, content: &[u8]) -> NewFile {
        let fetched = Fetched::Yes(self.taken(content));
        Attachment { kind: "photo".to_owned(), name: Some("a.png".to_owned()), fetched }.new_file(Seq(12), 1).unwrap()
    }

    fn bring(&self, new: &NewFile) -> Result<(), String> {
        bring(&self.path("files"), &self.path("group"), new)
    }

    fn brought(&self) -> Vec<u8> {
        fs::read(self.path("group/attachments/12-1-a.png")).unwrap()
    }
}

#[test]
fn a_file_is_taken_as_a_copy_with_its_type_by_what_is_in_it() {
    let place = Place::new();
    place.arrives("harmless.txt", PNG);
    let file = place.spool.take("harmless.txt").unwrap();
    assert_eq!((&*file.media_type, file.bytes), ("image/png", PNG.len() as u64));
    let kept = place.path("files/in").join(file.spool.as_str());
    assert_eq!(fs::read(&kept).unwrap(), PNG);
    assert_eq!(fs::metadata(&kept).unwrap().mode() & 0o777, 0o600);
    assert!(place.spool.arriving().join("harmless.txt").exists(), "the message may be said again");
    place.spool.done_with("harmless.txt");
    assert!(!place.spool.arriving().join("harmless.txt").exists());
    assert!(kept.exists());
}

#[test]
fn f54_what_a_channel_names_is_one_regular_file_of_its_folder_or_refused() {
    let place = Place::new();
    fs::write(place.path("secret"), "secret").unwrap();
    let arriving = place.spool.arriving();
    symlink(place.path("secret"), arriving.join("link")).unwrap();
    fs::create_dir(arriving.join("folder")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, arriving.join("fifo"), FileType::Fifo, 0o600.into(), 0).unwrap();
    for (name, part) in [
        ("../../secret", "no name of one file"),
        ("/etc/passwd", "no name of one file"),
        ("..", "no name of one file"),
        ("", "no name of one file"),
        ("none", "not there"),
        ("link", "a link"),
        ("folder", "no regular file"),
        ("fifo", "no regular file"),
    ] {
        place.refused(name, part);
    }
    place.spool.done_with("../../secret");
    assert!(place.path("secret").exists());
}

#[test]
fn a_file_that_is_too_large_or_empty_or_has_no_room_is_refused() {
    let place = Place::new();
    place.arrives("large", &[b'x'; 1001]);
    place.refused("large", "larger than");
    place.arrives("empty", b"");
    place.refused("empty", "is empty");
    place.arrives("most", &[b'x'; 1000]);
    let first = place.spool.take("most").unwrap();
    place.spool.take("most").unwrap();
    let Err(NotTaken::Refused(reason)) = place.spool.take("most") else { panic!("there is no room for a third") };
    assert!(reason.contains("no room"), "{reason}");
    place.spool.forget_what_came(&first.spool);
    place.spool.take("most").unwrap();
}

#[test]
fn what_a_host_that_died_left_half_taken_is_removed() {
    let place = Place::new();
    let whole = place.taken(b"whole");
    fs::write(place.path("files/in/.00ff.tmp"), "ha").unwrap();
    let spool = Spool::open(&place.path("files"), place.spool.limits()).unwrap();
    assert_eq!(spool.names().unwrap(), [whole.spool]);
    assert_eq!(place.kept(), 1);
}

#[test]
fn a_file_is_brought_and_brought_again_without_a_change() {
    let place = Place::new();
    let new = place.new_file(PNG);
    place.bring(&new).unwrap();
    assert_eq!(place.brought(), PNG);
    let before = fs::metadata(place.path("group/attachments/12-1-a.png")).unwrap();
    place.bring(&new).unwrap();
    let after = fs::metadata(place.path("group/attachments/12-1-a.png")).unwrap();
    assert_eq!(before.ino(), after.ino(), "it was not written again");
    // A turn that is tried again has what the first one had, whatever became of it meanwhile.
    fs::write(place.path("group/attachments/12-1-a.png"), "changed by the agent").unwrap();
    place.bring(&new).unwrap();
    assert_eq!(place.brought(), PNG);
    assert_eq!(fs::read_dir(place.path("group/attachments")).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn f54_no_link_of_the_agents_is_written_through() {
    let place = Place::new();
    let new = place.new_file(PNG);
    fs::write(place.path("secret"), "secret").unwrap();
    fs::create_dir(place.path("group/attachments")).unwrap();
    for name in ["12-1-a.png", ".12-1-a.png.tmp"] {
        symlink(place.path("secret"), place.path("group/attachments").join(name)).unwrap();
    }
    place.bring(&new).unwrap();
    assert_eq!(place.brought(), PNG);
    fs::remove_file(place.path("group/attachments/12-1-a.png")).unwrap();
    // A file with a second name may be somebody else's.
    fs::hard_link(place.path("secret"), place.path("group/attachments/12-1-a.png")).unwrap();
    fs::hard_link(place.path("secret"), place.path("group/attachments/.12-1-a.png.tmp")).unwrap();
    place.bring(&new).unwrap();
    assert_eq!(place.brought(), PNG);
    assert_eq!(fs::read_to_string(place.path("secret")).unwrap(), "secret");

    fs::remove_dir_all(place.path("group/attachments")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    symlink(place.path("elsewhere"), place.path("group/attachments")).unwrap();
    let refused = place.bring(&new).unwrap_err();
    assert!(refused.contains("something else stands in the place"), "{refused}");
    assert_eq!(fs::read_dir(place.path("elsewhere")).unwrap().count(), 0);
}

#[test]
fn what_stands_in_a_files_way_is_said_and_waited_for_by_nobody() {
    let place = Place::new();
    let new = place.new_file(PNG);
    fs::create_dir_all(place.path("group/attachments/12-1-a.png/deep")).unwrap();
    let refused = place.bring(&new).unwrap_err();
    assert!(refused.contains("a folder stands"), "{refused}");
    fs::remove_dir_all(place.path("group/attachments/12-1-a.png")).unwrap();
    for name in ["12-1-a.png", ".12-1-a.png.tmp"] {
        let path = place.path("group/attachments").join(name);
        rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, 0o600.into(), 0).unwrap();
    }
    place.bring(&new).unwrap();
    assert_eq!(place.brought(), PNG);
    fs::remove_dir_all(place.path("files/in")).unwrap();
    assert_eq!(place.bring(&new).unwrap_err(), "it is not kept any more");
}

#[test]
fn a_group_gets_its_files_as_its_own() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let place = Place::new();
    std::os::unix::fs::chown(place.path("group"), Some(1234), Some(1235)).unwrap();
    place.bring(&place.new_file(PNG)).unwrap();
    for name in ["attachments", "attachments/12-1-a.png"] {
        let metadata = fs::metadata(place.path("group").join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (1234, 1235), "{name}");
    }
}

#[tokio::test]
async fn a_file_without_a_message_goes_at_the_second_sweep_and_one_that_is_needed_stays() {
    let place = Place::new();
    let store = MemoryStore::new();
    let (lost, needed) = (place.taken(b"lost"), place.taken(b"needed"));
    let group: nanoclaw_core::group::Group = nanoclaw_core::group::Group {
        folder: "family".parse().unwrap(),
        chat: "tg:1".parse().unwrap(),
        name: "Family".to_owned(),
        trigger: nanoclaw_core::group::TriggerPolicy::Always,
        role: nanoclaw_core::group::GroupRole::Ordinary,
        added_at: Timestamp::from_ms(1),
    };
    store.add_group(&group).await.unwrap();
    let message = nanoclaw_core::message::InboundMessage {
        chat: group.chat.clone(),
        channel: "telegram".parse().unwrap(),
        chat_kind: None,
        id: "1".parse().unwrap(),
        sender: "ann".parse().unwrap(),
        sender_name: "Ann".to_owned(),
        author: nanoclaw_core::message::Author::Person,
        text: String::new(),
        sent_at: Timestamp::from_ms(1),
        quote: None,
        thread: None,
        attachments: vec![Attachment { kind: "photo".to_owned(), name: None, fetched: Fetched::Yes(needed.clone()) }],
    };
    store.accept(&message, Wakes::Yes, Timestamp::from_ms(1)).await.unwrap();
    let unused = sweep::sweep(&place.spool, &store, &BTreeSet::new()).await.unwrap();
    assert_eq!(unused, BTreeSet::from([lost.spool]));
    assert_eq!(place.kept(), 2, "its message may be on its way");
    assert!(sweep::sweep(&place.spool, &store, &unused).await.unwrap().is_empty());
    assert_eq!(place.spool.names().unwrap(), [needed.spool]);
}

/// A file of the group family, as an agent's request finds it.
fn group_file(place: &Place, name: &str, content: &[u8]) -> GroupFile {
    fs::write(place.path("group").join(name), content).unwrap();
    GroupFile::open(&place.path("group"), name, 1 << 20).unwrap()
}

fn family() -> GroupFolder {
    "family".parse().unwrap()
}

/// The names of copies of what a group sends.
fn out(place: &Place, group: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path("files/out").join(group)).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_kept_as_it_was_opened_and_is_held_until_its_message_is_stored() {
    let place = Place::new();
    let store = Arc::new(MemoryStore::new());
    let outgoing = Outgoing::new(place.spool.clone(), store.clone());
    let file = group_file(&place, "a.png", PNG);
    // What the agent puts in its place afterwards is not sent.
    fs::remove_file(place.path("group/a.png")).unwrap();
    fs::write(place.path("secret"), "secret").unwrap();
    symlink(place.path("secret"), place.path("group/a.png")).unwrap();
    let kept = outgoing.keep(&family(), file).await.unwrap();
    let file = OutgoingFile::new(family(), "a.png", kept.file.clone());
    let path = place.spool.path_of(&file);
    assert_eq!((fs::read(&path).unwrap().as_slice(), &*file.spooled.media_type), (PNG, "image/png"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert!(is_there(&path, &file.spooled).await.is_ok());

    outgoing::sweep(&place.spool, &*store).await.unwrap();
    assert!(path.exists(), "its message may be on its way");
    let new = NewDelivery {
        key: "request/family/1/1.json".parse().unwrap(),
        chat: "tg:1".parse().unwrap(),
        text: String::new(),
        file: Some(file.clone()),
        answers: None,
    };
    let id = store.post(&new, Timestamp::from_ms(1)).await.unwrap();
    drop(kept.guard);
    outgoing::sweep(&place.spool, &*store).await.unwrap();
    assert!(path.exists(), "it is to be sent");
    store.delivery_sent(id, &Sent::default(), Timestamp::from_ms(2)).await.unwrap();
    outgoing::sweep(&place.spool, &*store).await.unwrap();
    assert!(!path.exists(), "it was sent");
    assert_eq!(is_there(&path, &file.spooled).await.unwrap_err(), "its file is not kept any more");

    // What a host left that died before the commit goes when the next one looks.
    let lost = outgoing.keep(&family(), group_file(&place, "b", b"b")).await.unwrap();
    std::mem::forget(lost.guard);
    fs::write(place.path("files/out/family/.00ff.tmp"), "ha").unwrap();
    let next = Arc::new(Spool::open(&place.path("files"), place.spool.limits()).unwrap());
    assert_eq!(out(&place, "family"), [lost.file.spool.as_str()]);
    outgoing::sweep(&next, &*store).await.unwrap();
    assert_eq!(out(&place, "family"), [""; 0]);
}

#[tokio::test]
async fn a_groups_files_have_a_bound_of_their_own_and_what_was_sent_makes_room() {
    let place = Place::new();
    let store = Arc::new(MemoryStore::new());
    let outgoing = Outgoing::new(place.spool.clone(), store.clone());
    let keep = async |group: &str, name: &str| {
        let file = group_file(&place, name, &[b'x'; 1000]);
        outgoing.keep(&group.parse().unwrap(), file).await
    };
    let (first, second) = (keep("family", "1").await.unwrap(), keep("family", "2").await.unwrap());
    let refused = keep("family", "3").await.err().unwrap();
    assert!(refused.contains("the files of this group that are not sent yet may have 2500B together"), "{refused}");
    assert_eq!(out(&place, "family").len(), 2, "nothing of it is left");
    keep("work", "1").await.unwrap();
    place.taken(&[b'x'; 1000]);
    // Not stored, and not held: nobody needs it.
    drop(first.guard);
    keep("family", "3").await.unwrap();
    drop(second);
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_copied_is_refused_or_sent_as_it_was_found() {
    let place = Place::new();
    let outgoing = Outgoing::new(place.spool.clone(), Arc::new(MemoryStore::new()));
    let emptied = group_file(&place, "a", b"words");
    fs::write(place.path("group/a"), b"").unwrap();
    let refused = outgoing.keep(&family(), emptied).await.err().unwrap();
    assert_eq!(refused, "it became empty while it was copied");
    let changed = group_file(&place, "b", b"words");
    fs::write(place.path("group/b"), PNG).unwrap();
    let kept = outgoing.keep(&family(), changed).await.unwrap();
    assert_eq!((&*kept.file.media_type, kept.file.bytes), ("image/png", PNG.len() as u64));
    assert_eq!(out(&place, "family").len(), 1);
}
