//! The state machines themselves, for Python: what `xaynet_sdk.protocol` is made of.
//!
//! Outputs are tuples whose first item names them. The package turns them into classes; here they
//! are as plain as can be.

#[cfg(feature = "coordinator")]
mod attend;
#[cfg(feature = "coordinator")]
mod coordinator;
mod job;
mod participant;
#[cfg(feature = "coordinator")]
mod sealed;

pub(crate) use participant::message_size;

use pet_transport_blocking::core::crypto::Task;
use pet_transport_blocking::core::model::DataType;
use pet_transport_blocking::core::round::RoundParameters;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

/// Makes the classes importable from the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<participant::ParticipantMachine>()?;
    module.add_class::<participant::PreparedModel>()?;
    module.add_class::<job::Job>()?;
    module.add_class::<job::JobResult>()?;
    #[cfg(feature = "coordinator")]
    module.add_class::<coordinator::CoordinatorMachine>()?;
    #[cfg(feature = "coordinator")]
    module.add_class::<sealed::SealedCoordinator>()?;
    Ok(())
}

/// Thirty-two bytes from which all randomness is derived; the operating system's where none are given.
pub(crate) fn seed(seed: Option<&[u8]>) -> PyResult<[u8; 32]> {
    let Some(bytes) = seed else {
        let mut fresh = [0; 32];
        return match getrandom::fill(&mut fresh) {
            Ok(()) => Ok(fresh),
            Err(error) => Err(crate::errors::CryptoInit::new_err(format!(
                "the operating system gives no random bytes: {error}"
            ))),
        };
    };
    bytes.try_into().map_err(|_| {
        PyValueError::new_err(format!("a seed has 32 bytes, and this one has {}", bytes.len()))
    })
}

fn task_name(task: Task) -> &'static str {
    match task {
        Task::Sum => "sum",
        Task::Update => "update",
        _ => "none",
    }
}

/// As NumPy calls it.
fn type_name(data_type: DataType) -> &'static str {
    match data_type {
        DataType::F32 => "float32",
        DataType::F64 => "float64",
        DataType::I32 => "int32",
        DataType::I64 => "int64",
    }
}

/// What everyone is told about a round.
fn parameters<'py>(py: Python<'py>, parameters: &RoundParameters) -> PyResult<Bound<'py, PyTuple>> {
    (
        PyBytes::new(py, parameters.seed.as_bytes()),
        PyBytes::new(py, parameters.pk.as_bytes()),
        parameters.sum,
        parameters.update,
        parameters.mask_config.vect.to_string(),
        type_name(parameters.mask_config.vect.data_type()),
        parameters.model_length,
    )
        .into_pyobject(py)
}
