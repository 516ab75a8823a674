//! Gets the image that a group's containers are made of: finds it, fetches it, or has it built.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use nanoclaw_core::{
    group::GroupFolder,
    runtime::{ImageRef, RuntimeError, RuntimeKind},
};

use super::{
    BuildNetwork, BuildRequest, Engines, Found, ImageEngine, ImageError, LocalEngines, Pull, Recipe, Source, Tell,
    Workshop, digest_of,
    recipe::{BASE_ARGUMENT, install_of},
    says_where_from, step_in_words, workshop,
};
use crate::{
    config::ImagesConfig,
    runtimes::engine_api::image::{GROUP_LABEL, INSTALL_LABEL},
};

/// How long what was fetched counts as new.
const NEW: Duration = Duration::from_secs(60);

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obtained {
    /// What to start.
    pub image: ImageRef,
    /// What somebody should know, a sentence each.
    pub remarks: Vec<String>,
}

/// The images of one home. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Images {
    engines: Arc<dyn Engines>,
    workshop: Workshop,
    home: PathBuf,
    pull: Pull,
    build_network: BuildNetwork,
}

impl Images {
    /// Of the home in this folder, kept by this machine's engines.
    #[must_use]
    pub fn new(home: &Path, config: &ImagesConfig) -> Self {
        let images = Self::with(home, *config.pull, Arc::new(LocalEngines::default()));
        Self { build_network: *config.build_network, ..images }
    }

    /// The same with other engines.
    #[must_use]
    pub fn with(home: &Path, pull: Pull, engines: Arc<dyn Engines>) -> Self {
        Self {
            engines,
            workshop: Workshop::default(),
            home: home.to_owned(),
            pull,
            build_network: BuildNetwork::Default,
        }
    }

    /// Makes sure that the image of a group's next run is there; waits for `patience` at most while it is being made. What is
    /// being made goes on meanwhile, and whoever asks next waits for the same.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn for_group(
        &self,
        group: &GroupFolder,
        source: &Source,
        runtime: RuntimeKind,
        patience: Duration,
    ) -> Result<Obtained, ImageError> {
        if let Source::Named(image) = source
            && (self.pull == Pull::Never || !says_where_from(image))
        {
            // The engine itself says when it is not there.
            return Ok(Obtained { image: image.clone(), remarks: Vec::new() });
        }
        let engine = self.engines.of(runtime).await?;
        let mut remarks = Vec::new();
        let image = match source {
            Source::Named(image) => {
                self.present(&engine, image, Fetch::WhereSaid, patience, &mut remarks).await?;
                image.clone()
            }
            Source::Packages { .. } | Source::Dockerfile { .. } => {
                let planned = self.plan(&engine, group, source, patience, &mut remarks).await?;
                let request = self.request(group, planned);
                if engine.find(&request.name).await?.is_none() {
                    self.build(&engine, request.clone(), patience, None).await?;
                }
                request.name
            }
        };
        Ok(Obtained { image, remarks })
    }

    /// The same, from the start and with all that is said about it: for a command. `anew` builds also what is there, and takes
    /// nothing from earlier builds.
    ///
    /// # Errors
    /// [`ImageError`].
    pub async fn build_for(
        &self,
        group: &GroupFolder,
        source: &Source,
        engine: Arc<dyn ImageEngine>,
        anew: bool,
        tell: Arc<Tell<'static>>,
    ) -> Result<(ImageRef, bool), ImageError> {
        const PATIENCE: Duration = Duration::from_secs(24 * 3600);
        let mut remarks = Vec::new();
        if let Source::Named(image) = source {
            self.present(&engine, image, Fetch::WhereSaid, PATIENCE, &mut remarks).await?;
            return Ok((image.clone(), false));
        }
        let planned = self.plan(&engine, group, source, PATIENCE, &mut remarks).await?;
        for remark in remarks {
            tell(&remark);
        }
        let request = BuildRequest { anew, ..self.request(group, planned) };
        if !anew && engine.find(&request.name).await?.is_some() {
            return Ok((request.name, false));
        }
        self.build(&engine, request.clone(), PATIENCE, Some(tell)).await?;
        Ok((request.name, true))
    }

    /// The name of the image that a group's next run takes, without making anything; `None` when what it is built on is not here.
    ///
    /// # Errors
    /// [`ImageError::BadRecipe`], or the engine's own.
    pub async fn name_for(&self, source: &Source, engine: &dyn ImageEngine) -> Result<Option<ImageRef>, ImageError> {
        let Some(recipe) = self.read(source).await? else {
            let Source::Named(image) = source else { return Ok(None) };
            return Ok(Some(image.clone()));
        };
        let mut ids = BTreeMap::new();
        for base in recipe.bases() {
            let Some(found) = engine.find(&base).await? else { return Ok(None) };
            ids.insert(base, found.id);
        }
        Ok(Some(recipe.name(&ids, &install_of(&self.home))))
    }

    /// The name that a group's next run's image has now, as [`name_for`](Self::name_for) says it.
    ///
    /// # Errors
    /// The same.
    pub async fn name_now(&self, source: &Source, runtime: RuntimeKind) -> Result<Option<ImageRef>, ImageError> {
        let engine = self.engines.of(runtime).await?;
        self.name_for(source, &*engine).await
    }

    /// What failed lately is tried again when it is wanted next: somebody says that it is worth a try.
    pub fn forget_failures(&self) {
        self.workshop.forget_failures();
    }

    /// What tells the images of this home from those of another.
    #[must_use]
    pub fn install(&self) -> String {
        install_of(&self.home)
    }

    async fn read(&self, source: &Source) -> Result<Option<Recipe>, ImageError> {
        let (home, wanted) = (self.home.clone(), source.clone());
        tokio::task::spawn_blocking(move || Recipe::read(&wanted, &home)).await.unwrap_or_else(|error| {
            let reason = format!("reading what the image is made of ended: {error}");
            Err(RuntimeError::Other { action: "make an image ready", reason }.into())
        })
    }

    /// Reads the recipe, and has what it is built on here.
    async fn plan(
        &self,
        engine: &Arc<dyn ImageEngine>,
        group: &GroupFolder,
        source: &Source,
        patience: Duration,
        remarks: &mut Vec<String>,
    ) -> Result<Planned, ImageError> {
        let recipe = self.read(source).await?;
        let recipe = recipe.ok_or_else(|| {
            let reason = format!("the image of {group} is not one that is built");
            ImageError::from(RuntimeError::Other { action: "make an image ready", reason })
        })?;
        let mut ids = BTreeMap::new();
        for base in recipe.bases() {
            // A Dockerfile of the operator's means by a bare name what it means to the engine; the group's own image does not.
            let fetch = if base == recipe.base { Fetch::WhereSaid } else { Fetch::Any };
            let id = self.present(engine, &base, fetch, patience, remarks).await?;
            ids.insert(base, id);
        }
        let name = recipe.name(&ids, &install_of(&self.home));
        Ok(Planned { base_id: ids.get(&recipe.base).cloned(), recipe, name })
    }

    fn request(&self, group: &GroupFolder, planned: Planned) -> BuildRequest {
        let Planned { recipe, name, base_id } = planned;
        let mut arguments = BTreeMap::new();
        if recipe.asks_for_base() {
            // By its id: its name may mean another image by the time the engine looks.
            arguments.insert(BASE_ARGUMENT.to_owned(), base_id.unwrap_or_else(|| recipe.base.to_string()));
        }
        BuildRequest {
            name,
            what: format!("the image of {group}"),
            mend: format!("nanoclaw image build --group {group}"),
            dockerfile: recipe.dockerfile,
            target: String::new(),
            files: recipe.files,
            arguments,
            labels: BTreeMap::from([
                (GROUP_LABEL.to_owned(), group.to_string()),
                (INSTALL_LABEL.to_owned(), install_of(&self.home)),
            ]),
            anew: false,
            network: self.build_network,
        }
    }

    async fn build(
        &self,
        engine: &Arc<dyn ImageEngine>,
        request: BuildRequest,
        patience: Duration,
        tell: Option<Arc<Tell<'static>>>,
    ) -> Result<(), ImageError> {
        let engine = engine.clone();
        let (key, what) = (request.name.to_string(), request.what.clone());
        let make = move |steps: workshop::Steps| {
            async move {
                tracing::info!(image = %request.name, "building {}", request.what);
                let tell = |line: &str| {
                    if let Some(tell) = &tell {
                        tell(line);
                    }
                    // The log hears the steps, and not all that they print.
                    if let Some(step) = step_in_words(line) {
                        tracing::info!(image = %request.name, "{step}");
                        steps.send_replace(step);
                    }
                };
                let built = engine.build(&request, &tell).await;
                match &built {
                    Ok(()) => tracing::info!(image = %request.name, "built {}", request.what),
                    Err(error) => tracing::error!(image = %request.name, "{error}"),
                }
                built
            }
            .boxed()
        };
        // Whether it is there says the engine: somebody may have removed it since.
        self.workshop.made(&key, &what, Duration::ZERO, patience, make).await
    }

    /// Has `image` here, and says its id.
    async fn present(
        &self,
        engine: &Arc<dyn ImageEngine>,
        image: &ImageRef,
        fetch: Fetch,
        patience: Duration,
        remarks: &mut Vec<String>,
    ) -> Result<String, ImageError> {
        let found = engine.find(image).await?;
        if let Some(found) = &found {
            check_digest(found, image)?;
        }
        let may_fetch = fetch == Fetch::Any || says_where_from(image);
        // What is pinned and here is what it is.
        let wants = match self.pull {
            Pull::Never => false,
            Pull::Missing => found.is_none(),
            Pull::Always => found.is_none() || digest_of(image).is_none(),
        };
        if !may_fetch || !wants {
            return match found {
                Some(found) => Ok(found.id),
                None if may_fetch => Err(ImageError::NotFetched { image: image.clone(), engine: engine.program() }),
                None => Err(RuntimeError::NoImage { image: image.clone() }.into()),
            };
        }
        match (self.fetch(engine, image, patience).await, found) {
            (Ok(()), _) => {}
            // There, if not new: the group is answered, and somebody is told.
            (Err(error @ (ImageError::PullFailed { .. } | ImageError::InProgress { .. })), Some(found)) => {
                if matches!(error, ImageError::PullFailed { .. }) {
                    remarks.push(format!("{error}. The one that is here is used."));
                }
                return Ok(found.id);
            }
            (Err(error), _) => return Err(error),
        }
        match engine.find(image).await? {
            Some(found) => check_digest(&found, image).map(|()| found.id),
            None => {
                let reason = "the engine reported no error and does not have it".to_owned();
                Err(ImageError::PullFailed { image: image.clone(), reason, engine: engine.program() })
            }
        }
    }

    async fn fetch(
        &self,
        engine: &Arc<dyn ImageEngine>,
        image: &ImageRef,
        patience: Duration,
    ) -> Result<(), ImageError> {
        let (engine, wanted) = (engine.clone(), image.clone());
        let make = move |steps: workshop::Steps| {
            async move {
                tracing::info!(image = %wanted, "fetching an image");
                let tell = |line: &str| {
                    steps.send_replace(line.to_owned());
                };
                let fetched = engine.pull(&wanted, &tell).await;
                match &fetched {
                    Ok(()) => tracing::info!(image = %wanted, "fetched"),
                    Err(error) => tracing::error!(image = %wanted, "{error}"),
                }
                fetched
            }
            .boxed()
        };
        self.workshop.made(&format!("fetch {image}"), &format!("the image {image}"), NEW, patience, make).await
    }
}

struct Planned {
    recipe: Recipe,
    name: ImageRef,
    base_id: Option<String>,
}

/// What may be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    /// What says where from.
    WhereSaid,
    /// A bare name too, as the engine understands it.
    Any,
}

/// Engines check what they fetch; this is looked at all the same, since it is what a pin is for.
fn check_digest(found: &Found, image: &ImageRef) -> Result<(), ImageError> {
    let Some(digest) = digest_of(image) else { return Ok(()) };
    if found.digests.iter().any(|known| known.rsplit_once('@').is_some_and(|(_, known)| known == digest)) {
        return Ok(());
    }
    Err(ImageError::WrongDigest { image: image.clone(), found: found.digests.join(", ") })
}

#[cfg(test)]
mod tests;
