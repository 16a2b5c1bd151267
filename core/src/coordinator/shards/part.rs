//! Parts of the aggregate: their bytes, and what is said of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{PartId, Shard};
use crate::crypto::PublicSigningKey;
use crate::mask::{Aggregation, MaskConfigPair, MaskObjectView};
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

const DONE: Envelope<PartDone> =
    Envelope { magic: *b"PETo", sealed_magic: *b"PETq", readers: &[read_bincode], writes: 1 };

/// What the bytes of a part begin with, and their version.
const MAGIC: [u8; 6] = *b"PETt\x01\x00";
/// Magic and version, round, shard, number of models; the sum in its wire form follows.
const HEADER: usize = MAGIC.len() + 8 + Shard::LENGTH + 8;

/// A shard has stored a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDone {
    /// In which round.
    pub round_id: u64,
    /// Whose part.
    pub shard: Shard,
    /// Its name.
    pub part: PartId,
    /// The shard's part before, which it replaces; nothing for its first in this round.
    pub predecessor: Option<PartId>,
    /// Whose updates are in it that are not in the one before: at most [`MOST_IN_PART`](super::MOST_IN_PART), nobody twice.
    pub participants: Vec<PublicSigningKey>,
    /// How many models are in it, those of the one before included.
    pub models: u64,
}

impl PartDone {
    /// Versioned bytes. Whoever can change them can spoil a round: seal them where others can write.
    pub fn to_bytes(&self) -> Vec<u8> {
        DONE.plain(self)
    }

    /// Reads what [`PartDone::to_bytes`] has written.
    ///
    /// # Errors
    /// If the bytes are something else, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        DONE.read(bytes)
    }
}

/// What is wrong with a part that is needed for the global model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PartFault {
    /// It is not there.
    #[error("it is not there")]
    Missing,
    /// Its bytes are not a part, or a number is not below its order.
    #[error("it is damaged")]
    Damaged,
    /// It is of another round or replica, of other settings, or of another number of models.
    #[error("it is not the one that was recorded")]
    Other,
}

/// The bytes of a part.
pub(super) fn write(round_id: u64, shard: Shard, sum: &Aggregation) -> Vec<u8> {
    let object = sum.object();
    let len = MaskObjectView::serialized_len(object.config(), object.len()).unwrap_or(0);
    let mut bytes = Vec::with_capacity(HEADER + len);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&round_id.to_le_bytes());
    bytes.extend_from_slice(shard.as_bytes());
    bytes.extend_from_slice(&sum.nb_models().to_le_bytes());
    object.write_to(&mut bytes).expect("a round's models are not too long for messages");
    bytes
}

/// What a part must be.
#[derive(Debug, Clone, Copy)]
pub(in crate::coordinator) struct Expected {
    pub(super) round_id: u64,
    pub(super) shard: Shard,
    pub(super) models: u64,
    pub(super) config: MaskConfigPair,
    pub(super) length: usize,
}

impl Expected {
    /// The sum in a part, in its wire form. That its numbers are below their orders is left to be checked.
    pub(super) fn object(&self, part: &Bytes) -> Result<Bytes, PartFault> {
        let (header, object) = part.split_at_checked(HEADER).ok_or(PartFault::Damaged)?;
        let rest = header.strip_prefix(&MAGIC).ok_or(PartFault::Damaged)?;
        let (round_id, rest) = rest.split_at(8);
        let (shard, models) = rest.split_at(Shard::LENGTH);
        let view = MaskObjectView::parse_exact(object).map_err(|_| PartFault::Damaged)?;
        let fits = round_id == self.round_id.to_le_bytes()
            && shard == self.shard.as_bytes()
            && models == self.models.to_le_bytes()
            && view.matches(self.config, self.length);
        match fits {
            true => Ok(part.slice(HEADER..)),
            false => Err(PartFault::Other),
        }
    }
}
