//! `[storage]`: where rounds and models are kept.

use std::path::PathBuf;

use crate::{
    private::read_secret,
    store::{DiskStore, Store, StoreError, Volatile, MODELS_KEPT},
};

/// `[storage]`: where rounds and models are kept. Not among the old keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// The directory; made if it is not there. Default: `./pet-data`.
    pub data_dir: PathBuf,
    /// Keep everything in memory instead: it is lost when the coordinator stops. Default: no.
    pub ephemeral: bool,
    /// How many global models are kept, 1 at least. Default: 10.
    pub models_kept: usize,
    /// A file with the secret that keys in the data directory are sealed with, 16 bytes at least.
    /// Default: none; then the binary takes it from the environment variable `PET_STORAGE_SECRET`, and
    /// without that nothing is sealed.
    pub secret_file: Option<PathBuf>,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            data_dir: "./pet-data".into(),
            ephemeral: false,
            models_kept: MODELS_KEPT,
            secret_file: None,
        }
    }
}

impl StorageSettings {
    /// Opens the store. `secret` is what keys are sealed with if there is no file for it. Takes a while:
    /// not for the threads of an async runtime.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(&self, secret: Option<&[u8]>) -> Result<Box<dyn Store>, StoreError> {
        if self.ephemeral {
            return Ok(Box::new(Volatile::keeping(self.models_kept)));
        }
        let from_file = match &self.secret_file {
            None => None,
            Some(path) => {
                let read = read_secret(path);
                let read = read.map_err(|error| {
                    StoreError::io("read the secret (storage.secret_file) in", path, error)
                })?;
                Some(read)
            }
        };
        let secret = from_file.as_ref().map(|secret| &secret[..]).or(secret);
        // Whoever writes a secret into a file ends the line.
        let secret = secret.map(<[u8]>::trim_ascii_end);
        Ok(Box::new(DiskStore::open(&self.data_dir, secret, self.models_kept)?))
    }
}
