//! `import-model`, and the file of `serve --initial-model`.

use std::{env, ffi::OsString, fs, io, path::Path};

use pet_coordinator::{
    import_model as import, models, open_store, settings::Settings, StartError, SECRET_VARIABLE,
};
use pet_core::model::Model;
use thiserror::Error;
use zeroize::Zeroizing;

use super::exit::{print, Exit, Failed};
use crate::cli::ImportModel;

/// Why a file is no model.
#[derive(Debug, Error)]
pub enum ModelFileError {
    /// It is not there, or not for us.
    #[error("cannot read the model {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is something else.
    #[error("the model {path} cannot be used: {source}")]
    Npy {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: models::NpyError,
    },
}

/// The weights in a NumPy file.
pub fn read_model(path: &Path) -> Result<Model, ModelFileError> {
    let name = || path.display().to_string();
    let file = fs::read(path).map_err(|source| ModelFileError::Read { path: name(), source })?;
    models::read_npy(&file).map_err(|source| ModelFileError::Npy { path: name(), source })
}

/// Begins a federation with a model.
pub fn import_model(
    args: &ImportModel,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), Failed> {
    let loaded = args.settings.loader(env).load();
    let settings = loaded.map_err(|error| Failed::new(Exit::Usage, error))?.settings;
    let failed = |error: &dyn std::fmt::Display| Failed::new(Exit::Failure, error);
    let model = read_model(&args.file).map_err(|error| failed(&error))?;
    let secret =
        env::var_os(SECRET_VARIABLE).map(|secret| Zeroizing::new(secret.into_encoded_bytes()));
    let secret = secret.as_ref().map(|secret| secret.trim_ascii_end());
    if settings.storage.engine.is_shared() {
        share(&model, &settings, secret)?;
    } else if settings.storage.ephemeral {
        let why = "nothing is kept (storage.ephemeral): give the model to `pet-coordinator serve --initial-model`";
        return Err(Failed::new(Exit::Usage, why));
    } else {
        let opened = open_store(&settings.storage, secret).map_err(StartError::from);
        let imported = opened.and_then(|mut store| import(&mut *store, &model, &settings));
        imported.map_err(|error| failed(&error))?;
    }
    print(format!("the first round begins with this model, of {} weights\n", model.len()))
}

/// Begins a federation that several share.
#[cfg(feature = "replicas")]
fn share(model: &Model, settings: &Settings, secret: Option<&[u8]>) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::new(Exit::Failure, error);
    let store = pet_coordinator::open_shared(settings, secret).map_err(|error| failed(&error))?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    let imported =
        runtime.block_on(pet_coordinator::transfer::import_shared(model, settings, &store));
    imported.map_err(|error| failed(&error))
}

#[cfg(not(feature = "replicas"))]
fn share(_: &Model, _: &Settings, _: Option<&[u8]>) -> Result<(), Failed> {
    Err(Failed::new(Exit::Failure, StartError::NothingShared))
}
