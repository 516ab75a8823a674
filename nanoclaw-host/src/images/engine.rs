//! The boundary to whoever keeps images: finds, fetches and builds them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use nanoclaw_core::runtime::{ImageRef, RuntimeError, RuntimeKind};
use tokio::sync::OnceCell;

use super::{BuildNetwork, ImageError};
use crate::runtimes::engine_api::EngineRuntime;

/// Hears how something goes, a line each time.
pub type Tell<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// An image that an engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The engine's id, which stands for the content.
    pub id: String,
    /// The digests that registries know it by.
    pub digests: Vec<String>,
}

/// Something for the folder that a build sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// Its path there, without a leading slash.
    pub path: String,
    /// Permissions.
    pub mode: u32,
    /// What it is.
    pub content: Content,
}

/// What a file of a build is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// What is in this file when the build begins.
    File(PathBuf),
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRequest {
    /// What it gets as a name, when all of it is done.
    pub name: ImageRef,
    /// For people: "the image of family".
    pub what: String,
    /// The command that builds it.
    pub mend: String,
    /// The Dockerfile.
    pub dockerfile: String,
    /// The stage of it that is wanted; empty: the last.
    pub target: String,
    /// The files that it can copy.
    pub files: Vec<ContextFile>,
    /// Values for its `ARG`s.
    pub arguments: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Take nothing from earlier builds.
    pub anew: bool,
    /// Its network.
    pub network: BuildNetwork,
}

/// Keeps images.
#[async_trait]
pub trait ImageEngine: Send + Sync {
    /// The program that people use it by.
    fn program(&self) -> &'static str;

    /// The image of this name or id; `None` when it is not here.
    ///
    /// # Errors
    /// When the engine itself fails.
    async fn find(&self, image: &ImageRef) -> Result<Option<Found>, RuntimeError>;

    /// Fetches an image.
    ///
    /// # Errors
    /// [`ImageError::PullFailed`], or the engine's own.
    async fn pull(&self, image: &ImageRef, tell: &Tell<'_>) -> Result<(), ImageError>;

    /// Builds an image. Its name comes last: a build that breaks off leaves none.
    ///
    /// # Errors
    /// [`ImageError::BuildFailed`], or the engine's own.
    async fn build(&self, request: &BuildRequest, tell: &Tell<'_>) -> Result<(), ImageError>;
}

/// Gives the engine of a runtime.
#[async_trait]
pub trait Engines: Send + Sync {
    /// The engine that keeps the images of this runtime.
    ///
    /// # Errors
    /// When it does not answer.
    async fn of(&self, runtime: RuntimeKind) -> Result<Arc<dyn ImageEngine>, RuntimeError>;
}

/// The engines of this machine, connected to when they are needed.
#[derive(Default)]
pub struct LocalEngines {
    docker: OnceCell<Arc<dyn ImageEngine>>,
    podman: OnceCell<Arc<dyn ImageEngine>>,
}

#[async_trait]
impl Engines for LocalEngines {
    async fn of(&self, runtime: RuntimeKind) -> Result<Arc<dyn ImageEngine>, RuntimeError> {
        let cell = if runtime == RuntimeKind::Podman { &self.podman } else { &self.docker };
        // Its requests each make a connection of their own, so it goes on after a restart of the engine.
        let connect = || async {
            let engine = EngineRuntime::connect(runtime, &EngineRuntime::default_socket(runtime)).await?;
            Ok(Arc::new(engine) as Arc<dyn ImageEngine>)
        };
        cell.get_or_try_init(connect).await.cloned()
    }
}
