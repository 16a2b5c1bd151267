//! The file that a participant's state is kept in, which one participant at a time uses.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
#[cfg(unix)]
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pyo3::prelude::*;
use zeroize::Zeroizing;

use crate::errors::{ParticipantInit, ParticipantRestore};

/// A file that this participant alone uses.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: pet_participant::StateFile,
    /// Beside it, since the file itself is replaced.
    _lock: File,
}

impl StateFile {
    /// Takes the file for this participant.
    pub(crate) fn open(path: &Path) -> PyResult<Self> {
        let file = pet_participant::StateFile::new(path);
        let failed = |error: &dyn std::fmt::Display| {
            ParticipantInit::new_err(format!(
                "the state file {} cannot be used: {error}; is its directory there, and may it be written to?",
                path.display()
            ))
        };
        let mut options = OpenOptions::new();
        options.write(true).create(true);
        #[cfg(unix)]
        options.mode(0o600);
        let lock = options.open(file.beside("lock")).map_err(|error| failed(&error))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { file, _lock: lock }),
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
        self.file.read().map_err(|error| {
            ParticipantRestore::new_err(format!(
                "the state file {} cannot be read: {error}",
                self.file.path().display()
            ))
        })
    }

    /// Puts a state in place of the one before, in one step, unless that was the last one.
    pub(crate) fn write(&self, state: &[u8]) -> io::Result<()> {
        self.file.write(state)
    }

    /// Puts the last state in place: nothing is written any more afterwards.
    pub(crate) fn write_final(&self, state: &[u8]) -> io::Result<()> {
        self.file.write_final(state)
    }
}
