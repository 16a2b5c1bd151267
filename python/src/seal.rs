//! Sealing saved states with a key; keys from passphrases are made in Python.

use pet_transport_blocking::core::crypto::SnapshotKey;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use zeroize::Zeroizing;

use crate::errors::SealError;

/// Makes the functions importable from the module.
pub(crate) fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(_seal, module)?)?;
    module.add_function(wrap_pyfunction!(_unseal, module)?)
}

/// Encrypts and authenticates bytes.
#[pyfunction]
fn _seal<'py>(py: Python<'py>, key: [u8; 32], content: &[u8]) -> Bound<'py, PyBytes> {
    let key = SnapshotKey::new(key);
    let sealed = py.detach(|| key.seal(content));
    PyBytes::new(py, &sealed)
}

/// Opens what `_seal` made.
#[pyfunction]
fn _unseal<'py>(py: Python<'py>, key: [u8; 32], sealed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let key = SnapshotKey::new(key);
    let content = py.detach(|| key.open(sealed).map(Zeroizing::new));
    let content = content.map_err(|_| {
        SealError::new_err(
            "the saved state does not open with this key or passphrase, or it is damaged",
        )
    })?;
    Ok(PyBytes::new(py, &content))
}
