//! What WhatsApp's protocol wants remembered: who has which of our keys, people's devices, and messages in both directions that may
//! be needed again.

use async_trait::async_trait;
use sqlx::Row as _;
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::{LibraryResult as Result, Statement, Store, database, from_text, now, statement, to_text};

#[async_trait]
impl ProtocolStore for Store {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        let select =
            statement("SELECT device, has_key FROM sender_key_devices WHERE chat = ?").bind(group_jid.to_owned());
        let rows = self.rows(select).await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<std::result::Result<_, _>>()
            .map_err(database)
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let set = |(device, has_key): &(&str, bool)| {
            statement(
                "INSERT INTO sender_key_devices (chat, device, has_key) VALUES (?, ?, ?) \
                 ON CONFLICT DO UPDATE SET has_key = excluded.has_key",
            )
            .bind(group_jid.to_owned())
            .bind((*device).to_owned())
            .bind(*has_key)
        };
        self.write(entries.iter().map(set).collect()).await.map(drop)
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        let delete = statement("DELETE FROM sender_key_devices WHERE chat = ?").bind(group_jid.to_owned());
        self.write(vec![delete]).await.map(drop)
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        let delete =
            |device: &&str| statement("DELETE FROM sender_key_devices WHERE device = ?").bind((*device).to_owned());
        self.write(device_jids.iter().map(delete).collect()).await.map(drop)
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.write(vec![statement("DELETE FROM sender_key_devices")]).await.map(drop)
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        let select = statement("SELECT mapping FROM lid_mappings WHERE lid = ?").bind(lid.to_owned());
        self.value::<String>(select).await?.map(|mapping| from_text(&mapping)).transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let select = statement("SELECT mapping FROM phone_lids JOIN lid_mappings USING (lid) WHERE phone = ?");
        self.value::<String>(select.bind(phone.to_owned())).await?.map(|mapping| from_text(&mapping)).transpose()
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        let mut all = Vec::with_capacity(3 * entries.len());
        for entry in entries {
            let (lid, phone) = (&entry.lid, &entry.phone_number);
            // Somebody who changed the number is not found by the old one any more.
            let old = statement("DELETE FROM phone_lids WHERE lid = ? AND phone <> ?");
            let by_phone = statement(
                "INSERT INTO phone_lids (lid, phone) VALUES (?, ?) ON CONFLICT DO UPDATE SET lid = excluded.lid",
            );
            let by_lid = statement(
                "INSERT INTO lid_mappings (lid, mapping) VALUES (?, ?) ON CONFLICT DO UPDATE SET mapping = excluded.mapping",
            );
            all.push(old.bind(lid.clone()).bind(phone.clone()));
            all.push(by_phone.bind(lid.clone()).bind(phone.clone()));
            all.push(by_lid.bind(lid.clone()).bind(to_text(entry)?));
        }
        self.write(all).await.map(drop)
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        let rows = self.rows(statement("SELECT mapping FROM lid_mappings ORDER BY lid")).await?;
        rows.iter().map(|row| from_text(row.try_get(0).map_err(database)?)).collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let put = statement(
            "INSERT INTO base_keys (address, message, key) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET key = excluded.key",
        );
        self.write(vec![put.bind(address.to_owned()).bind(message_id.to_owned()).bind(base_key.to_vec())])
            .await
            .map(drop)
    }

    async fn has_same_base_key(&self, address: &str, message_id: &str, current_base_key: &[u8]) -> Result<bool> {
        let select = statement("SELECT key FROM base_keys WHERE address = ? AND message = ?");
        let saved: Option<Vec<u8>> = self.value(select.bind(address.to_owned()).bind(message_id.to_owned())).await?;
        Ok(saved.is_some_and(|saved| saved == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        let delete = statement("DELETE FROM base_keys WHERE address = ? AND message = ?");
        self.write(vec![delete.bind(address.to_owned()).bind(message_id.to_owned())]).await.map(drop)
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        let put = |record: &DeviceListRecord| {
            let put = statement(
                "INSERT INTO device_lists (user, list) VALUES (?, ?) ON CONFLICT DO UPDATE SET list = excluded.list",
            );
            Ok(put.bind(record.user.clone()).bind(to_text(record)?))
        };
        self.write(records.iter().map(put).collect::<Result<_>>()?).await.map(drop)
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        let select = statement("SELECT list FROM device_lists WHERE user = ?").bind(user.to_owned());
        self.value::<String>(select).await?.map(|list| from_text(&list)).transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.write(vec![statement("DELETE FROM device_lists WHERE user = ?").bind(user.to_owned())]).await.map(drop)
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.value(statement("SELECT metadata FROM group_metadata WHERE chat = ?").bind(group_jid.to_owned())).await
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        let put = statement(
            "INSERT INTO group_metadata (chat, metadata) VALUES (?, ?) ON CONFLICT DO UPDATE SET metadata = excluded.metadata",
        );
        self.write(vec![put.bind(group_jid.to_owned()).bind(blob.to_vec())]).await.map(drop)
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        let delete = statement("DELETE FROM group_metadata WHERE chat = ?").bind(group_jid.to_owned());
        self.write(vec![delete]).await.map(drop)
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let select =
            statement("SELECT token, token_at, sender_at FROM trust_tokens WHERE contact = ?").bind(jid.to_owned());
        let rows = self.rows(select).await?;
        let entry = |row: &sqlx::sqlite::SqliteRow| {
            Ok(TcTokenEntry {
                token: row.try_get(0)?,
                token_timestamp: row.try_get(1)?,
                sender_timestamp: row.try_get(2)?,
            })
        };
        rows.first().map(entry).transpose().map_err(database)
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let put = statement(
            "INSERT INTO trust_tokens (contact, token, token_at, sender_at) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE \
             SET token = excluded.token, token_at = excluded.token_at, sender_at = excluded.sender_at",
        );
        let put =
            put.bind(jid.to_owned()).bind(entry.token.clone()).bind(entry.token_timestamp).bind(entry.sender_timestamp);
        self.write(vec![put]).await.map(drop)
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.write(vec![statement("DELETE FROM trust_tokens WHERE contact = ?").bind(jid.to_owned())]).await.map(drop)
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        let rows = self.rows(statement("SELECT contact FROM trust_tokens ORDER BY contact")).await?;
        rows.iter().map(|row| row.try_get(0).map_err(database)).collect()
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        let delete = statement(
            "DELETE FROM trust_tokens WHERE (length(token) = 0 OR token_at < ?) AND (sender_at IS NULL OR sender_at < ?)",
        );
        self.write(vec![delete.bind(token_cutoff).bind(sender_cutoff)]).await.map(count)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        let put = statement(
            "INSERT INTO trust_tokens (contact, token, token_at, sender_at) VALUES (?1, x'', ?2, ?2) ON CONFLICT DO UPDATE \
             SET sender_at = max(coalesce(sender_at, ?2), ?2)",
        );
        self.write(vec![put.bind(jid.to_owned()).bind(sender_timestamp)]).await.map(drop)
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        let put = statement(
            "INSERT INTO trust_tokens (contact, token, token_at, sender_at) VALUES (?, ?, ?, NULL) ON CONFLICT DO UPDATE \
             SET token = excluded.token, token_at = excluded.token_at \
             WHERE length(token) = 0 OR excluded.token_at >= token_at",
        );
        self.write(vec![put.bind(jid.to_owned()).bind(token.to_vec()).bind(token_timestamp)]).await.map(drop)
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        let put = statement(
            "INSERT INTO sent_messages (chat, id, message, at) VALUES (?, ?, ?, ?) \
             ON CONFLICT DO UPDATE SET message = excluded.message, at = excluded.at",
        );
        let put = put.bind(chat_jid.to_owned()).bind(message_id.to_owned()).bind(payload.to_vec()).bind(now());
        self.write(vec![put]).await.map(drop)
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        let take = statement("DELETE FROM sent_messages WHERE chat = ? AND id = ? RETURNING message");
        self.value(take.bind(chat_jid.to_owned()).bind(message_id.to_owned())).await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.write(vec![statement("DELETE FROM sent_messages WHERE at < ?").bind(cutoff_timestamp)]).await.map(count)
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        self.settle().await?;
        let select = statement("SELECT message FROM pending_inbound WHERE chat = ? AND sender = ? AND id = ?");
        self.value(select.bind(chat.to_owned()).bind(sender.to_owned()).bind(id.to_owned())).await
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.delete_pending_inbound_batch(&[PendingInboundKey { chat, sender, id }]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.write(vec![statement("DELETE FROM pending_inbound WHERE at < ?").bind(cutoff_timestamp)]).await.map(count)
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let put = |row: &PendingInboundRow<'_>| {
            statement(
                "INSERT INTO pending_inbound (chat, sender, id, message, at) VALUES (?, ?, ?, ?, ?) \
                 ON CONFLICT DO UPDATE SET message = excluded.message, at = excluded.at",
            )
            .bind(row.chat.to_owned())
            .bind(row.sender.to_owned())
            .bind(row.id.to_owned())
            .bind(row.message.to_vec())
            .bind(now())
        };
        self.write(rows.iter().map(put).collect()).await.map(drop)
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let delete = |key: &PendingInboundKey<'_>| -> Statement {
            statement("DELETE FROM pending_inbound WHERE chat = ? AND sender = ? AND id = ?")
                .bind(key.chat.to_owned())
                .bind(key.sender.to_owned())
                .bind(key.id.to_owned())
        };
        // The host has them, and knows one that comes again.
        self.write_later(keys.iter().map(delete).collect());
        Ok(())
    }
}

fn count(rows: u64) -> u32 {
    rows.try_into().unwrap_or(u32::MAX)
}
