//! Models as bytes: lists of boxed numbers would take a phone's memory.

use std::sync::Arc;

use pet_participant::transport::core::model::{self as core, Model};
use thiserror::Error;

/// The type of a model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum DataType {
    /// 32-bit floats: `Float`.
    F32,
    /// 64-bit floats: `Double`.
    F64,
    /// 32-bit integers: `Int` in Kotlin, `Int32` in Swift.
    I32,
    /// 64-bit integers: `Long` in Kotlin, `Int64` in Swift.
    I64,
}

impl DataType {
    /// How many bytes a weight has.
    fn width(self) -> usize {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F64 | Self::I64 => 8,
        }
    }
}

impl From<core::DataType> for DataType {
    fn from(data_type: core::DataType) -> Self {
        match data_type {
            core::DataType::F32 => Self::F32,
            core::DataType::F64 => Self::F64,
            core::DataType::I32 => Self::I32,
            core::DataType::I64 => Self::I64,
        }
    }
}

/// The weights of a model, one after the other, the low byte of each first.
///
/// In Kotlin: `ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer()`; in Swift, whose platforms all have this
/// order: `bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }`.
#[derive(Clone, PartialEq, Eq, uniffi::Record)]
pub struct Weights {
    /// Of which type they are.
    pub data_type: DataType,
    /// Their bytes: a multiple of 4 or 8, as the type says.
    pub bytes: Vec<u8>,
}

/// Shows no weights: what an app trains is its own.
impl std::fmt::Debug for Weights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.bytes.len() / self.data_type.width();
        write!(f, "Weights({count} of {:?})", self.data_type)
    }
}

fn bytes_of<const N: usize, T: Copy>(weights: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    weights.iter().flat_map(|weight| bytes(*weight)).collect()
}

fn weights_of<const N: usize, T>(bytes: &[u8], weight: impl Fn([u8; N]) -> T) -> Vec<T> {
    // (Whole ones only: their number was looked at.)
    bytes
        .chunks_exact(N)
        .map(|chunk| {
            let mut array = [0; N];
            array.copy_from_slice(chunk);
            weight(array)
        })
        .collect()
}

impl From<Arc<Model>> for Weights {
    fn from(model: Arc<Model>) -> Self {
        let bytes = match &*model {
            Model::F32(weights) => bytes_of(weights, f32::to_le_bytes),
            Model::F64(weights) => bytes_of(weights, f64::to_le_bytes),
            Model::I32(weights) => bytes_of(weights, i32::to_le_bytes),
            Model::I64(weights) => bytes_of(weights, i64::to_le_bytes),
        };
        Self { data_type: model.data_type().into(), bytes }
    }
}

/// Bytes that are not a number of whole weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{bytes} bytes are no whole weights of {} bytes each: see that they are of the type {data_type:?}",
    .data_type.width()
)]
pub struct CutShort {
    bytes: usize,
    data_type: DataType,
}

impl TryFrom<Weights> for Model {
    type Error = CutShort;

    fn try_from(weights: Weights) -> Result<Self, CutShort> {
        let Weights { data_type, bytes } = weights;
        if bytes.len() % data_type.width() != 0 {
            return Err(CutShort { bytes: bytes.len(), data_type });
        }
        Ok(match data_type {
            DataType::F32 => Self::F32(weights_of(&bytes, f32::from_le_bytes)),
            DataType::F64 => Self::F64(weights_of(&bytes, f64::from_le_bytes)),
            DataType::I32 => Self::I32(weights_of(&bytes, i32::from_le_bytes)),
            DataType::I64 => Self::I64(weights_of(&bytes, i64::from_le_bytes)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_survive_the_way_there_and_back() {
        for model in [
            Model::F32(vec![0.5, -1.5, f32::MIN_POSITIVE]),
            Model::F64(vec![1.0 / 3.0, -0.0]),
            Model::I32(vec![i32::MIN, 7]),
            Model::I64(vec![i64::MAX, -2]),
            Model::F32(vec![]),
        ] {
            let there = Weights::from(Arc::new(model.clone()));
            assert_eq!(Model::try_from(there).unwrap(), model);
        }
    }

    #[test]
    fn the_low_byte_comes_first() {
        let weights = Weights::from(Arc::new(Model::I32(vec![0x0102_0304])));
        assert_eq!(weights.bytes, [4, 3, 2, 1]);
        let weights = Weights::from(Arc::new(Model::F32(vec![1.0])));
        assert_eq!(weights.bytes, [0, 0, 0x80, 0x3f]);
    }

    #[test]
    fn half_a_weight_is_refused() {
        let weights = Weights { data_type: DataType::F64, bytes: vec![0; 12] };
        let refused = Model::try_from(weights).unwrap_err();
        assert_eq!(refused, CutShort { bytes: 12, data_type: DataType::F64 });
        assert!(refused.to_string().starts_with("12 bytes are no whole weights of 8"), "{refused}");
    }
}
