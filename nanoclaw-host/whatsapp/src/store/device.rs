//! The account as the library keeps it, and whether WhatsApp still knows it.

use std::path::Path;

use async_trait::async_trait;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};
use wacore::store::{Device, traits::DeviceStore};

use super::{LibraryResult as Result, Store, StoreError, database, from_text, now, statement, to_text};

/// All that is kept of an account.
pub(super) const TABLES: [&str; 19] = [
    "DELETE FROM device",
    "DELETE FROM identities",
    "DELETE FROM sessions",
    "DELETE FROM prekeys",
    "DELETE FROM signed_prekeys",
    "DELETE FROM sender_keys",
    "DELETE FROM sync_keys",
    "DELETE FROM sync_versions",
    "DELETE FROM mutation_macs",
    "DELETE FROM sender_key_devices",
    "DELETE FROM lid_mappings",
    "DELETE FROM phone_lids",
    "DELETE FROM base_keys",
    "DELETE FROM device_lists",
    "DELETE FROM group_metadata",
    "DELETE FROM trust_tokens",
    "DELETE FROM sent_messages",
    "DELETE FROM pending_inbound",
    "DELETE FROM message_secrets",
];

#[async_trait]
impl DeviceStore for Store {
    async fn save(&self, device: &Device) -> Result<()> {
        let put = statement(
            "INSERT INTO device (id, device) VALUES (1, ?) ON CONFLICT DO UPDATE SET device = excluded.device",
        );
        self.write(vec![put.bind(to_text(device)?)]).await.map(drop)
    }

    async fn load(&self) -> Result<Option<Device>> {
        let device: Option<String> = self.value(statement("SELECT device FROM device")).await?;
        device.map(|device| from_text(&device)).transpose()
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.value::<i64>(statement("SELECT 1 FROM device")).await?.is_some())
    }

    async fn create(&self) -> Result<i32> {
        if !self.exists().await? {
            self.save(&Device::new()).await?;
        }
        Ok(1)
    }
}

/// Which account is linked, as far as the store knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// None; or linking was begun and not ended.
    None,
    /// This one.
    Linked {
        /// Its address, as `4915551234567:7@s.whatsapp.net`.
        jid: String,
        /// Since when WhatsApp does not know it any more.
        refused: Option<Refused>,
    },
}

/// WhatsApp does not know the account any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What it said.
    pub reason: String,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
}

impl Store {
    /// Which account is linked.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn account(&self) -> Result<Account> {
        let mut connection = self.0.connection.lock().await;
        account(&mut connection).await
    }

    /// Keeps in mind that WhatsApp does not know the account any more. Everything else stays as it is.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn refuse(&self, reason: &str) -> Result<()> {
        let refuse = statement("UPDATE device SET refused = ?, refused_at_ms = ? WHERE refused IS NULL");
        self.write(vec![refuse.bind(reason.to_owned()).bind(now() * 1000)]).await.map(drop)
    }

    /// Forgets the account, and all keys and messages that belong to it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self) -> Result<()> {
        self.write(TABLES.into_iter().map(statement).collect()).await.map(drop)
    }

    /// The same, and its files go: what is written to it from now on is lost. Its lock is held on.
    ///
    /// # Errors
    /// When the database cannot be written or removed.
    pub async fn remove(&self) -> Result<()> {
        self.forget().await?;
        for end in ["", "-wal", "-shm"] {
            let mut file = self.0.path.clone().into_os_string();
            file.push(end);
            match std::fs::remove_file(file) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Which account the database at `path` says is linked, whoever has it open; `None` when it is not there.
///
/// # Errors
/// [`StoreError::Database`].
pub async fn peek(path: &Path) -> std::result::Result<Account, StoreError> {
    if !path.exists() {
        return Ok(Account::None);
    }
    let failed = |source| StoreError::Database { path: path.to_owned(), source };
    let options = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await.map_err(failed)?;
    let read = account(&mut connection).await;
    connection.close().await.map_err(failed)?;
    read.map_err(|error| failed(sqlx::Error::Io(std::io::Error::other(error))))
}

async fn account(connection: &mut SqliteConnection) -> Result<Account> {
    let select = statement("SELECT device, refused, refused_at_ms FROM device");
    let Some(row) = select.fetch_optional(connection).await.map_err(database)? else { return Ok(Account::None) };
    let device: Device = from_text(row.try_get(0).map_err(database)?)?;
    let Some(jid) = device.pn else { return Ok(Account::None) };
    let reason: Option<String> = row.try_get(1).map_err(database)?;
    let at_ms: Option<i64> = row.try_get(2).map_err(database)?;
    let refused = reason.map(|reason| Refused { reason, at_ms: at_ms.unwrap_or(0) });
    Ok(Account::Linked { jid: jid.to_string(), refused })
}
