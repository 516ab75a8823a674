//! A host inside another program: starts one in a folder of its own, asks one thing, and ends it.
//!
//! `cargo build -p agent-runner && cargo run -p nanoclaw-host --example embedded -- "hello there"`

use std::path::Path;

use nanoclaw_core::orchestrator::AtShutdown;
use nanoclaw_host::{
    app::{self, Isolation, Patience},
    cli::chat::{self, ChatArgs},
    config::{Config, ProcessEnvironment},
    home::{Home, HomeLock},
    runtimes::sandbox::helper,
    unix_socket::connect,
};

fn main() -> anyhow::Result<()> {
    // The embedded sandbox re-executes this very program, so this comes before anything else.
    helper::enter_if_asked();
    tokio::runtime::Runtime::new()?.block_on(ask())
}

async fn ask() -> anyhow::Result<()> {
    let home = Home::at(&std::env::temp_dir().join("nanoclaw-embedded"))?;
    let mut config = Config::load(&home, &ProcessEnvironment)?;
    if config.agent.runner.value.is_none() {
        // Examples lie one folder below the programs.
        let programs = std::env::current_exe()?.parent().and_then(Path::parent).map(Path::to_owned);
        config.agent.runner.value = programs.map(|folder| folder.join("agent-runner"));
    }

    let host = app::start(HomeLock::acquire(&home)?, config, Isolation::Required, Patience::Refuse).await?;
    let messages = std::env::args().skip(1).collect::<Vec<_>>();
    let messages = if messages.is_empty() { vec!["hello".to_owned()] } else { messages };
    let talk = ChatArgs { messages, chat: "local:main".parse()?, timeout: Some(60) };
    let ended = chat::run(talk, connect(&home.local_socket()).await?).await;
    host.end(AtShutdown::Stop).await;
    ended.map(|_| ())
}
