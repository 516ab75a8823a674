//! `nanoclaw cleanup` and the service's own tidying: what goes, and what stays however old it is.

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{
    User,
    doctor::{Running, execute},
};

/// Sets when a file was last written to.
fn days_old(path: &Path, days: u64) {
    let at = SystemTime::now() - Duration::from_secs(days * 86_400);
    File::options().append(true).open(path).unwrap().set_modified(at).unwrap();
}

fn write(path: &Path, days: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, vec![b'x'; 5000]).unwrap();
    days_old(path, days);
}

/// A home with a group `family`, one that was removed, and old and new of everything.
fn lived_in() -> User {
    let user = User::with_home();
    user.succeed(["groups", "add", "tg:1", "--name", "Family", "--folder", "family"]);
    user.succeed(["groups", "add", "tg:2", "--name", "Gone", "--folder", "gone"]);
    user.succeed(["tasks", "add", "family", "--when", "every 1h", "Look"]);
    execute(&user, &[
        // Runs 1 to 3 of family: old, old and needed, and the newest, which is old as well.
        "INSERT INTO runs (group_folder, number, kind, runtime, started_at_ms, ended_at_ms, ending, detail) VALUES
            ('family', 1, 'chat', 'sandbox', 1, 2, 'stopped', 'one'), ('family', 2, 'chat', 'sandbox', 3, 4, 'crashed', 'two'),
            ('family', 3, 'chat', 'sandbox', 5, 6, 'stopped', 'three'), ('gone', 1, 'chat', 'sandbox', 1, 2, 'stopped', 'x')",
        "INSERT INTO turns (group_folder, run_number, number, first_seq, last_seq, handed_at_ms, state, ended_at_ms)
            VALUES ('family', 1, 1, 1, 1, 1, 'answered', 2), ('family', 3, 1, 2, 2, 5, 'answered', 6)",
        "INSERT INTO outbox (id, key, chat, text, state, not_before_ms, posted_at_ms, sent_at_ms)
            VALUES (1, 'family/1/1', 'tg:1', 'an answer', 'sent', 1, 1, 2)",
        "INSERT INTO blocks (group_folder, run_number, number, answers, outbox_id, committed_at_ms)
            VALUES ('family', 1, 1, 1, 1, 2)",
        "INSERT INTO chats (chat, channel, last_seen_ms) VALUES ('tg:1', 'tg', 1) ON CONFLICT DO NOTHING",
        "INSERT INTO messages (seq, chat, id, channel, sender, sender_name, author, text, sent_at_ms, attachments, wakes, accepted_at_ms)
            VALUES (1, 'tg:1', 'm1', 'tg', '7', 'Ann', 'person', 'hello', 1, '[]', 1, 1),
                   (2, 'tg:1', 'm2', 'tg', '7', 'Ann', 'person', 'again', 5, '[]', 1, 5)",
        "INSERT INTO set_aside (group_folder, chat, first_seq, last_seq, reason, run_number, at_ms, state)
            VALUES ('family', 'tg:1', 2, 2, 'it crashed', 2, 4, 'kept')",
        "UPDATE groups SET answered_through = 2",
        "INSERT INTO firings (task_id, due_ms, state, not_before_ms, ended_at_ms, text) VALUES
            ('task-1', 1, 'done', 1, 2, 'long ago'), ('task-1', 2, 'waiting', 1, NULL, NULL), ('task-1', 3, 'done', 1, 4, 'the last')",
    ]);
    user.succeed(["groups", "remove", "gone"]);
    execute(&user, &["UPDATE removed_groups SET removed_at_ms = 1"]);
    let (home, store) = (user.home(), user.home().store());
    write(&store.join("logs/family/0000000001.log"), 91);
    write(&store.join("logs/family/0000000003.log"), 2);
    write(&store.join("logs/family/mine.log"), 400);
    write(&store.join("logs/gone/0000000001.log"), 91);
    write(&store.join("sessions/gone/.claude/x.jsonl"), 400);
    write(&store.join("sessions/family/.claude/x.jsonl"), 400);
    write(&store.join("sessions/stranger/x"), 400);
    write(&home.root().join("groups/gone/CLAUDE.md"), 400);
    write(&home.root().join("groups/family/attachments/1-1-a.jpg"), 400);
    write(&home.root().join("groups/family/attachments/2-1-b.jpg"), 400);
    write(&home.root().join("groups/family/attachments/own.jpg"), 400);
    user
}

fn kinds(report: &Value) -> Vec<(String, Option<String>, u64)> {
    let item = |item: &Value| {
        let group = item["group"].as_str().map(str::to_owned);
        (item["kind"].as_str().unwrap().to_owned(), group, item["count"].as_u64().unwrap())
    };
    report["items"].as_array().unwrap().iter().map(item).collect()
}

fn count(user: &User, table: &'static str) -> i64 {
    use sqlx::{Connection as _, sqlite::SqliteConnectOptions};
    let options = SqliteConnectOptions::new().filename(user.home().database());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let count = sqlx::query_scalar(table).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        count
    })
}

#[test]
fn what_is_old_goes_and_what_is_needed_protected_or_of_unknown_origin_stays() {
    let user = lived_in();
    let expected = [
        ("run_logs".to_owned(), Some("family".to_owned()), 1),
        ("run_logs".to_owned(), Some("gone".to_owned()), 1),
        ("runs".to_owned(), None, 1),
        ("firings".to_owned(), None, 1),
        ("removed_groups".to_owned(), Some("gone".to_owned()), 2),
    ];
    let would = user.json(["cleanup", "--dry-run", "--json"]);
    assert_eq!((&would["dry_run"], kinds(&would).as_slice()), (&json!(true), expected.as_slice()), "{would}");
    assert!(would["bytes"].as_u64().unwrap() > 15_000, "{would}");
    let shown = user.succeed(["cleanup", "--dry-run"]);
    assert!(shown.contains("of a group that was removed more than 90d ago"), "{shown}");
    assert_eq!(count(&user, "SELECT COUNT(*) FROM runs"), 4, "nothing went");

    let done = user.json(["cleanup", "--json"]);
    assert_eq!(kinds(&done), expected, "what was shown is what goes");
    assert_eq!(user.json(["cleanup", "--json"])["items"], json!([]));
    assert_eq!(user.succeed(["cleanup"]), "There is nothing that nobody needs any more.\n");

    let store = user.home().store();
    for gone in ["logs/family/0000000001.log", "logs/gone", "sessions/gone"] {
        assert!(!store.join(gone).exists(), "{gone}");
    }
    for stays in
        ["logs/family/0000000003.log", "logs/family/mine.log", "sessions/family/.claude/x.jsonl", "sessions/stranger/x"]
    {
        assert!(store.join(stays).exists(), "{stays}");
    }
    assert!(user.home().root().join("groups/gone/CLAUDE.md").exists(), "memory is protected");
    assert_eq!(fs::read_dir(user.home().root().join("groups/family/attachments")).unwrap().count(), 3);
    let left = |query| count(&user, query);
    assert_eq!(left("SELECT COUNT(*) FROM runs WHERE group_folder = 'family' AND number IN (2, 3)"), 2);
    assert_eq!(left("SELECT COUNT(*) FROM turns"), 1);
    assert_eq!(left("SELECT COUNT(*) FROM blocks"), 0);
    assert_eq!(left("SELECT COUNT(*) FROM messages"), 2, "messages are the memory of a chat");
    assert_eq!(left("SELECT COUNT(*) FROM outbox"), 1);
    assert_eq!(left("SELECT COUNT(*) FROM firings WHERE due_ms IN (2, 3)"), 2);
}

#[test]
fn attachments_go_when_that_is_asked_for_and_rules_can_be_taken_away() {
    let user = lived_in();
    user.configure(
        "[retention]\nattachments = \"30d\"\nrun_logs = \"none\"\nruns = \"none\"\nfirings = \"none\"\nremoved_groups = \"none\"\n",
    );
    let done = user.json(["cleanup", "--json"]);
    assert_eq!(kinds(&done), [("attachments".to_owned(), Some("family".to_owned()), 1)]);
    let folder = user.home().root().join("groups/family/attachments");
    let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    // The second is of a message that was set aside and may be tried again.
    assert_eq!(left, ["2-1-b.jpg", "own.jpg"]);
    // A link in the folder's place leads to what is not the agent's.
    let elsewhere = user.folder.path().join("elsewhere");
    write(&elsewhere.join("1-1-a.jpg"), 400);
    fs::remove_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &folder).unwrap();
    assert_eq!(user.json(["cleanup", "--json"])["items"], json!([]));
    assert!(elsewhere.join("1-1-a.jpg").exists());
}

#[test]
fn a_removed_group_that_the_configuration_still_has_and_one_that_is_back_keep_what_was_theirs() {
    let user = lived_in();
    user.configure("[groups.gone]\nmemory = \"1GiB\"\n");
    let removed = |user: &User| {
        kinds(&user.json(["cleanup", "--dry-run", "--json"])).iter().any(|(kind, ..)| kind == "removed_groups")
    };
    assert!(!removed(&user));
    user.configure("");
    assert!(removed(&user));
    user.succeed(["groups", "add", "tg:2", "--name", "Gone", "--folder", "gone"]);
    assert!(!removed(&user));
    // However long ago it ran, it was a group until now.
    user.succeed(["groups", "remove", "gone"]);
    assert!(!removed(&user));
}

#[test]
fn the_service_that_runs_removes_the_same() {
    let user = lived_in();
    user.configure("[container]\nruntime = \"sandbox\"\n[agent]\nprovider = \"offline\"\n");
    // What is due would be begun, and be another run.
    execute(&user, &["DELETE FROM firings WHERE state = 'waiting'"]);
    let would = kinds(&user.json(["cleanup", "--dry-run", "--json"]));
    let service = Running::start(&user, user.home().root());
    assert_eq!(kinds(&user.json(["cleanup", "--dry-run", "--json"])), would);
    assert_eq!(kinds(&user.json(["cleanup", "--json"])), would);
    assert_eq!(user.json(["cleanup", "--json"])["items"], json!([]));
    drop(service);
    assert_eq!(count(&user, "SELECT COUNT(*) FROM runs"), 3);
}
