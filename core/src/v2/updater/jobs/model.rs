//! Reading a global model, and hashing it.

use std::sync::Arc;

use bytes::Bytes;

use super::{done, Done, Outcome, Read};
use crate::crypto::Digest;
use crate::job::{JobKind, Progress, Work};
use crate::model::{ArrayDecoder, ArrayError, DataType, Model};
use crate::participant::FetchError;
use crate::request::ModelForm;
use crate::v2::{model_hash_of, model_leaf, model_leaves};

/// How many weights are read in a step.
const NUMBERS_PER_STEP: usize = 8192;

/// Reads a global model in its short form, which is the only one in version 2, and hashes it.
pub(in super::super) enum ReadModel {
    Begin { bytes: Bytes, form: ModelForm, data_type: DataType },
    Decode(ArrayDecoder<Bytes>),
    Hash { model: Model, leaves: Vec<Digest> },
    Done(Result<Read, FetchError>),
}

impl ReadModel {
    pub(in super::super) fn new(bytes: Bytes, form: ModelForm, data_type: DataType) -> Self {
        Self::Begin { bytes, form, data_type }
    }

    fn next(self) -> Result<Self, FetchError> {
        Ok(match self {
            Self::Begin { bytes, form, data_type } => {
                // A form that is not named is the one that was asked for.
                if let ModelForm::Array(actual) = form {
                    if actual != data_type {
                        return Err(ArrayError::DataType { expected: data_type, actual }.into());
                    }
                }
                Self::Decode(ArrayDecoder::new(bytes, data_type)?)
            }
            Self::Decode(mut decoder) => match decoder.step(NUMBERS_PER_STEP) {
                false => Self::Decode(decoder),
                true => Self::Hash { model: decoder.finish()?, leaves: Vec::new() },
            },
            Self::Hash { model, mut leaves } => match leaves.len() < model_leaves(&model) {
                true => {
                    leaves.push(model_leaf(&model, leaves.len()));
                    Self::Hash { model, leaves }
                }
                false => {
                    let hash = model_hash_of(model.data_type(), model.len() as u64, &leaves);
                    Self::Done(Ok(Read { model: Arc::new(model), hash }))
                }
            },
            Self::Done(result) => Self::Done(result),
        })
    }
}

impl Work<Outcome> for ReadModel {
    fn kind(&self) -> JobKind {
        JobKind::ReadModel
    }

    fn step(&mut self) -> bool {
        let nothing = Self::Hash { model: Model::F32(Vec::new()), leaves: Vec::new() };
        let this = std::mem::replace(self, nothing);
        *self = this.next().unwrap_or_else(|error| Self::Done(Err(error)));
        matches!(self, Self::Done(_))
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Begin { .. } => (0, 1),
            Self::Decode(decoder) => decoder.progress(),
            Self::Hash { model, .. } => (model.len(), model.len()),
            Self::Done(_) => (1, 1),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        match *self {
            Self::Done(result) => done(Done::Model(result)),
            _ => unreachable!("the last step ends it"),
        }
    }
}
