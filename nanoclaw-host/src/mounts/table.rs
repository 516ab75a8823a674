//! The mount table of this process: where a path of the host lies in its file system, so that two paths which lead to one
//! place (a bind mount) are known for that.

use std::{
    ffi::OsString,
    os::{
        fd::{AsRawFd as _, BorrowedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{Path, PathBuf},
};

use nanoclaw_core::mounts::Place;

/// What `/proc/self/mountinfo` says. Empty where that cannot be read: then paths alone are compared.
#[derive(Debug, Default)]
pub(super) struct MountTable(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    number: u64,
    device: String,
    /// What of the file system is mounted.
    root: PathBuf,
    /// Where.
    at: PathBuf,
}

impl MountTable {
    pub(super) fn read() -> Self {
        std::fs::read("/proc/self/mountinfo").map_or_else(|_| Self::default(), |bytes| Self::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Self {
        Self(bytes.split(|byte| *byte == b'\n').filter_map(Entry::parse).collect())
    }

    /// Where what is open at `real` lies in its file system.
    pub(super) fn place_of(&self, handle: BorrowedFd<'_>, real: &Path) -> Option<Place> {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", handle.as_raw_fd())).ok()?;
        let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse::<u64>().ok()?;
        let entry = self.0.iter().find(|entry| entry.number == number)?;
        Some(entry.place(real.strip_prefix(&entry.at).ok()?))
    }

    /// Where what is mounted below `real` lies.
    pub(super) fn below(&self, real: &Path) -> impl Iterator<Item = Place> {
        let below = move |entry: &&Entry| entry.at != real && entry.at.starts_with(real);
        self.0.iter().filter(below).map(|entry| entry.place(Path::new("")))
    }
}

impl Entry {
    /// A line such as `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
        let _parent = words.next()?;
        let device = String::from_utf8(words.next()?.to_vec()).ok()?;
        let (root, at) = (unescaped(words.next()?), unescaped(words.next()?));
        Some(Self { number, device, root, at })
    }

    fn place(&self, rest: &Path) -> Place {
        let path = if rest.as_os_str().is_empty() { self.root.clone() } else { self.root.join(rest) };
        Place { device: self.device.clone(), path }
    }
}

/// Spaces and the like stand in the table as a backslash and three octal digits.
pub(crate) fn unescaped(word: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read_with_their_escapes() {
        let table = MountTable::parse(
            b"21 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 21 8:2 /a\\040b /mnt/c\\134d rw shared:1 - ext4 /dev/sdb rw\nodd\n",
        );
        assert_eq!(table.0.len(), 2);
        let below: Vec<Place> = table.below(Path::new("/mnt")).collect();
        assert_eq!(below, [Place { device: "8:2".to_owned(), path: "/a b".into() }]);
        assert_eq!(table.0[1].at, Path::new("/mnt/c\\d"));
        assert_eq!(table.below(Path::new("/mn")).count(), 0);
    }

    #[test]
    fn what_is_open_has_a_place_that_ends_as_its_path_does() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        let handle = std::fs::File::open(&real).unwrap();
        let place = MountTable::read().place_of(std::os::fd::AsFd::as_fd(&handle), &real).unwrap();
        assert!(place.path.ends_with(real.file_name().unwrap()), "{place:?}");
    }
}
