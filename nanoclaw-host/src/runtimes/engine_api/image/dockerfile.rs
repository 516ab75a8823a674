//! Builds by a Dockerfile, with the engine's own builder (the classic one: it needs no session beside the request), and the
//! flavours, which are built so. The name comes last: a build that breaks off, or whose host dies, leaves nothing that could
//! be taken for an image.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use bollard::{
    body_try_stream, errors::Error as EngineError, models::ImageInspect, query_parameters::BuildImageOptionsBuilder,
};
use futures_util::TryStreamExt as _;
use nanoclaw_core::{
    causes::with_causes,
    runtime::{ImageRef, RuntimeError},
};
use sha2::{Digest as _, Sha256};

use super::{
    super::{EngineRuntime, errors},
    BASE_LABEL, BUILD_WITHIN, Base, BuildError, BuildStep, CLAUDE_LABEL, FLAVOUR_LABEL, IMAGE_LABEL, LocalImage,
    RUNNER_LABEL, archive,
    archive::Entry,
    bring_in, listed,
    printed::{Printed, in_short},
    pull, short,
};
use crate::images::{
    BuildNetwork, BuildRequest, Content, ContextFile, Flavour, Found, ImageEngine, ImageError, Tell, advice,
    reason_in_words,
};

const DOCKERFILE: &str = "Dockerfile";

/// An image of a flavour to be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlavourBuild {
    /// Which.
    pub flavour: Flavour,
    /// Its name and tag; an image that has them now loses them.
    pub name: ImageRef,
    /// A Debian that it is made of.
    pub base: Base,
    /// Our static agent-runner.
    pub runner: PathBuf,
    /// The Claude Code program for Linux; `None`: the build fetches the version that is pinned.
    pub claude: Option<PathBuf>,
    /// Take nothing from earlier builds.
    pub anew: bool,
    /// The build's network.
    pub network: BuildNetwork,
}

/// Builds a flavour; `tell` hears how it goes, often.
///
/// # Errors
/// [`BuildError`]; an image of that name stays as it was.
pub async fn build_flavour(
    engine: &EngineRuntime,
    build: &FlavourBuild,
    tell: &Tell<'_>,
) -> Result<LocalImage, BuildError> {
    let docker = engine.docker.clone().with_timeout(BUILD_WITHIN);
    let runner = build.runner.clone();
    let hash = tokio::task::spawn_blocking(move || hash_of(&runner)).await;
    let hash = hash.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(BuildError::Unreadable)?;
    let base = bring_in(engine, &docker, &build.base, &|step: BuildStep| tell(&step.to_string())).await?;
    let mut labels = BTreeMap::from([
        (IMAGE_LABEL.to_owned(), "1".to_owned()),
        (BASE_LABEL.to_owned(), build.base.to_string()),
        (FLAVOUR_LABEL.to_owned(), build.flavour.to_string()),
        (RUNNER_LABEL.to_owned(), hash),
    ]);
    let program = |name: &str, path: &Path| ContextFile {
        path: name.to_owned(),
        mode: 0o755,
        content: Content::File(path.to_owned()),
    };
    let mut files = vec![program("agent-runner", &build.runner)];
    if build.flavour == Flavour::Full {
        labels.insert(CLAUDE_LABEL.to_owned(), "yes".to_owned());
        files.extend(build.claude.as_deref().map(|claude| program("claude", claude)));
    }
    let request = BuildRequest {
        name: build.name.clone(),
        what: format!("the flavour {}", build.flavour),
        mend: format!("nanoclaw image build --flavour {}", build.flavour),
        dockerfile: Flavour::DOCKERFILE.to_owned(),
        target: build.flavour.to_string(),
        files,
        arguments: BTreeMap::from([("BASE".to_owned(), base.image.clone())]),
        labels,
        anew: build.anew,
        network: build.network,
    };
    let built = ImageEngine::build(engine, &request, tell).await;
    base.let_go(&docker, built.is_ok()).await;
    built?;
    listed(engine, &build.name).await
}

/// The hash of a program, in hexadecimal digits. Blocking.
///
/// # Errors
/// When it cannot be read; the error names it.
pub(crate) fn hash_of(program: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(program).map_err(archive::named(program))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        let count = std::io::Read::read(&mut file, &mut piece).map_err(archive::named(program))?;
        if count == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&piece[..count]);
    }
}

#[async_trait]
impl ImageEngine for EngineRuntime {
    fn program(&self) -> &'static str {
        match self.dialect.kind() {
            nanoclaw_core::runtime::RuntimeKind::Podman => "podman",
            _ => "docker",
        }
    }

    async fn find(&self, image: &ImageRef) -> Result<Option<Found>, RuntimeError> {
        let Some(ImageInspect { id, repo_digests, .. }) = self.look_for_image(image).await? else { return Ok(None) };
        let id = id.ok_or_else(|| {
            let reason = format!("it gives no id for {image}");
            RuntimeError::Other { action: "look for the image", reason }
        })?;
        Ok(Some(Found { id, digests: repo_digests.unwrap_or_default() }))
    }

    async fn pull(&self, image: &ImageRef, tell: &Tell<'_>) -> Result<(), ImageError> {
        pull::pull(self, image, tell).await
    }

    async fn build(&self, request: &BuildRequest, tell: &Tell<'_>) -> Result<(), ImageError> {
        let docker = self.docker.clone().with_timeout(BUILD_WITHIN);
        let labels: HashMap<String, String> = request.labels.clone().into_iter().collect();
        let arguments: HashMap<String, String> = request.arguments.clone().into_iter().collect();
        let options = BuildImageOptionsBuilder::default()
            .dockerfile(DOCKERFILE)
            .t(request.name.as_str())
            .target(&request.target)
            .labels(&labels)
            .buildargs(&arguments)
            .nocache(request.anew)
            .rm(true)
            .forcerm(true);
        let options = match request.network.mode() {
            Some(mode) => options.networkmode(mode).build(),
            None => options.build(),
        };
        let context = archive::of_entries(entries(request));
        let total_bytes = context.total_bytes();
        let (pieces, outcome) = context.into_pieces();
        let printed = Mutex::new(Printed::default());
        let locked = || printed.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = docker.build_image(options, None, Some(body_try_stream(pieces))).try_for_each(async |info| {
            let lines: Vec<String> = info.stream.iter().flat_map(|piece| locked().take(piece)).collect();
            lines.iter().for_each(|line| tell(line));
            Ok(())
        });
        let handing_over = |bytes: u64| {
            if bytes < total_bytes {
                let (done, all) = (bytes >> 20, total_bytes.div_ceil(1 << 20));
                tell(&format!("handing over what goes in: {done} of {all} MiB"));
            }
        };
        let answers = outcome.alongside(answers, handing_over).await;
        if let Some(line) = locked().rest() {
            tell(&line);
        }
        let failed = |said: &str| {
            let last_lines = locked().last_lines();
            ImageError::BuildFailed {
                what: request.what.clone(),
                reason: in_short(&reason_in_words(said, locked().step())),
                advice: advice(&last_lines, request.network),
                last_lines,
                mend: request.mend.clone(),
            }
        };
        match answers {
            Err(error) => return Err(failed(&with_causes(&error))),
            Ok(Err(EngineError::DockerStreamError { error })) => return Err(failed(&error)),
            Ok(Err(EngineError::DockerResponseServerError { message, .. })) => return Err(failed(&message)),
            Ok(Err(error)) => return Err(self.error("build an image")(error).into()),
            Ok(Ok(())) => {}
        }
        // An engine may end its answer without a word about an error.
        match self.find(&request.name).await? {
            Some(_) => Ok(()),
            None => Err(failed("the engine reported no error and has no image")),
        }
    }
}

fn entries(request: &BuildRequest) -> Vec<Entry> {
    let file = |file: &ContextFile| Entry {
        path: file.path.clone(),
        mode: file.mode,
        user: 0,
        content: match &file.content {
            Content::Bytes(bytes) => archive::Content::Bytes(bytes.clone()),
            Content::File(path) => archive::Content::File(path.clone()),
        },
    };
    let dockerfile = Entry {
        path: DOCKERFILE.to_owned(),
        mode: 0o644,
        user: 0,
        content: archive::Content::Text(request.dockerfile.clone()),
    };
    std::iter::once(dockerfile).chain(request.files.iter().map(file)).collect()
}

/// Removes an image that was built here by its id or name; `false` when something still needs it.
///
/// # Errors
/// When the engine itself fails.
pub(crate) async fn remove_unused(engine: &EngineRuntime, image: &LocalImage) -> Result<bool, RuntimeError> {
    let options = bollard::query_parameters::RemoveImageOptionsBuilder::default().build();
    match engine.docker.remove_image(short(image.name.as_str()), Some(options), None).await {
        Ok(_) => Ok(true),
        Err(error) if errors::is_not_there(&error) => Ok(true),
        // Needed, or just being removed by somebody else; the next prune sees.
        Err(error) if errors::is_conflict(&error) || errors::message(&error).is_some() => Ok(false),
        Err(error) => Err(engine.error("remove an image")(error)),
    }
}

/// The bytes on disk of any image that the engine has; `None` when it has none of this name.
///
/// # Errors
/// When the engine itself fails.
pub(crate) async fn size_of(engine: &EngineRuntime, image: &ImageRef) -> Result<Option<u64>, RuntimeError> {
    let found = engine.look_for_image(image).await?;
    Ok(found.and_then(|found| u64::try_from(found.size?).ok()))
}
