//! What became of rounds, for those who ask the coordinator themselves.

use std::sync::{Mutex, PoisonError};

use pet_participant::rounds::{advice, Rounds};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::participant::over_tuple;

/// A participant's view of the rounds that it has seen.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_RoundWatch", frozen)]
pub(crate) struct RoundWatch(Mutex<Rounds>);

#[pymethods]
impl RoundWatch {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    /// What to ask for, to be appended to the coordinator's URL.
    #[classattr]
    const PATH: &'static str = pet_transport_blocking::Observer::STATUS;

    /// Of a status, which rounds are over, and what there is to tell about them.
    fn take_in<'py>(
        &self,
        py: Python<'py>,
        status: &[u8],
    ) -> PyResult<(Vec<Bound<'py, PyTuple>>, Option<String>)> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner).take_in(status);
        let over: PyResult<_> = taken.0.into_iter().map(|over| over_tuple(py, over)).collect();
        Ok((over?, taken.1))
    }
}

/// What to do about rounds that fail for this reason: the name that the status has for it.
#[pyfunction]
#[pyo3(name = "_advice")]
pub(crate) fn advice_for(reason: &str) -> &'static str {
    advice(reason)
}
