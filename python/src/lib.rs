//! The native module of the Python package `xaynet_sdk`.
//!
//! A Python program sees a participant as an object that is asked now and then what has happened
//! (`tick`, and the methods that tell what is due). The participant itself works on a thread of its
//! own that never touches Python: requests, masking and the rest go on whatever the interpreter does,
//! and no call holds the interpreter's lock while it waits.

#![deny(unsafe_code)]

mod buffers;
mod errors;
mod exit;
mod logging;
#[cfg(feature = "coordinator")]
mod member;
mod network;
mod noise;
mod participant;
mod pin;
mod protocol;
mod rounds;
mod saved;
mod seal;
#[cfg(feature = "coordinator")]
mod server;
#[cfg(feature = "coordinator")]
mod settings;
mod state_file;
mod state_in;
mod steps;
mod weights_in;
mod weights_out;

use pyo3::prelude::*;

/// The module as Python knows it: `xaynet_sdk.xaynet_sdk`.
// Free-threaded builds get their lock back: nothing was tested without it. PyO3 would declare the contrary.
#[pymodule(gil_used = true)]
fn xaynet_sdk(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<participant::Participant>()?;
    module.add_function(wrap_pyfunction!(logging::init_logging, module)?)?;
    module.add_class::<network::Network>()?;
    errors::add_to(module)?;
    errors::add_refusals_to(module)?;
    module.add_function(wrap_pyfunction!(pin::credential_of, module)?)?;
    #[cfg(feature = "coordinator")]
    module.add_function(wrap_pyfunction!(pin::roster_hash, module)?)?;
    protocol::add_to(module)?;
    seal::add_to(module)?;
    module.add_function(wrap_pyfunction!(noise::discrete_gaussian, module)?)?;
    module.add_class::<steps::StepSum>()?;
    module.add_class::<rounds::RoundWatch>()?;
    module.add_function(wrap_pyfunction!(rounds::advice_for, module)?)?;
    module.add_class::<saved::Saved>()?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    state_in::add_to(module)?;
    #[cfg(feature = "coordinator")]
    {
        module.add_class::<server::CoordinatorServer>()?;
        module.add_class::<member::Service>()?;
        module.add_function(wrap_pyfunction!(member::member_key, module)?)?;
    }
    exit::register(module.py())
}
