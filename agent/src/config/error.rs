//! What is said when a setting cannot be used: where it stands, what stands there, what is allowed.
//!
//! In: a place ([`Source`]) and a sentence. Out: one line for stderr; the program then exits with
//! [`ConfigError::EXIT_CODE`]. Always holds: the line begins with the place. Refuses: to show secret values (headers).

use std::fmt::{Display, Formatter, Result as FmtResult};

/// Where a setting was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A line (from 1) of the configuration file.
    File {
        /// Path as the user gave it.
        path: String,
        /// Line, counted from 1; 0 when the whole file is meant.
        line: usize,
    },
    /// An environment variable.
    Env(String),
    /// A command-line option, with its dashes.
    Option(&'static str),
    /// No single place: settings that do not fit together.
    Together,
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        match self {
            Self::File { path, line: 0 } => write!(f, "{path}: "),
            Self::File { path, line } => write!(f, "{path}:{line}: "),
            Self::Env(name) => write!(f, "{name}: "),
            Self::Option(name) => write!(f, "{name}: "),
            Self::Together => Ok(()),
        }
    }
}

/// A setting that cannot be used. `Display` is the one line for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_place}{message}")]
pub struct ConfigError {
    /// Where the setting stands.
    pub source_place: Source,
    /// What is wrong and what is allowed.
    pub message: String,
}

impl ConfigError {
    /// Exit code of the program after a configuration error.
    pub const EXIT_CODE: u8 = 2;

    /// An error at `source_place`.
    pub fn new(source_place: Source, message: impl Into<String>) -> Self {
        Self {
            source_place,
            message: message.into(),
        }
    }
}
