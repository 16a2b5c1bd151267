//! Records: what a server stores, and the bytes of that.
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

use super::{GlobalModel, OptimizerState, PartId, Shard};
use crate::crypto::{Digest, PublicEncryptKey, PublicSigningKey, SealingKey, SecretEncryptKey};
use crate::mask::{Aggregation, MaskObjectView};
use crate::message::{LocalSeedDict, MessageId, OwnedChunk, Tag};
use crate::round::RoundParameters;
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

const RECORD: Envelope<Small> =
    Envelope { magic: *b"PETe", sealed_magic: *b"PETf", readers: &[read_bincode], writes: 1 };
const AGGREGATE: Envelope<Aggregation> =
    Envelope { magic: *b"PETg", sealed_magic: *b"PETh", readers: &[read_bincode], writes: 1 };
/// Without what an optimiser remembers models have the form that they always had.
const MODEL: Envelope<GlobalModel> = Envelope {
    magic: *b"PETm",
    sealed_magic: *b"PETn",
    readers: &[read_bincode, read_with_optimizer],
    writes: 1,
};
const MODEL_WITH_OPTIMIZER: Envelope<(GlobalModel, Arc<OptimizerState>)> =
    Envelope { magic: *b"PETm", sealed_magic: *b"PETn", readers: &[], writes: 2 };

fn read_with_optimizer(body: &[u8]) -> Result<GlobalModel, EnvelopeError> {
    let (model, state): (GlobalModel, OptimizerState) = read_bincode(body)?;
    if !state.is_sound() {
        let why = "what the optimizer remembers is not of its kind";
        return Err(EnvelopeError::Damaged(why.to_owned()));
    }
    Ok(GlobalModel { optimizer: Some(Arc::new(state)), ..model })
}

/// A change that must outlive the process. From the records since a round began
/// [`Recovery`](super::Recovery) makes a coordinator that goes on where the last of them left off.
#[derive(Clone)]
#[non_exhaustive]
pub enum Record {
    /// A round has begun. Everything of the round before may be forgotten.
    RoundBegan {
        /// The round's number, from 1.
        round_id: u64,
        /// What is published about it.
        parameters: Arc<RoundParameters>,
        /// The key that opens its messages.
        secret: SecretEncryptKey,
    },
    /// A sum message was accepted.
    Sum {
        /// Of whom.
        participant: PublicSigningKey,
        /// The ephemeral key.
        ephemeral_key: PublicEncryptKey,
    },
    /// A chunk of a multipart message was kept.
    Chunk {
        /// Of whose message.
        participant: PublicSigningKey,
        /// What the message is for.
        tag: Tag,
        /// The chunk.
        chunk: OwnedChunk,
        /// How many bytes are set aside for the message, once the right to send it is proven.
        reserved: Option<usize>,
    },
    /// Nothing is kept any more of what these participants have sent incompletely.
    ChunksDropped {
        /// Whose chunks.
        participants: Vec<PublicSigningKey>,
    },
    /// The sum dictionary is complete.
    SumEnded,
    /// Update messages were accepted.
    Updates {
        /// Of whom, with their sealed mask seeds.
        seeds: Vec<(PublicSigningKey, Arc<LocalSeedDict>)>,
        /// The aggregate with these updates in it. Whoever stores it may forget the one before.
        aggregation: Option<Arc<Aggregation>>,
    },
    /// The seed dictionary is complete.
    UpdateEnded,
    /// A sum2 message was accepted.
    Sum2 {
        /// Of whom.
        participant: PublicSigningKey,
        /// The hash of the mask.
        digest: Digest,
        /// The mask, if it is the first of its kind.
        mask: Option<Bytes>,
    },
    /// The mask that is taken off was chosen.
    Sum2Ended {
        /// Its hash.
        digest: Digest,
    },
    /// The round has a global model.
    Model(GlobalModel),
    /// The round has failed.
    RoundFailed {
        /// The round's number.
        round_id: u64,
    },
    /// A shard has stored a part of the aggregate: see [`Shard`]. The bytes of the part are not the record's.
    Part {
        /// Whose part.
        shard: Shard,
        /// Its name.
        part: PartId,
        /// The shard's part that it replaces: that may be forgotten.
        predecessor: Option<PartId>,
        /// Whose updates are in it that were not in the one before, with their sealed mask seeds.
        seeds: Vec<(PublicSigningKey, Arc<LocalSeedDict>)>,
    },
    /// All parts are added up: they may be forgotten.
    Merged {
        /// The aggregate of all updates. Whoever stores it may forget the one before.
        aggregation: Option<Arc<Aggregation>>,
    },
}

/// Shows whom it is about, and nothing that was collected.
impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundBegan { round_id, parameters, .. } => f
                .debug_struct("RoundBegan")
                .field("round_id", round_id)
                .field("parameters", parameters)
                .finish_non_exhaustive(),
            Self::Sum { participant, ephemeral_key } => f
                .debug_struct("Sum")
                .field("participant", participant)
                .field("ephemeral_key", ephemeral_key)
                .finish(),
            Self::Chunk { participant, tag, chunk, reserved } => f
                .debug_struct("Chunk")
                .field("participant", participant)
                .field("tag", tag)
                .field("chunk", chunk)
                .field("reserved", reserved)
                .finish(),
            Self::ChunksDropped { participants } => {
                f.debug_struct("ChunksDropped").field("participants", participants).finish()
            }
            Self::SumEnded => f.write_str("SumEnded"),
            Self::Updates { seeds, aggregation } => f
                .debug_struct("Updates")
                .field("seeds", seeds)
                .field("aggregation", aggregation)
                .finish(),
            Self::UpdateEnded => f.write_str("UpdateEnded"),
            Self::Sum2 { participant, digest, mask } => f
                .debug_struct("Sum2")
                .field("participant", participant)
                .field("digest", digest)
                .field("mask_bytes", &mask.as_ref().map(Bytes::len))
                .finish(),
            Self::Sum2Ended { digest } => {
                f.debug_struct("Sum2Ended").field("digest", digest).finish()
            }
            Self::Model(model) => f.debug_tuple("Model").field(model).finish(),
            Self::RoundFailed { round_id } => {
                f.debug_struct("RoundFailed").field("round_id", round_id).finish()
            }
            Self::Part { shard, part, predecessor, seeds } => f
                .debug_struct("Part")
                .field("shard", shard)
                .field("part", part)
                .field("predecessor", predecessor)
                .field("seeds", seeds)
                .finish(),
            Self::Merged { aggregation } => {
                f.debug_struct("Merged").field("aggregation", aggregation).finish()
            }
        }
    }
}

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
    Part(Part),
    Merged,
}

#[derive(Serialize, Deserialize)]
struct Part {
    shard: Shard,
    part: PartId,
    predecessor: Option<PartId>,
    seeds: Vec<(PublicSigningKey, Arc<LocalSeedDict>)>,
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
            Self::Aggregation(aggregation) => Cow::Owned(aggregate_after(&[], aggregation)),
            // Messages carry masks in this form.
            Self::Mask(mask) => Cow::Borrowed(mask),
            Self::Model(model) => Cow::Owned(model.to_bytes()),
        }
    }

    /// The same bytes behind others, in one piece that is written once. Of an aggregate it has room for what seals it.
    pub fn to_bytes_after(&self, beginning: &[u8]) -> Vec<u8> {
        match self {
            Self::Aggregation(aggregation) => aggregate_after(beginning, aggregation),
            Self::Mask(_) | Self::Model(_) => [beginning, &self.to_bytes()].concat(),
        }
    }
}

/// What [`AGGREGATE`] writes, behind something. It is written for each few updates, so without serde, which would make
/// the sum's bytes twice and look at them one by one.
fn aggregate_after(beginning: &[u8], aggregation: &Aggregation) -> Vec<u8> {
    let sum = aggregation.object();
    let Some(length) = MaskObjectView::serialized_len(sum.config(), sum.len()) else {
        return [beginning, &AGGREGATE.plain(aggregation)].concat();
    };
    let mut bytes = Vec::with_capacity(beginning.len() + 22 + length + SealingKey::OVERHEAD);
    bytes.extend_from_slice(beginning);
    AGGREGATE.begin(&mut bytes);
    bytes.extend_from_slice(&aggregation.nb_models().to_le_bytes());
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
    sum.write_to(&mut bytes).expect("its length is one that can be written");
    bytes
}

impl Large {
    /// Reads an aggregate, as [`Large::to_bytes`] has written it.
    pub(super) fn aggregation(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        AGGREGATE.read(bytes).map(|sum| Self::Aggregation(Arc::new(sum)))
    }
}

impl GlobalModel {
    /// All of it, in a versioned form for storing.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.optimizer.clone() {
            None => MODEL.plain(self),
            Some(state) => MODEL_WITH_OPTIMIZER.plain(&(self.clone(), state)),
        }
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
            Self::Part { .. } => "part of the aggregate",
            Self::Merged { .. } => "parts added up",
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
            | Self::Sum2 { .. }
            | Self::Part { .. }
            | Self::Merged { .. } => false,
        }
    }

    /// The part that grows with the model, if it has one.
    pub fn large(&self) -> Option<Large> {
        match self {
            Self::Updates { aggregation, .. } | Self::Merged { aggregation } => {
                aggregation.clone().map(Large::Aggregation)
            }
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
            Self::Part { shard, part, predecessor, seeds } => {
                Small::Part(Part { shard, part, predecessor, seeds })
            }
            Self::Merged { .. } => Small::Merged,
        })
    }

    /// Reads what [`Record::to_bytes`] has written, with the bytes of its large part where that was kept:
    /// the aggregate is needed in the last record that had one only.
    ///
    /// # Errors
    /// If the bytes are something else.
    pub fn from_bytes(bytes: &[u8], large: Option<Bytes>) -> Result<Self, EnvelopeError> {
        Ok(match RECORD.read(bytes)? {
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
            Small::Part(Part { shard, part, predecessor, seeds }) => {
                Self::Part { shard, part, predecessor, seeds }
            }
            Small::Merged => {
                let aggregation = large.map(|bytes| AGGREGATE.read(&bytes)).transpose()?;
                Self::Merged { aggregation: aggregation.map(Arc::new) }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::{derive_mask, MaskConfig, MaskConfigPair, MaskSeed};

    #[test]
    fn an_aggregate_is_written_as_serde_would() {
        for name in ["Prime/F32/B0/M3", "Word32/F32/B0/M3", "Integer/F64/Bmax/M6"] {
            let config: MaskConfigPair = name.parse::<MaskConfig>().unwrap().into();
            let mut sum = Aggregation::new(config, 5);
            for seed in 0..3 {
                let object = derive_mask(&MaskSeed::new([seed; 32]), config, 5).to_bytes().unwrap();
                sum.aggregate(&MaskObjectView::parse_exact(&object).unwrap()).unwrap();
                let large = Large::Aggregation(Arc::new(sum.clone()));
                assert_eq!(large.to_bytes(), AGGREGATE.plain(&sum), "{name}");
                let after = large.to_bytes_after(b"before");
                assert_eq!(after, [b"before", &large.to_bytes()[..]].concat());
                assert!(AGGREGATE.read(&after[6..]).unwrap() == sum);
            }
        }
    }
}
