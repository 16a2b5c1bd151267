//! Why messages are rejected.

use thiserror::Error;

use super::Phase;
use crate::crypto::Task;
use crate::message::{MessageError, ReassemblyError, Tag};

/// Why a message was not accepted. Nothing has changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is malformed, not authentic, or for another round.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Messages of this kind are not taken now.
    #[error("a {tag} message cannot be taken in the {phase} phase")]
    WrongPhase {
        /// What the message is for.
        tag: Tag,
        /// The phase it came in.
        phase: Phase,
    },
    /// The participant does not have this task in this round.
    #[error("the participant is not eligible for the {0} task in this round")]
    NotEligible(Task),
    /// The masked model or mask is of another config.
    #[error("the masked object's mask config is not the round's")]
    MaskConfig,
    /// The masked model or mask has another length.
    #[error("the masked object has {actual} numbers, but the round's models have {expected}")]
    ModelLength {
        /// How many it should have.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// The ephemeral key is a point of low order: nobody could seal a seed for it.
    #[error("the ephemeral key is a point of low order")]
    WeakEphemeralKey,
    /// The local seed dictionary is not for exactly the round's sum participants.
    #[error("the local seed dictionary does not have exactly the sum participants of this round")]
    SeedDictMismatch,
    /// The participant is in the sum dictionary already.
    #[error("the participant has already sent a sum message in this round")]
    DuplicateSum,
    /// The participant has updated already.
    #[error("the participant has already sent an update in this round")]
    DuplicateUpdate,
    /// The participant has voted for a mask already.
    #[error("the participant has already sent a sum2 message in this round")]
    DuplicateSum2,
    /// The participant is not in the sum dictionary.
    #[error("the participant is not in this round's sum dictionary")]
    UnknownSumParticipant,
    /// Enough messages are there.
    #[error("the {0} phase has taken as many messages as it may")]
    Full(Phase),
    /// The phase's time is over; only what came before is still being processed.
    #[error("the {0} phase's time is over")]
    TooLate(Phase),
    /// No more models fit the mask config.
    #[error("the mask config allows no more models in one aggregate")]
    TooManyModels,
    /// A chunk of a multipart message cannot be kept.
    #[error(transparent)]
    Chunk(#[from] ReassemblyError),
}

impl Rejection {
    /// A short, stable name of the reason, for counting and for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Message(error) => error.label(),
            Self::WrongPhase { .. } => "wrong_phase",
            Self::NotEligible(_) => "not_eligible",
            Self::MaskConfig => "mask_config",
            Self::ModelLength { .. } => "model_length",
            Self::WeakEphemeralKey => "weak_ephemeral_key",
            Self::SeedDictMismatch => "seed_dict_mismatch",
            Self::DuplicateSum => "duplicate_sum",
            Self::DuplicateUpdate => "duplicate_update",
            Self::DuplicateSum2 => "duplicate_sum2",
            Self::UnknownSumParticipant => "unknown_sum_participant",
            Self::Full(_) => "full",
            Self::TooLate(_) => "too_late",
            Self::TooManyModels => "too_many_models",
            Self::Chunk(error) => error.label(),
        }
    }
}
