//! A coordinator's settings as Python gives them: keys of the settings file, and values as text.

use pet_coordinator::settings::{Loaded, Loader};
use pyo3::prelude::*;

use crate::errors::CoordinatorInit;

/// All mistakes are told at once.
pub(crate) fn load(settings: Vec<(String, String)>) -> PyResult<Loaded> {
    let mut loader = Loader::new();
    for (key, value) in settings {
        let name = format!("settings[{key:?}]");
        loader = loader.option(key, name, value);
    }
    loader.load().map_err(|error| CoordinatorInit::new_err(error.to_string()))
}
