//! Opens the store that settings name.

use std::sync::Arc;

use super::{DiskStore, Store, StoreError, Volatile};
use crate::{private::read_secret, settings::StorageSettings};

/// The environment variable with the secret of the binary's store, if there is no file for it.
pub const SECRET_VARIABLE: &str = "PET_STORAGE_SECRET";

/// Opens the store that the settings name. `secret` is what keys are sealed with if there is no file for it. Takes a
/// while: not for the threads of an async runtime.
///
/// # Errors
/// If it cannot be opened.
pub fn open_store(
    settings: &StorageSettings,
    secret: Option<&[u8]>,
) -> Result<Box<dyn Store>, StoreError> {
    if settings.ephemeral {
        return Ok(Box::new(Volatile::keeping(settings.models_kept)));
    }
    let from_file = match &settings.secret_file {
        None => None,
        Some(path) => Some(read_secret(path).map_err(|error| StoreError::SecretFile {
            path: path.clone(),
            source: Arc::new(error),
        })?),
    };
    let secret = from_file.as_ref().map(|secret| &secret[..]).or(secret);
    // Whoever writes a secret into a file ends the line.
    let secret = secret.map(<[u8]>::trim_ascii_end);
    Ok(Box::new(DiskStore::open(&settings.data_dir, secret, settings.models_kept)?))
}
