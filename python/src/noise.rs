//! Noise that participants add to their models themselves.

use pet_transport_blocking::core::mask::noise::{DiscreteGaussian, NoiseSeed, NOISE_BLOCK};
use pet_transport_blocking::core::model::Model;
use pyo3::exceptions::{PyMemoryError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::weights_out;

/// The largest sigma: beyond it a sample could be no 64-bit integer, if only once in an age of the universe.
const MAX_SIGMA: u64 = 1 << 56;

/// So many samples of the discrete Gaussian, exact, from the operating system's randomness, as an array of 64-bit integers.
#[pyfunction(name = "_discrete_gaussian")]
pub(crate) fn discrete_gaussian(
    py: Python<'_>,
    sigma: u64,
    length: usize,
) -> PyResult<Bound<'_, PyAny>> {
    let gaussian = DiscreteGaussian::new(sigma).ok().filter(|_| sigma <= MAX_SIGMA);
    let gaussian = gaussian.ok_or_else(|| {
        PyValueError::new_err(format!("sigma is from 1 to {MAX_SIGMA}, and {sigma} is not"))
    })?;
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        PyOSError::new_err(format!("the operating system gives no randomness: {error}"))
    })?;
    let seed = NoiseSeed::new(bytes);
    let noise = py.detach(|| {
        let mut noise: Vec<i64> = Vec::new();
        noise
            .try_reserve_exact(length)
            .map_err(|_| PyMemoryError::new_err("no memory for noise"))?;
        let mut block = [0; NOISE_BLOCK];
        for index in 0.. {
            let count = NOISE_BLOCK.min(length - noise.len());
            if count == 0 {
                break;
            }
            gaussian.fill_block(&seed, index, &mut block[..count]);
            let clamped = |sample: &i128| (*sample).clamp(i64::MIN.into(), i64::MAX.into()) as i64;
            noise.extend(block[..count].iter().map(clamped));
        }
        Ok::<_, PyErr>(noise)
    })?;
    weights_out::to_array(py, &Model::I64(noise))
}
