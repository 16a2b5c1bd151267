//! Lets a saved state be a list and a buffer at the same time.

use std::os::raw::c_int;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Beside `list` a base class of `xaynet_sdk.State`: whoever asks it for a buffer gets the list's numbers as bytes.
/// (Only from Python 3.12 on could a class in Python do that itself.)
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_Saved", frozen, subclass)]
pub(crate) struct Saved;

#[pymethods]
impl Saved {
    #[new]
    fn new() -> Self {
        Self
    }

    /// The buffer is one of `bytes` made for it, which lives as long as the buffer does.
    #[expect(unsafe_code, reason = "PyO3 has no other way to offer a buffer")]
    unsafe fn __getbuffer__(
        slf: &Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let py = slf.py();
        let numbers = slf.as_any().extract::<Vec<u8>>().map(zeroize::Zeroizing::new);
        let bytes = numbers.map(|numbers| PyBytes::new(py, &numbers));
        let filled = bytes.map(|bytes| {
            // SAFETY: `view` is what the caller of PyObject_GetBuffer has given, to be filled in; this hands it on.
            // On success it holds a reference to `bytes`, which PyBuffer_Release gives back.
            unsafe { ffi::PyObject_GetBuffer(bytes.as_ptr(), view, flags) }
        });
        match filled {
            Ok(0) => Ok(()),
            // As the protocol wants it where nothing is exported.
            // SAFETY: as above.
            Ok(_) => Err(PyErr::fetch(py)),
            Err(error) => {
                // SAFETY: `view` may be written, and is where nothing is exported.
                unsafe { (*view).obj = std::ptr::null_mut() };
                Err(error)
            }
        }
    }
}
