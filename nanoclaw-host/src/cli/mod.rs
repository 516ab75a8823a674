//! The command line: what can be said, and who does it.

mod auth;
mod backup;
mod channels;
pub mod chat;
mod cleanup;
mod conformance;
mod doctor;
mod explain;
mod failure;
mod gateway;
mod generated;
mod groups;
mod image;
mod import;
mod init;
mod logging;
mod logs;
mod mounts;
mod outbox;
mod output;
mod parts;
mod ps;
mod run;
mod selftest;
mod senders;
mod service;
mod sessions;
mod setup;
mod skills;
mod stats;
mod status;
mod tasks;
mod turns;
mod version;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    admin::OpenHome,
    config::{Config, ProcessEnvironment},
    home::{Home, initialise},
};

/// Personal assistants for your chats, each group's in a container of its own.
#[derive(Debug, Parser)]
#[command(name = "nanoclaw", version, long_version = version::long(), max_term_width = 100, after_long_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    /// The folder with everything of one installation
    ///
    /// Default: the current folder when it holds a nanoclaw.toml, else ~/.local/share/nanoclaw (XDG_DATA_HOME is honoured).
    /// The environment variable NANOCLAW_HOME does the same.
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  nanoclaw setup                                      everything, step by step, until a message is answered
  nanoclaw chat                                       talk to the assistant in the terminal
  nanoclaw chat -m \"@Andy what is on my list?\"        ask one thing, print the answer, end
  nanoclaw auth set                                   store an API key or a token, for a real model
  nanoclaw run                                        the service, in the foreground
  nanoclaw groups add tg:-100123 --name Family        register a chat
  nanoclaw groups pair                                make your private chat the main group, by a code
  nanoclaw explain tg_family                          what its container may do, and why
  nanoclaw status --watch                             how the service is, as it changes
  nanoclaw turns list                                 what waits for an answer, and why
  nanoclaw doctor                                     what works here and what does not

Exit codes: 0 done, 1 failed, 2 not understood.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Set everything up, step by step, until a message is answered
    Setup(setup::SetupArgs),
    /// Talk to the assistant in the terminal
    Chat {
        #[command(flatten)]
        args: chat::ChatArgs,
        #[command(flatten)]
        serve: parts::ServeOptions,
    },
    /// Run the service in the foreground
    Run(run::RunArgs),
    /// Show, store and check the credential for the model, and other secrets of the host
    #[command(subcommand)]
    Auth(auth::AuthCommand),
    /// Make a home: configuration, folders, first memory files
    Init(init::InitArgs),
    /// Show, add and remove groups: the chats that have an assistant
    #[command(subcommand)]
    Groups(groups::GroupsCommand),
    /// Show on one screen how the service is, and why; ends with 1 when it is failing, or none runs
    Status(status::StatusArgs),
    /// Show each group: what its container does, what waits, its memory, its last run
    Ps(ps::PsArgs),
    /// Show what groups' runs came to, day by day
    Stats(stats::StatsArgs),
    /// Show how the service stands with chat services
    Channels(channels::ChannelsArgs),
    /// Show the messages that go out, and decide about those that were not sent
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Show what waits for an answer or was set aside, have it tried again, or drop it
    #[command(subcommand)]
    Turns(turns::TurnsCommand),
    /// Show, add and change what is scheduled, and what came of it
    #[command(subcommand)]
    Tasks(tasks::TasksCommand),
    /// Show the conversations of groups, take one up, begin one anew, write one out or remove it
    #[command(subcommand)]
    Sessions(sessions::SessionsCommand),
    /// Show what of this machine groups are shown besides their own, and why or why not
    #[command(subcommand)]
    Mounts(mounts::MountsCommand),
    /// Show who may speak to agents, by the list of senders
    #[command(subcommand)]
    Senders(senders::SendersCommand),
    /// Show, add, remove and check skills
    #[command(subcommand)]
    Skills(skills::SkillsCommand),
    /// Make, show, check and restore backups of the home
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Remove what nobody needs any more, as the service does each night
    Cleanup(cleanup::CleanupArgs),
    /// Move in from NanoClaw v1: groups, messages, sessions, tasks, settings
    Import(import::ImportArgs),
    /// Have systemd run the service: install and remove its unit, see how it stands, read its log
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Show what a group's containers logged
    Logs(logs::LogsArgs),
    /// Show what each group used of the gateway: requests, bytes, tokens
    Gateway(gateway::GatewayArgs),
    /// Build and list the images that agents run in
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Check what works on this machine and what does not
    Doctor(doctor::DoctorArgs),
    /// Check what the runtimes of this machine promise, with real containers
    Conformance(conformance::ConformanceArgs),
    /// Prove with real containers that isolation holds on this machine
    #[command(subcommand)]
    Selftest(selftest::SelftestCommand),
    /// Show what a group's container is made of and may do, and why
    Explain(explain::ExplainArgs),
    /// Print what completes the command line in a shell
    Completions(generated::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(generated::ManArgs),
    /// List the points at which NANOCLAW_KILL_AT can make this build of the program kill itself
    #[cfg(feature = "failpoints")]
    #[command(hide = true)]
    Failpoints,
}

/// Runs the command that the arguments of this process name, and says with which code to end.
#[must_use]
pub fn main() -> ExitCode {
    let Cli { home, command } = Cli::parse();
    let runtime = match event_loop() {
        Ok(runtime) => runtime,
        Err(error) => return failure::report(&anyhow::Error::new(error).context("cannot start the event loop")),
    };
    let code = match runtime.block_on(dispatch(&Place { given: home }, command)) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    };
    // A thread that reads the terminal cannot be interrupted and must not keep the program from ending.
    runtime.shutdown_background();
    code
}

/// The most threads that work is shared among. The host waits far more than it works, and each thread costs memory.
const MOST_WORKERS: usize = 4;

/// What everything runs on.
///
/// # Errors
/// When the system has no threads left.
pub fn event_loop() -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(processors.min(MOST_WORKERS)).enable_all().build()
}

async fn dispatch(place: &Place, command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Chat { args, serve } => {
            let home = place.home()?;
            initialise(&home)?;
            let config = place.config(&home)?;
            logging::to_file(&home.log_file(), &config.log)?;
            return parts::chat(args, home, config, serve).await;
        }
        Command::Setup(args) => return setup::run(args, place).await,
        Command::Run(args) => run::run(args, place).await?,
        Command::Auth(command) => return auth::run(command, place).await,
        Command::Init(args) => init::run(args, place)?,
        Command::Groups(command) => groups::run(command, place).await?,
        Command::Status(args) => return status::run(args, place).await,
        Command::Ps(args) => ps::run(args, place).await?,
        Command::Stats(args) => stats::run(args, place).await?,
        Command::Channels(args) => channels::run(args, place).await?,
        Command::Outbox(command) => outbox::run(command, place).await?,
        Command::Turns(command) => turns::run(command, place).await?,
        Command::Tasks(command) => tasks::run(command, place).await?,
        Command::Sessions(command) => sessions::run(command, place).await?,
        Command::Mounts(command) => return mounts::run(command, place).await,
        Command::Senders(command) => return senders::run(command, place).await,
        Command::Skills(command) => return skills::run(command, place).await,
        Command::Backup(command) => backup::run(command, place).await?,
        Command::Cleanup(args) => cleanup::run(args, place).await?,
        Command::Import(args) => import::run(args, place).await?,
        Command::Service(command) => return service::run(command, place),
        Command::Logs(args) => logs::run(args, place).await?,
        Command::Gateway(args) => gateway::run(args, place).await?,
        Command::Image(command) => image::run(command, place).await?,
        Command::Doctor(args) => return doctor::run(args, place).await,
        Command::Conformance(args) => return conformance::run(args, place).await,
        Command::Selftest(command) => return selftest::run(command, place).await,
        Command::Explain(args) => explain::run(args, place).await?,
        Command::Completions(args) => generated::completions(&args)?,
        Command::Man(args) => generated::man(&args)?,
        #[cfg(feature = "failpoints")]
        Command::Failpoints => {
            for name in crate::failpoints::names() {
                output::line(&name)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a command works: the home that was given or found, and the environment.
struct Place {
    given: Option<PathBuf>,
}

impl Place {
    /// The home that is meant, whether it is there or not.
    fn home(&self) -> anyhow::Result<Home> {
        self.home_or(self.given.as_deref())
    }

    /// The home at `given`, or the one that is found.
    fn home_or(&self, given: Option<&Path>) -> anyhow::Result<Home> {
        let current = std::env::current_dir().ok();
        Ok(Home::find(given, current.as_deref(), &ProcessEnvironment)?)
    }

    /// The home that is meant.
    ///
    /// # Errors
    /// When nobody made it yet.
    fn existing_home(&self) -> anyhow::Result<Home> {
        let home = self.home()?;
        if home.exists() {
            return Ok(home);
        }
        let folder = home.root().display();
        Err(failure::with_help(
            format!("there is no home at {folder}"),
            match &self.given {
                Some(_) => format!("`nanoclaw init {folder}` makes one"),
                None => "`nanoclaw init` makes one, --home DIR names another".to_owned(),
            },
        ))
    }

    fn config(&self, home: &Home) -> anyhow::Result<Config> {
        Ok(Config::load(home, &ProcessEnvironment)?)
    }

    /// Whoever answers for the home: the running service, or the store.
    async fn open(&self) -> anyhow::Result<(OpenHome, Config)> {
        let home = self.existing_home()?;
        let config = self.config(&home)?;
        let opened = crate::admin::connect_or_open(&home, || parts::open_store(&home, &config)).await?;
        Ok((opened, config))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
