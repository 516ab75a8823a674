//! Where log lines go: of the service to systemd's journal (`journal`), to standard error or to the home's log file (`rotated`), of a
//! conversation in the terminal to that file.

mod journal;
mod rotated;

use std::{
    io::{IsTerminal as _, stderr},
    path::Path,
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use self::{journal::Journal, rotated::Rotated};
use super::failure::with_help;
use crate::config::{LogConfig, LogFormat, LogPlace};

/// Logs what the service says, to where it is to; `file` is the home's log file.
///
/// # Errors
/// When that is to be written and cannot be.
pub(super) fn of_service(file: &Path, config: &LogConfig) -> anyhow::Result<()> {
    if *config.to == LogPlace::File {
        return to_file(file, config);
    }
    let journal_reads = journal::is_behind_stderr();
    let to_journal = *config.to == LogPlace::Auto && *config.format == LogFormat::Text && journal_reads;
    match to_journal.then(|| Journal::connect(Path::new(journal::SOCKET))) {
        Some(Ok(journal)) => start(config, journal),
        // Standard error leads there as well.
        Some(Err(_)) | None => to_stderr(config, journal_reads),
    }
    Ok(())
}

/// Logs to standard error. Where systemd's journal reads it, which adds times itself, lines have none.
fn to_stderr(config: &LogConfig, journal_reads: bool) {
    let colour = stderr().is_terminal() && anstream::AutoStream::choice(&stderr()) != anstream::ColorChoice::Never;
    let layer = fmt::layer().with_writer(stderr).with_ansi(colour);
    let layer = match (*config.format, journal_reads) {
        (LogFormat::Json, _) => layer.json().flatten_event(true).boxed(),
        (LogFormat::Text, true) => layer.without_time().boxed(),
        (LogFormat::Text, false) => layer.boxed(),
    };
    start(config, layer);
}

/// Logs to `file`, which is made, with its folder, for this user only, and put aside when it is long.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn to_file(file: &Path, config: &LogConfig) -> anyhow::Result<()> {
    let opened = Rotated::open(file, *config.max_size).map_err(|error| {
        with_help(
            format!("cannot write the log {}: {error}", file.display()),
            "the home's store/ must be on a writable disk and belong to this user",
        )
    })?;
    let layer = fmt::layer().with_writer(Mutex::new(opened)).with_ansi(false);
    let layer = match *config.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.boxed(),
    };
    start(config, layer);
    Ok(())
}

fn start(config: &LogConfig, layer: impl tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync) {
    // The level was checked when the configuration was read.
    let filter = EnvFilter::new(&*config.level);
    // Fails only when a logger runs already, as in a program that embeds this library: that one is its own business.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
