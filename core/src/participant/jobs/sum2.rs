//! The sum2 message: opening the mask seeds, and adding up the masks.

use bytes::Bytes;

use super::super::stage::Upload;
use super::deliver::Deliver;
use super::{
    ComposeError, Composer, Outcome, BOXES_PER_STEP, ENTRIES_PER_STEP, MIN_SEEDS, NUMBERS_PER_STEP,
};
use crate::crypto::PublicSigningKey;
use crate::job::{JobKind, Progress, Work};
use crate::mask::{MaskObjectView, MaskSeed, MaskSum, MaskSumPart};
use crate::message::{EncryptedMaskSeed, Frame, Tag};
use crate::round::{DecodeError, DictSteps, UpdateSeedDict};

/// Opens the mask seeds, adds up the masks, and makes a sum2 message.
pub(super) struct ComposeSum2 {
    composer: Composer,
    stage: Sum2Stage,
}

enum Sum2Stage {
    Begin(Bytes),
    /// Reading the dictionary of mask seeds.
    Read(Box<DictSteps<Bytes, PublicSigningKey, EncryptedMaskSeed>>),
    Open {
        sealed: std::vec::IntoIter<(PublicSigningKey, EncryptedMaskSeed)>,
        seeds: Vec<MaskSeed>,
    },
    Sum(Box<MaskSum>),
    /// Signing and sealing the message.
    Deliver(Box<Deliver>),
    Done(Result<Upload, ComposeError>),
}

impl ComposeSum2 {
    pub(super) fn new(composer: Composer, seeds: Bytes) -> Self {
        Self { composer, stage: Sum2Stage::Begin(seeds) }
    }

    fn next(&mut self, stage: Sum2Stage) -> Result<Sum2Stage, ComposeError> {
        let composer = &self.composer;
        Ok(match stage {
            Sum2Stage::Begin(bytes) => {
                Sum2Stage::Read(Box::new(UpdateSeedDict::in_steps(bytes).map_err(bad_seeds)?))
            }
            Sum2Stage::Read(mut dict) => {
                if !dict.step(ENTRIES_PER_STEP).map_err(bad_seeds)? {
                    return Ok(Sum2Stage::Read(dict));
                }
                let sealed: Vec<_> = dict.finish().map_err(bad_seeds)?.into_iter().collect();
                if sealed.len() < MIN_SEEDS {
                    return Err(ComposeError::TooFewSeeds(sealed.len()));
                }
                let seeds = Vec::with_capacity(sealed.len());
                Sum2Stage::Open { sealed: sealed.into_iter(), seeds }
            }
            Sum2Stage::Open { mut sealed, mut seeds } => {
                let ephemeral = composer.ephemeral();
                for (participant, sealed) in sealed.by_ref().take(BOXES_PER_STEP) {
                    let seed = match composer.hand_over {
                        false => sealed.open(&ephemeral),
                        true => sealed.read_unsealed(),
                    };
                    seeds.push(seed.map_err(|source| ComposeError::Seed { participant, source })?);
                }
                if !sealed.as_slice().is_empty() {
                    return Ok(Sum2Stage::Open { sealed, seeds });
                }
                let mut sum = composer.empty_sum()?;
                sum.add_seeds(seeds);
                Sum2Stage::Sum(Box::new(sum))
            }
            Sum2Stage::Sum(mut sum) => {
                if !sum.step(NUMBERS_PER_STEP) {
                    return Ok(Sum2Stage::Sum(sum));
                }
                let mask = sum.finish();
                let mut frame = Frame::with_capacity(0);
                let buffer = frame.buffer_mut();
                let object = MaskObjectView::serialized_len(mask.config(), mask.len());
                buffer.reserve_exact(object.unwrap_or(0) + 64);
                buffer.extend_from_slice(composer.signatures.sum.as_bytes());
                mask.write_to(buffer)?;
                Sum2Stage::Deliver(Box::new(Deliver::new(composer, frame, Tag::Sum2)?))
            }
            Sum2Stage::Deliver(mut deliver) => match deliver.step(composer)? {
                Some(upload) => Sum2Stage::Done(Ok(upload)),
                None => Sum2Stage::Deliver(deliver),
            },
            Sum2Stage::Done(result) => Sum2Stage::Done(result),
        })
    }

    fn advance(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Sum2Stage::Begin(Bytes::new()));
        self.stage = self.next(stage).unwrap_or_else(|error| Sum2Stage::Done(Err(error)));
    }
}

fn bad_seeds(source: DecodeError) -> ComposeError {
    ComposeError::BadAnswer { call: "seeds", source }
}

impl Composer {
    fn empty_sum(&self) -> Result<MaskSum, ComposeError> {
        Ok(MaskSum::new(self.parameters.mask_config, self.model_length()?))
    }
}

impl Work<Outcome> for ComposeSum2 {
    fn kind(&self) -> JobKind {
        JobKind::AddMasks
    }

    fn step(&mut self) -> bool {
        self.advance();
        matches!(self.stage, Sum2Stage::Done(_))
    }

    fn progress(&self) -> Progress {
        let length = self.composer.parameters.model_length;
        match &self.stage {
            Sum2Stage::Begin(_) | Sum2Stage::Read(_) | Sum2Stage::Open { .. } => {
                Progress { done: 0, total: length }
            }
            Sum2Stage::Sum(sum) => {
                let (done, total) = sum.progress();
                Progress { done: done as u64, total: total as u64 }
            }
            Sum2Stage::Deliver(_) | Sum2Stage::Done(_) => Progress { done: length, total: length },
        }
    }

    /// Each part adds some of the masks in a window of the sum.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Sum2Stage::Sum(sum) = &mut self.stage else {
            return Vec::new();
        };
        let parts = sum.split(parts).into_iter();
        parts.map(|part| Box::new(PartialSum(Box::new(part))) as Box<dyn Work<Outcome>>).collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let (Sum2Stage::Sum(sum), Outcome::MaskSum(part)) = (&mut self.stage, part) {
            sum.absorb(*part);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            Sum2Stage::Done(result) => Outcome::Composed(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}

/// A part of the sum.
struct PartialSum(Box<MaskSumPart>);

impl Work<Outcome> for PartialSum {
    fn kind(&self) -> JobKind {
        JobKind::AddMasks
    }

    fn step(&mut self) -> bool {
        self.0.step(NUMBERS_PER_STEP)
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::MaskSum(self.0)
    }
}
