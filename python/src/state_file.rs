//! The file that a participant's state is kept in.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::errors::{ParticipantInit, ParticipantRestore};

/// A file that this participant alone uses: what is written there is there after a power cut, or what was there before.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// Beside it, since the file itself is replaced.
    _lock: File,
}

impl StateFile {
    /// Takes the file for this participant.
    pub(crate) fn open(path: &Path) -> PyResult<Self> {
        let beside = beside(path, "lock");
        let failed = |error: &dyn std::fmt::Display| {
            ParticipantInit::new_err(format!(
                "the state file {} cannot be used: {error}; is its directory there, and may it be written to?",
                path.display()
            ))
        };
        let lock = private().create(true).open(&beside).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ParticipantInit::new_err(format!(
                "the state file {} is in use by another participant: give each a file of its own, and stop the other one \
                 first if it is the same",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// What was kept there; nothing if the file is not there yet.
    pub(crate) fn read(&self) -> PyResult<Option<Zeroizing<Vec<u8>>>> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ParticipantRestore::new_err(format!(
                "the state file {} cannot be read: {error}",
                self.path.display()
            ))),
        }
    }

    /// Puts a state in place of the one before, in one step.
    pub(crate) fn write(&self, state: &[u8]) -> io::Result<()> {
        let unfinished = beside(&self.path, "unfinished");
        let mut file = private().create(true).truncate(true).open(&unfinished)?;
        file.write_all(state)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)?;
        #[cfg(unix)]
        if let Some(directory) = self.path.parent() {
            let directory =
                if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
            File::open(directory)?.sync_all()?;
        }
        Ok(())
    }
}

/// For nobody else: it holds secret keys.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    options.mode(0o600);
    options
}

fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    name.into()
}
