//! Where chosen skills are laid out for containers: a folder for each selection, named by what is in it.
//!
//! What is in such a folder never changes: a skill that is changed or removed makes another folder, for the next run. So a
//! container that lives sees what it began with, groups with the same skills share one, and half a folder is never mounted.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nanoclaw_core::protocol::skills::{Manifest, ManifestSkill};
use sha2::{Digest as _, Sha256};

use super::skill::Skill;
use crate::remove_tree::remove_tree;

/// How many bytes of the hash name a folder.
const NAME_BYTES: usize = 12;
/// When a folder that no run began with is removed: no container lives that long.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How often it is noted that a folder is in use.
const NOTED_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// The folder of all selections.
#[derive(Debug, Clone)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// The one at `folder`, made when something is laid out.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// Where these skills would be, or are.
    #[must_use]
    pub fn place(&self, skills: &[&Skill]) -> PathBuf {
        self.0.join(name_of(skills))
    }

    /// The folder with these skills, a folder each and the [`Manifest`] beside them. Blocking.
    ///
    /// # Errors
    /// The system's; nothing half-made is left under a folder's name.
    pub fn lay_out(&self, skills: &[&Skill]) -> io::Result<PathBuf> {
        let place = self.place(skills);
        if place.is_dir() {
            note_use(&place);
            return Ok(place);
        }
        DirBuilder::new().mode(0o755).recursive(true).create(&self.0)?;
        let draft = tempfile::Builder::new().prefix(".draft-").tempdir_in(&self.0)?;
        // A temporary folder is its owner's alone; this one is for whoever a container runs as.
        let content = draft.path().join("content");
        DirBuilder::new().mode(0o755).create(&content)?;
        for skill in skills {
            skill.write_to(&content.join(skill.name.as_str()))?;
        }
        let manifest = Manifest {
            skills: skills
                .iter()
                .map(|skill| ManifestSkill {
                    name: skill.name.to_string(),
                    description: skill.description.clone(),
                    programs: skill.programs.clone(),
                })
                .collect(),
        };
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(io::Error::other)?;
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(content.join(Manifest::FILE))?;
        file.write_all(&manifest)?;
        match fs::rename(&content, &place) {
            // Somebody else was quicker with the same.
            Err(_) if place.is_dir() => {}
            other => other?,
        }
        self.remove_old(&place);
        Ok(place)
    }

    /// Removes what no run has begun with for long, and drafts of a host that died.
    fn remove_old(&self, keep: &Path) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path != keep) {
            let used = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            let age = used.ok().and_then(|used| used.elapsed().ok()).unwrap_or_default();
            if age > KEPT_FOR
                && let Err(error) = remove_tree(&path)
            {
                tracing::warn!(path = %path.display(), %error, "skills that are not in use any more are not removed");
            }
        }
    }
}

/// The time of a folder's last change is that of its last use.
fn note_use(place: &Path) {
    let noted = fs::metadata(place).and_then(|metadata| metadata.modified());
    let age = noted.ok().and_then(|noted| noted.elapsed().ok()).unwrap_or_default();
    if age > NOTED_EVERY {
        let now = File::open(place).and_then(|folder| folder.set_modified(SystemTime::now()));
        if let Err(error) = now {
            tracing::debug!(%error, "that skills are in use is not noted");
        }
    }
}

fn name_of(skills: &[&Skill]) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for skill in skills {
        add(skill.name.as_str().as_bytes());
        for (path, file) in skill.files.iter() {
            add(path.as_bytes());
            add(&file.content);
            add(&[u8::from(file.executable)]);
        }
        add(b"");
    }
    hash.finalize()[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::skills::{Choice, Library};

    fn library(place: &Path, text: &str) -> Library {
        let folder = place.join("skills/billing");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("SKILL.md"), text).unwrap();
        Library::read(&place.join("skills"))
    }

    #[test]
    fn the_same_skills_share_a_folder_and_changed_ones_get_another_while_the_old_one_stays() {
        let place = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(place.path().join("shelf"));
        let first = library(place.path(), "---\ndescription: Writes bills.\n---\n");
        let first = shelf.lay_out(&first.choose(&Choice::All).skills).unwrap();
        let again = library(place.path(), "---\ndescription: Writes bills.\n---\n");
        assert_eq!(shelf.lay_out(&again.choose(&Choice::All).skills).unwrap(), first);

        let changed = library(place.path(), "---\ndescription: Sends bills.\nprograms: [mail]\n---\n");
        let chosen = changed.choose(&Choice::All).skills;
        let second = shelf.lay_out(&chosen).unwrap();
        assert_ne!(second, first);
        assert!(fs::read_to_string(first.join("billing/SKILL.md")).unwrap().contains("Writes"));
        assert!(fs::read_to_string(second.join("billing/SKILL.md")).unwrap().contains("Sends"));
        let manifest: Manifest = serde_json::from_slice(&fs::read(second.join(Manifest::FILE)).unwrap()).unwrap();
        let billing = manifest.skills.iter().find(|skill| skill.name == "billing").unwrap();
        assert_eq!((billing.description.as_str(), &*billing.programs), ("Sends bills.", &["mail".to_owned()][..]));

        fs::remove_dir_all(place.path().join("skills/billing")).unwrap();
        let without = Library::read(&place.path().join("skills"));
        let third = shelf.lay_out(&without.choose(&Choice::All).skills).unwrap();
        assert!(!third.join("billing").exists(), "what is removed disappears");
        let others = fs::metadata(&third).unwrap().permissions().mode() & 0o777;
        assert_eq!(others, 0o755, "whoever the container runs as can read it");
        let left: Vec<_> = fs::read_dir(place.path().join("shelf")).unwrap().flatten().collect();
        assert_eq!(left.len(), 3, "and no draft: {left:?}");
    }

    #[test]
    fn what_no_run_began_with_for_long_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(place.path().join("shelf"));
        let first = library(place.path(), "---\ndescription: One.\n---\n");
        let first = shelf.lay_out(&first.choose(&Choice::All).skills).unwrap();
        let long_ago = SystemTime::now() - KEPT_FOR - Duration::from_secs(60);
        File::open(&first).unwrap().set_modified(long_ago).unwrap();
        let second = library(place.path(), "---\ndescription: Two.\n---\n");
        let second = shelf.lay_out(&second.choose(&Choice::All).skills).unwrap();
        assert!(!first.exists());
        File::open(&second).unwrap().set_modified(long_ago).unwrap();
        let again = library(place.path(), "---\ndescription: Two.\n---\n");
        assert_eq!(shelf.lay_out(&again.choose(&Choice::All).skills).unwrap(), second);
        assert!(fs::metadata(&second).unwrap().modified().unwrap() > long_ago, "it is in use again");
    }
}
