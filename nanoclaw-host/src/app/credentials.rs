//! Keeps a running service on the latest credentials: the gateway adds what is configured now, and groups that waited for a
//! login are tried at once.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use jiff::tz::TimeZone;
use nanoclaw_core::{
    causes::with_causes,
    clock::WallClock as _,
    delivery::{DeliveryKey, NewDelivery},
    group::GroupRole,
    orchestrator::Orchestrator,
    protocol::environment::ModelAuth,
    secret::Secret,
    store::{Store, StoreError},
    time::Timestamp,
};
use tokio::sync::Notify;

use crate::{
    admin::types::{CheckOutcome, CredentialCheck, CredentialsView},
    config::Config,
    credentials::{Ask, CredentialKind, Credentials, watch::FileWatch},
    gateway::{self, Checked, Gateway, Upstream},
    panics::{FAULT_PAUSE, caught},
    wall_clock::SystemClock,
};

/// How long after its failure the command is asked again.
const COMMAND_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How long after its failure the watch for changes is tried again.
const WATCH_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// The model API as it is configured, with the credential as it is now.
pub(crate) fn upstream(config: &Config) -> Upstream {
    Upstream::new(config.model.base_url.as_str(), on_the_wire(&config.credentials))
}

fn on_the_wire(credentials: &Credentials) -> Option<gateway::Credential> {
    credentials.model().map(|credential| presented(credential.kind, credential.secret))
}

fn presented(kind: CredentialKind, secret: Secret) -> gateway::Credential {
    match kind {
        CredentialKind::ApiKey => gateway::Credential::ApiKey(secret),
        CredentialKind::OAuthToken | CredentialKind::AuthToken => gateway::Credential::Bearer(secret),
    }
}

/// How long the model API may take to say whether it takes the credential.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// Asks the model API whether it takes the credential, on the way that agents' requests take.
pub(crate) async fn check(gateway: &Gateway, credentials: &Credentials) -> CredentialCheck {
    ask(gateway, credentials.model_auth()).await
}

/// [`check`] where no service runs.
pub(crate) async fn check_without_service(config: &Config) -> CredentialCheck {
    match Gateway::new(upstream(config)) {
        Ok(gateway) => check(&gateway, &config.credentials).await,
        Err(error) => CredentialCheck { outcome: CheckOutcome::CannotTell, detail: with_causes(&error) },
    }
}

/// The same of a credential that is not stored yet.
pub(crate) async fn check_unstored(config: &Config, kind: CredentialKind, secret: &Secret) -> CredentialCheck {
    match Gateway::new(Upstream::new(config.model.base_url.as_str(), Some(presented(kind, secret.clone())))) {
        Ok(gateway) => ask(&gateway, kind.model_auth()).await,
        Err(error) => CredentialCheck { outcome: CheckOutcome::CannotTell, detail: with_causes(&error) },
    }
}

async fn ask(gateway: &Gateway, auth: ModelAuth) -> CredentialCheck {
    let of = |outcome, detail: String| CredentialCheck { outcome, detail };
    match gateway.check(auth == ModelAuth::OAuth, CHECK_LIMIT).await {
        Ok(Checked::Taken) => of(CheckOutcome::Taken, "the model API takes it".to_owned()),
        Ok(Checked::Refused(status)) => {
            of(CheckOutcome::Refused, format!("the model API refuses it (status {status})"))
        }
        Ok(Checked::CannotTell(reason)) => of(CheckOutcome::CannotTell, reason),
        Err(error) => of(CheckOutcome::CannotTell, with_causes(&error)),
    }
}

/// How often it is looked whether the credential ends soon.
const AGE_LOOKED_AT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Tells the owner, once in the main chat, that the model's credential ends soon or has ended; looks once a day, and whenever the
/// credentials change.
pub(super) struct Reminder {
    pub(super) credentials: Credentials,
    pub(super) store: Arc<dyn Store>,
    pub(super) orchestrator: Orchestrator,
    pub(super) zone: TimeZone,
}

impl Reminder {
    /// Tells of it for ever.
    pub(super) async fn keep(self) {
        let mut changes = self.credentials.changes();
        loop {
            if let Err(error) = self.remind().await {
                tracing::warn!(
                    error = with_causes(&error),
                    "nobody could be told of the credential's age; trying again"
                );
            }
            let next = Timestamp::now().plus(AGE_LOOKED_AT_EVERY);
            tokio::select! {
                () = SystemClock.until(Some(next)) => {}
                () = changes.next() => {}
            }
        }
    }

    async fn remind(&self) -> Result<(), StoreError> {
        let Some((kind, age)) = self.credentials.age(Timestamp::now()) else { return Ok(()) };
        let (Some(ends), Some((told, help))) = (age.ends(), age.told(kind, &self.zone)) else { return Ok(()) };
        tracing::warn!(help, "{told}");
        let groups = self.store.groups().await?;
        let Some(main) = groups.into_iter().find(|group| group.role == GroupRole::Main) else { return Ok(()) };
        // Once for each credential: another one ends at another time.
        let key = DeliveryKey::alert(format!("credential/{}/{}", kind.variable(), ends.as_ms()));
        let text = format!("{told}.\n\nOn the machine that I run on, {help}.");
        let word = NewDelivery { key, chat: main.chat, text, file: None, answers: None };
        self.store.post(&word, Timestamp::now()).await?;
        // All that waits to be sent is looked at.
        self.orchestrator.channel_connected();
        Ok(())
    }
}

/// Reads the credentials again and gives them to whoever uses them. Cheap to clone.
#[derive(Clone)]
pub(super) struct Keeper {
    pub(super) credentials: Credentials,
    pub(super) gateway: Arc<Gateway>,
    pub(super) orchestrator: Orchestrator,
    pub(super) config: Arc<Config>,
}

impl Keeper {
    /// Sees to it that what changes is used, until it is dropped. A fault of ours costs a moment; what changed meanwhile is
    /// seen then.
    pub(super) async fn keep(self) {
        let Some(folder) = self.credentials.folder() else { return };
        loop {
            let Err(panicked) = caught(self.keep_on(&folder)).await;
            tracing::error!(error = %panicked, "changes of the credentials are not seen for a moment");
            tokio::time::sleep(FAULT_PAUSE).await;
        }
    }

    async fn keep_on(&self, folder: &Path) -> Infallible {
        let (look, watch) = (Notify::new(), FileWatch::new(folder.to_owned()));
        let watching = async {
            let mut told = false;
            loop {
                // It looks at once each time, so nothing that changed in between is missed.
                let ended = watch.tell(&look).await;
                if !std::mem::replace(&mut told, true) {
                    let error = ended.err().map_or_else(|| "the watch ended".to_owned(), |error| error.to_string());
                    tracing::warn!(
                        folder = %folder.display(), error,
                        "changes of the credentials file are seen once a minute at best; `nanoclaw auth reload` tells of them"
                    );
                }
                tokio::time::sleep(WATCH_AGAIN_AFTER).await;
                look.notify_one();
            }
        };
        let reloading = async {
            loop {
                let command_failed = self.credentials.command().is_some() && self.credentials.problem().is_some();
                let ask = tokio::select! {
                    () = look.notified() => Ask::AllButTheCommand,
                    () = tokio::time::sleep(COMMAND_AGAIN_AFTER), if command_failed => Ask::Everything,
                };
                #[cfg(feature = "failpoints")]
                crate::failpoints::panic_if_asked("credentials.reload");
                self.reload(ask).await;
            }
        };
        tokio::select! {
            ended = watching => ended,
            ended = reloading => ended,
        }
    }

    /// Reads the sources again, and says how things stand then.
    pub(super) async fn reload(&self, ask: Ask) -> CredentialsView {
        let known_problem = self.credentials.problem();
        let outcome = self.credentials.reload(ask).await;
        if let Err(problem) = &outcome
            && known_problem.as_ref() != Some(problem)
        {
            tracing::error!(problem, "the credentials cannot be read; those that were there are used on");
        }
        // Also after a failure: what could be read may be new.
        let credential = on_the_wire(&self.credentials);
        if let Err(error) = self.gateway.set_credential(credential.as_ref()) {
            tracing::error!(%error, "the new credential is not used");
        }
        for upstream in self.config.further_upstreams() {
            if let Err(error) = self.gateway.set_upstream_secret(upstream.name.as_str(), upstream.secret) {
                tracing::error!(upstream = %upstream.name, %error, "the new secret is not used");
            }
        }
        if matches!(outcome, Ok(reloaded) if reloaded.model_changed) {
            match self.credentials.model() {
                Some(credential) => {
                    let (kind, source) = (credential.kind.variable(), credential.source.to_string());
                    tracing::info!(kind, source, "a new credential for the model is used from now on");
                    self.orchestrator.try_now(None).await;
                }
                None => tracing::warn!("there is no credential for the model any more"),
            }
        }
        CredentialsView::of(&self.credentials)
    }
}
