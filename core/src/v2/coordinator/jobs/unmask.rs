//! Takes the groups' masks off the sum of the masked models.

use std::sync::Arc;

use bytes::Bytes;

use super::intact::{Intact, Stored};
use super::Outcome;
use crate::crypto::Digest;
use crate::job::{JobKind, Progress, Work};
use crate::mask::{
    Aggregation, NoisyUnmaskError, NoisyUnmaskPart, NoisyUnmasker, UnmaskPart, Unmasker,
};
use crate::model::Model;
use crate::v2::coordinator::{ObjectKind, RoundFailure};
use crate::v2::{model_hash_of, model_leaf, model_leaves};

/// How many weights are unmasked in a step.
const PER_STEP: usize = 4096;

/// What a round with noise starts from.
#[derive(Clone)]
pub(in crate::v2::coordinator) struct Noisy {
    /// The norm that differences were clipped to.
    pub(in crate::v2::coordinator) clip: f64,
    /// The global model that the mean difference is added to.
    pub(in crate::v2::coordinator) previous: Option<Arc<Model>>,
}

/// Takes the masks off, and hashes the model.
pub(in crate::v2::coordinator) struct Unmask {
    sum: Arc<Aggregation>,
    noisy: Option<Noisy>,
    stage: Stage,
}

enum Stage {
    Check(Intact),
    Run(Run),
    Hash { model: Arc<Model>, leaves: Vec<Digest> },
    Damaged(ObjectKind),
    Failed(RoundFailure),
}

/// The masks of a sum without noise, or with.
enum Run {
    Exact(Box<Unmasker>),
    Noisy(Box<NoisyUnmasker>),
}

impl From<NoisyUnmaskError> for RoundFailure {
    fn from(error: NoisyUnmaskError) -> Self {
        match error {
            NoisyUnmaskError::Unmask(error) => error.into(),
            NoisyUnmaskError::NotFinite { .. } => Self::WeightOutOfRange,
            error => Self::Noise(error.to_string()),
        }
    }
}

impl Run {
    fn new(
        sum: &Arc<Aggregation>,
        masks: Vec<Bytes>,
        noisy: Option<&Noisy>,
    ) -> Result<Self, RoundFailure> {
        Ok(match noisy {
            None => Self::Exact(Box::new(Unmasker::of_groups(sum.clone(), masks)?)),
            Some(Noisy { clip, previous }) => {
                let unmasker = NoisyUnmasker::new(sum.clone(), masks, *clip, previous.clone())?;
                Self::Noisy(Box::new(unmasker))
            }
        })
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Exact(unmasker) => unmasker.step(PER_STEP),
            Self::Noisy(unmasker) => unmasker.step(PER_STEP),
        }
    }

    fn progress(&self) -> (usize, usize) {
        match self {
            Self::Exact(unmasker) => unmasker.progress(),
            Self::Noisy(unmasker) => unmasker.progress(),
        }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let (done, total) = self.progress();
        let parts = parts.min((total - done) / PER_STEP);
        if parts < 2 {
            return Vec::new();
        }
        let exact = |part| -> Box<dyn Work<Outcome>> { Box::new(UnmaskRange::Exact(part)) };
        let noisy = |part| -> Box<dyn Work<Outcome>> { Box::new(UnmaskRange::Noisy(part)) };
        match self {
            Self::Exact(unmasker) => unmasker.split(parts).into_iter().map(exact).collect(),
            Self::Noisy(unmasker) => unmasker.split(parts).into_iter().map(noisy).collect(),
        }
    }

    fn absorb(&mut self, part: Outcome) {
        match (self, part) {
            (Self::Exact(unmasker), Outcome::UnmaskedRange(part)) => unmasker.absorb(part),
            (Self::Noisy(unmasker), Outcome::NoisyRange(part)) => unmasker.absorb(part),
            _ => {}
        }
    }

    fn finish(self) -> Result<Model, RoundFailure> {
        match self {
            Self::Exact(unmasker) => {
                let unmasked = unmasker.finish()?;
                unmasked.model.map_err(|_| RoundFailure::WeightOutOfRange)
            }
            Self::Noisy(unmasker) => Ok(unmasker.finish()?),
        }
    }
}

impl Unmask {
    pub(in crate::v2::coordinator) fn new(
        sum: Arc<Aggregation>,
        masks: Vec<Stored>,
        noisy: Option<Noisy>,
    ) -> Self {
        Self { sum, noisy, stage: Stage::Check(Intact::new(masks)) }
    }

    fn begin(&self, intact: &Intact) -> Stage {
        if let Some(kind) = intact.damaged() {
            return Stage::Damaged(kind);
        }
        let masks = intact.objects().iter().map(|mask| mask.bytes.clone()).collect();
        Run::new(&self.sum, masks, self.noisy.as_ref()).map_or_else(Stage::Failed, Stage::Run)
    }
}

impl Work<Outcome> for Unmask {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        let is_over = match &mut self.stage {
            Stage::Check(intact) => intact.step(),
            Stage::Run(run) => run.step(),
            Stage::Hash { model, leaves } => {
                if leaves.len() < model_leaves(model) {
                    leaves.push(model_leaf(model, leaves.len()));
                }
                return leaves.len() >= model_leaves(model);
            }
            Stage::Damaged(_) | Stage::Failed(_) => return true,
        };
        if is_over {
            // Overwritten at once.
            let failed = Stage::Failed(RoundFailure::WeightOutOfRange);
            self.stage = match std::mem::replace(&mut self.stage, failed) {
                Stage::Check(intact) => self.begin(&intact),
                Stage::Run(run) => match run.finish() {
                    Ok(model) => Stage::Hash { model: Arc::new(model), leaves: Vec::new() },
                    Err(failure) => Stage::Failed(failure),
                },
                stage => stage,
            };
        }
        false
    }

    fn progress(&self) -> Progress {
        let total = self.sum.len();
        let done = match &self.stage {
            Stage::Check(_) => 0,
            Stage::Run(run) => run.progress().0,
            Stage::Hash { .. } | Stage::Damaged(_) | Stage::Failed(_) => total,
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        match &mut self.stage {
            Stage::Check(intact) => intact.split(parts, JobKind::Unmask),
            Stage::Run(run) => run.split(parts),
            _ => Vec::new(),
        }
    }

    fn absorb(&mut self, part: Outcome) {
        match (&mut self.stage, part) {
            (Stage::Check(intact), Outcome::Intact(damaged)) => intact.absorb(damaged),
            (Stage::Run(run), part) => run.absorb(part),
            _ => {}
        }
    }

    fn finish(mut self: Box<Self>) -> Outcome {
        while !self.step() {}
        match self.stage {
            Stage::Hash { model, leaves } => {
                let hash = model_hash_of(model.data_type(), model.len() as u64, &leaves);
                Outcome::Unmasked(Ok((model, hash)))
            }
            Stage::Damaged(kind) => Outcome::Damaged(kind),
            Stage::Failed(failure) => Outcome::Unmasked(Err(failure)),
            // `step` leaves these stages.
            Stage::Check(_) | Stage::Run(_) => unreachable!("the job is not done"),
        }
    }
}

/// Does that for a range of the weights.
enum UnmaskRange {
    Exact(UnmaskPart),
    Noisy(NoisyUnmaskPart),
}

impl Work<Outcome> for UnmaskRange {
    fn kind(&self) -> JobKind {
        JobKind::Unmask
    }

    fn step(&mut self) -> bool {
        match self {
            Self::Exact(part) => part.step(PER_STEP),
            Self::Noisy(part) => part.step(PER_STEP),
        }
    }

    fn progress(&self) -> Progress {
        let (done, total) = match self {
            Self::Exact(part) => part.progress(),
            Self::Noisy(part) => part.progress(),
        };
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match *self {
            Self::Exact(part) => Outcome::UnmaskedRange(part),
            Self::Noisy(part) => Outcome::NoisyRange(part),
        }
    }
}
