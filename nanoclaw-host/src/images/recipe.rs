//! What goes into a group's image, and the name that says so: the same recipe on the same bases has the same name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use nanoclaw_core::runtime::ImageRef;
use sha2::{Digest as _, Sha256};

use super::{
    Content, ContextFile, ImageError, Source,
    context::{self, bad},
};

/// The repository of groups' images; the tag is the hash of what goes in.
pub const GROUP_REPOSITORY: &str = "nanoclaw-group";
/// What a Dockerfile knows the group's `image` by.
pub const BASE_ARGUMENT: &str = "NANOCLAW_BASE";
/// Changes when the same recipe comes to another image than before.
const VERSION: &str = "nanoclaw group image 1";

/// What goes into a group's image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What [`BASE_ARGUMENT`] stands for.
    pub base: ImageRef,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The files that it can copy, in the order of their paths.
    pub files: Vec<ContextFile>,
}

impl Recipe {
    /// Reads the recipe of a group's image; `None` for a group whose image is not built. Dockerfiles lie nowhere below `home`'s
    /// `groups` and `store`, which agents write to, and no build sees a folder that has `home` in it. Blocking.
    ///
    /// # Errors
    /// [`ImageError::BadRecipe`].
    pub fn read(source: &Source, home: &Path) -> Result<Option<Self>, ImageError> {
        match source {
            Source::Named(_) => Ok(None),
            Source::Packages { base, packages } => {
                Ok(Some(Self { base: base.clone(), dockerfile: for_packages(packages), files: Vec::new() }))
            }
            Source::Dockerfile { base, place } => {
                check_place(place, home)?;
                let read = context::read(place)?;
                Ok(Some(Self { base: base.clone(), dockerfile: read.dockerfile, files: read.files }))
            }
        }
    }

    /// The images that it begins with, each once.
    #[must_use]
    pub fn bases(&self) -> Vec<ImageRef> {
        let mut bases = Vec::new();
        for name in from_lines(&self.dockerfile, &self.base) {
            if let Ok(image) = ImageRef::new(name)
                && !bases.contains(&image)
            {
                bases.push(image);
            }
        }
        bases
    }

    /// Whether its Dockerfile asks for the group's `image`.
    #[must_use]
    pub fn asks_for_base(&self) -> bool {
        self.dockerfile.contains(BASE_ARGUMENT)
    }

    /// The image's name, after everything that goes into it; `base_ids` are the engine's ids of [`bases`](Self::bases), and
    /// `install` keeps apart what belongs to different homes.
    #[must_use]
    pub fn name(&self, base_ids: &BTreeMap<ImageRef, String>, install: &str) -> ImageRef {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(VERSION.as_bytes());
        add(install.as_bytes());
        add(self.dockerfile.as_bytes());
        // By what names they are known matters only where the Dockerfile says it.
        for id in base_ids.values() {
            add(id.as_bytes());
        }
        for file in &self.files {
            add(file.path.as_bytes());
            add(&file.mode.to_le_bytes());
            match &file.content {
                Content::Bytes(bytes) => add(bytes),
                Content::File(path) => add(path.as_os_str().as_encoded_bytes()),
            }
        }
        let hash: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
        ImageRef::new(format!("{GROUP_REPOSITORY}:{hash}")).expect("letters and digits make an image's name")
    }
}

/// Installs them with what the base has for that, and says so when it has nothing.
fn for_packages(packages: &[String]) -> String {
    let all = packages.join(" ");
    format!(
        "ARG {BASE_ARGUMENT}\nFROM ${{{BASE_ARGUMENT}}}\nUSER 0:0\n\
         RUN set -e; \\\n\
         \x20   if command -v apt-get >/dev/null; then \\\n\
         \x20     export DEBIAN_FRONTEND=noninteractive; apt-get update --option APT::Update::Error-Mode=any; \\\n\
         \x20     apt-get install --yes --no-install-recommends {all}; \\\n\
         \x20     rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin; \\\n\
         \x20   elif command -v apk >/dev/null; then apk add --no-cache {all}; \\\n\
         \x20   elif command -v dnf >/dev/null; then dnf install -y --setopt=install_weak_deps=False {all}; dnf clean all; \\\n\
         \x20   elif command -v microdnf >/dev/null; then microdnf install -y {all}; microdnf clean all; \\\n\
         \x20   else echo 'this image has no apt-get, apk or dnf to add packages with: take another image, such as the flavour full' >&2; \\\n\
         \x20     exit 64; fi\n"
    )
}

/// A Dockerfile decides what runs as root with a network while it is built, so no agent may have written it.
fn check_place(place: &Path, home: &Path) -> Result<(), ImageError> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (real_place, home) = (real(place), real(home));
    for name in ["groups", "store"] {
        if real_place.starts_with(real(&home.join(name))) {
            let reason = format!("it lies in {name}/ of the home, which agents write to; move it out of there");
            return Err(bad(place, reason));
        }
    }
    if real_place.is_dir() && home.starts_with(&real_place) {
        let reason = "this folder has the whole home in it, and a build would see all of it; give the Dockerfile a folder \
                      of its own";
        return Err(bad(place, reason.to_owned()));
    }
    Ok(())
}

/// The images of the `FROM` lines that are neither `scratch` nor an earlier stage. What hangs on a variable that has no
/// default is left to the builder.
fn from_lines(dockerfile: &str, base: &ImageRef) -> Vec<String> {
    let mut variables = BTreeMap::from([(BASE_ARGUMENT.to_owned(), base.to_string())]);
    let (mut stages, mut images) = (Vec::new(), Vec::new());
    for instruction in instructions(dockerfile) {
        let mut words = instruction.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("ARG") if images.is_empty() && stages.is_empty() => {
                for word in words {
                    if let Some((name, default)) = word.split_once('=')
                        && name != BASE_ARGUMENT
                        && let Some(default) = expanded(default.trim_matches(['"', '\'']), &variables)
                    {
                        variables.insert(name.to_owned(), default);
                    }
                }
            }
            Some("FROM") => {
                let mut words = words.filter(|word| !word.starts_with("--"));
                let image = words.next().and_then(|word| expanded(word, &variables));
                let names_stage = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
                if let Some(image) = image.filter(|image| image != "scratch" && !stages.contains(image)) {
                    images.push(image);
                }
                // The stage's name, or one that nothing can have.
                stages.push(words.next().filter(|_| names_stage).unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
    images
}

/// The instructions of a Dockerfile, each on one line: what a backslash goes on with is put together, and comments, which may
/// stand in between, are left out.
fn instructions(dockerfile: &str) -> Vec<String> {
    let (mut all, mut begun) = (Vec::new(), String::new());
    for line in dockerfile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(part) => begun.extend([part, " "]),
            None => all.push(std::mem::take(&mut begun) + line),
        }
    }
    all.push(begun);
    all
}

/// `word` with its variables replaced; `None` when one of them has no value.
fn expanded(word: &str, variables: &BTreeMap<String, String>) -> Option<String> {
    let Some((before, after)) = word.split_once('$') else { return Some(word.to_owned()) };
    let (value, rest) = match after.strip_prefix('{') {
        Some(braced) => {
            let (name, rest) = braced.split_once('}')?;
            let (name, default) = match name.split_once(":-") {
                Some((name, default)) => (name, Some(default.to_owned())),
                None => (name, None),
            };
            (variables.get(name).cloned().or(default)?, rest)
        }
        None => {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            (variables.get(&after[..end]).cloned()?, &after[end..])
        }
    };
    Some(format!("{before}{value}{}", expanded(rest, variables)?))
}

/// What tells apart the images of different homes, without saying where they are.
pub(super) fn install_of(home: &Path) -> String {
    let home = home.canonicalize().unwrap_or_else(|_| PathBuf::from(home));
    let hash = Sha256::digest(home.as_os_str().as_encoded_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;

    fn image(name: &str) -> ImageRef {
        name.parse().unwrap()
    }

    fn recipe(dockerfile: &str) -> Recipe {
        Recipe { base: image("nanoclaw-agent:latest"), dockerfile: dockerfile.to_owned(), files: Vec::new() }
    }

    fn bases(dockerfile: &str) -> Vec<String> {
        recipe(dockerfile).bases().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_images_that_a_dockerfile_begins_with_are_found() {
        assert_eq!(bases("from debian:12 as one\nRUN x\nFROM one\nFROM scratch\nCOPY --from=one / /"), ["debian:12"]);
        assert_eq!(bases("ARG NANOCLAW_BASE\nFROM ${NANOCLAW_BASE}"), ["nanoclaw-agent:latest"]);
        assert_eq!(
            bases("ARG V=\"12\"\nFROM --platform=linux/amd64 debian:$V-slim\nFROM ${OTHER:-alpine}"),
            ["debian:12-slim", "alpine"]
        );
        assert_eq!(bases("FROM $UNKNOWN\nFROM debian:12\nFROM debian:12"), ["debian:12"]);
        assert_eq!(bases("ARG D=debian\nARG I=$D:12\n# FROM a\nFROM \\\n  $I"), ["debian:12"]);
        assert_eq!(
            bases("FROM a:1\nRUN select \\\n# a remark\n\n  from users\nRUN x"),
            ["a:1"],
            "a command has the word"
        );
    }

    #[test]
    fn everything_that_goes_in_changes_the_name_and_nothing_else_does() {
        let ids = |id: &str| BTreeMap::from([(image("debian:12"), id.to_owned())]);
        let first = recipe("FROM debian:12").name(&ids("sha256:1"), "home");
        assert_eq!(first, recipe("FROM debian:12").name(&ids("sha256:1"), "home"));
        let mut with_file = recipe("FROM debian:12");
        let file = |path: &str, mode, bytes: &[u8]| ContextFile {
            path: path.to_owned(),
            mode,
            content: Content::Bytes(Arc::from(bytes)),
        };
        let mut names = vec![
            first,
            recipe("FROM debian:12\n").name(&ids("sha256:1"), "home"),
            recipe("FROM debian:12").name(&ids("sha256:2"), "home"),
            recipe("FROM debian:12").name(&ids("sha256:1"), "another home"),
        ];
        for files in [
            vec![file("a", 0o644, b"x")],
            vec![file("a", 0o644, b"y")],
            vec![file("a", 0o755, b"x")],
            vec![file("ax", 0o644, b"")],
            vec![file("a", 0o644, b""), file("x", 0o644, b"")],
        ] {
            with_file.files = files;
            names.push(with_file.name(&ids("sha256:1"), "home"));
        }
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{names:?}");
        assert!(names[0].as_str().starts_with("nanoclaw-group:"));
    }

    #[test]
    fn a_dockerfile_that_an_agent_could_have_written_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let read = |place: &Path| {
            let place = place.to_owned();
            Recipe::read(&Source::Dockerfile { base: image("x"), place }, home.path()).map(|_| ())
        };
        let write = |folder: &str| {
            let folder = home.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("Dockerfile"), "FROM x").unwrap();
            folder
        };
        for folder in ["groups/family", "store/ipc/family"] {
            let folder = write(folder);
            for place in [folder.clone(), folder.join("Dockerfile")] {
                let error = read(&place).unwrap_err().to_string();
                assert!(error.contains("which agents write to"), "{error}");
            }
        }
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path().join("groups/family"), &link).unwrap();
        assert!(read(&link).is_err(), "nor by a link");
        write("");
        let error = read(home.path()).unwrap_err().to_string();
        assert!(error.contains("the whole home"), "{error}");
        read(&home.path().join("Dockerfile")).unwrap();
        read(&write("images/family")).unwrap();
    }

    #[test]
    fn packages_become_a_dockerfile_on_the_groups_image() {
        let source =
            Source::Packages { base: image("nanoclaw-agent:latest"), packages: vec!["jq".into(), "ripgrep".into()] };
        let recipe = Recipe::read(&source, Path::new("/home")).unwrap().unwrap();
        assert_eq!(recipe.bases(), [image("nanoclaw-agent:latest")]);
        assert!(recipe.asks_for_base() && recipe.dockerfile.contains("--no-install-recommends jq ripgrep;"));
        assert_eq!(Recipe::read(&Source::Named(image("x")), Path::new("/home")).unwrap(), None);
    }
}
