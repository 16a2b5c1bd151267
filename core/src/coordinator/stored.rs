//! Records as bytes.
//!
//! Most records are small. What grows with the model (the aggregate, a mask, a global model) is in a part
//! of its own, so that a server can keep it elsewhere and need not make bytes of what the next record
//! replaces.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{GlobalModel, Record};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey, SecretEncryptKey};
use crate::mask::Aggregation;
use crate::message::{LocalSeedDict, MessageId, OwnedChunk, Tag};
use crate::round::RoundParameters;
use crate::snapshot::{Envelope, EnvelopeError};

const RECORD: Envelope = Envelope { magic: *b"PETe", sealed_magic: *b"PETf", version: 1 };
const AGGREGATE: Envelope = Envelope { magic: *b"PETg", sealed_magic: *b"PETh", version: 1 };
const MODEL: Envelope = Envelope { magic: *b"PETm", sealed_magic: *b"PETn", version: 1 };

/// A record but for its large part, as it is written. The order of the variants and their fields is the
/// form: change it together with the version.
#[derive(Serialize, Deserialize)]
enum Small {
    RoundBegan { round_id: u64, parameters: Arc<RoundParameters>, secret: SecretEncryptKey },
    Sum { participant: PublicSigningKey, ephemeral_key: PublicEncryptKey },
    Chunk(Chunk),
    ChunksDropped { participants: Vec<PublicSigningKey> },
    SumEnded,
    Updates { seeds: Vec<(PublicSigningKey, Arc<LocalSeedDict>)> },
    UpdateEnded,
    Sum2 { participant: PublicSigningKey, digest: Digest },
    Sum2Ended { digest: Digest },
    Model,
    RoundFailed { round_id: u64 },
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    participant: PublicSigningKey,
    tag: Tag,
    id: u16,
    message_id: MessageId,
    is_last: bool,
    data: Bytes,
    reserved: Option<usize>,
}

/// The part of a record that grows with the model.
#[derive(Clone)]
pub enum Large {
    /// The aggregate.
    Aggregation(Arc<Aggregation>),
    /// A mask that somebody is the first to vote for.
    Mask(Bytes),
    /// A global model.
    Model(GlobalModel),
}

/// Shows its kind and size.
impl fmt::Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregation(aggregation) => aggregation.fmt(f),
            Self::Mask(mask) => write!(f, "Mask({} bytes)", mask.len()),
            Self::Model(model) => model.fmt(f),
        }
    }
}

impl Large {
    /// Its bytes, in a versioned form. Takes as long as the model is large.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Aggregation(aggregation) => Cow::Owned(AGGREGATE.plain(aggregation)),
            // Messages carry masks in this form.
            Self::Mask(mask) => Cow::Borrowed(mask),
            Self::Model(model) => Cow::Owned(model.to_bytes()),
        }
    }
}

impl GlobalModel {
    /// All of it, in a versioned form for storing.
    pub fn to_bytes(&self) -> Vec<u8> {
        MODEL.plain(self)
    }

    /// Reads what [`GlobalModel::to_bytes`] has written.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        MODEL.read(bytes)
    }
}

impl Record {
    /// What kind of record it is, in a few words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RoundBegan { .. } => "round began",
            Self::Sum { .. } => "sum message",
            Self::Chunk { .. } => "chunk",
            Self::ChunksDropped { .. } => "chunks dropped",
            Self::SumEnded => "sum phase ended",
            Self::Updates { .. } => "update messages",
            Self::UpdateEnded => "update phase ended",
            Self::Sum2 { .. } => "sum2 message",
            Self::Sum2Ended { .. } => "sum2 phase ended",
            Self::Model(_) => "global model",
            Self::RoundFailed { .. } => "round failed",
        }
    }

    /// Whether a phase begins with it: its clock begins anew, and all incomplete messages are gone.
    pub fn begins_phase(&self) -> bool {
        match self {
            Self::RoundBegan { .. }
            | Self::SumEnded
            | Self::UpdateEnded
            | Self::Sum2Ended { .. }
            | Self::Model(_)
            | Self::RoundFailed { .. } => true,
            Self::Sum { .. }
            | Self::Chunk { .. }
            | Self::ChunksDropped { .. }
            | Self::Updates { .. }
            | Self::Sum2 { .. } => false,
        }
    }

    /// The part that grows with the model, if it has one.
    pub fn large(&self) -> Option<Large> {
        match self {
            Self::Updates { aggregation, .. } => aggregation.clone().map(Large::Aggregation),
            Self::Sum2 { mask, .. } => mask.clone().map(Large::Mask),
            Self::Model(model) => Some(Large::Model(model.clone())),
            _ => None,
        }
    }

    /// All but the [large](Record::large) part, in a versioned form: secrets in the clear, wiped from
    /// memory when dropped.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        RECORD.write(&match self.clone() {
            Self::RoundBegan { round_id, parameters, secret } => {
                Small::RoundBegan { round_id, parameters, secret }
            }
            Self::Sum { participant, ephemeral_key } => Small::Sum { participant, ephemeral_key },
            Self::Chunk { participant, tag, chunk, reserved } => {
                let OwnedChunk { id, message_id, is_last, data } = chunk;
                Small::Chunk(Chunk { participant, tag, id, message_id, is_last, data, reserved })
            }
            Self::ChunksDropped { participants } => Small::ChunksDropped { participants },
            Self::SumEnded => Small::SumEnded,
            Self::Updates { seeds, .. } => Small::Updates { seeds },
            Self::UpdateEnded => Small::UpdateEnded,
            Self::Sum2 { participant, digest, .. } => Small::Sum2 { participant, digest },
            Self::Sum2Ended { digest } => Small::Sum2Ended { digest },
            Self::Model(_) => Small::Model,
            Self::RoundFailed { round_id } => Small::RoundFailed { round_id },
        })
    }

    /// Reads what [`Record::to_bytes`] has written, with the bytes of its large part where that was kept:
    /// the aggregate is needed in the last record that had one only.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8], large: Option<Bytes>) -> Result<Self, EnvelopeError> {
        Ok(match RECORD.read::<Small>(bytes)? {
            Small::RoundBegan { round_id, parameters, secret } => {
                Self::RoundBegan { round_id, parameters, secret }
            }
            Small::Sum { participant, ephemeral_key } => Self::Sum { participant, ephemeral_key },
            Small::Chunk(Chunk { participant, tag, id, message_id, is_last, data, reserved }) => {
                let chunk = OwnedChunk { id, message_id, is_last, data };
                Self::Chunk { participant, tag, chunk, reserved }
            }
            Small::ChunksDropped { participants } => Self::ChunksDropped { participants },
            Small::SumEnded => Self::SumEnded,
            Small::Updates { seeds } => {
                let aggregation = large.map(|bytes| AGGREGATE.read(&bytes)).transpose()?;
                Self::Updates { seeds, aggregation: aggregation.map(Arc::new) }
            }
            Small::UpdateEnded => Self::UpdateEnded,
            Small::Sum2 { participant, digest } => Self::Sum2 { participant, digest, mask: large },
            Small::Sum2Ended { digest } => Self::Sum2Ended { digest },
            Small::Model => {
                let missing = || EnvelopeError::Damaged("the global model is missing".into());
                Self::Model(GlobalModel::from_bytes(&large.ok_or_else(missing)?)?)
            }
            Small::RoundFailed { round_id } => Self::RoundFailed { round_id },
        })
    }
}
