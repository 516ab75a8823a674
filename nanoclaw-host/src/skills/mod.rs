//! Skills: folders with a `SKILL.md`, instructions that an agent reads when the task at hand calls for them.
//!
//! A [`Library`] is what there is: the ones that come with this program, and those in the home's `skills/`, which the operator
//! put there. A [`Choice`] says which of them a group has. Those are laid out on a [`Shelf`], a folder that nobody changes once it
//! is there and that containers get read-only.

mod files;
mod library;
mod shelf;
mod shipped;
mod skill;

pub use files::{LARGEST_SKILL_BYTES, MOST_FILES};
pub use library::{Chosen, Library};
pub use shelf::Shelf;
pub use shipped::is_shipped;
pub use skill::{Fault, Origin, Skill, SkillName};

/// Which skills a group has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// Whatever there is.
    #[default]
    All,
    /// These; empty: none.
    Only(Vec<SkillName>),
}

impl std::fmt::Display for Choice {
    /// `all`, `none`, or the names with commas between them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Only(names) if names.is_empty() => f.write_str("none"),
            Self::Only(names) => f.write_str(&names.iter().map(SkillName::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}
