//! Adding up the masks of a group, and signing the sum.

use std::sync::Arc;

use bytes::Bytes;

use super::{Outcome, Setup, Steps, HASHES_PER_STEP};
use crate::crypto::{Digest, SigningKeyPair};
use crate::job::{JobKind, Progress, Work};
use crate::mask::noise::{HeadRoom, Noise, NoiseSeed};
use crate::mask::tree::{self, TREE_LEAF};
use crate::mask::{GroupMask as GroupSum, GroupMaskPart, MaskSeed};
use crate::v2::member::round::{Agreed, Checked, GroupMask};
use crate::v2::member::Refusal;
use crate::v2::{stream_seed, DecisionHash, GroupMaskHeader, Label, PartsHash, Terms};

/// How many numbers a step takes: about a millisecond's work.
const NUMBERS_PER_STEP: usize = 8192;

/// Derives the mask of every update of the set, and adds them up.
pub(in super::super) struct AddMasks {
    setup: Setup,
    keys: SigningKeyPair,
    all: Arc<Vec<Arc<Vec<Checked>>>>,
    agreed: Agreed,
    steps: Steps<Stage, GroupMask>,
}

enum Stage {
    Seeds(Box<Seeds>),
    Sum(Box<GroupSum>),
    Hash { bytes: Vec<u8>, leaves: Vec<Digest> },
}

/// Deriving the seeds.
struct Seeds {
    seeds: Vec<MaskSeed>,
    /// Takes in all of the group's seeds, in the order of the updaters.
    noise: PartsHash,
    /// The next update: its page, and its place there.
    page: usize,
    at: usize,
    /// How many excluded updates were come by.
    skipped: usize,
}

impl Seeds {
    fn new(decision: &DecisionHash) -> Self {
        let mut noise = PartsHash::new(Label::Noise);
        noise.part(decision.as_bytes());
        Self { seeds: Vec::new(), noise, page: 0, at: 0, skipped: 0 }
    }
}

impl AddMasks {
    pub(in super::super) fn new(
        setup: Setup,
        keys: SigningKeyPair,
        all: Arc<Vec<Arc<Vec<Checked>>>>,
        agreed: Agreed,
    ) -> Self {
        let stage = Stage::Seeds(Box::new(Seeds::new(&agreed.decision)));
        Self { setup, keys, all, agreed, steps: Steps::Next(stage) }
    }

    fn next(
        (setup, keys, all, agreed): (&Setup, &SigningKeyPair, &[Arc<Vec<Checked>>], &Agreed),
        stage: Stage,
    ) -> Result<Steps<Stage, GroupMask>, Refusal> {
        match stage {
            Stage::Seeds(mut found) => {
                let list = setup.list.as_ref().ok_or(Refusal::LeftOut)?.digest();
                for _ in 0..HASHES_PER_STEP / 4 {
                    let Some(entries) = all.get(found.page) else {
                        return Ok(Steps::Next(Stage::Sum(Box::new(begin(
                            setup, agreed, *found,
                        )?))));
                    };
                    let Some(update) = entries.get(found.at) else {
                        found.page += 1;
                        found.at = 0;
                        continue;
                    };
                    found.at += 1;
                    if agreed.excluded.get(found.skipped) == Some(&update.updater) {
                        found.skipped += 1;
                        continue;
                    }
                    let (updater, group) = (update.updater, setup.member.group);
                    // Never fewer than are decided on: the difference of two sums is a mask.
                    let seed = update.seed.as_ref().map_err(|accusation| Refusal::BadUpdate {
                        updater,
                        accusation: *accusation,
                    })?;
                    found.noise.part(seed.as_bytes());
                    let stream = stream_seed(&setup.context, &list, &updater, group, seed);
                    found.seeds.push(stream);
                }
                Ok(Steps::Next(Stage::Seeds(found)))
            }
            Stage::Sum(mut sum) => {
                if !sum.step(NUMBERS_PER_STEP) {
                    return Ok(Steps::Next(Stage::Sum(sum)));
                }
                let bytes = sum.finish().to_bytes().map_err(|error| mask(&error))?;
                let leaves = Vec::with_capacity(bytes.len().div_ceil(TREE_LEAF));
                Ok(Steps::Next(Stage::Hash { bytes, leaves }))
            }
            Stage::Hash { bytes, mut leaves } => {
                let start = leaves.len() * TREE_LEAF;
                if start < bytes.len() {
                    let end = bytes.len().min(start + TREE_LEAF);
                    leaves.push(Digest::new(tree::leaf(&bytes[start..end])));
                    return Ok(Steps::Next(Stage::Hash { bytes, leaves }));
                }
                let (context, member) = (&setup.context, setup.member);
                let length = bytes.len() as u64;
                let header =
                    GroupMaskHeader::sign(keys, context, &agreed.decision, member, length, leaves);
                let digest = header.mask_digest().digest;
                let (header, bytes) = (Arc::new(header), Bytes::from(bytes));
                Ok(Steps::Done(Ok(GroupMask { header, digest, bytes, sent: 0 })))
            }
        }
    }
}

fn begin(setup: &Setup, agreed: &Agreed, found: Seeds) -> Result<GroupSum, Refusal> {
    let Seeds { seeds, noise: hash, .. } = found;
    if seeds.len() as u64 != agreed.count {
        return Err(Refusal::Mask("not all updates are there".to_owned()));
    }
    let parameters = &setup.terms.parameters;
    let length = usize::try_from(parameters.model_length).map_err(|error| mask(&error))?;
    let sum = GroupSum::new(parameters.mask_config, length, seeds).map_err(|error| mask(&error))?;
    let Some(noise) = noise_of(&setup.terms, setup.roster.groups().len(), agreed.count)? else {
        return Ok(sum);
    };
    let seed = NoiseSeed::new(*hash.finish().as_bytes());
    sum.with_noise(&noise, seed).map_err(|error| mask(&error))
}

/// The noise that these terms ask for; it must leave room for the sum of so many models.
pub(in super::super) fn noise_of(
    terms: &Terms,
    groups: usize,
    models: u64,
) -> Result<Option<Noise>, Refusal> {
    let Some(noise) = &terms.noise else { return Ok(None) };
    let parameters = &terms.parameters;
    let failed = |error: &dyn std::fmt::Display| Refusal::NoiseTerms(error.to_string());
    let length = usize::try_from(parameters.model_length).map_err(|error| failed(&error))?;
    let thousandths = noise.multiplier_thousandths;
    let noise = Noise::new(parameters.mask_config.vect, length, thousandths)
        .map_err(|error| failed(&error))?;
    HeadRoom::new(noise, groups).check(models).map_err(|error| failed(&error))?;
    Ok(Some(noise))
}

fn mask(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::Mask(error.to_string())
}

impl Work<Outcome> for AddMasks {
    fn kind(&self) -> JobKind {
        JobKind::AddGroupMasks
    }

    fn step(&mut self) -> bool {
        let Self { setup, keys, all, agreed, steps } = self;
        steps.step(|stage| Self::next((setup, keys, all, agreed), stage))
    }

    fn progress(&self) -> Progress {
        let numbers = self.setup.terms.parameters.model_length.saturating_mul(self.agreed.count);
        match &self.steps {
            Steps::Next(Stage::Sum(sum)) => {
                let (done, total) = sum.progress();
                Progress { done: done as u64, total: total as u64 }
            }
            Steps::Next(Stage::Hash { .. }) | Steps::Done(_) => {
                Progress { done: numbers, total: numbers }
            }
            _ => Progress { done: 0, total: numbers },
        }
    }

    /// Each part adds some of the masks in a window of the sum.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        let Steps::Next(Stage::Sum(sum)) = &mut self.steps else { return Vec::new() };
        let parts = sum.split(parts).into_iter();
        parts.map(|part| Box::new(Part(Box::new(part))) as Box<dyn Work<Outcome>>).collect()
    }

    fn absorb(&mut self, part: Outcome) {
        if let (Steps::Next(Stage::Sum(sum)), Outcome::MaskPart(part)) = (&mut self.steps, part) {
            sum.absorb(*part);
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::Mask(self.steps.finish())
    }
}

/// A part of the sum.
struct Part(Box<GroupMaskPart>);

impl Work<Outcome> for Part {
    fn kind(&self) -> JobKind {
        JobKind::AddGroupMasks
    }

    fn step(&mut self) -> bool {
        self.0.step(NUMBERS_PER_STEP)
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::MaskPart(self.0)
    }
}
