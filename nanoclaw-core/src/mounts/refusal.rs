//! Why a mount is refused, in words for people.

use std::{fmt, path::PathBuf};

use super::Guard;

/// Why a mount is refused. Shown as a sentence fragment that fits after "because".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no allowlist.
    NoAllowlist {
        /// Where it would be; `None` when nobody knows where the user's configuration is.
        file: Option<PathBuf>,
    },
    /// The allowlist cannot be used.
    BadAllowlist {
        /// What is wrong with it; names the file.
        reason: String,
    },
    /// There is nothing at the path, or it cannot be opened.
    NotThere {
        /// What the system says.
        reason: String,
    },
    /// The path is not one.
    BadPath {
        /// What is wrong with it.
        why: &'static str,
    },
    /// It cannot have that name inside.
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Another mount of the group has that name.
    NameTaken {
        /// The name.
        name: String,
    },
    /// It is neither a folder nor a regular file.
    NeitherFolderNorFile,
    /// A part of its path is on the list of what is never mounted.
    Blocked {
        /// The pattern.
        pattern: String,
        /// What of the path fits it.
        part: String,
        /// Whether the pattern is one of ours; else it is in the allowlist's `blockedPatterns`.
        built_in: bool,
    },
    /// It is, lies in or contains what is never shown.
    Guarded {
        /// What that is.
        what: Guard,
        /// Where that is.
        path: PathBuf,
    },
    /// It lies under none of the allowed roots.
    NotUnderAllowedRoot {
        /// Where it is, without links.
        path: PathBuf,
        /// The roots, as they were written.
        roots: Vec<String>,
    },
    /// What is to be hidden in it cannot be.
    CannotHide {
        /// Why.
        reason: String,
    },
    /// The runtime cannot give mounts of their own to containers.
    NoMounts,
}

impl Refusal {
    /// Its name, the same in every version.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoAllowlist { .. } => "no_allowlist",
            Self::BadAllowlist { .. } => "bad_allowlist",
            Self::NotThere { .. } => "not_there",
            Self::BadPath { .. } => "bad_path",
            Self::BadName { .. } => "bad_name",
            Self::NameTaken { .. } => "name_taken",
            Self::NeitherFolderNorFile => "neither_folder_nor_file",
            Self::Blocked { .. } => "blocked",
            Self::Guarded { what: Guard::Engine, .. } => "engine_socket",
            Self::Guarded { what: Guard::System, .. } => "system",
            Self::Guarded { .. } => "nanoclaws_own",
            Self::NotUnderAllowedRoot { .. } => "not_under_allowed_root",
            Self::CannotHide { .. } => "cannot_hide",
            Self::NoMounts => "no_mounts",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAllowlist { file: Some(file) } => {
                write!(
                    f,
                    "there is no allowlist, so none is allowed; `nanoclaw mounts allow` writes {}",
                    file.display()
                )
            }
            Self::NoAllowlist { file: None } => {
                f.write_str("neither HOME nor XDG_CONFIG_HOME is set, so no allowlist can be found")
            }
            Self::BadAllowlist { reason } => write!(f, "the allowlist cannot be used: {reason}"),
            Self::NotThere { reason } => write!(f, "it cannot be opened: {reason}"),
            Self::BadPath { why } => write!(f, "its path cannot be used: {why}"),
            Self::BadName { name, why } => write!(f, "{name:?} cannot be its name inside: {why}"),
            Self::NameTaken { name } => {
                write!(f, "another mount of this group has the name {name:?} inside; give one of them another")
            }
            Self::NeitherFolderNorFile => f.write_str("it is neither a folder nor a regular file"),
            Self::Blocked { pattern, part, built_in } => {
                let whose = if *built_in { "always blocked" } else { "blocked by the allowlist" };
                write!(f, "{part:?} in its path is {whose} (pattern {pattern:?})")
            }
            Self::Guarded { what, path } => {
                let what = match what {
                    Guard::Home => "NanoClaw's own home",
                    Guard::Private => "NanoClaw's security configuration",
                    Guard::Engine => "a container engine's socket, which gives everything on this machine,",
                    Guard::System => "the system's own",
                    Guard::Program => "the program",
                };
                write!(f, "{what} {} is it, lies in it or contains it", path.display())
            }
            Self::NotUnderAllowedRoot { path, roots } if roots.is_empty() => {
                write!(f, "{} is under no allowed root: the allowlist has none", path.display())
            }
            Self::NotUnderAllowedRoot { path, roots } => {
                write!(f, "{} is under no allowed root; there are {}", path.display(), roots.join(", "))
            }
            Self::CannotHide { reason } => write!(f, "secrets in it cannot be hidden: {reason}"),
            Self::NoMounts => f.write_str("this runtime gives containers no mounts of their own on this machine"),
        }
    }
}
