//! The data directory of a coordinator that does not run.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use pet_coordinator::{
    completed_models, read_secret, DiskStore, Models, RoundDisk, RoundStore, Store, StoreError,
    Volatile, SECRET_VARIABLE,
};
use pet_core::crypto::RootSeed;
use zeroize::Zeroizing;

use super::exit::{Exit, Failed};

/// The file that every store has.
const DATABASE: &str = "coordinator.redb";
/// Where the store of rounds of version 2 is.
const FOLDER: &str = "v2";

/// What there is in a directory: rounds of version 1, of version 2, or of both.
pub struct Opened {
    v1: Option<DiskStore>,
    v2: Option<RoundDisk>,
}

impl Opened {
    /// The global models: those of version 2 where there are any.
    pub fn models(&self) -> Arc<dyn Models> {
        let of_v1 = self.v1.as_ref().map(Store::models);
        let of_v2 = self.v2.as_ref().map(|store| completed_models(store.archive()));
        match (of_v1, of_v2) {
            (Some(of_v1), Some(of_v2)) if of_v2.rounds().is_empty() => of_v1,
            (_, Some(of_v2)) => of_v2,
            (Some(of_v1), None) => of_v1,
            (None, None) => Volatile::keeping(0).models(),
        }
    }
}

/// Opens a directory that is there, which nobody else does at the time. Everything in it is checked.
pub fn open(dir: &Path, secret_file: Option<&PathBuf>) -> Result<Opened, Failed> {
    // Opening would make one.
    let (is_v1, is_v2) = (dir.join(DATABASE).is_file(), dir.join(FOLDER).join(DATABASE).is_file());
    if !is_v1 && !is_v2 {
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
    // If nothing was begun in it yet, it becomes the root of a coordinator's keys.
    let root = || {
        let root = RootSeed::try_fill(|seed| getrandom::fill(seed));
        root.map_err(|error| Failed::new(Exit::Failure, error))
    };
    let mut opened = Opened { v1: None, v2: None };
    if is_v1 {
        let mut store = DiskStore::inspect(dir, secret).map_err(failed)?;
        store.restore(root()?).map_err(failed)?;
        opened.v1 = Some(store);
    }
    if is_v2 {
        let mut store = RoundDisk::inspect(dir, secret).map_err(failed)?;
        store.restore(root()?).map_err(failed)?;
        opened.v2 = Some(store);
    }
    Ok(opened)
}
