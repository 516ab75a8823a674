//! Where a group's image comes from, and what a name says about that.

use std::path::PathBuf;

use nanoclaw_core::runtime::ImageRef;

use crate::config::GroupSettings;

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pull {
    /// When it is not here.
    #[default]
    Missing,
    /// Before each run, at most once a minute; where the registry does not answer, what is here is used.
    Always,
    /// Never by us.
    Never,
}

/// The network that a build has. Agents' containers never have any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BuildNetwork {
    /// What the engine gives.
    #[default]
    Default,
    /// The machine's own, for where the engine's does not reach a name server.
    Host,
    /// None.
    None,
}

impl BuildNetwork {
    /// The engine's word for it; `None` where nothing is to be said.
    #[must_use]
    pub fn mode(self) -> Option<&'static str> {
        match self {
            Self::Default => None,
            Self::Host => Some("host"),
            Self::None => Some("none"),
        }
    }
}

/// Where a group's image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is the image of this name.
    Named(ImageRef),
    /// It is `base` with packages of its distribution added.
    Packages {
        /// The image that they are added to.
        base: ImageRef,
        /// Their names.
        packages: Vec<String>,
    },
    /// It is built by a Dockerfile.
    Dockerfile {
        /// What `NANOCLAW_BASE` stands for in it.
        base: ImageRef,
        /// The Dockerfile, or the folder that it is in.
        place: PathBuf,
    },
}

impl Source {
    /// What a group's settings come to.
    #[must_use]
    pub fn of(settings: &GroupSettings) -> Self {
        let base = settings.image.value.clone();
        if let Some(place) = &settings.dockerfile.value {
            return Self::Dockerfile { base, place: place.clone() };
        }
        if settings.packages.is_empty() {
            return Self::Named(base);
        }
        Self::Packages { base, packages: settings.packages.value.clone() }
    }

    /// Whether an image is built for the group alone.
    #[must_use]
    pub fn is_built(&self) -> bool {
        !matches!(self, Self::Named(_))
    }
}

/// Whether a name says which registry it is of, or by its digest what it is: only then is it fetched. A bare name such as
/// `nanoclaw-agent` is built here and in no registry, so whoever took it there would be trusted with the groups' folders.
#[must_use]
pub fn says_where_from(image: &ImageRef) -> bool {
    let name = image.as_str();
    let registry = name.split_once('/').is_some_and(|(first, _)| {
        (first.contains(['.', ':']) && first != "localhost") || first.starts_with("localhost:")
    });
    registry || digest_of(image).is_some()
}

/// The digest that a name is pinned to: `sha256:` and what follows.
#[must_use]
pub fn digest_of(image: &ImageRef) -> Option<&str> {
    image.as_str().split_once('@').map(|(_, digest)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_says_where_from_is_fetched() {
        let pinned = format!("debian@sha256:{}", "0".repeat(64));
        for name in ["ghcr.io/a/b", "127.0.0.1:5000/x:1", "docker.io/library/debian:12", "localhost:5000/x", &pinned] {
            assert!(says_where_from(&name.parse().unwrap()), "{name}");
        }
        for name in ["nanoclaw-agent:latest", "debian:12-slim", "someone/agent", "localhost/nanoclaw-agent"] {
            assert!(!says_where_from(&name.parse().unwrap()), "{name}");
        }
    }
}
