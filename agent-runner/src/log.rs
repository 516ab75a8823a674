//! What this program says about itself: lines on standard error, which the host keeps as the run's log.

use std::{fmt::Arguments, io::Write as _};

/// Writes one line to standard error.
macro_rules! say {
    ($($argument:tt)*) => { $crate::log::line(format_args!($($argument)*)) };
}
pub(crate) use say;

/// A closed or full standard error is no reason to fail: nobody is there to be told.
pub(crate) fn line(text: Arguments<'_>) {
    let line = format!("[agent-runner] {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
