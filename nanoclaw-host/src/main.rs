//! The program `nanoclaw`: a table of contents.
//!
//! * Re-executed as the sandbox's helper it becomes a container, before anything else has happened.
//! * The command line is in [`nanoclaw_host::cli`], one module a command.
//! * What `run` and `chat` start is put together in [`nanoclaw_host::app`].

use std::process::ExitCode;

use nanoclaw_host::{cli, runtimes::sandbox::helper};

fn main() -> ExitCode {
    helper::enter_if_asked();
    cli::main()
}
