//! The data directory of a coordinator that does not run.

use std::{
    env,
    path::{Path, PathBuf},
};

use pet_coordinator::{read_secret, DiskStore, Store, StoreError, SECRET_VARIABLE};
use pet_core::crypto::RootSeed;
use zeroize::Zeroizing;

use super::exit::{Exit, Failed};

/// The file that every data directory has.
const DATABASE: &str = "coordinator.redb";

/// Opens a directory that is there, which nobody else does at the time. Everything in it is checked.
pub fn open(dir: &Path, secret_file: Option<&PathBuf>) -> Result<DiskStore, Failed> {
    // Opening would make one.
    if !dir.join(DATABASE).is_file() {
        let why = format!("there is no {DATABASE} in {}: is this a data directory?", dir.display());
        return Err(Failed::new(Exit::NotThere, why));
    }
    let secret = match secret_file {
        Some(path) => Some(read_secret(path).map_err(|error| {
            let path = path.display();
            Failed::new(Exit::Failure, format!("cannot read the secret file {path}: {error}"))
        })?),
        None => {
            env::var_os(SECRET_VARIABLE).map(|secret| Zeroizing::new(secret.into_encoded_bytes()))
        }
    };
    let secret = secret.as_ref().map(|secret| secret.trim_ascii_end());
    let failed = |error: StoreError| Failed::new(Exit::Failure, error);
    let mut store = DiskStore::inspect(dir, secret).map_err(failed)?;
    // If nothing was begun in it yet, it becomes the root of a coordinator's keys.
    let root = RootSeed::try_fill(|seed| getrandom::fill(seed))
        .map_err(|error| Failed::new(Exit::Failure, error))?;
    store.restore(root).map_err(failed)?;
    Ok(store)
}
