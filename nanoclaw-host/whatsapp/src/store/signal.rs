//! Keys and sessions of end-to-end encryption.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::Row as _;
use wacore::store::traits::SignalStore;

use super::{LibraryResult as Result, Statement, Store, database, statement};

#[async_trait]
impl SignalStore for Store {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.write(vec![put_identity(address, &key)]).await.map(drop)
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        self.write(identities.iter().map(|(address, key)| put_identity(address, key)).collect()).await.map(drop)
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let key: Option<Vec<u8>> =
            self.value(statement("SELECT key FROM identities WHERE address = ?").bind(address.to_owned())).await?;
        let length =
            |_| wacore::store::error::StoreError::Validation("a stored identity is not of 32 bytes".to_owned());
        key.map(|key| key.as_slice().try_into().map_err(length)).transpose()
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        let delete = statement("DELETE FROM identities WHERE address = ?").bind(address.to_owned());
        self.write(vec![delete]).await.map(drop)
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        let select = statement("SELECT record FROM sessions WHERE address = ?").bind(address.to_owned());
        Ok(self.value::<Vec<u8>>(select).await?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.write(vec![put_session(address, session)]).await.map(drop)
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write(sessions.iter().map(|(address, session)| put_session(address, session)).collect()).await.map(drop)
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        let delete = statement("DELETE FROM sessions WHERE address = ?").bind(address.to_owned());
        self.write(vec![delete]).await.map(drop)
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        let select = statement("SELECT 1 FROM sessions WHERE address = ?").bind(address.to_owned());
        Ok(self.value::<i64>(select).await?.is_some())
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // An address is the user followed by `@` or `:`; so these are all that lie between the user with that sign and with the next one.
        let (at, colon) = ((format!("{user}@"), format!("{user}A")), (format!("{user}:"), format!("{user};")));
        let select = statement(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM sessions WHERE (address >= ?1 AND address < ?2) OR (address >= ?3 AND address < ?4)) \
             OR EXISTS (SELECT 1 FROM identities WHERE (address >= ?1 AND address < ?2) OR (address >= ?3 AND address < ?4))",
        );
        let select = select.bind(at.0).bind(at.1).bind(colon.0).bind(colon.1);
        Ok(self.value::<i64>(select).await?.is_some())
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        self.write(vec![put_prekey(id, record, uploaded)]).await.map(drop)
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        self.write(keys.iter().map(|(id, record)| put_prekey(*id, record, uploaded)).collect()).await.map(drop)
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        let select = statement("SELECT record FROM prekeys WHERE id = ?").bind(i64::from(id));
        Ok(self.value::<Vec<u8>>(select).await?.map(Bytes::from))
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let mark = |id: &u32| statement("UPDATE prekeys SET uploaded = 1 WHERE id = ?").bind(i64::from(*id));
        self.write(ids.iter().map(mark).collect()).await.map(drop)
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.write(vec![statement("DELETE FROM prekeys WHERE id = ?").bind(i64::from(id))]).await.map(drop)
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        Ok(self.value(statement("SELECT coalesce(max(id), 0) FROM prekeys")).await?.unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        let put = statement(
            "INSERT INTO signed_prekeys (id, record) VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
        );
        self.write(vec![put.bind(i64::from(id)).bind(record.to_vec())]).await.map(drop)
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.value(statement("SELECT record FROM signed_prekeys WHERE id = ?").bind(i64::from(id))).await
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        let rows = self.rows(statement("SELECT id, record FROM signed_prekeys ORDER BY id")).await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<std::result::Result<_, _>>()
            .map_err(database)
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.write(vec![statement("DELETE FROM signed_prekeys WHERE id = ?").bind(i64::from(id))]).await.map(drop)
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.write(vec![put_sender_key(address, record)]).await.map(drop)
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        self.write(sender_keys.iter().map(|(address, record)| put_sender_key(address, record)).collect())
            .await
            .map(drop)
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.value(statement("SELECT record FROM sender_keys WHERE address = ?").bind(address.to_owned())).await
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        let delete = statement("DELETE FROM sender_keys WHERE address = ?").bind(address.to_owned());
        self.write(vec![delete]).await.map(drop)
    }
}

fn put_identity(address: &str, key: &[u8]) -> Statement {
    statement("INSERT INTO identities (address, key) VALUES (?, ?) ON CONFLICT DO UPDATE SET key = excluded.key")
        .bind(address.to_owned())
        .bind(key.to_vec())
}

fn put_session(address: &str, record: &[u8]) -> Statement {
    statement("INSERT INTO sessions (address, record) VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record")
        .bind(address.to_owned())
        .bind(record.to_vec())
}

fn put_prekey(id: u32, record: &[u8], uploaded: bool) -> Statement {
    statement(
        "INSERT INTO prekeys (id, record, uploaded) VALUES (?, ?, ?) \
         ON CONFLICT DO UPDATE SET record = excluded.record, uploaded = excluded.uploaded",
    )
    .bind(i64::from(id))
    .bind(record.to_vec())
    .bind(uploaded)
}

fn put_sender_key(address: &str, record: &[u8]) -> Statement {
    statement(
        "INSERT INTO sender_keys (address, record) VALUES (?, ?) ON CONFLICT DO UPDATE SET record = excluded.record",
    )
    .bind(address.to_owned())
    .bind(record.to_vec())
}
