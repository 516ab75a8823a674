//! The skills of a container: a read-only folder with a folder a skill, and a manifest beside them.
//!
//! `agent-runner init` links each skill into `~/.claude/skills`, where agents look for them, if the container has the programs
//! that the skill asks for.

use serde::{Deserialize, Serialize};

/// The variable with the folder's path; absent: there are no skills.
pub const SKILLS_DIR: &str = "NANOCLAW_SKILLS_DIR";
/// The folder's path in a container that has a mount table of its own.
pub const GUEST_SKILLS_DIR: &str = "/workspace/skills";

/// What lies there, as JSON in [`Manifest::FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Manifest {
    /// In the order of their names.
    pub skills: Vec<ManifestSkill>,
}

/// One skill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestSkill {
    /// Its name, which is its folder's.
    pub name: String,
    /// When to use it, in one line.
    pub description: String,
    /// The programs without which it is of no use; empty: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
}

impl Manifest {
    /// The file's name in the folder.
    pub const FILE: &str = "skills.json";
}
