//! Serves the fake model API until it is ended, and prints its address: for tours, and for tests in other languages.

use std::net::SocketAddr;

use anyhow::Context;
use clap::{Parser, ValueEnum};
use nanoclaw_fakes::model_api::{FakeModelApi, Script};

/// A fake of the Anthropic Messages API on loopback. Prints its base URL on standard output and serves until it is ended.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The only key that is let in; without it, any.
    #[arg(long)]
    expect_key: Option<String>,
    /// What it answers.
    #[arg(long, value_enum, default_value = "tools")]
    script: ScriptName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScriptName {
    /// `echo: <what was said>`.
    Echo,
    /// Does what it is told: `bash: COMMAND`, `use: TOOL JSON`, `recall`, `fail: STATUS`; echoes the rest.
    Tools,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let script = match arguments.script {
        ScriptName::Echo => Script::echo(),
        ScriptName::Tools => Script::tools(),
    };
    let listen = arguments.listen;
    let api = FakeModelApi::start_at(listen, script).await.with_context(|| format!("cannot listen on {listen}"))?;
    if let Some(key) = &arguments.expect_key {
        api.expect_key(key);
    }
    say(&api.base_url());
    std::future::pending().await
}

#[expect(clippy::print_stdout, reason = "the address is this program's output")]
fn say(line: &str) {
    println!("{line}");
}
