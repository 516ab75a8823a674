//! Numbers that nobody can guess.

use std::{
    fs::File,
    io::{self, Read as _},
};

/// A random number from the system.
///
/// # Errors
/// When the system's source of them cannot be read.
pub(crate) fn random() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
