//! How fast the host is: latencies that people wait for, how soon it is ready, and what it costs when nothing happens.
//!
//! ```text
//! cargo build --release -p agent-runner -p nanoclaw-whatsapp && cargo bench -p nanoclaw-host -- [--json] [messages|services|tasks|gateway|hostile|throughput|service|containers|standby|native|restart|crowd …]
//! ```
//!
//! Run by hand, on a machine that does nothing else; nothing here fails because something was slow. What the figures mean is
//! said in `docs/benchmarks.md`. Each part is a module:
//!
//! * [`messages`]: from message to prompt, from follow-up to file, from block to channel, inside one process;
//! * [`services`]: from somebody who writes on a chat service to the prompt, and from block to the service's own side;
//! * [`tasks`]: from due time to container, what many tasks cost at rest, and what the store takes to find and claim one;
//! * [`first_gateway`]: what the first group with a model pays once;
//! * [`gateway`]: what it adds to requests, to streams and to what goes through tunnels;
//! * [`throughput`]: messages a second with every commit synced, and commits a message;
//! * [`service`]: the real program with much in its store: ready when, and what it uses idle;
//! * [`containers`]: the real program with real containers, for context;
//! * [`standby`]: until the first byte of a prompt is inside, to containers that were started ahead and to such that were not;
//! * [`native`]: our own small agent, beside the engine's own start of the same image; its memory, beside Claude Code's;
//! * [`crowd`]: the real program with 300 groups on six channels at once whose services fail, and its memory;
//! * [`hostile`]: the real program with an agent that attacks its mailbox, and what another group feels of it;
//! * [`restart`]: the real program after `kill -9`, with containers of its predecessor.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot measure ends")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "figures go to standard output, progress to standard error"
)]

mod containers;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
mod crowd;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
mod crowd_figures;
mod figures;
mod first_gateway;
mod gateway;
mod hostile;
mod house;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
#[path = "../../tests/lines/mod.rs"]
mod lines;
mod machine;
mod messages;
mod native;
mod program;
mod restart;
mod service;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
mod services;
mod standby;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
mod steps;
mod tasks;
#[cfg(feature = "telegram")]
#[path = "../../tests/telegram_state/mod.rs"]
mod telegram_state;
mod throughput;
#[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
#[path = "../../tests/whatsapp_account/mod.rs"]
mod whatsapp_account;

use std::{path::PathBuf, time::Duration};

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
    /// How many groups the throughput is measured with
    #[arg(long, default_value_t = 20)]
    groups: usize,
    /// How many messages are said in each of them
    #[arg(long, default_value_t = 100)]
    messages: usize,
    /// How often the throughput is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How often the service is killed
    #[arg(long, default_value_t = 10)]
    kills: usize,
    /// How many rounds of quiet, control and attack
    #[arg(long, default_value_t = 8)]
    hostile_rounds: usize,
    /// Processors that the hostile agent's container may take.
    #[arg(long, default_value_t = 1.5)]
    hostile_cpus: f32,
    /// Milliseconds that people let pass before they write again beside it
    #[arg(long, default_value_t = 0)]
    hostile_pause: u64,
    /// How many groups each channel of the crowd has, and how many messages each of those
    #[arg(long, num_args = 2, value_names = ["GROUPS", "MESSAGES"], default_values_t = [50, 20])]
    crowd: Vec<usize>,
    /// How many containers the crowd has at once
    #[arg(long, default_value_t = 50)]
    crowd_cap: usize,
    /// What chance begins with in the crowd
    #[arg(long, default_value_t = 1)]
    crowd_seed: u64,
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
    /// The same by the clients of chat services, each with a fake of its service
    Services,
    /// Scheduled tasks: how late they are, and 10,000 of them at rest
    Tasks,
    /// What the gateway adds to requests, streams and tunnels
    Gateway,
    /// Messages a second, and commits
    Throughput,
    /// The real service with 1,000 groups and 100,000 messages
    Service,
    /// Real containers: sandbox, and Docker when it is there
    Containers,
    /// Real containers, started ahead and not
    Standby,
    /// The agent `native` in real containers, started ahead and not, beside raw starts; memory at rest
    Native,
    /// From SIGKILL to serving again
    Restart,
    /// All channels at once, with many groups and services that fail
    Crowd,
    /// A group's follow-ups while another group's agent attacks its mailbox
    Hostile,
}

impl Args {
    #[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
    fn crowd(&self) -> crowd::Plan {
        let &[groups, messages] = self.crowd.as_slice() else { unreachable!("there are two by definition") };
        crowd::Plan { groups, messages, cap: self.crowd_cap, at_once: 100, breaks: 4, seed: self.crowd_seed }
    }

    fn hostile(&self) -> hostile::Conditions {
        hostile::Conditions {
            rounds: self.hostile_rounds,
            processors: self.hostile_cpus,
            pause: Duration::from_millis(self.hostile_pause),
        }
    }
}

fn main() {
    hostile::maybe_attack();
    let args = Args::parse();
    let wanted = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut all: Vec<Figure> = vec![machine::commit_to_disk()];
    if wanted(Part::Messages) {
        // First, while nothing else has made this process larger.
        all.extend(first_gateway::measure());
        all.extend(messages::measure(args.samples));
    }
    #[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
    if wanted(Part::Services) {
        all.extend(services::measure(&args.program.with_file_name(crowd::WHATSAPP), args.samples));
    }
    if wanted(Part::Tasks) {
        all.extend(tasks::measure(&args.program, args.samples));
    }
    if wanted(Part::Gateway) {
        all.extend(gateway::measure(args.samples));
    }
    if wanted(Part::Throughput) {
        all.extend(throughput::measure(args.groups, args.messages, args.rounds));
    }
    if wanted(Part::Service) {
        all.extend(service::measure(&args.program, args.starts));
    }
    if wanted(Part::Containers) {
        all.extend(containers::measure(&args.program, args.containers));
    }
    if wanted(Part::Standby) {
        all.extend(standby::measure(&args.program, args.containers));
    }
    if wanted(Part::Native) {
        all.extend(native::measure(&args.program, args.containers));
    }
    if wanted(Part::Restart) {
        all.extend(restart::measure(&args.program, args.containers, args.kills));
    }
    #[cfg(all(feature = "discord", feature = "slack", feature = "telegram"))]
    if wanted(Part::Crowd) {
        all.extend(crowd_figures::measure(&args.program, &args.crowd()));
    }
    if wanted(Part::Hostile) {
        all.extend(hostile::measure(&args.program, &args.hostile()));
    }
    show(&machine::describe(), &all, args.json);
}
