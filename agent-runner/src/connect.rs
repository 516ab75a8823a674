//! Speaks to a unix socket from inside a container: what one would take `socat` for, which images do not have. For people who
//! look for a fault, and for `nanoclaw conformance`.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
};

use crate::log::say;

/// Sends standard input, ends the sending side, and writes the answer to standard output.
pub(crate) fn main(path: &Path) -> ExitCode {
    match talk(path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("connect: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}

fn talk(path: &Path) -> io::Result<()> {
    let mut socket = UnixStream::connect(path)?;
    io::copy(&mut io::stdin(), &mut socket)?;
    socket.shutdown(Shutdown::Write)?;
    let mut out = io::stdout();
    io::copy(&mut socket, &mut out)?;
    out.flush()
}
