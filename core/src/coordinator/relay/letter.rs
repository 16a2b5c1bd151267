//! What a relay writes to wherever the machine runs.

use serde::{Deserialize, Serialize};

use super::{Admission, EnvelopeError, PartDone, PartId, Shard};
use crate::coordinator::shards::check_admission;
use crate::snapshot::{read_bincode, Envelope};

const LETTER: Envelope<Letter> =
    Envelope { magic: *b"PETr", sealed_magic: *b"PETR", readers: &[read_bincode], writes: 1 };

/// A relay's number for a letter: no two letters of a relay have the same.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LetterNumber(pub u64);

/// A letter. The order of the variants and their fields is the form: change it together with the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Letter {
    /// A message that was verified: sum, sum2, or a chunk.
    Message {
        /// The round that it is for.
        round_id: u64,
        /// What [`Verified::to_bytes`](crate::coordinator::Verified::to_bytes) gives.
        small: Vec<u8>,
        /// What of it is large.
        large: Option<Piece>,
    },
    /// An update that the shard would add up: [`Input::Admit`](crate::coordinator::Input::Admit).
    Admit {
        /// Who would.
        shard: Shard,
        /// What the machine has to know of it.
        admission: Admission,
    },
    /// A part that is stored: [`Input::Part`](crate::coordinator::Input::Part).
    Part(PartDone),
    /// The shard is no more: [`Input::ShardLost`](crate::coordinator::Input::ShardLost).
    Lost {
        /// Which.
        shard: Shard,
    },
}

/// The large piece of a message, stored as a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Piece {
    /// Its name.
    pub part: PartId,
    /// Whether other letters may name the same part, which then is there until the round is over. (Equal masks have
    /// one name.)
    pub is_shared: bool,
}

impl Letter {
    /// Versioned bytes. Whoever can change them can let a message count that was never sent: seal them.
    pub fn to_bytes(&self) -> Vec<u8> {
        LETTER.plain(self)
    }

    /// Reads what [`Letter::to_bytes`] has written.
    ///
    /// # Errors
    /// If the bytes are something else, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let letter = LETTER.read(bytes)?;
        if let Self::Admit { admission, .. } = &letter {
            check_admission(admission)?;
        }
        Ok(letter)
    }

    /// The shard that it is about; none for messages.
    pub fn shard(&self) -> Option<Shard> {
        match self {
            Self::Message { .. } => None,
            Self::Admit { shard, .. } | Self::Lost { shard } => Some(*shard),
            Self::Part(done) => Some(done.shard),
        }
    }
}
