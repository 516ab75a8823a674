//! `[log]`: how much is logged, how, and to where.

use super::{
    reader::{Reader, Variable},
    setting::Setting,
    value::{self, Raw, Right},
};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where the service logs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogPlace {
    /// The journal where standard error leads there, else standard error.
    Auto,
    /// Standard error.
    Stderr,
    /// The home's log file, which is rotated.
    File,
}

const MIB: u64 = 1 << 20;

/// How much is logged, how, and to where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A level, or a list such as `info,nanoclaw_core=debug`. `LOG_LEVEL` in v1. Default `info`.
    pub level: Setting<String>,
    /// How a line looks; default `text`.
    pub format: Setting<LogFormat>,
    /// Where the service logs to; default `auto`. `nanoclaw chat` without a service logs to the file.
    pub to: Setting<LogPlace>,
    /// The most bytes of log files, the older ones included. Default 64 MiB.
    pub max_size: Setting<u64>,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut section = reader.section("log");
        let config = Self {
            level: section.read("level", Some(Variable::Same("LOG_LEVEL")), "info".to_owned(), level),
            format: section.read(
                "format",
                None,
                LogFormat::Text,
                value::word(&[("text", LogFormat::Text), ("json", LogFormat::Json)]),
            ),
            to: section.read(
                "to",
                None,
                LogPlace::Auto,
                value::word(&[("auto", LogPlace::Auto), ("stderr", LogPlace::Stderr), ("file", LogPlace::File)]),
            ),
            max_size: section.read("max_size", None, 64 * MIB, value::size(MIB..=1024 * 1024 * MIB)),
        };
        section.finish();
        config
    }
}

/// Levels are checked here, because the logger takes any word that it does not know for the name of a module.
fn level(raw: &Raw<'_>) -> Result<String, Right> {
    const RIGHT: &str =
        "error, warn, info, debug, trace or off, or a list of them with modules such as \"info,nanoclaw_core=debug\"";
    let text = value::line(512)(raw).map_err(|_| RIGHT)?;
    let directives: Option<Vec<String>> = text.split(',').map(directive).collect();
    directives.map(|all| all.join(",")).ok_or(RIGHT.into())
}

fn directive(text: &str) -> Option<String> {
    let (module, level) = match text.trim().split_once('=') {
        Some((module, level)) => (Some(module.trim()), level.trim()),
        None => (None, text.trim()),
    };
    let level = match level.to_ascii_lowercase().as_str() {
        level @ ("error" | "warn" | "info" | "debug" | "trace" | "off") => level.to_owned(),
        // The words of v1's logger that ours does not have.
        "fatal" => "error".to_owned(),
        "silent" => "off".to_owned(),
        _ => return None,
    };
    match module {
        None => Some(level),
        Some(module) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
            (!module.is_empty() && module.chars().all(plain)).then(|| format!("{module}={level}"))
        }
    }
}
