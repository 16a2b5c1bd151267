//! Weights of one type as weights of another.
//!
//! The rule is the one by which a list of the same numbers would be taken: floats are rounded to the
//! nearest value of the coordinator's type, integers become floats where floats are wanted, and never
//! the other way round. What the type does not have is an error, never a silent change: NaN, the
//! infinities, and numbers beyond its range.

use pet_transport_blocking::core::model::{DataType, Model};
use thiserror::Error;

/// Why a local model's weights cannot be converted to the coordinator's type.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CastError {
    /// NaN or an infinity.
    #[error("weight {index} of the local model is {value}: weights must be finite numbers")]
    NotFinite {
        /// Which weight.
        index: usize,
        /// What it is.
        value: f64,
    },
    /// Beyond the range.
    #[error("weight {index} of the local model is {value}, beyond the range of this coordinator's {wanted} weights")]
    OutOfRange {
        /// Which weight.
        index: usize,
        /// What it is.
        value: String,
        /// The coordinator's type.
        wanted: DataType,
    },
    /// Floats for integers.
    #[error("the local model has {actual} weights, but this coordinator's models have {wanted} weights: round them yourself")]
    FloatsForIntegers {
        /// Of which type they are.
        actual: DataType,
        /// The coordinator's type.
        wanted: DataType,
    },
}

/// The model with weights of the wanted type. Where it has that type already, nothing is copied.
pub(crate) fn cast(model: Model, wanted: DataType) -> Result<Model, CastError> {
    use DataType::{F32, F64, I32, I64};
    let actual = model.data_type();
    Ok(match (model, wanted) {
        (model @ Model::F32(_), F32) | (model @ Model::F64(_), F64) => {
            check(&model)?;
            model
        }
        (Model::F32(weights), F64) => {
            let model = Model::F64(weights.into_iter().map(f64::from).collect());
            check(&model)?;
            model
        }
        (Model::F64(weights), F32) => Model::F32(narrow(&weights)?),
        (Model::I32(weights), F32) => {
            // By way of a double, as the same number in a list goes.
            Model::F32(weights.into_iter().map(|w| f64::from(w) as f32).collect())
        }
        (Model::I64(weights), F32) => {
            Model::F32(weights.into_iter().map(|w| w as f64 as f32).collect())
        }
        (Model::I32(weights), F64) => Model::F64(weights.into_iter().map(f64::from).collect()),
        (Model::I64(weights), F64) => Model::F64(weights.into_iter().map(|w| w as f64).collect()),
        (Model::I64(weights), I32) => Model::I32(shorten(&weights)?),
        (Model::I32(weights), I64) => Model::I64(weights.into_iter().map(i64::from).collect()),
        (model @ (Model::I32(_) | Model::I64(_)), I32 | I64) => model,
        (Model::F32(_) | Model::F64(_), I32 | I64) => {
            return Err(CastError::FloatsForIntegers { actual, wanted })
        }
    })
}

/// Whether the model has weights that no coordinator takes.
pub(crate) fn check(model: &Model) -> Result<(), CastError> {
    match model {
        Model::F32(weights) => check_finite(weights.iter().map(|&w| f64::from(w))),
        Model::F64(weights) => check_finite(weights.iter().copied()),
        Model::I32(_) | Model::I64(_) => Ok(()),
    }
}

fn check_finite(weights: impl Iterator<Item = f64>) -> Result<(), CastError> {
    for (index, value) in weights.enumerate() {
        if !value.is_finite() {
            return Err(CastError::NotFinite { index, value });
        }
    }
    Ok(())
}

fn narrow(weights: &[f64]) -> Result<Vec<f32>, CastError> {
    let narrow_one = |(index, &value): (usize, &f64)| {
        let narrowed = value as f32;
        if narrowed.is_finite() {
            return Ok(narrowed);
        }
        Err(if value.is_finite() {
            CastError::OutOfRange { index, value: format!("{value:e}"), wanted: DataType::F32 }
        } else {
            CastError::NotFinite { index, value }
        })
    };
    weights.iter().enumerate().map(narrow_one).collect()
}

fn shorten(weights: &[i64]) -> Result<Vec<i32>, CastError> {
    let shorten_one = |(index, &value): (usize, &i64)| {
        i32::try_from(value).map_err(|_| CastError::OutOfRange {
            index,
            value: value.to_string(),
            wanted: DataType::I32,
        })
    };
    weights.iter().enumerate().map(shorten_one).collect()
}
