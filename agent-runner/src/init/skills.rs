//! Gives the command its skills where agents look for them: a link in `~/.claude/skills` to each, see
//! [`nanoclaw_core::protocol::skills`].
//!
//! The links are in the agent's own home, which it can change as it likes; what they lead to it cannot. Whatever has a skill's
//! name there gives way to the link, and a link to a skill that is gone goes. An agent's own skills beside them stay.

use std::{fs, io, os::unix::fs::symlink, path::Path};

use nanoclaw_core::protocol::skills::{Manifest, ManifestSkill};

use crate::{log::say, search_path::is_program_in};

/// The largest manifest that is read.
const LARGEST: u64 = 1024 * 1024;

/// Links the skills in `folder` into the home `home`. What cannot be done is said and costs a skill, nothing else.
pub(super) fn link(folder: &Path, home: &Path) {
    if let Err(error) = link_all(folder, home, std::env::var_os("PATH").as_deref().unwrap_or_default()) {
        say!("init: the agent has to do without its skills: {error}");
    }
}

fn link_all(folder: &Path, home: &Path, path: &std::ffi::OsStr) -> io::Result<()> {
    let manifest = folder.join(Manifest::FILE);
    if fs::metadata(&manifest)?.len() > LARGEST {
        return Err(io::Error::other(format!("{} is too large", manifest.display())));
    }
    let manifest: Manifest = serde_json::from_slice(&fs::read(&manifest)?)?;
    let state = home.join(".claude");
    let links = state.join("skills");
    for folder in [&state, &links] {
        // Where a link or a file is, the agent put it: a folder that is not what it seems gives way.
        if fs::symlink_metadata(folder).is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(folder)?;
        }
        match fs::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    for entry in fs::read_dir(&links)?.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(folder)) {
            fs::remove_file(entry.path())?;
        }
    }
    let usable = |skill: &&ManifestSkill| skill.programs.iter().all(|program| is_program_in(path, program));
    for skill in manifest.skills.iter().filter(usable) {
        if let Err(error) = replace(&links.join(&skill.name), &folder.join(&skill.name)) {
            say!("init: the agent has to do without the skill {}: {error}", skill.name);
        }
    }
    Ok(())
}

fn replace(link: &Path, target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(link) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(link)?,
        Ok(_) => fs::remove_file(link)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    symlink(target, link)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt as _, path::PathBuf};

    use super::*;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            fs::create_dir(place.home()).unwrap();
            place
        }

        fn home(&self) -> PathBuf {
            self.0.path().join("home")
        }

        /// Lays out these skills, each with the program it asks for.
        fn skills(&self, skills: &[(&str, Option<&str>)]) -> PathBuf {
            let folder = self.0.path().join("skills");
            let _ = fs::remove_dir_all(&folder);
            let of = |(name, program): &(&str, Option<&str>)| {
                fs::create_dir_all(folder.join(name)).unwrap();
                fs::write(folder.join(name).join("SKILL.md"), *name).unwrap();
                let programs = program.iter().map(|program| (*program).to_owned()).collect();
                ManifestSkill { name: (*name).to_owned(), description: "x".to_owned(), programs }
            };
            let manifest = Manifest { skills: skills.iter().map(of).collect() };
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(Manifest::FILE), serde_json::to_vec(&manifest).unwrap()).unwrap();
            folder
        }

        fn linked(&self) -> Vec<String> {
            let entries = fs::read_dir(self.home().join(".claude/skills")).unwrap().flatten();
            let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn an_agent_finds_its_skills_in_its_home_and_those_that_were_removed_are_gone() {
        let place = Place::new();
        let folder = place.skills(&[("one", None), ("two", None)]);
        link_all(&folder, &place.home(), "".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(place.home().join(".claude/skills/one/SKILL.md")).unwrap(), "one");
        let own = place.home().join(".claude/skills/own");
        fs::create_dir(&own).unwrap();
        let folder = place.skills(&[("two", None)]);
        link_all(&folder, &place.home(), "".as_ref()).unwrap();
        assert_eq!(place.linked(), ["own", "two"]);
    }

    #[test]
    fn what_an_agent_put_in_a_skills_place_gives_way() {
        let place = Place::new();
        let outside = place.0.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "").unwrap();
        symlink(&outside, place.home().join(".claude")).unwrap();
        let folder = place.skills(&[("one", None), ("two", None)]);
        link_all(&folder, &place.home(), "".as_ref()).unwrap();
        assert!(!outside.join("skills").exists(), "nothing is made where a link leads");
        let links = place.home().join(".claude/skills");
        for (name, of_folder) in [("one", true), ("two", false)] {
            fs::remove_file(links.join(name)).unwrap();
            if of_folder {
                fs::create_dir(links.join(name)).unwrap();
                symlink(&outside, links.join(name).join("deep")).unwrap();
            } else {
                fs::write(links.join(name), "mine").unwrap();
            }
        }
        link_all(&folder, &place.home(), "".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(links.join("one/SKILL.md")).unwrap(), "one");
        assert_eq!(fs::read_to_string(links.join("two/SKILL.md")).unwrap(), "two");
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn a_skill_without_its_programs_is_left_out() {
        let place = Place::new();
        let programs = place.0.path().join("bin");
        fs::create_dir(&programs).unwrap();
        fs::write(programs.join("there"), "").unwrap();
        fs::set_permissions(programs.join("there"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(programs.join("no-program"), "").unwrap();
        let folder = place.skills(&[("a", Some("there")), ("b", Some("away")), ("c", Some("no-program"))]);
        link_all(&folder, &place.home(), programs.as_os_str()).unwrap();
        assert_eq!(place.linked(), ["a"]);
    }

    #[test]
    fn without_a_manifest_nothing_is_touched() {
        let place = Place::new();
        assert!(link_all(&place.0.path().join("away"), &place.home(), "".as_ref()).is_err());
        assert!(!place.home().join(".claude").exists());
    }
}
