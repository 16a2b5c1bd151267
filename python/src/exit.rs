//! The interpreter's exit: nobody works on without it.

use std::sync::{Mutex, PoisonError, Weak};

use pyo3::prelude::*;

use crate::driver::Driver;

/// The participants of this process, for the interpreter's exit: the one thing that concerns them all.
static DRIVERS: Mutex<Vec<Weak<Driver>>> = Mutex::new(Vec::new());

/// Remembers a participant as long as it lives.
pub(crate) fn remember(driver: Weak<Driver>) {
    let mut drivers = DRIVERS.lock().unwrap_or_else(PoisonError::into_inner);
    drivers.retain(|driver| driver.strong_count() > 0);
    drivers.push(driver);
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
    let drivers = std::mem::take(&mut *DRIVERS.lock().unwrap_or_else(PoisonError::into_inner));
    for driver in drivers.iter().filter_map(Weak::upgrade) {
        driver.halt();
    }
}
