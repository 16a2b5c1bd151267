//! Keys, seals, signatures and eligibility.

use xaynet_core::crypto::{
    ByteObject, EncryptKeyPair, EncryptKeySeed, PublicEncryptKey, PublicSigningKey,
    SecretEncryptKey, SecretSigningKey, Sha256, Signature, SigningKeyPair, SigningKeySeed,
};

use super::message::array;

/// The (public, secret) Ed25519 keys made from a seed.
pub fn signing_key_pair(seed: &[u8; 32]) -> ([u8; 32], [u8; 64]) {
    let pair = SigningKeyPair::derive_from_seed(&SigningKeySeed::from_slice_unchecked(seed));
    (array(pair.public.as_slice()), array(pair.secret.as_slice()))
}

/// The (public, secret) X25519 keys made from a seed.
pub fn encrypt_key_pair(seed: &[u8; 32]) -> ([u8; 32], [u8; 32]) {
    let pair = EncryptKeyPair::derive_from_seed(&EncryptKeySeed::from_slice_unchecked(seed));
    (array(pair.public.as_slice()), array(pair.secret.as_slice()))
}

/// The public part of an X25519 secret key.
pub fn public_encrypt_key(secret: &[u8; 32]) -> [u8; 32] {
    array(SecretEncryptKey::from_slice_unchecked(secret).public_key().as_slice())
}

/// Seals a message to a public key, with an ephemeral key that libsodium draws.
pub fn seal(public: &[u8; 32], message: &[u8]) -> Vec<u8> {
    PublicEncryptKey::from_slice_unchecked(public).encrypt(message)
}

/// Opens a sealed message, or `None`.
pub fn open(public: &[u8; 32], secret: &[u8; 32], sealed: &[u8]) -> Option<Vec<u8>> {
    SecretEncryptKey::from_slice_unchecked(secret)
        .decrypt(sealed, &PublicEncryptKey::from_slice_unchecked(public))
        .ok()
}

/// The detached signature of a message.
pub fn sign(secret: &[u8; 64], message: &[u8]) -> [u8; 64] {
    array(SecretSigningKey::from_slice_unchecked(secret).sign_detached(message).as_slice())
}

/// Whether a detached signature is valid.
pub fn verify(public: &[u8; 32], signature: &[u8; 64], message: &[u8]) -> bool {
    PublicSigningKey::from_slice_unchecked(public)
        .verify_detached(&Signature::from_slice_unchecked(signature), message)
}

/// Whether a task signature selects its maker at a threshold.
pub fn is_eligible(signature: &[u8; 64], threshold: f64) -> bool {
    Signature::from_slice_unchecked(signature).is_eligible(threshold)
}

/// The SHA-256 digest.
pub fn sha256(message: &[u8]) -> [u8; 32] {
    array(Sha256::hash(message).as_slice())
}
