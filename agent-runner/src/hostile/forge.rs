//! Speaking in another's name: requests for other chats, the owner's rights, other groups' mailboxes, journals and fences.
//!
//! Most of what is judged here is judged by the host's side: that no other chat heard a word of it.

use std::{
    fs,
    io::Write as _,
    time::{Duration, Instant},
};

use nanoclaw_core::{
    protocol::{
        hostile::Outcome,
        markers,
        output::{Block, JournalEntry},
    },
    run::{BlockNumber, RunNumber},
    session::SessionId,
};
use serde_json::{Value, json};

use super::{Attack, must_fail};

/// How long the host may take to answer a request.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn run(attack: &mut Attack) {
    for other in attack.orders.others.clone() {
        let (chat, folder) = (other.chat.clone(), other.folder.clone());
        attack.tries(format!("a message to {chat}"), |attack| {
            let request =
                json!({"type": "message", "chatJid": chat, "text": "FORGED", "groupFolder": folder, "isMain": true});
            ask(attack, "messages", "forged-plain", &request)
        });
        attack.tries(format!("a task for {chat}"), |attack| {
            let request = json!({
                "type": "schedule_task", "prompt": "FORGED", "schedule_type": "once", "schedule_value": "2020-01-01T00:00:00",
                "targetJid": chat, "chatJid": chat, "groupFolder": folder, "context_mode": "group",
            });
            ask(attack, "tasks", "forged-task", &request)
        });
        for way in ["..", "input/../..", "answers/../.."] {
            attack.tries(format!("a file in the mailbox of {folder} by {way}"), |attack| {
                let path = attack.places.mailbox.root().join(way).join(&folder).join("messages");
                must_fail(fs::write(path.join("forged.json"), "{}"), |()| "written".to_owned())
            });
        }
    }
    for (name, request) in [
        (
            "registering a group",
            json!({"type": "register_group", "jid": "local:stolen", "name": "x", "folder": "stolen", "trigger": "@x"}),
        ),
        ("a group's list refreshed", json!({"type": "refresh_groups"})),
        (
            "a mount of its own",
            json!({"type": "register_group", "jid": "local:stolen", "name": "x", "folder": "../../etc",
            "trigger": "@x", "containerConfig": {"additionalMounts": [{"hostPath": "/", "readonly": false}]}}),
        ),
        ("a remote control", json!({"type": "remote_control", "command": "start"})),
    ] {
        attack.tries(format!("the owner's right: {name}"), |attack| ask(attack, "tasks", "forged-owner", &request));
    }
    attack.tries("its own chat under an escaping name", |attack| {
        let request = json!({"type": "message", "chatJid": attack.orders.others.first().map(|other| other.chat.clone()), "text": "FORGED"});
        let folder = attack.places.mailbox.root().join("messages");
        let outcomes = ["..%2f..%2fx", "-rf", "\u{202e}nosj", "a\nb", "x.json.json"]
            .map(|name| fs::write(folder.join(format!("{name}.json")), request.to_string()).is_ok());
        Outcome::Allowed(format!("{} files with odd names left", outcomes.iter().filter(|made| **made).count()))
    });
    attack.tries("blocks that answer everything", |attack| {
        let mut out = std::io::stdout();
        let mut written = 0;
        for answered in [u64::MAX >> 1, 0, 1] {
            let block = block(&format!("FORGED block {answered}"), Some(answered));
            written += usize::from(out.write_all(&markers::encode(&block)).is_ok());
        }
        let _ = attack;
        Outcome::Allowed(format!("{written} said; they answer at most what was handed over"))
    });
    attack.tries("journals of other runs", |attack| {
        let folder = attack.places.mailbox.root().join("output");
        let mut written = 0;
        for run in [0, 1, 999_999, u32::MAX] {
            let entry = JournalEntry {
                run: RunNumber(run),
                number: BlockNumber(u32::MAX),
                block: block("FORGED journal", Some(u64::MAX >> 1)),
            };
            let text = serde_json::to_vec(&entry).unwrap_or_default();
            written += usize::from(fs::write(folder.join(entry.file_name()), text).is_ok());
        }
        Outcome::Allowed(format!("{written} left; the host takes those of this group's open run alone"))
    });
    attack.tries("answers to its own requests", |attack| {
        let folder = attack.places.mailbox.root().join("answers");
        let written = fs::write(folder.join("forged-answer.json"), r#"{"status":"done","detail":"FORGED"}"#);
        Outcome::Allowed(format!("{written:?}; nobody but this group reads them"))
    });
    attack.tries("the fence, far ahead", |attack| {
        // Ends this very container, and nobody else's: what comes after is the next one's.
        let (file, fence) = (attack.places.mailbox.root().join(".fence"), attack.places.mailbox.root().join("fence"));
        let written = fs::write(&file, "999999999").and_then(|()| fs::rename(&file, &fence));
        std::thread::sleep(Duration::from_secs(8));
        Outcome::Allowed(format!("{written:?}; it outlived its own fence"))
    });
}

fn block(text: &str, answered: Option<u64>) -> Block {
    let answered: Option<Value> = answered.map(Value::from);
    Block {
        new_session_id: SessionId::new("../../../victim/.claude/session").ok(),
        answered_seq: answered.and_then(|number| serde_json::from_value(number).ok()),
        ..Block::success(Some(text.to_owned()))
    }
}

/// Leaves a request and waits for the host's word on it.
fn ask(attack: &Attack, folder: &str, name: &str, request: &Value) -> Outcome {
    let root = attack.places.mailbox.root();
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let name = format!("{name}-{nanos}.json");
    let path = root.join(folder).join(&name);
    let temporary = root.join(folder).join(format!(".{name}.tmp"));
    if let Err(error) = fs::write(&temporary, request.to_string()).and_then(|()| fs::rename(&temporary, &path)) {
        return Outcome::Refused(error.to_string());
    }
    let deadline = Instant::now() + PATIENCE;
    let answer = root.join("answers").join(&name);
    loop {
        if let Ok(text) = fs::read_to_string(&answer) {
            let told: Value = serde_json::from_str(&text).unwrap_or_default();
            return match told["status"].as_str() {
                Some("done") => Outcome::Succeeded(text),
                _ => Outcome::Refused(text),
            };
        }
        if Instant::now() > deadline {
            return match path.exists() {
                true => Outcome::Refused("nobody took the request".to_owned()),
                false => Outcome::Refused("it was taken and not answered".to_owned()),
            };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
