//! `store`: what several coordinators share.

use std::{env, ffi::OsString};

use pet_coordinator::{init_shared, key, settings::StorageEngine, SECRET_VARIABLE};
use zeroize::Zeroizing;

use super::exit::{print, Exit, Failed};
use crate::cli::{Store, StoreAction};

pub fn store(
    args: &Store,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let StoreAction::Init { settings } = &args.action;
    let loaded = settings.loader(env).load();
    let settings = loaded.map_err(|error| Failed::new(Exit::Usage, error))?.settings;
    let engine = settings.storage.engine;
    if engine == StorageEngine::Directory {
        let why = format!("there is nothing to set up: {} is \"directory\"", key!(storage.engine));
        return Err(Failed::new(Exit::Usage, why));
    }
    let failed = |error: &dyn std::fmt::Display| Failed::new(Exit::Failure, error);
    let secret =
        env::var_os(SECRET_VARIABLE).map(|secret| Zeroizing::new(secret.into_encoded_bytes()));
    let secret = secret.as_ref().map(|secret| &secret[..]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    runtime.block_on(init_shared(&settings, secret)).map_err(|error| failed(&error))?;
    let federation = &settings.storage.federation;
    print(format!("federation {federation:?} is set up in {}\n", engine.name()))
}
