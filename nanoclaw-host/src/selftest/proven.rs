//! A runtime that starts nothing with a profile under which no canary has come back well.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use nanoclaw_core::{
    runtime::{
        AdoptedContainer, Capabilities, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerStats,
        ContainerSummary, HardeningProfile, ImageRef, InstallId, Limits, RuntimeError, RuntimeKind, StopOutcome,
        hardening::in_one_line,
    },
    time::Timestamp,
};

use super::{
    cache::{self, Cache},
    canary,
};

/// What canaries are sent with.
#[derive(Debug, Clone)]
pub struct Proof {
    /// Our agent-runner on this machine; `None`: there is none, so no canary and no container.
    pub runner: Option<PathBuf>,
    /// The profile of groups that do not say otherwise.
    pub profile: HardeningProfile,
    /// The image of groups that do not say otherwise.
    pub image: ImageRef,
    /// What was shown before.
    pub cache: Cache,
}

impl Proof {
    /// The general profile without the bounds that a runtime cannot enforce, which are either refused or left out before it comes
    /// to a container.
    #[must_use]
    pub fn profile_where(&self, capabilities: &Capabilities) -> HardeningProfile {
        let limits = self.profile.limits;
        let limits = Limits {
            memory_bytes: limits.memory_bytes.filter(|_| capabilities.memory_limit),
            pids: limits.pids.filter(|_| capabilities.pids_limit),
            milli_cpus: limits.milli_cpus.filter(|_| capabilities.cpu_limit),
        };
        HardeningProfile { limits, ..self.profile }
    }

    /// When a canary has shown the general profile before; `None` when none has.
    #[must_use]
    pub fn shown_at(&self, kind: RuntimeKind, capabilities: &Capabilities) -> Option<Timestamp> {
        let runner = self.runner.as_deref()?;
        let small = self.profile_where(capabilities).in_small();
        self.cache.shown_at(&cache::key(kind, &capabilities.description, &small, runner))
    }
}

/// Another runtime, with a canary before the first container of each profile. What it is asked beyond that is passed on.
pub struct ProvenRuntime {
    inner: Arc<dyn ContainerRuntime>,
    proof: Proof,
    /// What the runtime gives, once it was asked.
    capabilities: tokio::sync::Mutex<Option<Capabilities>>,
    /// Fingerprints of what was shown. Held while a canary is out, so that runs that start together wait for one.
    shown: tokio::sync::Mutex<HashSet<String>>,
}

impl ProvenRuntime {
    /// Makes one; nothing is started yet.
    #[must_use]
    pub fn new(inner: Arc<dyn ContainerRuntime>, proof: Proof) -> Self {
        Self { inner, proof, capabilities: tokio::sync::Mutex::default(), shown: tokio::sync::Mutex::default() }
    }

    /// Makes sure that a canary has shown isolation under such a profile, by sending one if none has.
    ///
    /// # Errors
    /// [`RuntimeError::NotEnforced`] with everything that it found missing, and what keeps a canary from being sent.
    async fn prove(&self, profile: &HardeningProfile, image: &ImageRef) -> Result<(), RuntimeError> {
        let small = profile.in_small();
        let fingerprint = small.fingerprint();
        let mut shown = self.shown.lock().await;
        if shown.contains(&fingerprint) {
            return Ok(());
        }
        let Some(runner) = &self.proof.runner else {
            return Err(RuntimeError::NotEnforced {
                what: "isolation, which no canary could show,".to_owned(),
                remedy: "there is no agent-runner on this machine; `cargo build --release -p agent-runner` builds it"
                    .to_owned(),
            });
        };
        let capabilities = self.capabilities().await?;
        let key = cache::key(self.inner.kind(), &capabilities.description, &small, runner);
        if self.proof.cache.shown_at(&key).is_none() {
            let report = canary::send(&*self.inner, &capabilities, profile, image, runner).await?;
            if !report.deviations.is_empty() {
                return Err(refusal(self.inner.kind(), &in_one_line(&report.deviations)));
            }
            tracing::info!(runtime = %self.inner.kind(), profile = %small, "a canary showed that isolation is in force");
            self.proof.cache.keep(key, Timestamp::now());
        }
        shown.insert(fingerprint);
        Ok(())
    }

    async fn capabilities(&self) -> Result<Capabilities, RuntimeError> {
        let mut known = self.capabilities.lock().await;
        if let Some(known) = &*known {
            return Ok(known.clone());
        }
        Ok(known.insert(self.inner.probe().await?).clone())
    }
}

/// What is said of a runtime that does not isolate.
#[must_use]
pub(crate) fn refusal(kind: RuntimeKind, found: &str) -> RuntimeError {
    RuntimeError::NotEnforced {
        what: format!("isolation in {kind}, as a canary found ({found}),"),
        remedy: format!(
            "mend that, or take another runtime; `nanoclaw selftest isolation --runtime {kind}` sends another canary"
        ),
    }
}

#[async_trait]
impl ContainerRuntime for ProvenRuntime {
    fn kind(&self) -> RuntimeKind {
        self.inner.kind()
    }

    /// The runtime's own, and a canary with the general profile where none has been before. A runtime that does not isolate is
    /// not available; one that could not be tried says so, and is tried before its first container.
    async fn probe(&self) -> Result<Capabilities, RuntimeError> {
        let mut capabilities = self.inner.probe().await?;
        *self.capabilities.lock().await = Some(capabilities.clone());
        let Proof { image, .. } = &self.proof;
        if self.proof.runner.is_none() || self.inner.ensure_image(image).await.is_err() {
            // Others say so, with what to do; nothing is started until then.
            return Ok(capabilities);
        }
        match self.prove(&self.proof.profile_where(&capabilities), image).await {
            Ok(()) => {}
            Err(error @ RuntimeError::NotEnforced { .. }) => return Err(error),
            Err(error) => capabilities.remarks.push(format!(
                "isolation was not shown yet, since no canary came back: {error}; nothing is started until one has"
            )),
        }
        Ok(capabilities)
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        self.inner.ensure_image(image).await
    }

    async fn image_id(&self, image: &ImageRef) -> Result<Option<String>, RuntimeError> {
        self.inner.image_id(image).await
    }

    async fn start(&self, spec: &ContainerSpec) -> Result<Container, RuntimeError> {
        self.prove(&spec.profile(), &spec.image).await?;
        self.inner.start(spec).await
    }

    async fn adopt(&self, id: &ContainerId) -> Result<AdoptedContainer, RuntimeError> {
        self.inner.adopt(id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<StopOutcome, RuntimeError> {
        self.inner.stop(id, grace).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.inner.remove(id).await
    }

    async fn list(&self, install: &InstallId) -> Result<Vec<ContainerSummary>, RuntimeError> {
        self.inner.list(install).await
    }

    async fn stats(&self, id: &ContainerId) -> Result<Option<ContainerStats>, RuntimeError> {
        self.inner.stats(id).await
    }
}
