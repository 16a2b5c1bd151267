//! Stops participants when the interpreter exits.

use std::sync::Arc;

use pet_participant::{Driver, Registry};
use pyo3::prelude::*;

/// The participants of this process: the one thing that concerns them all.
static PARTICIPANTS: Registry = Registry::new();

/// Remembers a participant as long as it lives.
pub(crate) fn remember(driver: &Arc<Driver>) {
    PARTICIPANTS.remember(driver);
}

/// Has all participants stopped when the interpreter exits.
pub(crate) fn register(py: Python<'_>) -> PyResult<()> {
    let stop_all = wrap_pyfunction!(stop_all, py)?;
    py.import("atexit")?.call_method1("register", (stop_all,))?;
    Ok(())
}

/// Python threads that wait for a participant are left waiting: to run on while the interpreter goes
/// down does them no good.
#[pyfunction]
fn stop_all() {
    PARTICIPANTS.halt_all();
}
