//! What the account's devices keep in step with each other: settings, contacts, names.

use async_trait::async_trait;
use wacore::{
    appstate::{hash::HashState, processor::AppStateMutationMAC},
    store::traits::{AppStateSyncKey, AppSyncStore},
};

use super::{LibraryResult as Result, Store, from_text, statement, to_text};

#[async_trait]
impl AppSyncStore for Store {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        let key =
            self.value::<String>(statement("SELECT key FROM sync_keys WHERE id = ?").bind(key_id.to_vec())).await?;
        key.map(|key| from_text(&key)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        // Anew, so that it is the latest.
        let delete = statement("DELETE FROM sync_keys WHERE id = ?").bind(key_id.to_vec());
        let insert =
            statement("INSERT INTO sync_keys (id, key) VALUES (?, ?)").bind(key_id.to_vec()).bind(to_text(&key)?);
        self.write(vec![delete, insert]).await.map(drop)
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        let select = statement("SELECT state FROM sync_versions WHERE name = ?").bind(name.to_owned());
        self.value::<String>(select).await?.map_or_else(|| Ok(HashState::default()), |state| from_text(&state))
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        let put = statement(
            "INSERT INTO sync_versions (name, state) VALUES (?, ?) ON CONFLICT DO UPDATE SET state = excluded.state",
        );
        self.write(vec![put.bind(name.to_owned()).bind(to_text(&state)?)]).await.map(drop)
    }

    async fn put_mutation_macs(&self, name: &str, _version: u64, mutations: &[AppStateMutationMAC]) -> Result<()> {
        let put = |mac: &AppStateMutationMAC| {
            statement(
                "INSERT INTO mutation_macs (name, index_mac, value_mac) VALUES (?, ?, ?) \
                 ON CONFLICT DO UPDATE SET value_mac = excluded.value_mac",
            )
            .bind(name.to_owned())
            .bind(mac.index_mac.clone())
            .bind(mac.value_mac.clone())
        };
        self.write(mutations.iter().map(put).collect()).await.map(drop)
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        let select = statement("SELECT value_mac FROM mutation_macs WHERE name = ? AND index_mac = ?");
        self.value(select.bind(name.to_owned()).bind(index_mac.to_vec())).await
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let delete = |mac: &Vec<u8>| {
            statement("DELETE FROM mutation_macs WHERE name = ? AND index_mac = ?")
                .bind(name.to_owned())
                .bind(mac.clone())
        };
        self.write(index_macs.iter().map(delete).collect()).await.map(drop)
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.write(vec![statement("DELETE FROM mutation_macs WHERE name = ?").bind(name.to_owned())]).await.map(drop)
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.value(statement("SELECT id FROM sync_keys ORDER BY stored DESC LIMIT 1")).await
    }
}
