//! An agent that does to its mailbox what it can, at any time, with the host at work there.

use std::{
    os::unix::ffi::OsStringExt,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::fs::{CWD, Mode, RenameFlags, renameat_with};

use super::*;

/// What lies outside and must never come in.
const CANARY: &str = "CANARY: what nobody may read";
/// Much longer than any call takes, and much shorter than waiting for a FIFO's other end.
const SOON: Duration = Duration::from_secs(20);

/// A place outside of the mailbox, with a secret in it.
fn outside(directory: &TempDir) -> std::path::PathBuf {
    let outside = directory.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for name in ["a.json", "secret", "fence"] {
        fs::write(outside.join(name), CANARY).unwrap();
    }
    outside
}

fn assert_untouched(outside: &Path) {
    assert_eq!(names(outside), ["a.json", "fence", "secret"]);
    for name in names(outside) {
        let file = outside.join(name);
        assert_eq!(fs::read_to_string(&file).unwrap(), CANARY);
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 1);
    }
}

#[test]
fn a_file_that_has_a_name_elsewhere_is_refused_unread() {
    let (directory, mailbox) = mailbox();
    let outside = outside(&directory);
    let messages = mailbox.messages().unwrap();
    fs::hard_link(outside.join("secret"), messages.path().join("a.json")).unwrap();
    assert_eq!(claim(&messages), [refused("a.json", Refused::SeveralNames)]);
    messages.remove("a.json").unwrap();
    assert_untouched(&outside);
}

#[test]
fn a_flood_of_names_is_looked_at_in_part_and_gone_when_the_next_run_begins() {
    let (_directory, mailbox) = mailbox();
    let messages = mailbox.messages().unwrap();
    for number in 0..10_000 {
        symlink("nowhere", messages.path().join(format!("{number:05}.json"))).unwrap();
    }
    let limits = Limits { names: 50, ..Limits::default() };
    assert_eq!(messages.claim(&limits).unwrap().len(), 50);
    let mut looked_at = 0;
    messages.each_name(50 * 64, |_| looked_at += 1).unwrap();
    assert!(looked_at <= 50 * 64, "{looked_at}");
    fs::write(mailbox.tasks().unwrap().path().join("kept.json"), "").unwrap();
    mailbox.create().unwrap();
    assert_eq!(claim(&mailbox.messages().unwrap()), []);
    assert_eq!(names(&mailbox.root().join("tasks")), ["kept.json"], "an ordinary folder stays as it is");
}

#[test]
fn names_with_control_characters_or_of_the_greatest_length_are_names_like_others() {
    let (_directory, mailbox) = mailbox();
    let messages = mailbox.messages().unwrap();
    let long = format!("{}.json", "n".repeat(250));
    let odd = "\n2026 INFO forged\x1b[2J\r'; DROP TABLE outbox;--.json";
    for name in [odd, &long] {
        fs::write(messages.path().join(name), "{}").unwrap();
    }
    assert_eq!(claim(&messages), [file(odd, "{}"), file(&long, "{}")]);
    assert!(mailbox.answers().unwrap().write_fleeting(&long, b"{}").is_err(), "its temporary name is too long");
    for name in [odd, &long] {
        messages.remove(name).unwrap();
    }
    assert!(names(messages.path()).is_empty());
}

#[test]
fn folders_that_are_not_text_or_not_empty_are_cleared_away_however_often() {
    let (directory, folder) = folder();
    for round in 0..200 {
        let odd = std::ffi::OsString::from_vec(b"\xff\xfe.json".to_vec());
        fs::create_dir_all(directory.path().join(odd).join("full")).unwrap();
        fs::create_dir_all(directory.path().join("a.json/full")).unwrap();
        fs::create_dir_all(directory.path().join(".b.json.tmp/full")).unwrap();
        assert_eq!(folder.clear().unwrap(), 2, "round {round}");
        folder.stage("b.json", b"in spite of it").unwrap();
        folder.unstage("b.json").unwrap();
    }
}

#[test]
fn a_folder_that_its_agent_has_shut_is_opened_again() {
    let (_directory, mailbox) = mailbox();
    let messages = mailbox.messages().unwrap();
    messages.write("a.json", b"").unwrap();
    let shut = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
    shut(messages.path());
    // Through the held handle, in the middle of a run.
    messages.remove("a.json").unwrap();
    for path in [mailbox.root().join("input"), mailbox.root().to_owned()] {
        shut(&path);
        mailbox.create().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o700, 0o700, "{path:?}");
        mailbox.input().unwrap().write("a.json", b"").unwrap();
    }
}

#[test]
fn a_tree_of_any_depth_among_the_files_is_put_aside_whole() {
    let (directory, folder) = folder();
    let mut at = rustix::fs::open(directory.path(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for name in std::iter::once("a.json").chain(std::iter::repeat_n("d", 3_000)) {
        rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, name, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    assert_eq!(claim(&folder), [refused("a.json", Refused::NotRegular)]);
    folder.remove("a.json").unwrap();
    assert_eq!(claim(&folder), []);
    // For the test's own clean-up, which descends by path.
    let aside = directory.path().join(&names(directory.path())[0]);
    let status = std::process::Command::new("rm").arg("-rf").arg(aside).status();
    assert!(status.unwrap().success());
}

/// The path of a folder wherever it is moved to: whoever makes trouble in it, through a link that has its name by then, would
/// make it outside, which a container cannot.
fn held(folder: &Folder) -> std::path::PathBuf {
    std::path::PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder.handle)))
}

/// Ends what the other threads do, also when this one fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One way to be a nuisance, done again and again.
type Nuisance<'a> = Box<dyn FnMut(u64) + Send + 'a>;

/// All that an agent can put under the name of a file.
fn changing_file(place: std::path::PathBuf, outside: &Path) -> Nuisance<'_> {
    let made = place.with_extension("made");
    Box::new(move |round| {
        let _ = fs::remove_file(&made);
        let _ = match round % 6 {
            0 => fs::write(&made, "{\"mine\": true}"),
            1 => symlink(outside.join("secret"), &made),
            2 => fs::hard_link(outside.join("secret"), &made),
            3 => rustix::fs::mkfifoat(CWD, &made, Mode::RWXU).map_err(Into::into),
            4 => fs::create_dir(&made),
            _ => fs::File::create(&made).and_then(|file| file.set_len(1 << 30)),
        };
        let _ = fs::rename(&made, &place);
        let _ = fs::remove_dir(&made);
        let _ = fs::remove_dir(&place);
    })
}

/// A file that grows and shrinks while it is read.
fn breathing_file(place: std::path::PathBuf) -> Nuisance<'static> {
    Box::new(move |round| {
        let file = fs::OpenOptions::new().write(true).create(true).truncate(false).mode_open(&place);
        let _ = file.and_then(|file| file.set_len([0, 100, 1 << 30, 5000][(round % 4) as usize]));
    })
}

/// A folder that takes turns with a link to what is outside.
fn changing_folder(place: std::path::PathBuf, outside: &Path) -> Nuisance<'_> {
    let other = place.with_extension("other");
    Box::new(move |_| {
        let _ = symlink(outside, &other);
        let _ = renameat_with(CWD, &place, CWD, &other, RenameFlags::EXCHANGE);
    })
}

trait ModeOpen {
    fn mode_open(&mut self, path: &Path) -> std::io::Result<fs::File>;
}

impl ModeOpen for fs::OpenOptions {
    /// Without waiting for the other end of what may be a FIFO by now, and through no link.
    fn mode_open(&mut self, path: &Path) -> std::io::Result<fs::File> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        self.custom_flags(flags.bits().cast_signed()).open(path)
    }
}

#[test]
fn whatever_is_swapped_linked_or_cut_while_the_host_is_at_work_nothing_outside_is_read_or_changed() {
    let (directory, mailbox) = mailbox();
    let outside = &outside(&directory);
    let root = mailbox.root();
    let (messages, answers) = (&mailbox.messages().unwrap(), &mailbox.answers().unwrap());
    let nuisances: Vec<Nuisance<'_>> = vec![
        changing_file(held(messages).join("a.json"), outside),
        changing_file(held(answers).join(".a.json.tmp"), outside),
        changing_file(held(answers).join("a.json"), outside),
        changing_file(root.join("fence"), outside),
        changing_file(root.join(".fence.tmp"), outside),
        breathing_file(held(messages).join("b.json")),
        changing_folder(root.join("messages"), outside),
        changing_folder(root.join("answers"), outside),
        changing_folder(root.join("input"), outside),
    ];
    let over = &AtomicBool::new(false);
    let mut mine = 0;
    std::thread::scope(|scope| {
        for mut nuisance in nuisances {
            scope.spawn(move || {
                for round in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    nuisance(round);
                    std::thread::yield_now();
                }
            });
        }
        let ends = Ends(over);
        // Every call may fail; none may do harm, or not come back.
        let mut slowest = Duration::ZERO;
        let mut timed = |call: &mut dyn FnMut()| {
            let begun = Instant::now();
            call();
            slowest = slowest.max(begun.elapsed());
        };
        for round in 0..400 {
            timed(&mut || {
                let Ok(messages) = mailbox.messages() else { return };
                for claimed in messages.claim(&Limits::default()).unwrap_or_default() {
                    if let Ok(content) = &claimed.content {
                        assert!(!content.windows(6).any(|part| part == b"CANARY"), "{claimed:?}");
                        mine += usize::from(content.starts_with(b"{\"mine\""));
                    }
                    let _ = messages.remove(&claimed.name);
                }
            });
            timed(&mut || {
                let _ = mailbox.answers().and_then(|answers| answers.write_fleeting("a.json", b"{}"));
            });
            timed(&mut || {
                let _ = mailbox.input().and_then(|input| {
                    input.stage("a.json", b"{}")?;
                    input.publish("a.json")?;
                    input.has("a.json")?;
                    input.staged()?;
                    input.clear()
                });
            });
            timed(&mut || {
                let _ = mailbox.fence(RunNumber(7));
                let said = mailbox.oldest_run();
                assert!(matches!(said, Ok(None | Some(RunNumber(7))) | Err(_)), "{said:?}");
            });
            if round % 20 == 0 {
                timed(&mut || drop(mailbox.create()));
            }
        }
        drop(ends);
        assert!(slowest < SOON, "a call took {slowest:?}");
    });
    println!("{mine} honest files were read");
    assert_eq!(names(outside), ["a.json", "fence", "secret"]);
    for name in names(outside) {
        assert_eq!(fs::read_to_string(outside.join(name)).unwrap(), CANARY);
    }
    // And afterwards it is a mailbox like any other.
    mailbox.create().unwrap();
    mailbox.messages().unwrap().write("z.json", b"honest").unwrap();
    assert!(claim(&mailbox.messages().unwrap()).contains(&file("z.json", "honest")));
}
