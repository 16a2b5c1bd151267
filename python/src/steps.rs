//! Sums of models without masks.

use std::sync::{Mutex, PoisonError};

use pet_transport_blocking::core::model::Model;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::weights_out;

/// From here on floats have no fraction of which rounding by a sum would know.
const MOST: f64 = (1_u64 << 51) as f64;
/// Of sums with it, all digits behind the point are lost.
const WITHOUT_FRACTION: f64 = 1.5 * (1_u64 << 52) as f64;

/// A sum of models, in doubles that are whole numbers of steps.
#[pyclass(module = "xaynet_sdk.xaynet_sdk", name = "_StepSum", frozen)]
pub(crate) struct StepSum(Mutex<Inner>);

struct Inner {
    sum: Vec<f64>,
    /// The model that is added: here nobody can change it meanwhile.
    model: Vec<f32>,
}

#[pymethods]
impl StepSum {
    #[new]
    fn new(length: usize) -> Self {
        Self(Mutex::new(Inner { sum: vec![0.0; length], model: vec![0.0; length] }))
    }

    /// Adds a model: each weight times `factor`, put between `-limit` and `limit`, rounded down. Gives how many weights were beyond
    /// `bound`, and the largest absolute value; nothing if a weight is no finite number, and then nothing is added.
    fn add(
        &self,
        py: Python<'_>,
        model: PyBuffer<f32>,
        factor: f64,
        limit: f64,
        bound: f64,
    ) -> PyResult<Option<(usize, f64)>> {
        if !(0.0..MOST).contains(&limit) {
            return Err(PyValueError::new_err("there are too many steps for doubles"));
        }
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { sum, model: own } = &mut *inner;
        model.copy_to_slice(py, own)?;
        Ok(add(sum, own, factor, limit, bound))
    }

    /// The sum so far, as an array of its own.
    fn sum<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let sum = self.0.lock().unwrap_or_else(PoisonError::into_inner).sum.clone();
        weights_out::to_array(py, &Model::F64(sum))
    }
}

fn add(
    sum: &mut [f64],
    model: &[f32],
    factor: f64,
    limit: f64,
    bound: f64,
) -> Option<(usize, f64)> {
    // Without their signs, floats are in the order of their bits, as signed numbers: a maximum that the compiler vectorizes.
    let bits = model.iter().map(|weight| (weight.to_bits() & i32::MAX as u32) as i32).max();
    let largest = f32::from_bits(bits.unwrap_or(0) as u32);
    if !largest.is_finite() {
        return None;
    }
    let largest = f64::from(largest);
    if largest <= bound {
        for (sum, &weight) in sum.iter_mut().zip(model) {
            *sum += rounded_down(f64::from(weight) * factor);
        }
        return Some((0, largest));
    }
    for (sum, &weight) in sum.iter_mut().zip(model) {
        *sum += rounded_down((f64::from(weight) * factor).clamp(-limit, limit));
    }
    let beyond = model.iter().filter(|weight| f64::from(weight.abs()) > bound).count();
    Some((beyond, largest))
}

/// `floor`, for numbers below [`MOST`], in a few instructions that every processor has for several numbers.
#[inline]
fn rounded_down(number: f64) -> f64 {
    let nearest = (number + WITHOUT_FRACTION) - WITHOUT_FRACTION;
    nearest - if nearest > number { 1.0 } else { 0.0 }
}
