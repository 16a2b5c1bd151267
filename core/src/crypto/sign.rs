//! Ed25519 signatures: the participant's identity (specification, section 2).

use super::backend::{Backend, Chosen};
use super::verify::verify;
use super::{public_bytes, secret_bytes, wiping_stack, Seed};

public_bytes! {
    /// The public half of an identity: who a participant is.
    PublicSigningKey, 32
}

secret_bytes! {
    /// The secret half of an identity, in libsodium's form: the seed and the public key.
    SecretSigningKey, 64
}

public_bytes! {
    /// A detached Ed25519 signature.
    Signature, 64
}

/// An identity that can sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKeyPair {
    public: PublicSigningKey,
    secret: SecretSigningKey,
}

impl SigningKeyPair {
    /// Derives the pair from a seed (`crypto_sign_seed_keypair`).
    pub fn from_seed(seed: &Seed) -> Self {
        let mut public = [0; 32];
        let secret = SecretSigningKey::filled(|to| {
            public = wiping_stack(|| Chosen::signing_pair(seed.as_bytes(), to));
        });
        Self { public: PublicSigningKey::new(public), secret }
    }

    /// Rebuilds the pair from its secret half.
    pub fn from_secret(secret: SecretSigningKey) -> Self {
        // The second half of libsodium's secret key is not trusted: signing with a public key that
        // does not belong to the seed gives the seed away.
        Self::from_seed(&Seed::filled(|to| to.copy_from_slice(&secret.as_bytes()[..32])))
    }

    /// The public half.
    pub fn public(&self) -> PublicSigningKey {
        self.public
    }

    /// The secret half.
    pub fn secret(&self) -> &SecretSigningKey {
        &self.secret
    }

    /// Signs a message. Deterministic.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::new(wiping_stack(|| Chosen::sign(self.secret.as_bytes(), message)))
    }
}

impl PublicSigningKey {
    /// Whether the signature was made over the message by the owner of this key.
    ///
    /// Public keys of low order and signatures that are not in canonical form are refused.
    #[must_use]
    pub fn verify(&self, signature: &Signature, message: &[u8]) -> bool {
        verify(self, signature, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies() {
        let pair = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let signature = pair.sign(b"message");
        assert!(pair.public().verify(&signature, b"message"));
        assert!(!pair.public().verify(&signature, b"massage"));
        let other = SigningKeyPair::from_seed(&Seed::new([6; 32]));
        assert!(!other.public().verify(&signature, b"message"));
    }

    #[test]
    fn a_secret_key_with_a_foreign_public_half_is_repaired() {
        let pair = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let mut bytes = *pair.secret().as_bytes();
        bytes[40] ^= 1;
        assert_eq!(SigningKeyPair::from_secret(SecretSigningKey::new(bytes)), pair);
    }

    #[test]
    fn a_signature_with_high_bits_is_refused() {
        let pair = SigningKeyPair::from_seed(&Seed::new([5; 32]));
        let mut bytes = *pair.sign(b"m").as_bytes();
        bytes[63] = 0xff;
        assert!(!pair.public().verify(&Signature::new(bytes), b"m"));
    }
}
