//! An update message in two: what the machine has to know, and what stays where it came in.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::coordinator::verified::{check_seeds, Body, Verified};
use crate::crypto::PublicSigningKey;
use crate::message::LocalSeedDict;
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

const ADMISSION: Envelope<Admission> =
    Envelope { magic: *b"PETk", sealed_magic: *b"PETl", readers: &[read_bincode], writes: 1 };

/// All that the machine has to know of a verified update message: who has sent it in which round, and the sealed seeds
/// of its mask. [`Verified::admission`] makes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    pub(in crate::coordinator) round_id: u64,
    pub(in crate::coordinator) participant: PublicSigningKey,
    pub(in crate::coordinator) seeds: Arc<LocalSeedDict>,
}

/// Shows whose it is, and no seed.
impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field("round_id", &self.round_id)
            .field("participant", &self.participant)
            .field("seeds", &self.seeds.sum_participants().len())
            .finish()
    }
}

impl Admission {
    /// The round that the message was verified for.
    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// The sender.
    pub fn participant(&self) -> PublicSigningKey {
        self.participant
    }

    /// Versioned bytes: about a hundred, and 120 for each sum participant. There is no secret in them, but whoever can
    /// change them can let somebody take part who may not: seal them where others can write.
    pub fn to_bytes(&self) -> Vec<u8> {
        ADMISSION.plain(self)
    }

    /// Reads what [`Admission::to_bytes`] has written.
    ///
    /// # Errors
    /// If the bytes are something else, or of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let read = ADMISSION.read(bytes)?;
        check(&read)?;
        Ok(read)
    }
}

/// Whether one that was read is in order.
pub(in crate::coordinator) fn check(read: &Admission) -> Result<(), EnvelopeError> {
    check_seeds(&read.seeds)
}

/// The masked model of a verified update message. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct MaskedModel {
    pub(super) round_id: u64,
    pub(super) participant: PublicSigningKey,
    /// A mask object in wire form, all of whose numbers are below their orders.
    pub(in crate::coordinator) object: Bytes,
}

/// Shows its size.
impl fmt::Debug for MaskedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round_id, participant, object } = self;
        write!(f, "MaskedModel(of {participant} for round {round_id}, {} bytes)", object.len())
    }
}

impl MaskedModel {
    /// The sender.
    pub fn participant(&self) -> PublicSigningKey {
        self.participant
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.object.len()
    }
}

impl Verified {
    /// Splits an update message into what the machine has to know, and what can stay here; nothing for any other
    /// message, and for chunks. See [`Shard`](super::Shard). What is large is shared, not copied.
    pub fn admission(&self) -> Option<(Admission, MaskedModel)> {
        let Body::Update { masked_model, seeds } = &self.body else { return None };
        let Self { round_id, participant, .. } = *self;
        let admission = Admission { round_id, participant, seeds: seeds.clone() };
        Some((admission, MaskedModel { round_id, participant, object: masked_model.clone() }))
    }
}
