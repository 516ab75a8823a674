//! Where log lines go: to standard error for the service, to the home's log file for a conversation in the terminal.

use std::{
    fs::{DirBuilder, File},
    io::{IsTerminal as _, stderr},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Mutex,
};

use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::failure::with_help;
use crate::config::{LogConfig, LogFormat};

/// A log file that has grown beyond this is put aside when the next process opens it (fault F44).
const LONGEST_LOG_BYTES: u64 = 16 * 1024 * 1024;

/// Logs to standard error. Under systemd's journal, which adds times itself, lines have none.
pub(super) fn to_stderr(config: &LogConfig) {
    let colour = stderr().is_terminal() && anstream::AutoStream::choice(&stderr()) != anstream::ColorChoice::Never;
    let layer = fmt::layer().with_writer(stderr).with_ansi(colour);
    let layer = match (*config.format, std::env::var_os("JOURNAL_STREAM").is_some()) {
        (LogFormat::Json, _) => layer.json().flatten_event(true).boxed(),
        (LogFormat::Text, true) => layer.without_time().boxed(),
        (LogFormat::Text, false) => layer.boxed(),
    };
    start(config, layer);
}

/// Logs to `file`, which is made, with its folder, for this user only.
///
/// # Errors
/// When it cannot be opened.
pub(super) fn to_file(file: &Path, config: &LogConfig) -> anyhow::Result<()> {
    let opened = open(file).map_err(|error| {
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

fn open(file: &Path) -> std::io::Result<File> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.len() > LONGEST_LOG_BYTES) {
        std::fs::rename(file, file.with_extension("log.1"))?;
    }
    File::options().append(true).create(true).mode(0o600).open(file)
}

fn start(config: &LogConfig, layer: impl tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync) {
    // The level was checked when the configuration was read.
    let filter = EnvFilter::new(&*config.level);
    // Fails only when a logger runs already, as in a program that embeds this library: that one is its own business.
    let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
}
