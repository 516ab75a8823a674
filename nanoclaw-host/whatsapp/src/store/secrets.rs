//! The secrets of messages, by which later edits, votes and reactions to them are read.

use async_trait::async_trait;
use sqlx::Row as _;
use wacore::store::traits::{MsgSecretEntry, MsgSecretStore};

use super::{LibraryResult as Result, Store, database, statement};

#[async_trait]
impl MsgSecretStore for Store {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        // A deadline of 0 is none, and later than all others.
        let put = |entry: &MsgSecretEntry| {
            statement(
                "INSERT INTO message_secrets (chat, sender, id, secret, expires_at, message_at) VALUES (?, ?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET secret = excluded.secret, message_at = max(message_at, excluded.message_at), \
                 expires_at = CASE WHEN expires_at = 0 OR excluded.expires_at = 0 THEN 0 \
                 ELSE max(expires_at, excluded.expires_at) END",
            )
            .bind(entry.chat.to_string())
            .bind(entry.sender.to_string())
            .bind(entry.msg_id.to_string())
            .bind(entry.secret.to_vec())
            .bind(entry.expires_at)
            .bind(entry.message_ts)
        };
        self.write(entries.iter().map(put).collect()).await?;
        Ok(entries.len())
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<(Vec<u8>, i64)>> {
        let select =
            statement("SELECT secret, message_at FROM message_secrets WHERE chat = ? AND sender = ? AND id = ?");
        let rows = self.rows(select.bind(chat.to_owned()).bind(sender.to_owned()).bind(msg_id.to_owned())).await?;
        rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose().map_err(database)
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        let delete = statement("DELETE FROM message_secrets WHERE expires_at <> 0 AND expires_at <= ?");
        Ok(self.write(vec![delete.bind(cutoff_timestamp)]).await?.try_into().unwrap_or(u32::MAX))
    }
}
