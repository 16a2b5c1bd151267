//! Takes the groups' masks off the sum of the masked models.

use std::sync::Arc;

use bytes::Bytes;

use super::Outcome;
use crate::crypto::Digest;
use crate::job::{JobKind, Progress, Work};
use crate::mask::{Aggregation, MaskObjectView, UnmaskError, UnmaskPart, Unmasker};
use crate::model::Model;
use crate::v2::coordinator::RoundFailure;
use crate::v2::{model_hash_of, model_leaf, model_leaves};

/// How many weights are unmasked in a step.
const PER_STEP: usize = 4096;

/// Takes the masks off, and hashes the model.
pub(in crate::v2::coordinator) struct Unmask {
    total: usize,
    stage: Stage,
}

enum Stage {
    Begin { sum: Arc<Aggregation>, masks: Vec<Bytes> },
    Run(Box<Unmasker>),
    Hash { model: Arc<Model>, leaves: Vec<Digest> },
    Failed(RoundFailure),
}

impl Unmask {
    pub(in crate::v2::coordinator) fn new(sum: Arc<Aggregation>, masks: Vec<Bytes>) -> Self {
        Self { total: sum.len(), stage: Stage::Begin { sum, masks } }
    }

    fn begin(sum: &Arc<Aggregation>, masks: &[Bytes]) -> Result<Unmasker, UnmaskError> {
        let mut all = Aggregation::new(sum.config(), sum.len());
        for mask in masks {
            let view = MaskObjectView::parse_exact(mask)?;
            sum.validate_mask_shape(&view)?;
            all.add_range(&view, 0..sum.len());
            all.add_unit(&view);
        }
        Unmasker::model_only(sum.clone(), all.object().to_bytes()?)
    }

    fn unmasked(unmasker: Unmasker) -> Stage {
        match unmasker.finish() {
            Err(error) => Stage::Failed(error.into()),
            Ok(unmasked) => match unmasked.model {
                Ok(model) => Stage::Hash { model: Arc::new(model), leaves: Vec::new() },
                Err(_) => Stage::Failed(RoundFailure::WeightOutOfRange),
            },
        }
    }
}

impl Work<Outcome> for Unmask {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        match &mut self.stage {
            Stage::Begin { sum, masks } => {
                self.stage = match Self::begin(sum, masks) {
                    Ok(unmasker) => Stage::Run(Box::new(unmasker)),
                    Err(error) => Stage::Failed(error.into()),
                };
                false
            }
            Stage::Run(unmasker) => {
                if unmasker.step(PER_STEP) {
                    let failed = Stage::Failed(RoundFailure::WeightOutOfRange);
                    if let Stage::Run(unmasker) = std::mem::replace(&mut self.stage, failed) {
                        self.stage = Self::unmasked(*unmasker);
                    }
                }
                false
            }
            Stage::Hash { model, leaves } => {
                if leaves.len() < model_leaves(model) {
                    leaves.push(model_leaf(model, leaves.len()));
                }
                leaves.len() >= model_leaves(model)
            }
            Stage::Failed(_) => true,
        }
    }

    fn progress(&self) -> Progress {
        let done = match &self.stage {
            Stage::Begin { .. } => 0,
            Stage::Run(unmasker) => unmasker.progress().0,
            Stage::Hash { .. } | Stage::Failed(_) => self.total,
        };
        Progress { done: done as u64, total: self.total as u64 }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Stage::Run(unmasker) = &mut self.stage else { return Vec::new() };
        let (done, total) = unmasker.progress();
        let parts = parts.min((total - done) / PER_STEP);
        if parts < 2 {
            return Vec::new();
        }
        let boxed = |part| -> Box<dyn Work<Outcome>> { Box::new(UnmaskRange(part)) };
        unmasker.split(parts).into_iter().map(boxed).collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let (Stage::Run(unmasker), Outcome::UnmaskedRange(part)) = (&mut self.stage, part) {
            unmasker.absorb(part);
        }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        Outcome::Unmasked(match self.stage {
            Stage::Hash { model, leaves } => {
                let hash = model_hash_of(model.data_type(), model.len() as u64, &leaves);
                Ok((model, hash))
            }
            Stage::Failed(failure) => Err(failure),
            // `step` leaves these stages.
            Stage::Begin { .. } | Stage::Run(_) => unreachable!("the job is not done"),
        })
    }
}

/// Does that for a range of the weights.
struct UnmaskRange(UnmaskPart);

impl Work<Outcome> for UnmaskRange {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        self.0.step(PER_STEP)
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::UnmaskedRange(self.0)
    }
}
