//! Writes a message: payload, header, signature and seal in one buffer.

use std::fmt;

use super::header::{MULTIPART_FLAG, SIGNED_FROM};
use super::{Tag, HEADER_LENGTH};
use crate::crypto::{
    CryptoError, EncryptKeyPair, PublicEncryptKey, PublicSigningKey, SigningKeyPair, SEAL_OVERHEAD,
};

/// How many bytes a frame keeps free before its payload.
pub const FRAME_HEADROOM: usize = SEAL_OVERHEAD + HEADER_LENGTH;

/// A message that is being written. The payload is appended to a buffer that already has room for
/// the header and the seal, so that a large payload is never copied.
pub struct Frame {
    buffer: Vec<u8>,
}

/// Shows the length, not the payload: it may be the sum of the masks.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes of payload)", self.payload_len())
    }
}

impl Frame {
    /// An empty frame with memory for a payload of so many bytes.
    pub fn with_capacity(payload: usize) -> Self {
        let mut buffer = Vec::with_capacity(FRAME_HEADROOM + payload);
        buffer.resize(FRAME_HEADROOM, 0);
        Self { buffer }
    }

    /// A frame whose payload has been written behind [`FRAME_HEADROOM`] bytes already.
    ///
    /// # Errors
    /// [`CryptoError::Length`] if the buffer has not even the headroom.
    pub fn from_buffer(buffer: Vec<u8>) -> Result<Self, CryptoError> {
        if buffer.len() < FRAME_HEADROOM {
            return Err(CryptoError::Length { expected: FRAME_HEADROOM, actual: buffer.len() });
        }
        Ok(Self { buffer })
    }

    /// The buffer, to append payload to. Existing bytes must not be removed.
    pub fn buffer_mut(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// How many bytes of payload there are.
    pub fn payload_len(&self) -> usize {
        self.buffer.len().saturating_sub(FRAME_HEADROOM)
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.buffer[FRAME_HEADROOM.min(self.buffer.len())..]
    }

    /// The buffer, headroom included.
    pub fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    /// Writes the header and signs: afterwards the message lies behind the seal's headroom.
    ///
    /// # Errors
    /// [`CryptoError::Length`] if the message is longer than its 32-bit length field can say.
    pub fn sign(
        &mut self,
        keys: &SigningKeyPair,
        coordinator: &PublicEncryptKey,
        tag: Tag,
        is_multipart: bool,
    ) -> Result<&[u8], CryptoError> {
        let message = self.write_header(&keys.public(), coordinator, tag, is_multipart)?;
        let signature = keys.sign(&message[SIGNED_FROM..]);
        message[..SIGNED_FROM].copy_from_slice(signature.as_bytes());
        Ok(message)
    }

    /// Writes all of the header but the signature; gives the message.
    pub(crate) fn write_header(
        &mut self,
        participant: &PublicSigningKey,
        coordinator: &PublicEncryptKey,
        tag: Tag,
        is_multipart: bool,
    ) -> Result<&mut [u8], CryptoError> {
        let message = &mut self.buffer[SEAL_OVERHEAD..];
        let length = u32::try_from(message.len()).map_err(|_| CryptoError::Length {
            expected: u32::MAX as usize,
            actual: message.len(),
        })?;
        message[64..96].copy_from_slice(participant.as_bytes());
        message[96..128].copy_from_slice(coordinator.as_bytes());
        message[128..132].copy_from_slice(&length.to_be_bytes());
        message[132] = tag as u8;
        message[133] = if is_multipart { MULTIPART_FLAG } else { 0 };
        message[134..HEADER_LENGTH].fill(0);
        Ok(message)
    }

    /// Signs and seals. The ephemeral pair must be used for this message only.
    ///
    /// # Errors
    /// As [`Frame::sign`]; [`CryptoError::WeakPublicKey`] if nothing can be sealed to the
    /// coordinator's key.
    pub fn seal(
        mut self,
        keys: &SigningKeyPair,
        coordinator: &PublicEncryptKey,
        tag: Tag,
        is_multipart: bool,
        ephemeral: &EncryptKeyPair,
    ) -> Result<Vec<u8>, CryptoError> {
        self.sign(keys, coordinator, tag, is_multipart)?;
        coordinator.seal_in_place(&mut self.buffer, ephemeral)?;
        Ok(self.buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::Seed;
    use crate::message::{MessageError, MessageView};

    fn keys() -> (SigningKeyPair, EncryptKeyPair, EncryptKeyPair) {
        (
            SigningKeyPair::from_seed(&Seed::new([1; 32])),
            EncryptKeyPair::from_seed(&Seed::new([2; 32])),
            EncryptKeyPair::from_seed(&Seed::new([3; 32])),
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(payload: Vec<u8>, tag in 1u8..=3, multipart: bool) {
            let (signing, coordinator, ephemeral) = keys();
            let tag = Tag::try_from(tag).unwrap();
            let mut frame = Frame::with_capacity(payload.len());
            frame.buffer_mut().extend_from_slice(&payload);
            prop_assert_eq!(frame.payload(), &payload);
            let sealed =
                frame.seal(&signing, &coordinator.public(), tag, multipart, &ephemeral).unwrap();
            let opened = coordinator.open(&sealed).unwrap();
            let view = MessageView::parse(&opened).unwrap();
            prop_assert_eq!(view.verify_signature(), Ok(()));
            prop_assert_eq!(view.participant, signing.public());
            prop_assert_eq!(view.coordinator, coordinator.public());
            prop_assert_eq!(view.tag, tag);
            prop_assert_eq!(view.is_multipart, multipart);
            prop_assert_eq!(view.payload, &payload);
        }

        #[test]
        fn no_bit_of_a_message_can_be_flipped(at in 0usize..160, bit in 0u8..8) {
            let (signing, coordinator, _) = keys();
            let mut frame = Frame::with_capacity(24);
            frame.buffer_mut().extend_from_slice(&[7; 24]);
            let mut message =
                frame.sign(&signing, &coordinator.public(), Tag::Sum, false).unwrap().to_vec();
            message[at] ^= 1 << bit;
            let refused = match MessageView::parse(&message) {
                Ok(view) => view.verify_signature() == Err(MessageError::BadSignature),
                Err(_) => true,
            };
            prop_assert!(refused);
        }
    }
}
