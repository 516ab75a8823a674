//! Reads a backup: what made it, and whether it is whole.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use flate2::read::GzDecoder;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Entry, EntryType};

use super::{BackupError, FORMAT, HOME, KeptFile, LABEL, LONGEST_LABEL, Label, MANIFEST, Manifest, at};

/// An archive as it is read.
type Source = BufReader<GzDecoder<BufReader<File>>>;

/// What is in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What made it, and when.
    pub label: Label,
    /// How many files are in it.
    pub files: usize,
    /// How long they are together.
    pub bytes: u64,
}

/// What made the backup at `path`. Only its beginning is read.
///
/// # Errors
/// [`BackupError`]: it cannot be read, is not ours, or was made by a newer program.
pub fn label(path: &Path) -> Result<Label, BackupError> {
    let mut archive = open(path)?;
    let mut entries = archive.entries().map_err(at(path))?;
    label_of(entries.next(), path)
}

/// Reads all of the backup at `path`, and compares each file with its sum. Nothing is written.
///
/// # Errors
/// [`BackupError`]: what is wrong with it.
pub fn verify(path: &Path) -> Result<Verified, BackupError> {
    walk(path, |item, content| {
        if let Item::File { .. } = item {
            io::copy(content, &mut io::sink())?;
        }
        Ok(())
    })
}

/// Something of a home in a backup; `place` is relative to the home, of plain names, and `/` between them.
pub(super) enum Item<'a> {
    Folder { place: &'a str, mode: u32, owner: (u64, u64) },
    Link { place: &'a str, target: &'a Path, owner: (u64, u64) },
    File { place: &'a str, mode: u32, owner: (u64, u64) },
}

/// Hands `each` everything in the backup at `path`, in order; what it does not read of a file is read after it. Returns what was seen when
/// all of it was as it should be: only then is what `each` has seen worth anything.
///
/// # Errors
/// [`BackupError`]: that of `each` too, as one of the file at `path`.
pub(super) fn walk(
    path: &Path,
    mut each: impl FnMut(Item<'_>, &mut dyn Read) -> io::Result<()>,
) -> Result<Verified, BackupError> {
    let damaged = |what: String| BackupError::Damaged { path: path.to_owned(), what };
    let broken = |error: io::Error| damaged(format!("it cannot be read to its end ({error})"));
    let mut archive = open(path)?;
    let mut entries = archive.entries().map_err(broken)?;
    let label = label_of(entries.next(), path)?;
    let mut seen = Manifest::default();
    let manifest: Manifest = loop {
        let Some(entry) = entries.next() else {
            return Err(damaged("its end is missing: it was not finished, or was cut off".to_owned()));
        };
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8(entry.path_bytes().into_owned());
        let name = name.map_err(|_| damaged("a name in it is not UTF-8".to_owned()))?;
        if name == MANIFEST {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).map_err(broken)?;
            break serde_json::from_slice(&text).map_err(|error| damaged(format!("its list of files: {error}")))?;
        }
        let place = place_of(&name).ok_or_else(|| damaged(format!("it has something at {name:?}")))?.to_owned();
        let place = place.as_str();
        let header = entry.header();
        let mode = header.mode().map_err(broken)? & 0o777;
        let owner = (header.uid().map_err(broken)?, header.gid().map_err(broken)?);
        match header.entry_type() {
            EntryType::Directory => each(Item::Folder { place, mode, owner }, &mut io::empty()).map_err(at(path))?,
            EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.map(std::borrow::Cow::into_owned);
                let target = target.ok_or_else(|| damaged(format!("the link {place} leads nowhere")))?;
                each(Item::Link { place, target: &target, owner }, &mut io::empty()).map_err(at(path))?;
            }
            EntryType::Regular => {
                let bytes = entry.size();
                let mut summed = Summed { entry: &mut entry, sum: Sha256::new(), broken: None };
                let done = each(Item::File { place, mode, owner }, &mut summed);
                let rest = io::copy(&mut summed, &mut io::sink());
                let Summed { sum, broken: failed, .. } = summed;
                if let Some(what) = failed {
                    return Err(damaged(what));
                }
                done.map_err(at(path))?;
                rest.map_err(broken)?;
                let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
                seen.files.push(KeptFile { path: place.to_owned(), bytes, sha256 });
            }
            other => return Err(damaged(format!("{place} is of a kind that no backup has ({other:?})"))),
        }
    };
    // Behind it there is only the end, with the sum over all; without reading it that would not be compared.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(broken)?;
    compare(label, &manifest, &seen).map_err(damaged)
}

fn open(path: &Path) -> Result<Archive<Source>, BackupError> {
    let file = File::open(path).map_err(at(path))?;
    if !file.metadata().map_err(at(path))?.is_file() {
        return Err(BackupError::Foreign(path.to_owned()));
    }
    Ok(Archive::new(BufReader::new(GzDecoder::new(BufReader::new(file)))))
}

fn label_of(first: Option<io::Result<Entry<'_, Source>>>, path: &Path) -> Result<Label, BackupError> {
    let foreign = || BackupError::Foreign(path.to_owned());
    let entry = first.and_then(Result::ok).ok_or_else(foreign)?;
    if entry.path_bytes() != LABEL.as_bytes() {
        return Err(foreign());
    }
    let mut text = Vec::new();
    entry.take(LONGEST_LABEL).read_to_end(&mut text).map_err(|_| foreign())?;
    // What a newer form adds is not looked at: who made it is to be told whatever else stands there.
    let label: Label = serde_json::from_slice(&text).map_err(|_| foreign())?;
    if label.format > FORMAT {
        return Err(BackupError::Newer { path: path.to_owned(), version: label.version });
    }
    Ok(label)
}

/// Where in the home something is that the archive has as `name`; `None`: nothing of a home, or not within it.
fn place_of(name: &str) -> Option<&str> {
    let place = name.strip_prefix(HOME)?.strip_prefix('/')?.trim_end_matches('/');
    let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    place.split('/').all(plain).then_some(place)
}

fn compare(label: Label, manifest: &Manifest, seen: &Manifest) -> Result<Verified, String> {
    for (listed, found) in manifest.files.iter().zip(&seen.files) {
        if listed != found {
            return Err(format!("{} is not as it was written", listed.path));
        }
    }
    if manifest.files.len() != seen.files.len() {
        return Err(format!("it has {} files and lists {}", seen.files.len(), manifest.files.len()));
    }
    Ok(Verified { label, files: seen.files.len(), bytes: seen.files.iter().map(|file| file.bytes).sum() })
}

/// Adds up what is read, and keeps apart whether the archive failed or who reads it.
struct Summed<'a, 'b> {
    entry: &'a mut Entry<'b, Source>,
    sum: Sha256,
    broken: Option<String>,
}

impl Read for Summed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(buffer).inspect_err(|error| {
            self.broken = Some(format!("it cannot be read to its end ({error})"));
        })?;
        self.sum.update(&buffer[..read]);
        Ok(read)
    }
}
