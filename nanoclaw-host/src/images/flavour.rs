//! The two images that come with this program, from one Dockerfile.

use std::fmt;

/// What an agent image has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Our agent-runner, a shell with the usual tools, git and curl; for the providers native and offline
    Slim,
    /// The Claude Code program, Python, Node.js, build tools and a package manager besides
    Full,
}

impl Flavour {
    /// The Dockerfile that both are stages of.
    pub const DOCKERFILE: &'static str = include_str!("../../../agent-runner/image/Dockerfile");

    /// The stage of the Dockerfile, which is also the word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slim => "slim",
            Self::Full => "full",
        }
    }

    /// The size that it keeps below, in bytes.
    #[must_use]
    pub fn budget_bytes(self) -> u64 {
        match self {
            Self::Slim => 60_000_000,
            Self::Full => 1_500_000_000,
        }
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
