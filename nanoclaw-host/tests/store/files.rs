//! The database as a file: who may read it, what it survives, and what is said when it cannot be used.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nanoclaw_core::{
    message::{Seq, Wakes},
    store::{Accepted, Store, StoreError},
};
use nanoclaw_host::stores::sqlite::{SqliteStore, newest_schema};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use sqlx::{ConnectOptions, Connection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::{at, database, delivery, empty_sqlite, folder, group, message};

#[tokio::test]
async fn only_its_user_can_read_it() {
    let (store, home) = empty_sqlite().await;
    store.post(&delivery("key-1", "tg:1"), at(1)).await.unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = database(&home).parent().unwrap().to_owned();
    assert_eq!(mode(&parent), 0o700);
    let mut names = Vec::new();
    for entry in fs::read_dir(&parent).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{}", entry.path().display());
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["nanoclaw.db", "nanoclaw.db-shm", "nanoclaw.db-wal"]);
    store.close().await;

    // A copy that was restored with a wider mode is narrowed.
    fs::set_permissions(database(&home), PermissionsExt::from_mode(0o644)).unwrap();
    SqliteStore::open(&database(&home)).await.unwrap().close().await;
    assert_eq!(mode(&database(&home)), 0o600);
}

#[tokio::test]
async fn what_was_kept_is_there_after_opening_again() {
    let (store, home) = empty_sqlite().await;
    let install = store.install_id().await.unwrap();
    store.add_group(&group("one", "tg:1")).await.unwrap();
    let Accepted::Stored(first) = store.accept(&message("tg:1", "m-1"), Wakes::Yes, at(2)).await.unwrap() else {
        panic!("the message was not stored");
    };
    // Not closed, as when the host is killed: the log is not folded into the file.
    drop(store);

    let store = SqliteStore::open(&database(&home)).await.unwrap();
    assert_eq!(store.install_id().await.unwrap(), install);
    assert_eq!(store.messages_after(&folder("one"), Seq::ZERO, 10).await.unwrap().len(), 1);
    assert!(store.recover().await.unwrap()[0].waiting.is_some());
    let again = store.accept(&message("tg:1", "m-1"), Wakes::Yes, at(3)).await.unwrap();
    assert_eq!(again, Accepted::Duplicate(first));
    let next = store.accept(&message("tg:1", "m-2"), Wakes::Yes, at(3)).await.unwrap();
    assert!(matches!(next, Accepted::Stored(seq) if seq > first));
}

#[tokio::test]
async fn installations_have_different_ids() {
    let ((one, _one_home), (two, _two_home)) = (empty_sqlite().await, empty_sqlite().await);
    assert_ne!(one.install_id().await.unwrap(), two.install_id().await.unwrap());
}

#[tokio::test]
async fn another_handle_reads_what_the_first_one_commits() {
    let (first, home) = empty_sqlite().await;
    let second = SqliteStore::open(&database(&home)).await.unwrap();
    first.add_group(&group("one", "tg:1")).await.unwrap();
    first.accept(&message("tg:1", "m-1"), Wakes::Yes, at(2)).await.unwrap();
    assert_eq!(second.messages_after(&folder("one"), Seq::ZERO, 10).await.unwrap().len(), 1);
    assert_eq!(second.install_id().await.unwrap(), first.install_id().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_at_once_wait_for_each_other() {
    let (store, _home) = empty_sqlite().await;
    store.add_group(&group("one", "tg:1")).await.unwrap();
    let store = Arc::new(store);
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut stored = 0;
            for number in 0..20 {
                let message = message("tg:1", &format!("m-{number}"));
                if let Accepted::Stored(_) = store.accept(&message, Wakes::Yes, at(2)).await.unwrap() {
                    stored += 1;
                }
            }
            stored
        });
    }
    assert_eq!(writers.join_all().await.into_iter().sum::<u32>(), 20, "each message is stored by exactly one");
    assert_eq!(store.unanswered(&folder("one")).await.unwrap(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_two_handles_wait_for_each_other() {
    let (first, home) = empty_sqlite().await;
    first.add_group(&group("one", "tg:1")).await.unwrap();
    let second = SqliteStore::open(&database(&home)).await.unwrap();
    let write = async |store: &SqliteStore, who: &str| {
        for number in 0..100 {
            let message = message("tg:1", &format!("{who}-{number}"));
            // It reads before it writes: begun in SQLite's default way, some of these fail with "database is locked".
            store.accept(&message, Wakes::Yes, at(2)).await.unwrap();
        }
    };
    tokio::join!(write(&first, "first"), write(&second, "second"));
    assert_eq!(first.unanswered(&folder("one")).await.unwrap(), 200);
}

#[tokio::test]
async fn a_write_that_is_dropped_in_the_middle_leaves_no_lock() {
    let (store, _home) = empty_sqlite().await;
    store.add_group(&group("one", "tg:1")).await.unwrap();
    // Each is dropped at another point on its way.
    for polls in 0..40 {
        let message = message("tg:1", &format!("m-{polls}"));
        let mut accept = std::pin::pin!(store.accept(&message, Wakes::Yes, at(2)));
        for _ in 0..polls {
            if tokio::time::timeout(Duration::from_micros(50), accept.as_mut()).await.is_ok() {
                break;
            }
        }
    }
    let last = store.accept(&message("tg:1", "last"), Wakes::Yes, at(2)).await.unwrap();
    assert!(matches!(last, Accepted::Stored(_)));
    let kept = store.messages_after(&folder("one"), Seq::ZERO, 100).await.unwrap();
    assert!(kept.len() <= 40, "the first one was never polled");
    assert_eq!(kept.last().unwrap().message.id.as_str(), "last");
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let (store, home) = empty_sqlite().await;
    store.close().await;
    let mut connection = raw(&database(&home)).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'from the future', 1, X'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let before = fs::read(database(&home)).unwrap();

    let error = SqliteStore::open(&database(&home)).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { found: 9000, known, .. } if known < 9000), "{error}");
    assert!(error.to_string().contains(database(&home).to_str().unwrap()), "{error}");
    assert!(fs::read(database(&home)).unwrap() == before, "the file was changed");
}

/// A database as the version left it whose newest migration was `schema`, with a group in it.
async fn of_schema(schema: i64) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/sqlite");
    let mut older = sqlx::migrate::Migrator::new(folder).await.unwrap();
    older.migrations.to_mut().retain(|migration| migration.version <= schema);
    fs::create_dir(database(&home).parent().unwrap()).unwrap();
    fs::File::create(database(&home)).unwrap();
    let mut connection = raw(&database(&home)).await;
    older.run(&mut connection).await.unwrap();
    sqlx::query("INSERT INTO meta (key, value) VALUES ('kept', 'before')").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    home
}

async fn kept_word(database: &Path) -> (i64, String) {
    let mut connection = raw(database).await;
    let schema =
        sqlx::query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut connection).await.unwrap();
    let word =
        sqlx::query_scalar("SELECT value FROM meta WHERE key = 'kept'").fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (schema, word)
}

#[tokio::test]
async fn a_database_of_an_older_version_is_copied_for_the_way_back_before_its_schema_is_changed() {
    let newest = newest_schema();
    let home = of_schema(newest - 1).await;
    SqliteStore::open(&database(&home)).await.unwrap().close().await;
    let copy = copy_of(&home, newest - 1);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(kept_word(&copy).await, (newest - 1, "before".to_owned()));
    assert_eq!(kept_word(&database(&home)).await, (newest, "before".to_owned()));

    // The way back is to put the copy in the database's place; and then forward again.
    fs::copy(&copy, database(&home)).unwrap();
    SqliteStore::open(&database(&home)).await.unwrap().close().await;
    assert_eq!(kept_word(&database(&home)).await.0, newest);
}

#[tokio::test]
async fn a_database_is_not_changed_when_no_copy_of_it_can_be_kept() {
    let newest = newest_schema();
    let home = of_schema(newest - 1).await;
    let copy = copy_of(&home, newest - 1);
    // A folder in its place.
    fs::create_dir_all(copy.join("full")).unwrap();
    let error = SqliteStore::open(&database(&home)).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { .. }), "{error}");
    assert_eq!(kept_word(&database(&home)).await.0, newest - 1);
}

#[tokio::test]
async fn a_new_database_and_one_of_this_version_are_not_copied() {
    let (store, home) = empty_sqlite().await;
    store.close().await;
    SqliteStore::open(&database(&home)).await.unwrap().close().await;
    let names: Vec<_> =
        fs::read_dir(database(&home).parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("schema")), "{names:?}");
}

fn copy_of(home: &TempDir, schema: i64) -> PathBuf {
    database(home).with_file_name(format!("nanoclaw.schema-{schema}.db"))
}

#[tokio::test]
async fn a_database_whose_making_was_interrupted_is_finished() {
    let (store, home) = empty_sqlite().await;
    store.close().await;
    fs::remove_file(database(&home)).unwrap();
    let mut connection = raw(&database(&home)).await;
    // What sqlx makes before the first migration.
    sqlx::query(
        "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let store = SqliteStore::open(&database(&home)).await.unwrap();
    store.add_group(&group("one", "tg:1")).await.unwrap();
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused_and_left_alone() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("nanoclaw.db");

    fs::write(&path, "dear diary, ".repeat(1000)).unwrap();
    refused(&path, "no SQLite database").await;
    assert!(fs::read_to_string(&path).unwrap().starts_with("dear diary, dear"));
    fs::remove_file(&path).unwrap();

    let mut connection = raw(&path).await;
    sqlx::query("CREATE TABLE registered_groups (jid TEXT)").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let before = fs::read(&path).unwrap();
    refused(&path, "another program").await;
    assert!(fs::read(&path).unwrap() == before, "the file was changed");
    fs::remove_file(&path).unwrap();

    fs::create_dir(&path).unwrap();
    refused(&path, "not a regular file").await;
    fs::remove_dir(&path).unwrap();

    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    refused(&path, "not a regular file").await;
    assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
}

#[tokio::test]
async fn a_damaged_database_is_told_with_the_remedy() {
    let (store, home) = empty_sqlite().await;
    for number in 0..200 {
        store.post(&delivery(&format!("key-{number}"), "tg:1"), at(1)).await.unwrap();
    }
    store.close().await;
    let mut bytes = fs::read(database(&home)).unwrap();
    bytes[8192..].fill(0xAA);
    fs::write(database(&home), bytes).unwrap();
    let error = match SqliteStore::open(&database(&home)).await {
        Err(error) => error,
        Ok(store) => store.pending_deliveries().await.unwrap_err(),
    };
    assert!(error.to_string().contains("is damaged"), "{error}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_refused_with_the_remedy() {
    obey_permissions();
    let (store, home) = empty_sqlite().await;
    store.close().await;
    let (path, parent) = (database(&home), database(&home).parent().unwrap().to_owned());

    fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    refused(&path, "writable for the user that runs nanoclaw").await;
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();

    fs::set_permissions(&parent, PermissionsExt::from_mode(0o500)).unwrap();
    refused(&path, "writable for the user that runs nanoclaw").await;
    fs::remove_file(&path).unwrap_err();
    refused(&parent.join("new.db"), "writable for the user that runs nanoclaw").await;
    refused(&parent.join("deeper").join("new.db"), "writable for the user that runs nanoclaw").await;
    fs::set_permissions(&parent, PermissionsExt::from_mode(0o700)).unwrap();

    SqliteStore::open(&path).await.unwrap();
}

/// Makes permissions hold for this thread, and those it starts, also when it is root's.
fn obey_permissions() {
    let now = capabilities(None).unwrap();
    let effective = now.effective - CapabilitySet::DAC_OVERRIDE - CapabilitySet::DAC_READ_SEARCH;
    set_capabilities(None, CapabilitySets { effective, ..now }).unwrap();
}

/// Opening `path` fails with an error that names it and has `reason` in it.
async fn refused(path: &Path, reason: &str) {
    let error = SqliteStore::open(path).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed { action: "open the database", .. }), "{error}");
    let error = error.to_string();
    assert!(error.contains(reason), "{error}");
    assert!(error.contains(path.parent().unwrap().to_str().unwrap()), "{error}");
}

async fn raw(path: &Path) -> sqlx::SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}
