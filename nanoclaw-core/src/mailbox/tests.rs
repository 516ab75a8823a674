use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
};

use tempfile::TempDir;

use super::*;
use crate::run::RunNumber;

mod hostile;

fn mailbox() -> (TempDir, Mailbox) {
    let directory = tempfile::tempdir().unwrap();
    let mailbox = Mailbox::new(directory.path().join("ipc/family"));
    mailbox.create().unwrap();
    (directory, mailbox)
}

fn folder() -> (TempDir, Folder) {
    let directory = tempfile::tempdir().unwrap();
    let folder = Folder::open(directory.path()).unwrap();
    (directory, folder)
}

fn fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o666)).unwrap();
}

fn claim(folder: &Folder) -> Vec<(String, Result<String, Refused>)> {
    claim_within(folder, &Limits::default())
}

fn claim_within(folder: &Folder, limits: &Limits) -> Vec<(String, Result<String, Refused>)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    folder.claim(limits).unwrap().into_iter().map(|file| (file.name, file.content.map(text))).collect()
}

fn file(name: &str, content: &str) -> (String, Result<String, Refused>) {
    (name.to_owned(), Ok(content.to_owned()))
}

fn refused(name: &str, reason: Refused) -> (String, Result<String, Refused>) {
    (name.to_owned(), Err(reason))
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_mailbox_is_created_for_its_owner_alone_and_again_without_harm() {
    let (_directory, mailbox) = mailbox();
    mailbox.input().unwrap().write("a.json", b"kept").unwrap();
    mailbox.create().unwrap();
    assert_eq!(names(mailbox.root()), ["alive", "answers", "input", "messages", "output", "tasks"]);
    for path in [mailbox.root().to_owned(), mailbox.root().join("input"), mailbox.root().join("tasks")] {
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700, "{path:?}");
    }
    assert_eq!(claim(&mailbox.input().unwrap()), [file("a.json", "kept")]);
}

#[test]
fn each_folder_is_where_the_container_contract_says() {
    let (_directory, mailbox) = mailbox();
    for (folder, name) in [
        (mailbox.input(), "input"),
        (mailbox.output(), "output"),
        (mailbox.messages(), "messages"),
        (mailbox.tasks(), "tasks"),
        (mailbox.answers(), "answers"),
    ] {
        let folder = folder.unwrap();
        assert_eq!(folder.path(), mailbox.root().join(name));
        folder.write("a.json", name.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(mailbox.root().join(name).join("a.json")).unwrap(), name);
    }
}

#[test]
fn a_link_or_file_in_a_folders_place_is_refused_and_replaced_when_a_run_begins() {
    let (directory, mailbox) = mailbox();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let messages = mailbox.root().join("messages");
    fs::remove_dir(&messages).unwrap();
    symlink(&elsewhere, &messages).unwrap();
    let error = mailbox.messages().unwrap_err();
    assert!(error.to_string().contains("messages"), "{error}");
    assert!(Folder::open(&messages).is_err());
    mailbox.create().unwrap();
    mailbox.messages().unwrap().write("a.json", b"").unwrap();
    assert!(names(&elsewhere).is_empty(), "nothing was made through the link");

    fs::remove_dir_all(&messages).unwrap();
    fs::write(&messages, "a file").unwrap();
    assert!(mailbox.messages().is_err());
    mailbox.create().unwrap();
    assert!(mailbox.messages().is_ok());

    fs::remove_dir(&messages).unwrap();
    fifo(&messages);
    assert!(mailbox.messages().is_err(), "and does not wait for a writer");
    mailbox.create().unwrap();
    assert!(mailbox.messages().is_ok());

    let linked = Mailbox::new(directory.path().join("linked"));
    symlink(mailbox.root(), linked.root()).unwrap();
    assert!(linked.input().is_err());
    assert!(linked.create().is_err());
}

#[test]
fn swapping_a_held_folder_for_a_link_leads_nowhere() {
    let (directory, mailbox) = mailbox();
    let elsewhere = directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("secret.json"), "secret").unwrap();
    let input = mailbox.input().unwrap();
    fs::rename(mailbox.root().join("input"), mailbox.root().join("moved")).unwrap();
    symlink(&elsewhere, mailbox.root().join("input")).unwrap();

    input.write("a.json", b"mine").unwrap();
    assert_eq!(claim(&input), [file("a.json", "mine")]);
    input.remove("secret.json").unwrap();
    assert_eq!(names(&elsewhere), ["secret.json"]);
}

#[test]
fn a_written_file_is_whole_readable_for_all_and_leaves_nothing_else() {
    let (directory, folder) = folder();
    for (name, text) in [("a.json", "one"), ("b.json", ""), ("a.json", "another")] {
        folder.write(name, text.as_bytes()).unwrap();
    }
    folder.write_fleeting("_close", b"").unwrap();
    assert_eq!(names(directory.path()), ["_close", "a.json", "b.json"]);
    assert_eq!(fs::read_to_string(directory.path().join("a.json")).unwrap(), "another");
    for name in ["_close", "a.json"] {
        assert_eq!(fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o7777, 0o644, "{name}");
    }
}

#[test]
fn the_other_side_can_read_a_file_whatever_the_hosts_umask() {
    let (directory, folder) = folder();
    // The umask is the whole process's; no test here depends on it.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    folder.write("a.json", b"text").unwrap();
    rustix::process::umask(before);
    assert_eq!(fs::metadata(directory.path().join("a.json")).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_reader_never_sees_half_a_file() {
    let (directory, folder) = folder();
    let reader = Folder::open(directory.path()).unwrap();
    let mut seen = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for letter in b"abcdefgh".iter().cycle().take(200) {
                folder.write_fleeting("a.json", &[*letter; 200_000]).unwrap();
            }
        });
        while !writer.is_finished() {
            for claimed in reader.claim(&Limits::default()).unwrap() {
                let content = claimed.content.unwrap();
                assert_eq!(content.len(), 200_000);
                assert!(content.iter().all(|letter| *letter == content[0]), "parts of two files");
                seen += 1;
            }
        }
    });
    assert!(seen > 0, "the reader was there in time");
}

#[test]
fn the_leftover_of_a_crash_is_replaced_not_followed() {
    let (directory, folder) = folder();
    let target = directory.path().join("target");
    fs::write(&target, "untouched").unwrap();
    fs::write(directory.path().join(".a.json.tmp"), "half of").unwrap();
    folder.write("a.json", b"whole").unwrap();
    symlink(&target, directory.path().join(".b.json.tmp")).unwrap();
    folder.write("b.json", b"whole").unwrap();
    assert_eq!(names(directory.path()), ["a.json", "b.json", "target"]);
    assert_eq!(claim(&folder), [file("a.json", "whole"), file("b.json", "whole")]);
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
}

#[test]
fn f48_a_link_in_the_place_of_a_file_is_replaced_and_its_target_untouched() {
    let (directory, mailbox) = mailbox();
    let target = directory.path().join("authorized_keys");
    fs::write(&target, "untouched").unwrap();
    symlink(&target, mailbox.root().join("current_tasks.json")).unwrap();
    mailbox.top().unwrap().write("current_tasks.json", b"[]").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
    let written = mailbox.root().join("current_tasks.json");
    assert!(fs::symlink_metadata(&written).unwrap().is_file());
    assert_eq!(fs::read_to_string(&written).unwrap(), "[]");
}

#[test]
fn f54_a_name_that_leads_elsewhere_is_refused() {
    let (directory, folder) = folder();
    for name in ["", ".", "..", "a/b.json", "../a.json", "/a.json", "a\0b.json"] {
        for error in
            [folder.write(name, b"").unwrap_err(), folder.remove(name).unwrap_err(), folder.has(name).unwrap_err()]
        {
            assert!(matches!(error, MailboxError::BadName { .. }), "{name:?}: {error}");
        }
    }
    for name in [".hidden.json", "a.json.tmp"] {
        assert!(matches!(folder.write(name, b""), Err(MailboxError::BadName { .. })), "nobody would read {name:?}");
    }
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_write_that_fails_says_where_and_leaves_nothing() {
    let (directory, folder) = folder();
    fs::create_dir(directory.path().join("a.json")).unwrap();
    let error = folder.write("a.json", b"text").unwrap_err().to_string();
    assert!(error.contains("a.json") && error.contains("directory"), "{error}");
    assert_eq!(names(directory.path()), ["a.json"]);
}

#[test]
fn f50_files_are_claimed_in_the_order_of_their_names() {
    let (directory, folder) = folder();
    for name in ["10.json", "09.json", "a.json", "0.json", "A.json"] {
        fs::write(directory.path().join(name), name).unwrap();
    }
    let expected = ["0.json", "09.json", "10.json", "A.json", "a.json"].map(|name| file(name, name));
    assert_eq!(claim(&folder), expected);
    assert_eq!(claim(&folder), expected, "they stay until they are removed");
    folder.remove("0.json").unwrap();
    folder.remove("0.json").unwrap();
    assert_eq!(claim(&folder), expected[1..]);
}

#[test]
fn temporary_and_foreign_names_are_passed_over() {
    let (directory, folder) = folder();
    for name in [".a.json", ".a.json.tmp", "a.json.tmp", "a.tmp", "_close", "a.txt", "a.JSON", "json"] {
        fs::write(directory.path().join(name), "no").unwrap();
    }
    let not_text: &std::ffi::OsStr = std::ffi::OsStr::from_bytes(b"caf\xe9.json");
    fs::write(directory.path().join(not_text), "no").unwrap();
    assert_eq!(claim(&folder), []);
    assert!(folder.has("_close").unwrap());
    assert!(!folder.has("_open").unwrap());
}

#[test]
fn a_link_in_messages_is_refused() {
    let (directory, mailbox) = mailbox();
    let secret = directory.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let messages = mailbox.messages().unwrap();
    symlink(&secret, messages.path().join("a.json")).unwrap();
    symlink("nowhere", messages.path().join("b.json")).unwrap();
    assert!(messages.has("b.json").unwrap());
    assert_eq!(claim(&messages), [refused("a.json", Refused::NotRegular), refused("b.json", Refused::NotRegular)]);
    messages.remove("a.json").unwrap();
    messages.remove("b.json").unwrap();
    assert_eq!(fs::read_to_string(secret).unwrap(), "secret");
    assert_eq!(claim(&messages), []);
}

#[test]
fn f49_a_fifo_in_messages_hurts_nobody() {
    let (_directory, mailbox) = mailbox();
    let messages = mailbox.messages().unwrap();
    fifo(&messages.path().join("a.json"));
    messages.write("b.json", b"after it").unwrap();
    let _socket = UnixListener::bind(messages.path().join("c.json")).unwrap();
    assert_eq!(
        claim(&messages),
        [refused("a.json", Refused::NotRegular), file("b.json", "after it"), refused("c.json", Refused::NotRegular)]
    );
    messages.remove("a.json").unwrap();
    messages.remove("c.json").unwrap();
    assert_eq!(names(messages.path()), ["b.json"]);
}

#[test]
fn a_folder_among_the_files_is_refused_and_can_be_removed_even_when_full() {
    let (directory, folder) = folder();
    for name in ["empty.json", "full.json"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    fs::write(directory.path().join("full.json/x"), "").unwrap();
    assert_eq!(claim(&folder), [refused("empty.json", Refused::NotRegular), refused("full.json", Refused::NotRegular)]);
    folder.remove("empty.json").unwrap();
    folder.remove("full.json").unwrap();
    assert_eq!(claim(&folder), []);

    fs::create_dir_all(directory.path().join("full.json/y")).unwrap();
    folder.remove("full.json").unwrap();
    assert_eq!(claim(&folder), [], "and again");
}

#[test]
fn a_file_that_is_too_large_is_refused_unread() {
    let (directory, folder) = folder();
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    fs::write(directory.path().join("a.json"), "0123456789").unwrap();
    fs::write(directory.path().join("b.json"), "0123456789a").unwrap();
    fs::File::create(directory.path().join("c.json")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        claim_within(&folder, &limits),
        [
            file("a.json", "0123456789"),
            refused("b.json", Refused::TooLarge { limit: 10 }),
            refused("c.json", Refused::TooLarge { limit: 10 }),
        ]
    );
}

#[test]
fn a_file_without_permission_is_refused_with_the_reason() {
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs an ordinary user");
        return;
    }
    let (directory, folder) = folder();
    folder.write("a.json", b"").unwrap();
    fs::set_permissions(directory.path().join("a.json"), fs::Permissions::from_mode(0o000)).unwrap();
    let claimed = claim(&folder);
    assert!(matches!(&claimed[0].1, Err(Refused::Unreadable { reason }) if reason.contains("denied")), "{claimed:?}");
}

#[test]
fn a_flood_of_names_is_taken_in_order_and_in_parts() {
    let (directory, folder) = folder();
    for number in 0..50 {
        fs::write(directory.path().join(format!("{number:03}.json")), number.to_string()).unwrap();
    }
    let limits = Limits { names: 20, ..Limits::default() };
    let mut all = Vec::new();
    loop {
        let part = folder.claim(&limits).unwrap();
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= 20);
        for claimed in part {
            folder.remove(&claimed.name).unwrap();
            all.push(String::from_utf8(claimed.content.unwrap()).unwrap());
        }
    }
    assert_eq!(all, (0..50).map(|number: i32| number.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_flood_of_large_files_is_read_in_parts() {
    let (directory, folder) = folder();
    for number in 0..12 {
        fs::File::create(directory.path().join(format!("{number:03}.json"))).unwrap().set_len(1024 * 1024).unwrap();
    }
    let claimed = folder.claim(&Limits::default()).unwrap();
    assert_eq!(claimed.len(), 8);
    assert_eq!(claimed[7].name, "007.json");
}

#[test]
fn clearing_removes_all_but_temporary_names() {
    let (directory, folder) = folder();
    for name in ["a.json", "_close", "b.txt", ".c.json.tmp"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    fs::write(directory.path().join(std::ffi::OsStr::from_bytes(b"\xff")), "").unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    assert_eq!(folder.clear().unwrap(), 5);
    assert_eq!(names(directory.path()), [".c.json.tmp"]);
    assert_eq!(folder.clear().unwrap(), 0);
}

#[test]
fn a_fence_is_read_as_it_was_written_whatever_lay_in_its_place() {
    let (_directory, mailbox) = mailbox();
    assert_eq!(mailbox.oldest_run().unwrap(), None);
    mailbox.fence(RunNumber(7)).unwrap();
    mailbox.fence(RunNumber(3)).unwrap();
    assert_eq!(mailbox.oldest_run().unwrap(), Some(RunNumber(3)), "the last word counts: numbers may begin anew");
    let place = mailbox.root().join("fence");
    for name in ["fence", ".fence.tmp"] {
        fs::remove_file(&place).unwrap();
        let folder = mailbox.root().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        mailbox.fence(RunNumber(8)).unwrap();
        assert_eq!(mailbox.oldest_run().unwrap(), Some(RunNumber(8)), "over a folder named {name}");
    }
}

#[test]
fn what_is_no_fence_says_nothing() {
    let (directory, mailbox) = mailbox();
    let place = mailbox.root().join("fence");
    let elsewhere = directory.path().join("elsewhere");
    fs::write(&elsewhere, "9\n").unwrap();
    let long = format!("{}9", " ".repeat(1000));
    for text in ["", "nine", "-9", "9 9", "99999999999", "9\0", long.as_str()] {
        fs::write(&place, text).unwrap();
        assert_eq!(mailbox.oldest_run().unwrap(), None, "{text:?}");
        fs::remove_file(&place).unwrap();
    }
    fifo(&place);
    assert_eq!(mailbox.oldest_run().unwrap(), None, "a FIFO");
    fs::remove_file(&place).unwrap();
    symlink(&elsewhere, &place).unwrap();
    assert_eq!(mailbox.oldest_run().unwrap(), None, "a link");
    mailbox.fence(RunNumber(4)).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "9\n", "nothing is written through it");
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    assert_eq!(mailbox.oldest_run().unwrap(), None, "a folder");
}
