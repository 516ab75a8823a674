//! A group's image for one run: there, or on its way.

use std::time::Duration;

use nanoclaw_core::{
    group::Group,
    launch::LaunchError,
    runtime::{ImageRef, RuntimeKind},
};

use super::{HostLauncher, Machine, image_for};
use crate::images::{Obtained, Source};

/// A run waits no longer than this, since it has one of the few places for containers meanwhile. What takes longer goes on, and
/// the group's next try finds it done.
const PATIENCE: Duration = Duration::from_secs(3);

impl HostLauncher {
    /// Gets the image of the group's run.
    pub(super) async fn image_of(&self, group: &Group, machine: &Machine) -> Result<Obtained, LaunchError> {
        let settings = self.config.for_group(&group.folder);
        let source = Source::of(&settings);
        if matches!(machine.runtime, RuntimeKind::Sandbox | RuntimeKind::Fake) {
            let image: ImageRef = image_for(machine.runtime, &settings.image);
            return Ok(Obtained { image, remarks: without_images(&source).into_iter().collect() });
        }
        let obtained = self.images.for_group(&group.folder, &source, machine.runtime, PATIENCE).await;
        obtained.map_err(|error| LaunchError { reason: error.to_string(), retry: error.retry() })
    }

    /// The image that is built for the group, by the name that it has now; `None` when none is, or what it is built on is away.
    pub(super) async fn image_now(&self, group: &Group, machine: &Machine) -> Result<Option<ImageRef>, LaunchError> {
        let source = Source::of(&self.config.for_group(&group.folder));
        if !source.is_built() || matches!(machine.runtime, RuntimeKind::Sandbox | RuntimeKind::Fake) {
            return Ok(None);
        }
        let named = self.images.name_now(&source, machine.runtime).await;
        named.map_err(|error| LaunchError { reason: error.to_string(), retry: error.retry() })
    }
}

/// What is said where a group has packages or a Dockerfile and the runtime has no images.
pub(crate) fn without_images(source: &Source) -> Option<String> {
    let what = match source {
        Source::Named(_) => return None,
        Source::Packages { .. } => "packages",
        Source::Dockerfile { .. } => "dockerfile",
    };
    Some(format!(
        "`{what}` of nanoclaw.toml asks for an image of its own, and the sandbox has no images: the programs of this machine are \
         what it has; install them here, or set container.runtime to \"docker\" or \"podman\""
    ))
}
