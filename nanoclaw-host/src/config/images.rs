//! `[images]`, and what a group's image has beyond the one that it begins with: packages, or a Dockerfile. Only the shape is
//! checked here; a Dockerfile is read when a run wants its image ([`crate::images`]).

use std::path::PathBuf;

use nanoclaw_core::group::GroupFolder;

use super::{
    GroupOverrides,
    mistake::{Mistake, Place},
    reader::{Reader, Section},
    setting::{Setting, Source},
    value::{self, Raw},
};
use crate::images::{BuildNetwork, Pull};

/// The most packages of one group.
const MOST_PACKAGES: usize = 200;

/// How images are got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesConfig {
    /// When images are fetched; default when they are missing.
    pub pull: Setting<Pull>,
    /// The network that builds have; default the engine's.
    pub build_network: Setting<BuildNetwork>,
}

impl ImagesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("images");
        let policies = [("missing", Pull::Missing), ("always", Pull::Always), ("never", Pull::Never)];
        let networks = [("default", BuildNetwork::Default), ("host", BuildNetwork::Host), ("none", BuildNetwork::None)];
        let config = Self {
            pull: section.read("pull", None, Pull::Missing, word(policies)),
            build_network: section.read("build_network", None, BuildNetwork::Default, word(networks)),
        };
        section.finish();
        config
    }
}

fn word<T: Copy + 'static>(words: [(&'static str, T); 3]) -> impl super::value::Rule<T> {
    let right = words.map(|(word, _)| format!("{word:?}")).join(" or ");
    move |raw| {
        let text = value::line(32)(raw).unwrap_or_default();
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| right.clone().into())
    }
}

/// The packages that a group's image has besides.
pub(super) fn packages(section: &mut Section<'_, '_>) -> Option<Setting<Vec<String>>> {
    let list = value::texts();
    section.lookup("packages", None, move |raw: &Raw<'_>| {
        const RIGHT: &str = r#"a list of packages such as ["ripgrep", "python3-requests"]"#;
        let names = list(raw).map_err(|_| RIGHT)?;
        if names.len() > MOST_PACKAGES {
            return Err(format!("a list of at most {MOST_PACKAGES} packages").into());
        }
        match names.iter().find(|name| !is_package(name)) {
            Some(_) => Err(format!("{RIGHT}, of letters, digits and . + - _ : ~ = alone").into()),
            None => Ok(names),
        }
    })
}

/// It becomes a word of a command, so it has nothing in it that means something to a shell or looks like an option.
fn is_package(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || ".+-_:~=".contains(c))
}

/// The Dockerfile that a group's image is built by.
pub(super) fn dockerfile(section: &mut Section<'_, '_>) -> Option<Setting<Option<PathBuf>>> {
    let (base, home) = section.path_bases();
    let path = value::path(base, home);
    section.lookup("dockerfile", None, move |raw: &Raw<'_>| path(raw).map(Some))
}

/// Every group that has both.
pub(super) fn check<'a>(groups: impl IntoIterator<Item = (&'a GroupFolder, &'a GroupOverrides)>) -> Vec<Mistake> {
    let both = |(folder, own): (&GroupFolder, &'a GroupOverrides)| {
        let packages = own.packages.as_ref().filter(|packages| !packages.is_empty())?;
        own.dockerfile.as_ref()?;
        let Source::File { file, line } = &packages.source else { return None };
        Some(Mistake {
            place: Place::Line { file: file.clone(), line: *line },
            key: Some(format!("groups.{folder}.packages")),
            message: format!(
                "groups.{folder} has packages and a dockerfile: install the packages in the Dockerfile, and take this line out"
            ),
        })
    };
    groups.into_iter().filter_map(both).collect()
}
