//! Whether a file that was opened by a name is that name's alone.
//!
//! Asked of the name too, and not of the file alone: somebody else's file, which was linked under the name, opened there and taken away
//! again, has one name as well, and it is elsewhere. No call tells both at one moment: even a look at the name first finds the file
//! and then counts its names. So the file is asked before and after the name, too: who is to pass must take the name away before
//! the first look, put it back before the second, and take it away again in the middle of that.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Stat};

/// Which names a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// The one that it was opened by.
    Own,
    /// Others besides.
    Several,
    /// Not the one that it was opened by, any more.
    Gone,
}

impl Names {
    /// Looks at `name` of `folder`, by which `file` was opened; `opened` is what was known of it then.
    pub(super) fn of(folder: &OwnedFd, name: &str, file: impl AsFd, opened: &Stat) -> Self {
        let named = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok();
        let named = named.filter(|named| (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino));
        let afterwards = rustix::fs::fstat(file).ok();
        let counts = [Some(opened), named.as_ref(), afterwards.as_ref()].map(|stat| stat.map(|stat| stat.st_nlink));
        if counts.into_iter().flatten().any(|count| count > 1) {
            Self::Several
        } else if counts == [Some(1); 3] {
            Self::Own
        } else {
            Self::Gone
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::OwnedFd};

    use super::*;

    #[test]
    fn a_file_that_was_linked_in_and_taken_away_is_nobodys_here() {
        let place = tempfile::tempdir().unwrap();
        let (inside, secret) = (place.path().join("inside"), place.path().join("secret"));
        fs::create_dir(&inside).unwrap();
        fs::write(&secret, "secret").unwrap();
        let folder = OwnedFd::from(fs::File::open(&inside).unwrap());
        let name = inside.join("a.json");
        let look = |file: &fs::File| Names::of(&folder, "a.json", file, &rustix::fs::fstat(file).unwrap());

        fs::hard_link(&secret, &name).unwrap();
        let linked = fs::File::open(&name).unwrap();
        assert_eq!(look(&linked), Names::Several);
        fs::remove_file(&name).unwrap();
        assert_eq!(rustix::fs::fstat(&linked).unwrap().st_nlink, 1, "by itself it looks like anybody's only file");
        assert_eq!(look(&linked), Names::Gone);
        fs::write(&name, "own").unwrap();
        assert_eq!(look(&linked), Names::Gone);
        assert_eq!(look(&fs::File::open(&name).unwrap()), Names::Own);
        fs::hard_link(&name, inside.join("b.json")).unwrap();
        assert_eq!(look(&fs::File::open(&name).unwrap()), Names::Several);
    }
}
