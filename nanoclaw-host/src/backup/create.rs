//! Writes a backup.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use nanoclaw_core::time::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};
use tar::{Builder, EntryType, Header};

use super::{BackupError, DATABASE, FORMAT, HOME, KEPT, KeptFile, LABEL, LOGINS, Label, MANIFEST, Manifest, at};
use crate::{home::Home, stores::sqlite::newest_schema};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// How many files are in it.
    pub files: usize,
    /// How long they are together.
    pub bytes: u64,
    /// What is not in it as it was, and why: `groups/x/socket: it is no file`.
    pub remarks: Vec<String>,
}

/// Writes a backup of `home` into the new file `into`, readable by this user only and whole when this returns. `progress` is told of each
/// file, with the bytes so far. `home` may have a service at work.
///
/// # Errors
/// [`BackupError`]; then there is no file `into`.
pub async fn create(
    home: &Home,
    into: &Path,
    progress: impl FnMut(&str, u64) + Send + 'static,
) -> Result<Written, BackupError> {
    let folder = into.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let copies = tempfile::Builder::new().prefix(".nanoclaw-backup-").tempdir_in(folder).map_err(at(folder))?;
    let databases = copy_databases(home, copies.path()).await?;
    let (home, into) = (home.clone(), into.to_owned());
    let written = tokio::task::spawn_blocking(move || {
        let unfinished = copies.path().join("unfinished");
        let written = write(&home, &databases, &unfinished, progress)?;
        // Never over anything: a link fails where a rename would replace.
        fs::hard_link(&unfinished, &into).map_err(at(&into))?;
        sync_folder(&into).map_err(at(&into))?;
        Ok(written)
    });
    match written.await {
        Ok(written) => written,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The places of databases in the home, and where their copies are.
type Databases = Vec<(String, PathBuf)>;

async fn copy_databases(home: &Home, copies: &Path) -> Result<Databases, BackupError> {
    let mut places = vec![DATABASE.to_owned()];
    match fs::read_dir(home.root().join(LOGINS)) {
        Ok(entries) => {
            let mut names: Vec<_> =
                entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.sort();
            places.extend(names.iter().filter(|name| name.ends_with(".db")).map(|name| format!("{LOGINS}/{name}")));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at(&home.auth())(error)),
    }
    let mut copied = Vec::new();
    for (number, place) in places.into_iter().enumerate() {
        let from = home.root().join(&place);
        if from.exists() {
            let to = copies.join(format!("{number}.db"));
            copy_database(&from, &to).await.map_err(|source| BackupError::Database { path: from, source })?;
            copied.push((place, to));
        }
    }
    Ok(copied)
}

async fn copy_database(from: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(from).read_only(true).disable_statement_logging();
    let mut connection = options.connect().await?;
    let name = to.to_str().ok_or_else(|| sqlx::Error::Configuration("the path of its copy is not UTF-8".into()))?;
    sqlx::query("VACUUM INTO ?").bind(name).execute(&mut connection).await?;
    connection.close().await
}

fn write(
    home: &Home,
    databases: &Databases,
    unfinished: &Path,
    mut progress: impl FnMut(&str, u64),
) -> Result<Written, BackupError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished).map_err(at(unfinished))?;
    let mut archive = Archive {
        tar: Builder::new(GzEncoder::new(BufWriter::new(file), Compression::fast())),
        place: unfinished,
        manifest: Manifest::default(),
        bytes: 0,
        remarks: Vec::new(),
    };
    let label = Label {
        format: FORMAT,
        made_at_ms: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema: newest_schema(),
    };
    archive.own(LABEL, &label)?;
    for (place, copy) in databases {
        let owner = fs::metadata(home.root().join(place)).map_err(at(copy))?;
        progress(place, archive.bytes);
        archive.file(place, copy, 0o600, (owner.uid(), owner.gid()))?;
    }
    for place in KEPT {
        archive.tree(home.root(), Path::new(place), &mut progress)?;
    }
    archive.finish()
}

/// An archive that is being written.
struct Archive<'a> {
    tar: Builder<GzEncoder<BufWriter<File>>>,
    place: &'a Path,
    manifest: Manifest,
    bytes: u64,
    remarks: Vec<String>,
}

impl Archive<'_> {
    /// One of the two files that are not the home's.
    fn own(&mut self, name: &str, value: &impl serde::Serialize) -> Result<(), BackupError> {
        let text = serde_json::to_vec_pretty(value).map_err(|error| at(self.place)(error.into()))?;
        let mut header = header(EntryType::Regular, 0o644, (0, 0));
        header.set_size(text.len() as u64);
        self.tar.append_data(&mut header, name, &*text).map_err(at(self.place))
    }

    /// What is at `place` in the home, and below it. That it is not there is fine; no link is followed.
    fn tree(&mut self, root: &Path, place: &Path, progress: &mut impl FnMut(&str, u64)) -> Result<(), BackupError> {
        let path = root.join(place);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at(&path)(error)),
        };
        let Some(name) = place.to_str() else {
            self.remarks.push(format!("{}: its name is not UTF-8", place.display()));
            return Ok(());
        };
        let (kind, owner) = (found.file_type(), (found.uid(), found.gid()));
        if kind.is_dir() {
            let mut header = header(EntryType::Directory, found.mode(), owner);
            header.set_size(0);
            self.tar.append_data(&mut header, format!("{HOME}/{name}/"), io::empty()).map_err(at(self.place))?;
            let mut below: Vec<_> = match fs::read_dir(&path).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
                Ok(entries) => entries.into_iter().map(|entry| entry.file_name()).collect(),
                Err(error) => {
                    self.remarks.push(format!("{name}: {error}"));
                    return Ok(());
                }
            };
            below.sort();
            for one in below {
                self.tree(root, &place.join(one), progress)?;
            }
        } else if kind.is_symlink() {
            let target = fs::read_link(&path).map_err(at(&path))?;
            let mut header = header(EntryType::Symlink, 0o777, owner);
            header.set_size(0);
            self.tar.append_link(&mut header, format!("{HOME}/{name}"), target).map_err(at(self.place))?;
        } else if kind.is_file() {
            progress(name, self.bytes);
            self.file(name, &path, found.mode(), owner)?;
        } else {
            self.remarks.push(format!("{name}: it is neither a file nor a folder"));
        }
        Ok(())
    }

    /// The file at `from`, as `place` of the home.
    fn file(&mut self, place: &str, from: &Path, mode: u32, owner: (u32, u32)) -> Result<(), BackupError> {
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(from);
        let file = match open.and_then(|file| Ok((file.metadata()?, file))) {
            Ok((found, file)) if found.is_file() => (found.len(), file),
            // An agent took it away, or put something else into its place, since it was seen.
            Ok(_) => {
                self.remarks.push(format!("{place}: it is no file any more"));
                return Ok(());
            }
            Err(error) => {
                self.remarks.push(format!("{place}: {error}"));
                return Ok(());
            }
        };
        let (bytes, file) = file;
        let mut read = Exactly { file, left: bytes, missing: 0, sum: Sha256::new(), failed: None };
        let mut header = header(EntryType::Regular, mode, owner);
        header.set_size(bytes);
        self.tar.append_data(&mut header, format!("{HOME}/{place}"), &mut read).map_err(at(self.place))?;
        if let Some(error) = read.failed {
            self.remarks.push(format!("{place}: {error}; what could not be read is zeros in it"));
        } else if read.missing > 0 {
            self.remarks.push(format!("{place}: it became shorter while it was read; zeros stand for what is gone"));
        }
        let sha256 = read.sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        self.manifest.files.push(KeptFile { path: place.to_owned(), bytes, sha256 });
        self.bytes += bytes;
        Ok(())
    }

    fn finish(mut self) -> Result<Written, BackupError> {
        let manifest = std::mem::take(&mut self.manifest);
        self.own(MANIFEST, &manifest)?;
        let place = self.place;
        let finished = self.tar.into_inner().and_then(GzEncoder::finish);
        let file = finished.and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
        file.and_then(|file| file.sync_all()).map_err(at(place))?;
        Ok(Written { files: manifest.files.len(), bytes: self.bytes, remarks: self.remarks })
    }
}

fn header(kind: EntryType, mode: u32, (uid, gid): (u32, u32)) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    // No program of an agent's is to have more rights for having been in a backup.
    header.set_mode(mode & 0o777);
    header.set_uid(uid.into());
    header.set_gid(gid.into());
    header.set_mtime(0);
    header
}

/// As many bytes as were promised, whatever becomes of the file meanwhile: what it lacks is zeros, what it has more is left.
struct Exactly {
    file: File,
    left: u64,
    missing: u64,
    sum: Sha256,
    failed: Option<io::Error>,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..most];
        let read = if self.missing > 0 {
            0
        } else {
            self.file.read(buffer).unwrap_or_else(|error| {
                self.failed = Some(error);
                0
            })
        };
        let read = if read == 0 {
            buffer.fill(0);
            self.missing += most as u64;
            most
        } else {
            read
        };
        self.sum.update(&buffer[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

pub(super) fn sync_folder(of: &Path) -> io::Result<()> {
    let folder = of.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
