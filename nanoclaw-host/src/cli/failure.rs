//! How a failure is told: what on one line, the remedy on the next, and the exit code.

use std::process::ExitCode;

use nanoclaw_core::store::StoreError;

use super::output;
use crate::{
    admin::{OpenError, types::AdminError},
    app::NoRuntime,
    backup::BackupError,
    config::ConfigErrors,
    home::{InitError, LockError, NoHome},
    import::ImportError,
};

/// A failure with its remedy.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(super) struct Remedied {
    what: String,
    help: String,
}

/// A failure with its remedy, as `error:` and `help:` on the terminal.
#[must_use]
pub(super) fn with_help(what: impl Into<String>, help: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Remedied { what: what.into(), help: help.into() })
}

/// Tells a failure on standard error, and says with which code to end.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    output::failure(&format!("{error:#}"), help(error).as_deref());
    ExitCode::FAILURE
}

/// The remedy of the first cause that knows one.
pub(super) fn help(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(remedied) = cause.downcast_ref::<Remedied>() {
            Some(remedied.help.clone())
        } else if let Some(refused) = cause.downcast_ref::<AdminError>() {
            refused.help.clone()
        } else if let Some(locked) = cause.downcast_ref::<LockError>() {
            Some(locked.help())
        } else if let Some(OpenError::Locked(locked)) = cause.downcast_ref() {
            Some(locked.help())
        } else if let Some(OpenError::Unreachable { .. }) = cause.downcast_ref() {
            Some("look at the service's log, and restart it".to_owned())
        } else if let Some(backup) = cause.downcast_ref::<BackupError>() {
            backup.help().map(str::to_owned)
        } else if let Some(import) = cause.downcast_ref::<ImportError>() {
            import.help().map(str::to_owned)
        } else if cause.is::<ConfigErrors>() {
            Some("correct them all and try again; `nanoclaw doctor` checks the rest".to_owned())
        } else if cause.is::<NoHome>() {
            Some("name another folder with --home DIR".to_owned())
        } else if cause.is::<InitError>() {
            Some("choose another folder with --home DIR, or make this one writable".to_owned())
        } else if let Some(no_runtime) = cause.downcast_ref::<NoRuntime>() {
            no_runtime.help()
        } else if let Some(StoreError::Failed { .. }) = cause.downcast_ref() {
            Some("`nanoclaw doctor` looks at disk and home".to_owned())
        } else {
            None
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<output::OutputError>();
    cause.is_some_and(|output::OutputError(error)| error.kind() == std::io::ErrorKind::BrokenPipe)
}
