//! What an engine's errors mean.

use std::io;

use bollard::errors::Error as EngineError;
use nanoclaw_core::{causes::with_causes, runtime::RuntimeError};

use super::dialect::Dialect;

/// The error of the port for anything that has no more special meaning where it happened.
pub(super) fn runtime_error(dialect: Dialect, action: &'static str, error: EngineError) -> RuntimeError {
    match &error {
        EngineError::RequestTimeoutError => RuntimeError::TimedOut { action },
        EngineError::DockerResponseServerError { status_code, message } => {
            RuntimeError::Other { action, reason: format!("{} said {status_code}: {message}", dialect.name()) }
        }
        EngineError::HyperLegacyError { .. }
        | EngineError::HyperResponseError { .. }
        | EngineError::IOError { .. }
        | EngineError::SocketNotFoundError(_) => {
            let denied = io_kind(&error) == Some(io::ErrorKind::PermissionDenied);
            RuntimeError::Unavailable {
                runtime: dialect.kind(),
                reason: format!("failed to {action}: {}", with_causes(&error)),
                remedy: dialect.remedy(denied).to_owned(),
            }
        }
        _ => RuntimeError::Other { action, reason: with_causes(&error) },
    }
}

/// Whether the engine does not know what was named.
pub(super) fn is_not_there(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// Whether the engine says that the container is in no state for this.
pub(super) fn is_conflict(error: &EngineError) -> bool {
    status(error) == Some(409)
}

/// The engine's own words, if it said anything.
pub(super) fn message(error: &EngineError) -> Option<&str> {
    match error {
        EngineError::DockerResponseServerError { message, .. } => Some(message),
        _ => None,
    }
}

/// The kind of the input or output error at the bottom, if there is one.
pub(super) fn io_kind(error: &EngineError) -> Option<io::ErrorKind> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(one) = cause {
        if let Some(error) = one.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        cause = one.source();
    }
    None
}

fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}
