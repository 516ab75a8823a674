//! Fetches an image from its registry through the engine, which checks what it gets against its digest.

use std::collections::HashMap;

use bollard::{errors::Error as EngineError, query_parameters::CreateImageOptionsBuilder};
use futures_util::TryStreamExt as _;
use nanoclaw_core::runtime::ImageRef;

use super::{super::EngineRuntime, BUILD_WITHIN, repository_and_tag};
use crate::images::{ImageEngine, ImageError, Tell};

/// Fetches `image`; `tell` hears how much of it is here.
pub(super) async fn pull(engine: &EngineRuntime, image: &ImageRef, tell: &Tell<'_>) -> Result<(), ImageError> {
    let (repository, tag) = match image.as_str().split_once('@') {
        // With a digest the tag says nothing.
        Some((name, digest)) => {
            let name: ImageRef = name.parse().unwrap_or_else(|_| image.clone());
            (repository_and_tag(&name).0.to_owned(), digest.to_owned())
        }
        // Never without a tag: that would fetch all there are.
        None => {
            let (repository, tag) = repository_and_tag(image);
            (repository.to_owned(), tag.to_owned())
        }
    };
    let docker = engine.docker.clone().with_timeout(BUILD_WITHIN);
    let options = CreateImageOptionsBuilder::default().from_image(&repository).tag(&tag).build();
    let mut layers = HashMap::<String, (i64, i64)>::new();
    let answers = docker.create_image(Some(options), None, None);
    let fetched = answers
        .try_for_each(|answer| {
            let is_download = answer.status.as_deref() == Some("Downloading");
            if let (Some(layer), Some(progress), true) = (answer.id, answer.progress_detail, is_download) {
                layers.insert(layer, (progress.current.unwrap_or(0), progress.total.unwrap_or(0)));
                let mib = |bytes: i64| bytes >> 20;
                let done: i64 = layers.values().map(|(current, _)| current).sum();
                let all: i64 = layers.values().map(|(_, total)| total).sum();
                tell(&format!("fetching {image}: {} of {} MiB so far", mib(done), mib(all)));
            } else if let Some(status) = answer.status {
                tell(&format!("fetching {image}: {}", status.chars().filter(|c| !c.is_control()).collect::<String>()));
            }
            std::future::ready(Ok(()))
        })
        .await;
    let failed = |reason: String| ImageError::PullFailed { image: image.clone(), reason, engine: engine.program() };
    match fetched {
        Ok(()) => Ok(()),
        Err(EngineError::DockerStreamError { error }) => Err(failed(error)),
        Err(EngineError::DockerResponseServerError { message, .. }) => Err(failed(message)),
        Err(error) => Err(engine.error("fetch an image")(error).into()),
    }
}
