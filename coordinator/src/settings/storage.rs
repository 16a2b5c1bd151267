//! `[storage]`: where rounds and models are kept.

use std::path::PathBuf;

/// How many global models are kept unless it is set.
pub(crate) const MODELS_KEPT: usize = 10;

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
