//! The machine's answers to letters, in bytes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{EnvelopeError, Phase, Rejection};
use crate::crypto::PublicSigningKey;
use crate::message::{ReassemblyError, Tag};
use crate::problem::Problem;
use crate::snapshot::{read_bincode, Envelope};

const ANSWER: Envelope<Answer> =
    Envelope { magic: *b"PETw", sealed_magic: *b"PETW", readers: &[read_bincode], writes: 1 };

/// What is not told apart any more goes as its sender is told it. The order of the variants and their fields is the form:
/// change it together with the version.
#[derive(Serialize, Deserialize)]
enum Answer {
    Accepted,
    WrongPhase { tag: Tag, phase: Phase },
    DuplicateSum,
    DuplicateUpdate,
    DuplicateSum2,
    InProgress(Tag),
    StoreBehind,
    UnknownSumParticipant,
    Full(Phase),
    TooLate(Phase),
    TooManyModels,
    SeedDictMismatch,
    NotProcessed,
    ShardFull,
    PartOver,
    PartCount,
    PartPredecessor,
    NotReserved(PublicSigningKey),
    ChunkNoRoom,
    Told(Told),
}

/// Why a message was turned down by a machine that runs elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    name: String,
    label: String,
    status: u16,
    title: String,
    detail: String,
}

impl Told {
    fn of(rejection: &Rejection) -> Self {
        let Problem { name, status, title, detail, .. } = rejection.problem(0);
        let label = rejection.label().to_owned();
        Self { name: name.into_owned(), label, status, title: title.into_owned(), detail }
    }

    /// The reason's short name, if it is one that can come of a message that was put together.
    pub(in crate::coordinator) fn label(&self) -> &'static str {
        const LABELS: [&str; 14] = [
            "truncated",
            "length",
            "malformed_signature",
            "trailing_bytes",
            "mask_object",
            "seed_dict_length",
            "duplicate_seed",
            "not_eligible",
            "mask_config",
            "model_length",
            "weak_ephemeral_key",
            "chunk_contradiction",
            "chunks_too_large",
            "chunk_empty",
        ];
        LABELS.into_iter().find(|label| *label == self.label).unwrap_or("elsewhere")
    }

    /// What the sender is told.
    pub(in crate::coordinator) fn problem(&self, round: u64) -> Problem {
        let Self { name, status, title, detail, .. } = self.clone();
        let (name, title) = (Cow::Owned(name), Cow::Owned(title));
        Problem { name, status, title, detail, round: Some(round) }
    }
}

/// For people.
impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

/// The answer to a letter, in versioned bytes: some hundred at most.
pub fn write_answer(outcome: &Result<(), Rejection>) -> Vec<u8> {
    let rejection = match outcome {
        Ok(()) => return ANSWER.plain(&Answer::Accepted),
        Err(rejection) => rejection,
    };
    ANSWER.plain(&match rejection {
        Rejection::WrongPhase { tag, phase } => Answer::WrongPhase { tag: *tag, phase: *phase },
        Rejection::DuplicateSum => Answer::DuplicateSum,
        Rejection::DuplicateUpdate => Answer::DuplicateUpdate,
        Rejection::DuplicateSum2 => Answer::DuplicateSum2,
        Rejection::InProgress(tag) => Answer::InProgress(*tag),
        Rejection::StoreBehind => Answer::StoreBehind,
        Rejection::UnknownSumParticipant => Answer::UnknownSumParticipant,
        Rejection::Full(phase) => Answer::Full(*phase),
        Rejection::TooLate(phase) => Answer::TooLate(*phase),
        Rejection::TooManyModels => Answer::TooManyModels,
        Rejection::SeedDictMismatch => Answer::SeedDictMismatch,
        Rejection::NotProcessed => Answer::NotProcessed,
        Rejection::ShardFull => Answer::ShardFull,
        Rejection::PartOver => Answer::PartOver,
        Rejection::PartCount => Answer::PartCount,
        Rejection::PartPredecessor => Answer::PartPredecessor,
        Rejection::NotReserved { participant } => Answer::NotReserved(*participant),
        Rejection::Chunk(ReassemblyError::NoRoom) => Answer::ChunkNoRoom,
        other => Answer::Told(Told::of(other)),
    })
}

/// Reads what [`write_answer`] has written.
///
/// # Errors
/// If the bytes are something else, or of a newer version.
pub fn read_answer(bytes: &[u8]) -> Result<Result<(), Rejection>, EnvelopeError> {
    Ok(Err(match ANSWER.read(bytes)? {
        Answer::Accepted => return Ok(Ok(())),
        Answer::WrongPhase { tag, phase } => Rejection::WrongPhase { tag, phase },
        Answer::DuplicateSum => Rejection::DuplicateSum,
        Answer::DuplicateUpdate => Rejection::DuplicateUpdate,
        Answer::DuplicateSum2 => Rejection::DuplicateSum2,
        Answer::InProgress(tag) => Rejection::InProgress(tag),
        Answer::StoreBehind => Rejection::StoreBehind,
        Answer::UnknownSumParticipant => Rejection::UnknownSumParticipant,
        Answer::Full(phase) => Rejection::Full(phase),
        Answer::TooLate(phase) => Rejection::TooLate(phase),
        Answer::TooManyModels => Rejection::TooManyModels,
        Answer::SeedDictMismatch => Rejection::SeedDictMismatch,
        Answer::NotProcessed => Rejection::NotProcessed,
        Answer::ShardFull => Rejection::ShardFull,
        Answer::PartOver => Rejection::PartOver,
        Answer::PartCount => Rejection::PartCount,
        Answer::PartPredecessor => Rejection::PartPredecessor,
        Answer::NotReserved(participant) => Rejection::NotReserved { participant },
        Answer::ChunkNoRoom => Rejection::Chunk(ReassemblyError::NoRoom),
        Answer::Told(told) => Rejection::Elsewhere(Box::new(told)),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Task;
    use crate::message::MessageError;

    #[test]
    fn answers_say_the_same_elsewhere() {
        let exact = [
            Rejection::WrongPhase { tag: Tag::Sum, phase: Phase::Shutdown },
            Rejection::DuplicateUpdate,
            Rejection::InProgress(Tag::Sum2),
            Rejection::Full(Phase::Sum),
            Rejection::NotReserved { participant: PublicSigningKey::new([3; 32]) },
            Rejection::Chunk(ReassemblyError::NoRoom),
        ];
        for rejection in exact {
            let bytes = write_answer(&Err(rejection.clone()));
            assert_eq!(read_answer(&bytes), Ok(Err(rejection)));
        }
        assert_eq!(read_answer(&write_answer(&Ok(()))), Ok(Ok(())));
        let told = [
            Rejection::MaskConfig,
            Rejection::WeakEphemeralKey,
            Rejection::NotEligible(Task::Sum),
            Rejection::ModelLength { expected: 3, actual: 4 },
            Rejection::Chunk(ReassemblyError::Contradiction),
            Rejection::Chunk(ReassemblyError::TooLarge { actual: 4, max: 3 }),
            Rejection::Chunk(ReassemblyError::EmptyChunk),
            MessageError::SeedDictLength(3).into(),
            MessageError::DuplicateSeed(PublicSigningKey::new([3; 32])).into(),
            MessageError::Truncated { field: "masked model", needed: 136, available: 7 }.into(),
            MessageError::TrailingBytes { field: "payload", count: 1 }.into(),
            MessageError::MalformedSignature { field: "sum signature" }.into(),
        ];
        for rejection in told {
            let read = read_answer(&write_answer(&Err(rejection.clone()))).unwrap().unwrap_err();
            assert_eq!(read.label(), rejection.label());
            assert_eq!(read.problem(7), rejection.problem(7));
            assert_eq!(read.to_string(), rejection.problem(7).detail);
        }
        assert!(read_answer(b"PETw").is_err());
    }
}
