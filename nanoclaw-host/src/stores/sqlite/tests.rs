//! What cannot be brought about from outside: a full disk, and how queries are planned.

use nanoclaw_core::{
    chat::ChatId,
    delivery::{DeliveryKey, NewDelivery},
    store::{Store, StoreError},
    time::Timestamp,
};
use sqlx::Row;
use tempfile::TempDir;

use super::{SqliteStore, groups, inbox, outbox, runs};

fn delivery(key: &str, bytes: usize) -> NewDelivery {
    NewDelivery { key: DeliveryKey::new(key).unwrap(), chat: ChatId::new("tg:1").unwrap(), text: "x".repeat(bytes) }
}

async fn store() -> (SqliteStore, TempDir) {
    let home = TempDir::new().unwrap();
    (SqliteStore::open(&home.path().join("nanoclaw.db")).await.unwrap(), home)
}

#[tokio::test]
async fn a_full_disk_loses_nothing_that_was_kept_and_the_store_goes_on_when_there_is_space() {
    let (store, _home) = store().await;
    let now = Timestamp::from_ms(1);
    store.post(&delivery("before", 10), now).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let limit = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 2));
    sqlx::query(limit).execute(&store.writer).await.unwrap();

    for attempt in 0..3 {
        let error = store.post(&delivery(&format!("too much {attempt}"), 100_000), now).await.unwrap_err();
        let StoreError::Failed { action: "post a message", reason } = &error else { panic!("{error}") };
        // When SQLite undid the transaction itself, the connection was replaced, and its limit went with it.
        assert!(reason.contains("is full") && reason.contains("nanoclaw.db"), "{reason}");
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", pages + 2)))
            .execute(&store.writer)
            .await
            .unwrap();
    }
    assert_eq!(store.pending_deliveries().await.unwrap().len(), 1, "reads go on");
    store.post(&delivery("little", 10), now).await.unwrap();

    sqlx::query("PRAGMA max_page_count = 1000000").execute(&store.writer).await.unwrap();
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

/// Queries that are asked at start or for each message look up what they want by an index, so that they do not become
/// slower with the years. Only the groups are read from end to end, and what is pending.
#[tokio::test]
async fn no_hot_query_reads_a_table_that_grows() {
    let (store, _home) = store().await;
    for query in [
        groups::RECOVER,
        inbox::MESSAGES_AFTER,
        inbox::UNANSWERED,
        outbox::PENDING,
        outbox::PENDING_OF,
        runs::RUNS_OF,
        runs::OPEN_RUN_OF,
    ] {
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"));
        let plan = sqlx::query(explain).fetch_all(&store.readers).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let reads_all = |step: &&String| {
            step.starts_with("SCAN") && **step != "SCAN g" && !step.contains("INDEX outbox_to_be_sent")
        };
        assert_eq!(plan.iter().find(reads_all), None, "{query}: {plan:?}");
        let sorts = plan.iter().any(|step| step.contains("TEMP B-TREE"));
        assert!(!sorts || query == groups::RECOVER, "{query}: {plan:?}");
    }
}
