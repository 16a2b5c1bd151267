//! Why messages are rejected.

use thiserror::Error;

use super::Phase;
use crate::crypto::{PublicSigningKey, Task};
use crate::message::{MessageError, ReassemblyError, Tag};
use crate::problem::Problem;

/// Why a message was not accepted. Nothing has changed by it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Rejection {
    /// It is malformed, not authentic, or for another round.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// It came before the first round.
    #[error("no round has begun yet")]
    NoRound,
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
    /// The participant's message is here and being worked on: whether it is accepted will be known soon.
    #[error("the participant's {0} message is being processed: send it again a little later")]
    InProgress(Tag),
    /// Too many answers wait for the store already. Nothing is wrong with the message.
    #[error("too much waits to be stored: send the message again a little later")]
    StoreBehind,
    /// The participant is not in the sum dictionary.
    #[error("the participant is not in this round's sum dictionary")]
    UnknownSumParticipant,
    /// The phase has enough messages.
    #[error("the {0} phase has taken as many messages as it may")]
    Full(Phase),
    /// The phase's time is over; only what came before is still being processed.
    #[error("the {0} phase's time is over")]
    TooLate(Phase),
    /// No more models fit the mask config.
    #[error("the mask config allows no more models in one aggregate")]
    TooManyModels,
    /// It was put together again and again, and that was lost each time. Nothing need be wrong with it.
    #[error("the message could not be processed: that is a fault of the coordinator")]
    NotProcessed,
    /// No more updates can be reserved for the shard, or there are too many shards, or with all that is under way, here and
    /// at other replicas, the phase has as many as it may: none of that counts yet, so that there may be room again.
    #[error("as many updates are under way as may be: send the message again a little later")]
    ShardFull,
    /// The shard's part is for a round or phase that is over.
    #[error("the round or phase is over that the part is for")]
    PartOver,
    /// The shard's part adds nobody or too many to the one before, or somebody twice, or has another number of models.
    #[error(
        "the part does not have as many models as its participants say, or more than it may add"
    )]
    PartCount,
    /// The shard's part does not replace the one that was recorded last, or its name is taken.
    #[error("the part does not follow the latest one of its replica")]
    PartPredecessor,
    /// The participant is not reserved for the shard: the machine is another one, or has believed the shard lost. Have
    /// the participant admitted again.
    #[error("the update of {participant} is not reserved for the replica: have it admitted again")]
    NotReserved {
        /// Who is not.
        participant: PublicSigningKey,
    },
    /// A chunk of a multipart message cannot be kept.
    #[error(transparent)]
    Chunk(#[from] ReassemblyError),
    /// What a machine that runs elsewhere has said of a message that a [relay](super::relay) has passed on.
    #[error("{0}")]
    Elsewhere(Box<super::relay::Told>),
}

impl Rejection {
    /// Whether the sender's message is there already: then it takes this for an acceptance whose answer was
    /// lost.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::DuplicateSum | Self::DuplicateUpdate | Self::DuplicateSum2)
    }

    /// Whether the sender need not come again with the same message: if it should, it is told so with 503.
    pub(super) fn is_final(&self) -> bool {
        self.problem(0).status != 503
    }

    /// A short, stable name of the reason, for counting and for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Message(error) => error.label(),
            Self::NoRound => "no_round",
            Self::WrongPhase { .. } => "wrong_phase",
            Self::NotEligible(_) => "not_eligible",
            Self::MaskConfig => "mask_config",
            Self::ModelLength { .. } => "model_length",
            Self::WeakEphemeralKey => "weak_ephemeral_key",
            Self::SeedDictMismatch => "seed_dict_mismatch",
            Self::DuplicateSum => "duplicate_sum",
            Self::DuplicateUpdate => "duplicate_update",
            Self::DuplicateSum2 => "duplicate_sum2",
            Self::InProgress(_) => "in_progress",
            Self::StoreBehind => "store_behind",
            Self::UnknownSumParticipant => "unknown_sum_participant",
            Self::Full(_) => "full",
            Self::TooLate(_) => "too_late",
            Self::TooManyModels => "too_many_models",
            Self::NotProcessed => "not_processed",
            Self::ShardFull => "shard_full",
            Self::PartOver => "part_over",
            Self::PartCount => "part_count",
            Self::PartPredecessor => "part_predecessor",
            Self::NotReserved { .. } => "not_reserved",
            Self::Chunk(error) => error.label(),
            Self::Elsewhere(told) => told.label(),
        }
    }

    /// The problem that the sender is told, if it asks: see [`problem`](crate::problem) for what it is
    /// not told.
    pub fn problem(&self, round: u64) -> Problem {
        let told = |status, title| (self.label(), status, title, self.to_string());
        let (name, status, title, detail) = match self {
            Self::Message(error) if error.is_before_authentication() => (
                NOT_AUTHENTIC,
                400,
                "The message is not authentic",
                "the message does not open with the round's key, or is not signed by the participant \
                 that it names for this round: it is damaged, or was made for another round"
                    .to_owned(),
            ),
            Self::Message(_) | Self::Chunk(ReassemblyError::EmptyChunk) => {
                told(400, "The message is malformed")
            }
            Self::MaskConfig
            | Self::ModelLength { .. }
            | Self::WeakEphemeralKey
            | Self::SeedDictMismatch => told(422, "The message does not fit the round"),
            Self::NoRound => told(503, "There is no round yet"),
            Self::WrongPhase { .. } => told(409, "The phase takes no such messages"),
            Self::TooLate(_) => told(409, "The phase's time is over"),
            Self::Full(_) | Self::TooManyModels => told(409, "The phase has enough messages"),
            Self::DuplicateSum | Self::DuplicateUpdate | Self::DuplicateSum2 => {
                told(409, "The participant's message was accepted before")
            }
            Self::InProgress(_) => told(503, "The participant's message is being processed"),
            Self::NotProcessed => told(500, "The message could not be processed"),
            Self::StoreBehind => told(503, "The store is behind"),
            Self::ShardFull => told(503, "The replica has too much to do"),
            // No participant is told so: they are for the replica that has taken its message.
            Self::PartOver => told(409, "The round or phase of the part is over"),
            Self::PartCount => told(409, "The part has another number of models"),
            Self::PartPredecessor => told(409, "The part does not follow the one before"),
            Self::NotReserved { .. } => told(409, "The update is not reserved for the replica"),
            Self::Elsewhere(told) => return told.problem(round),
            Self::NotEligible(_) | Self::UnknownSumParticipant => {
                told(403, "The participant does not have this task in this round")
            }
            Self::Chunk(ReassemblyError::Contradiction) => {
                told(409, "The parts of the message contradict each other")
            }
            Self::Chunk(ReassemblyError::TooLarge { .. }) => told(413, "The message is too long"),
            Self::Chunk(ReassemblyError::NoRoom) => told(503, "There is no room now"),
        };
        Problem { name: name.into(), status, title: title.into(), detail, round: Some(round) }
    }
}

/// The name of what is wrong with all messages of which it cannot be said whose they are.
const NOT_AUTHENTIC: &str = "not_authentic";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_authentic_gets_the_same_answer() {
        let told = Rejection::from(MessageError::DoesNotOpen).problem(3);
        assert_eq!((told.name.as_ref(), told.status), ("not_authentic", 400));
        for error in [
            MessageError::Truncated { field: "header", needed: 136, available: 7 },
            MessageError::Length { stated: 3, actual: 4 },
            MessageError::UnknownTag(9),
            MessageError::BadSignature,
            MessageError::OtherCoordinator,
        ] {
            assert_eq!(Rejection::from(error).problem(3), told);
        }
        // What only an authentic message can be found to be.
        for error in [
            MessageError::Truncated { field: "masked model", needed: 136, available: 7 },
            MessageError::MalformedSignature { field: "sum signature" },
            MessageError::TrailingBytes { field: "payload", count: 1 },
            MessageError::SeedDictLength(5),
            MessageError::DuplicateSeed(PublicSigningKey::new([1; 32])),
        ] {
            let (label, text) = (error.label(), error.to_string());
            let told = Rejection::from(error).problem(3);
            assert_eq!((told.name.as_ref(), told.status, told.detail), (label, 400, text));
        }
    }

    #[test]
    fn problems_have_the_rejections_names_and_a_fitting_status() {
        let (tag, phase) = (Tag::Sum, Phase::Update);
        for (rejection, status) in [
            (Rejection::NoRound, 503),
            (Rejection::WrongPhase { tag, phase }, 409),
            (Rejection::NotEligible(Task::Sum), 403),
            (Rejection::MaskConfig, 422),
            (Rejection::ModelLength { expected: 1, actual: 2 }, 422),
            (Rejection::WeakEphemeralKey, 422),
            (Rejection::SeedDictMismatch, 422),
            (Rejection::DuplicateSum, 409),
            (Rejection::DuplicateUpdate, 409),
            (Rejection::DuplicateSum2, 409),
            (Rejection::InProgress(tag), 503),
            (Rejection::StoreBehind, 503),
            (Rejection::UnknownSumParticipant, 403),
            (Rejection::Full(phase), 409),
            (Rejection::TooLate(phase), 409),
            (Rejection::TooManyModels, 409),
            (Rejection::NotProcessed, 500),
            (Rejection::ShardFull, 503),
            (Rejection::PartOver, 409),
            (Rejection::PartCount, 409),
            (Rejection::PartPredecessor, 409),
            (Rejection::NotReserved { participant: PublicSigningKey::new([1; 32]) }, 409),
            (Rejection::Chunk(ReassemblyError::Contradiction), 409),
            (Rejection::Chunk(ReassemblyError::TooLarge { actual: 2, max: 1 }), 413),
            (Rejection::Chunk(ReassemblyError::EmptyChunk), 400),
            (Rejection::Chunk(ReassemblyError::NoRoom), 503),
        ] {
            let told = rejection.problem(3);
            assert_eq!((told.name.as_ref(), told.status), (rejection.label(), status));
            assert_eq!((told.detail, told.round), (rejection.to_string(), Some(3)));
        }
    }
}
