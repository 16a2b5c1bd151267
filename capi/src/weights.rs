//! Models: arrays of numbers.

use std::ffi::c_void;
use std::sync::Arc;

use pet_participant::transport::core::model as core;

use crate::memory;
use crate::status::{free, guard, Error, Status};

/// The type of a model's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum DataType {
    /// `float`
    F32 = 0,
    /// `double`
    F64 = 1,
    /// `int32_t`
    I32 = 2,
    /// `int64_t`
    I64 = 3,
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

/// The weights of a model, in order: somebody else's array.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Weights {
    /// The first one.
    pub data: *const c_void,
    /// How many there are.
    pub length: usize,
    /// Of which type they are: a `pet_data_type`.
    pub data_type: u32,
}

impl Weights {
    /// Of no model.
    pub(crate) const NONE: Self =
        Self { data: std::ptr::null(), length: 0, data_type: DataType::F32 as u32 };

    pub(crate) fn of(model: &core::Model) -> Self {
        let data = match model {
            core::Model::F32(weights) => weights.as_ptr().cast(),
            core::Model::F64(weights) => weights.as_ptr().cast(),
            core::Model::I32(weights) => weights.as_ptr().cast(),
            core::Model::I64(weights) => weights.as_ptr().cast(),
        };
        let data_type = DataType::from(model.data_type()) as u32;
        Self { data, length: model.len(), data_type }
    }

    /// A copy.
    ///
    /// # Safety
    /// As many weights of the type are at `data`, and stay as they are during the call.
    pub(crate) unsafe fn read(&self) -> Result<core::Model, Error> {
        let (data, length) = (self.data, self.length);
        // SAFETY: as the caller promises.
        unsafe {
            Ok(match self.data_type {
                0 => core::Model::F32(memory::slice(data.cast(), length, "weights.data")?.to_vec()),
                1 => core::Model::F64(memory::slice(data.cast(), length, "weights.data")?.to_vec()),
                2 => core::Model::I32(memory::slice(data.cast(), length, "weights.data")?.to_vec()),
                3 => core::Model::I64(memory::slice(data.cast(), length, "weights.data")?.to_vec()),
                other => {
                    return Err(Error::argument(format!(
                        "weights.data_type is {other}: it is a pet_data_type, such as PET_DATA_TYPE_F32"
                    )))
                }
            })
        }
    }
}

/// A global model.
#[derive(Debug)]
pub struct Model {
    model: Arc<core::Model>,
}

impl Model {
    pub(crate) fn new(model: Arc<core::Model>) -> Self {
        Self { model }
    }
}

/// Its weights, which are there until it is freed.
///
/// # Safety
/// `model` is of this library and not freed; `weights` may be written.
#[no_mangle]
pub unsafe extern "C" fn pet_model_weights(model: *const Model, weights: *mut Weights) -> Status {
    guard(|| {
        // SAFETY: as the caller promises.
        let (model, weights) =
            unsafe { (memory::of(model, "model")?, memory::out(weights, "weights")?) };
        weights.set(Weights::of(&model.model));
        Ok(())
    })
}

/// Frees it. A null pointer is nothing to free.
///
/// # Safety
/// `model` is null, or of this library, and is not used any more.
#[no_mangle]
pub unsafe extern "C" fn pet_model_free(model: *mut Model) {
    // SAFETY: as the caller promises.
    free(|| drop(unsafe { memory::take(model) }));
}
