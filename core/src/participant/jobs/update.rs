//! The update message: masking the local model, and sealing its mask seed.

use std::sync::Arc;

use bytes::Bytes;

use super::super::stage::Upload;
use super::deliver::Deliver;
use super::digest::{hash_leaf, hash_model, leaf_count, HashLeaves};
use super::{ComposeError, Composer, Outcome, BOXES_PER_STEP, ENTRIES_PER_STEP, NUMBERS_PER_STEP};
use crate::crypto::{Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Purpose};
use crate::job::{JobKind, Progress, Work};
use crate::mask::{MaskPart, MaskReport, MaskSeed, Masker};
use crate::message::{EncryptedMaskSeed, Frame, LocalSeedDict, Tag};
use crate::model::Model;
use crate::round::{DecodeError, DictSteps, SumDict};

/// Masks the local model and makes an update message.
pub(super) struct ComposeUpdate {
    composer: Composer,
    sums: Bytes,
    model: Arc<Model>,
    stage: UpdateStage,
}

enum UpdateStage {
    Begin,
    /// Reading the sum dictionary.
    Read(Box<DictSteps<Bytes, PublicSigningKey, PublicEncryptKey>>),
    /// Hashing the model, for its mask seed: its first leaves.
    Hash {
        sums: SumDict,
        leaves: Vec<Digest>,
    },
    Mask {
        sums: SumDict,
        seed: MaskSeed,
        masker: Box<Masker>,
    },
    /// Sealing the mask seed to the sum participants.
    Seal(Box<Sealing>),
    /// Signing and sealing the message.
    Deliver(Box<Deliver>, MaskReport),
    Done(Result<(Upload, MaskReport), ComposeError>),
}

struct Sealing {
    recipients: std::vec::IntoIter<(PublicSigningKey, PublicEncryptKey)>,
    entries: Vec<(PublicSigningKey, EncryptedMaskSeed)>,
    seed: MaskSeed,
    buffer: Vec<u8>,
    report: MaskReport,
}

impl ComposeUpdate {
    pub(super) fn new(composer: Composer, sums: Bytes, model: Arc<Model>) -> Self {
        Self { composer, sums, model, stage: UpdateStage::Begin }
    }

    fn next(&mut self, stage: UpdateStage) -> Result<UpdateStage, ComposeError> {
        let composer = &self.composer;
        Ok(match stage {
            UpdateStage::Begin => {
                let sums = SumDict::in_steps(self.sums.clone());
                UpdateStage::Read(Box::new(sums.map_err(bad_sums)?))
            }
            UpdateStage::Read(mut sums) => {
                if !sums.step(ENTRIES_PER_STEP).map_err(bad_sums)? {
                    return Ok(UpdateStage::Read(sums));
                }
                let sums = sums.finish().map_err(bad_sums)?.into();
                UpdateStage::Hash { sums, leaves: Vec::new() }
            }
            UpdateStage::Hash { sums, mut leaves } => {
                let wanted = composer.data_type();
                if leaves.len() < leaf_count(&self.model) {
                    leaves.push(hash_leaf(&self.model, wanted, leaves.len())?);
                    return Ok(UpdateStage::Hash { sums, leaves });
                }
                let seed = composer.mask_seed(&hash_model(self.model.len(), wanted, &leaves));
                let mut frame = Frame::with_capacity(128);
                let buffer = frame.buffer_mut();
                buffer.extend_from_slice(composer.signatures.sum.as_bytes());
                buffer.extend_from_slice(composer.signatures.update.as_bytes());
                // Memory for all of it at once: growing a large buffer would copy it.
                let masker = Masker::behind(
                    &frame.into_buffer(),
                    LocalSeedDict::serialized_len(sums.len()),
                    &seed,
                    composer.parameters.mask_config,
                    &composer.scalar,
                    self.model.clone(),
                )?;
                UpdateStage::Mask { sums, seed, masker: Box::new(masker) }
            }
            UpdateStage::Mask { sums, seed, mut masker } => {
                if !masker.step(NUMBERS_PER_STEP) {
                    return Ok(UpdateStage::Mask { sums, seed, masker });
                }
                let (buffer, report) = masker.finish()?;
                let recipients: Vec<_> = sums.iter().map(|(pk, key)| (*pk, *key)).collect();
                UpdateStage::Seal(Box::new(Sealing {
                    entries: Vec::with_capacity(recipients.len()),
                    recipients: recipients.into_iter(),
                    seed,
                    buffer,
                    report,
                }))
            }
            UpdateStage::Seal(mut sealing) => {
                for (participant, key) in sealing.recipients.by_ref().take(BOXES_PER_STEP) {
                    let sealed = composer.seal_seed(&sealing.seed, &participant, &key)?;
                    sealing.entries.push((participant, sealed));
                }
                if !sealing.recipients.as_slice().is_empty() {
                    return Ok(UpdateStage::Seal(sealing));
                }
                let Sealing { entries, mut buffer, report, .. } = *sealing;
                LocalSeedDict::new(entries)
                    .map_err(|_| ComposeError::BadAnswer {
                        call: "sums",
                        source: DecodeError::Duplicate { what: "sum dictionary" },
                    })?
                    .write_to(&mut buffer);
                let deliver = Deliver::new(composer, Frame::from_buffer(buffer)?, Tag::Update)?;
                UpdateStage::Deliver(Box::new(deliver), report)
            }
            UpdateStage::Deliver(mut deliver, report) => match deliver.step(composer)? {
                Some(upload) => UpdateStage::Done(Ok((upload, report))),
                None => UpdateStage::Deliver(deliver, report),
            },
            UpdateStage::Done(result) => UpdateStage::Done(result),
        })
    }
}

fn bad_sums(source: DecodeError) -> ComposeError {
    ComposeError::BadAnswer { call: "sums", source }
}

impl Composer {
    /// The seed for masking one model: it depends on all that is masked with it and on how, so that
    /// no two different models are ever masked with the same seed.
    fn mask_seed(&self, model: &Digest) -> MaskSeed {
        let scalar = self.scalar.to_string();
        let seed = self.root.derive(
            Purpose::MaskSeed,
            &[&self.parameters.to_bytes(), scalar.as_bytes(), model.as_bytes()],
        );
        MaskSeed::from(seed.as_bytes())
    }

    fn seal_seed(
        &self,
        seed: &MaskSeed,
        participant: &PublicSigningKey,
        key: &PublicEncryptKey,
    ) -> Result<EncryptedMaskSeed, ComposeError> {
        if self.hand_over {
            return Ok(EncryptedMaskSeed::unsealed(seed));
        }
        let ephemeral = self
            .root
            .derive(Purpose::SeedSeal, &[seed.as_bytes(), participant.as_bytes(), key.as_bytes()]);
        let ephemeral = EncryptKeyPair::from_seed(&ephemeral);
        Ok(EncryptedMaskSeed::seal(seed, key, &ephemeral)?)
    }
}

impl Work<Outcome> for ComposeUpdate {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        let stage = std::mem::replace(&mut self.stage, UpdateStage::Begin);
        self.stage = self.next(stage).unwrap_or_else(|error| UpdateStage::Done(Err(error)));
        matches!(self.stage, UpdateStage::Done(_))
    }

    fn progress(&self) -> Progress {
        let length = self.model.len() as u64;
        let done = match &self.stage {
            UpdateStage::Begin | UpdateStage::Read(_) | UpdateStage::Hash { .. } => 0,
            UpdateStage::Mask { masker, .. } => masker.progress().0 as u64,
            UpdateStage::Seal(_) | UpdateStage::Deliver(..) | UpdateStage::Done(_) => length,
        };
        Progress { done, total: length }
    }

    /// Parts hash leaves of the model, and later mask it, in as many turns as it takes.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        match &mut self.stage {
            UpdateStage::Hash { leaves, .. } => {
                let wanted = self.composer.data_type();
                HashLeaves::share_out(&self.model, wanted, leaves.len(), parts)
                    .map(|part| Box::new(part) as Box<dyn Work<Outcome>>)
                    .collect()
            }
            UpdateStage::Mask { masker, .. } => masker
                .split(parts)
                .into_iter()
                .map(|part| Box::new(MaskWeights(part)) as Box<dyn Work<Outcome>>)
                .collect(),
            _ => Vec::new(),
        }
    }

    fn absorb(&mut self, part: Outcome) {
        match (&mut self.stage, part) {
            (UpdateStage::Hash { leaves, .. }, Outcome::Leaves(Ok(more))) => leaves.extend(more),
            (UpdateStage::Hash { .. }, Outcome::Leaves(Err(error))) => {
                self.stage = UpdateStage::Done(Err(error));
            }
            (UpdateStage::Mask { masker, .. }, Outcome::MaskPart(part)) => masker.absorb(*part),
            _ => {}
        }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            UpdateStage::Done(result) => Outcome::Masked(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}

/// Masks some of the weights, and draws the masks of others.
struct MaskWeights(MaskPart);

impl Work<Outcome> for MaskWeights {
    fn kind(&self) -> JobKind {
        JobKind::MaskModel
    }

    fn step(&mut self) -> bool {
        self.0.step()
    }

    fn progress(&self) -> Progress {
        let (done, total) = self.0.progress();
        Progress { done: done as u64, total: total as u64 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        Outcome::MaskPart(Box::new(self.0))
    }
}
