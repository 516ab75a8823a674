//! A value of the configuration together with where it came from, so that `nanoclaw explain` can say why.

use std::{fmt, ops::Deref, path::PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody asked for anything else.
    Default,
    /// A line of a file; lines count from 1.
    File {
        /// The file.
        file: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable of this name.
    Variable(String),
    /// It follows from something else, which this says.
    Because(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line } => {
                write!(f, "{}:{line}", file.file_name().unwrap_or(file.as_os_str()).to_string_lossy())
            }
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Because(reason) => f.write_str(reason),
        }
    }
}

/// A value and where it came from. Reads like the value itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub source: Source,
}

impl<T> Setting<T> {
    /// A value that nobody asked to be otherwise.
    #[must_use]
    pub fn default_to(value: T) -> Self {
        Self { value, source: Source::Default }
    }

    /// Whether somebody asked for this value. What was asked for and cannot be had is refused; a default may give way.
    #[must_use]
    pub fn is_explicit(&self) -> bool {
        self.source != Source::Default
    }
}

impl<T> Deref for Setting<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
