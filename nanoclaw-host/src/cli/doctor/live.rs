//! What `doctor --live` asks for real: the model, by one small request with the credential, and the service that runs about each of
//! its channels.

use super::{Check, channels};
use crate::{
    admin::{
        AdminHandler as _, Client,
        types::{AdminError, CheckOutcome, CredentialCheck, ServiceStatus},
    },
    app,
    config::Config,
    credentials::{Ask, Standing},
    home::Home,
};

/// Whether the model takes the credential: asked by the service, as agents' requests go, or by this process where none runs.
pub(super) async fn model(home: &Home, config: &Config) -> Check {
    const NAME: &str = "live-model";
    let said = match Client::connect(home).await {
        Ok(client) => match client.credentials().await {
            Ok(view) if view.model.is_none() => None,
            Ok(_) => match client.check_credentials().await {
                Ok(said) => Some(said),
                Err(error) => return Check::failed(NAME, error.message, "its log says what the service is doing"),
            },
            Err(error) => return Check::failed(NAME, error.message, "its log says what the service is doing"),
        },
        Err(_) => {
            // What a command gives that fails is told by the check of credentials.
            let _ = config.credentials.reload(Ask::Everything).await;
            match config.credentials.standing() {
                Standing::Has(_) => Some(app::credentials::check_without_service(config).await),
                _ => None,
            }
        }
    };
    judge(said)
}

fn judge(said: Option<CredentialCheck>) -> Check {
    const NAME: &str = "live-model";
    match said {
        None => Check::skipped(NAME, "there is no credential for the model"),
        Some(CredentialCheck { outcome: CheckOutcome::Taken, detail }) => Check::ok(NAME, detail),
        Some(CredentialCheck { outcome: CheckOutcome::Refused, detail }) => Check::failed(
            NAME,
            detail,
            "`nanoclaw auth set` stores an API key, `nanoclaw auth setup-token` a subscription's token",
        ),
        Some(CredentialCheck { outcome: CheckOutcome::CannotTell, detail }) => {
            let help =
                "is this machine's network up, and [model] base_url right? `nanoclaw auth status --check` asks again";
            Check::failed(NAME, detail, help)
        }
    }
}

/// Whether each channel is connected, as the service that runs says.
pub(super) fn every_channel(said: Option<&Result<Option<ServiceStatus>, AdminError>>) -> Check {
    const NAME: &str = "live-channels";
    match said {
        Some(Ok(Some(service))) => Check { name: NAME, ..channels::of(&service.channels) },
        Some(Err(error)) => Check::failed(NAME, error.message.clone(), "its log says what the service is doing"),
        Some(Ok(None)) | None => Check::skipped(NAME, "no service runs, which alone connects to channels"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Outcome;

    #[test]
    fn a_model_that_refuses_or_cannot_be_asked_is_a_failure_and_none_is_skipped() {
        let outcome = |outcome| judge(Some(CredentialCheck { outcome, detail: "so".to_owned() })).outcome;
        assert_eq!(outcome(CheckOutcome::Taken), Outcome::Ok);
        assert_eq!([outcome(CheckOutcome::Refused), outcome(CheckOutcome::CannotTell)], [Outcome::Failed; 2]);
        assert_eq!(judge(None).outcome, Outcome::Skipped);
        assert_eq!(every_channel(None).outcome, Outcome::Skipped);
    }
}
