//! The update message: masking the local model, and sealing its mask seed.

use std::sync::Arc;

use bytes::Bytes;

use super::super::stage::Upload;
use super::{ComposeError, Composer, Outcome, BOXES_PER_STEP, NUMBERS_PER_STEP};
use crate::crypto::{Blake2b, Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Purpose};
use crate::job::{Progress, Work};
use crate::mask::{MaskObjectView, MaskReport, MaskSeed, Masker};
use crate::message::{EncryptedMaskSeed, Frame, LocalSeedDict, Tag};
use crate::model::Model;
use crate::round::{DecodeError, SumDict};

/// How many weights are hashed in a step.
const HASHED_PER_STEP: usize = 1 << 17;

/// Masks the local model and makes an update message.
pub(super) struct ComposeUpdate {
    composer: Composer,
    sums: Bytes,
    model: Arc<Model>,
    stage: UpdateStage,
}

enum UpdateStage {
    Begin,
    /// Hashing the model, for its mask seed.
    Hash {
        sums: SumDict,
        hash: Box<Blake2b>,
        done: usize,
    },
    Mask {
        sums: SumDict,
        seed: MaskSeed,
        masker: Box<Masker>,
    },
    /// Sealing the mask seed to the sum participants.
    Seal(Box<Sealing>),
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
                let sums = SumDict::from_bytes(&self.sums)
                    .map_err(|source| ComposeError::BadAnswer { call: "sums", source })?;
                UpdateStage::Hash { sums, hash: Box::default(), done: 0 }
            }
            UpdateStage::Hash { sums, mut hash, done } => {
                let end = self.model.len().min(done + HASHED_PER_STEP);
                hash_weights(&mut hash, &self.model, done..end);
                if end < self.model.len() {
                    return Ok(UpdateStage::Hash { sums, hash, done: end });
                }
                let seed = composer.mask_seed(&hash.finish());
                let mut frame = Frame::with_capacity(0);
                let buffer = frame.buffer_mut();
                let config = composer.parameters.mask_config;
                // All at once: growing a large buffer would copy it.
                let object = MaskObjectView::serialized_len(config, self.model.len());
                buffer.reserve_exact(
                    object.unwrap_or(0) + 128 + LocalSeedDict::serialized_len(sums.len()),
                );
                buffer.extend_from_slice(composer.signatures.sum.as_bytes());
                buffer.extend_from_slice(composer.signatures.update.as_bytes());
                let masker = Masker::append_to(
                    frame.into_buffer(),
                    &seed,
                    config,
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
                let upload = composer.upload(Frame::from_buffer(buffer)?, Tag::Update)?;
                UpdateStage::Done(Ok((upload, report)))
            }
            UpdateStage::Done(result) => UpdateStage::Done(result),
        })
    }
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
        MaskSeed::new(*seed.as_bytes())
    }

    fn seal_seed(
        &self,
        seed: &MaskSeed,
        participant: &PublicSigningKey,
        key: &PublicEncryptKey,
    ) -> Result<EncryptedMaskSeed, ComposeError> {
        let ephemeral = self
            .root
            .derive(Purpose::SeedSeal, &[seed.as_bytes(), participant.as_bytes(), key.as_bytes()]);
        let ephemeral = EncryptKeyPair::from_seed(&ephemeral);
        Ok(EncryptedMaskSeed::seal(seed, key, &ephemeral)?)
    }
}

impl Work<Outcome> for ComposeUpdate {
    fn name(&self) -> &'static str {
        "mask local model"
    }

    fn step(&mut self) -> bool {
        let stage = std::mem::replace(&mut self.stage, UpdateStage::Begin);
        self.stage = self.next(stage).unwrap_or_else(|error| UpdateStage::Done(Err(error)));
        matches!(self.stage, UpdateStage::Done(_))
    }

    fn progress(&self) -> Progress {
        let length = self.model.len() as u64;
        let done = match &self.stage {
            UpdateStage::Begin | UpdateStage::Hash { .. } => 0,
            UpdateStage::Mask { masker, .. } => masker.progress().0 as u64,
            UpdateStage::Seal(_) | UpdateStage::Done(_) => length,
        };
        Progress { done, total: length }
    }

    fn finish(self: Box<Self>) -> Outcome {
        match self.stage {
            UpdateStage::Done(result) => Outcome::Masked(result),
            // Only called once `step` has said that all is done.
            _ => unreachable!("the job is not done"),
        }
    }
}

fn hash_weights(hash: &mut Blake2b, model: &Model, range: std::ops::Range<usize>) {
    const LANE: usize = 1024;
    let mut bytes = Vec::with_capacity(8 * LANE);
    macro_rules! hash_all {
        ($tag:expr, $weights:expr) => {{
            if range.start == 0 {
                hash.update(&[$tag]);
            }
            for lane in $weights[range].chunks(LANE) {
                bytes.clear();
                lane.iter().for_each(|weight| bytes.extend_from_slice(&weight.to_le_bytes()));
                hash.update(&bytes);
            }
        }};
    }
    match model {
        Model::F32(weights) => hash_all!(0, weights),
        Model::F64(weights) => hash_all!(1, weights),
        Model::I32(weights) => hash_all!(2, weights),
        Model::I64(weights) => hash_all!(3, weights),
    }
    zeroize::Zeroize::zeroize(&mut bytes);
}
