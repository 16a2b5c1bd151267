//! How commands end.

use std::{fmt, io, process::ExitCode};

/// Exit statuses. Documented in the binary's help: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something could not be done.
    Failure = 1,
    /// A wrong command line or wrong settings.
    Usage = 2,
    /// The coordinator does not answer, or not as a coordinator does.
    Unreachable = 3,
    /// What was asked for is not there.
    NotThere = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command has failed, and with which status it ends.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub message: String,
}

impl Failed {
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failed {}

/// Standard output cannot be written.
pub fn output_failed(error: io::Error) -> Failed {
    Failed::new(Exit::Failure, format!("cannot write the output: {error}"))
}
