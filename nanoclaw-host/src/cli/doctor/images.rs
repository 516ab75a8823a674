//! What `doctor` says of images beyond that the configured one is there: whether the agent-runner in it is this host's, and how
//! the images of groups stand.

use nanoclaw_core::runtime::{ImageRef, RuntimeKind};

use super::Check;
use crate::{
    config::Config,
    home::Home,
    images::{Engines as _, Images, LocalEngines, Source},
    launcher::images::without_images,
    programs::{self, Purpose},
    runtimes::engine_api::{EngineRuntime, image},
};

const NAME: &str = "group-images";

/// How the images of groups stand that have packages or a Dockerfile.
pub(super) async fn of_groups(home: &Home, config: &Config, runtime: Option<RuntimeKind>) -> Check {
    let own: Vec<_> = config
        .groups
        .keys()
        .map(|group| (group, Source::of(&config.for_group(group))))
        .filter(|(_, source)| source.is_built())
        .collect();
    if own.is_empty() {
        return Check::ok(NAME, "no group has packages or a dockerfile");
    }
    let Some(runtime) = runtime else { return Check::skipped(NAME, "there is no runtime") };
    if let (RuntimeKind::Sandbox | RuntimeKind::Fake, Some(told)) = (runtime, without_images(&own[0].1)) {
        let groups: Vec<String> = own.iter().map(|(group, _)| group.to_string()).collect();
        return Check::warning(NAME, groups.join(", "), told);
    }
    let engine = match LocalEngines::default().of(runtime).await {
        Ok(engine) => engine,
        Err(error) => return Check::skipped(NAME, error.to_string()),
    };
    let images = Images::new(home.root(), &config.images);
    let (mut wrong, mut missing) = (Vec::new(), Vec::new());
    for (group, source) in &own {
        match images.name_for(source, &*engine).await {
            Err(error) => wrong.push(format!("{group}: {error}")),
            Ok(None) => missing.push((*group).clone()),
            Ok(Some(name)) => match engine.find(&name).await {
                Ok(Some(_)) => {}
                Ok(None) => missing.push((*group).clone()),
                Err(error) => wrong.push(format!("{group}: {error}")),
            },
        }
    }
    if !wrong.is_empty() {
        return Check::failed(NAME, wrong.join("; "), "docs/images.md says what a Dockerfile may be");
    }
    if let Some(first) = missing.first() {
        let all = missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let detail = format!("not built yet, or something of them has changed: {all}; each is built at its next run");
        return Check::warning(NAME, detail, format!("`nanoclaw image build --group {first}` builds it now"));
    }
    Check::ok(NAME, format!("{} there, as the configuration has them now", own.len()))
}

/// Why the image is older than this host's agent-runner; `None` when it is not, or has none of ours in it.
pub(super) async fn outdated(config: &Config, runtime: RuntimeKind, name: &ImageRef) -> Option<String> {
    let runner = programs::runner(&config.agent, Purpose::AnyImage, &crate::config::ProcessEnvironment)?;
    let engine = EngineRuntime::connect(runtime, &EngineRuntime::default_socket(runtime)).await.ok()?;
    let found = image::list(&engine).await.ok()?.into_iter().find(|image| image.name == *name)?;
    let (inside, flavour) = (found.runner?, found.flavour.unwrap_or_default());
    let ours = tokio::task::spawn_blocking(move || image::hash_of(&runner)).await.ok()?.ok()?;
    (inside != ours).then(|| {
        format!(
            "{name} is there, and the agent-runner in it is another than this host's, which is mounted over it: it matters to \
             nobody but other hosts; `nanoclaw image build --flavour {flavour}` brings it up to date"
        )
    })
}
