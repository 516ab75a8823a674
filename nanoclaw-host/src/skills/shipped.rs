//! The skills that come with this program. They are part of it, so that they are of its version wherever it is.

use super::{
    files::{Files, INSTRUCTIONS},
    skill::{Fault, Origin, Skill},
};

/// Each with its instructions; none has another file.
const SHIPPED: [(&str, &str); 4] = [
    ("browsing", include_str!("../../../skills/browsing/SKILL.md")),
    ("chat-formatting", include_str!("../../../skills/chat-formatting/SKILL.md")),
    ("status", include_str!("../../../skills/status/SKILL.md")),
    ("welcome", include_str!("../../../skills/welcome/SKILL.md")),
];

/// Whether one of this name comes with the program.
#[must_use]
pub fn is_shipped(name: &str) -> bool {
    SHIPPED.iter().any(|(shipped, _)| *shipped == name)
}

pub(super) fn shipped() -> impl Iterator<Item = Result<Skill, Fault>> {
    SHIPPED
        .into_iter()
        .map(|(name, text)| Skill::of(name, Origin::Shipped, Files::from([(INSTRUCTIONS, text.as_bytes(), false)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_used_and_nothing_in_the_folder_is_forgotten() {
        let skills: Vec<Skill> = shipped().collect::<Result<_, _>>().unwrap();
        let mut names: Vec<_> = skills.iter().map(|skill| skill.name.as_str().to_owned()).collect();
        names.sort();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../skills");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut there: Vec<_> = entries
            .filter(|path| path.is_dir())
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        there.sort();
        assert_eq!(names, there);
    }
}
