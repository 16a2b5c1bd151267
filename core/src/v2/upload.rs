//! The key that a masked model's chunks are encrypted under on their way to the coordinator.
//!
//! Chunk c is leaf c of the masked model, XORed with the ChaCha20 key stream of this key and the nonce c. It has no tag of
//! its own: the leaf's hash in the signed header, which is sealed in a box, says whether it is right.

use super::hash::{secret_hash, Label};
use crate::crypto::{secret_bytes, shared_secret, CryptoError, EncryptKeyPair, PublicEncryptKey};

secret_bytes! {
    /// The key of the key stream that the chunks of one upload are XORed with.
    UploadKey, 32
}

impl UploadKey {
    /// The sender's: of the ephemeral pair that it has sealed the header with, and the coordinator's key of the round.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if the coordinator's key is a point of low order.
    pub fn of_sender(
        ephemeral: &EncryptKeyPair,
        coordinator: &PublicEncryptKey,
    ) -> Result<Self, CryptoError> {
        Self::of(&ephemeral.public(), coordinator, ephemeral, coordinator)
    }

    /// The coordinator's: of its key pair of the round, and the ephemeral key that the sealed header begins with.
    ///
    /// # Errors
    /// [`CryptoError::WeakPublicKey`] if the ephemeral key is a point of low order.
    pub fn of_receiver(
        coordinator: &EncryptKeyPair,
        ephemeral: &PublicEncryptKey,
    ) -> Result<Self, CryptoError> {
        Self::of(ephemeral, &coordinator.public(), coordinator, ephemeral)
    }

    fn of(
        ephemeral: &PublicEncryptKey,
        coordinator: &PublicEncryptKey,
        own: &EncryptKeyPair,
        other: &PublicEncryptKey,
    ) -> Result<Self, CryptoError> {
        let shared = shared_secret(other, own.secret())?;
        let parts: [&[u8]; 3] = [shared.as_bytes(), ephemeral.as_bytes(), coordinator.as_bytes()];
        Ok(Self::filled(|to| secret_hash(Label::Upload, &parts, to)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Seed;

    #[test]
    fn both_sides_have_the_same_key_and_nobody_else() {
        let pair = |byte| EncryptKeyPair::from_seed(&Seed::new([byte; 32]));
        let (ephemeral, coordinator) = (pair(1), pair(2));
        let key = UploadKey::of_sender(&ephemeral, &coordinator.public()).unwrap();
        assert_eq!(UploadKey::of_receiver(&coordinator, &ephemeral.public()), Ok(key.clone()));
        assert_ne!(UploadKey::of_sender(&pair(3), &coordinator.public()), Ok(key.clone()));
        assert_ne!(UploadKey::of_sender(&coordinator, &ephemeral.public()), Ok(key), "roles count");
        let weak = PublicEncryptKey::new([0; 32]);
        assert_eq!(UploadKey::of_sender(&ephemeral, &weak), Err(CryptoError::WeakPublicKey));
    }
}
