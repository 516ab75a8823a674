//! Unix sockets at paths of any length: one way to bind, one way to connect, for every socket of the host.
//!
//! The kernel takes socket paths of at most 107 bytes, and a home may lie deeper. So sockets are bound and found through an
//! open descriptor of their folder (`/proc/self/fd/N/name`), which is always short.
//!
//! A socket appears at its place by a rename, listening and with its final owner and mode, so nobody finds it half made; and
//! its file goes with its [`Listener`], unless another has taken its place since.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use nanoclaw_core::runtime::RunAs;
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::{UnixListener, UnixStream};

/// Connections that may wait to be accepted.
const WAITING: i32 = 1024;

/// How long until a listener whose connections wait already is tried again. The kernel tells nobody when there is room.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// Why a socket could not be made or found.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens there.
    #[error("another process is listening on {path}; stop it first")]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// Something else has its name; it is left alone.
    #[error("{path} is not a socket; move it away")]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} the socket {path}")]
    Failed {
        /// What was tried ("make", "connect to").
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

impl SocketError {
    /// What the system said, for those who name the place themselves.
    pub(crate) fn into_io(self) -> io::Error {
        match self {
            Self::Failed { source, .. } => source,
            Self::InUse { .. } => io::Error::new(io::ErrorKind::AddrInUse, self),
            Self::NotASocket { .. } => io::Error::new(io::ErrorKind::AlreadyExists, self),
        }
    }
}

/// Who can connect to a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// The user it was made for, and root (mode 0600).
    OneUser,
    /// Everybody who can reach its folder (mode 0666).
    Everybody,
}

/// A listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener {
    // In this order: the file is told from a successor's by its inode, which is free for one once nothing listens on it.
    file: SocketFile,
    listener: UnixListener,
    audience: Audience,
}

impl Listener {
    /// Listens at `path`, for this user alone. A socket that a dead process left there is replaced. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`SocketError::InUse`] when a live process listens there, [`SocketError::NotASocket`] when the name is taken by
    /// something else, and what the system says.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let place = Place::of(path, "make")?;
        place.refuse_if_taken()?;
        Self::make(place, None)
    }

    /// Listens at `path`, whose folder the caller holds as `folder` and knows that nobody else can change. The socket is
    /// for `user` alone; where this process has not the right to give it away, it is open to all: see
    /// [`audience`](Self::audience). What has the name is replaced in one step, even if it is served still: its connections
    /// go on, and new ones come here. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says.
    pub fn replace(folder: OwnedFd, path: &Path, user: RunAs) -> Result<Self, SocketError> {
        Self::make(Place::within(folder, path, "make")?, Some(user))
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's; it is right to try again after a moment (out of descriptors).
    pub async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Who can connect.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.audience
    }

    /// Takes it apart, for who has to remove the file at another time than the one at which it ends listening. Drop the file
    /// first.
    pub(crate) fn into_parts(self) -> (SocketFile, UnixListener) {
        (self.file, self.listener)
    }

    fn make(place: Place, user: Option<RunAs>) -> Result<Self, SocketError> {
        let born = place.name_at_birth();
        match place.bind(&born, user) {
            Ok((listener, identity, audience)) => Ok(Self { file: SocketFile { place, identity }, listener, audience }),
            Err(source) => {
                place.remove(&born);
                Err(place.failed("make", source))
            }
        }
    }
}

/// The file of a socket. Removed when it is dropped, unless it is no longer this one.
#[derive(Debug)]
pub(crate) struct SocketFile {
    place: Place,
    /// Device and inode, which tell this file from a successor's as long as it is listened on.
    identity: (u64, u64),
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Only its own: another process may have taken the place since.
        if self.place.stat(&self.place.name).is_ok_and(|stat| identity(&stat) == self.identity) {
            // A file that stays refuses connections, and is replaced by the next socket.
            self.place.remove(&self.place.name);
        }
    }
}

/// Connects to the socket at `path`. Waits where as many connections as the listener lets wait do so already.
///
/// # Errors
/// [`SocketError::Failed`]; its source is `NotFound` or `ConnectionRefused` when nobody listens.
pub async fn connect(path: &Path) -> Result<UnixStream, SocketError> {
    let place = Place::of(path, "connect to")?;
    loop {
        match UnixStream::connect(place.short(&place.name)).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(FULL_PAUSE).await,
            connected => return connected.map_err(|source| place.failed("connect to", source)),
        }
    }
}

/// A path as an open folder and a name in it.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
}

impl Place {
    fn of(path: &Path, action: &'static str) -> Result<Self, SocketError> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| SocketError::Failed { action, path: path.to_owned(), source: errno.into() })?;
        Self::within(folder, path, action)
    }

    fn within(folder: OwnedFd, path: &Path, action: &'static str) -> Result<Self, SocketError> {
        let source = io::ErrorKind::InvalidInput;
        let name = path.file_name().ok_or_else(|| SocketError::Failed {
            action,
            path: path.to_owned(),
            source: source.into(),
        })?;
        Ok(Self { path: path.to_owned(), folder, name: name.to_owned() })
    }

    fn failed(&self, action: &'static str, source: io::Error) -> SocketError {
        SocketError::Failed { action, path: self.path.clone(), source }
    }

    /// A path to `name` in the folder that is short whatever the folder's own path; good while `self` lives.
    fn short(&self, name: &OsStr) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(name)
    }

    /// The name under which this process makes the socket before it moves to its place.
    fn name_at_birth(&self) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{}", std::process::id()));
        name
    }

    fn stat(&self, name: &OsStr) -> rustix::io::Result<Stat> {
        rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn remove(&self, name: &OsStr) {
        let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
    }

    fn refuse_if_taken(&self) -> Result<(), SocketError> {
        let stat = match self.stat(&self.name) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(self.failed("make", errno.into())),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(SocketError::NotASocket { path: self.path.clone() });
        }
        match self.knock() {
            // A full queue (AGAIN) is a live listener too.
            Ok(()) | Err(Errno::AGAIN) => Err(SocketError::InUse { path: self.path.clone() }),
            Err(_) => Ok(()),
        }
    }

    /// Tries whether somebody listens, without waiting.
    fn knock(&self) -> rustix::io::Result<()> {
        rustix::net::connect(&new_socket()?, &SocketAddrUnix::new(self.short(&self.name))?)
    }

    fn bind(&self, born: &OsStr, user: Option<RunAs>) -> io::Result<(UnixListener, (u64, u64), Audience)> {
        // Left by a process that died at the next few lines and had our id.
        self.remove(born);
        let socket = new_socket()?;
        // Linux gives the file the mode of the unbound socket, less the umask: there is no moment at which others can open it.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        rustix::net::bind(&socket, &SocketAddrUnix::new(self.short(born))?)?;
        rustix::net::listen(&socket, WAITING)?;
        let listener = UnixListener::from_std(socket.into())?;
        let audience = self.give_to(born, user)?;
        let identity = identity(&self.stat(born)?);
        rustix::fs::renameat(&self.folder, born, &self.folder, &self.name)?;
        Ok((listener, identity, audience))
    }

    /// Lets `user`, by default this one, and nobody else if possible, connect.
    fn give_to(&self, name: &OsStr, user: Option<RunAs>) -> io::Result<Audience> {
        let given = match user.filter(|user| user.uid != rustix::process::geteuid().as_raw()) {
            None => Ok(()),
            Some(RunAs { uid, gid }) => {
                let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
                rustix::fs::chownat(&self.folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        let (audience, mode) = match given {
            Ok(()) => (Audience::OneUser, 0o600),
            // Not root, or a user that this user namespace does not have.
            Err(Errno::PERM | Errno::INVAL) => (Audience::Everybody, 0o666),
            Err(errno) => return Err(errno.into()),
        };
        rustix::fs::chmodat(&self.folder, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        Ok(audience)
    }
}

fn new_socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_path_longer_than_the_kernel_takes_can_be_bound_and_found() {
        let home = tempfile::tempdir().unwrap();
        let deep = home.path().join("d".repeat(100)).join("e".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let path = deep.join("bridge.sock");
        let listener = Listener::bind(&path).unwrap();
        let mut client = connect(&path).await.unwrap();
        let mut served = listener.accept().await.unwrap();
        client.write_all(b"hi").await.unwrap();
        let mut got = [0; 2];
        served.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hi");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_user_alone_and_goes_with_the_listener() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let listener = Listener::bind(&path).unwrap();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert!(meta.file_type().is_socket());
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(listener.audience(), Audience::OneUser);
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left in the folder");
        drop(listener);
        assert!(!path.exists());
        assert_eq!(connect(&path).await.unwrap_err().into_io().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert_eq!(connect(&path).await.unwrap_err().into_io().kind(), io::ErrorKind::ConnectionRefused);
        let _listener = Listener::bind(&path).unwrap();
        connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_live_socket_is_not_taken_away() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let _first = Listener::bind(&path).unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::InUse { .. })));
        connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn a_live_socket_is_replaced_where_that_is_asked_for_and_its_connections_go_on() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let user = RunAs { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() };
        let replace = || Listener::replace(std::fs::File::open(home.path()).unwrap().into(), &path, user).unwrap();
        let first = replace();
        let mut client = connect(&path).await.unwrap();
        let second = replace();
        first.accept().await.unwrap().write_all(b"1").await.unwrap();
        let mut got = [0; 1];
        client.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"1");
        let (_stream, accepted) = tokio::join!(connect(&path), second.accept());
        accepted.unwrap();
    }

    #[tokio::test]
    async fn a_socket_for_another_user_is_that_users_alone_or_says_that_it_is_not() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let own = rustix::process::geteuid();
        let user = RunAs { uid: own.as_raw() + 1000, gid: 1000 };
        let listener = Listener::replace(std::fs::File::open(home.path()).unwrap().into(), &path, user).unwrap();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let found = (listener.audience(), meta.uid(), meta.permissions().mode() & 0o777);
        let expected = if own.is_root() {
            (Audience::OneUser, user.uid, 0o600)
        } else {
            (Audience::Everybody, own.as_raw(), 0o666)
        };
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1, "nothing else is left in the folder");
    }

    #[tokio::test]
    async fn a_late_drop_leaves_the_successors_socket_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        let first = Listener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::bind(&path).unwrap();
        drop(first);
        connect(&path).await.unwrap();
    }

    #[tokio::test]
    async fn who_connects_waits_for_a_listener_that_is_behind() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("s.sock");
        // Room for one that waits, and one more: the kernel counts so.
        let behind = new_socket().unwrap();
        rustix::net::bind(&behind, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&behind, 0).unwrap();
        let behind = UnixListener::from_std(behind.into()).unwrap();
        let _waiting = connect(&path).await.unwrap();
        let mut one_more = Box::pin(connect(&path));
        tokio::select! {
            biased;
            connected = &mut one_more => panic!("there was no room: {connected:?}"),
            () = tokio::task::yield_now() => {}
        }
        behind.accept().await.unwrap();
        one_more.await.unwrap();
    }
}
