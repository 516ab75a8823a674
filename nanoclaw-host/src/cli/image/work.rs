//! What the commands about images do.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use nanoclaw_core::{group::GroupFolder, runtime::ImageRef};

use super::ImageView;
use crate::{
    cli::{failure::with_help, parts},
    config::{Config, ProcessEnvironment},
    home::Home,
    images::{Flavour, GROUP_REPOSITORY, ImageEngine, Images, Source, Tell},
    programs::{self, Linkage, Purpose},
    runtimes::engine_api::{
        EngineRuntime,
        image::{self, LocalImage},
    },
};

/// Debians that a flavour is made of, in the order in which they are looked for.
const DEBIANS: [&str; 4] = ["debian:12-slim", "debian:bookworm-slim", "debian:12", "debian:bookworm"];

/// A flavour to be built.
pub(super) struct FlavourWanted {
    pub(super) flavour: Flavour,
    pub(super) name: ImageRef,
    pub(super) base: Option<String>,
    pub(super) claude: Option<PathBuf>,
    pub(super) anew: bool,
}

pub(super) async fn build_flavour(
    config: &Config,
    wanted: FlavourWanted,
    tell: &Tell<'_>,
) -> anyhow::Result<LocalImage> {
    let FlavourWanted { flavour, name, base, claude, anew } = wanted;
    let runner = static_runner(config)?;
    if let Some(claude) = &claude {
        std::fs::File::open(claude)
            .map_err(|error| with_help(format!("cannot read {}: {error}", claude.display()), "correct --claude"))?;
    }
    let engine = parts::engine(config).await?;
    let base = parts::base_of(base.as_deref(), &engine, &DEBIANS).await?;
    let network = *config.images.build_network;
    let build = image::FlavourBuild { flavour, name, base, runner, claude, anew, network };
    image::build_flavour(&engine, &build, tell).await.map_err(|error| parts::with_remedy(error, &build.base))
}

/// Our agent-runner for an image that may have no libraries.
fn static_runner(config: &Config) -> anyhow::Result<PathBuf> {
    const HELP: &str = "`cargo static-runner` makes one that runs in any image";
    let runner = programs::runner(&config.agent, Purpose::AnyImage, &ProcessEnvironment);
    let runner = runner.ok_or_else(|| with_help("there is no agent-runner beside nanoclaw or on the PATH", HELP))?;
    let shown = runner.display();
    match programs::linkage(&runner) {
        Ok(Linkage::Static) => Ok(runner),
        Ok(Linkage::Dynamic) => Err(with_help(format!("{shown} is not static"), HELP)),
        Err(reason) => Err(with_help(format!("{shown} {reason}"), HELP)),
    }
}

/// The image of a group, and whether it is a new one.
pub(super) async fn build_for_group(
    home: &Home,
    config: &Config,
    group: &GroupFolder,
    anew: bool,
    tell: Arc<Tell<'static>>,
) -> anyhow::Result<(ImageRef, bool)> {
    let source = Source::of(&config.for_group(group));
    let engine: Arc<dyn ImageEngine> = Arc::new(parts::engine(config).await?);
    let images = Images::new(home.root(), &config.images);
    let built = images.build_for(group, &source, engine.clone(), anew, tell).await?;
    if !source.is_built() && engine.find(&built.0).await?.is_none() {
        return Err(with_help(format!("there is no image {}", built.0), "`nanoclaw image build` builds it"));
    }
    Ok(built)
}

/// Bytes on disk.
pub(super) async fn size_of(config: &Config, image: &ImageRef) -> anyhow::Result<Option<u64>> {
    Ok(image::size_of(&parts::engine(config).await?, image).await?)
}

/// The images that were built here, and those that groups are to have, there or not.
pub(super) async fn list(home: &Home, config: &Config) -> anyhow::Result<Vec<ImageView>> {
    let engine = parts::engine(config).await?;
    let users = users(home, config, &engine).await;
    let ours = Images::new(home.root(), &config.images).install();
    let of_groups = image::list_of_groups(&engine).await?;
    let of_groups = of_groups.into_iter().filter(|image| image.group.as_ref().is_some_and(|(_, home)| *home == ours));
    let view = |image: LocalImage| ImageView {
        configured: image.name == config.container.image.value,
        used_by: users.get(&image.name).cloned().unwrap_or_default(),
        flavour: if image.group.is_some() { Some("group".to_owned()) } else { image.flavour },
        name: image.name.to_string(),
        size_bytes: Some(image.size_bytes),
        created_at_ms: Some(image.created_at),
        has_claude: image.has_claude,
    };
    let mut views: Vec<ImageView> = image::list(&engine).await?.into_iter().chain(of_groups).map(view).collect();
    for (name, used_by) in
        users.iter().filter(|(name, _)| !views.iter().any(|view| view.name == name.as_str())).collect::<Vec<_>>()
    {
        let size_bytes = image::size_of(&engine, name).await?;
        views.push(ImageView {
            name: name.to_string(),
            size_bytes,
            created_at_ms: None,
            flavour: name.as_str().starts_with(GROUP_REPOSITORY).then(|| "group".to_owned()),
            has_claude: false,
            configured: *name == config.container.image.value,
            used_by: used_by.clone(),
        });
    }
    Ok(views)
}

/// What came of removing what nothing uses.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    pub(super) removed: Vec<LocalImage>,
    pub(super) kept: Vec<ImageRef>,
}

pub(super) async fn prune(home: &Home, config: &Config) -> anyhow::Result<Pruned> {
    let engine = parts::engine(config).await?;
    let users = users(home, config, &engine).await;
    let ours = Images::new(home.root(), &config.images).install();
    // Groups' images first: they keep what they were built on.
    let old = image::list_of_groups(&engine).await?.into_iter().filter(|image| {
        let of_this_home = image.group.as_ref().is_some_and(|(_, home)| *home == ours);
        of_this_home && (is_unnamed(image) || !users.contains_key(&image.name))
    });
    let unnamed = image::list(&engine).await?.into_iter().filter(is_unnamed);
    let mut pruned = Pruned::default();
    for image in old.chain(unnamed) {
        match image::remove_unused(&engine, &image).await? {
            true => pruned.removed.push(image),
            false => pruned.kept.push(image.name),
        }
    }
    Ok(pruned)
}

/// An image that lost its name to a newer one is listed by its id.
fn is_unnamed(image: &LocalImage) -> bool {
    image.name.as_str() == image.id
}

/// The images that groups' next runs take, with the groups that have a table of their own. One whose recipe cannot be read has
/// none; `nanoclaw doctor` says why.
async fn users(home: &Home, config: &Config, engine: &EngineRuntime) -> BTreeMap<ImageRef, Vec<GroupFolder>> {
    let images = Images::new(home.root(), &config.images);
    let mut users = BTreeMap::<ImageRef, Vec<GroupFolder>>::new();
    users.insert(config.container.image.value.clone(), Vec::new());
    for group in config.groups.keys() {
        let source = Source::of(&config.for_group(group));
        if let Ok(Some(name)) = images.name_for(&source, engine).await {
            users.entry(name).or_default().push(group.clone());
        }
    }
    users
}
