//! The short form of a model: its weights one after another, little-endian.
//!
//! An extension of this implementation (media type [`MEDIA_TYPE`], with the data type as its parameter
//! `dtype`): 4 or 8 bytes a weight, where the old form takes 28 to 600. Coordinators give it to whoever
//! accepts it.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use super::memory::{self, Plain};
use super::weight::with_weights;
use super::{DataType, Model, Weights};

/// The media type; its parameter `dtype` is `f32`, `f64`, `i32` or `i64`.
pub const MEDIA_TYPE: &str = "application/vnd.pet.weights";

/// Bytes that are not a model of the wanted data type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// Weights of another data type than what was asked for.
    #[error("its weights are of type {actual}, and {expected} was asked for")]
    DataType {
        /// What was asked for.
        expected: DataType,
        /// What came.
        actual: DataType,
    },
    /// Not a whole number of weights.
    #[error("it has {length} bytes, which is no whole number of {data_type} weights")]
    Length {
        /// How many bytes.
        length: usize,
        /// Of which type the weights should be.
        data_type: DataType,
    },
    /// A weight that is infinite or not a number, which no mean is.
    #[error("weight {index} of the model is not a finite number")]
    NotFinite {
        /// The weight.
        index: usize,
    },
    /// Not the fault of the bytes.
    #[error("there is not enough memory for a model of {count} weights")]
    OutOfMemory {
        /// How many weights.
        count: usize,
    },
}

/// The bytes of one weight.
pub fn weight_len(data_type: DataType) -> usize {
    match data_type {
        DataType::F32 | DataType::I32 => 4,
        DataType::F64 | DataType::I64 => 8,
    }
}

/// Appends a model's weights.
pub fn write_weights(model: &Model, out: &mut Vec<u8>) {
    out.reserve(model.len() * weight_len(model.data_type()));
    with_weights!(model, weights => write(weights, out));
}

fn write<W: ArrayWeight<N>, const N: usize>(weights: &[W], out: &mut Vec<u8>) {
    let begin = out.len();
    out.resize(begin + weights.len() * N, 0);
    for (place, weight) in out[begin..].chunks_exact_mut(N).zip(weights) {
        place.copy_from_slice(&weight.to_bytes());
    }
}

impl Model {
    /// Some of its weights.
    ///
    /// # Panics
    /// If the model has no such range.
    pub fn range(&self, range: Range<usize>) -> Weights<'_> {
        match self {
            Self::F32(weights) => Weights::F32(&weights[range]),
            Self::F64(weights) => Weights::F64(&weights[range]),
            Self::I32(weights) => Weights::I32(&weights[range]),
            Self::I64(weights) => Weights::I64(&weights[range]),
        }
    }
}

impl<'a> Weights<'a> {
    /// Their bytes in the short form: without copying where that is how they lie in memory.
    pub fn bytes(self) -> Cow<'a, [u8]> {
        match self {
            Self::F32(weights) => bytes(weights),
            Self::F64(weights) => bytes(weights),
            Self::I32(weights) => bytes(weights),
            Self::I64(weights) => bytes(weights),
        }
    }
}

fn bytes<W: ArrayWeight<N> + Plain, const N: usize>(weights: &[W]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return Cow::Borrowed(memory::bytes(weights));
    }
    let mut bytes = Vec::new();
    write(weights, &mut bytes);
    Cow::Owned(bytes)
}

/// Reads a model, in steps.
///
/// Memory: as much as the input.
pub struct ArrayDecoder<B> {
    bytes: B,
    model: Model,
    error: Option<ArrayError>,
}

/// Shows the progress, not the weights.
impl<B> fmt::Debug for ArrayDecoder<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArrayDecoder({:?})", self.model)
    }
}

impl<B: AsRef<[u8]>> ArrayDecoder<B> {
    /// Begins with the bytes of a whole model, borrowed or owned.
    ///
    /// # Errors
    /// If they are no whole number of weights, or there is not enough memory.
    pub fn new(bytes: B, data_type: DataType) -> Result<Self, ArrayError> {
        let (length, width) = (bytes.as_ref().len(), weight_len(data_type));
        let count = length / width;
        if count * width != length {
            return Err(ArrayError::Length { length, data_type });
        }
        let mut model = Model::empty(data_type);
        model.try_reserve_exact(count).map_err(|_| ArrayError::OutOfMemory { count })?;
        Ok(Self { bytes, model, error: None })
    }

    /// Reads at most `max_weights` more; returns whether it is done. An error also ends it.
    pub fn step(&mut self, max_weights: usize) -> bool {
        if self.error.is_none() {
            let Self { bytes, model, .. } = self;
            let read = with_weights!(model, weights => read(bytes.as_ref(), max_weights, weights));
            self.error = read.err();
        }
        let (done, count) = self.progress();
        self.error.is_some() || done == count
    }

    /// The progress: weights done, and weights in all.
    pub fn progress(&self) -> (usize, usize) {
        let count = self.bytes.as_ref().len() / weight_len(self.model.data_type());
        (self.model.len(), count)
    }

    /// The model; reads what is left of it.
    ///
    /// # Errors
    /// If a weight is not finite.
    pub fn finish(mut self) -> Result<Model, ArrayError> {
        self.step(usize::MAX);
        match self.error {
            Some(error) => Err(error),
            None => Ok(self.model),
        }
    }
}

fn read<W: ArrayWeight<N>, const N: usize>(
    bytes: &[u8],
    max_weights: usize,
    weights: &mut Vec<W>,
) -> Result<(), ArrayError> {
    let begin = weights.len();
    let end = (bytes.len() / N).min(begin.saturating_add(max_weights));
    weights.extend(bytes[begin * N..end * N].chunks_exact(N).map(|bytes| {
        let mut weight = [0; N];
        weight.copy_from_slice(bytes);
        W::from_bytes(weight)
    }));
    match weights[begin..].iter().position(|weight| !weight.is_finite()) {
        Some(index) => Err(ArrayError::NotFinite { index: begin + index }),
        None => Ok(()),
    }
}

/// A number of `N` bytes.
trait ArrayWeight<const N: usize>: Copy {
    fn from_bytes(bytes: [u8; N]) -> Self;
    fn to_bytes(self) -> [u8; N];
    fn is_finite(self) -> bool;
}

macro_rules! array_weight {
    ($type:ty, $len:literal, $is_finite:expr) => {
        impl ArrayWeight<$len> for $type {
            fn from_bytes(bytes: [u8; $len]) -> Self {
                Self::from_le_bytes(bytes)
            }

            fn to_bytes(self) -> [u8; $len] {
                self.to_le_bytes()
            }

            fn is_finite(self) -> bool {
                $is_finite(self)
            }
        }
    };
}

array_weight!(f32, 4, f32::is_finite);
array_weight!(f64, 8, f64::is_finite);
array_weight!(i32, 4, |_| true);
array_weight!(i64, 8, |_| true);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn models() -> impl Strategy<Value = Model> {
        use proptest::collection::vec;
        use proptest::num::{f32, f64};
        prop_oneof![
            vec(f32::NORMAL | f32::SUBNORMAL | f32::ZERO, 0..40).prop_map(Model::F32),
            vec(f64::NORMAL | f64::SUBNORMAL | f64::ZERO, 0..40).prop_map(Model::F64),
            vec(any::<i32>(), 0..40).prop_map(Model::I32),
            vec(any::<i64>(), 0..40).prop_map(Model::I64),
        ]
    }

    proptest! {
        #[test]
        fn bytes_of_weights_are_those_that_are_written(model in models(), cut in 0usize..40) {
            let mut written = Vec::new();
            write_weights(&model, &mut written);
            let cut = cut.min(model.len());
            let (first, second) = (model.range(0..cut), model.range(cut..model.len()));
            prop_assert_eq!([first.bytes(), second.bytes()].concat(), written);
        }

        #[test]
        fn what_is_written_is_read_in_any_steps(model in models(), step in 1usize..50) {
            let mut bytes = Vec::new();
            write_weights(&model, &mut bytes);
            prop_assert_eq!(bytes.len(), model.len() * weight_len(model.data_type()));
            let mut decoder = ArrayDecoder::new(&bytes, model.data_type()).unwrap();
            while !decoder.step(step) {
                prop_assert!(decoder.progress().0 > 0);
            }
            prop_assert_eq!(decoder.progress(), (model.len(), model.len()));
            prop_assert_eq!(decoder.finish().unwrap(), model);
        }

        #[test]
        fn any_bytes_are_a_model_or_an_error(bytes: Vec<u8>, wide: bool) {
            let data_type = if wide { DataType::F64 } else { DataType::F32 };
            match ArrayDecoder::new(&bytes, data_type).and_then(ArrayDecoder::finish) {
                Ok(model) => {
                    let mut again = Vec::new();
                    write_weights(&model, &mut again);
                    prop_assert_eq!(again, bytes);
                }
                Err(ArrayError::Length { length, .. }) => prop_assert_eq!(length, bytes.len()),
                Err(error) => {
                    let is_known = matches!(error, ArrayError::NotFinite { .. });
                    prop_assert!(is_known);
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_none_are_found_where_they_are() {
        for weight in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut bytes = Vec::new();
            write_weights(&Model::F32(vec![1.0, 2.0, weight, f32::NAN]), &mut bytes);
            let mut decoder = ArrayDecoder::new(&bytes[..], DataType::F32).unwrap();
            assert!(!decoder.step(2));
            assert!(decoder.step(2));
            assert_eq!(decoder.finish(), Err(ArrayError::NotFinite { index: 2 }));
            let mut decoder = ArrayDecoder::new(&bytes[..], DataType::F32).unwrap();
            assert!(!decoder.step(1));
            assert_eq!(decoder.finish(), Err(ArrayError::NotFinite { index: 2 }));
            // The same bytes are integers.
            assert!(ArrayDecoder::new(&bytes[..], DataType::I32).unwrap().finish().is_ok());
        }
    }

    #[test]
    fn half_a_weight_is_none() {
        for (length, data_type) in [(3, DataType::F32), (12, DataType::I64)] {
            let error = ArrayDecoder::new(vec![0; length], data_type).unwrap_err();
            assert_eq!(error, ArrayError::Length { length, data_type });
        }
    }
}
