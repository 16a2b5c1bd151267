//! The participant's long work: making messages, and reading models.

mod decode;
mod deliver;
mod digest;
mod small;
mod split;
mod sum2;
mod update;

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

pub(super) use decode::DecodeModel;
use small::{ComposeSum, SealChunk};
use split::SplitAgain;
use sum2::ComposeSum2;
use update::ComposeUpdate;

use super::io::ModelMismatch;
use super::stage::Upload;
use crate::crypto::{
    CryptoError, Digest, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, Purpose, RootSeed,
    Signature, SigningKeyPair, TaskSignatures,
};
use crate::job::{JobKind, Work};
use crate::mask::noise::ClipError;
use crate::mask::{MaskError, MaskObjectError, MaskObjectView, MaskPart, MaskReport, MaskSumPart};
use crate::message::{ChunkError, MessageSize, SeedOpenError};
use crate::model::{CastError, DataType, Model, Scalar};
use crate::participant::FetchError;
use crate::round::{DecodeError, RoundParameters};
use crate::v2::updater::UpdaterOutcome;

/// How many numbers a step takes: about a millisecond's work.
const NUMBERS_PER_STEP: usize = 8192;
/// How many entries of a dictionary are read in a step.
const ENTRIES_PER_STEP: usize = 1024;
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
    /// Something before the coordinator does not let the message through, and splitting does not help.
    #[error("something before the coordinator, such as a proxy, refuses messages of {size} bytes with HTTP status 413, and they cannot be split further: have its limit for the length of bodies raised (nginx: client_max_body_size)")]
    NotLetThrough {
        /// How long the message was, or its part.
        size: usize,
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
    /// A job was lost each time: it panics, or whoever runs it drops it.
    #[error("the job to {job} was lost {times} times: see what the log says of panics, and please report it")]
    JobLost {
        /// What it does.
        job: JobKind,
        /// How often it was given out.
        times: u32,
    },
    /// Version 2, with noise: there is no difference that could be masked.
    #[error(transparent)]
    Clip(ClipError),
    /// There are so few masks to add up that their sum would give one of them away.
    #[error("the coordinator gives only {0} mask seeds to add up, at least {MIN_SEEDS} are due: the sum would give single models away")]
    TooFewSeeds(usize),
}

impl From<ClipError> for ComposeError {
    fn from(error: ClipError) -> Self {
        match error {
            ClipError::NotFinite { index } => MaskError::NotFinite { index }.into(),
            error => Self::Clip(error),
        }
    }
}

impl From<MaskError> for ComposeError {
    fn from(error: MaskError) -> Self {
        Self::Model(error.into())
    }
}

impl From<CastError> for ComposeError {
    fn from(error: CastError) -> Self {
        MaskError::from(error).into()
    }
}

/// What a participant's job has done. Opaque: it is handed back to the machine.
pub enum Outcome {
    #[doc(hidden)]
    Composed(Result<Upload, ComposeError>),
    #[doc(hidden)]
    Leaves(Result<Vec<Digest>, ComposeError>),
    #[doc(hidden)]
    MaskPart(Box<MaskPart>),
    #[doc(hidden)]
    Masked(Result<(Upload, MaskReport), ComposeError>),
    #[doc(hidden)]
    Sealed(Result<Bytes, ComposeError>),
    #[doc(hidden)]
    MaskSum(Box<MaskSumPart>),
    #[doc(hidden)]
    Model(Result<Arc<Model>, FetchError>),
    #[doc(hidden)]
    V2(UpdaterOutcome),
    #[doc(hidden)]
    Released,
}

impl Outcome {
    /// About how much memory it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Composed(Ok(upload)) | Self::Masked(Ok((upload, _))) => upload.bytes(),
            Self::Sealed(Ok(sealed)) => sealed.len(),
            Self::MaskPart(part) => part.bytes(),
            Self::MaskSum(part) => part.bytes(),
            Self::Model(Ok(model)) => model.len() * 8,
            Self::V2(outcome) => outcome.bytes(),
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
    /// Whether messages stay in this process, unsigned and unsealed.
    pub(super) hand_over: bool,
    pub(super) signatures: TaskSignatures,
}

impl Composer {
    pub(super) fn sum(self) -> impl Work<Outcome> {
        ComposeSum(self)
    }

    pub(super) fn update(self, sums: Bytes, model: Arc<Model>) -> impl Work<Outcome> {
        ComposeUpdate::new(self, sums, model)
    }

    pub(super) fn sum2(self, seeds: Bytes) -> impl Work<Outcome> {
        ComposeSum2::new(self, seeds)
    }

    /// Splits a message that is sealed already, or that was split into parts that are too long.
    pub(super) fn split_again(self, upload: Upload) -> impl Work<Outcome> {
        SplitAgain::new(self, upload)
    }

    pub(super) fn chunk(self, upload: Upload) -> impl Work<Outcome> {
        SealChunk::new(self, upload)
    }

    /// Of the round's models.
    fn data_type(&self) -> DataType {
        self.parameters.mask_config.vect.data_type()
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

    /// The ephemeral keys of the box that a message is sealed in. They are derived from its signature, which
    /// depends on every byte of the message: two messages never share them.
    fn seal_keys(&self, signature: &Signature) -> EncryptKeyPair {
        let seed = self.root.derive(Purpose::MessageSeal, &[signature.as_bytes()]);
        EncryptKeyPair::from_seed(&seed)
    }
}
