//! The exceptions, and which of them tells of what.

use pet_transport_blocking::core::model::RatioError;
use pet_transport_blocking::core::participant::{FetchError, ModelMismatch, Reject};
use pet_transport_blocking::Error;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use crate::cast::CastError;

create_exception!(
    xaynet_sdk,
    XaynetError,
    PyException,
    "Base class of all exceptions of this package."
);

macro_rules! exceptions {
    ($($name:ident: $doc:literal),* $(,)?) => {
        $(create_exception!(xaynet_sdk, $name, XaynetError, $doc);)*

        /// Makes the exceptions importable from the module.
        pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
            module.add("XaynetError", module.py().get_type::<XaynetError>())?;
            $(module.add(stringify!($name), module.py().get_type::<$name>())?;)*
            Ok(())
        }
    };
}

exceptions! {
    CryptoInit: "The operating system gives no random bytes for a new participant's keys.",
    ParticipantInit: "The participant cannot be made: its URL or its scalar is invalid.",
    ParticipantRestore: "The participant cannot be restored: these bytes are no saved state, or one of another version.",
    UninitializedParticipant: "The participant was stopped (its state was saved), or it belongs to another process.",
    LocalModelLengthMisMatch: "The local model has another number of weights than the coordinator's models.",
    LocalModelDataTypeMisMatch: "The local model has weights that the coordinator's data type does not have.",
    GlobalModelUnavailable: "The global model could not be fetched; try again later.",
    GlobalModelDataTypeMisMatch: "The global model has weights that the coordinator's data type does not have.",
}

/// Why a local model was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LocalModelError {
    /// It does not fit the round.
    #[error(transparent)]
    Mismatch(#[from] ModelMismatch),
    /// It has a weight that cannot be converted to the round's type.
    #[error(transparent)]
    Cast(#[from] CastError),
}

impl From<LocalModelError> for PyErr {
    fn from(error: LocalModelError) -> Self {
        match error {
            LocalModelError::Mismatch(ModelMismatch::Length { .. }) => {
                LocalModelLengthMisMatch::new_err(error.to_string())
            }
            LocalModelError::Mismatch(_) | LocalModelError::Cast(_) => {
                LocalModelDataTypeMisMatch::new_err(error.to_string())
            }
        }
    }
}

/// What the participant's own errors are in Python.
pub(crate) fn participant_error(error: Error) -> PyErr {
    match error {
        Error::Url(_) => ParticipantInit::new_err(error.to_string()),
        Error::Restore(_) => ParticipantRestore::new_err(error.to_string()),
        Error::Randomness(_) => CryptoInit::new_err(error.to_string()),
        Error::Rejected(Reject::Model(mismatch)) => LocalModelError::from(mismatch).into(),
        Error::Rejected(Reject::Stopped) => stopped(),
        Error::Fetch(error) => fetch_error(&error),
        error => XaynetError::new_err(error.to_string()),
    }
}

/// What a global model that did not come is in Python.
pub(crate) fn fetch_error(error: &FetchError) -> PyErr {
    match error {
        FetchError::Model(RatioError::OutOfRange { .. }) => {
            GlobalModelDataTypeMisMatch::new_err(error.to_string())
        }
        error => GlobalModelUnavailable::new_err(error.to_string()),
    }
}

/// For every call after the last.
pub(crate) fn stopped() -> PyErr {
    UninitializedParticipant::new_err(
        "the participant was stopped: make a new one from its saved state to go on",
    )
}

/// For calls in a process that was forked from the participant's.
pub(crate) fn forked() -> PyErr {
    UninitializedParticipant::new_err(
        "the participant works in the process that made it, and this one was forked from that: \
         make a participant after forking, or start processes with the \"spawn\" method",
    )
}
