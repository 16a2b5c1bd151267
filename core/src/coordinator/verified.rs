//! Messages that were opened and checked, in memory and as bytes.
//!
//! Whoever opens messages need not be the process that runs the machine: it hands over what it has
//! [verified](Verified) as bytes.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::crypto::{Blake2b, Digest, PublicEncryptKey, PublicSigningKey};
use crate::mask::MaskObjectView;
use crate::message::{LocalSeedDict, MessageId, OwnedChunk, Tag};
use crate::snapshot::{read_bincode, Envelope, EnvelopeError};

const VERIFIED: Envelope<Small> =
    Envelope { magic: *b"PETi", sealed_magic: *b"PETj", readers: &[read_bincode], writes: 1 };

/// A message that is authentic, well-formed, for this round and phase, and from a participant that
/// may send it.
///
/// [`Front::open`](super::Front::open) makes it of a sealed message. To have one process open messages and another run
/// the machine, hand it over in two pieces, [small](Self::to_bytes) and [large](Self::large):
///
/// ```
/// use pet_core::coordinator::{EnvelopeError, Front, Verified};
///
/// /// At the replica that the message has come to.
/// fn pack(front: &Front, sealed: Vec<u8>) -> Option<(Vec<u8>, Option<bytes::Bytes>)> {
///     let verified = front.open(sealed).ok()?;
///     Some((verified.to_bytes(), verified.large()))
/// }
///
/// /// At the replica that runs the machine: what it then tells it with `Input::Message`.
/// fn unpack(small: &[u8], large: Option<bytes::Bytes>) -> Result<Verified, EnvelopeError> {
///     Verified::from_bytes(small, large)
/// }
///
/// assert_eq!(pack(&Front::new(), vec![0; 200]), None);
/// assert!(unpack(b"something else", None).is_err());
/// ```
#[derive(Clone)]
pub struct Verified {
    pub(super) round_id: u64,
    pub(super) participant: PublicSigningKey,
    pub(super) tag: Tag,
    pub(super) body: Body,
}

/// Shows no content.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("round_id", &self.round_id)
            .field("participant", &self.participant)
            .field("tag", &self.tag)
            .field("is_chunk", &self.is_chunk())
            .finish()
    }
}

/// What a verified message carries.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Body {
    Sum { ephemeral_key: PublicEncryptKey },
    Update { masked_model: Bytes, seeds: Arc<LocalSeedDict> },
    Sum2 { mask: Bytes, digest: Digest },
    Chunk { chunk: OwnedChunk, proven: bool, max_payload: usize },
}

impl Body {
    /// What of it can be large.
    pub(super) fn bytes(&self) -> Bytes {
        match self {
            Self::Sum { .. } => Bytes::new(),
            Self::Update { masked_model: bytes, .. }
            | Self::Sum2 { mask: bytes, .. }
            | Self::Chunk { chunk: OwnedChunk { data: bytes, .. }, .. } => bytes.clone(),
        }
    }

    /// The masked model or the mask in it.
    pub(super) fn object(&self) -> Option<&Bytes> {
        match self {
            Self::Update { masked_model: object, .. } | Self::Sum2 { mask: object, .. } => {
                Some(object)
            }
            Self::Sum { .. } | Self::Chunk { .. } => None,
        }
    }
}

/// A verified message but for what of it can be large, as it is written. The order of the variants and their fields
/// is the form: change it together with the version.
#[derive(Serialize, Deserialize)]
struct Small {
    round_id: u64,
    participant: PublicSigningKey,
    tag: Tag,
    body: SmallBody,
}

#[derive(Serialize, Deserialize)]
enum SmallBody {
    Sum { ephemeral_key: PublicEncryptKey },
    Update { seeds: Arc<LocalSeedDict> },
    Sum2 { digest: Digest },
    Chunk { id: u16, message_id: MessageId, is_last: bool, proven: bool, max_payload: u64 },
}

impl Verified {
    /// The round that it was verified for.
    pub fn round_id(&self) -> u64 {
        self.round_id
    }

    /// The sender.
    pub fn participant(&self) -> PublicSigningKey {
        self.participant
    }

    /// The kind of message.
    pub fn tag(&self) -> Tag {
        self.tag
    }

    /// Whether the message is a part of a larger one.
    pub fn is_chunk(&self) -> bool {
        matches!(self.body, Body::Chunk { .. })
    }

    /// What of it grows with the model: a masked model, a mask, or the data of a chunk. Nothing in a sum message. The
    /// bytes are shared, not copied.
    pub fn large(&self) -> Option<Bytes> {
        match self.body {
            Body::Sum { .. } => None,
            Body::Update { .. } | Body::Sum2 { .. } | Body::Chunk { .. } => Some(self.body.bytes()),
        }
    }

    /// The hash of the mask in a sum2 message.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self.body {
            Body::Sum2 { digest, .. } => Some(digest),
            _ => None,
        }
    }

    /// All but the [large](Self::large) piece, in a versioned form: at most some hundred bytes, and of an update
    /// 112 bytes more for each sum participant. There is no secret in it, but whoever can change it can let a
    /// message count that was never sent: seal it where others can write.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { round_id, participant, tag, .. } = *self;
        let body = match &self.body {
            Body::Sum { ephemeral_key } => SmallBody::Sum { ephemeral_key: *ephemeral_key },
            Body::Update { seeds, .. } => SmallBody::Update { seeds: seeds.clone() },
            Body::Sum2 { digest, .. } => SmallBody::Sum2 { digest: *digest },
            Body::Chunk { chunk, proven, max_payload } => SmallBody::Chunk {
                id: chunk.id,
                message_id: chunk.message_id,
                is_last: chunk.is_last,
                proven: *proven,
                max_payload: *max_payload as u64,
            },
        };
        VERIFIED.plain(&Small { round_id, participant, tag, body })
    }

    /// Reads what [`Verified::to_bytes`] has written, with its [large](Self::large) piece. That the sender had the
    /// right to send it is believed; that it is well-formed is checked again, as nothing else may reach the
    /// machine. Takes as long as the large piece is.
    ///
    /// # Errors
    /// If the bytes are something else, or of a newer version, or the large piece is missing, malformed, or another one.
    pub fn from_bytes(bytes: &[u8], large: Option<Bytes>) -> Result<Self, EnvelopeError> {
        let Small { round_id, participant, tag, body } = VERIFIED.read(bytes)?;
        let large_piece = |large: Option<Bytes>| large.ok_or(damaged("its large piece is missing"));
        let body = match (tag, body) {
            (Tag::Sum, SmallBody::Sum { ephemeral_key }) => {
                is(large.is_none(), "a sum message has no large piece")?;
                is(!ephemeral_key.is_weak(), "the ephemeral key is a point of low order")?;
                Body::Sum { ephemeral_key }
            }
            (Tag::Update, SmallBody::Update { seeds }) => {
                check_seeds(&seeds)?;
                Body::Update { masked_model: object(large_piece(large)?)?, seeds }
            }
            (Tag::Sum2, SmallBody::Sum2 { digest }) => {
                let mask = object(large_piece(large)?)?;
                is(Blake2b::hash(&[&mask]) == digest, "the mask is not the one of the digest")?;
                Body::Sum2 { mask, digest }
            }
            (_, SmallBody::Chunk { id, message_id, is_last, proven, max_payload }) => {
                let chunk = OwnedChunk { id, message_id, is_last, data: large_piece(large)? };
                let max_payload = usize::try_from(max_payload).unwrap_or(usize::MAX);
                Body::Chunk { chunk, proven, max_payload }
            }
            _ => return Err(damaged("the content is of another kind of message")),
        };
        Ok(Self { round_id, participant, tag, body })
    }
}

pub(super) fn damaged(what: &str) -> EnvelopeError {
    EnvelopeError::Damaged(what.into())
}

fn is(sound: bool, what: &str) -> Result<(), EnvelopeError> {
    match sound {
        true => Ok(()),
        false => Err(damaged(what)),
    }
}

/// A masked model or a mask, all of whose numbers are below their orders.
fn object(bytes: Bytes) -> Result<Bytes, EnvelopeError> {
    let checked = MaskObjectView::parse_exact(&bytes).and_then(|view| view.check_elements());
    checked.map_err(|error| EnvelopeError::Damaged(error.to_string()))?;
    Ok(bytes)
}

/// Seeds are in order, each participant's once.
pub(super) fn check_seeds(seeds: &LocalSeedDict) -> Result<(), EnvelopeError> {
    let sorted = seeds.sum_participants().is_sorted_by(|one, next| one < next);
    is(sorted, "the sealed mask seeds are not in order")
}
