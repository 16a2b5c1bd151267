//! How commands end.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

/// Exit statuses. Documented in the binary's help: they do not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Whoever reads the output has had enough of it (`... | head`): no failure, and nothing to tell.
    ReaderGone = 0,
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

/// Writes to standard output, all of it: what is left in a buffer at the end could be lost without a word.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(output_failed)
}

/// Standard output cannot be written.
pub fn output_failed(error: io::Error) -> Failed {
    let exit = match error.kind() {
        io::ErrorKind::BrokenPipe => Exit::ReaderGone,
        _ => Exit::Failure,
    };
    Failed::new(exit, format!("cannot write the output: {error}"))
}
