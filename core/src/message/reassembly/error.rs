//! Why a chunk is not kept.

use thiserror::Error;

/// Why a chunk is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReassemblyError {
    /// The parts say different things about the message.
    #[error("this chunk contradicts an earlier one of the same message")]
    Contradiction,
    /// The message is larger than any that this round allows.
    #[error("the chunks add up to {actual} bytes, but such a message has at most {max} bytes")]
    TooLarge {
        /// How many bytes there would be.
        actual: usize,
        /// How many there may be.
        max: usize,
    },
    /// The chunk carries nothing.
    #[error("this chunk carries no data")]
    EmptyChunk,
    /// There is no room: try again later.
    #[error("no room for more incomplete messages: send the chunk again later")]
    NoRoom,
}

impl ReassemblyError {
    /// A short, stable name of the reason, for counting.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Contradiction => "chunk_contradiction",
            Self::TooLarge { .. } => "chunks_too_large",
            Self::EmptyChunk => "chunk_empty",
            Self::NoRoom => "chunks_no_room",
        }
    }
}
