//! What cannot be brought about from outside: a full disk, and how queries are planned.

use nanoclaw_core::{
    chat::ChatId,
    delivery::{Answered, DeliveryKey, NewDelivery},
    store::{DeliveryFilter, DeliveryState, Store, StoreError},
    time::Timestamp,
};
use sqlx::Row;
use tempfile::TempDir;

use super::{SqliteStore, groups, inbox, outbox, runs, set_aside};

fn delivery(key: &str, bytes: usize) -> NewDelivery {
    NewDelivery {
        key: DeliveryKey::new(key).unwrap(),
        chat: ChatId::new("tg:1").unwrap(),
        text: "x".repeat(bytes),
        file: None,
        answers: None,
    }
}

async fn store() -> (SqliteStore, TempDir) {
    let home = TempDir::new().unwrap();
    (SqliteStore::open(&home.path().join("nanoclaw.db")).await.unwrap(), home)
}

/// What a statement answers on the connection that writes.
async fn on_writer(store: &SqliteStore, statement: String) -> i64 {
    let mut write = store.begin("test").await.unwrap();
    let answer = sqlx::query_scalar(sqlx::AssertSqlSafe(statement)).fetch_one(&mut *write.transaction).await.unwrap();
    write.finish(Ok(answer)).await.unwrap()
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_kept_and_the_store_goes_on_when_there_is_space() {
    let (store, _home) = store().await;
    let now = Timestamp::from_ms(1);
    store.post(&delivery("before", 10), now).await.unwrap();
    let pages = on_writer(&store, "PRAGMA page_count".to_owned()).await;
    let limit = format!("PRAGMA max_page_count = {}", pages + 2);
    on_writer(&store, limit.clone()).await;

    for attempt in 0..3 {
        let error = store.post(&delivery(&format!("too much {attempt}"), 100_000), now).await.unwrap_err();
        let StoreError::Failed { action: "post a message", reason } = &error else { panic!("{error}") };
        // When SQLite undid the transaction itself, the connection was replaced, and its limit went with it.
        assert!(reason.contains("is full") && reason.contains("nanoclaw.db"), "{reason}");
        on_writer(&store, limit.clone()).await;
    }
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1, "reads go on");
    store.post(&delivery("little", 10), now).await.unwrap();

    on_writer(&store, "PRAGMA max_page_count = 1000000".to_owned()).await;
    store.post(&delivery("after", 100_000), now).await.unwrap();
    let keys: Vec<_> = store.pending_deliveries().await.unwrap().into_iter().map(|row| row.delivery.key).collect();
    assert_eq!(keys.iter().map(DeliveryKey::as_str).collect::<Vec<_>>(), ["before", "little", "after"]);
}

#[tokio::test]
async fn a_connection_whose_transaction_sqlite_undid_is_replaced() {
    let (store, _home) = store().await;
    let mut write = store.begin("test").await.unwrap();
    // What SQLite does by itself on some failures, behind sqlx's back.
    sqlx::query("ROLLBACK").execute(&mut *write.transaction).await.unwrap();
    let refused: Result<(), _> = write.finish(Err(super::Problem::Refused("on purpose".into()))).await;
    assert_eq!(refused.unwrap_err().to_string(), "the database failed to test: on purpose");
    store.post(&delivery("after", 10), Timestamp::from_ms(1)).await.unwrap();
}

async fn keys(store: &SqliteStore) -> Vec<String> {
    store.pending_deliveries().await.unwrap().into_iter().map(|row| row.delivery.key.as_str().to_owned()).collect()
}

#[tokio::test]
async fn writes_that_come_at_the_same_time_share_a_commit_and_a_lone_one_has_its_own() {
    let (store, _home) = store().await;
    let now = Timestamp::from_ms(1);
    let before = store.written();
    store.post(&delivery("alone", 10), now).await.unwrap();
    let (first, second) = (delivery("first", 10), delivery("second", 10));
    let (first, second) = tokio::join!(store.post(&first, now), store.post(&second, now));
    assert!(first.unwrap() < second.unwrap());
    let after = store.written();
    assert_eq!((after.writes - before.writes, after.commits - before.commits), (3, 2));
    assert_eq!(keys(&store).await, ["alone", "first", "second"]);
}

#[tokio::test]
async fn a_write_that_fails_leaves_nothing_and_those_that_share_its_transaction_everything() {
    let (store, _home) = store().await;
    let (before, after) = (delivery("before", 10), delivery("after", 10));
    let now = Timestamp::from_ms(1);
    let failing = async {
        let mut write = store.begin("test").await.unwrap();
        outbox::post(&mut write.transaction, &delivery("undone", 10), now).await.unwrap();
        let done: Result<(), _> = Err(super::Problem::Refused("on purpose".into()));
        write.finish(done).await
    };
    let (before, failed, after) = tokio::join!(store.post(&before, now), failing, store.post(&after, now));
    assert!(before.is_ok() && failed.is_err() && after.is_ok());
    assert_eq!(store.written().commits, 1);
    assert_eq!(keys(&store).await, ["before", "after"]);
}

#[tokio::test]
async fn a_write_that_is_dropped_in_the_middle_leaves_nothing_and_holds_nobody_up() {
    let (store, _home) = store().await;
    let now = Timestamp::from_ms(1);
    for dropped in ["one", "two"] {
        let mut write = store.begin("test").await.unwrap();
        outbox::post(&mut write.transaction, &delivery(dropped, 10), now).await.unwrap();
        drop(write);
        store.post(&delivery(&format!("after {dropped}"), 10), now).await.unwrap();
    }
    assert_eq!(keys(&store).await, ["after one", "after two"]);
}

#[tokio::test]
async fn when_the_shared_transaction_is_lost_everybody_in_it_is_told_and_the_next_write_works() {
    let (store, _home) = store().await;
    let (one, now) = (delivery("one", 10), Timestamp::from_ms(1));
    let breaking = async {
        let mut write = store.begin("test").await.unwrap();
        // What SQLite does by itself on some failures.
        sqlx::query("ROLLBACK").execute(&mut *write.transaction).await.unwrap();
        write.finish(Ok(())).await
    };
    let (first, second) = tokio::join!(store.post(&one, now), breaking);
    assert!(first.is_err() && second.is_err(), "{first:?}, {second:?}");
    store.post(&delivery("next", 10), now).await.unwrap();
    assert_eq!(keys(&store).await, ["next"]);
}

#[tokio::test]
async fn wherever_a_write_is_dropped_the_next_one_works_and_what_was_written_is_there_after_a_restart() {
    let (store, home) = store().await;
    let now = Timestamp::from_ms(1);
    for polls in 0..40 {
        let (dropped, after) = (delivery(&format!("dropped {polls}"), 10), delivery(&format!("after {polls}"), 10));
        {
            let mut write = std::pin::pin!(store.post(&dropped, now));
            for _ in 0..polls {
                if futures_util::poll!(&mut write).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_micros(100)).await;
            }
        }
        store.post(&after, now).await.unwrap();
    }
    let before = keys(&store).await;
    assert_eq!(before.iter().filter(|key| key.starts_with("after")).count(), 40);
    assert!(before.iter().any(|key| key.starts_with("dropped")), "the later ones came to their end");
    store.close().await;
    let again = SqliteStore::open(&home.path().join("nanoclaw.db")).await.unwrap();
    assert_eq!(keys(&again).await, before);
}

/// No host deletes messages, but an operator may.
#[tokio::test]
async fn an_answer_to_a_message_that_is_no_more_answers_nothing_and_is_still_to_be_sent() {
    let (store, _home) = store().await;
    let now = Timestamp::from_ms(1);
    // The row refers to message 7, which is not there.
    store.post(&delivery("answer", 10), now).await.unwrap();
    let refer = "UPDATE outbox SET answers_seq = 7 RETURNING answers_seq".to_owned();
    assert_eq!(on_writer(&store, refer).await, 7);
    let rows = store.pending_deliveries().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].delivery.answered, Answered::default());
}

/// Queries that are asked at start or for each message look up what they want by an index, so that they do not become
/// slower with the years, and so does what people list when they do not ask for what is settled. Only the groups are read
/// from end to end, and indices that hold nothing but what is not settled.
#[tokio::test]
async fn no_hot_query_reads_a_table_that_grows() {
    let (store, _home) = store().await;
    let list = |states: &[DeliveryState], chat: Option<&str>| {
        let chat = chat.map(|chat| ChatId::new(chat).unwrap());
        outbox::list_query(&DeliveryFilter { states: states.to_vec(), chat }, 100).sql().as_str().to_owned()
    };
    use DeliveryState::{Dropped, Failed, Pending, Sending, Unknown};
    let lists = [
        list(&[Pending, Sending, Failed, Unknown], None),
        list(&[Pending, Sending, Failed, Unknown], Some("tg:1")),
        list(&[Unknown], None),
        list(&[Sending], Some("tg:1")),
        list(&[Dropped], None),
    ];
    let queries = [
        groups::RECOVER,
        inbox::MESSAGES_AFTER,
        inbox::UNANSWERED,
        inbox::FILES_IN_USE,
        outbox::FILES_IN_USE,
        outbox::PENDING,
        outbox::PENDING_OF,
        outbox::BY_KEY,
        outbox::BY_ID,
        outbox::LAST_THAT_WOKE,
        runs::RUNS_OF,
        runs::OPEN_RUN_OF,
        runs::OPEN_RUNS,
        runs::TURNS_OF,
        set_aside::KEPT,
        set_aside::BETWEEN,
    ];
    for query in queries.into_iter().chain(lists.iter().map(String::as_str)) {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let plan = sqlx::query(explain).fetch_all(&store.readers).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let bounded = [
            "SCAN g",
            "SCAN (subquery",
            "SCAN outbox USING INDEX outbox_to_be_sent",
            "SCAN outbox USING INDEX outbox_in_trouble",
            "SCAN outbox USING INDEX outbox_files_needed",
            "SCAN runs USING INDEX runs_open",
            "SCAN set_aside USING INDEX set_aside_kept",
        ];
        let reads_all = |step: &&String| step.starts_with("SCAN") && !bounded.iter().any(|part| step.starts_with(part));
        assert_eq!(plan.iter().find(reads_all), None, "{query}: {plan:?}");
        let sorts = plan.iter().any(|step| step.contains("TEMP B-TREE"));
        let merges = plan.iter().any(|step| step.starts_with("MERGE"));
        assert!(!sorts || query == groups::RECOVER || merges, "{query}: {plan:?}");
    }
}
