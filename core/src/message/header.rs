//! The 136-byte header of an opened message.

use serde::{Deserialize, Serialize};

use super::error::{take, take_array, HEADER};
use super::{MessageError, Payload};
use crate::crypto::{PublicEncryptKey, PublicSigningKey, Signature, Signed};

/// How many bytes come before the payload.
pub const HEADER_LENGTH: usize = 136;

/// The signature's length: what it covers begins here.
pub(crate) const SIGNED_FROM: usize = Signature::LENGTH;

/// Bit 0 of the flags byte: the payload is a chunk.
pub(super) const MULTIPART_FLAG: u8 = 1;

/// What a message is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[non_exhaustive]
pub enum Tag {
    /// A sum participant's ephemeral key.
    Sum = 1,
    /// An update participant's masked model and sealed mask seeds.
    Update = 2,
    /// A sum participant's aggregated mask.
    Sum2 = 3,
}

impl Tag {
    /// The kind of message in one word, which is also the name of the phase that takes it: "sum", "update", "sum2".
    pub fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Update => "update",
            Self::Sum2 => "sum2",
        }
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<u8> for Tag {
    type Error = MessageError;

    fn try_from(byte: u8) -> Result<Self, MessageError> {
        match byte {
            1 => Ok(Self::Sum),
            2 => Ok(Self::Update),
            3 => Ok(Self::Sum2),
            other => Err(MessageError::UnknownTag(other)),
        }
    }
}

/// An opened message, borrowed: the header's fields and where the payload lies.
#[derive(Clone, Copy)]
pub struct MessageView<'a> {
    /// The participant's signature over everything after it.
    pub signature: Signature,
    /// The sender.
    pub participant: PublicSigningKey,
    /// The round key that the message is for.
    pub coordinator: PublicEncryptKey,
    /// What the message is for.
    pub tag: Tag,
    /// Whether the payload is a chunk of a larger one.
    pub is_multipart: bool,
    /// Everything after the header.
    pub payload: &'a [u8],
    signed: &'a [u8],
}

/// Shows no payload: it may be the sum of the masks.
impl std::fmt::Debug for MessageView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = if self.is_multipart { "a part of a " } else { "" };
        let Self { tag, participant, payload, .. } = self;
        write!(f, "MessageView({part}{tag} message of {participant}, {} bytes)", payload.len())
    }
}

impl<'a> MessageView<'a> {
    /// Reads the header. Neither the signature nor the payload is looked at.
    ///
    /// # Errors
    /// If the bytes are fewer than a header has, their number is not the one in the length field, or
    /// the tag is unknown. Reserved bytes and unknown flag bits are ignored.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let mut rest = bytes;
        let mut head = take(&mut rest, HEADER_LENGTH, HEADER)?;
        let signature = Signature::new(take_array(&mut head, HEADER)?);
        let participant = PublicSigningKey::new(take_array(&mut head, HEADER)?);
        let coordinator = PublicEncryptKey::new(take_array(&mut head, HEADER)?);
        let stated = u32::from_be_bytes(take_array(&mut head, HEADER)?);
        let [tag, flags, _, _] = take_array(&mut head, HEADER)?;
        if usize::try_from(stated).ok() != Some(bytes.len()) {
            return Err(MessageError::Length { stated, actual: bytes.len() });
        }
        Ok(Self {
            signature,
            participant,
            coordinator,
            tag: Tag::try_from(tag)?,
            is_multipart: flags & MULTIPART_FLAG != 0,
            payload: rest,
            signed: &bytes[SIGNED_FROM..],
        })
    }

    /// Checks that the participant signed everything after the signature.
    ///
    /// # Errors
    /// [`MessageError::BadSignature`] if not.
    pub fn verify_signature(&self) -> Result<(), MessageError> {
        match self.signed().is_right() {
            true => Ok(()),
            false => Err(MessageError::BadSignature),
        }
    }

    /// What the participant must have signed, and its signature.
    pub(crate) fn signed(&self) -> Signed<'a> {
        Signed { key: self.participant, signature: self.signature, message: self.signed }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// If it is malformed: see [`Payload::parse`].
    pub fn parse_payload(&self) -> Result<Payload<'a>, MessageError> {
        Payload::parse(self.tag, self.is_multipart, self.payload)
    }
}
