//! Tar archives on their way to the engine: written as they are sent, never whole in memory.

use std::{
    collections::HashMap,
    fs,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, stream};
use tar::{EntryType, Header};
use tokio::sync::mpsc;

use super::BuildError;

/// Pieces between the thread that writes the archive and the connection.
const QUEUE: usize = 8;
const PIECE_BYTES: usize = 256 << 10;
const TELL_EVERY: Duration = Duration::from_millis(200);

/// A file, folder or link to put into an image.
pub(super) struct Entry {
    /// Without the leading slash.
    pub(super) path: String,
    pub(super) mode: u32,
    pub(super) user: u64,
    pub(super) content: Content,
}

pub(super) enum Content {
    Folder,
    Text(String),
    Bytes(Arc<[u8]>),
    File(PathBuf),
}

type WriteAll = dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send;

/// An archive that is about to be written.
pub(super) struct Archive {
    write: Box<WriteAll>,
    total_bytes: u64,
}

/// These entries in this order.
pub(super) fn of_entries(entries: Vec<Entry>) -> Archive {
    let size = |entry: &Entry| match &entry.content {
        Content::Folder => 0,
        Content::Text(text) => text.len() as u64,
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => fs::metadata(path).map_or(0, |metadata| metadata.len()),
    };
    let total_bytes = entries.iter().map(size).sum();
    Archive { write: Box::new(move |out| write_entries(&entries, out)), total_bytes }
}

/// Everything under `root`, with its owners, except what lies in `/dev`, `/proc`, `/run` and `/sys` and what is no file,
/// folder or link.
pub(super) fn of_tree(root: PathBuf) -> Archive {
    Archive { write: Box::new(move |out| write_tree(&root, out)), total_bytes: 0 }
}

/// An archive that exists, as it is.
pub(super) fn of_archive(path: PathBuf) -> Archive {
    let write = move |out: &mut dyn Write| {
        let file = fs::File::open(&path).map_err(named(&path))?;
        let length = file.metadata().map_err(named(&path))?.len();
        io::copy(&mut Exact { file, left: length, path: &path }, out).map(|_| ())
    };
    Archive { write: Box::new(write), total_bytes: 0 }
}

impl Archive {
    /// Bytes of content, if known beforehand.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The archive piece by piece, and what tells how the writing goes. The last piece of one that fails is an error.
    pub(super) fn into_pieces(self) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, Outcome) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        let sent = Arc::new(AtomicU64::new(0));
        let failure = Arc::new(Mutex::new(None));
        let (counted, failed) = (Arc::clone(&sent), Arc::clone(&failure));
        tokio::task::spawn_blocking(move || {
            let mut out = Pieces { queue: queue.clone(), piece: Vec::with_capacity(PIECE_BYTES), sent: counted };
            let Err(error) = (self.write)(&mut out).and_then(|()| out.send()) else { return };
            // Nobody takes the archive any more; the engine says why.
            if error.kind() != io::ErrorKind::BrokenPipe {
                *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                // The request breaks off instead of ending like a whole archive.
                let _ = queue.blocking_send(Err(io::Error::other("the archive could not be written")));
            }
        });
        let pieces = stream::unfold(receiver, async |mut receiver: mpsc::Receiver<io::Result<Bytes>>| {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        (pieces, Outcome { sent, failure })
    }
}

/// How the writing of an archive goes.
pub(super) struct Outcome {
    sent: Arc<AtomicU64>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Outcome {
    /// Waits for the request that carries the archive, and tells now and then how many bytes have gone out.
    ///
    /// # Errors
    /// Why the archive could not be written, which is worth more than what the engine made of half of it.
    pub(super) async fn alongside<T>(
        &self,
        request: impl Future<Output = T>,
        tell: impl Fn(u64),
    ) -> Result<T, BuildError> {
        let mut request = pin!(request);
        let answer = loop {
            match tokio::time::timeout(TELL_EVERY, &mut request).await {
                Ok(answer) => break answer,
                Err(_) => tell(self.sent.load(Ordering::Relaxed)),
            }
        };
        tell(self.sent.load(Ordering::Relaxed));
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(BuildError::Unreadable(error)),
            None => Ok(answer),
        }
    }
}

/// Hands what is written to the queue in pieces; blocks while the engine is slower.
struct Pieces {
    queue: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    sent: Arc<AtomicU64>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        self.queue.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_entries(entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_uid(entry.user);
        header.set_gid(entry.user);
        match &entry.content {
            Content::Folder => {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                archive.append_data(&mut header, format!("{}/", entry.path), io::empty())?;
            }
            Content::Text(text) => {
                header.set_size(text.len() as u64);
                archive.append_data(&mut header, &entry.path, text.as_bytes())?;
            }
            Content::Bytes(bytes) => {
                header.set_size(bytes.len() as u64);
                archive.append_data(&mut header, &entry.path, &bytes[..])?;
            }
            Content::File(path) => append_file(&mut archive, &mut header, Path::new(&entry.path), path)?,
        }
    }
    archive.finish()
}

/// Not packed: what the kernel and the engine put there themselves.
const LEFT_OUT: [&str; 4] = ["dev", "proc", "run", "sys"];

fn write_tree(root: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    let mut linked = HashMap::new();
    let own_user = rustix::process::getuid();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let on_host = root.join(&folder);
        let mut names = Vec::new();
        for entry in fs::read_dir(&on_host).map_err(named(&on_host))? {
            names.push(entry.map_err(named(&on_host))?.file_name());
        }
        names.sort();
        for name in names {
            let (inside, path) = (folder.join(&name), on_host.join(&name));
            let metadata = fs::symlink_metadata(&path).map_err(named(&path))?;
            let mut header = Header::new_gnu();
            header.set_metadata(&metadata);
            if !own_user.is_root() && metadata.uid() == own_user.as_raw() {
                header.set_uid(0);
                header.set_gid(0);
            }
            let kind = metadata.file_type();
            if kind.is_dir() {
                header.set_size(0);
                archive.append_data(&mut header, &inside, io::empty())?;
                if folder != Path::new("") || !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                    folders.push(inside);
                }
            } else if kind.is_symlink() {
                header.set_size(0);
                let target = fs::read_link(&path).map_err(named(&path))?;
                archive.append_link(&mut header, &inside, target)?;
            } else if kind.is_file() {
                let first = (metadata.nlink() > 1).then(|| linked.get(&(metadata.dev(), metadata.ino()))).flatten();
                if let Some(first) = first {
                    header.set_entry_type(EntryType::Link);
                    header.set_size(0);
                    archive.append_link(&mut header, &inside, first)?;
                } else {
                    append_file(&mut archive, &mut header, &inside, &path)?;
                    linked.insert((metadata.dev(), metadata.ino()), inside);
                }
            } else {
                tracing::debug!(path = %path.display(), "not packed: neither file nor folder nor link");
            }
        }
    }
    archive.finish()
}

/// Packs exactly as many bytes as the header will say, whatever becomes of the file meanwhile.
fn append_file(
    archive: &mut tar::Builder<&mut dyn Write>,
    header: &mut Header,
    inside: &Path,
    path: &Path,
) -> io::Result<()> {
    let file = fs::File::open(path).map_err(named(path))?;
    let size = file.metadata().map_err(named(path))?.len();
    header.set_size(size);
    archive.append_data(header, inside, Exact { file, left: size, path })
}

/// Reads so many bytes and no more; fewer are an error.
struct Exact<'a> {
    file: fs::File,
    left: u64,
    path: &'a Path,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..wanted]).map_err(named(self.path))?;
        if count == 0 && wanted > 0 {
            return Err(named(self.path)(io::Error::other("it became shorter while it was read")));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// Says in an error which file it was.
pub(super) fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt};

    use futures_util::StreamExt;

    use super::*;

    async fn pack(archive: Archive) -> (Vec<u8>, Result<(), BuildError>) {
        let (pieces, outcome) = archive.into_pieces();
        let all = pieces.filter_map(async |piece| piece.ok()).collect::<Vec<_>>().await.concat();
        let result = outcome.alongside(async {}, |_| ()).await;
        (all, result)
    }

    #[tokio::test]
    async fn a_tree_is_packed_with_links_and_modes_and_without_sockets() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("bin")).unwrap();
        fs::create_dir_all(path("proc/1")).unwrap();
        fs::write(path("bin/tool"), "x".repeat(700_000)).unwrap();
        fs::set_permissions(path("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::hard_link(path("bin/tool"), path("bin/same")).unwrap();
        std::os::unix::fs::symlink("bin/tool", path("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let long = format!("bin/{}", "n".repeat(200));
        fs::write(path(&long), "long name").unwrap();

        let (bytes, result) = pack(of_tree(root.path().to_owned())).await;
        result.unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let seen: BTreeMap<String, (EntryType, u64, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let facts = (
                    header.entry_type(),
                    header.size().unwrap(),
                    header.mode().unwrap() & 0o777,
                    header.uid().unwrap(),
                );
                (entry.path().unwrap().to_string_lossy().into_owned(), facts)
            })
            .collect();
        let kinds: Vec<_> = seen.iter().map(|(name, facts)| (name.as_str(), facts.0)).collect();
        let (file, folder) = (EntryType::Regular, EntryType::Directory);
        let wanted = [
            ("bin", folder),
            (long.as_str(), file),
            ("bin/same", file),
            ("bin/tool", EntryType::Link),
            ("link", EntryType::Symlink),
            ("proc", folder),
        ];
        assert_eq!(kinds, wanted);
        assert_eq!(seen["bin/same"], (file, 700_000, 0o755, 0), "also an ordinary user's file is root's in the image");
    }

    #[tokio::test]
    async fn an_unreadable_file_is_named() {
        let missing = PathBuf::from("/no/such/archive.tar");
        let (_, result) = pack(of_archive(missing)).await;
        assert!(result.unwrap_err().to_string().contains("/no/such/archive.tar"));
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_ends_the_writing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("big"), vec![0; 8 << 20]).unwrap();
        let (pieces, outcome) = of_tree(root.path().to_owned()).into_pieces();
        drop(pieces);
        // Nothing to say: why the engine went away is the engine's error.
        outcome.alongside(async {}, |_| ()).await.unwrap();
    }
}
