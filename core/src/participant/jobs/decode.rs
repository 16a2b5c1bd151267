//! Reading a global model.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, NUMBERS_PER_STEP};
use crate::job::{JobKind, Progress, Work};
use crate::model::{ArrayDecoder, ArrayError, DataType, Model, RatioDecoder};
use crate::participant::FetchError;
use crate::request::ModelForm;

/// Reads a global model.
pub(in super::super) enum DecodeModel {
    Begin { bytes: Bytes, form: ModelForm, data_type: DataType },
    Rationals(RatioDecoder<Bytes>),
    Array(ArrayDecoder<Bytes>),
    Done(Result<Arc<Model>, FetchError>),
}

impl DecodeModel {
    pub(in super::super) fn new(bytes: Bytes, form: ModelForm, data_type: DataType) -> Self {
        Self::Begin { bytes, form, data_type }
    }

    fn begin(bytes: Bytes, form: ModelForm, expected: DataType) -> Result<Self, FetchError> {
        Ok(match form {
            ModelForm::Rationals => Self::Rationals(RatioDecoder::new(bytes, expected)?),
            ModelForm::Array(actual) if actual != expected => {
                return Err(ArrayError::DataType { expected, actual }.into())
            }
            ModelForm::Array(_) => Self::Array(ArrayDecoder::new(bytes, expected)?),
        })
    }
}

impl Work<Outcome> for DecodeModel {
    fn kind(&self) -> JobKind {
        JobKind::ReadModel
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Begin { bytes, form, data_type } => {
                let begun = Self::begin(std::mem::take(bytes), *form, *data_type);
                *self = begun.unwrap_or_else(|error| Self::Done(Err(error)));
            }
            Self::Rationals(decoder) => return decoder.step(NUMBERS_PER_STEP),
            Self::Array(decoder) => return decoder.step(NUMBERS_PER_STEP),
            Self::Done(_) => {}
        }
        matches!(self, Self::Done(_))
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Rationals(decoder) => decoder.progress(),
            Self::Array(decoder) => decoder.progress(),
            Self::Begin { .. } => (0, 1),
            Self::Done(_) => (1, 1),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        Outcome::Model(match *self {
            Self::Rationals(decoder) => decoder.finish().map(Arc::new).map_err(FetchError::from),
            Self::Array(decoder) => decoder.finish().map(Arc::new).map_err(FetchError::from),
            Self::Done(result) => result,
            // `step` leaves this stage.
            Self::Begin { .. } => unreachable!("the job is not done"),
        })
    }
}
