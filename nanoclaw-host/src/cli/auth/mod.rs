//! `nanoclaw auth`: shows, stores, checks and obtains the credential for the model, and other secrets of the host. Never shows
//! one, and never takes one as an argument.

mod screen;
pub(super) mod setup_token;
pub(super) mod terminal;

use std::process::ExitCode;

use nanoclaw_core::secret::Secret;
use serde::Serialize;
use zeroize::Zeroize as _;

use super::{
    Place,
    failure::with_help,
    output::{self, BOLD, DIM, GREEN, RED, YELLOW},
};
use crate::{
    admin::{
        AdminHandler as _, Client,
        types::{CheckOutcome, CredentialCheck, CredentialsView, SecretView},
    },
    app,
    config::{ProcessEnvironment, nearest},
    credentials::{self, Ask, CredentialKind, Edited, TOKEN_MARK, is_name},
};

/// What can be done with credentials.
#[derive(Debug, clap::Subcommand)]
#[command(after_long_help = "\
A credential stays on the host: agents reach the model through the host's gateway, which adds it on the way out.
It is taken from the environment, else from systemd, else from ~/.config/nanoclaw/credentials, else from the
command in [credentials] of nanoclaw.toml. A service that runs uses a new one at once.

Examples:
  nanoclaw auth set                      asks for an API key or a token, unseen, and stores it
  pass show anthropic | nanoclaw auth set
  nanoclaw auth setup-token              log in with a Claude subscription, store the token
  nanoclaw auth status --check           which credential is used, and whether the model takes it
  nanoclaw auth set GITHUB_TOKEN         a further secret, for what is configured to use it")]
pub(super) enum AuthCommand {
    /// Show which credentials are used and where they come from, nothing of themselves
    Status {
        /// Ask the model whether it takes the credential
        #[arg(long)]
        check: bool,
        /// Show a fingerprint, by which two credentials can be told apart
        #[arg(long)]
        fingerprint: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Store a secret in ~/.config/nanoclaw/credentials: typed unseen, or from standard input
    Set {
        /// ANTHROPIC_API_KEY, CLAUDE_CODE_OAUTH_TOKEN, ANTHROPIC_AUTH_TOKEN, or the name of a further secret; tokens of
        /// Anthropic are known by their form and need none
        name: Option<String>,
        /// Caught to be refused without being repeated
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Remove a secret from ~/.config/nanoclaw/credentials
    Remove {
        /// Its name
        name: String,
    },
    /// Log in with a Claude subscription and store its token: runs `claude setup-token` in a container
    SetupToken,
    /// Have the running service read all credentials again, the configured command's too
    Reload,
}

pub(super) async fn run(command: AuthCommand, place: &Place) -> anyhow::Result<ExitCode> {
    match command {
        AuthCommand::Status { check, fingerprint, json } => return status(place, check, fingerprint, json).await,
        AuthCommand::Set { name, rest } => set(place, name, rest).await?,
        AuthCommand::Remove { name } => remove(place, name).await?,
        AuthCommand::SetupToken => return setup_token(place).await,
        AuthCommand::Reload => reload(place).await?,
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Serialize)]
struct StatusReport<'a> {
    /// The running service answered, and not this command's own environment.
    service: bool,
    #[serde(flatten)]
    credentials: &'a CredentialsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CredentialCheck>,
}

async fn status(place: &Place, check: bool, fingerprint: bool, json: bool) -> anyhow::Result<ExitCode> {
    let home = place.home()?;
    let (service, view, check) = match Client::connect(&home).await {
        Ok(client) => {
            let view = client.credentials().await?;
            let wanted = check && view.model.is_some();
            (true, view, if wanted { Some(client.check_credentials().await?) } else { None })
        }
        Err(_) => {
            let config = place.config(&home)?;
            // What fails is in the view.
            let _ = config.credentials.reload(Ask::Everything).await;
            let view = CredentialsView::of(&config.credentials);
            let wanted = check && view.model.is_some();
            let checked = if wanted { Some(app::credentials::check_without_service(&config).await) } else { None };
            (false, view, checked)
        }
    };
    let view = if fingerprint { view } else { view.without_fingerprints() };
    let bad = view.problem.is_some()
        || view.model.is_none()
        || check.as_ref().is_some_and(|check| check.outcome != CheckOutcome::Taken);
    if json {
        output::json(&StatusReport { service, credentials: &view, check })?;
    } else {
        show(&view, service, check.as_ref())?;
    }
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(view: &CredentialsView, service: bool, check: Option<&CredentialCheck>) -> anyhow::Result<()> {
    match &view.model {
        Some(model) => {
            let kind = model.kind.describe();
            output::line(format!("{BOLD}{}{BOLD:#}, {kind}, from {}", model.secret.name, about(&model.secret)))?;
        }
        None => {
            output::line(format!("{YELLOW}There is no credential for the model.{YELLOW:#}"))?;
            output::line(
                "`nanoclaw auth set` stores an API key, `nanoclaw auth setup-token` a subscription's token; without one, \
                 an offline agent answers.",
            )?;
        }
    }
    match check {
        None => {}
        Some(CredentialCheck { outcome: CheckOutcome::Taken, detail }) => {
            output::line(format!("{GREEN}{detail}{GREEN:#}"))?;
        }
        Some(CredentialCheck { outcome: CheckOutcome::Refused, detail }) => {
            output::line(format!("{RED}{detail}{RED:#}"))?;
            output::line(
                "It expired or was withdrawn: store a new one with `nanoclaw auth set`, or log in again with `nanoclaw auth \
                 setup-token`.",
            )?;
        }
        Some(CredentialCheck { outcome: CheckOutcome::CannotTell, detail }) => {
            output::line(format!(
                "{YELLOW}Whether the model takes it cannot be told: {}{YELLOW:#}",
                output::clean(detail)
            ))?;
        }
    }
    for secret in &view.named {
        output::line(format!("{BOLD}{}{BOLD:#}, from {}", secret.name, about(secret)))?;
    }
    if let Some(problem) = &view.problem {
        output::line(format!(
            "{RED}The last attempt to read the credentials failed:{RED:#} {}",
            output::clean(problem)
        ))?;
        if service {
            output::line("The service goes on with those that it had.")?;
        }
    }
    if service {
        output::line(format!("{DIM}The service that runs uses these.{DIM:#}"))?;
    }
    Ok(())
}

fn about(secret: &SecretView) -> String {
    let mut text = match &secret.file {
        Some(file) => format!("{} ({})", output::clean(&secret.source), output::clean(&file.to_string_lossy())),
        None => output::clean(&secret.source),
    };
    if let Some(since) = secret.since_ms {
        text.push_str(&format!(", since {}", output::time(since, &jiff::tz::TimeZone::system())));
    }
    if let Some(fingerprint) = &secret.fingerprint {
        text.push_str(&format!(", fingerprint {fingerprint}"));
    }
    text
}

async fn set(place: &Place, name: Option<String>, mut rest: Vec<String>) -> anyhow::Result<()> {
    let given_as_argument = !rest.is_empty()
        || name.as_deref().is_some_and(|name| name.contains('=') || name.contains(TOKEN_MARK) || name.len() > 64);
    rest.zeroize();
    if given_as_argument {
        return Err(with_help(
            "a secret is not taken as an argument: it would stay in the shell's history, and every user of this machine \
             could read it while the command runs",
            "run `nanoclaw auth set NAME` and type it, or give it on standard input; this one is better replaced by a new one",
        ));
    }
    let name = name.map(named).transpose()?;
    let what = name.as_deref().unwrap_or("API key or token");
    let text = terminal::read_secret(&format!("{what} (not shown): ")).await?;
    let secret = credentials::checked(&text)
        .map_err(|problem| with_help(format!("what was given {problem}"), "nothing was changed; try again"))?;
    let name = which(name, &secret)?;
    store(place, &name, &secret).await
}

/// The name if it can be one.
fn named(name: String) -> anyhow::Result<String> {
    if is_name(&name) {
        return Ok(name);
    }
    // Not repeated: it may be a secret.
    let known = CredentialKind::ALL.map(CredentialKind::variable);
    let help = match nearest(&name, known) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("for the model it is one of {}", known.join(", ")),
    };
    Err(with_help("a secret's name is of capital letters, digits and _, at most 64", help))
}

/// Under which name the secret is to be stored.
fn which(name: Option<String>, secret: &Secret) -> anyhow::Result<String> {
    match (name, CredentialKind::of_shape(secret.reveal())) {
        (None, Some(kind)) => Ok(kind.variable().to_owned()),
        (None, None) => Err(with_help(
            "which kind of credential that is cannot be told by its form",
            "say its name: `nanoclaw auth set ANTHROPIC_API_KEY`, or ANTHROPIC_AUTH_TOKEN for a gateway's bearer token; nothing was changed",
        )),
        (Some(name), Some(shape)) if CredentialKind::of_variable(&name).is_some_and(|kind| kind != shape) => {
            let is = shape.describe();
            // A gateway of one's own may want any of them as a bearer token.
            if name == CredentialKind::AuthToken.variable() {
                return Ok(name);
            }
            Err(with_help(
                format!("by its form this is {is}, which {name} is not"),
                format!(
                    "`nanoclaw auth set {}` stores it, or `nanoclaw auth set` alone; nothing was changed",
                    shape.variable()
                ),
            ))
        }
        (Some(name), _) => Ok(name),
    }
}

async fn store(place: &Place, name: &str, secret: &Secret) -> anyhow::Result<()> {
    let Edited { path, was_there } = credentials::set(&ProcessEnvironment, name, secret)?;
    let done = if was_there { "replaced" } else { "stored" };
    output::line(format!("{BOLD}{name}{BOLD:#} is {done} in {}.", path.display()))?;
    after_change(place, Some((name, secret))).await
}

async fn remove(place: &Place, name: String) -> anyhow::Result<()> {
    let name = named(name)?;
    let Edited { path, was_there } = credentials::remove(&ProcessEnvironment, &name)?;
    if !was_there {
        return Err(with_help(
            format!("there is no {name} in {}", path.display()),
            "`nanoclaw auth status` shows what there is and where it comes from",
        ));
    }
    output::line(format!("{BOLD}{name}{BOLD:#} is removed from {}.", path.display()))?;
    after_change(place, None).await
}

/// Tells a running service, and says which credential is used from now on.
async fn after_change(place: &Place, stored: Option<(&str, &Secret)>) -> anyhow::Result<()> {
    let home = place.home()?;
    let (view, service) = match Client::connect(&home).await {
        Ok(client) => match client.reload_credentials().await {
            Ok(view) => (view, true),
            Err(error) => {
                output::line(format!("{YELLOW}The running service was not told: {}{YELLOW:#}", error.message))?;
                return Ok(());
            }
        },
        Err(_) => match place.config(&home) {
            Ok(config) => (CredentialsView::of(&config.credentials), false),
            Err(mistakes) => {
                output::line(format!("{YELLOW}{}{YELLOW:#}", output::clean(&mistakes.to_string())))?;
                return Ok(());
            }
        },
    };
    if let Some(problem) = &view.problem {
        output::line(format!("{YELLOW}{}{YELLOW:#}", output::clean(problem)))?;
    }
    let used = view.model.as_ref();
    if let Some((name, secret)) = stored.filter(|(name, _)| CredentialKind::of_variable(name).is_some()) {
        let is_used =
            used.is_some_and(|used| used.secret.fingerprint.as_deref() == Some(&*credentials::fingerprint(secret)));
        match used {
            Some(used) if !is_used => {
                let (other, source) = (&used.secret.name, output::clean(&used.secret.source));
                output::line(format!(
                    "{YELLOW}It is not used as long as there is {other} ({source}), which comes before {name}.{YELLOW:#}"
                ))?;
                return Ok(());
            }
            _ if service => {
                output::line("The running service uses it from now on; what waited for a login is tried at once.")?
            }
            _ => output::line(
                "It is used from the next start on; `nanoclaw auth status --check` tells whether the model takes it.",
            )?,
        }
    } else if stored.is_none() {
        match used {
            Some(used) => output::line(format!(
                "The model is asked with {} ({}).",
                used.secret.name,
                output::clean(&used.secret.source)
            ))?,
            None => output::line("There is no credential for the model now.")?,
        }
    }
    Ok(())
}

async fn setup_token(place: &Place) -> anyhow::Result<ExitCode> {
    let home = place.home()?;
    let config = place.config(&home)?;
    let Some(token) = setup_token::run(&config).await? else {
        output::line("No token was made; nothing was changed.")?;
        return Ok(ExitCode::FAILURE);
    };
    store(place, CredentialKind::OAuthToken.variable(), &token).await?;
    Ok(ExitCode::SUCCESS)
}

async fn reload(place: &Place) -> anyhow::Result<()> {
    let home = place.home()?;
    let client = Client::connect(&home).await.map_err(|_| {
        with_help("no service runs, so nothing has to read the credentials again", "`nanoclaw auth status` shows them")
    })?;
    let view = client.reload_credentials().await?;
    show(&view.without_fingerprints(), true, None)
}
