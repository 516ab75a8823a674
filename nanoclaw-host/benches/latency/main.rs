//! How fast the host is: latencies that people wait for, how soon it is ready, and what it costs when nothing happens.
//!
//! ```text
//! cargo build --release -p agent-runner && cargo bench -p nanoclaw-host -- [--json] [messages|service|containers …]
//! ```
//!
//! Run by hand, on a machine that does nothing else; nothing here fails because something was slow. What the figures mean is
//! said in `docs/benchmarks.md`. Each part is a module:
//!
//! * [`messages`]: from message to prompt, from follow-up to file, from block to channel, inside one process;
//! * [`first_gateway`]: what the first group with a model pays once;
//! * [`service`]: the real program with much in its store: ready when, and what it uses idle;
//! * [`containers`]: the real program with real containers, for context.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure ends")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures go to standard output, progress to standard error"
)]

mod containers;
mod figures;
mod first_gateway;
mod house;
mod machine;
mod messages;
mod program;
mod service;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use figures::{Figure, show};

/// What can be asked of the benchmark.
#[derive(Debug, Parser)]
#[command(name = "latency", about = "How fast the host is")]
struct Args {
    /// What to measure; everything when nothing is named
    parts: Vec<Part>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// How many samples of each latency inside the host
    #[arg(long, default_value_t = 300)]
    samples: usize,
    /// How often the service is started
    #[arg(long, default_value_t = 30)]
    starts: usize,
    /// How many containers of each runtime are started
    #[arg(long, default_value_t = 20)]
    containers: usize,
    /// The program to start, instead of the one that was just built
    #[arg(long, default_value = env!("CARGO_BIN_EXE_nanoclaw"), hide_default_value = true)]
    program: PathBuf,
    /// Cargo says this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Latencies inside the host, with a runtime that starts at once
    Messages,
    /// The real service with 1,000 groups and 100,000 messages
    Service,
    /// Real containers: sandbox, and Docker when it is there
    Containers,
}

fn main() {
    let args = Args::parse();
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut all: Vec<Figure> = vec![machine::commit_to_disk()];
    if wanted(Part::Messages) {
        // First, while nothing else has made this process larger.
        all.extend(first_gateway::measure());
        all.extend(messages::measure(args.samples));
    }
    if wanted(Part::Service) {
        all.extend(service::measure(&args.program, args.starts));
    }
    if wanted(Part::Containers) {
        all.extend(containers::measure(&args.program, args.containers));
    }
    show(&machine::describe(), &all, args.json);
}
