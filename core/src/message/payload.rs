//! The payloads of the three messages.

use super::error::{end, take_array, take_signature};
use super::{Chunk, LocalSeedDict, MessageError, Tag};
use crate::crypto::{PublicEncryptKey, Signature};
use crate::mask::MaskObjectView;

/// A payload, borrowed from the message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Payload<'a> {
    /// Of a sum message.
    Sum(SumPayload),
    /// Of an update message.
    Update(UpdatePayload<'a>),
    /// Of a sum2 message.
    Sum2(Sum2Payload<'a>),
    /// A part of one of the others.
    Chunk(Chunk<'a>),
}

impl<'a> Payload<'a> {
    /// Reads the payload of a message with the given tag; a chunk if the message is multipart.
    ///
    /// # Errors
    /// If it is cut short, if anything follows it, or if one of its parts is malformed, a group
    /// element that is not below its order included.
    pub fn parse(tag: Tag, is_multipart: bool, bytes: &'a [u8]) -> Result<Self, MessageError> {
        let payload = Self::parse_shape(tag, is_multipart, bytes)?;
        if let Some(object) = payload.object() {
            object.check_elements()?;
        }
        Ok(payload)
    }

    /// The same but for the group elements, of which there can be many.
    pub(crate) fn parse_shape(
        tag: Tag,
        is_multipart: bool,
        bytes: &'a [u8],
    ) -> Result<Self, MessageError> {
        if is_multipart {
            return Chunk::parse(bytes).map(Self::Chunk);
        }
        match tag {
            Tag::Sum => SumPayload::parse(bytes).map(Self::Sum),
            Tag::Update => UpdatePayload::parse_shape(bytes).map(Self::Update),
            Tag::Sum2 => Sum2Payload::parse_shape(bytes).map(Self::Sum2),
        }
    }

    /// The masked model, or the mask.
    pub(crate) fn object(&self) -> Option<&MaskObjectView<'a>> {
        match self {
            Self::Update(payload) => Some(&payload.masked_model),
            Self::Sum2(payload) => Some(&payload.mask),
            Self::Sum(_) | Self::Chunk(_) => None,
        }
    }
}

/// What a sum participant sends first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SumPayload {
    /// Proof that the participant may sum.
    pub sum_signature: Signature,
    /// The key that mask seeds are to be sealed for.
    pub ephemeral_key: PublicEncryptKey,
}

impl SumPayload {
    /// How many bytes it has.
    pub const LENGTH: usize = Signature::LENGTH + PublicEncryptKey::LENGTH;

    /// Reads it.
    ///
    /// # Errors
    /// If the length is not [`SumPayload::LENGTH`].
    pub fn parse(mut bytes: &[u8]) -> Result<Self, MessageError> {
        let payload = Self {
            sum_signature: take_signature(&mut bytes, "sum signature")?,
            ephemeral_key: PublicEncryptKey::new(take_array(&mut bytes, "ephemeral key")?),
        };
        end(bytes, "sum payload")?;
        Ok(payload)
    }

    /// Writes it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sum_signature.as_bytes());
        out.extend_from_slice(self.ephemeral_key.as_bytes());
    }
}

/// What an update participant sends.
#[derive(Debug, Clone)]
pub struct UpdatePayload<'a> {
    /// Proof that the participant is no sum participant.
    pub sum_signature: Signature,
    /// Proof that the participant may update.
    pub update_signature: Signature,
    /// The masked model.
    pub masked_model: MaskObjectView<'a>,
    /// The mask seed, sealed to every sum participant.
    pub seeds: LocalSeedDict,
}

impl<'a> UpdatePayload<'a> {
    /// Where the masked model begins.
    pub const MASKED_MODEL_FROM: usize = 2 * Signature::LENGTH;

    /// Reads it.
    ///
    /// # Errors
    /// If it is cut short, if anything follows it, or if the masked model or the dictionary is
    /// malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let payload = Self::parse_shape(bytes)?;
        payload.masked_model.check_elements()?;
        Ok(payload)
    }

    fn parse_shape(mut bytes: &'a [u8]) -> Result<Self, MessageError> {
        let sum_signature = take_signature(&mut bytes, "sum signature")?;
        let update_signature = take_signature(&mut bytes, "update signature")?;
        let (masked_model, rest) = MaskObjectView::parse(bytes)?;
        let seeds = LocalSeedDict::parse(rest)?;
        Ok(Self { sum_signature, update_signature, masked_model, seeds })
    }
}

/// What a sum participant sends last.
#[derive(Debug, Clone)]
pub struct Sum2Payload<'a> {
    /// Proof that the participant may sum.
    pub sum_signature: Signature,
    /// The sum of all masks.
    pub mask: MaskObjectView<'a>,
}

impl<'a> Sum2Payload<'a> {
    /// Where the mask begins.
    pub const MASK_FROM: usize = Signature::LENGTH;

    /// Reads it.
    ///
    /// # Errors
    /// If it is cut short, if anything follows it, or if the mask is malformed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, MessageError> {
        let payload = Self::parse_shape(bytes)?;
        payload.mask.check_elements()?;
        Ok(payload)
    }

    fn parse_shape(mut bytes: &'a [u8]) -> Result<Self, MessageError> {
        let sum_signature = take_signature(&mut bytes, "sum signature")?;
        let (mask, rest) = MaskObjectView::parse(bytes)?;
        end(rest, "mask")?;
        Ok(Self { sum_signature, mask })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, tag in 1u8..=3, multipart: bool) {
            let _ = Payload::parse(Tag::try_from(tag).unwrap(), multipart, &bytes);
        }

        #[test]
        fn sum_payloads_round_trip(mut signature: [[u8; 32]; 2], key: [u8; 32]) {
            signature[1][31] &= 0x1f;
            let payload = SumPayload {
                sum_signature: Signature::new(signature.concat().try_into().unwrap()),
                ephemeral_key: PublicEncryptKey::new(key),
            };
            let mut bytes = Vec::new();
            payload.write_to(&mut bytes);
            prop_assert_eq!(SumPayload::parse(&bytes), Ok(payload));
            bytes.push(0);
            prop_assert_eq!(
                SumPayload::parse(&bytes),
                Err(MessageError::TrailingBytes { field: "sum payload", count: 1 })
            );
        }
    }
}
