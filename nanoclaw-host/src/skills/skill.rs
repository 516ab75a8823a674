//! One skill: its name, what it says of itself, and its files.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::files::{Files, INSTRUCTIONS};

/// The longest name and the longest description, as Claude Code takes them.
const LONGEST_NAME: usize = 64;
const LONGEST_DESCRIPTION: usize = 1024;
/// What instructions may have: an agent reads all of them at once.
const LARGEST_INSTRUCTIONS: usize = 256 * 1024;
/// How many programs a skill can ask for.
const MOST_PROGRAMS: usize = 16;

/// The name of a skill and of its folder: lower-case letters, digits and single hyphens between them, 64 at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SkillName(String);

impl SkillName {
    /// # Errors
    /// What a name has to be, a sentence's end.
    pub fn new(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let whole = name.split('-').all(|part| !part.is_empty() && part.chars().all(plain));
        if name.len() > LONGEST_NAME || !whole {
            return Err(format!(
                "{name:?} is no name of a skill: it has to be lower-case letters, digits and single hyphens between them, \
                 {LONGEST_NAME} at most"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SkillName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a skill comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// With this program.
    Shipped,
    /// From this folder.
    Folder(PathBuf),
}

/// A skill that can be given to agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Its name.
    pub name: SkillName,
    /// When to use it, which is what an agent sees of it at first.
    pub description: String,
    /// The programs without which it is of no use; a container that lacks one of them does not get it.
    pub programs: Vec<String>,
    /// Where it comes from.
    pub origin: Origin,
    pub(super) files: Files,
}

/// Why a folder is no skill.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the skill {name} cannot be used: {reason}")]
pub struct Fault {
    /// The folder's name.
    pub name: String,
    /// What is wrong, with what to do about it.
    pub reason: String,
}

/// What stands between the two lines `---` at the beginning of `SKILL.md`. Anything else there is for others.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct FrontMatter {
    name: Option<String>,
    description: Option<String>,
    programs: Vec<String>,
}

impl Skill {
    /// Writes its files into the new folder `path`, for everybody to read. Blocking.
    ///
    /// # Errors
    /// The system's.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        self.files.write(path)
    }

    /// The skill that these files of a folder with this name are.
    ///
    /// # Errors
    /// [`Fault`] with the first thing that is wrong.
    pub(super) fn of(folder: &str, origin: Origin, files: Files) -> Result<Self, Fault> {
        Self::read(folder, origin, files).map_err(|reason| Fault { name: folder.to_owned(), reason })
    }

    fn read(folder: &str, origin: Origin, files: Files) -> Result<Self, String> {
        let name = SkillName::new(folder)?;
        let instructions = files
            .get(INSTRUCTIONS)
            .ok_or_else(|| format!("there is no {INSTRUCTIONS} in it, which has the instructions"))?;
        if instructions.content.len() > LARGEST_INSTRUCTIONS {
            return Err(format!(
                "its {INSTRUCTIONS} has more than {} KiB; put details into files beside it and name them there",
                LARGEST_INSTRUCTIONS / 1024
            ));
        }
        let text = str::from_utf8(&instructions.content).map_err(|_| format!("its {INSTRUCTIONS} is not UTF-8"))?;
        let FrontMatter { name: said, description, programs } = front_matter(text)?;
        if let Some(said) = said.filter(|said| *said != folder) {
            return Err(format!("its {INSTRUCTIONS} calls it {said:?}, and its folder {folder:?}; give both one name"));
        }
        let description = description.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
        let description = description.filter(|text| !text.is_empty()).ok_or_else(|| {
            format!(
                "its {INSTRUCTIONS} has no description, by which an agent knows when to use it: add `description: …`"
            )
        })?;
        if description.chars().count() > LONGEST_DESCRIPTION {
            return Err(format!("its description has more than {LONGEST_DESCRIPTION} letters"));
        }
        let plain = |program: &String| {
            !program.is_empty() && program.len() <= 64 && program.bytes().all(|c| c.is_ascii_graphic() && c != b'/')
        };
        if programs.len() > MOST_PROGRAMS || !programs.iter().all(plain) {
            return Err(format!("its programs have to be names such as chromium, {MOST_PROGRAMS} at most"));
        }
        Ok(Self { name, description, programs, origin, files })
    }
}

fn front_matter(text: &str) -> Result<FrontMatter, String> {
    let missing =
        || format!("its {INSTRUCTIONS} does not begin with a line `---`, a line `description: …`, and a line `---`");
    let mut lines = text.strip_prefix('\u{feff}').unwrap_or(text).lines();
    if lines.next().map(str::trim_end) != Some("---") {
        return Err(missing());
    }
    let mut yaml = String::new();
    for line in lines {
        if line.trim_end() == "---" {
            if yaml.trim().is_empty() {
                return Ok(FrontMatter::default());
            }
            return serde_saphyr::from_str(&yaml).map_err(|error| {
                let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                format!("what stands between the lines `---` of its {INSTRUCTIONS} is no YAML of a skill: {first}")
            });
        }
        yaml.push_str(line);
        yaml.push('\n');
    }
    Err(missing())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Skill, String> {
        let files = Files::from([(INSTRUCTIONS, text.as_bytes(), false)]);
        Skill::of("release-notes", Origin::Shipped, files).map_err(|fault| fault.reason)
    }

    #[test]
    fn a_skill_says_when_to_use_it_and_what_it_needs() {
        let skill = read(
            "---\r\nname: release-notes\ndescription: >\n  Writes release notes.\n  Use it when asked for them.\nprograms: \
             [git]\nallowed-tools: Bash(git *)\n---\n# How\n",
        );
        let skill = skill.unwrap();
        assert_eq!(skill.description, "Writes release notes. Use it when asked for them.");
        assert_eq!(skill.programs, ["git"]);
        assert_eq!(read("\u{feff}---\ndescription: Short\n---").unwrap().description, "Short");
    }

    #[test]
    fn what_is_no_skill_is_told_with_what_to_do() {
        for (text, part) in [
            ("# How\n", "does not begin with a line `---`"),
            ("---\ndescription: never ends\n", "does not begin with a line `---`"),
            ("---\n---\n", "has no description"),
            ("---\ndescription: ' '\n---\n", "has no description"),
            ("---\nname: another\ndescription: x\n---\n", "give both one name"),
            ("---\ndescription: [x\n---\n", "no YAML of a skill"),
            ("---\n- a\n- b\n---\n", "no YAML of a skill"),
            ("---\ndescription: x\nprograms: [../chromium]\n---\n", "names such as chromium"),
        ] {
            let told = read(text).unwrap_err();
            assert!(told.contains(part), "{text:?}: {told}");
        }
        let long = format!("---\ndescription: {}\n---\n", "x".repeat(LONGEST_DESCRIPTION + 1));
        assert!(read(&long).unwrap_err().contains("more than 1024"));
        assert!(read(&"x".repeat(LARGEST_INSTRUCTIONS + 1)).unwrap_err().contains("256 KiB"));
        assert!(Skill::of("x", Origin::Shipped, Files::default()).unwrap_err().reason.contains("no SKILL.md"));
    }

    #[test]
    fn names_are_those_that_agents_take() {
        for name in ["a", "release-notes", "x2", "2-fast"] {
            assert_eq!(SkillName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "A", "a--b", "-a", "a-", "a_b", "a/b", "..", ".git", "ä", &"x".repeat(65)] {
            assert!(SkillName::new(name).is_err(), "{name}");
        }
    }
}
