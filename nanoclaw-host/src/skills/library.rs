//! Which skills there are, and which of them a group has.

use std::{collections::BTreeMap, fs, io, path::Path};

use super::{
    Choice,
    files::Files,
    shipped::shipped,
    skill::{Fault, Origin, Skill, SkillName},
};

/// The most skills in a home: what an agent is told of each is in every prompt.
const MOST_SKILLS: usize = 200;

/// The skills of an installation, read anew each time, so that what is changed holds from the next run on.
#[derive(Debug, Default)]
pub struct Library {
    skills: BTreeMap<SkillName, Skill>,
    /// The folders that are no skills, in the order of their names.
    pub faults: Vec<Fault>,
}

/// What a choice comes to.
#[derive(Debug)]
pub struct Chosen<'a> {
    /// In the order of their names.
    pub skills: Vec<&'a Skill>,
    /// Those that were chosen and cannot be had.
    pub missing: Vec<SkillName>,
}

impl Library {
    /// Those that come with this program, and those in `folder`, which need not exist. One there takes the place of a shipped
    /// one with its name, also when it cannot be used: what the operator changed is not to come back unchanged. Blocking.
    #[must_use]
    pub fn read(folder: &Path) -> Self {
        let mut library = Self::default();
        for skill in shipped() {
            library.take(skill);
        }
        let mut names = match folders(folder) {
            Ok(names) => names,
            Err(error) => {
                let reason = format!("{} cannot be listed: {error}", folder.display());
                library.faults.push(Fault { name: "skills".to_owned(), reason });
                Vec::new()
            }
        };
        names.sort();
        if names.len() > MOST_SKILLS {
            let reason = format!("{} has more than {MOST_SKILLS} folders; the rest is left out", folder.display());
            library.faults.push(Fault { name: names[MOST_SKILLS].clone(), reason });
            names.truncate(MOST_SKILLS);
        }
        for name in names {
            library.skills.retain(|shipped, _| shipped.as_str() != name);
            library.take(Self::read_one(&folder.join(&name), &name));
        }
        library
    }

    /// The one in the folder at `path`, as if the folder had this name. Blocking.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn read_one(path: &Path, name: &str) -> Result<Skill, Fault> {
        let files = Files::read(path).map_err(|reason| Fault { name: name.to_owned(), reason })?;
        Skill::of(name, Origin::Folder(path.to_owned()), files)
    }

    /// Those that can be used, in the order of their names.
    pub fn skills(&self) -> impl Iterator<Item = &Skill> {
        self.skills.values()
    }

    /// What `choice` comes to.
    #[must_use]
    pub fn choose(&self, choice: &Choice) -> Chosen<'_> {
        match choice {
            Choice::All => Chosen { skills: self.skills.values().collect(), missing: Vec::new() },
            Choice::Only(names) => {
                let mut chosen = Chosen { skills: Vec::new(), missing: Vec::new() };
                for name in names {
                    match self.skills.get(name) {
                        Some(skill) => chosen.skills.push(skill),
                        None => chosen.missing.push(name.clone()),
                    }
                }
                chosen.skills.sort_by(|one, other| one.name.cmp(&other.name));
                chosen.skills.dedup_by(|one, other| one.name == other.name);
                chosen
            }
        }
    }

    fn take(&mut self, skill: Result<Skill, Fault>) {
        match skill {
            Ok(skill) => drop(self.skills.insert(skill.name.clone(), skill)),
            Err(fault) => self.faults.push(fault),
        }
    }
}

/// The names of the folders, and of the links, in `folder`; files (a README) are none.
fn folders(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !entry.file_type()?.is_file() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skill(folder: &Path, name: &str, text: &str) {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("SKILL.md"), text).unwrap();
    }

    fn names(library: &Library) -> Vec<&str> {
        library.skills().map(|skill| skill.name.as_str()).collect()
    }

    #[test]
    fn the_homes_skills_join_the_shipped_ones_and_one_that_cannot_be_used_spoils_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("skills");
        let shipped = Library::read(&folder);
        assert_eq!(names(&shipped), ["browsing", "chat-formatting", "status", "welcome"]);
        assert_eq!(shipped.faults, []);

        skill(&folder, "billing", "---\ndescription: Writes bills.\n---\n");
        skill(&folder, "welcome", "---\ndescription: Ours.\n---\n");
        skill(&folder, "broken", "no front matter");
        skill(&folder, "status", "neither");
        fs::write(folder.join("README.md"), "about this folder").unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("link")).unwrap();
        let library = Library::read(&folder);
        assert_eq!(names(&library), ["billing", "browsing", "chat-formatting", "welcome"]);
        let faults: Vec<_> = library.faults.iter().map(|fault| fault.name.as_str()).collect();
        assert_eq!(faults, ["broken", "link", "status"]);
        let welcome = library.skills().find(|skill| skill.name.as_str() == "welcome").unwrap();
        assert_eq!(welcome.description, "Ours.");
    }

    #[test]
    fn a_choice_names_what_it_cannot_have() {
        let place = tempfile::tempdir().unwrap();
        let library = Library::read(place.path());
        let name = |name: &str| SkillName::new(name).unwrap();
        let chosen =
            library.choose(&Choice::Only(vec![name("welcome"), name("away"), name("browsing"), name("welcome")]));
        let had: Vec<_> = chosen.skills.iter().map(|skill| skill.name.as_str()).collect();
        assert_eq!(had, ["browsing", "welcome"]);
        assert_eq!(chosen.missing, [name("away")]);
        assert_eq!(library.choose(&Choice::All).skills.len(), 4);
        assert!(library.choose(&Choice::Only(Vec::new())).skills.is_empty());
    }
}
