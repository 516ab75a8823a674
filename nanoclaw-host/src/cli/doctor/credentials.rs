//! What `doctor` says of credentials: whether their file can be used, whether each looks like what it is called, and their age.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nanoclaw_core::time::Timestamp;

use super::{Check, fix::Fix};
use crate::{
    config::{Config, ConfigErrors, Mistake, Place, ProcessEnvironment, private_folder},
    credentials::{CredentialKind, Found, age::Age},
};

const NAME: &str = "credentials";

/// The file of credentials, where one would be.
fn file() -> Option<PathBuf> {
    private_folder(&ProcessEnvironment).map(|folder| folder.join("credentials"))
}

/// The mistakes of these that are about credentials, and the others.
pub(super) fn parted(mistakes: &ConfigErrors) -> (Vec<Mistake>, Vec<Mistake>) {
    let path = file();
    mistakes.mistakes.iter().cloned().partition(|mistake| match &mistake.place {
        Place::File(file) | Place::Line { file, .. } => Some(file) == path.as_ref(),
        Place::Variable(name) => CredentialKind::of_variable(name).is_some(),
    })
}

/// The check where there are mistakes in them.
pub(super) fn mistaken(mistakes: &[Mistake]) -> Check {
    let told: Vec<String> = mistakes.iter().map(Mistake::to_string).collect();
    let told = told.join("\n");
    let fixes = file().map(|file| fixes(&file)).unwrap_or_default();
    if fixes.is_empty() {
        // What is wrong with a whole file names its remedy.
        let help = match told.split('`').nth(1) {
            Some(command) => format!("`{command}`"),
            None => "correct it with an editor: KEY=value lines, and # begins a comment".to_owned(),
        };
        return Check::failed(NAME, told, help);
    }
    let commands: Vec<String> = fixes.iter().map(Fix::command).collect();
    Check::failed(NAME, told, format!("`{}`", commands.join(" && "))).mended_by(fixes)
}

/// Modes of our own file and its folder that let others in.
fn fixes(file: &Path) -> Vec<Fix> {
    let me = rustix::process::geteuid().as_raw();
    let folder = file.parent().unwrap_or(file);
    let wrong = |path: &Path, forbidden: u32, mode: u32| {
        let found = fs::symlink_metadata(path).ok().filter(|found| found.uid() == me && found.mode() & forbidden != 0);
        found.map(|_| Fix::Mode { path: path.to_owned(), mode })
    };
    [wrong(folder, 0o022, 0o700), wrong(file, 0o077, 0o600)].into_iter().flatten().collect()
}

/// The check where they could be read.
pub(super) fn check(config: &Config, now: Timestamp) -> Check {
    judge(&config.credentials.all(), config.credentials.age(now), config)
}

fn judge(all: &[Found], age: Option<(CredentialKind, Age)>, config: &Config) -> Check {
    for found in all {
        let (named, looks) =
            (CredentialKind::of_variable(&found.name), CredentialKind::of_shape(found.secret.reveal()));
        if let (Some(named), Some(looks)) = (named, looks)
            && named != looks
            // A gateway of one's own may take any token.
            && named != CredentialKind::AuthToken
        {
            return Check::failed(
                NAME,
                format!("{} ({}) has the form of {}", found.name, found.origin, looks.describe()),
                format!(
                    "`nanoclaw auth set {}` stores it under its name, `nanoclaw auth remove {}` the wrong one",
                    looks.variable(),
                    found.name
                ),
            );
        }
    }
    if let Some((kind, age)) = age
        && let Some((told, help)) = age.told(kind, &config.time.zone)
    {
        return match age {
            Age::Ended { .. } => Check::failed(NAME, told, help),
            _ => Check::warning(NAME, told, help),
        };
    }
    let names: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
    match names.is_empty() {
        true => Check::ok(NAME, "none is stored"),
        false => Check::ok(NAME, format!("well formed, and none too old: {}", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use nanoclaw_core::secret::Secret;

    use super::*;
    use crate::{
        cli::doctor::Outcome,
        config::environment_of,
        credentials::{Origin, age},
    };

    #[test]
    fn a_credential_under_the_wrong_name_or_too_old_is_told_and_no_secret_with_it() {
        let config = Config::parse(Path::new("/x"), "", Path::new("/"), &environment_of([])).unwrap();
        let found = |name: &str, text: &str| Found {
            name: name.to_owned(),
            secret: Secret::new(text),
            origin: Origin::Variable(name.to_owned()),
            since: None,
        };
        let key = found("ANTHROPIC_API_KEY", "sk-ant-api03-TOPSECRET");
        assert_eq!(judge(&[], None, &config).outcome, Outcome::Ok);
        assert_eq!(judge(std::slice::from_ref(&key), None, &config).outcome, Outcome::Ok);
        let wrong = judge(&[found("ANTHROPIC_API_KEY", "sk-ant-oat01-TOPSECRET")], None, &config);
        assert_eq!(wrong.outcome, Outcome::Failed);
        assert!(wrong.help.as_deref().unwrap().contains("auth set CLAUDE_CODE_OAUTH_TOKEN"));
        assert!(!format!("{wrong:?}").contains("TOPSECRET"));
        let at = Timestamp::from_ms(1);
        let aged = |age| judge(std::slice::from_ref(&key), Some((CredentialKind::OAuthToken, age)), &config).outcome;
        assert_eq!(aged(age::Age::EndsSoon { ends: at }), Outcome::Warning);
        assert_eq!(aged(age::Age::Ended { ends: at }), Outcome::Failed);
        assert_eq!(aged(age::Age::Fresh), Outcome::Ok);
    }
}
