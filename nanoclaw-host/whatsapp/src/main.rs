//! The program `nanoclaw-whatsapp`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nanoclaw_whatsapp::cli::main()
}
