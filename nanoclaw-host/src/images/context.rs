//! Reads the folder of a Dockerfile, as a build is to see it: bounded, without links, and without what its `.dockerignore`
//! names. It is read whole, so that what an image is named after is what it is built from.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{GlobBuilder, GlobMatcher};

use super::{Content, ContextFile, ImageError};

/// The most bytes that a build may be given in files; what is larger it can fetch.
pub const LARGEST_CONTEXT_BYTES: u64 = 32 << 20;
/// The most files.
pub const MOST_CONTEXT_FILES: usize = 4000;
/// The longest Dockerfile.
const LONGEST_DOCKERFILE: u64 = 256 << 10;

/// A Dockerfile and the files beside it, in the order of their paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) dockerfile: String,
    pub(super) files: Vec<ContextFile>,
}

/// Reads what lies at `place`: a Dockerfile alone, which can copy nothing, or a folder with a `Dockerfile` in it.
///
/// # Errors
/// [`ImageError::BadRecipe`], naming what cannot be used.
pub(super) fn read(place: &Path) -> Result<Read, ImageError> {
    let metadata = fs::metadata(place).map_err(|error| bad(place, format!("{error}; correct `dockerfile`")))?;
    if !metadata.is_dir() {
        return Ok(Read { dockerfile: text(place)?, files: Vec::new() });
    }
    let dockerfile = text(&place.join("Dockerfile"))?;
    let ignored = match fs::symlink_metadata(place.join(".dockerignore")) {
        Ok(_) => Ignored::parse(&text(&place.join(".dockerignore"))?)
            .map_err(|reason| bad(&place.join(".dockerignore"), reason))?,
        Err(_) => Ignored(Vec::new()),
    };
    let mut files = Vec::new();
    let mut left = LARGEST_CONTEXT_BYTES;
    walk(place, Path::new(""), &ignored, &mut left, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Read { dockerfile, files })
}

fn walk(
    root: &Path,
    folder: &Path,
    ignored: &Ignored,
    left: &mut u64,
    files: &mut Vec<ContextFile>,
) -> Result<(), ImageError> {
    let on_host = root.join(folder);
    let unreadable = |error: io::Error| bad(&on_host, format!("it cannot be read: {error}"));
    for entry in fs::read_dir(&on_host).map_err(unreadable)? {
        let inside = folder.join(entry.map_err(unreadable)?.file_name());
        let path = root.join(&inside);
        let Some(name) = inside.to_str() else { return Err(bad(&path, "its name is not UTF-8".to_owned())) };
        let metadata = fs::symlink_metadata(&path).map_err(|error| bad(&path, error.to_string()))?;
        let kind = metadata.file_type();
        if kind.is_dir() {
            // Something in an ignored folder may be wanted again (`!`), so each file is asked about.
            if !ignored.has_exceptions() && ignored.is_ignored(name) {
                continue;
            }
            walk(root, &inside, ignored, left, files)?;
            continue;
        }
        if ignored.is_ignored(name) || name == "Dockerfile" || name == ".dockerignore" {
            continue;
        }
        if !kind.is_file() {
            let reason = "neither a file nor a folder; a build gets nothing else, so leave it out by a line of \
                          .dockerignore";
            return Err(bad(&path, reason.to_owned()));
        }
        if files.len() >= MOST_CONTEXT_FILES {
            return Err(bad(root, format!("more than {MOST_CONTEXT_FILES} files; .dockerignore leaves some out")));
        }
        let bytes = bytes(&path, *left)?.ok_or_else(|| {
            let most = LARGEST_CONTEXT_BYTES >> 20;
            bad(
                root,
                format!("more than {most} MiB with {name}; .dockerignore leaves files out, and a build can fetch"),
            )
        })?;
        *left -= bytes.len() as u64;
        // Who may execute it is what matters inside; group and umask of this machine would make another image of it.
        let mode = if metadata.permissions().mode() & 0o100 == 0 { 0o644 } else { 0o755 };
        files.push(ContextFile { path: name.to_owned(), mode, content: Content::Bytes(Arc::from(bytes)) });
    }
    Ok(())
}

/// The bytes of a regular file; `None` when there are more than `most`.
fn bytes(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ImageError> {
    let failed = |error: io::Error| bad(path, format!("it cannot be read: {error}"));
    // Not blocking, and through no link: what lies there may have been replaced since it was looked at.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(bad(path, "it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

fn text(path: &Path) -> Result<String, ImageError> {
    let longest = LONGEST_DOCKERFILE;
    let bytes = bytes(path, longest)?.ok_or_else(|| bad(path, format!("longer than {} KiB", longest >> 10)))?;
    String::from_utf8(bytes).map_err(|_| bad(path, "it is not UTF-8".to_owned()))
}

pub(super) fn bad(place: &Path, reason: String) -> ImageError {
    ImageError::BadRecipe { place: PathBuf::from(place), reason }
}

/// What `.dockerignore` says: the last line that fits decides.
struct Ignored(Vec<(GlobMatcher, bool)>);

impl Ignored {
    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (pattern, leaves_out) = match line.strip_prefix('!') {
                Some(rest) => (rest.trim(), false),
                None => (line, true),
            };
            let pattern = pattern.trim_start_matches("./").trim_matches('/');
            if pattern.is_empty() {
                continue;
            }
            let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build();
            let glob = glob.map_err(|error| format!("{line:?} is no pattern: {}", error.kind()))?;
            lines.push((glob.compile_matcher(), leaves_out));
        }
        Ok(Self(lines))
    }

    fn has_exceptions(&self) -> bool {
        self.0.iter().any(|(_, leaves_out)| !leaves_out)
    }

    /// Whether a line fits the path, or a folder that it is in.
    fn is_ignored(&self, path: &str) -> bool {
        let path = Path::new(path);
        let fits =
            |glob: &GlobMatcher| path.ancestors().filter(|part| *part != Path::new("")).any(|part| glob.is_match(part));
        self.0.iter().rev().find(|(glob, _)| fits(glob)).is_some_and(|(_, leaves_out)| *leaves_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(read: &Read) -> Vec<&str> {
        read.files.iter().map(|file| file.path.as_str()).collect()
    }

    #[test]
    fn what_dockerignore_names_does_not_reach_a_build_and_an_exception_does() {
        let folder = folder(&[
            ("Dockerfile", "FROM x"),
            (".dockerignore", "# secrets\n.env\n**/*.key\nbig\n!big/wanted\n"),
            (".env", "SECRET=1"),
            ("a.txt", "a"),
            ("sub/deep/b.key", "k"),
            ("sub/b.txt", "b"),
            ("big/one", "1"),
            ("big/wanted", "2"),
        ]);
        let read = read(folder.path()).unwrap();
        assert_eq!(names(&read), ["a.txt", "big/wanted", "sub/b.txt"]);
        assert_eq!(read.dockerfile, "FROM x");
    }

    #[test]
    fn a_dockerfile_alone_has_no_files_beside_it() {
        let folder = folder(&[("Dockerfile", "FROM x"), ("secret", "s")]);
        assert_eq!(read(&folder.path().join("Dockerfile")).unwrap().files, []);
    }

    #[test]
    fn a_link_in_the_folder_is_refused_and_named() {
        let folder = folder(&[("Dockerfile", "FROM x")]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("users")).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("users") && error.contains(".dockerignore"), "{error}");
        fs::remove_file(folder.path().join("Dockerfile")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("Dockerfile")).unwrap();
        assert!(read(folder.path()).is_err(), "nor is the Dockerfile itself followed");
    }

    #[test]
    fn a_folder_that_is_too_large_is_refused() {
        let folder = folder(&[("Dockerfile", "FROM x")]);
        let file = fs::File::create(folder.path().join("large")).unwrap();
        file.set_len(LARGEST_CONTEXT_BYTES + 1).unwrap();
        let error = read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("32 MiB"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = read(Path::new("/no/such/place")).unwrap_err().to_string();
        assert!(error.contains("/no/such/place"), "{error}");
    }
}
