//! Opens the store that settings name.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{
    rounds::{Kept, RoundMemory, RoundStore},
    DiskStore, RoundDisk, Store, StoreError, Volatile,
};
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
    with_secret(settings, secret, |secret| {
        Ok(Box::new(DiskStore::open(&settings.data_dir, secret, settings.models_kept)?) as Box<_>)
    })
}

/// Opens the store of rounds of version 2 that the settings name, which keeps so many of them. Takes a while, as
/// [`open_store`] does.
///
/// # Errors
/// If it cannot be opened.
pub fn open_round_store(
    settings: &StorageSettings,
    kept: Kept,
    secret: Option<&[u8]>,
) -> Result<Box<dyn RoundStore>, StoreError> {
    if settings.ephemeral {
        return Ok(Box::new(RoundMemory::keeping(kept)));
    }
    with_secret(settings, secret, |secret| {
        Ok(Box::new(RoundDisk::open(&settings.data_dir, secret, kept)?) as Box<_>)
    })
}

/// With the secret of the settings' file, or if there is none with this one.
fn with_secret<T>(
    settings: &StorageSettings,
    secret: Option<&[u8]>,
    open: impl FnOnce(Option<&[u8]>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let secret = secret_of(settings, secret)?;
    open(secret.as_ref().map(|secret| &secret[..]))
}

/// The secret of the settings' file, or if there is none this one.
pub(crate) fn secret_of(
    settings: &StorageSettings,
    secret: Option<&[u8]>,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let from_file = match &settings.secret_file {
        None => None,
        Some(path) => Some(read_secret(path).map_err(|error| StoreError::SecretFile {
            path: path.clone(),
            source: Arc::new(error),
        })?),
    };
    let secret = from_file.as_ref().map(|secret| &secret[..]).or(secret);
    // Whoever writes a secret into a file ends the line.
    Ok(secret.map(|secret| Zeroizing::new(secret.trim_ascii_end().to_vec())))
}
