//! The participant's long work: making messages, and reading models.

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use super::io::ModelMismatch;
use super::stage::{Content, Upload};
use crate::crypto::{
    Blake2b, CryptoError, Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Purpose,
    RootSeed, SigningKeyPair, TaskSignatures,
};
use crate::job::{Progress, Work};
use crate::mask::{
    MaskError, MaskObjectError, MaskObjectView, MaskReport, MaskSeed, MaskSum, Masker,
};
use crate::message::{
    ChunkError, EncryptedMaskSeed, Frame, LocalSeedDict, MessageId, MessageSize, SeedOpenError,
    SumPayload, Tag, FRAME_HEADROOM,
};
use crate::model::{DataType, Model, RatioDecoder, RatioError, Scalar};
use crate::round::{DecodeError, RoundParameters, SumDict, UpdateSeedDict};

/// How many numbers a step takes: about a millisecond's work.
const NUMBERS_PER_STEP: usize = 8192;
/// How many weights are hashed in a step.
const HASHED_PER_STEP: usize = 1 << 17;
/// How many sealed boxes are made or opened in a step.
const BOXES_PER_STEP: usize = 8;

/// No coordinator ends an update phase with fewer updates (specification, section 7).
const MIN_SEEDS: usize = 3;

/// Why a message could not be made: the participant gives up for this round, or tries again.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// The coordinator's answer is malformed.
    #[error("the coordinator's answer is malformed: {source}")]
    BadAnswer {
        /// What was asked.
        call: &'static str,
        /// What is wrong with the answer.
        source: DecodeError,
    },
    /// The local model cannot be masked.
    #[error(transparent)]
    Model(#[from] ModelMismatch),
    /// The payload cannot be split as the settings want it.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// An update participant has sealed something else than a seed for this participant.
    #[error("update participant {participant}: {source}")]
    Seed {
        /// Whose seed it is.
        participant: PublicSigningKey,
        /// What is wrong with it.
        source: SeedOpenError,
    },
    /// Nothing can be sealed with a key that the coordinator has published.
    #[error("a key that the coordinator has published cannot be used: {0}")]
    Crypto(#[from] CryptoError),
    /// The sum of the masks cannot be written.
    #[error(transparent)]
    Object(#[from] MaskObjectError),
    /// The round's models are longer than the settings allow, or than a message can hold.
    #[error("the round's models have {0} weights: more than Settings::max_model_length allows")]
    TooLong(u64),
    /// There are so few masks to add up that their sum would give one of them away.
    #[error("the coordinator gives only {0} mask seeds to add up, at least {MIN_SEEDS} are due: the sum would give single models away")]
    TooFewSeeds(usize),
}

impl From<MaskError> for ComposeError {
    fn from(error: MaskError) -> Self {
        Self::Model(error.into())
    }
}

/// What a participant's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
    #[doc(hidden)]
    Composed(Result<Upload, ComposeError>),
    #[doc(hidden)]
    Masked(Result<(Upload, MaskReport), ComposeError>),
    #[doc(hidden)]
    Sealed(Result<Bytes, ComposeError>),
    #[doc(hidden)]
    MaskSum(Box<MaskSum>),
    #[doc(hidden)]
    Model(Result<Arc<Model>, RatioError>),
    #[doc(hidden)]
    Released,
}

impl Outcome {
    /// About how much memory it holds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Composed(Ok(upload)) | Self::Masked(Ok((upload, _))) => upload.bytes(),
            Self::Sealed(Ok(sealed)) => sealed.len(),
            Self::MaskSum(sum) => sum.progress().1 * 8,
            Self::Model(Ok(model)) => model.len() * 8,
            _ => 0,
        }
    }
}

/// All that every message needs.
pub(super) struct Composer {
    pub(super) keys: SigningKeyPair,
    pub(super) root: RootSeed,
    pub(super) scalar: Scalar,
    pub(super) size: MessageSize,
    pub(super) max_model_length: u64,
    pub(super) parameters: Arc<RoundParameters>,
    pub(super) number: u64,
    pub(super) signatures: TaskSignatures,
}

impl Composer {
    pub(super) fn sum(self) -> impl Work<Outcome> {
        ComposeSum(self)
    }

    pub(super) fn update(self, sums: Bytes, model: Arc<Model>) -> impl Work<Outcome> {
        ComposeUpdate { composer: self, sums, model, stage: UpdateStage::Begin }
    }

    pub(super) fn sum2(self, seeds: Bytes) -> impl Work<Outcome> {
        ComposeSum2 { composer: self, stage: Sum2Stage::Begin(seeds) }
    }

    pub(super) fn chunk(self, upload: Upload) -> impl Work<Outcome> {
        SealChunk(self, upload)
    }

    fn pk(&self) -> &PublicEncryptKey {
        &self.parameters.pk
    }

    /// The key pair that mask seeds are sealed for: the same each time in one round, and another one
    /// should the coordinator come back to the same parameters later.
    fn ephemeral(&self) -> EncryptKeyPair {
        EncryptKeyPair::from_seed(&self.root.derive(
            Purpose::EphemeralKey,
            &[&self.parameters.to_bytes(), &self.number.to_le_bytes()],
        ))
    }

    fn model_length(&self) -> Result<usize, ComposeError> {
        let length = self.parameters.model_length;
        usize::try_from(length)
            .ok()
            .filter(|_| length <= self.max_model_length)
            .filter(|length| {
                MaskObjectView::serialized_len(self.parameters.mask_config, *length).is_some()
            })
            .ok_or(ComposeError::TooLong(length))
    }

    /// Signs and seals. The box's ephemeral key is derived from the signature, which depends on
    /// every byte of the message: two messages never share one.
    fn seal(&self, mut frame: Frame, tag: Tag, is_multipart: bool) -> Result<Bytes, ComposeError> {
        let signed = frame.sign(&self.keys, self.pk(), tag, is_multipart)?;
        let ephemeral = self.root.derive(Purpose::MessageSeal, &[&signed[..64]]);
        let ephemeral = EncryptKeyPair::from_seed(&ephemeral);
        let mut buffer = frame.into_buffer();
        self.pk().seal_in_place(&mut buffer, &ephemeral)?;
        Ok(buffer.into())
    }

    /// Makes a finished payload ready for delivery: sealed in one piece, or to be split.
    fn upload(&self, frame: Frame, tag: Tag) -> Result<Upload, ComposeError> {
        let content = match self.size.split(frame.payload_len())? {
            None => Content::Whole(self.seal(frame, tag, false)?),
            Some(splitting) => {
                let digest = Blake2b::hash(&[frame.payload()]);
                let id = self.root.derive(Purpose::MessageId, &[digest.as_bytes()]);
                let [low, high, ..] = *id.as_bytes();
                Content::Chunks {
                    message_id: MessageId(u16::from_le_bytes([low, high])),
                    payload: Bytes::from(frame.into_buffer()).slice(FRAME_HEADROOM..),
                    splitting,
                    next: 0,
                }
            }
        };
        Ok(Upload { tag, content })
    }
}

/// Makes a sum message.
struct ComposeSum(Composer);

impl Work<Outcome> for ComposeSum {
    fn name(&self) -> &'static str {
        "make sum message"
    }

    fn step(&mut self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let composer = self.0;
        let payload = SumPayload {
            sum_signature: composer.signatures.sum,
            ephemeral_key: composer.ephemeral().public(),
        };
        let mut frame = Frame::with_capacity(SumPayload::LENGTH);
        payload.write_to(frame.buffer_mut());
        Outcome::Composed(composer.upload(frame, Tag::Sum))
    }
}

/// Signs and seals one chunk.
struct SealChunk(Composer, Upload);

impl Work<Outcome> for SealChunk {
    fn name(&self) -> &'static str {
        "seal chunk"
    }

    fn step(&mut self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress { done: 0, total: 1 }
    }

    fn finish(self: Box<Self>) -> Outcome {
        let Self(composer, Upload { tag, content }) = *self;
        let (payload, splitting, message_id, next) = match content {
            Content::Whole(sealed) => return Outcome::Sealed(Ok(sealed)),
            Content::Chunks { payload, splitting, message_id, next } => {
                (payload, splitting, message_id, next)
            }
        };
        let mut frame = Frame::with_capacity(0);
        // Where there is no such chunk (a damaged snapshot can say so) an empty one does no harm.
        if let Some(chunk) = splitting.chunk(&payload, message_id, next) {
            frame = Frame::with_capacity(chunk.data.len() + crate::message::CHUNK_HEADER_LENGTH);
            chunk.write_to(frame.buffer_mut());
        }
        Outcome::Sealed(composer.seal(frame, tag, true))
    }
}

/// Masks the local model and makes an update message.
struct ComposeUpdate {
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

/// Opens the mask seeds, adds up the masks, and makes a sum2 message.
struct ComposeSum2 {
    composer: Composer,
    stage: Sum2Stage,
}

enum Sum2Stage {
    Begin(Bytes),
    Open {
        sealed: std::vec::IntoIter<(PublicSigningKey, EncryptedMaskSeed)>,
        seeds: Vec<MaskSeed>,
    },
    /// All seeds are known, none is used yet.
    Opened(Vec<MaskSeed>),
    Sum(Box<MaskSum>),
    Done(Result<Upload, ComposeError>),
}

impl ComposeSum2 {
    fn next(&mut self, stage: Sum2Stage) -> Result<Sum2Stage, ComposeError> {
        let composer = &self.composer;
        Ok(match stage {
            Sum2Stage::Begin(bytes) => {
                let dict = UpdateSeedDict::from_bytes(&bytes)
                    .map_err(|source| ComposeError::BadAnswer { call: "seeds", source })?;
                let sealed: Vec<_> = dict.iter().map(|(pk, sealed)| (*pk, *sealed)).collect();
                if sealed.len() < MIN_SEEDS {
                    return Err(ComposeError::TooFewSeeds(sealed.len()));
                }
                let seeds = Vec::with_capacity(sealed.len());
                Sum2Stage::Open { sealed: sealed.into_iter(), seeds }
            }
            Sum2Stage::Open { mut sealed, mut seeds } => {
                let ephemeral = composer.ephemeral();
                for (participant, sealed) in sealed.by_ref().take(BOXES_PER_STEP) {
                    let seed = sealed
                        .open(&ephemeral)
                        .map_err(|source| ComposeError::Seed { participant, source })?;
                    seeds.push(seed);
                }
                if !sealed.as_slice().is_empty() {
                    return Ok(Sum2Stage::Open { sealed, seeds });
                }
                Sum2Stage::Opened(seeds)
            }
            Sum2Stage::Opened(seeds) => {
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
                Sum2Stage::Done(composer.upload(frame, Tag::Sum2))
            }
            Sum2Stage::Done(result) => Sum2Stage::Done(result),
        })
    }

    fn advance(&mut self) {
        let stage = std::mem::replace(&mut self.stage, Sum2Stage::Begin(Bytes::new()));
        self.stage = self.next(stage).unwrap_or_else(|error| Sum2Stage::Done(Err(error)));
    }
}

impl Composer {
    fn empty_sum(&self) -> Result<MaskSum, ComposeError> {
        Ok(MaskSum::new(self.parameters.mask_config, self.model_length()?))
    }
}

impl Work<Outcome> for ComposeSum2 {
    fn name(&self) -> &'static str {
        "add up masks"
    }

    fn step(&mut self) -> bool {
        self.advance();
        matches!(self.stage, Sum2Stage::Done(_))
    }

    fn progress(&self) -> Progress {
        let length = self.composer.parameters.model_length;
        match &self.stage {
            Sum2Stage::Begin(_) | Sum2Stage::Open { .. } | Sum2Stage::Opened(_) => {
                Progress { done: 0, total: length }
            }
            Sum2Stage::Sum(sum) => {
                let (done, total) = sum.progress();
                Progress { done: done as u64, total: total as u64 }
            }
            Sum2Stage::Done(_) => Progress { done: length, total: length },
        }
    }

    /// Each part adds up the masks of some of the seeds; this job adds up the parts.
    fn split(&mut self, parts: usize) -> Vec<Box<dyn Work<Outcome>>> {
        // The seeds must be known to be shared out.
        while matches!(self.stage, Sum2Stage::Begin(_) | Sum2Stage::Open { .. }) {
            self.advance();
        }
        let Sum2Stage::Opened(seeds) = &mut self.stage else {
            return Vec::new();
        };
        let share = seeds.len().div_ceil(parts.max(1)).max(1);
        let mut works: Vec<Box<dyn Work<Outcome>>> = Vec::new();
        while works.len() < parts && !seeds.is_empty() {
            let Ok(mut part) = self.composer.empty_sum() else {
                break;
            };
            part.add_seeds(seeds.drain(seeds.len().saturating_sub(share)..));
            works.push(Box::new(PartialSum(Box::new(part))));
        }
        works
    }

    fn absorb(&mut self, part: Outcome) {
        let Outcome::MaskSum(part) = part else { return };
        while !matches!(self.stage, Sum2Stage::Sum(_) | Sum2Stage::Done(_)) {
            self.advance();
        }
        if let Sum2Stage::Sum(sum) = &mut self.stage {
            // Both are of this round's config and length.
            let merged = sum.merge(*part);
            debug_assert!(merged.is_ok());
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

/// The sum of some of the masks.
struct PartialSum(Box<MaskSum>);

impl Work<Outcome> for PartialSum {
    fn name(&self) -> &'static str {
        "add up masks"
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

/// Reads a global model.
pub(super) enum DecodeModel {
    Begin { bytes: Bytes, data_type: DataType },
    Decode(RatioDecoder<Bytes>),
    Done(Result<Arc<Model>, RatioError>),
}

impl DecodeModel {
    pub(super) fn new(bytes: Bytes, data_type: DataType) -> Self {
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
