//! Images for agents, built through the engine from what is at hand: no registry, no build front end.
//!
//! A base (an image, a root folder or an archive of one) gets the few things that every agent needs: a user, the folders
//! that mounts go to, and the Claude Code program if one is given. Nothing of the base is run. What runs a Dockerfile is in
//! `dockerfile`, what fetches from registries in `pull`; [`crate::images`] says when.

mod additions;
mod archive;
mod dockerfile;
mod printed;
mod pull;

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use bollard::{
    Docker, body_try_stream,
    models::{ContainerConfig, ContainerCreateBody, HostConfig},
    query_parameters::{
        CommitContainerOptionsBuilder, CreateContainerOptions, CreateImageOptionsBuilder, ListImagesOptionsBuilder,
        RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder, UploadToContainerOptionsBuilder,
    },
};
use futures_util::TryStreamExt;
use nanoclaw_core::{
    runtime::{ImageRef, RuntimeError},
    time::Timestamp,
};
use serde::Serialize;

use super::{EngineRuntime, errors};

/// On every image that was built here; its value is the version of what is added to a base.
pub const IMAGE_LABEL: &str = "dev.nanoclaw.image";
/// What the image was made from, for people.
pub const BASE_LABEL: &str = "dev.nanoclaw.base";
/// On images that bring the Claude Code program along.
pub const CLAUDE_LABEL: &str = "dev.nanoclaw.claude";

/// On images that are a flavour of ours: which.
pub const FLAVOUR_LABEL: &str = "dev.nanoclaw.flavour";
/// On images with our agent-runner in them: the hash of it.
pub const RUNNER_LABEL: &str = "dev.nanoclaw.runner";
/// On images that were built for a group: its folder.
pub const GROUP_LABEL: &str = "dev.nanoclaw.group-image";
/// On them as well: the home that they belong to.
pub const INSTALL_LABEL: &str = "dev.nanoclaw.group-image.home";

/// A gigabyte onto a slow disk takes minutes.
const BUILD_WITHIN: Duration = Duration::from_secs(3600);

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// An image that the engine has.
    Image(ImageRef),
    /// A folder with a whole root in it, such as debootstrap makes. Belonging to an ordinary user it belongs to root in the
    /// image.
    Folder(PathBuf),
    /// An archive of such a folder (tar, also compressed).
    Archive(PathBuf),
}

impl Base {
    /// Takes `text` for a folder or an archive when there is one of that name, else for an image.
    ///
    /// # Errors
    /// When it can be neither; the text says why.
    pub fn of(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(Self::Folder(path.to_owned())),
            Ok(_) => Ok(Self::Archive(path.to_owned())),
            Err(error) if text.starts_with(['/', '.', '~']) => Err(format!("{text}: {error}")),
            Err(_) => ImageRef::new(text).map(Self::Image).map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match self {
            Self::Image(image) => write!(f, "image {image}"),
            Self::Folder(path) => write!(f, "folder {}", name(path)),
            Self::Archive(path) => write!(f, "archive {}", name(path)),
        }
    }
}

/// An image to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// Its name and tag; an image that has them now loses them.
    pub name: ImageRef,
    /// From what.
    pub base: Base,
    /// The Claude Code program for Linux, which goes to `/usr/local/bin/claude`.
    pub claude: Option<PathBuf>,
}

/// What a build is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuildStep {
    /// Handing the base's files to the engine.
    Importing {
        /// Bytes handed over so far.
        bytes: u64,
    },
    /// Looking at what the base has.
    Reading,
    /// Handing over what is added.
    Adding {
        /// Bytes handed over so far.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The engine makes an image of it.
    Committing,
}

pub use dockerfile::{FlavourBuild, build_flavour};
pub(crate) use dockerfile::{hash_of, remove_unused, size_of};

impl fmt::Display for BuildStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: &u64| bytes.div_ceil(1 << 20);
        match self {
            Self::Importing { bytes } => write!(f, "importing the base: {} MiB", mib(bytes)),
            Self::Reading => f.write_str("looking at the base"),
            Self::Adding { bytes, total_bytes } => {
                write!(f, "adding the agent's files: {} of {} MiB", mib(bytes), mib(total_bytes))
            }
            Self::Committing => f.write_str("making the image"),
        }
    }
}

/// Why no image was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Something of the base, or the program, cannot be read; the error names it.
    #[error("cannot read {0}")]
    Unreadable(io::Error),
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] RuntimeError),
    /// What a Dockerfile asks for failed.
    #[error(transparent)]
    Image(#[from] crate::images::ImageError),
}

/// An image that was built here, by one of its names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocalImage {
    /// Its name, or its id when it lost its name to a newer one.
    pub name: ImageRef,
    /// The engine's id.
    pub id: String,
    /// When it was built.
    pub created_at: Timestamp,
    /// Its size, its base included.
    pub size_bytes: u64,
    /// What it was made from, as told at the time.
    pub base: Option<String>,
    /// Whether it brings the Claude Code program along.
    pub has_claude: bool,
    /// Which flavour of ours it is, if one.
    pub flavour: Option<String>,
    /// The hash of the agent-runner in it, if it has one.
    pub runner: Option<String>,
    /// The group that it was built for, and the home that this group is of.
    pub group: Option<(String, String)>,
}

/// Builds an image; `progress` hears what is going on, often.
///
/// # Errors
/// [`BuildError`]; nothing half-built is left, and an image of that name stays as it was.
pub async fn build(
    engine: &EngineRuntime,
    build: &Build,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Result<LocalImage, BuildError> {
    if let Some(claude) = &build.claude {
        // Before anything is imported.
        std::fs::File::open(claude).map_err(|error| BuildError::Unreadable(archive::named(claude)(error)))?;
    }
    let docker = engine.docker.clone().with_timeout(BUILD_WITHIN);
    let base = bring_in(engine, &docker, &build.base, progress).await?;
    let built = build_on(engine, &docker, &base.image, build, progress).await;
    base.let_go(&docker, built.is_ok()).await;
    built?;
    listed(engine, &build.name).await
}

/// An agent image that an engine was just asked for.
async fn listed(engine: &EngineRuntime, name: &ImageRef) -> Result<LocalImage, BuildError> {
    let all = list(engine).await?;
    all.into_iter().find(|image| same_name(&image.name, name)).ok_or_else(|| {
        let reason = format!("the engine took it and does not list {name}");
        RuntimeError::Other { action: "build the image", reason }.into()
    })
}

/// A base that the engine has.
struct BroughtIn {
    image: String,
    imported: bool,
}

async fn bring_in(
    engine: &EngineRuntime,
    docker: &Docker,
    base: &Base,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Result<BroughtIn, BuildError> {
    let archive = match base {
        Base::Image(image) => {
            nanoclaw_core::runtime::ContainerRuntime::ensure_image(engine, image).await?;
            return Ok(BroughtIn { image: image.to_string(), imported: false });
        }
        Base::Folder(folder) => archive::of_tree(folder.clone()),
        Base::Archive(path) => archive::of_archive(path.clone()),
    };
    Ok(BroughtIn { image: import(engine, docker, archive, progress).await?, imported: true })
}

impl BroughtIn {
    /// Nobody can name what was imported: with an image on top it goes when that goes, without it goes now.
    async fn let_go(self, docker: &Docker, was_built_on: bool) {
        if !self.imported {
            return;
        }
        let options = RemoveImageOptionsBuilder::default().build();
        let removed = docker.remove_image(&self.image, Some(options), None).await;
        if let (false, Err(error)) = (was_built_on, removed) {
            tracing::warn!(image = self.image, %error, "a failed build left its imported base behind");
        }
    }
}

/// The agent images that were built here, the newest first; not those of groups.
///
/// # Errors
/// Only when the engine itself fails.
pub async fn list(engine: &EngineRuntime) -> Result<Vec<LocalImage>, RuntimeError> {
    Ok(list_labelled(engine, IMAGE_LABEL).await?.into_iter().filter(|image| image.group.is_none()).collect())
}

/// The images that were built here for groups, the newest first.
///
/// # Errors
/// Only when the engine itself fails.
pub async fn list_of_groups(engine: &EngineRuntime) -> Result<Vec<LocalImage>, RuntimeError> {
    list_labelled(engine, GROUP_LABEL).await
}

async fn list_labelled(engine: &EngineRuntime, label: &str) -> Result<Vec<LocalImage>, RuntimeError> {
    let filters = HashMap::from([("label", vec![label])]);
    let options = ListImagesOptionsBuilder::default().filters(&filters).build();
    let all = engine.docker.list_images(Some(options)).await.map_err(engine.error("list the images"))?;
    let mut images: Vec<LocalImage> = all
        .into_iter()
        .flat_map(|image| {
            let names: Vec<&String> = image.repo_tags.iter().filter(|tag| !tag.contains("<none>")).collect();
            let names = if names.is_empty() { vec![&image.id] } else { names };
            let named = |name: &String| {
                Some(LocalImage {
                    name: ImageRef::new(short(name)).ok()?,
                    created_at: Timestamp::from_ms(image.created.saturating_mul(1000)),
                    size_bytes: u64::try_from(image.size).unwrap_or(0),
                    base: image.labels.get(BASE_LABEL).cloned(),
                    has_claude: image.labels.contains_key(CLAUDE_LABEL),
                    flavour: image.labels.get(FLAVOUR_LABEL).cloned(),
                    runner: image.labels.get(RUNNER_LABEL).cloned(),
                    group: image.labels.get(GROUP_LABEL).cloned().zip(image.labels.get(INSTALL_LABEL).cloned()),
                    id: image.id.clone(),
                })
            };
            names.into_iter().filter_map(named).collect::<Vec<_>>()
        })
        .collect();
    images.sort_by_key(|image| Reverse(image.created_at));
    Ok(images)
}

/// Removes the name, and the image when it has no other; fine when there is none.
///
/// # Errors
/// When a container uses it, or the engine fails.
pub async fn remove(engine: &EngineRuntime, name: &ImageRef) -> Result<(), RuntimeError> {
    let options = RemoveImageOptionsBuilder::default().build();
    match engine.docker.remove_image(name.as_str(), Some(options), None).await {
        Ok(_) => Ok(()),
        Err(error) if errors::is_not_there(&error) => Ok(()),
        Err(error) => Err(engine.error("remove the image")(error)),
    }
}

/// Imports a root as an image without a name; its id.
async fn import(
    engine: &EngineRuntime,
    docker: &Docker,
    archive: archive::Archive,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Result<String, BuildError> {
    const ACTION: &str = "import the base";
    let options = CreateImageOptionsBuilder::default().from_src("-").build();
    let (pieces, outcome) = archive.into_pieces();
    let answers = docker.create_image(Some(options), Some(body_try_stream(pieces)), None).try_collect::<Vec<_>>();
    let answers = outcome.alongside(answers, |bytes| progress(BuildStep::Importing { bytes })).await?;
    let answers = answers.map_err(engine.error(ACTION))?;
    let id = answers.into_iter().rev().find_map(|answer| answer.status.filter(|status| status.starts_with("sha256:")));
    id.ok_or_else(|| {
        let reason = "the engine gave no id for it".to_owned();
        RuntimeError::Other { action: ACTION, reason }.into()
    })
}

/// Puts what an agent needs on top of `base`, and gives the result its name.
async fn build_on(
    engine: &EngineRuntime,
    docker: &Docker,
    base: &str,
    build: &Build,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Result<(), BuildError> {
    let config = docker.inspect_image(base).await.map_err(engine.error("look at the base"))?.config.unwrap_or_default();
    let has_command = config.cmd.is_some_and(|cmd| !cmd.is_empty()) || config.entrypoint.is_some_and(|e| !e.is_empty());
    let mut labels =
        HashMap::from([(IMAGE_LABEL.to_owned(), "1".to_owned()), (BASE_LABEL.to_owned(), build.base.to_string())]);
    if build.claude.is_some() {
        labels.insert(CLAUDE_LABEL.to_owned(), "yes".to_owned());
    }
    // A container that is never started: its files are changed and become the image.
    let body = ContainerCreateBody {
        image: Some(base.to_owned()),
        cmd: (!has_command).then(|| vec!["/bin/sh".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    let created = docker.create_container(None::<CreateContainerOptions>, body).await;
    let id = created.map_err(engine.error("make a container of the base"))?.id;
    let committed = add_and_commit(engine, docker, &id, build, progress).await;
    let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    if let Err(error) = docker.remove_container(&id, Some(options)).await {
        tracing::warn!(container = id, %error, "a build left its container behind");
    }
    committed
}

async fn add_and_commit(
    engine: &EngineRuntime,
    docker: &Docker,
    container: &str,
    build: &Build,
    progress: &(dyn Fn(BuildStep) + Send + Sync),
) -> Result<(), BuildError> {
    progress(BuildStep::Reading);
    let additions = additions::for_base(docker, container, build.claude.as_deref())
        .await
        .map_err(engine.error("look at the base"))?;
    let archive = archive::of_entries(additions);
    let total_bytes = archive.total_bytes();
    let (pieces, outcome) = archive.into_pieces();
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let upload = docker.upload_to_container(container, Some(options), body_try_stream(pieces));
    let uploaded = outcome.alongside(upload, |bytes| progress(BuildStep::Adding { bytes, total_bytes })).await?;
    uploaded.map_err(engine.error("add the agent's files"))?;

    progress(BuildStep::Committing);
    let (repository, tag) = repository_and_tag(&build.name);
    let options =
        CommitContainerOptionsBuilder::default().container(container).repo(repository).tag(tag).pause(false).build();
    let committed = docker.commit_container(options, ContainerConfig::default()).await;
    committed.map_err(engine.error("make the image"))?;
    Ok(())
}

/// A name without a tag means the tag `latest`; a colon before the last slash belongs to a host's port.
fn repository_and_tag(name: &ImageRef) -> (&str, &str) {
    let name = short(name.as_str());
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (name, "latest"),
    }
}

fn same_name(listed: &ImageRef, asked: &ImageRef) -> bool {
    repository_and_tag(listed) == repository_and_tag(asked)
}

/// A name without the registry that nobody wrote: Podman puts one before every short name.
fn short(name: &str) -> &str {
    ["docker.io/library/", "localhost/"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_not_a_tag() {
        let parts = |text: &str| {
            let name = ImageRef::new(text).unwrap();
            let (repository, tag) = repository_and_tag(&name);
            format!("{repository} {tag}")
        };
        assert_eq!(parts("nanoclaw-agent"), "nanoclaw-agent latest");
        assert_eq!(parts("nanoclaw-agent:7"), "nanoclaw-agent 7");
        assert_eq!(parts("host:5000/agent"), "host:5000/agent latest");
        assert_eq!(parts("host:5000/agent:7"), "host:5000/agent 7");
        assert_eq!(parts("docker.io/library/agent:7"), "agent 7");
        assert_eq!(parts("localhost/agent"), "agent latest");
    }

    #[test]
    fn a_base_is_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.tar");
        std::fs::write(&file, "").unwrap();
        let of = |path: &Path| Base::of(path.to_str().unwrap());
        assert_eq!(of(folder.path()), Ok(Base::Folder(folder.path().to_owned())));
        assert_eq!(of(&file), Ok(Base::Archive(file.clone())));
        assert_eq!(Base::of("debian:12"), Ok(Base::Image(ImageRef::new("debian:12").unwrap())));
        assert!(of(&folder.path().join("missing")).is_err_and(|error| error.contains("missing")));
    }
}
