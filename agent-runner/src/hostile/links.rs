//! Links, in every place where the host reads, writes, makes or gives away something, pointing to where the attacker cannot go
//! itself. What counts is what the host did: the judge looks at what the links point to.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nanoclaw_core::protocol::hostile::Outcome;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, renameat_with};

use super::{Attack, must_fail};

/// How long one race is run.
const RACE: Duration = Duration::from_secs(3);

pub(super) fn run(attack: &mut Attack) {
    let root = attack.places.mailbox.root().to_owned();
    let targets: Vec<PathBuf> = attack.orders.files.iter().cloned().chain(["/etc/shadow".into()]).collect();
    for (number, target) in targets.iter().enumerate() {
        for folder in ["messages", "tasks", "output", "input", "answers", "alive"] {
            attack.tries(format!("a link in {folder}/ to {}", target.display()), |_| {
                left(symlink(target, root.join(folder).join(format!("link-{number}.json"))))
            });
        }
    }
    for target in &targets {
        attack.tries(format!("a hard link to {}", target.display()), |attack| {
            must_fail(fs::hard_link(target, attack.places.group.join("hard")), |()| "made".to_owned())
        });
    }
    attack.tries("a hard link to agent-runner, into the group's folder", |attack| {
        must_fail(fs::hard_link("/nanoclaw/bin/agent-runner", attack.places.group.join("hard-runner")), |()| {
            "made".to_owned()
        })
    });
    attack.tries("a hard link to the shared memory file", |attack| {
        let shared = attack.places.global.join("CLAUDE.md");
        must_fail(fs::hard_link(shared, attack.places.group.join("hard-shared")), |()| "made".to_owned())
    });
    attack.tries("what is no file among the requests", |_| {
        let messages = root.join("messages");
        let fifo = rustix::fs::mknodat(CWD, messages.join("fifo.json"), FileType::Fifo, Mode::from_raw_mode(0o666), 0);
        let folder = fs::create_dir(messages.join("folder.json"));
        let socket = std::os::unix::net::UnixListener::bind(messages.join("socket.json"));
        let huge = fs::File::create(messages.join("huge.json")).and_then(|file| file.set_len(1 << 30));
        let deep = fs::write(messages.join("deep.json"), "[".repeat(200_000));
        Outcome::Allowed(format!(
            "left there: fifo {}, folder {}, socket {}, a gibibyte {}, deep {}",
            fifo.is_ok(),
            folder.is_ok(),
            socket.is_ok(),
            huge.is_ok(),
            deep.is_ok()
        ))
    });
    attack.tries("a request that is a file and a link by turns", |_| {
        let target = targets.first().cloned().unwrap_or_default();
        let path = root.join("messages/race.json");
        let deadline = Instant::now() + RACE;
        let mut turns = 0_u64;
        while Instant::now() < deadline {
            let file = root.join(format!(".file-{turns}"));
            let link = root.join(format!(".link-{turns}"));
            let made = fs::write(&file, r#"{"type":"message","chatJid":"local:nobody","text":"x"}"#)
                .and_then(|()| symlink(&target, &link))
                .and_then(|()| fs::rename(&file, &path))
                .and_then(|()| fs::rename(&link, &path));
            turns += u64::from(made.is_ok());
        }
        Outcome::Allowed(format!("{turns} turns"))
    });
    // The host writes into these when it answers, feeds and fences; from here on they are somebody else's.
    let other = attack.orders.others.first().map(|other| other.folder.clone()).unwrap_or_default();
    let ipc = attack.orders.mailbox.parent().map(Path::to_owned).unwrap_or_default();
    for (folder, target) in [
        ("answers", attack.orders.folders.first().cloned().unwrap_or_default()),
        ("input", ipc.join(&other).join("input")),
        ("alive", ipc.join(&other).join("alive")),
        ("tasks", "/etc".into()),
        ("output", ipc.join(&other).join("output")),
    ] {
        attack.tries(format!("{folder}/ replaced by a link to {}", target.display()), |_| {
            let place = root.join(folder);
            let aside = root.join(format!("{folder}-aside"));
            left(fs::rename(&place, &aside).and_then(|()| symlink(&target, &place)))
        });
        // Something for the host to answer, through whatever is there now.
        let _ = fs::write(
            root.join("messages").join(format!("after-{folder}.json")),
            r#"{"type":"message","chatJid":"local:x","text":"x"}"#,
        );
    }
    attack.tries("folders that change places with links", |_| {
        let (place, link) = (root.join("messages"), root.join("messages-link"));
        let _ = symlink(ipc.join(&other).join("messages"), &link);
        let deadline = Instant::now() + RACE;
        let mut turns = 0_u64;
        while Instant::now() < deadline {
            turns += u64::from(renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE).is_ok());
        }
        // As it was, so that the next attack has a mailbox.
        if place.is_symlink() {
            let _ = renameat_with(CWD, &place, CWD, &link, RenameFlags::EXCHANGE);
        }
        Outcome::Allowed(format!("{turns} turns"))
    });
    attack.tries("the fence as a link", |_| {
        let target = targets.first().cloned().unwrap_or_default();
        let _ = fs::remove_file(root.join("fence"));
        left(symlink(target, root.join("fence")))
    });
    attack.tries("the beat as a link", |_| {
        let target = targets.first().cloned().unwrap_or_default();
        left(symlink(target, root.join("alive-aside/beat")))
    });
    attack.tries("its memory file as a link", |attack| {
        let memory = attack.places.group.join("CLAUDE.md");
        let _ = fs::remove_file(&memory);
        left(symlink(attack.orders.folders.first().cloned().unwrap_or_default().join("made-by-host"), memory))
    });
    attack.tries("its session's folder as a link", |attack| {
        let session = attack.places.home.join(".claude");
        let aside = attack.places.home.join("claude-aside");
        left(
            fs::rename(&session, aside)
                .and_then(|()| symlink(attack.orders.folders.first().cloned().unwrap_or_default(), &session)),
        )
    });
    attack.tries("a tree of links in its folder", |attack| {
        let folder = attack.places.group.join("links");
        let made = fs::create_dir_all(&folder);
        for (number, target) in attack.orders.files.iter().chain(&attack.orders.folders).enumerate() {
            let _ = symlink(target, folder.join(number.to_string()));
        }
        left(made)
    });
    let _ = std::io::stdout().flush();
}

/// A link inside its own folders can always be made; whether anybody follows it is the judge's to see.
fn left(made: std::io::Result<()>) -> Outcome {
    match made {
        Ok(()) => Outcome::Allowed("left there; the host must not follow it".to_owned()),
        Err(error) => Outcome::Refused(error.to_string()),
    }
}
