//! The command line.

mod link;
mod qr;
mod run;
mod status;
mod unlink;

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use reqwest::Url;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, fmt};

use crate::client::session::Reach;

/// Ended as it was asked to, or done.
const DONE: u8 = 0;
/// Something failed; standard error says what.
const FAILED: u8 = 1;
/// No account is linked, or WhatsApp does not know it any more: a person has to link one.
const NOT_LINKED: u8 = 3;

/// The WhatsApp client of NanoClaw
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a person has to link an account."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Connect to WhatsApp and to the host of this home, until it is told to end. The host starts this by itself
    Run {
        #[command(flatten)]
        place: Place,
        /// End as well when standard input is closed
        #[arg(long)]
        supervised: bool,
    },
    /// Link an account: show a QR code for its phone, or a code to type there
    Link {
        #[command(flatten)]
        place: Place,
        /// Show a code to type instead, for the account of this number (with country code, as +49 1555 123456)
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
        /// Show what is in the QR code as well, for tests
        #[arg(long, hide = true)]
        in_words: bool,
    },
    /// Unlink the account and forget it
    Unlink {
        #[command(flatten)]
        place: Place,
    },
    /// Say which account is linked
    Status {
        #[command(flatten)]
        place: Place,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct Place {
    /// The folder of the installation
    #[arg(long, env = "NANOCLAW_HOME", value_name = "FOLDER")]
    home: PathBuf,
    /// WhatsApp's WebSocket, for tests
    #[arg(long, env = "NANOCLAW_WHATSAPP_URL", hide = true)]
    url: Option<Url>,
    /// Where all HTTP requests go, for tests
    #[arg(long, env = "NANOCLAW_WHATSAPP_MEDIA_URL", hide = true)]
    media_url: Option<Url>,
    /// The shortest wait after another login took this one's place, for tests
    #[arg(long, env = "NANOCLAW_WHATSAPP_REPLACED_WAIT_MS", hide = true)]
    replaced_wait_ms: Option<u64>,
    /// How long the host may need for a message before other chats go on, for tests
    #[arg(long, env = "NANOCLAW_WHATSAPP_PATIENCE_MS", hide = true)]
    patience_ms: Option<u64>,
}

/// The version of WhatsApp's own program that tests say they are: the current one would be asked for on the internet.
const VERSION_IN_TESTS: (u32, u32, u32) = (2, 3000, 1_000_000);

impl Place {
    fn database(&self) -> PathBuf {
        self.home.join("store/auth/whatsapp.db")
    }

    fn socket(&self) -> PathBuf {
        self.home.join("store/bridge.sock")
    }

    fn reach(&self) -> Reach {
        let usual = Reach::default();
        Reach {
            url: self.url.clone(),
            media_url: self.media_url.clone(),
            version: self.url.is_some().then_some(VERSION_IN_TESTS),
            replaced_wait: self.replaced_wait_ms.map_or(usual.replaced_wait, Duration::from_millis),
            patience: self.patience_ms.map_or(usual.patience, Duration::from_millis),
        }
    }
}

/// The program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(&cli.command);
    // reqwest and the library's transport use the provider of the process.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("cannot begin")),
    };
    let code = runtime.block_on(async {
        let stop = stop_on_signals()?;
        match cli.command {
            Command::Run { place, supervised } => run::run(&place, supervised, stop).await,
            Command::Link { place, phone, in_words } => link::run(&place, phone.as_deref(), in_words, stop).await,
            Command::Unlink { place } => unlink::run(&place, stop).await,
            Command::Status { place, json } => status::run(&place, json).await,
        }
    });
    // What is left blocks nothing that matters.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    ExitCode::from(FAILED)
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        asked.cancel();
    });
    Ok(stop)
}

/// Logs to standard error: what matters of the library, and for `run` how it goes. `RUST_LOG` says otherwise. Who starts us as a part of
/// something larger, and the journal, have times of their own.
fn log_to_stderr(command: &Command) {
    let usual = match command {
        Command::Run { .. } => "info,whatsapp_rust=warn,wacore=warn",
        // What people should know of the connection they are told in words.
        _ => "warn,whatsapp_rust=off,wacore=off",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let is_part = matches!(command, Command::Run { supervised: true, .. });
    if is_part || std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init();
    } else {
        log.init();
    }
}

/// One line for a person, on standard output.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
