//! Models in memory, scalars, and the exact rational form that old peers read and write.
//!
//! A model is a plain typed array, and travels as one between peers of this implementation ([`mod@array`]).
//! Exact rationals exist only while the old wire format is read or written ([`ratio`]), and where they
//! are turned into floats and integers ([`convert`]). A model of another type than a round's is converted block by
//! block while it is masked ([`Model::blocks`]).

use std::collections::TryReserveError;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::DataType;

pub mod array;
mod cast;
pub mod convert;
mod memory;
pub mod ratio;
mod scalar;
pub(crate) mod weight;

pub use array::{ArrayDecoder, ArrayError};
pub(crate) use cast::Cast;
pub use cast::{castable, CastError, Weights};
pub use convert::OutOfRange;
pub use ratio::{RatioDecoder, RatioError};
pub use scalar::{Scalar, ScalarError};

/// The weights of a model.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub enum Model {
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
}

impl Model {
    /// The type of the weights.
    pub fn data_type(&self) -> DataType {
        match self {
            Model::F32(_) => DataType::F32,
            Model::F64(_) => DataType::F64,
            Model::I32(_) => DataType::I32,
            Model::I64(_) => DataType::I64,
        }
    }

    /// The number of weights.
    pub fn len(&self) -> usize {
        match self {
            Model::F32(weights) => weights.len(),
            Model::F64(weights) => weights.len(),
            Model::I32(weights) => weights.len(),
            Model::I64(weights) => weights.len(),
        }
    }

    /// Whether the model has no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A model without weights.
    pub(crate) fn empty(data_type: DataType) -> Self {
        match data_type {
            DataType::F32 => Model::F32(Vec::new()),
            DataType::F64 => Model::F64(Vec::new()),
            DataType::I32 => Model::I32(Vec::new()),
            DataType::I64 => Model::I64(Vec::new()),
        }
    }

    /// Appends weights of the same type; others are left out.
    pub(crate) fn append(&mut self, other: &Model) {
        debug_assert_eq!(self.data_type(), other.data_type());
        match (self, other) {
            (Model::F32(weights), Model::F32(more)) => weights.extend_from_slice(more),
            (Model::F64(weights), Model::F64(more)) => weights.extend_from_slice(more),
            (Model::I32(weights), Model::I32(more)) => weights.extend_from_slice(more),
            (Model::I64(weights), Model::I64(more)) => weights.extend_from_slice(more),
            _ => {}
        }
    }

    /// Makes room for exactly so many more weights, if there is memory for them.
    pub(crate) fn try_reserve_exact(&mut self, additional: usize) -> Result<(), TryReserveError> {
        match self {
            Model::F32(weights) => weights.try_reserve_exact(additional),
            Model::F64(weights) => weights.try_reserve_exact(additional),
            Model::I32(weights) => weights.try_reserve_exact(additional),
            Model::I64(weights) => weights.try_reserve_exact(additional),
        }
    }
}

/// Shows type and length, not the weights.
impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} {} weights)", self.len(), self.data_type())
    }
}

macro_rules! from_weights {
    ($($variant:ident $type:ty),*) => {
        $(impl From<Vec<$type>> for Model {
            fn from(weights: Vec<$type>) -> Self {
                Model::$variant(weights)
            }
        })*
    };
}

from_weights!(F32 f32, F64 f64, I32 i32, I64 i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_weights() {
        assert_eq!(format!("{:?}", Model::F32(vec![0.25; 3])), "Model(3 F32 weights)");
    }

    #[test]
    fn models_of_each_type_grow() {
        let [mut f32s, mut f64s, mut i32s, mut i64s] =
            [DataType::F32, DataType::F64, DataType::I32, DataType::I64].map(Model::empty);
        f32s.append(&vec![1f32, 2.0].into());
        f64s.append(&vec![1f64, 2.0].into());
        i32s.append(&vec![1i32, 2].into());
        i64s.append(&vec![1i64, 2].into());
        f64s.append(&vec![3f64].into());
        assert_eq!((f32s.clone(), f64s), (vec![1f32, 2.0].into(), vec![1f64, 2.0, 3.0].into()));
        assert_eq!((i32s, i64s), (vec![1i32, 2].into(), vec![1i64, 2].into()));
        assert!(f32s.try_reserve_exact(5).is_ok());
        assert!(matches!(&f32s, Model::F32(weights) if weights.capacity() >= 7));
        assert!(f32s.try_reserve_exact(usize::MAX).is_err());
    }
}
