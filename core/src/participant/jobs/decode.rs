//! Reading a global model.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, NUMBERS_PER_STEP};
use crate::job::{Progress, Work};
use crate::model::{DataType, Model, RatioDecoder, RatioError};

/// Reads a global model.
pub(in super::super) enum DecodeModel {
    Begin { bytes: Bytes, data_type: DataType },
    Decode(RatioDecoder<Bytes>),
    Done(Result<Arc<Model>, RatioError>),
}

impl DecodeModel {
    pub(in super::super) fn new(bytes: Bytes, data_type: DataType) -> Self {
        Self::Begin { bytes, data_type }
    }
}

impl Work<Outcome> for DecodeModel {
    fn name(&self) -> &'static str {
        "read global model"
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Begin { bytes, data_type } => {
                match RatioDecoder::new(std::mem::take(bytes), *data_type) {
                    Ok(decoder) => *self = Self::Decode(decoder),
                    Err(error) => *self = Self::Done(Err(error)),
                }
            }
            Self::Decode(decoder) => return decoder.step(NUMBERS_PER_STEP),
            Self::Done(_) => {}
        }
        matches!(self, Self::Done(_))
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Decode(decoder) => decoder.progress(),
            Self::Begin { .. } => (0, 1),
            Self::Done(_) => (1, 1),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        Outcome::Model(match *self {
            Self::Decode(decoder) => decoder.finish().map(Arc::new),
            Self::Done(result) => result,
            // `step` leaves this stage.
            Self::Begin { .. } => unreachable!("the job is not done"),
        })
    }
}
