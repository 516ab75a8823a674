//! The program inside every container.
//!
//! * `agent-runner init -- COMMAND…` is process 1 of every container, whatever the image: see [`init`].
//! * `agent-runner connect PATH` speaks to a unix socket: see [`connect`].
//! * `agent-runner hostile` attacks everything around it, for the self-test: see [`hostile`].
//! * `agent-runner canary` looks at its container from inside: see [`canary`].
//! * `agent-runner terminal -- COMMAND…` gives a command a terminal: see [`terminal`].
//! * `agent-runner mcp` serves the agent's tools: see [`mcp`].
//! * `agent-runner overlay-tools` serves those of the group's overlay: see [`overlay`].
//! * `agent-runner run`, also without arguments, is the agent itself: see [`agent`].
//!
//! It speaks the container contract of [`nanoclaw_core::protocol`] and knows nothing of the host beyond it.

mod agent;
mod canary;
mod chat_tools;
mod connect;
mod egress;
mod ends;
mod hostile;
mod init;
mod log;
mod mcp;
mod model_access;
mod overlay;
mod places;
mod process_group;
mod program;
mod provider;
mod random;
mod search_path;
mod terminal;

use nanoclaw_core::runtime::witness::CANARY_WORD;
use std::{ffi::OsString, io::Write as _, process::ExitCode};

const USAGE: &str = "\
usage: agent-runner [run]                 read one JSON object from standard input and be the agent
       agent-runner init -- COMMAND...    be process 1: run COMMAND, forward to the gateway, keep the journal
       agent-runner mcp                   serve the agent's tools as an MCP server on standard input and output
       agent-runner overlay-tools             serve the tools of the group's overlay in the same way
       agent-runner connect PATH          standard input to a unix socket, its answer to standard output
       agent-runner hostile               be the attacker of `nanoclaw selftest hostile`
       agent-runner canary               look at the container from inside, say as JSON what was seen
       agent-runner terminal -- COMMAND.. run COMMAND on a terminal of its own, which is standard input and output
       agent-runner --help | --version
";

/// The exit code for arguments that are not understood.
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next();
    match word.as_ref().map(|word| word.to_string_lossy()).as_deref() {
        None | Some("run") => ExitCode::from(agent::main()),
        Some("init") => {
            let mut command: Vec<OsString> = arguments.collect();
            if command.first().is_some_and(|word| word == "--") {
                command.remove(0);
            }
            if command.is_empty() {
                log::say!("init: no command was given\n{USAGE}");
                return ExitCode::from(BAD_USAGE);
            }
            ExitCode::from(init::main(&command))
        }
        Some("mcp") => ExitCode::from(mcp::main()),
        Some(overlay::server::WORD) => ExitCode::from(overlay::server::main()),
        Some("connect") => match (arguments.next(), arguments.next()) {
            (Some(path), None) => connect::main(path.as_ref()),
            _ => {
                log::say!("connect: one path is needed\n{USAGE}");
                ExitCode::from(BAD_USAGE)
            }
        },
        Some("hostile") => ExitCode::from(hostile::main(&arguments.collect::<Vec<OsString>>())),
        Some(CANARY_WORD) => ExitCode::from(canary::main()),
        Some(canary::NAMESPACE_WORD) => ExitCode::from(canary::namespace()),
        Some(canary::EAT_WORD) => ExitCode::from(canary::eat()),
        Some("terminal") => ExitCode::from(terminal::main(arguments)),
        Some("--help" | "-h" | "help") => print(USAGE),
        Some("--version" | "-V") => print(concat!("agent-runner ", env!("CARGO_PKG_VERSION"), "\n")),
        Some(word) => {
            log::say!("unknown command {word:?}\n{USAGE}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
