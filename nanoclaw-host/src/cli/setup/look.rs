//! Finds out, step by step, what is there already. Changes nothing.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::{group::GroupRole, runtime::RuntimeKind};

use super::act::Trying;
use crate::{
    admin::{
        AdminHandler as _, Client,
        types::{CheckOutcome, CredentialsView, GroupView},
    },
    app::{self, Chosen, Isolation, NoRuntime},
    cli::{
        Place, doctor,
        service::{self, Standing as UnitStanding},
    },
    config::{Config, Enabled, RuntimeChoice},
    credentials::{Ask, Origin, Standing, fingerprint},
    home::Home,
    launcher::image_for,
    setup::{
        Found, Key, Step, Trouble,
        decide::{TERMINAL, secrets_of},
        found::{Credential, UnitFound},
        question::SECRETS,
    },
};

/// Looks; remembers the runtime that was shown to work, which takes a container.
pub(super) struct Looker<'a> {
    place: &'a Place,
    home: Home,
    /// Whether the model may be asked about the credential that is there.
    asks_model: bool,
    /// The runtime that would be chosen before what comes after that is looked at.
    would_choose: Option<String>,
    chosen: Option<Result<Chosen, NoRuntime>>,
}

impl<'a> Looker<'a> {
    pub(super) fn new(place: &'a Place, home: Home, asks_model: bool) -> Self {
        Self { place, home, asks_model, would_choose: None, chosen: None }
    }

    /// Looks at what comes after the choice of a runtime as if it had been `word`.
    pub(super) fn with_runtime(self, word: Option<&str>) -> Self {
        Self { would_choose: word.map(str::to_owned), ..self }
    }

    /// Something was changed: what was seen before may be otherwise.
    pub(super) fn forget(&mut self) {
        self.chosen = None;
    }

    /// What there is for `step`; `choosing`: somebody may want another runtime than the configured one.
    pub(super) async fn look(&mut self, step: Step, choosing: bool) -> anyhow::Result<Found> {
        if step == Step::Machine {
            return Ok(Found::Machine { made: self.home.exists(), troubles: self.machine().await });
        }
        let config = self.place.config(&self.home)?;
        Ok(match step {
            Step::Machine => Found::Machine { made: self.home.exists(), troubles: Vec::new() },
            Step::Runtime => self.runtime(&config, choosing).await,
            Step::Image => match &self.would_choose {
                None => self.image(&config).await,
                Some(word) => {
                    let config = Config::load(&self.home, &Trying(word.into()))?;
                    self.forget();
                    self.image(&config).await
                }
            },
            Step::Credential => self.credential(&config).await,
            Step::Channel => {
                let terminal = self.groups().await?.iter().any(|group| group.chat.as_str() == TERMINAL);
                Found::Channel { used: used(&self.home, &config), stored: stored(&config), terminal }
            }
            Step::Assistant => {
                let name = &config.assistant.name;
                Found::Assistant { name: name.value.clone(), set: name.is_explicit() }
            }
            Step::MainGroup => {
                let groups = self.groups().await?;
                let main = groups.into_iter().find(|group| group.role == GroupRole::Main);
                let group = main.map(|group| (group.folder.to_string(), group.chat.to_string()));
                Found::MainGroup { group, reachable: !used(&self.home, &config).is_empty() }
            }
            Step::Service => self.service().await?,
            Step::Message => Found::Message { answered: self.answered().await? },
        })
    }

    async fn machine(&self) -> Vec<Trouble> {
        let trouble = |(what, help): (String, String)| Trouble { what, help };
        if let Some(found) = place_of(&self.home) {
            return vec![trouble(found)];
        }
        let config = match self.place.config(&self.home) {
            Ok(config) => config,
            Err(mistakes) => return vec![super::trouble(&mistakes)],
        };
        if !self.home.exists() {
            return Vec::new();
        }
        doctor::troubles_of_machine(&self.home, &config).await.into_iter().map(trouble).collect()
    }

    async fn chosen(&mut self, config: &Config) -> &Result<Chosen, NoRuntime> {
        if self.chosen.is_none() {
            self.chosen = Some(app::choose(&self.home, config, Isolation::Required).await);
        }
        self.chosen.as_ref().expect("it was just put there")
    }

    async fn runtime(&mut self, config: &Config, choosing: bool) -> Found {
        let runtime = &config.container.runtime;
        let set = runtime.is_explicit().then(|| match runtime.value {
            RuntimeChoice::Auto => "auto".to_owned(),
            RuntimeChoice::Fixed(kind) => kind.to_string(),
        });
        let works = match self.chosen(config).await {
            Ok(chosen) => Ok(chosen.description()),
            Err(none) => Err(none_works(none)),
        };
        let mut candidates = Vec::new();
        if set.is_none() || choosing || works.is_err() {
            for (kind, candidate) in app::every_runtime(&self.home, config, None).await {
                let probed = match candidate {
                    Ok(runtime) => runtime.probe().await,
                    Err(error) => Err(error),
                };
                let what = probed.map(|found| found.description).map_err(|error| error.to_string());
                candidates.extend(word(kind).map(|word| (word, what)));
            }
        }
        Found::Runtime { set, works, candidates }
    }

    async fn image(&mut self, config: &Config) -> Found {
        let nameless = config.container.image.to_string();
        match self.chosen(config).await {
            Err(none) => Found::Image { engine: Err(none_works(none)), image: nameless, there: false },
            Ok(chosen) => {
                let kind = chosen.runtime.kind();
                let image = image_for(kind, &config.container.image);
                let engine = matches!(kind, RuntimeKind::Docker | RuntimeKind::Podman).then(|| kind.to_string());
                let there = engine.is_none() || chosen.runtime.ensure_image(&image).await.is_ok();
                Found::Image { engine: Ok(engine), image: image.to_string(), there }
            }
        }
    }

    async fn credential(&self, config: &Config) -> Found {
        let expected = match config.credentials.standing() {
            Standing::Expected(source) => Some(source.to_string()),
            Standing::Has(_) | Standing::Missing => None,
        };
        if self.asks_model && expected.is_some() {
            // What fails is told by the check.
            let _ = config.credentials.reload(Ask::Everything).await;
        }
        let only_here =
            config.credentials.model().is_some_and(|credential| matches!(credential.source, Origin::Variable(_)));
        let has = CredentialsView::of(&config.credentials).model.map(|model| Credential {
            name: model.secret.name,
            source: model.secret.source,
            fingerprint: model.secret.fingerprint.unwrap_or_default(),
            only_here,
        });
        if self.asks_model
            && let Some(found) = &has
            && app::credentials::check_without_service(config).await.outcome == CheckOutcome::Refused
        {
            return Found::Credential { has: None, refused: Some(found.name.clone()), expected: None };
        }
        Found::Credential { has, refused: None, expected }
    }

    async fn groups(&self) -> anyhow::Result<Vec<GroupView>> {
        if !self.home.database().exists() {
            return Ok(Vec::new());
        }
        let (home, _) = self.place.open().await?;
        Ok(home.groups().await?)
    }

    async fn service(&self) -> anyhow::Result<Found> {
        let (unit, systemd) = service::standing(&self.home)?;
        let running = match Client::connect(&self.home).await {
            Ok(client) => client.status().await?.service,
            Err(_) => None,
        };
        let unit = match unit {
            UnitStanding::None => UnitFound::None,
            UnitStanding::OfThisHome => UnitFound::Ours,
            UnitStanding::OfAnother => UnitFound::Another,
        };
        let by = if unit == UnitFound::Ours { "systemd runs it" } else { "it runs, though not by systemd" };
        Ok(Found::Service {
            systemd,
            unit,
            running: running.map(|service| format!("{by}, as process {}", service.pid)),
        })
    }

    async fn answered(&self) -> anyhow::Result<bool> {
        let groups = self.groups().await?;
        let Some(terminal) = groups.iter().find(|group| group.chat.as_str() == TERMINAL) else { return Ok(false) };
        let (home, _) = self.place.open().await?;
        let details = home.group(terminal.folder.as_str()).await?;
        Ok(!details.runs.is_empty() && details.unanswered == 0)
    }
}

/// The word for it in answers.
fn word(kind: RuntimeKind) -> Option<&'static str> {
    let words = Key::Runtime.words().unwrap_or_default();
    words.iter().copied().find(|word| *word == kind.to_string())
}

pub(super) fn none_works(none: &NoRuntime) -> Trouble {
    let help = none.help().unwrap_or_else(|| "`nanoclaw doctor` says more".to_owned());
    Trouble { what: none.to_string(), help }
}

/// What is wrong with the place of the home, there or not.
fn place_of(home: &Home) -> Option<(String, String)> {
    const ELSEWHERE: &str = "--home DIR names another home, or make this one writable";
    let me = rustix::process::geteuid().as_raw();
    let at = nearest_that_is(home.root());
    let shown = at.display();
    let found = match std::fs::metadata(&at) {
        Ok(found) => found,
        Err(error) => return Some((format!("{shown} cannot be looked at: {error}"), ELSEWHERE.to_owned())),
    };
    if !found.is_dir() {
        return Some((format!("{shown} is no folder"), ELSEWHERE.to_owned()));
    }
    if home.exists() && found.uid() != me {
        let owner = found.uid();
        return Some((
            format!("the home {shown} belongs to another user (number {owner})"),
            format!("run it as that user: `sudo -u '#{owner}' nanoclaw --home {shown} setup`"),
        ));
    }
    let writable = rustix::fs::access(&at, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    writable.err().map(|error| (format!("{shown} cannot be written to: {error}"), ELSEWHERE.to_owned()))
}

/// The path, or the nearest folder above it that is there.
fn nearest_that_is(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.symlink_metadata().is_ok()).unwrap_or(Path::new("/")).to_owned()
}

/// The chat services that have what they need.
fn used(home: &Home, config: &Config) -> Vec<&'static str> {
    let channels = &config.channels;
    let has_all =
        |service: &str| secrets_of(service).iter().all(|name| config.credentials.secret_named(name).is_some());
    [
        ("telegram", *channels.telegram.enabled, has_all("telegram")),
        ("slack", *channels.slack.enabled, has_all("slack")),
        ("discord", *channels.discord.enabled, has_all("discord")),
        ("whatsapp", *channels.whatsapp.enabled, home.auth().join("whatsapp.db").exists()),
    ]
    .into_iter()
    .filter(|(_, enabled, ready)| *enabled != Enabled::No && *ready)
    .map(|(service, ..)| service)
    .collect()
}

/// The secrets of chat services that are there.
fn stored(config: &Config) -> Vec<(&'static str, String)> {
    let of_services = SECRETS.into_iter().filter(|name| Key::Secret(name).step() == Step::Channel);
    of_services.filter_map(|name| Some((name, fingerprint(&config.credentials.secret_named(name)?)))).collect()
}
