//! The database of a client that has been at a fake Telegram before: where that is, and the key that both have. A client learns the
//! one and agrees upon the other by itself only at the real one.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::Path;

use nanoclaw_fakes::telegram::{Access, FakeTelegram};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};

async fn open(path: &Path) -> SqliteConnection {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.journal_mode(SqliteJournalMode::Wal).connect().await.unwrap()
}

/// Makes the database, or changes where the fake is.
pub(crate) async fn know(path: &Path, access: &Access) {
    let mut connection = open(path).await;
    sqlx::migrate!("migrations/telegram").run(&mut connection).await.unwrap();
    let bot = FakeTelegram::BOT_ID;
    let insert = "INSERT INTO bots VALUES (?, ?, NULL, 0, 0, 0, 0) ON CONFLICT DO NOTHING";
    sqlx::query(insert).bind(bot).bind(access.dc_id).execute(&mut connection).await.unwrap();
    sqlx::query("INSERT OR REPLACE INTO data_centers VALUES (?, ?, ?, ?, ?)")
        .bind(bot)
        .bind(access.dc_id)
        .bind(access.address.to_string())
        .bind(format!("[::1]:{}", access.address.port()))
        .bind(access.auth_key.to_vec())
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Up to where the updates were taken in, as it is stored: of the account, and the sum of all supergroups.
pub(crate) async fn reached(path: &Path) -> (i64, i64) {
    let mut connection = open(path).await;
    let query = "SELECT (SELECT pts FROM bots) AS pts, (SELECT coalesce(sum(pts), 0) FROM channels) AS channels";
    let row = sqlx::query(query).fetch_one(&mut connection).await.unwrap();
    let reached = (row.get("pts"), row.get("channels"));
    connection.close().await.unwrap();
    reached
}
