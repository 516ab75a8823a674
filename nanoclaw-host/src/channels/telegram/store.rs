//! What has to be remembered of Telegram, in a database of its own: keys, where the data centers are, whom we met, and up to where the
//! updates were taken in. Each write is on the disk before it is answered.
//!
//! The file has a lock beside it, held while it is open: two processes with the same keys would each be told half of what people
//! write. The lock is not on the database itself, since closing a second descriptor of it would drop SQLite's own locks.

use std::{
    collections::HashMap,
    fs::File,
    net::{SocketAddrV4, SocketAddrV6},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use grammers_client::session::{
    BoxFuture, Session, SessionData,
    types::{ChannelKind, ChannelState, DcOption, PeerAuth, PeerId, PeerInfo, PeerKind, UpdateState, UpdatesState},
};
use rustix::fs::{FlockOperation, flock};
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous},
};

use crate::stores::make_private;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/telegram");

/// The most peers that are known without asking the database.
const MOST_PEERS: usize = 10_000;

/// The database could not be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    /// Another process uses it.
    #[error("another process uses {0}, with the same bot")]
    Held(PathBuf),
    /// The files could not be made or locked.
    #[error("{path} cannot be used")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// SQLite says no.
    #[error("{path} cannot be used")]
    Database {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It has tables that this version does not know, or misses some.
    #[error("{path} is not of a form that this version knows")]
    Form {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: MigrateError,
    },
}

/// The database, open and locked.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    connection: tokio::sync::Mutex<SqliteConnection>,
    /// Let go when the process ends, however that ends.
    _lock: File,
}

impl State {
    /// Opens the database at `path`, and makes it and its folder when they are not there (0600, 0700).
    ///
    /// # Errors
    /// [`StateError`]; `Held` when another process has it.
    pub(super) async fn open(path: &Path) -> Result<Self, StateError> {
        let (here, runtime) = (path.to_owned(), tokio::runtime::Handle::current());
        // On a thread of its own, since migrations are no future that can be sent to another thread; and files may be slow.
        let opening = tokio::task::spawn_blocking(move || runtime.block_on(Self::open_here(&here)));
        let fault = |fault| StateError::File { path: path.to_owned(), source: std::io::Error::other(fault) };
        opening.await.map_err(fault)?
    }

    async fn open_here(path: &Path) -> Result<Self, StateError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| StateError::File { path, source }
        };
        make_private(path).map_err(at(path))?;
        let lock_path = path.with_extension("lock");
        let lock = File::options().write(true).create(true).truncate(false).mode(0o600).open(&lock_path);
        let lock = lock.map_err(at(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StateError::Held(path.to_owned())),
            Err(error) => return Err(at(&lock_path)(error.into())),
        }
        let database = |source| StateError::Database { path: path.to_owned(), source };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(Duration::from_secs(5))
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let mut connection = options.connect().await.map_err(database)?;
        let migrated = MIGRATIONS.run(&mut connection).await;
        migrated.map_err(|source| StateError::Form { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), connection: tokio::sync::Mutex::new(connection), _lock: lock })
    }

    fn failed(&self, source: sqlx::Error) -> StateError {
        StateError::Database { path: self.path.clone(), source }
    }
}

/// What is remembered of one bot.
#[derive(Debug)]
pub(super) struct BotSession(Arc<Remembered>);

#[derive(Debug)]
struct Remembered {
    bot: i64,
    state: Arc<State>,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    home_dc: i32,
    data_centers: HashMap<i32, DcOption>,
    updates: UpdatesState,
    token: Option<String>,
    /// Peers as they are in the database; some of them.
    peers: HashMap<PeerId, PeerInfo>,
}

type Query = sqlx::query::Query<'static, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl BotSession {
    /// What is remembered of `bot`; of one that was never seen, what is known of Telegram from the beginning.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub(super) async fn load(state: Arc<State>, bot: i64) -> Result<Self, StateError> {
        let known = load(&mut *state.connection.lock().await, bot).await.map_err(|error| state.failed(error))?;
        Ok(Self(Arc::new(Remembered { bot, state, known: Mutex::new(known) })))
    }

    /// The fingerprint of the token with which it signed in; `None`: it did not yet.
    pub(super) fn signed_in_with(&self) -> Option<String> {
        self.0.known().token.clone()
    }

    /// Remembers, or with `None` forgets, that it signed in with the token of this fingerprint.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub(super) async fn set_signed_in(&self, token: Option<&str>) -> Result<(), StateError> {
        let token = token.map(str::to_owned);
        let query = sqlx::query("UPDATE bots SET token = ? WHERE bot = ?").bind(token.clone()).bind(self.0.bot);
        self.write(query, move |known| known.token = token).await
    }

    /// Forgets the key of the data center `id`: the next connection makes another.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub(super) async fn forget_key(&self, id: i32) -> Result<(), StateError> {
        let Some(mut option) = self.0.known().data_centers.get(&id).cloned() else { return Ok(()) };
        option.auth_key = None;
        self.set_dc_option(&option).await
    }

    /// Forgets up to where the updates of the supergroup `id` were taken in: we are not in it any more.
    ///
    /// # Errors
    /// [`StateError::Database`].
    pub(super) async fn forget_channel(&self, id: i64) -> Result<(), StateError> {
        let query = sqlx::query("DELETE FROM channels WHERE bot = ? AND id = ?").bind(self.0.bot).bind(id);
        self.write(query, move |known| known.updates.channels.retain(|channel| channel.id != id)).await
    }

    /// Writes to the database and then to what is known.
    async fn write(&self, query: Query, then: impl FnOnce(&mut Known) + Send + 'static) -> Result<(), StateError> {
        self.apart(|remembered| {
            Box::pin(async move {
                query.execute(&mut *remembered.state.connection.lock().await).await?;
                then(&mut remembered.known());
                Ok(())
            })
        })
        .await
    }

    /// Does `work` with the database whether or not whoever asked goes on to wait for it: one who pauses, with the connection in
    /// hand, would hold up all others.
    async fn apart<T: Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Remembered>) -> BoxFuture<'static, Result<T, sqlx::Error>>,
    ) -> Result<T, StateError> {
        let done = tokio::spawn(work(self.0.clone())).await;
        let done = done.unwrap_or_else(|fault| Err(sqlx::Error::Io(std::io::Error::other(fault))));
        done.map_err(|error| self.0.state.failed(error))
    }
}

impl Remembered {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what differs from what is known. Channels that `new` does not have stay.
    async fn write_updates(&self, update: UpdateState) -> Result<(), sqlx::Error> {
        let mut connection = self.state.connection.lock().await;
        // Looked at only now: nobody else writes until this is done.
        let old = self.known().updates.clone();
        let mut new = old.clone();
        match update {
            UpdateState::All(all) => new = all,
            UpdateState::Primary { pts, date, seq } => (new.pts, new.date, new.seq) = (pts, date, seq),
            UpdateState::Secondary { qts } => new.qts = qts,
            UpdateState::Channel { id, pts } => {
                new.channels.retain(|channel| channel.id != id);
                new.channels.push(ChannelState { id, pts });
            }
        }
        let changed: Vec<_> = new.channels.iter().filter(|channel| !old.channels.contains(channel)).cloned().collect();
        let primary = |state: &UpdatesState| (state.pts, state.qts, state.date, state.seq);
        if changed.is_empty() && primary(&old) == primary(&new) {
            return Ok(());
        }
        let mut transaction = connection.begin().await?;
        sqlx::query("UPDATE bots SET pts = ?, qts = ?, date = ?, seq = ? WHERE bot = ?")
            .bind(new.pts)
            .bind(new.qts)
            .bind(new.date)
            .bind(new.seq)
            .bind(self.bot)
            .execute(&mut *transaction)
            .await?;
        for channel in &changed {
            sqlx::query("INSERT INTO channels VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET pts = excluded.pts")
                .bind(self.bot)
                .bind(channel.id)
                .bind(channel.pts)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        let mut known = self.known();
        let mut channels = old.channels;
        channels.retain(|channel| changed.iter().all(|other| other.id != channel.id));
        channels.extend(changed);
        known.updates = UpdatesState { channels, ..new };
        Ok(())
    }

    async fn write_peers(&self, peers: Vec<PeerInfo>) -> Result<(), sqlx::Error> {
        let new: Vec<PeerInfo> = {
            let known = self.known();
            let merged = peers.into_iter().filter_map(|peer| {
                let before = known.peers.get(&peer.id());
                let mut merged = before.cloned().unwrap_or_else(|| peer.clone());
                merged.extend_info(&peer);
                (before != Some(&merged)).then_some(merged)
            });
            merged.collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        let mut connection = self.state.connection.lock().await;
        let mut transaction = connection.begin().await?;
        for peer in &new {
            let Some(id) = peer.id().bot_api_dialog_id() else { continue };
            let (is_bot, is_self) = match peer {
                PeerInfo::User { bot, is_self, .. } => (*bot, *is_self),
                PeerInfo::Chat { .. } | PeerInfo::Channel { .. } => (None, None),
            };
            sqlx::query(
                "INSERT INTO peers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET hash = coalesce(excluded.hash, hash), \
                 is_bot = coalesce(excluded.is_bot, is_bot), is_self = coalesce(excluded.is_self, is_self)",
            )
            .bind(self.bot)
            .bind(id)
            .bind(peer.auth().map(PeerAuth::hash))
            .bind(is_bot)
            .bind(is_self)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        let mut known = self.known();
        if known.peers.len() + new.len() > MOST_PEERS {
            known.peers.clear();
        }
        for peer in new {
            // The database may know the hash that this one lacks.
            match peer.auth() {
                Some(_) => known.peers.insert(peer.id(), peer),
                None => known.peers.remove(&peer.id()),
            };
        }
        Ok(())
    }

    async fn read_peer(&self, peer: PeerId) -> Result<Option<PeerInfo>, sqlx::Error> {
        if let Some(known) = self.known().peers.get(&peer) {
            return Ok(Some(known.clone()));
        }
        let mut connection = self.state.connection.lock().await;
        // The one that stands for ourselves has no id of its own.
        let row = match peer.bot_api_dialog_id() {
            Some(id) => {
                sqlx::query("SELECT id, hash, is_bot, is_self FROM peers WHERE bot = ? AND id = ?")
                    .bind(self.bot)
                    .bind(id)
                    .fetch_optional(&mut *connection)
                    .await?
            }
            None => {
                sqlx::query("SELECT id, hash, is_bot, is_self FROM peers WHERE bot = ? AND is_self")
                    .bind(self.bot)
                    .fetch_optional(&mut *connection)
                    .await?
            }
        };
        let Some(found) = row.map(|row| peer_of(&row)).transpose()?.flatten() else { return Ok(None) };
        let mut known = self.known();
        if known.peers.len() >= MOST_PEERS {
            known.peers.clear();
        }
        known.peers.insert(found.id(), found.clone());
        Ok(Some(found))
    }
}

async fn load(connection: &mut SqliteConnection, bot: i64) -> Result<Known, sqlx::Error> {
    let beginning = SessionData::default();
    sqlx::query("INSERT INTO bots VALUES (?, ?, NULL, 0, 0, 0, 0) ON CONFLICT DO NOTHING")
        .bind(bot)
        .bind(beginning.home_dc)
        .execute(&mut *connection)
        .await?;
    let row = sqlx::query("SELECT home_dc, token, pts, qts, date, seq FROM bots WHERE bot = ?")
        .bind(bot)
        .fetch_one(&mut *connection)
        .await?;
    let channels = sqlx::query_as::<_, (i64, i32)>("SELECT id, pts FROM channels WHERE bot = ?")
        .bind(bot)
        .fetch_all(&mut *connection)
        .await?;
    let mut data_centers = beginning.dc_options;
    let rows = sqlx::query("SELECT id, ipv4, ipv6, auth_key FROM data_centers WHERE bot = ?")
        .bind(bot)
        .fetch_all(&mut *connection)
        .await?;
    for row in &rows {
        let option = data_center_of(row)?;
        data_centers.insert(option.id, option);
    }
    Ok(Known {
        home_dc: row.try_get("home_dc")?,
        data_centers,
        updates: UpdatesState {
            pts: row.try_get("pts")?,
            qts: row.try_get("qts")?,
            date: row.try_get("date")?,
            seq: row.try_get("seq")?,
            channels: channels.into_iter().map(|(id, pts)| ChannelState { id, pts }).collect(),
        },
        token: row.try_get("token")?,
        peers: HashMap::new(),
    })
}

fn data_center_of(row: &SqliteRow) -> Result<DcOption, sqlx::Error> {
    let damaged = |what: &str| sqlx::Error::Decode(format!("a data center's {what} is damaged").into());
    let ipv4: SocketAddrV4 = row.try_get::<&str, _>("ipv4")?.parse().map_err(|_| damaged("address"))?;
    let ipv6: SocketAddrV6 = row.try_get::<&str, _>("ipv6")?.parse().map_err(|_| damaged("address"))?;
    let auth_key = row.try_get::<Option<Vec<u8>>, _>("auth_key")?;
    let auth_key = auth_key.map(|key| key.try_into().map_err(|_| damaged("key"))).transpose()?;
    Ok(DcOption { id: row.try_get("id")?, ipv4, ipv6, auth_key })
}

fn peer_of(row: &SqliteRow) -> Result<Option<PeerInfo>, sqlx::Error> {
    let Some(id) = PeerId::from_bot_api_dialog_id(row.try_get("id")?) else { return Ok(None) };
    let Some(bare) = id.bare_id() else { return Ok(None) };
    let auth = row.try_get::<Option<i64>, _>("hash")?.map(PeerAuth::from_hash);
    Ok(Some(match id.kind() {
        PeerKind::User => {
            PeerInfo::User { id: bare, auth, bot: row.try_get("is_bot")?, is_self: row.try_get("is_self")? }
        }
        PeerKind::Chat => PeerInfo::Chat { id: bare },
        PeerKind::Channel => PeerInfo::Channel { id: bare, auth, kind: None::<ChannelKind> },
    }))
}

impl Session for BotSession {
    type Error = StateError;

    fn home_dc_id(&self) -> Result<i32, StateError> {
        Ok(self.0.known().home_dc)
    }

    fn set_home_dc_id(&self, dc_id: i32) -> BoxFuture<'_, Result<(), StateError>> {
        let query = sqlx::query("UPDATE bots SET home_dc = ? WHERE bot = ?").bind(dc_id).bind(self.0.bot);
        Box::pin(self.write(query, move |known| known.home_dc = dc_id))
    }

    fn dc_option(&self, dc_id: i32) -> Result<Option<DcOption>, StateError> {
        Ok(self.0.known().data_centers.get(&dc_id).cloned())
    }

    fn set_dc_option(&self, dc_option: &DcOption) -> BoxFuture<'_, Result<(), StateError>> {
        let option = dc_option.clone();
        // Said again at each connection.
        if self.0.known().data_centers.get(&option.id) == Some(&option) {
            return Box::pin(async { Ok(()) });
        }
        let query = sqlx::query(
            "INSERT INTO data_centers VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET ipv4 = excluded.ipv4, ipv6 = \
             excluded.ipv6, auth_key = excluded.auth_key",
        );
        let query = query.bind(self.0.bot).bind(option.id).bind(option.ipv4.to_string()).bind(option.ipv6.to_string());
        let query = query.bind(option.auth_key.map(|key| key.to_vec()));
        Box::pin(self.write(query, move |known| {
            known.data_centers.insert(option.id, option);
        }))
    }

    fn peer(&self, peer: PeerId) -> BoxFuture<'_, Result<Option<PeerInfo>, StateError>> {
        Box::pin(self.apart(move |remembered| Box::pin(async move { remembered.read_peer(peer).await })))
    }

    fn cache_peer(&self, peer: PeerInfo) -> BoxFuture<'_, Result<(), StateError>> {
        self.cache_peers(vec![peer])
    }

    fn cache_peers(&self, peers: Vec<PeerInfo>) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.apart(move |remembered| Box::pin(async move { remembered.write_peers(peers).await })))
    }

    fn updates_state(&self) -> BoxFuture<'_, Result<UpdatesState, StateError>> {
        Box::pin(async move { Ok(self.0.known().updates.clone()) })
    }

    fn set_update_state(&self, update: UpdateState) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.apart(move |remembered| Box::pin(async move { remembered.write_updates(update).await })))
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv6Addr, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn path(home: &tempfile::TempDir) -> PathBuf {
        home.path().join("store/auth/telegram.db")
    }

    async fn session(path: &Path, bot: i64) -> BotSession {
        BotSession::load(Arc::new(State::open(path).await.unwrap()), bot).await.unwrap()
    }

    fn data_center(port: u16) -> DcOption {
        DcOption {
            id: 2,
            ipv4: SocketAddrV4::new([127, 0, 0, 1].into(), port),
            ipv6: SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0),
            auth_key: Some([7; 256]),
        }
    }

    fn person(id: i64, hash: Option<i64>, is_self: Option<bool>) -> PeerInfo {
        PeerInfo::User { id, auth: hash.map(PeerAuth::from_hash), bot: None, is_self }
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let state = UpdatesState { pts: 7, qts: 2, date: 3, seq: 4, channels: vec![ChannelState { id: 5, pts: 6 }] };
        {
            let session = session(&path(&home), 1).await;
            assert_eq!(session.home_dc_id().unwrap(), SessionData::default().home_dc);
            assert!(session.dc_option(4).unwrap().is_some(), "Telegram's own addresses are known");
            session.set_home_dc_id(4).await.unwrap();
            session.set_dc_option(&data_center(80)).await.unwrap();
            session.cache_peers(vec![person(9, Some(99), None), person(1, Some(11), Some(true))]).await.unwrap();
            session.cache_peer(person(9, None, None)).await.unwrap();
            session.set_update_state(UpdateState::All(state.clone())).await.unwrap();
            session.set_signed_in(Some("00ff")).await.unwrap();
        }
        let session = session(&path(&home), 1).await;
        assert_eq!((session.home_dc_id().unwrap(), session.dc_option(2).unwrap()), (4, Some(data_center(80))));
        assert_eq!(session.updates_state().await.unwrap(), state);
        assert_eq!(session.signed_in_with().as_deref(), Some("00ff"));
        let peer = session.peer(PeerId::user(9).unwrap()).await.unwrap().unwrap();
        assert_eq!(peer.auth().map(PeerAuth::hash), Some(99), "a word that lacks the hash does not take it away");
        let me = session.peer(PeerId::self_user()).await.unwrap().unwrap();
        assert_eq!(me.id(), PeerId::user(1).unwrap());
        assert!(session.peer(PeerId::user(10).unwrap()).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_bot_has_nothing_of_another() {
        let home = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(&path(&home)).await.unwrap());
        let one = BotSession::load(state.clone(), 1).await.unwrap();
        one.set_dc_option(&data_center(80)).await.unwrap();
        one.set_signed_in(Some("00ff")).await.unwrap();
        let two = BotSession::load(state, 2).await.unwrap();
        assert_eq!((two.signed_in_with(), two.dc_option(2).unwrap().unwrap().auth_key), (None, None));
    }

    #[tokio::test]
    async fn a_part_of_the_state_leaves_the_rest_and_a_channel_stays_until_it_is_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let session = session(&path(&home), 1).await;
        session.set_update_state(UpdateState::Channel { id: 5, pts: 6 }).await.unwrap();
        session.set_update_state(UpdateState::Primary { pts: 1, date: 2, seq: 3 }).await.unwrap();
        session.set_update_state(UpdateState::Secondary { qts: 4 }).await.unwrap();
        let expected = UpdatesState { pts: 1, date: 2, seq: 3, qts: 4, channels: vec![ChannelState { id: 5, pts: 6 }] };
        assert_eq!(session.updates_state().await.unwrap(), expected);
        let without = UpdatesState { channels: Vec::new(), ..expected.clone() };
        session.set_update_state(UpdateState::All(without.clone())).await.unwrap();
        assert_eq!(session.updates_state().await.unwrap(), expected);
        session.forget_channel(5).await.unwrap();
        assert_eq!(session.updates_state().await.unwrap(), without);
    }

    #[tokio::test]
    async fn nobody_else_can_read_it_and_no_second_process_uses_it() {
        let home = tempfile::tempdir().unwrap();
        let path = path(&home);
        let first = State::open(&path).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        assert!(matches!(State::open(&path).await, Err(StateError::Held(_))));
        drop(first);
        State::open(&path).await.unwrap();
    }
}
