//! The start of a container: created, inspected, its exit awaited, attached, started, in this order, so that neither its first
//! bytes nor its exit can be missed, and that nothing runs which is not confined as it was asked. And the attach to one that an earlier host started.

use std::path::Path;

use bollard::{
    errors::Error as EngineError,
    query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions},
};
use nanoclaw_core::runtime::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStdin, ExitWatch, Output, RuntimeError,
};
use tokio::sync::{mpsc, oneshot};

use super::{
    EngineRuntime,
    dialect::Dialect,
    errors, exit,
    spec::{self, ReadOnlyMounts},
    streams,
};

/// Pieces of output on their way to a reader, up to 32 KiB each.
const OUTPUT_QUEUE: usize = 64;
/// What a container is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To be used: everything that was asked for has to be in force.
    Run,
    /// To see which limits are: an engine that leaves one out is found by this, and is not refused for it.
    Look,
}

impl EngineRuntime {
    /// Starts `spec`; when a step fails, nothing of it is left.
    pub(super) async fn start_for(&self, spec: &ContainerSpec, purpose: Purpose) -> Result<Container, RuntimeError> {
        // In a worker of its own, so that a caller that gives up in the middle leaves no half-made container behind.
        let (answer, started) = oneshot::channel();
        let (engine, spec) = (self.clone(), spec.clone());
        tokio::spawn(async move {
            let result = engine.start_attached(&spec, purpose).await;
            if let Err(Ok(unwanted)) = answer.send(result)
                && let Err(error) = engine.remove(&unwanted.id).await
            {
                tracing::warn!(container = %unwanted.id, %error, "a start was given up and its container not removed");
            }
        });
        started.await.unwrap_or(Err(RuntimeError::Other {
            action: "start the container",
            reason: "its worker ended without an answer".to_owned(),
        }))
    }

    async fn start_attached(&self, spec: &ContainerSpec, purpose: Purpose) -> Result<Container, RuntimeError> {
        spec::check(spec, self.dialect)?;
        self.enforceable(&spec.limits)?;
        let _permit = self.starts.acquire().await.map_err(|_| RuntimeError::Other {
            action: "start the container",
            reason: "the runtime is shut down".to_owned(),
        })?;
        let id = self.create(spec).await?;
        match self.attach_and_start(spec, &id, purpose).await {
            Ok(container) => Ok(container),
            Err(error) => {
                if let Err(left) = self.remove(&id).await {
                    tracing::warn!(container = %id, error = %left, "a failed start left a container behind");
                }
                Err(error)
            }
        }
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, RuntimeError> {
        let options = CreateContainerOptionsBuilder::default().name(&spec.name).build();
        let mut body = spec::create_body(spec, self.read_only_mounts(), self.dialect, self.about.rootless);
        self.relabelling.apply(&mut body)?;
        if let Some(host_config) = &mut body.host_config {
            host_config.security_opt.get_or_insert_default().push(self.own_filter()?);
        }
        let one_at_a_time = match &self.creation {
            Some(creation) => Some(creation.lock().await),
            None => None,
        };
        let created = self.docker.create_container(Some(options), body).await;
        drop(one_at_a_time);
        let created = created.map_err(|error| {
            let said = errors::message(&error).unwrap_or_default().to_lowercase();
            match () {
                () if errors::is_not_there(&error) && said.contains("image") => {
                    RuntimeError::NoImage { image: spec.image.clone() }
                }
                () => bad_mount(spec, &error).unwrap_or_else(|| self.error("create the container")(error)),
            }
        })?;
        let id = ContainerId::new(created.id).map_err(|error| RuntimeError::Other {
            action: "create the container",
            reason: format!("its id cannot be one: {error}"),
        })?;
        // "Your kernel does not support … Limitation discarded."
        if let Some(warning) = created.warnings.iter().find(|warning| warning.contains("discarded")) {
            self.remove(&id).await?;
            return Err(RuntimeError::NotEnforced {
                what: warning.trim_end_matches('.').to_owned(),
                remedy: self.dialect.remedy_for_limits().to_owned(),
            });
        }
        for warning in &created.warnings {
            tracing::debug!(container = %id, %warning, "the engine warns");
        }
        Ok(id)
    }

    /// The option that has the engine take our filter on system calls.
    pub(super) fn own_filter(&self) -> Result<String, RuntimeError> {
        self.about.filter.option(self.dialect).map_err(|error| RuntimeError::Other {
            action: "write the filter on system calls",
            reason: error.to_string(),
        })
    }

    async fn attach_and_start(
        &self,
        spec: &ContainerSpec,
        id: &ContainerId,
        purpose: Purpose,
    ) -> Result<Container, RuntimeError> {
        self.check_created(spec, id, purpose).await?;
        // First, so that the request has the whole attach to get through before anything can end.
        let exit = self.watch_exit(id, exit::Of::Created);

        let options =
            AttachContainerOptionsBuilder::default().stream(true).stdin(true).stdout(true).stderr(true).build();
        let attached = self.docker.attach_container(id.as_str(), Some(options)).await;
        let attached = attached.map_err(|error| self.bad_start(spec, "attach to the container", error))?;
        let (stdin, input_gone) = streams::Input::new(attached.input);
        let (queue, output) = mpsc::channel(OUTPUT_QUEUE);
        // Ends by itself: with the output, with the exit, or when the container's streams are dropped.
        tokio::spawn(streams::pass_on(attached.output, queue, exit.clone(), input_gone));

        if self.dialect == Dialect::Podman {
            // Podman makes the container's first process, in its control group, when it is attached to.
            let found = self.docker.inspect_container(id.as_str(), None).await;
            self.watch_memory(id, found.ok().and_then(|found| found.state).and_then(|state| state.pid));
        }
        let started = self.docker.start_container(id.as_str(), None::<StartContainerOptions>).await;
        started.map_err(|error| self.bad_start(spec, "start the container", error))?;
        self.check_started(id).await?;
        Ok(Container { id: id.clone(), stdin: ContainerStdin::new(stdin), output, exit })
    }

    /// Listens to the standard error of a container that runs. `None` when the engine does not let us, which costs its log
    /// and nothing else.
    pub(super) async fn hear_errors(&self, id: &ContainerId, exit: &ExitWatch) -> Option<mpsc::Receiver<Output>> {
        let options = AttachContainerOptionsBuilder::default().stream(true).stderr(true).build();
        let attached = match self.docker.attach_container(id.as_str(), Some(options)).await {
            Ok(attached) => attached,
            // It may have ended meanwhile.
            Err(error) => {
                tracing::warn!(container = %id, %error, "what an adopted container writes to standard error is not heard");
                return None;
            }
        };
        let (queue, errors) = mpsc::channel(OUTPUT_QUEUE);
        // Nobody writes to it: the connection ends with the container, or when nobody listens any more.
        let (_, nobody_writes) = oneshot::channel();
        tokio::spawn(streams::pass_on(attached.output, queue, exit.clone(), nobody_writes));
        Some(errors)
    }

    fn bad_start(&self, spec: &ContainerSpec, action: &'static str, error: EngineError) -> RuntimeError {
        bad_mount(spec, &error).or_else(|| bad_command(spec, &error)).unwrap_or_else(|| self.error(action)(error))
    }

    fn read_only_mounts(&self) -> ReadOnlyMounts {
        let api = self.about.version.api_version.as_deref().unwrap_or_default();
        let kernel = self.about.info.kernel_version.as_deref().unwrap_or_default();
        ReadOnlyMounts::of(api, kernel)
    }
}

/// The mount that the engine complains about: its words name the path.
fn bad_mount(spec: &ContainerSpec, error: &EngineError) -> Option<RuntimeError> {
    let said = errors::message(error)?;
    if !said.contains("mount") {
        return None;
    }
    let named = |path: &Path| path.to_str().is_some_and(|path| said.contains(path));
    let mount =
        spec.mounts.iter().filter(|mount| named(&mount.source)).max_by_key(|mount| mount.source.as_os_str().len())?;
    Some(RuntimeError::BadMount { path: mount.source.clone(), reason: said.to_owned() })
}

/// What an engine says when the program is missing or is none.
fn bad_command(spec: &ContainerSpec, error: &EngineError) -> Option<RuntimeError> {
    const SAYINGS: [&str; 5] = [
        "no such file or directory",
        "executable file not found",
        "permission denied",
        "exec format error",
        "is a directory",
    ];
    let said = errors::message(error)?;
    let folded = said.to_lowercase();
    let about_exec = folded.contains("exec") || folded.contains("starting container process");
    let command = spec.command.first()?.as_str().to_owned();
    (about_exec && SAYINGS.iter().any(|saying| folded.contains(saying)))
        .then(|| RuntimeError::BadCommand { command, reason: said.to_owned() })
}
